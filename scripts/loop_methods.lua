-- The loop's own methods: which loop, its states, callbacks now, later and at a time.
--   moonloop scripts/loop_methods.lua

local asyncio = require "asyncio"

local loop = asyncio.new_event_loop() -- a new loop
asyncio.set_event_loop(loop) -- is now the current one
print("current:", asyncio.get_event_loop() == loop)
print("running, closed:", loop:is_running(), loop:is_closed())

local start = loop:time()
local say = function(what)
  print(("%.1f %s"):format(loop:time() - start, what))
end

loop:call_later(0.2, say, "call_later")
loop:call_at(start + 0.1, say, "call_at")
loop:call_soon(say, "call_soon")
loop:call_soon_threadsafe(say, "call_soon_threadsafe")
local handle = loop:call_soon(say, "cancelled, never called")
handle:cancel()
loop:call_later(0.3, loop.stop, loop)

loop:call_soon(function()
  print("running, closed:", loop:is_running(), loop:is_closed())
  print("running loop:", asyncio.get_running_loop() == loop)
end)
loop:run_forever() -- until stop()

loop:close()
print("running, closed:", loop:is_running(), loop:is_closed())
