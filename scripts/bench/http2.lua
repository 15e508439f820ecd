-- Requests of HTTP/2 to web.Application, by h2load: microseconds of a request at full load, and the server's CPU for
-- one. The server is on CPU 0, h2load on CPU 1. The limit is nginx, which answers the same bytes.
--
--   moonloop http2.lua [nginx] REQUESTS CONNECTIONS STREAMS
local asyncio = require "asyncio"
local fs = require "fs"

local here = arg[0]:match("^(.*)/") or "."
local bench, servers = dofile(here .. "/bench.lua"), dofile(here .. "/servers.lua")

local nginx = arg[1] == "nginx"
if nginx then table.remove(arg, 1) end
local requests, connections, streams = bench.arg(1, 100000), bench.arg(2, 10), bench.arg(3, 32)

local SERVER = [[listen 127.0.0.1:%d http2; location / { default_type text/plain; return 200 "Hello, World!"; }]]

asyncio.run(async(function()
  local dir <close> = await(fs.TemporaryDirectory())
  local port = servers.free_port()
  local server <close> = nginx and servers.nginx(dir.path, SERVER:format(port))
    or servers.engine { here .. "/http.lua", port }
  servers.wait_for(port)
  local before = servers.cpu(server.pid)
  local text = servers.load("h2load", "-n", requests, "-c", connections, "-m", streams,
    ("http://127.0.0.1:%d/"):format(port))
  assert(text:find((" %d succeeded, 0 failed"):format(requests), 1, true), text)
  bench.figure("us", 1e6 / tonumber(text:match("([%d.]+) req/s")))
  bench.figure("cpu", (servers.cpu(server.pid) - before) / 1000 / requests)
  server:terminate()
  await(server:wait())
end))
