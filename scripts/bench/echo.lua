-- echo.lua PORT: a TCP server that sends back what it reads, a task for each connection.
-- The rows echo-* ask how much CPU a message costs, the row idle how much memory a connection.

local asyncio = require "asyncio"
local bench = dofile((arg[0]:match(".*/") or "") .. "bench.lua")

local echo = async(function(reader, writer)
  while true do
    local data = await(reader:read(65536))
    if not data then break end
    writer:write(data)
    await(writer:drain())
  end
  writer:close()
end)

local main = async(function()
  local port = bench.arg(1, 9000)
  local server <close> = await(asyncio.start_server(echo, "127.0.0.1", port, { backlog = 1024 }))
  await(server:serve_forever())
end)

asyncio.run(main())
