-- Asks a time server on UDP (RFC 868) and prints what it says. Datagrams get lost: it asks up to four times, and
-- waits twice as long each time.
--   moonloop scripts/udp_time_client.lua [HOST [PORT]]

local asyncio = require "asyncio"

local FROM_1900_TO_1970 = 2208988800

local async function ask(host, port)
  local client <close> = await asyncio.open_datagram { remote_addr = { host, port } }
  local patience = 0.5
  for try = 1, 4 do
    client:send ""
    local ok, answer = pcall(await, asyncio.wait_for(client:recv(), patience))
    if ok and #answer == 4 then return string.unpack(">I4", answer) - FROM_1900_TO_1970 end
    print(("try %d: %s"):format(try, ok and "not a time" or answer))
    patience = patience * 2
  end
  error(("no answer from %s"):format(client:get_extra_info("peername")), 0)
end

local time = asyncio.run(ask(arg[1] or "127.0.0.1", arg[2] or 3700))
print(os.date("!%Y-%m-%d %H:%M:%S UTC", time))
