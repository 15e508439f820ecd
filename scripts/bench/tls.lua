-- tls.lua CERTIFICATE KEY PORT: a TLS server that sends back what it reads, a task for each connection.

local asyncio = require "asyncio"
local ssl = require "ssl"
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
  local context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
  context:load_cert_chain(arg[1], arg[2])
  local port = bench.arg(3, 9000)
  local server <close> = await(asyncio.start_server(echo, "127.0.0.1", port, { backlog = 1024, ssl = context }))
  await(server:serve_forever())
end)

asyncio.run(main())
