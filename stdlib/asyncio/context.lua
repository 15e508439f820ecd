--- Task-local values: each task has its own, begun as a copy of its maker's.
---
--- A context is a table that is never changed: setting a value replaces it by a changed copy, so that a task's copy
--- costs nothing. But one that was given out, by `copy` or `task:get_context()`, stays the same table: what is set in
--- tasks and functions that run in it is set in it.

local core = require "asyncio.core"
local misuse = require "asyncio.misuse"

local context_get, context_set, context_copy = core.context_get, core.context_set, core.context_copy

local M = {}

--- The value of `key` in the current context, or `default`.
---@param key any
---@param default any
function M.get(key, default)
  local value = context_get()[key]
  if value == nil then return default end
  return value
end

--- Sets a value for the current task and for those that it will make; nil takes it away. Gives the value before.
---@param key any not nil
---@param value any
---@return any
function M.set(key, value)
  if key == nil then misuse.raise(core.TypeError, "context.set() expects a key, not nil") end
  local old = context_get()
  local before = old[key]
  if core.context_given_out(old) then
    old[key] = value
  else
    local new = context_copy()
    new[key] = value
    context_set(new)
  end
  return before
end

--- A copy of the current context, for `create_task(c, {context = asyncio.context.copy()})`. Tasks that are given the
--- same one share it: what one of them sets, the others see, and it can be read in the table afterwards.
---@return table
function M.copy() return context_copy(true) end

local Restore = {
  __close = function(self) context_set(self[1]) end,
}

--- Calls f(...) in a copy of the current context: what it sets is gone afterwards. Gives what f gives; a coroutine
--- function is awaited.
---@param f function
---@param ... any
---@return any
function M.run(f, ...)
  local _ <close> = setmetatable({ context_get() }, Restore)
  context_set(context_copy())
  if core.iscoroutinefunction(f) then return core.await(f(...)) end
  return f(...)
end

--- Gives a function that calls f(...) in `context`, or in what is the current one now: for callbacks that are to run
--- in another context than that of whoever schedules them: `loop:call_soon(asyncio.context.bind(f, context), ...)`,
--- `task:add_done_callback(asyncio.context.bind(f, context))`. A coroutine function gives a coroutine function. What
--- it sets stays in a context that was given, and is gone afterwards if none was.
---@param f function
---@param context? table of asyncio.context.copy, or of task:get_context
---@return function
function M.bind(f, context)
  local mt = type(f) ~= "function" and getmetatable(f)
  if type(f) ~= "function" and not (type(mt) == "table" and mt.__call) then
    misuse.raise(core.TypeError, "context.bind() expects a function, got " .. misuse.describe(f))
  end
  if context ~= nil and type(context) ~= "table" then
    misuse.raise(core.TypeError, "context.bind() expects a context, got " .. misuse.describe(context))
  end
  context = context or context_copy()
  local function call(...)
    local _ <close> = setmetatable({ context_get() }, Restore)
    context_set(context)
    if core.iscoroutinefunction(f) then return core.await(f(...)) end
    return f(...)
  end
  return core.iscoroutinefunction(f) and core.async(call) or call
end

return M
