-- A main coroutine, run to its end.
--   moonloop scripts/hello_main.lua

local asyncio = require "asyncio"

local main = async(function()
  print("Hello ...")
  await(asyncio.sleep(1))
  print("... World!")
end)

asyncio.run(main())
