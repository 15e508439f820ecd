--- The loop and executors: run_in_executor, the default executor and its end; to_thread.

local core = require "asyncio.core"
local misuse = require "asyncio.misuse"
local workers = require "asyncio.workers"

local async, await = core.async, core.await

local M = {}

local Loop = core.Loop.methods

--- The default executor of each loop; false once it was shut down.
local defaults = setmetatable({}, { __mode = "k" })

--- Their pools, for the loops that have one.
local pools = setmetatable({}, { __mode = "k" })

local function set_default(loop, executor)
  defaults[loop], pools[loop] = executor, executor and executor.pool or nil
end

local function is_executor(value)
  return type(value) == "table" and value.submit ~= nil and value.shutdown ~= nil
end

--- The loop's default executor, made at need.
local function default_executor(loop)
  local executor = defaults[loop]
  if executor then return executor end
  if loop:is_closed() then error(core.RuntimeError("Event loop is closed")) end
  if executor == false then error(core.RuntimeError("Executor shutdown has been called")) end
  executor = require("concurrent.futures.thread").ThreadPoolExecutor { thread_name_prefix = "asyncio" }
  executor.pool:belong(loop)
  set_default(loop, executor)
  return executor
end

--- Has the loop a default executor that is to be shut down?
function M.has_default(loop)
  return defaults[loop] and true or false
end

local function run(loop, fname, executor, context, f, ...)
  if executor == nil then
    executor = default_executor(loop)
  elseif not is_executor(executor) then
    misuse.raise(core.TypeError, fname .. ": an executor was expected, got " .. misuse.describe(executor), 3)
  end
  if executor.call then return executor:call(fname, loop, context, f, ...) end
  return executor:submit(f, ...)
end

--- Calls f(...) in the executor (nil: the loop's own, of threads) and gives a future.
---@param executor any
---@param f function
---@param ... any what can be copied
---@return any future
Loop.run_in_executor = workers.runner(pools, function(loop, executor, f, ...)
  return (run(loop, "run_in_executor", executor, nil, f, ...))
end)

--- Makes it the one that run_in_executor(nil) and to_thread use. The loop shuts it down.
---@param executor any a ThreadPoolExecutor
function Loop:set_default_executor(executor)
  if type(executor) ~= "table" or executor.pool == nil then
    misuse.raise(core.TypeError, "executor must be a ThreadPoolExecutor, got " .. misuse.describe(executor))
  end
  executor.pool:belong(self)
  set_default(self, executor)
end

local function shutdown(loop, timeout)
  local executor = defaults[loop]
  set_default(loop, false)
  if not executor then return end
  local ended = executor:shutdown()
  if not timeout then
    await(ended)
    return
  end
  local done = await(require("asyncio.wait").wait({ ended }, { timeout = timeout }))
  if #done == 0 then
    warn(("The executor did not finish joining its threads within %g seconds."):format(timeout))
  end
end

--- Waits until the threads of the default executor have ended; for at most `timeout` seconds. asyncio.run does so.
---@param timeout? number
---@return any awaitable
Loop.shutdown_default_executor = async(function(loop, timeout)
  if timeout ~= nil and type(timeout) ~= "number" then
    misuse.raise(core.TypeError, "shutdown_default_executor: timeout must be a number of seconds, got "
      .. misuse.describe(timeout))
  end
  shutdown(loop, timeout)
end, "shutdown_default_executor")

--- The part of the context that can be copied, or nil.
local function context_for_worker()
  local context = core.context_get()
  if context == nil or next(context) == nil then return nil end
  local copy = {}
  for k, v in next, context do
    if workers.copyable(k) and workers.copyable(v) then copy[k] = v end
  end
  return copy
end

local to_thread = async(function(f, ...)
  return await(run(core.get_running_loop(), "to_thread", nil, context_for_worker(), f, ...))
end, "to_thread")

--- Calls f(...) in a thread of the loop's default executor, with a copy of the context (of what in it can be copied);
--- awaits to what it gives. Raises TypeError if f is no function.
---@param f function
---@param ... any what can be copied
---@return any awaitable
function M.to_thread(f, ...)
  if type(f) ~= "function" then
    misuse.raise(core.TypeError, "to_thread: a function was expected, got " .. misuse.describe(f))
  end
  return to_thread(f, ...)
end

return M
