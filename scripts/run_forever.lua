-- run_forever goes on until stop() is called, Ctrl-C is pressed, or nothing is left that could happen. (Python's
-- waits for Ctrl-C even then: the program that this one comes from never ends.)
--   moonloop scripts/run_forever.lua

local asyncio = require "asyncio"

local async function do_some_work(x)
  print("Waiting " .. x)
  await asyncio.sleep(x)
  print("Done")
end

local loop = asyncio.get_event_loop()
local coro = do_some_work(3)
asyncio.ensure_future(coro)
loop:run_forever()
print("nothing is left to do") -- too late for loop:stop(): that has to come from within
