-- echo_socket.lua PORT: as echo.lua, with plain sockets and a buffer for each connection in place of streams.
-- "moonloop socket" in the rows echo-*.

local asyncio = require "asyncio"
local bench = dofile((arg[0]:match(".*/") or "") .. "bench.lua")
local socket = require "socket"

local echo = async(function(conn)
  local _ <close> = conn
  conn:set { nodelay = true }
  local buffer = socket.buffer(65536)
  while await(conn:recv_into(buffer)) do await(conn:sendall(buffer)) end
end)

local main = async(function()
  local port = bench.arg(1, 9000)
  local server <close> = await(socket.create_server("127.0.0.1", port, { backlog = 1024 }))
  while true do asyncio.create_task(echo((await(server:accept())))) end
end)

asyncio.run(main())
