--- concurrent.futures: functions that run in threads and processes of their own while the loop goes on.

local core = require "asyncio.core"

--- Part by part, the names that it gives.
local parts = {
  ["concurrent.futures.thread"] = " ThreadPoolExecutor ",
  ["concurrent.futures.process"] = " ProcessPoolExecutor ",
  ["concurrent.futures.executor"] = " Executor ",
}

local M = {
  CancelledError = core.CancelledError,
  TimeoutError = core.TimeoutError,
  InvalidStateError = core.InvalidStateError,
  BrokenExecutor = core.BrokenExecutor,
  BrokenThreadPool = core.BrokenThreadPool,
  BrokenProcessPool = core.BrokenProcessPool,
}

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

return setmetatable(M, { __index = lookup, __pairs = names, __name = "concurrent.futures" })
