--- timeout, timeout_at: a limit of time for a part of a task.
---
--- When the time is up the task is cancelled, and the timeout turns that CancelledError into a TimeoutError as it is
--- left. If somebody else has cancelled the task too, the CancelledError goes on instead.

local core = require "asyncio.core"
local misuse = require "asyncio.misuse"

local current_task, get_running_loop = core.current_task, core.get_running_loop
local isinstance, CancelledError, TimeoutError = core.isinstance, core.CancelledError, core.TimeoutError
local RuntimeError = core.RuntimeError

---@class asyncio.Timeout
---@field private state "active"|"expiring"|"expired"|"finished"
---@field private task any
---@field private deadline number? loop time
---@field private cancels integer cancelling() of the task when it was entered
---@field private timer any
---@field private entered boolean? by asyncio.with
local Timeout = {}
Timeout.__index = Timeout
Timeout.__name = "Timeout"

---@param self asyncio.Timeout
local function on_timeout(self)
  self.task:cancel()
  self.state = "expiring"
  self.timer = nil
end

---@param self asyncio.Timeout
local function schedule(self, loop, deadline)
  self.deadline = deadline
  if not deadline or deadline == math.huge then
    self.timer = nil
  elseif deadline <= loop:time() then
    self.timer = loop:call_soon(on_timeout, self)
  else
    self.timer = loop:call_at(deadline, on_timeout, self)
  end
end

local function enter(loop, deadline)
  local task = current_task()
  if not task then error(RuntimeError("Timeout should be used inside a task")) end
  local self = setmetatable({ state = "active", task = task, cancels = task:cancelling() }, Timeout)
  schedule(self, loop, deadline)
  return self
end

local function check(value, name)
  if value == nil then return end
  if type(value) ~= "number" then
    local kind = misuse.describe(value)
    misuse.raise(core.TypeError, name .. " expects a number of seconds or nil, not " .. kind, 3)
  end
  if value ~= value then misuse.raise(core.ValueError, "Invalid delay: NaN (not a number)", 3) end
end

--- The deadline in loop time, or nil.
---@return number?
function Timeout:when()
  return self.deadline
end

--- Moves the deadline; nil takes it away. Raises RuntimeError once the time was up or the timeout was left.
---@param when number? loop time
function Timeout:reschedule(when)
  check(when, "reschedule()")
  if self.state ~= "active" then error(RuntimeError("Cannot change state of " .. self.state .. " Timeout")) end
  if self.timer then self.timer:cancel() end
  schedule(self, get_running_loop(), when)
end

--- True once the time was up.
---@return boolean
function Timeout:expired()
  return self.state == "expiring" or self.state == "expired"
end

--- What asyncio.with and `async with` ask: a timeout is entered as it is made, and used once.
function Timeout:__aenter()
  if self.entered or self.state ~= "active" and self.state ~= "expiring" then
    error(RuntimeError("Timeout has already been entered"))
  end
  self.entered = true
  return self
end

--- Leaves the timeout. Raises TimeoutError in place of the CancelledError that it brought about itself.
function Timeout:__close(err)
  if self.timer then
    self.timer:cancel()
    self.timer = nil
  end
  if self.state == "expiring" then
    self.state = "expired"
    if self.task:uncancel() <= self.cancels and isinstance(err, CancelledError) then
      error(TimeoutError(nil, { cause = err }))
    end
  elseif self.state == "active" then
    self.state = "finished"
  end
end

function Timeout:__tostring()
  if self.state ~= "active" then return "<Timeout [" .. self.state .. "]>" end
  local when = self.deadline and ("%.3f"):format(self.deadline) or "nil"
  return "<Timeout [active] when=" .. when .. ">"
end

local M = { Timeout = Timeout }

--- Limits what follows to `delay` seconds: `local t <close> = asyncio.timeout(2)`. With 0 or less the first await
--- that suspends is cut off; nil sets no limit, `reschedule` can.
---@param delay number? seconds
---@return asyncio.Timeout
function M.timeout(delay)
  check(delay, "timeout()")
  local loop = get_running_loop()
  return enter(loop, delay and loop:time() + delay)
end

--- As timeout, with a moment of the loop's clock (`loop:time()`).
---@param when number? loop time
---@return asyncio.Timeout
function M.timeout_at(when)
  check(when, "timeout_at()")
  return enter(get_running_loop(), when)
end

return M
