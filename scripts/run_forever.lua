-- run_forever does not return when all work is done: press Ctrl-C to end this.
--   moonloop scripts/run_forever.lua

local asyncio = require "asyncio"

local async function do_some_work(x)
  print("Waiting " .. x)
  await asyncio.sleep(x)
  print("Done")
end

local loop = asyncio.get_event_loop()
local coro = do_some_work(3)
asyncio.ensure_future(coro)
loop:run_forever()
loop:stop() -- never reached
