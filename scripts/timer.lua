-- A timer made of a sleep and a callback.
--   moonloop scripts/timer.lua

local asyncio = require "asyncio"

local async function timer(x, cb)
  local futu = asyncio.ensure_future(asyncio.sleep(x))
  futu:add_done_callback(cb)
  await futu
end

local loop = asyncio.get_event_loop()
local t = timer(3, function(_futu) print("Done") end)
loop:run_until_complete(t)

-- The loop has timers of its own:
loop:call_later(3, function()
  print("Done")
  loop:stop()
end)
loop:run_forever()
