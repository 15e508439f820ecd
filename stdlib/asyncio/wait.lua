--- wait: until some or all of several awaitables are done. Cancels nothing, never times out by an error.

local core = require "asyncio.core"
local misuse = require "asyncio.misuse"
local standins = require "asyncio.standins"

local await, catch = core.await, core.catch
local isfuture, isawaitable = core.isfuture, core.isawaitable
local ensure_future, get_running_loop = core.ensure_future, core.get_running_loop
local TypeError, ValueError = core.TypeError, core.ValueError

local M = {
  ALL_COMPLETED = "ALL_COMPLETED",
  FIRST_COMPLETED = "FIRST_COMPLETED",
  FIRST_EXCEPTION = "FIRST_EXCEPTION",
}

local function release(waiter)
  if not waiter:done() then waiter:set_result() end
end

--- Suspends until return_when holds or the time is up.
local function suspend(futures, timeout, return_when)
  local loop = get_running_loop()
  local waiter = loop:create_future()
  standins[waiter] = futures
  local timer = timeout and loop:call_later(timeout, release, waiter)
  local left = #futures

  local function on_completion(future)
    left = left - 1
    if
      left <= 0
      or return_when == "FIRST_COMPLETED"
      or return_when == "FIRST_EXCEPTION" and not future:cancelled() and future:exception() ~= nil
    then
      if timer then timer:cancel() end
      release(waiter)
    end
  end

  for i = 1, #futures do futures[i]:add_done_callback(on_completion) end
  local ok, err = catch(await, waiter)
  if timer then timer:cancel() end
  for i = 1, #futures do futures[i]:remove_done_callback(on_completion) end
  if not ok then error(err, 0) end
end

local wait = core.async(function(awaitables, timeout, return_when)
  local futures, seen, here = {}, {}, { loop = get_running_loop() }
  for i = 1, #awaitables do
    local awaitable = awaitables[i]
    if not seen[awaitable] then
      seen[awaitable] = true
      futures[#futures + 1] = ensure_future(awaitable, here)
    end
  end
  suspend(futures, timeout, return_when)
  local done, pending = {}, {}
  for i = 1, #futures do
    local future = futures[i]
    local into = future:done() and done or pending
    into[#into + 1] = future
  end
  return done, pending
end, "wait")

local options = { "timeout", "return_when" }

--- Waits for the tasks, futures or coroutines of an array; coroutines are made tasks. The result is two arrays,
--- done and pending, each in the order of the argument. Raises TypeError and ValueError for wrong arguments.
---@async
---@param awaitables table an array, not empty; an awaitable that is there twice counts once
---@param opts? { timeout?: number, return_when?: "ALL_COMPLETED"|"FIRST_COMPLETED"|"FIRST_EXCEPTION" } seconds
---@return any coroutine gives done, pending
function M.wait(awaitables, opts)
  if type(awaitables) ~= "table" or isawaitable(awaitables) then
    misuse.raise(TypeError, "wait() expects an array of awaitables, not " .. misuse.describe(awaitables))
  end
  if #awaitables == 0 then misuse.raise(ValueError, "Set of Tasks/Futures is empty.") end
  for i = 1, #awaitables do
    local awaitable = awaitables[i]
    if not isfuture(awaitable) and not isawaitable(awaitable) and type(awaitable) ~= "function" then
      misuse.raise(
        TypeError,
        ("wait() expects an array of awaitables; item %d is %s"):format(i, misuse.describe(awaitable))
      )
    end
  end
  local timeout, return_when
  if opts ~= nil then
    core.options(opts, options, "wait")
    timeout, return_when = opts.timeout, opts.return_when
    if timeout ~= nil and type(timeout) ~= "number" then
      misuse.raise(TypeError, "wait() expects timeout to be a number of seconds, not " .. misuse.describe(timeout))
    end
    if return_when ~= nil and M[return_when] ~= return_when then
      misuse.raise(ValueError, "Invalid return_when value: " .. tostring(return_when))
    end
  end
  return wait(awaitables, timeout, return_when or "ALL_COMPLETED")
end

return M
