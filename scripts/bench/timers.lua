-- timers.lua N MS: N tasks at once, each asleep for a random time of up to MS milliseconds.
-- CPU time and peak memory are taken from outside; `over` is how late the last task was.

local asyncio = require "asyncio"
local bench = dofile((arg[0]:match(".*/") or "") .. "bench.lua")

local n, longest = bench.arg(1, 1000000), bench.arg(2, 2000) / 1000

local sleeper = async(function()
  await(asyncio.sleep(math.random() * longest))
end)

local main = async(function()
  math.randomseed(1)
  local started, tasks = bench.now(), {}
  for i = 1, n do tasks[i] = asyncio.create_task(sleeper()) end
  for i = 1, n do await(tasks[i]) end
  bench.figure("over", bench.now() - started - longest)
end)

asyncio.run(main())
