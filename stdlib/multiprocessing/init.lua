--- multiprocessing: processes that run coroutine functions, each in a loop of its own, in aiomultiprocess's manner.

local parts = {
  ["multiprocessing.process"] = " Process Worker ",
  ["multiprocessing.pool"] = " Pool PoolResult ",
  ["multiprocessing.crew"] = " set_executable ",
}

local M = {}

--- How many processes can run at once.
---@return integer
function M.cpu_count() return require("asyncio.workers").cpu_count() end

local function lookup(t, name)
  if type(name) ~= "string" then return nil end
  for part, names in next, parts do
    if names:find(" " .. name .. " ", 1, true) then
      local value = require(part)[name]
      rawset(t, name, value)
      return value
    end
  end
end

--- Goes over every name, so that a REPL can complete them.
local function names(t)
  for _, list in next, parts do
    for name in list:gmatch("%S+") do lookup(t, name) end
  end
  return next, t
end

return setmetatable(M, { __index = lookup, __pairs = names, __name = "multiprocessing" })
