--- Servers for the rows that load one with a tool: nginx, or a program of this engine, alone on CPU 0; what loads it
--- has CPU 1.

local asyncio = require "asyncio"
local fs = require "fs"
local socket = require "socket"

local M = {}

local CONF = [[
worker_processes 1; daemon off; master_process off; pid DIR/pid; error_log DIR/error;
events { worker_connections 1024; }
http {
  access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000000;
  client_body_temp_path DIR/t; proxy_temp_path DIR/t; fastcgi_temp_path DIR/t;
  uwsgi_temp_path DIR/t; scgi_temp_path DIR/t;
  server { SERVER }
}
]]

--- A port of 127.0.0.1 on which nothing listens now.
---@return integer
function M.free_port()
  local sock <close> = socket.socket()
  sock:bind("127.0.0.1", 0)
  return sock:getsockname()[2]
end

--- nginx: one process.
---@param dir string a folder for its files
---@param server string what its `server` block has; DIR stands for the folder
---@return asyncio.Process
function M.nginx(dir, server)
  local conf = CONF:gsub("SERVER", (server:gsub("%%", "%%%%"))):gsub("DIR", dir)
  await(fs.write_file(dir .. "/conf", conf))
  return await(asyncio.create_subprocess_exec("taskset", "-c", "0", "nginx", "-c", dir .. "/conf", "-p", dir,
    { stderr = asyncio.subprocess.DEVNULL, kill_on_close = "group", process_group = 0,
      add_env = { PATH = os.getenv("PATH") .. ":/usr/sbin" } }))
end

--- The engine that runs this row, with these arguments.
---@param arguments (string|integer)[]
---@param stdout? any where its output goes; nil: nowhere
---@return asyncio.Process
function M.engine(arguments, stdout)
  local command = { "taskset", "-c", "0", await(fs.readlink("/proc/self/exe")), table.unpack(arguments) }
  command[#command + 1] = { stdout = stdout or asyncio.subprocess.DEVNULL }
  return await(asyncio.create_subprocess_exec(table.unpack(command)))
end

--- Waits until something listens there.
---@param port integer
function M.wait_for(port)
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

--- What a tool prints that runs on CPU 1 until it ends.
---@param ... string|integer the command
---@return string
function M.load(...)
  local command = { "taskset", "-c", "1", ... }
  command[#command + 1] = { stdout = asyncio.subprocess.PIPE }
  local tool <close> = await(asyncio.create_subprocess_exec(table.unpack(command)))
  return (await(tool:communicate()))
end

--- Nanoseconds of CPU that all threads of a process have had.
---@param pid integer
---@return number
function M.cpu(pid)
  local sum = 0
  for _, task in ipairs(await(fs.listdir(("/proc/%d/task"):format(pid)))) do
    local text = await(fs.read_file(("/proc/%d/task/%s/schedstat"):format(pid, task)))
    sum = sum + tonumber(text:match("^%d+"))
  end
  return sum
end

return M
