--- Task-local values: each task has its own, begun as a copy of its maker's.
---
--- A context is a table that is never changed: setting a value replaces it by a changed copy, so that a task's copy
--- costs nothing.

local core = require "asyncio.core"
local misuse = require "asyncio.misuse"

local context_get, context_set = core.context_get, core.context_set

local M = {}

--- The value of `key` in the current context, or `default`.
---@param key any
---@param default any
function M.get(key, default)
  local context = context_get()
  local value = context and context[key]
  if value == nil then return default end
  return value
end

--- Sets a value for the current task and for those that it will make; nil takes it away. Gives the value before.
---@param key any not nil
---@param value any
---@return any
function M.set(key, value)
  if key == nil then misuse.raise(core.TypeError, "context.set() expects a key, not nil") end
  local old, new = context_get(), {}
  if old then
    for k, v in next, old do new[k] = v end
  end
  new[key] = value
  context_set(new)
  return old and old[key]
end

--- The current context, for `create_task(c, {context = asyncio.context.copy()})`. Not to be changed.
---@return table
function M.copy()
  return context_get() or {}
end

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
  if core.iscoroutinefunction(f) then return core.await(f(...)) end
  return f(...)
end

--- Gives a function that calls f(...) in `context`, or in what is the current one now: for callbacks that are to run
--- in another context than that of whoever schedules them: `loop:call_soon(asyncio.context.bind(f, context), ...)`,
--- `task:add_done_callback(asyncio.context.bind(f, context))`. A coroutine function gives a coroutine function. What
--- it sets is gone afterwards.
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
  context = context or M.copy()
  local function call(...)
    local _ <close> = setmetatable({ context_get() }, Restore)
    context_set(context)
    if core.iscoroutinefunction(f) then return core.await(f(...)) end
    return f(...)
  end
  return core.iscoroutinefunction(f) and core.async(call) or call
end

return M
