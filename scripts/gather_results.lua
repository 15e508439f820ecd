-- What gather gives: one table of results.
--   moonloop scripts/gather_results.lua

local asyncio = require "asyncio"

local async function coroutine_1()
  await asyncio.sleep(1)
  return 1
end

local async function coroutine_2()
  await asyncio.sleep(2)
  return 2
end

local async function main()
  local results = await asyncio.gather(coroutine_1(), coroutine_2())
  print(table.unpack(results))
end

asyncio.run(main())
