-- gather gives results, wait gives the tasks themselves: those done and those pending.
--   moonloop scripts/gather_and_wait.lua

local asyncio = require "asyncio"

local async function do_some_work(x)
  print("Waiting " .. x)
  await asyncio.sleep(x)
  print("Done")
  return x
end

local loop = asyncio.get_event_loop()

local coros = { do_some_work(1), do_some_work(3) }
local done, pending = loop:run_until_complete(asyncio.wait(coros))
print(("wait: %d done, %d pending"):format(#done, #pending))

coros = { do_some_work(1), do_some_work(3) }
local results = loop:run_until_complete(asyncio.gather(coros))
print("gather: " .. table.concat(results, ", "))
