--- ThreadPoolExecutor: functions run in threads, each with a Lua state of its own.

local core = require "asyncio.core"
local executor = require "concurrent.futures.executor"
local misuse = require "asyncio.misuse"
local workers = require "asyncio.workers"

---@class concurrent.futures.ThreadPoolExecutor: concurrent.futures.Executor
---@field private pool any
local ThreadPoolExecutor = executor.class("ThreadPoolExecutor")

local M = {}

local keys = { "max_workers", "thread_name_prefix", "initializer", "initargs", "memory_limit" }

--- Queues a call; `fname` is what errors name.
---@private
function ThreadPoolExecutor:call(fname, loop, context, f, ...)
  return self.pool:submit(fname, loop, context, f, ...)
end

---@private
function ThreadPoolExecutor:stop(cancel)
  return self.pool:shutdown(cancel)
end

---@param opts? integer|table
---@return concurrent.futures.ThreadPoolExecutor
local function new(_, opts)
  if math.type(opts) == "integer" then opts = { max_workers = opts } end
  core.options(opts, keys, "ThreadPoolExecutor")
  opts = opts or {}
  local max = executor.check_workers(opts.max_workers, math.min(32, workers.cpu_count() + 4), "ThreadPoolExecutor")
  local f, args = executor.check_initializer(opts, "ThreadPoolExecutor")
  local name, memory = opts.thread_name_prefix or "ThreadPool", opts.memory_limit
  if type(name) ~= "string" then
    misuse.raise(core.TypeError,
      "ThreadPoolExecutor: thread_name_prefix must be a string, got " .. misuse.describe(name))
  end
  if memory == nil then
    memory = workers.total_memory() // 2
  elseif math.type(memory) ~= "integer" or memory < 0 then
    misuse.raise(core.ValueError, "ThreadPoolExecutor: memory_limit must be a number of bytes, 0 for none")
  end
  local pool = workers.pool(max, name, memory, package.path, package.cpath, f, table.unpack(args, 1, args.n or #args))
  return setmetatable({ pool = pool, max_workers = max }, ThreadPoolExecutor)
end

--- `ThreadPoolExecutor(n)` or `ThreadPoolExecutor{max_workers =, thread_name_prefix =, initializer =, initargs =,
--- memory_limit =}`: at most so many threads (4 more than there are processors), made when they are needed first.
getmetatable(ThreadPoolExecutor).__call = new
M.ThreadPoolExecutor = ThreadPoolExecutor

return M
