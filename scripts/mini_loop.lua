-- How an event loop works: a queue of ready callbacks, and tasks that put themselves into it. Plain Lua, no asyncio.
--   moonloop scripts/mini_loop.lua

-- A double-ended queue.
local deque = {}
deque.__index = deque

local new_deque = function() return setmetatable({ first = 1, last = 0 }, deque) end

function deque:append(item)
  self.last = self.last + 1
  self[self.last] = item
end

function deque:popleft()
  local item = self[self.first]
  self[self.first] = nil
  self.first = self.first + 1
  return item
end

function deque:len() return self.last - self.first + 1 end

-- What the loop needs of a task: it runs step by step until it is done, then its callbacks are called.
local Task = {}
Task.__index = Task

function Task.new(coro, loop)
  local self = setmetatable({ _coro = coroutine.create(coro), _loop = loop, _callbacks = {} }, Task)
  loop:call_soon(self._step, self)
  return self
end

function Task:_step()
  local _, future = assert(coroutine.resume(self._coro))
  if coroutine.status(self._coro) == "dead" then
    self._done = true
    for _, callback in ipairs(self._callbacks) do self._loop:call_soon(callback, self) end
  else -- it waits for the future that it has yielded
    future:add_done_callback(function() self:_step() end)
  end
end

function Task:done() return self._done end

function Task:add_done_callback(callback)
  if self._done then
    self._loop:call_soon(callback, self)
  else
    table.insert(self._callbacks, callback)
  end
end

function Task:remove_done_callback(callback)
  for i = #self._callbacks, 1, -1 do
    if self._callbacks[i] == callback then table.remove(self._callbacks, i) end
  end
end

-- The loop itself.
local Loop = {}
Loop.__index = Loop

function Loop.new()
  return setmetatable({ _ready = new_deque(), _stopping = false }, Loop)
end

local done_callback = function(fut)
  fut._loop:stop()
end

function Loop:create_task(coro)
  local task = Task.new(coro, self)
  return task
end

function Loop:run_until_complete(fut)
  -- make a task of it, which adds it to self._ready
  fut = getmetatable(fut) == Task and fut or self:create_task(fut)
  fut:add_done_callback(done_callback)
  -- run all tasks
  self:run_forever()
  fut:remove_done_callback(done_callback)
end

function Loop:run_forever()
  local _ <close> = setmetatable({}, { __close = function() self._stopping = false end })
  while true do
    self:_run_once()
    if self._stopping then
      break
    end
  end
end

function Loop:call_soon(cb, ...)
  self._ready:append({ cb, table.pack(...) })
end

function Loop:_run_once()
  local ntodo = self._ready:len()
  for _ = 1, ntodo do
    local t, a = table.unpack(self._ready:popleft())
    t(table.unpack(a, 1, a.n))
  end
end

function Loop:stop()
  self._stopping = true
end

function Loop:close()
  self._ready = new_deque()
end

-- Until all tasks are done.
local wait = function(tasks)
  return function()
    for _, task in ipairs(tasks) do
      if not task:done() then coroutine.yield(task) end
    end
  end
end

local foo = function()
  print("Hello Foo")
end

local bar = function()
  print("Hello Bar")
end

local loop = Loop.new()
local tasks = {
  loop:create_task(foo),
  loop:create_task(bar),
}
loop:run_until_complete(wait(tasks))
loop:close()
