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

return require("asyncio.facade")(M, parts, "multiprocessing")
