-- sleep(0) does not sleep, but lets the others have their turn.
--   moonloop scripts/sleep_zero.lua

local asyncio = require "asyncio"

local async function a()
  print("Suspending a")
  await asyncio.sleep(0)
  -- a was suspended: sleep(0) takes no time, but gives control away
  print("Resuming a")
end

local async function b()
  print("fn b")
end

local async function main()
  await asyncio.gather(a(), b())
  -- gather runs them at the same time
end

local loop = asyncio.get_event_loop()
loop:run_until_complete(main())
loop:close()

-- asyncio.run(main()) does all three
