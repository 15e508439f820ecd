-- Twelve requests in three threads: executor:map gives the results in order.
--   moonloop scripts/fetch_in_threads.lua

local futures = require "concurrent.futures"
local time = require "time"

local function fetch(a)
  time.sleep(0.02) -- stands for a request that blocks
  return tostring(a)
end

local NUMBERS = {}
for a = 0, 11 do NUMBERS[#NUMBERS + 1] = a end

local start = time.monotonic()
do
  local executor <close> = futures.ThreadPoolExecutor { max_workers = 3 }
  local i = 0
  for result in executor:map(fetch, NUMBERS) do
    i = i + 1
    print(("fetch(%d) = %s"):format(NUMBERS[i], result))
  end
end
print(("Use ThreadPoolExecutor cost: %.2f"):format(time.monotonic() - start))
