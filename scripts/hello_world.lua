-- Say Hello, wait for a second, say World.
--   moonloop scripts/hello_world.lua

local asyncio = require "asyncio"

local async function hello_world()
  print("Hello")
  await asyncio.sleep(1)
  print("World")
end

asyncio.run(hello_world())

-- The older way, with the loop in one's own hands:
local loop = asyncio.get_event_loop()
loop:run_until_complete(hello_world())
loop:close()
