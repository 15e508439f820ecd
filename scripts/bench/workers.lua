-- So many worker processes that answer "Hello, World!": the processor time that the busiest of them spends for each
-- request that any of them answers. Where there are cores enough, the rate is one by that. All of them are on CPU 0, so
-- that each has as much to do as it can, and wrk on CPU 1.
--
--   moonloop workers.lua [WORKERS] CONNECTIONS SECONDS
local asyncio = require "asyncio"
local fs = require "fs"

local here = arg[0]:match("^(.*)/") or "."
local bench, servers = dofile(here .. "/bench.lua"), dofile(here .. "/servers.lua")

local APP = [[
local web = require "http.web"
local app = web.Application()
app:add_routes { web.get("/", function() return web.Response { text = "Hello, World!" } end) }
return app
]]

local workers = #arg > 2 and table.remove(arg, 1) or "2"
local connections, seconds = arg[1], arg[2]

-- The processes that serve: those below the supervisor, or the one that there is.
local function serving(pid)
  local text = await(fs.read_file(("/proc/%d/task/%d/children"):format(pid, pid)))
  local list = {}
  for child in text:gmatch("%d+") do list[#list + 1] = math.tointeger(tonumber(child)) end
  return #list > 0 and list or { pid }
end

asyncio.run(async(function()
  local dir <close> = await(fs.TemporaryDirectory())
  await(fs.write_file(dir.path .. "/app.lua", APP))
  local server <close> = servers.engine({ "run", dir.path .. "/app.lua", "--host", "127.0.0.1", "--port", 0,
    "--workers", workers }, asyncio.subprocess.PIPE)
  local url = await(server.stdout:readline()):match("http://[%d.:]+")
  local pids, before, busiest = serving(server.pid), {}, 0
  for i, pid in ipairs(pids) do before[i] = servers.cpu(pid) end
  local text = servers.load("wrk", "-t1", "-c" .. connections, "-d" .. seconds, url .. "/")
  assert(not text:find("Non%-2xx") and not text:find("Socket errors"), text)
  for i, pid in ipairs(pids) do busiest = math.max(busiest, servers.cpu(pid) - before[i]) end
  bench.figure("us", busiest / 1000 / tonumber(text:match("(%d+) requests in")))
  server:terminate()
  await(server:wait())
end))
