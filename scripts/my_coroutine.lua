-- A coroutine gives a result to the one that awaits it.
--   moonloop scripts/my_coroutine.lua

local asyncio = require "asyncio"

local async function my_coroutine()
  await asyncio.sleep(1)
  return "Done"
end

print(asyncio.run(my_coroutine()))
print(await my_coroutine()) -- outside of tasks await runs the loop by itself
