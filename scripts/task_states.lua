-- A task shows its state: pending before it runs, finished afterwards.
--   moonloop scripts/task_states.lua

local asyncio = require "asyncio"
local time = require "time"

local now = function() return time.time() end

local async function do_some_work(x)
  print("Waiting: ", x)
end

local start = now()
local coroutine = do_some_work(2)
local loop = asyncio.get_event_loop()
-- local task = asyncio.ensure_future(coroutine) -- one way
local task = loop:create_task(coroutine) -- the other
print(task)
loop:run_until_complete(task)
print(task)
print("TIME: ", now() - start)
