--- Process and Worker: one call in a process of its own.

local core = require "asyncio.core"
local crew = require "multiprocessing.crew"
local misuse = require "asyncio.misuse"

local async, await = core.async, core.await

local M = {}

local keys = { "target", "args", "name", "initializer", "initargs", "loop_initializer" }

--- The state of each, kept apart so that `pid` and the like can be fields.
local states = setmetatable({}, { __mode = "k" })

local methods = {}
local meta = { __name = "Process" }
local numbers = 0

--- In the child: calls target and tells its error as a program does.
function M.run_target(target, ...)
  if core.iscoroutinefunction(target) then return await(target(...)) end
  local values = table.pack(target(...))
  if values.n == 1 and core.isawaitable(values[1]) then return await(values[1]) end
  return table.unpack(values, 1, values.n)
end

function meta.__index(self, key)
  local state = states[self]
  local proc = state.worker and state.worker.proc
  if key == "pid" then return proc and proc.pid end
  if key == "name" then return state.name end
  if key == "exitcode" then return proc and proc.returncode end
  return methods[key]
end

local function check_started(self, fname)
  local state = states[self]
  if not state.worker then misuse.raise(core.ValueError, fname .. ": the process is not started", 3) end
  return state
end

--- Starts the process. RuntimeError if it was started before.
function methods:start()
  local state = states[self]
  if state.worker then misuse.raise(core.RuntimeError, "start: a process can be started only once") end
  local loop = core.get_event_loop()
  state.crew = crew.new({
    max = 1, mode = "loop", initializer = state.initializer, initargs = state.initargs,
    loop_initializer = state.loop_initializer, process = not state.result and state.name or nil,
  }, "Process")
  state.started = loop:create_future()
  state.crew.on_start = function() if not state.started:done() then state.started:set_result() end end
  state.future = state.crew:call("start", loop, M.run_target, state.target,
    table.unpack(state.args, 1, state.args.n or #state.args))
  state.worker = state.crew.crew[1]
  state.ended = state.crew:stop(false)
  state.future:add_done_callback(function(future)
    local err = not future:cancelled() and not state.result and future:exception() or nil
    if state.started:done() then return end -- the child has told it
    if err ~= nil then state.started:set_exception(err) else state.started:set_result() end
  end)
end

--- Waits until the process has started: it has its pid then. Raises what has kept it from that, which is reported if
--- nobody waits.
---@return any awaitable
methods.started = async(function(self)
  await(check_started(self, "started").started)
end, "started")

local function wait(self, timeout)
  local ended = check_started(self, "join").ended
  if timeout == nil then
    await(require("asyncio.shield").shield(ended))
    return
  end
  await(require("asyncio.wait").wait({ ended }, { timeout = timeout }))
end

--- Waits for the end of the process, for at most `timeout` seconds.
---@param timeout? number
---@return any awaitable
methods.join = async(function(self, timeout)
  if timeout ~= nil and type(timeout) ~= "number" then
    misuse.raise(core.TypeError, "join: timeout must be a number of seconds, got " .. misuse.describe(timeout))
  end
  wait(self, timeout)
end, "join")

--- Does it run?
---@return boolean
function methods:is_alive()
  local state = states[self]
  return state.worker ~= nil and not state.ended:done()
end

local function signal(self, name)
  local state = check_started(self, name == "SIGTERM" and "terminate" or "kill")
  local proc = state.worker.proc
  if proc then
    state.crew:kill(name)
  else
    state.worker.on_start = function(child)
      if not state.started:done() then state.started:set_result() end
      pcall(child.send_signal, child, name)
    end
  end
end

--- Sends SIGTERM.
function methods:terminate() signal(self, "SIGTERM") end

--- Sends SIGKILL.
function methods:kill() signal(self, "SIGKILL") end

--- Starts it if that was not done, and waits for its end; a Worker's value is its target's, an error is raised.
local finish = async(function(self)
  local state = states[self]
  if not state.worker then methods.start(self) end
  wait(self)
  if state.result then return await(state.future) end
  await(state.started) -- raises what has kept it from starting
end, "process")

function meta.__await(self) return finish(self) end

--- Leaving its block ends it: a process that runs is terminated and waited for.
function meta.__close(self)
  local state = states[self]
  if not state.worker or state.ended:done() then return end
  signal(self, "SIGTERM")
  if core.current_task() or not core.get_running_loop_or_nil() then wait(self) end
end

function meta.__tostring(self)
  local state, code = states[self], self.exitcode
  local how = not state.worker and "initial" or code and ("stopped exitcode=%d"):format(code) or "started"
  return ("<%s name='%s' %s>"):format(state.result and "Worker" or "Process", state.name, how)
end

local function wrong(fname, what, value)
  misuse.raise(core.TypeError, ("%s: %s, got %s"):format(fname, what, misuse.describe(value)), 4)
end

local function new(fname, result, opts)
  if type(opts) ~= "table" then
    wrong(fname, "a table with target was expected", opts)
  end
  core.options(opts, keys, fname)
  if type(opts.target) ~= "function" then
    wrong(fname, "target must be a function", opts.target)
  end
  for _, key in ipairs { "args", "initargs" } do
    if opts[key] ~= nil and type(opts[key]) ~= "table" then
      wrong(fname, key .. " must be an array", opts[key])
    end
  end
  numbers = numbers + 1
  local self = setmetatable({}, meta)
  states[self] = {
    target = opts.target, args = opts.args or {}, name = opts.name or fname .. "-" .. numbers, result = result,
    initializer = opts.initializer, initargs = opts.initargs, loop_initializer = opts.loop_initializer,
  }
  return self
end

--- `Process{target =, args =, name =, initializer =, initargs =, loop_initializer =}`: runs target(...), which may be a
--- coroutine function, in a process with a loop of its own. `await(process)` starts it and waits for its end.
function M.Process(opts) return new("Process", false, opts) end

--- The same; `await(worker)` gives what target gives, or raises its error.
function M.Worker(opts) return new("Worker", true, opts) end

return M
