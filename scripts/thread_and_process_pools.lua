-- Waiting in threads and computing in processes, all at the same time.
--   moonloop scripts/thread_and_process_pools.lua

local asyncio = require "asyncio"
local futures = require "concurrent.futures"
local time = require "time"

local function wait_io(id)
  time.sleep(0.1) -- stands for a call that waits
  return ("threading(%d): done at %s"):format(id, os.date("%H:%M:%S"))
end

local function more_cpu(id)
  local sum = 0
  for i = 0, 10 ^ 6 - 1 do sum = sum + i * i end
  return ("process(%d): done at %s"):format(id, os.date("%H:%M:%S"))
end

local async function main(workers)
  local loop = asyncio.get_running_loop()
  local thread_pool <close> = futures.ThreadPoolExecutor(workers)
  local process_pool <close> = futures.ProcessPoolExecutor(workers)

  local calls = {}
  for i = 0, workers - 1 do calls[#calls + 1] = loop:run_in_executor(thread_pool, wait_io, i) end
  for i = 0, workers - 1 do calls[#calls + 1] = loop:run_in_executor(process_pool, more_cpu, i) end
  print(table.concat(await asyncio.gather(calls), "\n"))
end

local start = time.monotonic()
asyncio.run(main(3))
print(("took %.3f s"):format(time.monotonic() - start))
