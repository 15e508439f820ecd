--- Pool: worker processes that run many coroutines each.

local core = require "asyncio.core"
local crew = require "multiprocessing.crew"
local executor = require "concurrent.futures.executor"
local misuse = require "asyncio.misuse"
local workers = require "asyncio.workers"

local async, await = core.async, core.await

local M = {}

-- ---- what map gives ----

---@class multiprocessing.PoolResult
local PoolResult = {}
PoolResult.__index = PoolResult
PoolResult.__name = "PoolResult"

--- Awaits all results: gives an array, in order, with n.
local results = async(function(self)
  local list = { n = #self.futures }
  for i, future in ipairs(self.futures) do list[i] = await(future) end
  return list
end, "results")

function PoolResult:results() return results(self) end

PoolResult.__await = results

--- `for result in pool:map(f, list):each() do`: each result as soon as it and those before it are there.
---@return fun(): any
function PoolResult:each()
  local i = 0
  return function()
    i = i + 1
    if not self.futures[i] then return nil end
    local value = await(self.futures[i])
    if value == nil then return false end
    return value
  end
end

function PoolResult:__aiter()
  return setmetatable({ next = self:each() }, { __index = { __anext = async(function(it) return it.next() end) } })
end

M.PoolResult = PoolResult

-- ---- Pool ----

---@class multiprocessing.Pool
---@field private crew multiprocessing.Crew
local Pool = {}
Pool.__index = Pool
Pool.__name = "Pool"

local keys = {
  "processes", "maxtasksperchild", "childconcurrency", "queuecount", "initializer", "initargs", "exception_handler",
  "loop_initializer",
}

--- Calls f(...) in one of the processes, and awaits it there if it is a coroutine function; awaits to what it gives.
---@param f function
---@param args? table an array of arguments
---@return any future
function Pool:apply(f, args)
  args = args or {}
  if type(args) ~= "table" then
    misuse.raise(core.TypeError, "apply: args must be an array, got " .. misuse.describe(args))
  end
  return self:call("apply", f, table.unpack(args, 1, args.n or #args))
end

---@private
function Pool:call(fname, f, ...)
  if self.closed then misuse.raise(core.RuntimeError, fname .. ": the pool is closed", 3) end
  return self.crew:call(fname, nil, f, ...)
end

local function map(self, fname, f, iterable, spread)
  local futures = {}
  for tuple in executor.zip { n = 1, iterable } do
    local item = tuple[1]
    if spread then
      if type(item) ~= "table" then
        misuse.raise(core.TypeError, "starmap: each element must be an array, got " .. misuse.describe(item), 3)
      end
      futures[#futures + 1] = self:call(fname, f, table.unpack(item, 1, item.n or #item))
    else
      futures[#futures + 1] = self:call(fname, f, item)
    end
  end
  return setmetatable({ futures = futures }, PoolResult)
end

--- Calls f with each element of an array or iterator. Awaited, the result is an array in order; an error is raised.
---@param f function
---@param iterable any
---@return multiprocessing.PoolResult
function Pool:map(f, iterable) return map(self, "map", f, iterable, false) end

--- The same with arrays of arguments.
---@param f function
---@param iterable any
---@return multiprocessing.PoolResult
function Pool:starmap(f, iterable) return map(self, "starmap", f, iterable, true) end

--- Takes no more work.
function Pool:close()
  if self.closed then return end
  self.closed = true
  self.over = self.crew:stop(false)
end

--- Ends at once: processes are killed, what they had to do fails, what waits is cancelled.
function Pool:terminate()
  self.closed = true
  self.over = self.crew:stop(true)
  self.crew:kill("SIGKILL")
end

--- Waits until the processes have ended, after close or terminate.
---@return any awaitable
Pool.join = async(function(self)
  if not self.closed then misuse.raise(core.RuntimeError, "join: the pool is still open: close it first") end
  await(require("asyncio.shield").shield(self.over))
end, "join")

--- Leaving its block closes the pool and waits for its work.
function Pool:__close()
  self:close()
  if core.current_task() or not core.get_running_loop_or_nil() then await(self:join()) end
end

local function check(opts, key, least)
  local n = opts[key]
  if n ~= nil and (math.type(n) ~= "integer" or n < least) then
    misuse.raise(core.ValueError, ("Pool: %s must be an integer of %d at least"):format(key, least), 4)
  end
  return n
end

--- `Pool(n)` or `Pool{processes =, maxtasksperchild =, childconcurrency =, initializer =, initargs =,
--- exception_handler =, loop_initializer =}`.
---@param opts? integer|table
---@return multiprocessing.Pool
function M.Pool(opts)
  if math.type(opts) == "integer" then opts = { processes = opts } end
  core.options(opts, keys, "Pool")
  opts = opts or {}
  for _, key in ipairs { "exception_handler", "loop_initializer" } do
    if opts[key] ~= nil and type(opts[key]) ~= "function" then
      misuse.raise(core.TypeError, ("Pool: %s must be a function, got %s"):format(key, misuse.describe(opts[key])))
    end
  end
  local f, args = executor.check_initializer(opts, "Pool")
  check(opts, "queuecount", 1)
  local tasks = check(opts, "maxtasksperchild", 0)
  return setmetatable({
    processes = check(opts, "processes", 1) or workers.cpu_count(),
    crew = crew.new({
      max = check(opts, "processes", 1) or workers.cpu_count(), mode = "loop",
      concurrency = check(opts, "childconcurrency", 1) or 16, max_tasks = tasks ~= 0 and tasks or nil,
      initializer = f, initargs = args, exception_handler = opts.exception_handler,
      loop_initializer = opts.loop_initializer,
    }, "Pool"),
  }, Pool)
end

return M
