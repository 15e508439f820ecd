-- Coroutine functions and coroutines. Calling the one makes the other and runs nothing, hence the warning.
--   moonloop scripts/is_coroutine.lua

local asyncio = require "asyncio"

local do_some_work = async(function(x)
  print("Waiting " .. x)
  await(asyncio.sleep(x))
end)

print(asyncio.iscoroutinefunction(do_some_work)) -- true
print(asyncio.iscoroutine(do_some_work(3))) -- true
collectgarbage()
