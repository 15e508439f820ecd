-- A thousand timers.
local loop = require "asyncio".get_running_loop()
for i = 1, 1000 do loop:call_later(i, print) end
