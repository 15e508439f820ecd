-- What makes an object awaitable: __await, which gives something to wait for.
--   moonloop scripts/awaitable_object.lua

local asyncio = require "asyncio"

local Promise = {}
Promise.__index = Promise

function Promise.new()
  return setmetatable({ _future = asyncio.get_event_loop():create_future() }, Promise)
end

function Promise:resolve(value)
  self._future:set_result(value)
end

function Promise:__await()
  return self._future
end

local async function main()
  local promise = Promise.new()
  asyncio.get_running_loop():call_later(1, promise.resolve, promise, "resolved")
  print(await promise)
  print(table.unpack(await asyncio.gather(promise, promise)))
end

asyncio.run(main())
