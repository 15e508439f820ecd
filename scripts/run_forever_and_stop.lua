-- stop() has to come from within the loop. With several coroutines the first to finish stops it for all.
--   moonloop scripts/run_forever_and_stop.lua

local asyncio = require "asyncio"

local async function do_some_work(loop, x)
  print("Waiting " .. x)
  await asyncio.sleep(x)
  print("Done")
  loop:stop()
end

local loop = asyncio.get_event_loop()

asyncio.ensure_future(do_some_work(loop, 3))
loop:run_forever()
print("stopped")

asyncio.ensure_future(do_some_work(loop, 1))
asyncio.ensure_future(do_some_work(loop, 3))
loop:run_forever()
print("stopped, with the second coroutine not done")

loop:run_forever() -- the loop can go on where it was
print("stopped")
