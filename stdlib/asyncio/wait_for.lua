--- wait_for: one awaitable with a limit of time.

local core = require "asyncio.core"
local misuse = require "asyncio.misuse"
local timeouts = require "asyncio.timeouts"

local await, catch = core.await, core.catch
local ensure_future, isawaitable = core.ensure_future, core.isawaitable
local timeout_of = timeouts.timeout

local M = {}

local function release(waiter)
  if not waiter:done() then waiter:set_result() end
end

--- Cancels a future and waits until it is done. Waits for a future of its own, so that it can be cancelled itself
--- whatever the other one does.
local function cancel_and_wait(future)
  local waiter = core.get_running_loop():create_future()
  local function on_done() release(waiter) end
  future:add_done_callback(on_done)
  future:cancel()
  local ok, err = catch(await, waiter)
  future:remove_done_callback(on_done)
  if not ok then error(err, 0) end
end

local function result_or_timeout(ok, ...)
  if ok then return ... end
  local err = ...
  if core.isinstance(err, core.CancelledError) then error(core.TimeoutError(nil, { cause = err })) end
  error(err, 0)
end

local wait_for = core.async(function(awaitable, timeout)
  if timeout and timeout <= 0 then -- a coroutine is not even started
    local future = ensure_future(awaitable)
    if future:done() then return future:result() end
    cancel_and_wait(future)
    return result_or_timeout(catch(future.result, future))
  end
  local _ <close> = timeout_of(timeout)
  if type(awaitable) == "function" and not core.iscoroutinefunction(awaitable) then return awaitable() end
  return await(awaitable)
end, "wait_for")

--- Waits for an awaitable in the current task, `timeout` seconds at most. When the time is up it is cancelled and,
--- once it has ended, TimeoutError is raised; if it ignored that and gave a value, the value is the result.
---@async
---@param awaitable any
---@param timeout? number|{ timeout?: number } seconds; nil: no limit
---@return any coroutine gives what the awaitable gives
function M.wait_for(awaitable, timeout)
  if type(timeout) == "table" then
    core.options(timeout, { "timeout" }, "wait_for")
    timeout = timeout.timeout
  end
  if not isawaitable(awaitable) and type(awaitable) ~= "function" then
    misuse.raise(
      core.TypeError,
      "wait_for() expects a coroutine, a future or an awaitable, not " .. misuse.describe(awaitable)
    )
  end
  if timeout ~= nil and type(timeout) ~= "number" then
    local kind = misuse.describe(timeout)
    misuse.raise(core.TypeError, "wait_for() expects timeout to be a number of seconds, not " .. kind)
  end
  if timeout ~= timeout then misuse.raise(core.ValueError, "Invalid delay: NaN (not a number)") end
  return wait_for(awaitable, timeout)
end

return M
