-- await.lua N [keyword]: one task awaits a trivial coroutine N times; with the keyword, an async function by its name,
-- of which no coroutine is made. The limit, a plain call of the same function, is measured here too, so that both loops
-- run in one process.

local asyncio = require "asyncio"
local bench = dofile((arg[0]:match(".*/") or "") .. "bench.lua")

local n = bench.arg(1, 5000000)

local function plain(x) return x end
local same = async(function(x) return x end)
local async function named(x) return x end

local function calls()
  local started, sum = bench.now(), 0
  for _ = 1, n do sum = sum + plain(1) end
  bench.each(started, n, "limit")
  assert(sum == n)
end

local main = async(function()
  calls()
  local started, sum = bench.now(), 0
  if arg[2] == "keyword" then
    for _ = 1, n do sum = sum + await named(1) end
  else
    for _ = 1, n do sum = sum + await(same(1)) end
  end
  bench.each(started, n)
  assert(sum == n)
end)

asyncio.run(main())
