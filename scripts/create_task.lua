-- Two tasks run at the same time.
--   moonloop scripts/create_task.lua

local asyncio = require "asyncio"

local hello_world = async(function()
  print("Hello")
  await(asyncio.sleep(1))
  print("World")
end)

local main = async(function()
  local task1 = asyncio.create_task(hello_world())
  local task2 = asyncio.create_task(hello_world())
  await(task1)
  await(task2)
end)

asyncio.run(main())
