-- A loop can run again until it is closed.
--   moonloop scripts/closed_loop.lua

local asyncio = require "asyncio"

local async function do_some_work(_loop, x)
  print("Waiting " .. x)
  await asyncio.sleep(x)
  print("Done")
end

local loop = asyncio.get_event_loop()
loop:run_until_complete(do_some_work(loop, 1))
loop:run_until_complete(do_some_work(loop, 3))
loop:close()

local coro = do_some_work(loop, 3)
print(pcall(loop.run_until_complete, loop, coro)) -- an error here
coro:close()
