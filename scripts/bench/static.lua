-- A file of so many bytes from a static server, by wrk: microseconds of a request at full load. The server is on CPU 0,
-- wrk on CPU 1.
--
--   moonloop static.lua [nginx] SIZE CONNECTIONS SECONDS
local asyncio = require "asyncio"
local fs = require "fs"
local socket = require "socket"

local nginx = arg[1] == "nginx"
if nginx then table.remove(arg, 1) end
local size, connections, seconds = tonumber(arg[1]), tonumber(arg[2]), tonumber(arg[3])

local conf = [[
worker_processes 1; daemon off; pid DIR/pid; error_log DIR/error;
events { worker_connections 1024; }
http {
  access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000000;
  client_body_temp_path DIR/t; proxy_temp_path DIR/t; fastcgi_temp_path DIR/t;
  uwsgi_temp_path DIR/t; scgi_temp_path DIR/t;
  server { listen 127.0.0.1:PORT; root DIR/files; }
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
  return await(asyncio.create_subprocess_exec("taskset", "-c", "0", engine, "serve", dir .. "/files", "--quiet",
    "--no-compress", "--port", port, { stdout = asyncio.subprocess.DEVNULL }))
end

local function wait_for(port)
  for _ = 1, 500 do
    local ok, reader, writer = pcall(await, asyncio.open_connection("127.0.0.1", port))
    if ok then
      writer:close()
      return reader
    end
    await(asyncio.sleep(0.01))
  end
  error("the server does not come up")
end

asyncio.run(async(function()
  local dir <close> = await(fs.TemporaryDirectory())
  await(fs.mkdir(dir.path .. "/files"))
  await(fs.write_file(dir.path .. "/files/file", ("x"):rep(size)))
  await(fs.chmod(dir.path, tonumber("755", 8))) -- nginx's worker is another user
  local port = free_port()
  local server <close> = start(dir.path, port)
  wait_for(port)
  local wrk = await(asyncio.create_subprocess_exec("taskset", "-c", "1", "wrk", "-t1", "-c" .. connections,
    "-d" .. seconds, ("http://127.0.0.1:%d/file"):format(port), { stdout = asyncio.subprocess.PIPE }))
  local text = await(wrk:communicate())
  assert(not text:find("Non%-2xx") and not text:find("Socket errors"), text)
  print(("us %.3f"):format(1e6 / tonumber(text:match("Requests/sec:%s*([%d.]+)"))))
  server:terminate()
  await(server:wait())
end))
