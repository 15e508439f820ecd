-- Two tasks run at the same time.
--   moonloop scripts/create_task.lua

local asyncio = require "asyncio"

local async function hello_world()
  print("Hello")
  await asyncio.sleep(1)
  print("World")
end

local async function main()
  local task1 = asyncio.create_task(hello_world())
  local task2 = asyncio.create_task(hello_world())
  await task1
  await task2
end

asyncio.run(main())
