-- A coroutine hands its work to another one and goes on with its result: yield from, now await.
--   moonloop scripts/compute_and_print_sum.lua

local asyncio = require "asyncio"

local async function compute(x, y)
  print(("Compute %d + %d ..."):format(x, y))
  await asyncio.sleep(1.0)
  return x + y
end

local async function print_sum(x, y)
  local result = await compute(x, y)
  print(("%d + %d = %d"):format(x, y, result))
end

local loop = asyncio.get_event_loop()
local tasks = { print_sum(1, 2), print_sum(3, 4) }
loop:run_until_complete(asyncio.gather(tasks))
loop:close()
