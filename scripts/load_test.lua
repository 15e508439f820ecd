-- A load test: many clients post a picture at once; then the figures of how long each took.
--   moonloop scripts/web_server.lua &
--   moonloop scripts/load_test.lua [URL [PICTURE [CLIENTS]]]

local asyncio = require "asyncio"
local fs = require "fs"
local http = require "http"
local time = require "time"

-- Collects tasks and runs them all at once.
local Asyncio_Client = {}
Asyncio_Client.__index = Asyncio_Client

function Asyncio_Client.new()
  return setmetatable({ loop = asyncio.get_event_loop(), tasks = {} }, Asyncio_Client)
end

-- Puts num coroutines into the list of tasks; what follows is passed on to the coroutine function.
function Asyncio_Client:set_task(task_fun, num, ...)
  for _ = 1, num do
    table.insert(self.tasks, task_fun(...))
  end
end

function Asyncio_Client:run()
  local f = asyncio.wait(self.tasks)
  local done = self.loop:run_until_complete(f)
  for _, task in ipairs(done) do task:result() end -- raises what went wrong
end

-- The load test of a server.
local Test_Load = {}
Test_Load.__index = Test_Load

function Test_Load.new(num, url, image)
  return setmetatable({
    num = num, url = url, image = image, total_payload = 0, total_num = 0, all_time = {},
  }, Test_Load)
end

-- One client: posts the picture and reads the answer.
async function Test_Load:task_func1(session)
  local begin = time.time()
  local file <close> = await fs.open(self.image, "rb")
  local fsize = (await file:stat()).size
  self.total_payload = self.total_payload + fsize / (1024 * 1024)
  local data = http.FormData { { "image_id", "2" }, { "image", file } }
  local r <close> = await session:post(self.url, { data = data })
  await r:json()
  self.total_num = self.total_num + 1
  table.insert(self.all_time, time.time() - begin)
end

function Test_Load:test_safety()
  print("test begin")
  local session <close> = http.ClientSession()
  for _ = 1, 2 do
    local async_client = Asyncio_Client.new() -- makes the clients
    self.all_time = {}
    self.total_num = 0
    self.total_payload = 0
    print("picture: " .. self.image)
    local begin = time.time()
    async_client:set_task(self.task_func1, self.num, self, session) -- the concurrent tasks
    async_client:run()
    local took = time.time() - begin
    table.sort(self.all_time, function(x, y) return x > y end)
    local sum = 0
    for _, t in ipairs(self.all_time) do sum = sum + t end
    print(("clients at once: %d"):format(self.total_num))
    print(("time in all (s): %.3f"):format(took))
    print(("longest (s): %.3f"):format(self.all_time[1]))
    print(("shortest (s): %.3f"):format(self.all_time[#self.all_time]))
    print(("top 90%% (s): %.3f"):format(self.all_time[#self.all_time // 10 + 1]))
    print(("mean (s each): %.3f"):format(sum / self.total_num))
    print(("clients served (each s): %.1f"):format(self.total_num / took))
    print(("payload (MB): %.2f"):format(self.total_payload))
    print(("throughput (MB/s): %.2f"):format(self.total_payload / took))
    time.sleep(0.1)
  end
  print("test finish")
end

-- A picture for those who have none: 300 x 300 points, each of another colour.
local function draw(path)
  local points = {}
  for i = 1, 300 * 300 do points[i] = string.pack(">I3", i * 2654435761 & 0xFFFFFF) end
  await fs.write_file(path, "P6 300 300 255\n" .. table.concat(points))
  return path
end

local folder <close> = await fs.TemporaryDirectory()
local image = arg[2] or draw(folder.path .. "/picture.ppm")
Test_Load.new(tonumber(arg[3]) or 50, arg[1] or "http://127.0.0.1:8080/demo1/load", image):test_safety()
