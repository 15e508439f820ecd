--- What reaches a loop from elsewhere: run_coroutine_threadsafe, wrap_future.

local core = require "asyncio.core"
local misuse = require "asyncio.misuse"

local isfuture = core.isfuture

local M = {}

--- Makes `to` finish as `from` does.
local function copy_state(from, to)
  if to:done() then return end
  if from:cancelled() then
    to:cancel()
    return
  end
  local err = from:exception()
  if err ~= nil then
    to:set_exception(err)
  else
    to:set_result(from:result())
  end
end

--- Runs a coroutine as a task of a loop that need not be the running one. Cancelling the future that is returned
--- cancels the task.
---@param coroutine any
---@param loop any
---@return any future of that loop
function M.run_coroutine_threadsafe(coroutine, loop)
  if not core.iscoroutine(coroutine) and type(coroutine) ~= "function" then
    misuse.raise(core.TypeError, "A coroutine object is required, not " .. misuse.describe(coroutine))
  end
  if getmetatable(loop) == nil or loop.call_soon_threadsafe == nil then
    misuse.raise(core.TypeError, "run_coroutine_threadsafe() expects a loop, not " .. misuse.describe(loop))
  end
  local future = loop:create_future()
  loop:call_soon_threadsafe(function()
    if future:done() then
      if core.iscoroutine(coroutine) then coroutine:close() end
      return
    end
    local ok, task = core.catch(core.ensure_future, coroutine, { loop = loop })
    if not ok then
      future:set_exception(task)
      error(task, 0)
    end
    task:add_done_callback(function() copy_state(task, future) end)
    future:add_done_callback(function()
      if future:cancelled() and not task:done() then task:cancel() end
    end)
  end)
  return future
end

--- Gives the future itself: futures of every kind are those of a loop here.
---@param future any
---@return any
function M.wrap_future(future)
  if not isfuture(future) then misuse.raise(core.TypeError, "a future is expected, got " .. misuse.describe(future)) end
  return future
end

return M
