-- An async generator is an ordinary Lua generator: it may await.
--   moonloop scripts/async_generator.lua

local asyncio = require "asyncio"

local async_gen = function()
  return coroutine.wrap(function()
    for i = 0, 2 do
      await asyncio.sleep(1)
      coroutine.yield(i)
    end
  end)
end

local async function main()
  async for item in async_gen() do
    print(item)
  end
end

asyncio.run(main())
