-- udp.lua PORT: a UDP server that sends each datagram back to its sender.

local asyncio = require "asyncio"
local bench = dofile((arg[0]:match(".*/") or "") .. "bench.lua")

local main = async(function()
  local server <close> = await(asyncio.open_datagram { local_addr = { "127.0.0.1", bench.arg(1, 9000) } })
  for data, addr in server:datagrams() do server:send(data, addr) end
end)

asyncio.run(main())
