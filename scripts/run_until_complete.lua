-- The loop runs until a coroutine, or the future made of it, is done.
--   moonloop scripts/run_until_complete.lua

local asyncio = require "asyncio"

local async function do_some_work(x)
  print("Waiting " .. x)
  await asyncio.sleep(x)
  print("Done")
end

local loop = asyncio.get_event_loop()
loop:run_until_complete(do_some_work(3))

-- A coroutine is wrapped in a future anyway; one can do so oneself.
loop:run_until_complete(asyncio.ensure_future(do_some_work(3)))
