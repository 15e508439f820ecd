-- udp_protocol.lua PORT: udp.lua with a protocol table: callbacks instead of a task.

local asyncio = require "asyncio"
local bench = dofile((arg[0]:match(".*/") or "") .. "bench.lua")

local Echo = {}
Echo.__index = Echo

function Echo:connection_made(transport) self.transport = transport end

function Echo:datagram_received(data, addr) self.transport:sendto(data, addr) end

local main = async(function()
  local loop = asyncio.get_running_loop()
  local factory = function() return setmetatable({}, Echo) end
  await(loop:create_datagram_endpoint(factory, { local_addr = { "127.0.0.1", bench.arg(1, 9000) } }))
  await(loop:create_future())
end)

asyncio.run(main())
