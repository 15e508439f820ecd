-- What gather gives: one table of results.
--   moonloop scripts/gather_results.lua

local asyncio = require "asyncio"

local coroutine_1 = async(function()
  await(asyncio.sleep(1))
  return 1
end)

local coroutine_2 = async(function()
  await(asyncio.sleep(2))
  return 2
end)

local main = async(function()
  local results = await(asyncio.gather(coroutine_1(), coroutine_2()))
  print(table.unpack(results))
end)

asyncio.run(main())
