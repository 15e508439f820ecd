-- Cancel a task and wait until it has ended.
--   moonloop scripts/cancel_task.lua

local asyncio = require "asyncio"

local async function coro()
  print("Task started")
  await asyncio.sleep(3600)
  print("never reached")
end

local async function main()
  local task = asyncio.create_task(coro())
  await asyncio.sleep(1)
  task:cancel()
  local ok, err = pcall(await, task)
  if not ok and asyncio.isinstance(err, asyncio.CancelledError) then
    print("Task was cancelled")
  end
end

asyncio.run(main())
