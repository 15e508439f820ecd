-- A task that starts two, and so on.
local asyncio = require "asyncio"
local fork
fork = async(function()
  local a, b = asyncio.create_task(fork()), asyncio.create_task(fork())
  await(asyncio.gather(a, b))
end)
await(fork())
