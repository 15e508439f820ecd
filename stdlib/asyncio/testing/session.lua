--- busted inside the engine. A test runs with its hooks as one task of a loop of its own; the tests of a block that has
--- setup or teardown share the block's loop. After a test stands the leak gate.
---
--- busted runs everything through `busted.safe`: executors of elements from outside in, then what they consist of. That
--- is where this comes in.

local core = require "asyncio.core"
local gate = require "asyncio.testing.gate"
local runners = require "asyncio.runners"

local catch, isinstance = core.catch, core.isinstance

--- What each kind of time takes for endless, in its seconds.
local TIMEOUTS = { virtual = 86400, real = 60 }

local hooks = {
  it = true, finally = true, before_each = true, after_each = true, strict_setup = true, strict_teardown = true,
  lazy_setup = true, lazy_teardown = true,
}

---@class asyncio.testing.Session
---@field busted table
---@field defaults table options of all tests
---@field options table<table, table> options of blocks and of tests, by busted's element
---@field open table<table, boolean> blocks that run
---@field runners table<table, asyncio.Runner> of the blocks that have one
---@field test table? the one that runs
local Session = {}
Session.__index = Session

-- ---- options ----

--- The options that hold for an element: the nearest block's first.
---@param element table
---@return table
function Session:options_of(element)
  local all = {}
  while element do
    for key, value in next, self.options[element] or {} do
      if all[key] == nil then all[key] = value end
    end
    element = self.busted.context.parent(element)
  end
  for key, value in next, self.defaults do
    if all[key] == nil then all[key] = value end
  end
  return all
end

-- ---- time limits ----

local Limit = {}
Limit.__index = Limit

function Limit:__close(err)
  self.timer:cancel()
  if not self.expired then return end
  if self.task:uncancel() <= self.cancels and isinstance(err, core.CancelledError) then
    error(core.TimeoutError(self.expired), 0)
  end
end

-- Cancels the running task after some seconds; what is closed then says where it waited.
local function limit(what, seconds, clock)
  local task = core.current_task()
  local self = setmetatable({ task = task, cancels = task:cancelling() }, Limit)
  self.timer = core.get_running_loop():call_later(seconds, function()
    local place = gate.place(task)
    self.expired = ("%s was not over after %g s%s%s"):format(what, seconds,
      clock == "virtual" and " of virtual time" or "", place and ": it waits at " .. place or "")
    task:cancel()
  end)
  return self
end

-- ---- loops ----

function Session:new_runner(opts)
  local runner = runners.Runner { clock = opts.clock or "virtual", debug = opts.debug, shuffle = opts.shuffle }
  runner:get_loop():set_exception_handler(function(_, context)
    local test = self.test
    if test then
      test.errors[#test.errors + 1] = context
    else
      runner:get_loop():default_exception_handler(context)
    end
  end)
  return runner
end

local function has_setup(context)
  for _, name in ipairs { "strict_setup", "strict_teardown", "lazy_setup", "lazy_teardown" } do
    if context[name] and #context[name] > 0 then return true end
  end
  return false
end

--- The runner of the outermost block around the element that has setup or teardown; nil if none has.
function Session:block_runner(element)
  local block
  local context = element
  while context do
    if has_setup(context) then block = context end
    context = self.busted.context.parent(context)
  end
  if not block then return nil end
  local runner = self.runners[block]
  if not runner then
    runner = self:new_runner(self:options_of(block))
    self.runners[block] = runner
  end
  return runner
end

--- Closes the loop of a block that is over.
function Session:close_block(block)
  local runner = self.runners[block]
  if not runner then return end
  self.runners[block] = nil
  runner:close()
end

-- ---- what busted runs ----

local function await_result(value)
  if core.iscoroutine(value) or core.isfuture(value) then core.await(value) end
end

--- A hook, or a test without its hooks, in the running task.
function Session:within(descriptor, run, element, opts)
  local names = { it = "the test", before_each = "before_each", after_each = "after_each", finally = "finally" }
  local what = names[descriptor] or descriptor:gsub("^strict_", "")
  local clock = opts.clock or "virtual"
  local seconds = opts.timeout or TIMEOUTS[clock]
  return self.safe(descriptor, function(...)
    local _ <close> = limit(what, seconds, clock)
    runners.is_script(core.current_task())
    await_result(run(...))
  end, element)
end

--- setup and teardown, outside of any test: a task of the block's loop.
function Session:hook(descriptor, run, element)
  local opts = self:options_of(element)
  if opts.loop == false then return self.safe(descriptor, run, element) end
  local results
  local context, runner = self.busted.context.get(), self:block_runner(self.busted.context.parent(element))
  local ok, err = catch(runner.run, runner, function()
    results = table.pack(self:within(descriptor, run, element, opts))
  end)
  if not ok then
    self:unwind(context)
    return self:stop(err)
  end
  return table.unpack(results, 1, results.n)
end

--- lazy_setup runs within the first test, and is not that test's leak.
function Session:lazy(descriptor, run, element)
  local test = self.test
  if not test.before then return self.safe(descriptor, run, element) end
  local results = table.pack(self:within(descriptor, run, element, test.opts))
  test.before = gate.before(core.get_running_loop())
  return table.unpack(results, 1, results.n)
end

local function passes(err)
  return isinstance(err, core.KeyboardInterrupt) or isinstance(err, core.SystemExit)
    or isinstance(err, core.Terminated)
end

--- Ctrl-C, and what else is no test's failure: the runner raises it when busted has come to its end, which is now.
function Session:stop(err)
  self.stopped = self.stopped or table.pack(err)
  self.busted.skipAll = true
  if self.test then self.test.ended = nil end
  return self.busted.status("error")
end

-- Brings busted's stack back to where it was when something has broken through it.
function Session:unwind(context)
  while self.busted.context.get() ~= context do self.busted.context.pop() end
end

function Session:fail(test, kind, text)
  local element = test.element
  local trace = {} -- where the test stands says enough
  for key, value in next, element.trace do trace[key] = value end
  trace.traceback = ""
  self.busted.publish({ kind, "it" }, element, self.busted.context.parent(element), text, trace)
  if test.ended and (test.ended[5] == "success" or test.ended[5] == "pending") then test.ended[5] = kind end
end

--- A whole test, as one task.
function Session:run_in_loop(test, run)
  local element, context = test.element, self.busted.context.get()
  local runner = self:block_runner(element)
  local own = not runner
  runner = runner or self:new_runner(test.opts)
  local loop = runner:get_loop()
  core.keep_lost(true)
  test.before = gate.before(loop)
  local results
  local ok, err = catch(runner.run, runner, function() results = table.pack(self.safe("it", run, element)) end)
  if not ok and passes(err) then
    core.keep_lost(false)
    self:unwind(context)
    return self:stop(err)
  end
  local left = {}
  if test.opts.leaks ~= false or not ok then
    left = gate.left(loop, test.before, test.errors, function(f) catch(runner.run, runner, f) end)
  end
  core.keep_lost(false)
  if own then runner:close() end
  self:unwind(context)
  if not ok then
    local parent = self.busted.context.parent(element)
    test.ended = test.ended or table.pack("test", { "test", "end" }, element, parent, "error")
    self:fail(test, "error", tostring(err) .. core.subexceptions(err))
  elseif #left > 0 and test.ended and test.ended[5] == "success" then
    self:fail(test, "failure", (#left == 1 and "left behind: " or "left behind:\n  ") .. table.concat(left, "\n  "))
  end
  if results then return table.unpack(results, 1, results.n) end
  return self.busted.status("error")
end

--- A test that makes its loops itself.
function Session:run_without_loop(test, run)
  local before = gate.stats()
  local results = table.pack(self.safe("it", run, test.element))
  if test.opts.cleanup then test.opts.cleanup() end
  local leaks = test.opts.leaks ~= false and gate.leaks(before)
  if leaks and test.ended and test.ended[5] == "success" then self:fail(test, "failure", "leak gate: " .. leaks) end
  return table.unpack(results, 1, results.n)
end

function Session:whole(run, element)
  local test = { element = element, opts = self:options_of(element), errors = {} }
  self.test = test
  local own = self.by_function[element.run]
  if own then
    for key, value in next, own do test.opts[key] = value end
  end
  local results = table.pack((test.opts.loop == false and self.run_without_loop or self.run_in_loop)(self, test, run))
  self.test = nil
  if test.ended then self.safe_publish(table.unpack(test.ended, 1, test.ended.n)) end
  return table.unpack(results, 1, results.n)
end

function Session:dispatch(descriptor, run, element)
  local test = self.test
  if descriptor == "it" and not test and element.descriptor == "it" then return self:whole(run, element) end
  if hooks[descriptor] and element.descriptor ~= "pending" then
    if not test then
      return self:hook(descriptor, run, element)
    elseif descriptor == "lazy_setup" then
      return self:lazy(descriptor, run, element)
    elseif test.opts.loop ~= false then
      return self:within(descriptor, run, element, test.opts)
    end
  elseif (descriptor == "describe" or descriptor == "file") and not self.open[element] then
    self.open[element] = true
    local results = table.pack(self.safe(descriptor, run, element))
    self.open[element] = nil
    self:close_block(element)
    return table.unpack(results, 1, results.n)
  end
  return self.safe(descriptor, run, element)
end

-- ---- traces ----

--- As busted's, without the library's own frames, and with the way of an error through tasks.
function Session:trace(native, element, level, message)
  local info = debug.getinfo(level, "S")
  while info and gate.is_inner(info.source) do
    level = level + 1
    info = debug.getinfo(level, "S")
  end
  local trace
  if info then
    trace = native(element, level + 1, message)
  else
    local of = element.trace or {}
    trace = {
      short_src = of.short_src or "?", source = of.source or "=?", currentline = of.currentline or 0, what = "Lua",
      traceback = "", message = message,
    }
  end
  local shown, way = {}, core.traceback(message)
  for line in (way and "\n" .. way or trace.traceback):gmatch("[^\n]+") do
    if not gate.is_inner(line:match "^%s*(.*)") then shown[#shown + 1] = "\n" .. line end
  end
  trace.traceback = #shown > 1 and table.concat(shown) or ""
  return trace
end

local M = {}

local sessions = setmetatable({}, { __mode = "k" })

--- Has an instance of busted run its tests as tasks. A second time the options are taken anew.
---@param busted table what "busted.core" makes
---@param defaults table options of all tests
---@return asyncio.testing.Session
function M.install(busted, defaults)
  local self = sessions[busted]
  if self then
    for key, value in next, defaults do self.defaults[key] = value end
    return self
  end
  self = setmetatable({
    busted = busted, defaults = defaults, options = setmetatable({}, { __mode = "k" }),
    by_function = setmetatable({}, { __mode = "k" }), open = {}, runners = {},
    safe = busted.safe, safe_publish = busted.safe_publish,
  }, Session)
  sessions[busted] = self
  local get_trace = busted.getTrace
  function busted.getTrace(element, level, message) -- no tail call: levels are counted
    local trace = self:trace(get_trace, element, (level or 3) + 1, message)
    return trace
  end
  local rewrite = busted.rewriteMessage
  function busted.rewriteMessage(element, message, trace)
    local text = rewrite(element, message, trace)
    return message ~= nil and text .. core.subexceptions(message) or text
  end
  function busted.safe(descriptor, run, element) return self:dispatch(descriptor, run, element) end
  function busted.safe_publish(descriptor, channel, element, ...)
    local test = self.test
    if test and channel[1] == "test" and channel[2] == "end" and element == test.element then
      test.ended = table.pack(descriptor, channel, element, ...)
      return true
    end
    return self.safe_publish(descriptor, channel, element, ...)
  end
  busted.subscribe({ "suite", "end" }, function()
    for block in next, self.runners do self:close_block(block) end
    return nil, true
  end)
  return self
end

--- The session of the busted that runs, found by one of the functions that it gives to tests.
---@return asyncio.testing.Session?
function M.current()
  local found, busted = pcall(require, "busted")
  local it = found and busted.it
  if type(it) ~= "function" then return nil end
  for i = 1, 20 do
    local name, value = debug.getupvalue(it, i)
    if not name then return nil end
    if name == "busted" then return sessions[value] or M.install(value, {}) end
  end
end

return M
