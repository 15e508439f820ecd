-- A task that starts two, and so on.
local asyncio = require "asyncio"
local fork
async function fork()
  local a, b = asyncio.create_task(fork()), asyncio.create_task(fork())
  await asyncio.gather(a, b)
end
await fork()
