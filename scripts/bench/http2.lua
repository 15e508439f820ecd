-- Requests of HTTP/2 to web.Application, by h2load: microseconds of a request at full load, and the server's CPU for
-- one. The server is on CPU 0, h2load on CPU 1. The limit is nginx, which answers the same bytes.
--
--   moonloop http2.lua [nginx] REQUESTS CONNECTIONS STREAMS
local asyncio = require "asyncio"
local bench = dofile((arg[0]:match("^(.*)/") or ".") .. "/bench.lua")
local fs = require "fs"
local socket = require "socket"

local nginx = arg[1] == "nginx"
if nginx then table.remove(arg, 1) end
local requests, connections, streams = bench.arg(1, 100000), bench.arg(2, 10), bench.arg(3, 32)

local conf = [[
worker_processes 1; daemon off; master_process off; pid DIR/pid; error_log DIR/error;
events { worker_connections 1024; }
http {
  access_log off; keepalive_requests 1000000000;
  client_body_temp_path DIR/t; proxy_temp_path DIR/t; fastcgi_temp_path DIR/t;
  uwsgi_temp_path DIR/t; scgi_temp_path DIR/t;
  server { listen 127.0.0.1:PORT http2; location / { default_type text/plain; return 200 "Hello, World!"; } }
}
]]

local function free_port()
  local sock <close> = socket.socket()
  sock:bind("127.0.0.1", 0)
  return sock:getsockname()[2]
end

local function start(dir, port)
  if nginx then
    await(fs.write_file(dir .. "/conf", (conf:gsub("DIR", dir):gsub("PORT", tostring(port)))))
    return await(asyncio.create_subprocess_exec("taskset", "-c", "0", "nginx", "-c", dir .. "/conf", "-p", dir,
      { stderr = asyncio.subprocess.DEVNULL, kill_on_close = "group", process_group = 0,
        add_env = { PATH = os.getenv("PATH") .. ":/usr/sbin" } }))
  end
  local engine = await(fs.readlink("/proc/self/exe"))
  local program = (arg[0]:match("^(.*)/") or ".") .. "/http.lua"
  return await(asyncio.create_subprocess_exec("taskset", "-c", "0", engine, program, port,
    { stdout = asyncio.subprocess.DEVNULL }))
end

local function wait_for(port)
  for _ = 1, 500 do
    local ok, _, writer = pcall(await, asyncio.open_connection("127.0.0.1", port))
    if ok then
      writer:close()
      return
    end
    await(asyncio.sleep(0.01))
  end
  error("the server does not come up")
end

--- Nanoseconds of CPU that the process has had.
local function cpu(pid)
  local text = await(fs.read_file(("/proc/%d/schedstat"):format(pid)))
  return tonumber(text:match("^%d+"))
end

asyncio.run(async(function()
  local dir <close> = await(fs.TemporaryDirectory())
  local port = free_port()
  local server <close> = start(dir.path, port)
  wait_for(port)
  local before = cpu(server.pid)
  local load = await(asyncio.create_subprocess_exec("taskset", "-c", "1", "h2load", "-n", requests, "-c", connections,
    "-m", streams, ("http://127.0.0.1:%d/"):format(port), { stdout = asyncio.subprocess.PIPE }))
  local text = await(load:communicate())
  assert(text:find((" %d succeeded, 0 failed"):format(requests), 1, true), text)
  bench.figure("us", 1e6 / tonumber(text:match("([%d.]+) req/s")))
  bench.figure("cpu", (cpu(server.pid) - before) / 1000 / requests)
  server:terminate()
  await(server:wait())
end))
