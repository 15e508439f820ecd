-- Three tasks at once, timers, a printed line.
local asyncio = require "asyncio"
local async function work(n)
  await asyncio.sleep(n / 1000)
  return n * n
end
local squares = await asyncio.gather(work(1), work(2), work(3))
print("squares", table.concat(squares, " "))
return table.concat(squares, "+")
