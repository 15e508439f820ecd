-- Await one after the other: 3 seconds. As tasks: 2 seconds.
--   moonloop scripts/sleep_in_sequence_and_together.lua

local asyncio = require "asyncio"
local time = require "time"

local async function say_after(delay, what)
  await asyncio.sleep(delay)
  return what
end

local async function main()
  print("started at " .. time.strftime("%X"))
  print(await say_after(2, "hello"))
  print(await say_after(1, "world"))
  print("finished at " .. time.strftime("%X"))
end

asyncio.run(main())

async function main()
  local task1 = asyncio.create_task(say_after(2, "hello"))
  local task2 = asyncio.create_task(say_after(1, "world"))
  print("started at " .. time.strftime("%X"))
  print(await task1)
  print(await task2)
  print("finished at " .. time.strftime("%X"))
end

asyncio.run(main())
