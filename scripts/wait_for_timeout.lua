-- wait_for: wait no longer than a second.
--   moonloop scripts/wait_for_timeout.lua

local asyncio = require "asyncio"

local async function coro()
  await asyncio.sleep(10)
end

local async function main()
  local ok, err = pcall(await, asyncio.wait_for(coro(), 1.0))
  if not ok and asyncio.isinstance(err, asyncio.TimeoutError) then
    print("Timeout!")
  end

  -- The same for a block of code:
  ok = pcall(function()
    async with asyncio.timeout(1.0) do await coro() end
  end)
  print(ok and "in time" or "Timeout!")
end

asyncio.run(main())
