-- An object that is iterated with waits in between.
--   moonloop scripts/async_iterator.lua

local asyncio = require "asyncio"

local AsyncCounter = {}
AsyncCounter.__index = AsyncCounter

function AsyncCounter.new(stop)
  return setmetatable({ current = 0, stop = stop }, AsyncCounter)
end

function AsyncCounter:__aiter()
  return self
end

async function AsyncCounter:__anext()
  if self.current < self.stop then
    await asyncio.sleep(1)
    self.current = self.current + 1
    return self.current
  else
    error(asyncio.StopAsyncIteration())
  end
end

local async function main()
  async for i in AsyncCounter.new(3) do
    print(i)
  end
end

asyncio.run(main())
