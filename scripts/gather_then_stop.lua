-- gather makes one future of several coroutines; its callback stops the loop.
--   moonloop scripts/gather_then_stop.lua

local asyncio = require "asyncio"

local async function do_some_work(_loop, x)
  print("Waiting " .. x)
  await asyncio.sleep(x)
  print("Done")
end

local done_callback = function(loop, _futu)
  loop:stop()
end

local loop = asyncio.get_event_loop()
local futus = asyncio.gather(do_some_work(loop, 1), do_some_work(loop, 3))
futus:add_done_callback(function(futu) done_callback(loop, futu) end)
loop:run_forever()
print("stopped")
