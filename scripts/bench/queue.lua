-- queue.lua N SIZE: N items go from a producer to a consumer through a queue of that size.

local asyncio = require "asyncio"
local bench = dofile((arg[0]:match(".*/") or "") .. "bench.lua")

local n, size = bench.arg(1, 1000000), bench.arg(2, 100)

local produce = async(function(queue)
  for i = 0, n - 1 do await(queue:put(i)) end
end)

local consume = async(function(queue)
  local sum = 0
  for _ = 1, n do sum = sum + await(queue:get()) end
  return sum
end)

local main = async(function()
  local queue = asyncio.Queue(size)
  local started = bench.now()
  local producer = asyncio.create_task(produce(queue))
  local sum = await(consume(queue))
  await(producer)
  bench.each(started, n)
  assert(sum == n * (n - 1) // 2)
end)

asyncio.run(main())
