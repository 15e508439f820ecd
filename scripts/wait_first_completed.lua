-- wait: until the first of several tasks is done, but no longer than 2 seconds.
--   moonloop scripts/wait_first_completed.lua

local asyncio = require "asyncio"

local async function coro1()
  await asyncio.sleep(1)
  return "coro1"
end

local async function coro2()
  await asyncio.sleep(3)
  return "coro2"
end

local async function main()
  local done, pending = await asyncio.wait(
    { coro1(), coro2() },
    { timeout = 2, return_when = asyncio.FIRST_COMPLETED }
  )
  for _, task in ipairs(done) do print("done: " .. task:result()) end
  print("pending: " .. #pending)

  -- wait neither raises a TimeoutError nor cancels: what is pending goes on.
  done, pending = await asyncio.wait(pending, { timeout = 0.5 })
  print(("after half a second: %d done, %d pending"):format(#done, #pending))
  done, pending = await asyncio.wait(pending)
  print(("at the end: %d done, %d pending"):format(#done, #pending))
end

asyncio.run(main())
