-- Talks and talks, in a worker thread.
local asyncio = require "asyncio"
await asyncio.to_thread(function()
  while true do print(("bla "):rep(100)) end
end)
