--- The forms that Python has keywords for: with, aiter, anext, aclosing.

local core = require "asyncio.core"
local misuse = require "asyncio.misuse"

local await, catch = core.await, core.catch
local isawaitable, isinstance = core.isawaitable, core.isinstance
local iscoroutinefunction = core.iscoroutinefunction
local StopAsyncIteration = core.StopAsyncIteration

local M = {}

--- The method or metamethod of an object, or nil.
local function method(object, name)
  local kind = type(object)
  if kind ~= "table" and kind ~= "userdata" then return nil end
  local mt = getmetatable(object)
  local f = type(mt) == "table" and rawget(mt, name)
  if f then return f end
  if kind == "table" or type(mt) == "table" and mt.__index then return object[name] end
end

--- Awaits what a method gave if it is awaitable: the methods may be coroutine functions or plain ones.
local function settle(object, value, ...)
  if value ~= object and type(value) ~= "function" and isawaitable(value) then return await(value) end
  return value, ...
end

local function call(f, value)
  if iscoroutinefunction(f) then return await(f(value)) end
  return f(value)
end

--- Leaves a manager after f has returned or raised.
local function leave_manager(exit, manager, ok, ...)
  if ok then
    settle(manager, exit(manager, nil))
    return ...
  end
  local err = ...
  if not settle(manager, exit(manager, err)) then error(err, 0) end
end

--- The same with __close, which cannot swallow.
local function leave_closable(close, object, ok, ...)
  if ok then
    close(object, nil)
    return ...
  end
  local err = ...
  close(object, err)
  error(err, 0)
end

--- Enters a manager; gives what stands for it inside.
local function entered(manager)
  local enter = method(manager, "__aenter")
  if not enter then return manager end
  return settle(manager, enter(manager))
end

--- Calls f with what `manager` gives and leaves the manager on every way out; gives what f gives.
---
--- A manager has methods `__aenter(self)` (may be missing; what it gives is handed to f) and `__aexit(self, err)`,
--- plain or coroutine functions; when __aexit gives true, the error is swallowed. Or it has `__close`, as
--- timeouts, groups, guards and connections do. An awaitable is awaited for its manager.
---@param manager any
---@param f fun(value: any): any a function or coroutine function
---@return any
function M.with(manager, f)
  if type(f) ~= "function" and not iscoroutinefunction(f) then
    misuse.raise(core.TypeError, "with() expects a function as its second argument, not " .. misuse.describe(f))
  end
  local exit = method(manager, "__aexit")
  if not exit then
    local mt = getmetatable(manager)
    local close = type(mt) == "table" and mt.__close
    if close then return leave_closable(close, manager, catch(call, f, entered(manager))) end
    if type(manager) ~= "function" and isawaitable(manager) then return M.with(await(manager), f) end
    misuse.raise(
      core.TypeError,
      "with() expects an object with __aexit or __close, not " .. misuse.describe(manager)
    )
  end
  return leave_manager(exit, manager, catch(call, f, entered(manager)))
end

--- Leaves a manager that the keyword `async with` has entered. `<close>` calls it, so it cannot swallow errors.
local Guard = { __name = "async with" }

function Guard:__close(err)
  if self.exit then
    settle(self.manager, self.exit(self.manager, err))
  else
    self.close(self.manager, err)
  end
end

--- What `async with` does first: enters the manager (as asyncio.with does) and gives the guard that leaves it, with
--- what the manager has given as `value`.
---@param manager any
---@return table
function M.enter(manager)
  local exit = method(manager, "__aexit")
  if exit then
    return setmetatable({ value = entered(manager), manager = manager, exit = exit }, Guard)
  end
  local mt = getmetatable(manager)
  local close = type(mt) == "table" and mt.__close
  if close then return setmetatable({ value = entered(manager), manager = manager, close = close }, Guard) end
  if type(manager) ~= "function" and isawaitable(manager) then return M.enter(await(manager)) end
  misuse.raise(
    core.TypeError,
    "async with expects an object with __aexit or __close, not " .. misuse.describe(manager)
  )
end

--- Passes values on; the end is nil or StopAsyncIteration.
local function step_result(ok, ...)
  if ok then return ... end
  local err = ...
  if isinstance(err, StopAsyncIteration) then return nil end
  error(err, 0)
end

local function advance(iterator)
  return settle(iterator, iterator:__anext())
end

local function step(iterator)
  return step_result(pcall(advance, iterator))
end

local function step_metamethod(iterator)
  return step_result(pcall(function() return settle(iterator, method(iterator, "__anext")(iterator)) end))
end

--- Closes an iterator when the loop over it ends, on every way.
local Closer = {
  __close = function(self)
    local iterator = self[1]
    settle(iterator, method(iterator, "aclose")(iterator))
  end,
}

local function is_callable(value)
  local mt = getmetatable(value)
  return type(value) == "function" or type(mt) == "table" and mt.__call ~= nil
end

--- The object that has __anext: what __aiter gives, or the object itself.
local function iterator_of(object, what, level)
  local aiter = method(object, "__aiter")
  local iterator = object
  if aiter then iterator = settle(object, aiter(object)) end
  if not method(iterator, "__anext") and not is_callable(iterator) then
    misuse.raise(
      core.TypeError,
      what .. " expects an object with __aiter or __anext, or an iterator, not " .. misuse.describe(object),
      level + 1
    )
  end
  return iterator
end

--- What a for loop over it needs.
local function iterate(iterator)
  if not method(iterator, "__anext") then return iterator, nil, nil, nil end
  local closer = method(iterator, "aclose") and setmetatable({ iterator }, Closer) or nil
  local has_method = iterator.__anext ~= nil
  return has_method and step or step_metamethod, iterator, nil, closer
end

--- For `for`: `for x in asyncio.aiter(object) do`. Calls the object's __aiter, then __anext (plain or coroutine
--- functions) until it gives nil or raises StopAsyncIteration. An iterator with a method aclose is closed when the
--- loop is left. A function is an iterator already.
---@param object any
---@return function, any, nil, any
function M.aiter(object)
  return iterate(iterator_of(object, "aiter()", 2))
end

--- What `async for` does with the values behind `in`: an iterator with its state is left as it is, an awaitable is
--- awaited for what is iterated, anything else goes through asyncio.aiter.
---@param object any
---@return any iterator, any state, any control, any closing
function M.iterate(object, ...)
  if type(object) == "function" then return object, ... end
  if isawaitable(object) and not method(object, "__aiter") and not method(object, "__anext") then
    return M.iterate(await(object))
  end
  return iterate(iterator_of(object, "async for", 2))
end

local function next_or(default, has_default, first, ...)
  if first ~= nil then return first, ... end
  if has_default then return default end
  error(StopAsyncIteration())
end

local anext = core.async(function(iterator, has_default, default)
  if not method(iterator, "__anext") then return next_or(default, has_default, iterator()) end
  return next_or(default, has_default, step_metamethod(iterator))
end, "anext")

--- The next value of an iterator: `await(asyncio.anext(it))`. At the end gives the default, or raises
--- StopAsyncIteration if there is none.
---@async
---@param iterator any an object with __anext, or a function
---@param ... any default
---@return any coroutine
function M.anext(iterator, ...)
  if not method(iterator, "__anext") and not is_callable(iterator) then
    misuse.raise(core.TypeError, "anext() expects an object with __anext, not " .. misuse.describe(iterator))
  end
  return anext(iterator, select("#", ...) > 0, (...))
end

local Closing = {}
Closing.__index = Closing
Closing.__name = "aclosing"

function Closing:__close()
  local thing = self.thing
  if thing == nil then return end
  self.thing = nil
  if type(thing) == "thread" then
    local ok, err = coroutine.close(thing)
    if not ok then error(err, 0) end
  else
    settle(thing, thing:aclose())
  end
end

function Closing:__aenter() return self.thing end

function Closing:__aexit() self:__close() end

--- Calls thing:aclose() on the way out, awaited: `local c <close> = asyncio.aclosing(thing)`. With asyncio.with the
--- function gets the thing. A Lua coroutine is closed.
---@param thing any
---@return table
function M.aclosing(thing)
  if type(thing) ~= "thread" and not method(thing, "aclose") then
    misuse.raise(core.TypeError, "aclosing() expects an object with a method aclose, not " .. misuse.describe(thing))
  end
  return setmetatable({ thing = thing }, Closing)
end

return M
