-- A callback tells that a future is done.
--   moonloop scripts/done_callback.lua

local asyncio = require "asyncio"

local async function do_some_work(x)
  print("Waiting " .. x)
  await asyncio.sleep(x)
end

local done_callback = function(_futu)
  print("Done")
end

local loop = asyncio.get_event_loop()
local futu = asyncio.ensure_future(do_some_work(3))
futu:add_done_callback(done_callback)
loop:run_until_complete(futu)
