-- Three tasks that block come one after the other; three that await, all at once.
--   moonloop scripts/blocking_sleep.lua

local asyncio = require "asyncio"
local time = require "time"

local async function test()
  time.sleep(0.1)
  print(time.time())
end

local async function test_await()
  await asyncio.sleep(0.1)
  print(time.time())
end

local loop = asyncio.get_event_loop()

local tasks = {}
for i = 1, 3 do tasks[i] = asyncio.ensure_future(test()) end
loop:run_until_complete(asyncio.wait(tasks))

for i = 1, 3 do tasks[i] = asyncio.ensure_future(test_await()) end
loop:run_until_complete(asyncio.wait(tasks))
