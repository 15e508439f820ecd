-- Sleep for a second without holding up anybody.
--   moonloop scripts/sleep.lua

local asyncio = require "asyncio"

local async function main()
  local loop = asyncio.get_running_loop()
  local start = loop:time()
  await asyncio.sleep(1) -- sleep for 1 second
  print(("slept for %.1f s"):format(loop:time() - start))
  print(await asyncio.sleep(1, "a result to give afterwards"))
end

asyncio.run(main())
