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

return require("asyncio.facade")(M, parts, "concurrent.futures")
