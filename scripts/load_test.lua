-- A load test: many clients at once, and the figures of how long each took. The sleep stands for a server that
-- answers after 0.1 to 0.5 s.
--   moonloop scripts/load_test.lua

local asyncio = require "asyncio"

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
  self.loop:run_until_complete(f)
end

-- The load test of a server.
local Test_Load = {}
Test_Load.__index = Test_Load

function Test_Load.new(num)
  return setmetatable({ num = num, total_payload = 0, total_num = 0, all_time = {} }, Test_Load)
end

Test_Load.task_func1 = async(function(self)
  local loop = asyncio.get_running_loop()
  local begin = loop:time()
  self.total_payload = self.total_payload + 0.25
  self.total_num = self.total_num + 1
  await(asyncio.sleep(0.1 + self.total_num % 5 / 10)) -- post the picture, read the answer
  table.insert(self.all_time, loop:time() - begin)
end)

function Test_Load:test_safety()
  print("test begin")
  for _ = 1, 2 do
    local async_client = Asyncio_Client.new()
    local loop = async_client.loop
    self.all_time = {}
    self.total_num = 0
    self.total_payload = 0
    local begin = loop:time()
    async_client:set_task(self.task_func1, self.num, self) -- the concurrent tasks
    async_client:run()
    local took = loop:time() - begin
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
    loop:run_until_complete(asyncio.sleep(3))
  end
  print("test finish")
end

Test_Load.new(50):test_safety()
