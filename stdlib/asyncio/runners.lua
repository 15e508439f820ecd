--- run and Runner: from a program's main coroutine to the end of its loop.

local core = require "asyncio.core"
local misuse = require "asyncio.misuse"

local catch = core.catch
local isinstance, CancelledError, RuntimeError = core.isinstance, core.CancelledError, core.RuntimeError

---@class asyncio.Runner
---@field private state "created"|"initialized"|"closed"
---@field private opts table
---@field private loop any
---@field private is_current boolean the loop was made the current one
---@field private context table? what the runs have set
---@field private interrupts integer how often Ctrl-C came in this run
local Runner = {}
Runner.__index = Runner
Runner.__name = "Runner"

--- Makes the loop when it is needed first.
---@param self asyncio.Runner
local function open(self)
  if self.state == "closed" then error(RuntimeError("Runner is closed")) end
  if self.state == "initialized" then return end
  local opts = self.opts
  if opts.loop_factory then
    self.loop = opts.loop_factory()
  else
    self.loop = core.new_event_loop { clock = opts.clock, shuffle = opts.shuffle }
    core.set_event_loop(self.loop)
    self.is_current = true
  end
  if opts.debug ~= nil then self.loop:set_debug(opts.debug) end
  self.state = "initialized"
end

--- Ctrl-C: the first cancels the main task, the next ones leave the loop at once.
---@param self asyncio.Runner
local function on_interrupt(self, task)
  self.interrupts = self.interrupts + 1
  if self.interrupts == 1 and not task:done() then
    task:cancel()
  else
    error(core.KeyboardInterrupt())
  end
end

--- Runs a task to its end while Ctrl-C goes to it.
---@param self asyncio.Runner
local function finish(self, task, outer_handler, own_context, ok, ...)
  core.on_sigint(outer_handler)
  if own_context then self.context = task:get_context() end
  if ok then return ... end
  local err = ...
  if isinstance(err, CancelledError) and self.interrupts > 0 and task:uncancel() == 0 then
    error(core.KeyboardInterrupt())
  end
  error(err, 0)
end

--- What is given to run, as something a task can be made of.
local wait_on = core.async(function(awaitable) return core.await(awaitable) end, "run")

-- Is it a function? Misuse if it can be neither called nor awaited.
local function check_main(main)
  local callable = type(main) == "function"
  if not callable and not core.isawaitable(main) then
    misuse.raise(core.ValueError, "a coroutine was expected, got " .. misuse.describe(main), 3)
  end
  return callable
end

--- Runs a coroutine (or a plain function, or anything that can be awaited) in the runner's loop and gives its values.
---@param main any
---@param opts? { context?: table }
---@return any
function Runner:run(main, opts)
  local callable = check_main(main)
  if core.get_running_loop_or_nil() then
    error(RuntimeError("Runner.run() cannot be called from a running event loop"))
  end
  if opts ~= nil then core.options(opts, { "context" }, "run") end
  open(self)
  if not callable and not core.iscoroutine(main) then main = wait_on(main) end
  local loop = self.loop
  local context = opts and opts.context
  local task = loop:create_task(main, { context = context or self.context })
  self.interrupts = 0
  local outer_handler = core.on_sigint(function() on_interrupt(self, task) end)
  return finish(self, task, outer_handler, not context, catch(loop.run_until_complete, loop, task))
end

--- The runner's loop.
---@return any
function Runner:get_loop()
  open(self)
  return self.loop
end

--- Cancels the tasks that are left, waits for them and reports their errors.
local function cancel_all_tasks(loop)
  local tasks = core.all_tasks(loop)
  if #tasks == 0 then return end
  for i = 1, #tasks do tasks[i]:cancel() end
  loop:run_until_complete(core.gather(tasks, { return_exceptions = true }))
  for i = 1, #tasks do
    local task = tasks[i]
    if not task:cancelled() then
      local err = task:exception()
      if err ~= nil then
        loop:call_exception_handler {
          message = "unhandled exception during asyncio.run() shutdown",
          exception = err,
          task = task,
        }
      end
    end
  end
end

--- How long the threads of the default executor may take to end, in seconds, as in CPython.
local THREAD_JOIN_TIMEOUT = 300

local nothing = core.async(function() end, "shutdown")

--- Ends what is left of the loop. CPython runs two coroutines for it, shutdown_asyncgens and shutdown_default_executor,
--- and while they run callbacks that were ready when main ended are called, and what these make ready.
local function wind_up(loop)
  cancel_all_tasks(loop)
  loop:run_until_complete(nothing())
  local executors = package.loaded["asyncio.executors"]
  local threads = executors and executors.has_default(loop)
  loop:run_until_complete(threads and loop:shutdown_default_executor(THREAD_JOIN_TIMEOUT) or nothing())
end

--- Cancels what is left, ends the default executor and closes the loop. Does nothing the second time.
function Runner:close()
  if self.state ~= "initialized" then return end
  local loop = self.loop
  local ok, err = catch(wind_up, loop)
  if self.is_current then core.set_event_loop(nil) end
  loop:close()
  self.loop = nil
  self.state = "closed"
  if not ok then error(err, 0) end
end

Runner.__close = Runner.close

local M = {}

local options = { "debug", "loop_factory", "clock", "shuffle" }

--- A runner keeps one loop for several runs: `local runner <close> = asyncio.Runner()`.
---@param opts? { debug?: boolean, loop_factory?: (fun(): any), clock?: "real"|"virtual", shuffle?: integer }
---@return asyncio.Runner
function M.Runner(opts)
  if opts ~= nil then core.options(opts, options, "Runner") end
  return setmetatable({ state = "created", opts = opts or {}, is_current = false, interrupts = 0 }, Runner)
end

local function close_after(runner, ok, ...)
  runner:close()
  if ok then return ... end
  error((...), 0)
end

-- Tasks in which somebody's script runs, who may not know of the loop: inputs of the REPL, tests.
local scripts = setmetatable({}, { __mode = "k" })

--- From now on the task is a script: asyncio.run awaits there, as it does in a script of a C host.
---@param task any
function M.is_script(task) scripts[task] = true end

-- Those of them that are within asyncio.run, where it is what it is in any running loop.
local within = setmetatable({}, { __mode = "k" })

local Within = {
  __close = function(self) within[self.task] = nil end,
}

-- Awaits main in a task that is a script.
local function run_here(task, main)
  local callable = check_main(main)
  within[task] = true
  local _ <close> = setmetatable({ task = task }, Within)
  if callable and not core.iscoroutinefunction(main) then return main() end
  return core.await(main)
end

--- Runs main in a new loop to its end, cancels the tasks that are left, closes the loop; gives main's values or
--- raises its error. In a script of a C host, an input of the REPL or a test, which are tasks themselves, main is
--- awaited.
---@param main any a coroutine, an awaitable or a function without arguments
---@param opts? { debug?: boolean, loop_factory?: (fun(): any), clock?: "real"|"virtual", shuffle?: integer }
---@return any
function M.run(main, opts)
  if opts ~= nil then core.options(opts, options, "run") end
  if core.get_running_loop_or_nil() then
    local task = core.current_task()
    if task and not within[task] and (scripts[task] or core.in_host_script()) then return run_here(task, main) end
    if core.iscoroutine(main) then main:close() end
    error(
      RuntimeError("asyncio.run() cannot be called from a running event loop: await the coroutine instead")
    )
  end
  local runner = M.Runner(opts)
  return close_after(runner, catch(runner.run, runner, main))
end

return M
