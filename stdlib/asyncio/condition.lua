--- Condition: tasks wait, holding a lock, until another one notifies them.

local core = require "asyncio.core"
local misuse = require "asyncio.misuse"
local guards = require "asyncio.guards"

local async, await, catch = core.async, core.await, core.catch
local get_running_loop = core.get_running_loop
local isinstance, CancelledError, RuntimeError = core.isinstance, core.CancelledError, core.RuntimeError

---@class asyncio.Condition
---@field lock any the asyncio.Lock under it
---@field private waiters table<integer, any> futures, from `first` to `last`, with gaps where one has left
---@field private first integer
---@field private last integer
local Condition = {}
Condition.__index = Condition
Condition.__name = "Condition"

guards.extend(Condition)

--- Wakes up to n waiters in the order in which they came.
---@param self asyncio.Condition
local function wake(self, n)
  local waiters, last = self.waiters, self.last
  local first = self.first
  while n > 0 and first <= last do
    local waiter = waiters[first]
    waiters[first] = nil
    first = first + 1
    if waiter and not waiter:done() then
      waiter:set_result(false)
      n = n - 1
    end
  end
  if first > last then
    first, self.last = 1, 0
  end
  self.first = first
end

--- Takes the lock again, however often this is cancelled meanwhile. Gives the last such CancelledError.
local function reacquire(lock)
  local cancelled
  local scopes = package.loaded["asyncio.scopes"]
  while true do
    -- A cancelled scope would cancel each try anew.
    local _ <close> = scopes and scopes.hold() or nil
    local ok, err = catch(await, lock:acquire())
    if ok then return cancelled end
    if not isinstance(err, CancelledError) then error(err, 0) end
    cancelled = err
  end
end

local function wait_and_reacquire(self, waiter, place)
  local ok, err = catch(await, waiter)
  local waiters = self.waiters
  if waiters[place] == waiter then waiters[place] = nil end -- it was not woken by `wake`
  local cancelled = reacquire(self.lock)
  if cancelled then error(cancelled, 0) end
  if not ok then error(err, 0) end
end

--- Lets go of the lock, waits until notified and takes the lock again. Gives true. May wake without a reason, so
--- check what you wait for. Raises RuntimeError if the lock is not taken. When cancelled, it holds the lock again
--- before the CancelledError goes on.
---@async
Condition.wait = async(function(self)
  if not self.lock:locked() then error(RuntimeError("cannot wait on un-acquired lock")) end
  local waiter = get_running_loop():create_future()
  self.lock:release()
  local place = self.last + 1
  self.last = place
  self.waiters[place] = waiter
  local ok, err = catch(wait_and_reacquire, self, waiter, place)
  if not ok then
    wake(self, 1) -- the notification may have been meant for this one
    error(err, 0)
  end
  return true
end, "Condition.wait")

--- Waits until predicate() gives something true, and gives that.
---@async
Condition.wait_for = async(function(self, predicate)
  local result = predicate()
  while not result do
    await(self:wait())
    result = predicate()
  end
  return result
end, "Condition.wait_for")

--- Wakes n waiters; each goes on when it has the lock. Raises RuntimeError if the lock is not taken.
---@param n? integer 1 unless given
function Condition:notify(n)
  if not self.lock:locked() then error(RuntimeError("cannot notify on un-acquired lock")) end
  if n ~= nil and math.type(n) ~= "integer" then
    misuse.raise(core.TypeError, "notify() expects an integer, not " .. misuse.describe(n))
  end
  wake(self, n or 1)
end

--- Wakes all waiters. Raises RuntimeError if the lock is not taken.
function Condition:notify_all()
  self:notify(math.maxinteger)
end

---@async
function Condition:acquire()
  return self.lock:acquire()
end

function Condition:release()
  self.lock:release()
end

---@return boolean
function Condition:locked()
  return self.lock:locked()
end

function Condition:__tostring()
  local waiting = 0
  for _ in next, self.waiters do waiting = waiting + 1 end
  return ("<Condition [%s%s]>"):format(
    self.lock:locked() and "locked" or "unlocked",
    waiting > 0 and ", waiters:" .. waiting or ""
  )
end

local M = {}

--- Makes a condition variable with a lock of its own, or over `lock`.
---@param lock? any an asyncio.Lock, or { lock = it }
---@return asyncio.Condition
function M.Condition(lock)
  if type(lock) == "table" and getmetatable(lock) == nil then
    core.options(lock, { "lock" }, "Condition")
    lock = lock.lock
  end
  if lock == nil then
    lock = core.Lock()
  elseif type(lock) ~= "userdata" and type(lock) ~= "table" or not lock.acquire then
    misuse.raise(core.TypeError, "Condition() expects a Lock, not " .. misuse.describe(lock))
  end
  return setmetatable({ lock = lock, waiters = {}, first = 1, last = 0 }, Condition)
end

return M
