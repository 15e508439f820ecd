--- CancelScope: a part of a task that can be cancelled as a whole, as in Trio and AnyIO.
---
--- A scope is level-triggered: once it is cancelled, every await in it that suspends raises CancelledError, until the
--- scope is left; a clean-up that must wait does so in a scope with `shield`. In the form
--- `asyncio.with(scope, f)` a scope swallows the CancelledError that it brought about itself. `local s <close> = ...`
--- works too, but a Lua variable cannot swallow an error as it is closed: there the CancelledError goes on, to be
--- caught with asyncio.catch.
---
--- How it is done: a task's scopes form a chain from the innermost out. `check` cancels the task when a cancelled
--- scope can be seen from where it waits, and looks again once the task has had its turn. So a cancel is repeated
--- only when it was used up, and a loop with a cancelled scope in it does not spin.

local core = require "asyncio.core"
local misuse = require "asyncio.misuse"

local current_task, get_running_loop = core.current_task, core.get_running_loop
local awaiting, isfuture = core.awaiting, core.isfuture
local isinstance, CancelledError = core.isinstance, core.CancelledError
local RuntimeError, TimeoutError = core.RuntimeError, core.TimeoutError

--- Task -> its innermost scope.
---@type table<any, asyncio.CancelScope>
local innermost = setmetatable({}, { __mode = "k" })

--- Task -> true while a check is due.
local checking = setmetatable({}, { __mode = "k" })

---@class asyncio.CancelScope
---@field cancel_called boolean it was cancelled, by cancel() or by its deadline
---@field cancelled_caught boolean it has swallowed a CancelledError as it was left
---@field deadline number loop time; math.huge: none. May be set
---@field shield boolean outer scopes do not reach in here. May be set
---@field private parent asyncio.CancelScope?
---@field private task any
---@field private loop any
---@field private cancels integer cancelling() of the task when it was entered
---@field private delivered integer cancels of the task that this scope still has to take back
---@field private active boolean
---@field private timer any
---@field private fails boolean TimeoutError is raised at the exit when the deadline was what cancelled it
local CancelScope = {}

--- The cancelled scope that reaches to where the task is now, or nil.
local function cancelled_scope(task)
  local scope = innermost[task]
  while scope do
    if scope.cancel_called then return scope end
    if scope.is_shield then return nil end
    scope = scope.parent
  end
end

local check

--- Lets `check` have a look once what is ready now has run.
local function check_later(loop, task)
  if not checking[task] then
    checking[task] = true
    loop:call_soon(check, loop, task)
  end
end

function check(loop, task)
  checking[task] = nil
  if task:done() then return end
  local scope = cancelled_scope(task)
  if not scope then return end
  local waits_for = awaiting(task)
  if not isfuture(waits_for) then waits_for = nil end
  if waits_for and waits_for:done() then -- it is about to go on: what it was given is not lost
    check_later(loop, task)
    return
  end
  scope.delivered = scope.delivered + 1
  task:cancel(scope.reason or nil)
  if waits_for and not waits_for:done() then
    -- The cancel was handed on to something that takes its time to end.
    checking[task] = true
    waits_for:add_done_callback(function() check(loop, task) end)
  else
    check_later(loop, task)
  end
end

--- Looks at once, or later when the task is the one that runs.
local function check_soon(loop, task)
  if core.current_task(loop) == task then
    check_later(loop, task)
  elseif not checking[task] then
    check(loop, task)
  end
end

local function on_deadline(scope)
  scope.timer = nil
  scope:cancel "deadline exceeded"
end

local function set_timer(scope)
  local timer, deadline, loop = scope.timer, scope.until_, scope.loop
  if timer then timer:cancel() end
  scope.timer = nil
  if not scope.active or scope.cancel_called or deadline == math.huge then return end
  if deadline <= loop:time() then
    on_deadline(scope)
  else
    scope.timer = loop:call_at(deadline, on_deadline, scope)
  end
end

--- Cancels what is in the scope, now and until it is left.
---@param reason? string the message of the CancelledError
function CancelScope:cancel(reason)
  if self.cancel_called then return end
  self.cancel_called = true
  self.reason = reason
  if self.timer then
    self.timer:cancel()
    self.timer = nil
  end
  if self.active then check_soon(self.loop, self.task) end
end

--- Leaves the scope. True if `err` is the CancelledError of this scope alone.
---@param self asyncio.CancelScope
local function leave(self, err)
  if not self.active then return false end
  local task = self.task
  if innermost[task] ~= self then
    error(RuntimeError("a cancel scope is left that is not the innermost one of its task"))
  end
  self.active = false
  innermost[task] = self.parent
  if self.timer then
    self.timer:cancel()
    self.timer = nil
  end
  for _ = 1, self.delivered do task:uncancel() end
  self.delivered = 0
  local outer = cancelled_scope(task)
  if outer then
    check_soon(self.loop, task) -- this one may have shielded it
    if not self.is_shield then return false end -- it is the outer one's to catch
  end
  return self.cancel_called and task:cancelling() <= self.cancels and isinstance(err, CancelledError)
end

--- Raises TimeoutError in place of a CancelledError if this is what the scope is for.
---@param self asyncio.CancelScope
local function fail(self)
  if self.fails and self.loop:time() >= self.until_ then error(TimeoutError()) end
end

--- For asyncio.with: swallows the CancelledError of the scope.
---@return boolean
function CancelScope:__aexit(err)
  if not leave(self, err) then return false end
  self.cancelled_caught = true
  fail(self)
  return true
end

local mt = { __name = "CancelScope" }

function mt:__close(err)
  if leave(self, err) then fail(self) end
end

function mt:__index(key)
  if key == "deadline" then return self.until_ end
  if key == "shield" then return self.is_shield end
  return CancelScope[key]
end

local function check_deadline(deadline, what)
  if type(deadline) ~= "number" then
    misuse.raise(core.TypeError, ("%s must be a number of seconds, not %s"):format(what, misuse.describe(deadline)), 3)
  end
  if deadline ~= deadline then misuse.raise(core.ValueError, what .. " must not be NaN", 3) end
end

function mt:__newindex(key, value)
  if key == "deadline" then
    check_deadline(value, "deadline")
    self.until_ = value
    set_timer(self)
  elseif key == "shield" then
    self.is_shield = not not value
    if self.active and not value and cancelled_scope(self.task) then check_soon(self.loop, self.task) end
  else
    rawset(self, key, value)
  end
end

function mt:__tostring()
  local state = self.cancel_called and "cancelled" or self.active and "active" or "finished"
  local deadline = self.until_ ~= math.huge and (" deadline=%.3f"):format(self.until_) or ""
  return "<CancelScope [" .. state .. "]" .. deadline .. (self.is_shield and " shield" or "") .. ">"
end

---@return asyncio.CancelScope
local function enter(deadline, shield, fails)
  local loop = get_running_loop()
  local task = current_task()
  if not task then error(RuntimeError("CancelScope should be used inside a task")) end
  local self = setmetatable({
    cancel_called = false,
    cancelled_caught = false,
    until_ = deadline,
    is_shield = shield,
    fails = fails,
    parent = innermost[task],
    task = task,
    loop = loop,
    cancels = task:cancelling(),
    delivered = 0,
    active = true,
    timer = false,
    reason = false,
  }, mt)
  innermost[task] = self
  set_timer(self)
  return self
end

local M = {}

local options = { "deadline", "shield" }

--- Enters a scope in the current task: `asyncio.with(asyncio.CancelScope{deadline = t}, function(scope) ... end)`.
---@param opts? { deadline?: number, shield?: boolean } deadline in loop time
---@return asyncio.CancelScope
function M.CancelScope(opts)
  local deadline, shield = math.huge, false
  if opts ~= nil then
    core.options(opts, options, "CancelScope")
    if opts.deadline ~= nil then
      check_deadline(opts.deadline, "deadline")
      deadline = opts.deadline
    end
    shield = not not opts.shield
  end
  return enter(deadline, shield, false)
end

local shield_option = { "shield" }

--- Makes one of the four helpers below.
local function helper(name, relative, fails)
  return function(seconds, opts)
    if opts ~= nil then core.options(opts, shield_option, name) end
    local deadline = math.huge
    if seconds ~= nil then
      check_deadline(seconds, relative and "delay" or "deadline")
      deadline = relative and get_running_loop():time() + seconds or seconds
    end
    return enter(deadline, opts ~= nil and not not opts.shield, fails)
  end
end

--- A scope that is cancelled after `delay` seconds (nil: never): asyncio.with ends quietly then.
---@type fun(delay: number?, opts?: { shield?: boolean }): asyncio.CancelScope
M.move_on_after = helper("move_on_after", true, false)

--- The same with a moment of the loop's clock.
---@type fun(when: number?, opts?: { shield?: boolean }): asyncio.CancelScope
M.move_on_at = helper("move_on_at", false, false)

--- A scope that is cancelled after `delay` seconds (nil: never) and then raises TimeoutError as it is left.
---@type fun(delay: number?, opts?: { shield?: boolean }): asyncio.CancelScope
M.fail_after = helper("fail_after", true, true)

--- The same with a moment of the loop's clock.
---@type fun(when: number?, opts?: { shield?: boolean }): asyncio.CancelScope
M.fail_at = helper("fail_at", false, true)

--- For the parts of asyncio that must wait on whatever comes: a shield around the running task's next awaits, to be
--- closed after them; nil if the task is in no scope.
---@package
---@return asyncio.CancelScope?
function M.hold()
  local task = current_task()
  if task and innermost[task] then return enter(math.huge, true, false) end
end

return M
