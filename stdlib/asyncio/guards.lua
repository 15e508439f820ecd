--- Guards: `local _ <close> = await(lock:guard())` and `asyncio.with(lock, f)` for all that has acquire and release.

local core = require "asyncio.core"

local await = core.await

--- Releases what it guards when it is closed, once.
local Guard = {}
Guard.__index = Guard
Guard.__name = "Guard"

function Guard:__close()
  local guarded = self.guarded
  if guarded then
    self.guarded = nil
    guarded:release()
  end
end

Guard.close = Guard.__close

local guard = core.async(function(self)
  await(self:acquire())
  return setmetatable({ guarded = self }, Guard)
end, "guard")

local enter = core.async(function(self)
  await(self:acquire())
  return self
end, "acquire")

local function exit(self)
  self:release()
end

local M = {}

--- Adds `guard` and what asyncio.with needs to a class that has acquire and release.
---@param methods table
---@return table methods
function M.extend(methods)
  methods.guard, methods.__aenter, methods.__aexit = guard, enter, exit
  return methods
end

return M
