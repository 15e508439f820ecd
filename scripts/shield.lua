-- shield: the one who waits is cancelled, the task behind the shield goes on.
--   moonloop scripts/shield.lua

local asyncio = require "asyncio"

local async function coro()
  await asyncio.sleep(2)
  print("coro finished")
  return "result"
end

local async function wait_for_it(task)
  await asyncio.shield(task) -- keeps the task from being cancelled
end

local async function main()
  local task = asyncio.create_task(coro())
  local waiter = asyncio.create_task(wait_for_it(task))
  await asyncio.sleep(1)
  waiter:cancel()
  local ok, err = pcall(await, waiter)
  print(ok, err)
  print("task cancelled:", task:cancelled())
  print(await task)
end

asyncio.run(main())
