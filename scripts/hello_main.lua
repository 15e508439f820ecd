-- A main coroutine, run to its end.
--   moonloop scripts/hello_main.lua

local asyncio = require "asyncio"

local async function main()
  print("Hello ...")
  await asyncio.sleep(1)
  print("... World!")
end

asyncio.run(main())
