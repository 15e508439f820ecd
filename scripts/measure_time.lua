-- How long a coroutine takes that has nothing to wait for.
--   moonloop scripts/measure_time.lua

local asyncio = require "asyncio"
local time = require "time"

local now = function() return time.time() end

local async function do_some_work(x) -- async defines a coroutine function
  print("Waiting: ", x)
end

local start = now()
local coroutine = do_some_work(2) -- a coroutine; do_some_work has not begun to run
local loop = asyncio.get_event_loop() -- first, a loop
loop:run_until_complete(coroutine) -- second, give it the coroutine and start it
print("TIME: ", now() - start)
