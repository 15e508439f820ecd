-- switch.lua TASKS YIELDS: that many tasks yield to the loop that many times each.

local asyncio = require "asyncio"
local bench = dofile((arg[0]:match(".*/") or "") .. "bench.lua")

local tasks, yields = bench.arg(1, 100), bench.arg(2, 20000)

local worker = async(function()
  for _ = 1, yields do await(asyncio.sleep(0)) end
end)

local main = async(function()
  local started, workers = bench.now(), {}
  for i = 1, tasks do workers[i] = worker() end
  await(asyncio.gather(workers))
  bench.each(started, tasks * yields)
end)

asyncio.run(main())
