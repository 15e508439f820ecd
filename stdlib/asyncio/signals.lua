--- Signals: the loop's handlers, awaiting one, and going over those that come.

local core = require "asyncio.core"
local misuse = require "asyncio.misuse"
local sigwatch = require "asyncio.sigwatch"
local signal = require "signal"

local async, await = core.async, core.await
local Loop = core.Loop.methods

local M = {}

--- Of no use to a program: they end or stop it whatever it does.
local uncatchable = { [signal.SIGKILL] = true, [signal.SIGSTOP] = true }
--- Faults of the program itself: to go on would be to make the same one again.
local faults = { [signal.SIGSEGV] = true, [signal.SIGBUS] = true, [signal.SIGFPE] = true, [signal.SIGILL] = true }

--- The signal's number. `level`: whose mistake it is, as misuse.raise counts from here.
local function check(value, fname, level)
  local ok, number = pcall(signal.signum, value)
  if not ok then
    local message = tostring(number.message):gsub("^[^:]+:%d+: ", "")
    misuse.raise(core.isinstance(number, core.TypeError) and core.TypeError or core.ValueError,
      ("%s(): %s"):format(fname, message), level)
  end
  local name = signal.signame(number) or number
  if uncatchable[number] then
    misuse.raise(core.RuntimeError, ("%s(): signal %s cannot be caught"):format(fname, name), level)
  elseif faults[number] then
    misuse.raise(core.RuntimeError,
      ("%s(): signal %s is a fault of this process: it is not caught"):format(fname, name), level)
  end
  return number
end

-- ---- handlers ----

local handlers = setmetatable({}, { __mode = "k" }) -- loop -> number -> watch

--- Calls fn(...) on the loop whenever the signal comes, instead of what was done with it before. One handler for each
--- signal: a second one replaces the first. Signals that come before it has run are one.
---@param sig integer|string number or name: "SIGTERM"
---@param fn function
---@param ... any its arguments
function Loop:add_signal_handler(sig, fn, ...)
  local number = check(sig, "add_signal_handler", 3)
  if core.iscoroutine(fn) or core.iscoroutinefunction(fn) then
    misuse.raise(core.TypeError, "coroutines cannot be used with add_signal_handler(): use create_task")
  end
  local mt = type(fn) ~= "function" and getmetatable(fn)
  if type(fn) ~= "function" and not (type(mt) == "table" and mt.__call) then
    misuse.raise(core.TypeError, "add_signal_handler(): a function was expected, got " .. misuse.describe(fn))
  end
  local watch = sigwatch.watch(self, number, fn, ...)
  local mine = handlers[self]
  if not mine then
    mine = {}
    handlers[self] = mine
  end
  if mine[number] then mine[number]:close() end
  mine[number] = watch
end

--- Removes the handler: what was done with the signal before is done again.
---@param sig integer|string
---@return boolean whether there was one
function Loop:remove_signal_handler(sig)
  local number = check(sig, "remove_signal_handler", 3)
  local mine = handlers[self]
  local watch = mine and mine[number]
  if not watch then return false end
  mine[number] = nil
  return watch:close()
end

-- ---- waiting ----

---@class asyncio.Signals
local Signals = {}
Signals.__index = Signals
Signals.__name = "Signals"

local function came(self, name)
  if not self.pending[name] then
    self.pending[name] = true
    self.order[#self.order + 1] = name
  end
  local waiter = self.waiter
  if waiter and not waiter:done() then waiter:set_result(nil) end
end

--- Begins to watch; in the loop that runs.
local function start(self)
  local loop = core.get_running_loop()
  self.watches = {}
  for i, number in ipairs(self.numbers) do
    self.watches[i] = sigwatch.watch(loop, number, came, self, self.given[i])
  end
end

--- Stops watching. What waits for a signal gets nil. Idempotent.
function Signals:close()
  if self.closed then return end
  self.closed = true
  for _, watch in ipairs(self.watches or {}) do watch:close() end
  local waiter = self.waiter
  if waiter and not waiter:done() then waiter:set_result(nil) end
end

Signals.__close = Signals.close

local function take(self)
  local name = table.remove(self.order, 1)
  if name then self.pending[name] = nil end
  return name
end

local function wait(self)
  while #self.order == 0 and not self.closed do
    if self.waiter then error(core.RuntimeError("another task waits for these signals already"), 0) end
    self.waiter = core.get_running_loop():create_future()
    local ok, err = core.catch(await, self.waiter)
    self.waiter = nil
    if not ok then error(err, 0) end
  end
  return take(self)
end

function Signals:__anext()
  return self:next()
end

function Signals:__aiter()
  return self
end

--- Awaits to the name of the next signal as it was given; to nil when it is closed.
Signals.next = async(wait, "Signals.next")

local function new(list, fname)
  local self = { numbers = {}, given = {}, pending = {}, order = {} }
  for i, value in ipairs(list) do
    self.numbers[i] = check(value, fname, 4)
    self.given[i] = value
  end
  return setmetatable(self, Signals)
end

local wait_once = async(function(self)
  local _ <close> = self
  start(self)
  return wait(self)
end, "signal")

--- Waits for one of the signals and awaits to its name, as it was given. Watches from when it is awaited until then.
---@param ... integer|string "SIGTERM", ...
---@return any awaitable of the signal
function M.signal(...)
  local self = new({ ... }, "signal")
  if #self.numbers == 0 then misuse.raise(core.TypeError, "signal(): a signal was expected") end
  return wait_once(self)
end

--- `for sig in asyncio.signals{"SIGHUP", "SIGUSR1"} do`: the signals as they come. They are watched from the call until
--- the loop is left. A signal that comes again before it was taken counts once.
---@param list (integer|string)[]
---@return function, asyncio.Signals, nil, asyncio.Signals
function M.signals(list)
  if type(list) ~= "table" then
    misuse.raise(core.TypeError, "signals(): an array of signals was expected, got " .. misuse.describe(list))
  end
  local self = new(list, "signals")
  if #self.numbers == 0 then misuse.raise(core.ValueError, "signals(): no signal was given") end
  start(self)
  return wait, self, nil, self
end

return M
