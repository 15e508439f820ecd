-- A file of so many bytes from a static server, by wrk: microseconds of a request at full load. The server is on CPU 0,
-- wrk on CPU 1.
--
--   moonloop static.lua [nginx] SIZE CONNECTIONS SECONDS
local asyncio = require "asyncio"
local fs = require "fs"

local here = arg[0]:match("^(.*)/") or "."
local bench, servers = dofile(here .. "/bench.lua"), dofile(here .. "/servers.lua")

local nginx = arg[1] == "nginx"
if nginx then table.remove(arg, 1) end
local size, connections, seconds = tonumber(arg[1]), tonumber(arg[2]), tonumber(arg[3])

asyncio.run(async(function()
  local dir <close> = await(fs.TemporaryDirectory())
  local files = dir.path .. "/files"
  await(fs.mkdir(files))
  await(fs.write_file(files .. "/file", ("x"):rep(size)))
  await(fs.chmod(dir.path, tonumber("755", 8))) -- nginx may serve as another user
  local port = servers.free_port()
  local server <close> = nginx and servers.nginx(dir.path, ("listen 127.0.0.1:%d; root DIR/files;"):format(port))
    or servers.engine { "serve", files, "--quiet", "--no-compress", "--port", port }
  servers.wait_for(port)
  local text = servers.load("wrk", "-t1", "-c" .. connections, "-d" .. seconds,
    ("http://127.0.0.1:%d/file"):format(port))
  assert(not text:find("Non%-2xx") and not text:find("Socket errors"), text)
  bench.figure("us", 1e6 / tonumber(text:match("Requests/sec:%s*([%d.]+)")))
  server:terminate()
  await(server:wait())
end))
