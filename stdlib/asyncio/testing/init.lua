--- asyncio.testing: tests of asynchronous code, with busted: each test is a task of a loop of its own, in virtual time,
--- and fails if it leaves something behind. `moonloop test` runs them.

local core = require "asyncio.core"
local misuse = require "asyncio.misuse"
local session = require "asyncio.testing.session"

local async, await, catch = core.async, core.await, core.catch

local M = {}

local option_names = { "clock", "timeout", "debug", "shuffle", "leaks", "loop" }

local function check_options(opts, fname)
  core.options(opts, option_names, fname)
  local clock, timeout = opts.clock, opts.timeout
  if clock ~= nil and clock ~= "real" and clock ~= "virtual" then
    misuse.blame(core.ValueError, ('%s: clock must be "real" or "virtual", got %s'):format(fname, tostring(clock)))
  end
  if timeout ~= nil and not (type(timeout) == "number" and timeout > 0) then
    misuse.blame(core.ValueError, ("%s: timeout must be a positive number of seconds, got %s"):format(fname,
      tostring(timeout)))
  end
  return opts
end

local function current(fname)
  return session.current() or misuse.blame(core.RuntimeError, fname .. ": busted is not running")
end

--- What holds for the tests of the block (describe, or the file) that calls it: `clock` ("virtual" or "real"),
--- `timeout` (seconds by that clock for each test and each hook: a day, or 60 of real time), `debug`, `shuffle` (a seed
--- for the order of tasks), `leaks` (false: nothing is looked for at the end), `loop` (false: the tests make loops
--- themselves). Inside busted that `moonloop test` has not started, it is also what makes tests tasks from here on.
---@param opts table
function M.options(opts)
  check_options(opts, "testing.options")
  local self = current "testing.options"
  local context = self.busted.context.get()
  local all = self.options[context] or {}
  for key, value in next, opts do all[key] = value end
  self.options[context] = all
end

--- A test with options of its own.
---@param name string
---@param opts table as those of `options`
---@param f function
function M.it(name, opts, f)
  check_options(opts, "testing.it")
  if type(f) ~= "function" then
    misuse.blame(core.TypeError, "testing.it: a function was expected, got " .. misuse.describe(f))
  end
  local self = current "testing.it"
  self.by_function[f] = opts
  return self.busted.executors.it(name, f)
end

--- Runs a function (or a coroutine) to its end in a loop of its own, in virtual time unless `clock` says "real"; for
--- code outside of tests, or with `loop = false`. Gives what it gives.
---@param main any
---@param opts? table {clock, debug, shuffle}
---@return any
function M.run(main, opts)
  core.options(opts, { "clock", "debug", "shuffle" }, "testing.run")
  local all = { clock = "virtual" }
  for key, value in next, opts or {} do all[key] = value end
  return require("asyncio.runners").run(main, all)
end

--- Calls f(...), or awaits what is given in its place, which must raise an error of the class; or, if `class` is a
--- string, one whose text contains it. Gives the error.
---@param class table|string
---@param f any a function or an awaitable
---@return any err
function M.raises(class, f, ...)
  if type(class) ~= "string" and type(class) ~= "table" then
    misuse.blame(core.TypeError, "testing.raises: a class or a text was expected, got " .. misuse.describe(class))
  end
  local results = table.pack(catch(function(...)
    if core.isawaitable(f) then return await(f) end
    local value = f(...)
    if core.iscoroutine(value) then return await(value) end
    return value
  end, ...))
  if results[1] then
    local got = results.n == 1 and "nothing" or tostring(results[2])
    error(("expected an error, but it gave %s"):format(got), 2)
  end
  local err = results[2]
  if core.isinstance(err, core.CancelledError) and class ~= core.CancelledError
    and core.current_task() and core.current_task():cancelling() > 0 then
    error(err, 0)
  end
  if type(class) == "string" then
    if not tostring(err):find(class, 1, true) then
      error(("expected an error with '%s', got: %s"):format(class, tostring(err)), 2)
    end
  elseif not core.isinstance(err, class) then
    error("another error than expected: " .. tostring(err), 2)
  end
  return err
end

--- Lets so many seconds pass.
---@param seconds number
---@return any awaitable
function M.advance(seconds) return core.sleep(seconds) end

--- Lets everything go on until all of it waits for time to pass or for something to come: in virtual time.
---@return any awaitable
M.settle = async(function() await(core.sleep(1e-6)) end, "settle")

M.Network = require("asyncio.testing.network").Network

-- ---- mocks ----

---@class asyncio.testing.Mock
---@field calls table[] the arguments of each call, as table.pack has them
---@field awaited integer how many of them have come to their end
local Mock = { __name = "Mock" }
Mock.__index = Mock

local answer = async(function(self, ...)
  local opts = self.opts
  if opts.delay then await(core.sleep(opts.delay)) end
  local results
  if opts.raises ~= nil then error(opts.raises, 0) end
  if opts.calls then
    results = table.pack(opts.calls(...))
    if core.iscoroutine(results[1]) then results = table.pack(await(results[1])) end
  else
    results = table.pack(opts.returns)
  end
  self.awaited = self.awaited + 1
  return table.unpack(results, 1, results.n)
end, "Mock")

function Mock:__call(...)
  self.calls[#self.calls + 1] = table.pack(...)
  return answer(self, ...)
end

--- A stand-in for a coroutine function, which remembers its calls.
---@param opts? table {returns = a value, raises = an error, calls = a function that makes the result, delay = seconds}
---@return asyncio.testing.Mock
function M.mock(opts)
  core.options(opts, { "returns", "raises", "calls", "delay" }, "testing.mock")
  return setmetatable({ opts = opts or {}, calls = {}, awaited = 0 }, Mock)
end

return M
