--- Barrier: a number of tasks wait for each other, then go on together.

local core = require "asyncio.core"
local misuse = require "asyncio.misuse"
local new_condition = require("asyncio.condition").Condition

local async, await = core.async, core.await
local BrokenBarrierError = core.BrokenBarrierError

---@class asyncio.Barrier
---@field parties integer how many it takes
---@field n_waiting integer how many wait now
---@field broken boolean
---@field private state "filling"|"draining"|"resetting"|"broken"
---@field private count integer tasks inside
---@field private condition asyncio.Condition notified at each change of state
local Barrier = {}
Barrier.__index = Barrier
Barrier.__name = "Barrier"

---@param self asyncio.Barrier
local function set(self, state, count)
  self.state, self.count = state, count
  self.n_waiting = state == "filling" and count or 0
  self.broken = state == "broken"
end

--- Counts the task out, on every way; the last one makes the barrier ready for the next round.
local Place = {
  __close = function(place)
    local self = place[1]
    local count, state = self.count - 1, self.state
    if count == 0 then
      if state == "resetting" or state == "draining" then state = "filling" end
      set(self, state, count)
      self.condition:notify_all()
    else
      set(self, state, count)
    end
  end,
}

--- Waits until the barrier trips. Gives this task's number among those that waited, from 0. Raises BrokenBarrierError
--- when it is aborted, or reset meanwhile.
---@async
Barrier.wait = async(function(self)
  local condition = self.condition
  local _ <close> = await(condition:guard())
  while self.state == "draining" or self.state == "resetting" do await(condition:wait()) end
  if self.state == "broken" then error(BrokenBarrierError("Barrier aborted")) end

  local index = self.count
  set(self, self.state, index + 1)
  local _ <close> = setmetatable({ self }, Place)
  if index + 1 == self.parties then
    set(self, "draining", self.count)
    condition:notify_all()
  else
    while self.state == "filling" do await(condition:wait()) end
    if self.state == "broken" or self.state == "resetting" then
      error(BrokenBarrierError("Abort or reset of barrier"))
    end
  end
  return index
end, "Barrier.wait")

--- Makes the barrier empty and whole again. Tasks that wait get BrokenBarrierError.
---@async
Barrier.reset = async(function(self)
  local condition = self.condition
  local _ <close> = await(condition:guard())
  set(self, self.count > 0 and "resetting" or "filling", self.count)
  condition:notify_all()
end, "Barrier.reset")

--- Breaks the barrier: who waits or will wait gets BrokenBarrierError, until it is reset.
---@async
Barrier.abort = async(function(self)
  local condition = self.condition
  local _ <close> = await(condition:guard())
  set(self, "broken", self.count)
  condition:notify_all()
end, "Barrier.abort")

Barrier.__aenter = Barrier.wait
function Barrier.__aexit() end

function Barrier:__tostring()
  if self.broken then return "<Barrier [broken]>" end
  return ("<Barrier [%s, waiters:%d/%d]>"):format(self.state, self.n_waiting, self.parties)
end

local M = {}

--- Makes a barrier for `parties` tasks.
---@param parties integer at least 1, or { parties = it }
---@return asyncio.Barrier
function M.Barrier(parties)
  if type(parties) == "table" then
    core.options(parties, { "parties" }, "Barrier")
    parties = parties.parties
  end
  if math.type(parties) ~= "integer" then
    misuse.raise(core.TypeError, "Barrier() expects an integer, not " .. misuse.describe(parties))
  end
  if parties < 1 then misuse.raise(core.ValueError, "parties must be >= 1") end
  local self = { parties = parties, condition = new_condition() }
  set(self, "filling", 0)
  return setmetatable(self, Barrier)
end

return M
