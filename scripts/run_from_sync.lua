-- A plain function runs a coroutine and returns what it gives.
--   moonloop scripts/run_from_sync.lua

local asyncio = require "asyncio"

local async function async_main()
  await asyncio.sleep(1)
  return "Done"
end

local sync_main = function()
  return asyncio.run(async_main())
end

print(sync_main())
