-- The callback gets the task itself, and the result from it.
--   moonloop scripts/callback_with_result.lua

local asyncio = require "asyncio"

local async function test(x)
  return x + 3
end

local callback = function(y)
  print(y:result())
end

local coroutine = test(5)
local loop = asyncio.get_event_loop()
local task = loop:create_task(coroutine)
task:add_done_callback(callback)
loop:run_until_complete(task)
