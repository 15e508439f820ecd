-- So many worker processes that answer "Hello, World!": the processor time that the busiest of them spends for each
-- request that any of them answers. Where there are cores enough, the rate is one by that. All of them are on CPU 0, so
-- that each has as much to do as it can, and wrk on CPU 1.
--
--   moonloop workers.lua [WORKERS] CONNECTIONS SECONDS
local asyncio = require "asyncio"
local fs = require "fs"

local APP = [[
local web = require "http.web"
local app = web.Application()
app:add_routes { web.get("/", function() return web.Response { text = "Hello, World!" } end) }
return app
]]

local workers = #arg > 2 and table.remove(arg, 1) or "2"
local connections, seconds = arg[1], arg[2]

-- Nanoseconds of all threads of a process.
local function cpu(pid)
  local sum = 0
  for _, task in ipairs(await(fs.listdir(("/proc/%d/task"):format(pid)))) do
    local text = await(fs.read_file(("/proc/%d/task/%s/schedstat"):format(pid, task)))
    sum = sum + tonumber(text:match("^%d+"))
  end
  return sum
end

-- The processes that serve: those below the supervisor, or the one that there is.
local function servers(pid)
  local text = await(fs.read_file(("/proc/%d/task/%d/children"):format(pid, pid)))
  local list = {}
  for child in text:gmatch("%d+") do list[#list + 1] = math.tointeger(tonumber(child)) end
  return #list > 0 and list or { pid }
end

asyncio.run(async(function()
  local dir <close> = await(fs.TemporaryDirectory())
  await(fs.write_file(dir.path .. "/app.lua", APP))
  local engine = await(fs.readlink("/proc/self/exe"))
  local server <close> = await(asyncio.create_subprocess_exec("taskset", "-c", "0", engine, "run",
    dir.path .. "/app.lua", "--host", "127.0.0.1", "--port", "0", "--workers", workers,
    { stdout = asyncio.subprocess.PIPE }))
  local url = await(server.stdout:readline()):match("http://[%d.:]+")
  local pids, before, busiest = servers(server.pid), {}, 0
  for i, pid in ipairs(pids) do before[i] = cpu(pid) end
  local wrk = await(asyncio.create_subprocess_exec("taskset", "-c", "1", "wrk", "-t1", "-c" .. connections,
    "-d" .. seconds, url .. "/", { stdout = asyncio.subprocess.PIPE }))
  local text = await(wrk:communicate())
  assert(not text:find("Non%-2xx") and not text:find("Socket errors"), text)
  for i, pid in ipairs(pids) do busiest = math.max(busiest, cpu(pid) - before[i]) end
  print(("us %.4f"):format(busiest / 1000 / tonumber(text:match("(%d+) requests in"))))
  server:terminate()
  await(server:wait())
end))
