-- A future: a result that is still to come. One mostly leaves this to tasks.
--   moonloop scripts/future_methods.lua

local asyncio = require "asyncio"

local async function main()
  local loop = asyncio.get_running_loop()

  local future = loop:create_future()
  print("done:", future:done())
  print("its loop:", future:get_loop() == loop)
  print(pcall(future.result, future)) -- no result yet

  local callback = function(fut) print("callback:", fut:result()) end
  local unwanted = function() print("never called") end
  future:add_done_callback(callback)
  future:add_done_callback(unwanted)
  print("removed:", future:remove_done_callback(unwanted))

  loop:call_later(1, future.set_result, future, "the result")
  print("awaited:", await future)
  print("done, cancelled, exception:", future:done(), future:cancelled(), future:exception())
  print(pcall(future.set_result, future, "another")) -- it has one already

  future = loop:create_future()
  future:set_exception(asyncio.ValueError("went wrong"))
  print("exception:", future:exception())
  print(pcall(await, future))

  future = loop:create_future()
  print("cancel:", future:cancel())
  print("cancelled:", future:cancelled())
  print(pcall(await, future))
end

asyncio.run(main())
