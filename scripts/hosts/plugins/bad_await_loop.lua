-- Lets go each time, and never ends; a cancellation is caught.
local asyncio = require "asyncio"
while true do asyncio.catch(await, asyncio.sleep(0)) end
