--- ProcessPoolExecutor: functions run in worker processes.

local core = require "asyncio.core"
local crew = require "multiprocessing.crew"
local executor = require "concurrent.futures.executor"
local misuse = require "asyncio.misuse"
local workers = require "asyncio.workers"

---@class concurrent.futures.ProcessPoolExecutor: concurrent.futures.Executor
---@field private crew multiprocessing.Crew
local ProcessPoolExecutor = executor.class("ProcessPoolExecutor")
ProcessPoolExecutor.chunks = true

local M = {}

local keys = { "max_workers", "initializer", "initargs", "max_tasks_per_child" }

--- Queues a call; `fname` is what errors name.
---@private
function ProcessPoolExecutor:call(fname, loop, _, f, ...)
  if core.iscoroutinefunction(f) then
    misuse.raise(core.TypeError,
      ("coroutines cannot be used with %s(): use multiprocessing.Pool, or asyncio.run there"):format(fname), 4)
  end
  return self.crew:call(fname, loop, f, ...)
end

---@private
function ProcessPoolExecutor:stop(cancel)
  return self.crew:stop(cancel)
end

--- Ends at once: the processes are killed, their calls raise BrokenProcessPool.
function ProcessPoolExecutor:kill_workers()
  local ended = self.crew:stop(true)
  self.crew:kill("SIGKILL")
  return ended
end

--- The same with SIGTERM.
function ProcessPoolExecutor:terminate_workers()
  local ended = self.crew:stop(true)
  self.crew:kill("SIGTERM")
  return ended
end

--- The process ids of the workers.
---@return integer[]
function ProcessPoolExecutor:pids()
  local list = {}
  for _, worker in ipairs(self.crew.crew) do
    if worker.proc then list[#list + 1] = worker.proc.pid end
  end
  return list
end

local function new(_, opts)
  if math.type(opts) == "integer" then opts = { max_workers = opts } end
  core.options(opts, keys, "ProcessPoolExecutor")
  opts = opts or {}
  local max = executor.check_workers(opts.max_workers, workers.cpu_count(), "ProcessPoolExecutor")
  local f, args = executor.check_initializer(opts, "ProcessPoolExecutor")
  local tasks = opts.max_tasks_per_child
  if tasks ~= nil and (math.type(tasks) ~= "integer" or tasks < 1) then
    misuse.raise(core.ValueError, "max_tasks_per_child must be a positive integer")
  end
  return setmetatable({
    max_workers = max,
    crew = crew.new({ max = max, mode = "call", initializer = f, initargs = args, max_tasks = tasks },
      "ProcessPoolExecutor: initializer"),
  }, ProcessPoolExecutor)
end

--- `ProcessPoolExecutor(n)` or `ProcessPoolExecutor{max_workers =, initializer =, initargs =, max_tasks_per_child =}`:
--- at most so many processes (one for each processor), started when they are needed.
getmetatable(ProcessPoolExecutor).__call = new
M.ProcessPoolExecutor = ProcessPoolExecutor

return M
