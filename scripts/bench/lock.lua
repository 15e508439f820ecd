-- lock.lua TASKS TIMES alone|contended: tasks take and release a lock that many times each:
-- alone, everyone its own; contended, all the same one, which they hold while they yield once.

local asyncio = require "asyncio"
local bench = dofile((arg[0]:match(".*/") or "") .. "bench.lua")

local tasks, times, mode = bench.arg(1, 100), bench.arg(2, 10000), arg[3] or "alone"

local workers = {}

workers.alone = async(function()
  local lock = asyncio.Lock()
  for _ = 1, times do
    await(lock:acquire())
    lock:release()
  end
end)

workers.contended = async(function(lock)
  for _ = 1, times do
    await(lock:acquire())
    await(asyncio.sleep(0))
    lock:release()
  end
end)

local main = async(function()
  local lock, running = asyncio.Lock(), {}
  local started = bench.now()
  for i = 1, tasks do running[i] = workers[mode](lock) end
  await(asyncio.gather(running))
  bench.each(started, tasks * times)
end)

asyncio.run(main())
