-- spawn.lua N BATCH: N trivial coroutines become tasks and are awaited, a batch in each gather.

local asyncio = require "asyncio"
local bench = dofile((arg[0]:match(".*/") or "") .. "bench.lua")

local n, batch = bench.arg(1, 1000000), bench.arg(2, 10000)

local same = async(function(x) return x end)

local main = async(function()
  local started = bench.now()
  for _ = 1, n // batch do
    local coroutines = {}
    for i = 1, batch do coroutines[i] = same(i) end
    local results = await(asyncio.gather(coroutines))
    assert(#results == batch and results[1] == 1 and results[batch] == batch)
  end
  bench.each(started, n // batch * batch)
end)

asyncio.run(main())
