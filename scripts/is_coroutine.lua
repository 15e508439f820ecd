-- Coroutine functions and coroutines. Calling the one makes the other and runs nothing, hence the warning.
--   moonloop scripts/is_coroutine.lua

local asyncio = require "asyncio"

local async function do_some_work(x)
  print("Waiting " .. x)
  await asyncio.sleep(x)
end

print(asyncio.iscoroutinefunction(do_some_work)) -- true
print(asyncio.iscoroutine(do_some_work(3))) -- true
collectgarbage()
