-- return_exceptions: errors become results instead of being raised.
--   moonloop scripts/gather_return_exceptions.lua

local asyncio = require "asyncio"

local async function coro1()
  await asyncio.sleep(1)
  return "result of coro1"
end

local async function coro2()
  await asyncio.sleep(2)
  error(asyncio.ValueError("coro2 went wrong"))
end

local async function main()
  local results = await asyncio.gather(
    coro1(),
    coro2(),
    { return_exceptions = true } -- give error objects instead of raising them
  )
  for i, result in ipairs(results) do
    local kind = asyncio.isinstance(result, asyncio.Exception) and "error" or "value"
    print(i, kind, result)
  end

  -- Without it the first error is raised.
  print(pcall(await, asyncio.gather(coro1(), coro2())))
end

asyncio.run(main())
