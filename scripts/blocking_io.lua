-- A function that blocks, in the loop's own pool of threads and in one's own.
--   moonloop scripts/blocking_io.lua

local asyncio = require "asyncio"
local futures = require "concurrent.futures"
local time = require "time"

local function blocking_io()
  time.sleep(0.1)
  return "Blocking IO done"
end

local async function main()
  local loop = asyncio.get_running_loop()

  -- 1. in the default pool of threads
  local result = await loop:run_in_executor(nil, blocking_io)
  print("default pool:", result)

  -- 2. in a pool of one's own
  do
    local pool <close> = futures.ThreadPoolExecutor()
    result = await loop:run_in_executor(pool, blocking_io)
    print("own pool:", result)
  end

  -- 3. the short way
  print("to_thread:", await asyncio.to_thread(blocking_io))
end

asyncio.run(main())
