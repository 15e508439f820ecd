-- Multicast: one sender, three members of a group, each of which gets what is sent to it.
--   moonloop scripts/multicast.lua [INTERFACE]

local asyncio = require "asyncio"

local GROUP = "239.255.77.8"
local interface = arg[1] or "lo"

-- They share a port, so that a datagram to the group comes to each of them.
local async function join(port)
  local member = await asyncio.open_datagram { local_addr = { GROUP, port }, reuse_addr = true }
  member:join_group(GROUP, { interface = interface })
  return member
end

local async function listen(name, member)
  local _ <close> = member
  for text in member:datagrams() do
    print(name .. " got: " .. text)
    if text == "bye" then break end
  end
  member:leave_group(GROUP, { interface = interface })
end

local async function main()
  local first = await join(0)
  local port = first:get_extra_info("sockname").port
  local group <close> = asyncio.TaskGroup()
  for i, member in ipairs { first, await join(port), await join(port) } do
    group:create_task(listen("member " .. i, member))
  end

  local sender <close> = await asyncio.open_datagram { family = "inet" }
  sender:set_multicast_interface(interface)
  sender:set_multicast_ttl(1) -- not beyond this network
  for _, text in ipairs { "hello", "all of you", "bye" } do
    sender:send(text, { GROUP, port })
    await asyncio.sleep(0.1) -- all take it before the next one
  end
end

asyncio.run(main())
