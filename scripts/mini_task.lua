-- How a task works: it runs a generator up to the future that it yields, and goes on when that is done.
--   moonloop scripts/mini_task.lua

local asyncio = require "asyncio"

-- Yields a future to the task; its result comes back, or its error.
local yield_from = function(future)
  local val, exc = coroutine.yield(future)
  if exc ~= nil then error(exc, 0) end
  return val
end

local Task = {}
Task.__index = Task

function Task.new(gen, loop)
  local self = setmetatable({ _gen = coroutine.create(gen), _future = loop:create_future() }, Task)
  loop:call_soon(self._step, self)
  return self
end

function Task:__await()
  return self._future
end

function Task:_step(val, exc)
  -- Until the generator is at its end, _step adds a callback, which calls _wakeup, which calls _step ...
  local ok, f = coroutine.resume(self._gen, val, exc)
  if not ok then
    self._future:set_exception(f)
  elseif coroutine.status(self._gen) == "dead" then
    self._future:set_result(f)
  else
    f:add_done_callback(function(fut) self:_wakeup(fut) end)
  end
end

function Task:_wakeup(fut)
  -- ... until the result is set.
  local ok, res = pcall(fut.result, fut)
  if not ok then
    self:_step(nil, res)
  else
    self:_step(res, nil)
  end
end

local foo = function()
  yield_from(asyncio.ensure_future(asyncio.sleep(2)))
  print("Hello Foo")
end

local async function bar()
  await asyncio.sleep(1)
  print("Hello Bar")
end

local loop = asyncio.get_event_loop()
local tasks = {
  Task.new(foo, loop),
  loop:create_task(bar()),
}
loop:run_until_complete(asyncio.wait(tasks))
loop:close()
