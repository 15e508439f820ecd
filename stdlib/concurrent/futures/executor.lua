--- Executor: what executors of threads and of processes have in common.

local core = require "asyncio.core"
local misuse = require "asyncio.misuse"

local await = core.await

---@class concurrent.futures.Executor
---@field protected call fun(self: any, fname: string, loop: any, context: table?, f: function, ...: any): any
local Executor = {}
Executor.__index = Executor
Executor.__name = "Executor"

local M = { Executor = Executor }

--- Calls f(...) in a worker: gives a future of the running loop. What cannot be copied is a TypeError that says where
--- it is.
---@param f function
---@param ... any
---@return any future
function Executor:submit(f, ...)
  return self:call("submit", nil, nil, f, ...)
end

--- What to call to get the next element of an array, or of an iterator.
local function elements(iterable, i)
  if type(iterable) == "function" then return iterable end
  local mt = getmetatable(iterable)
  if type(iterable) == "table" then
    local index = 0
    return function()
      index = index + 1
      return iterable[index]
    end
  elseif type(mt) == "table" and mt.__call then
    return iterable
  end
  misuse.raise(core.TypeError, ("map: argument %d: an array or an iterator was expected, got %s"):format(i + 1,
    misuse.describe(iterable)), 4)
end

--- Takes the options off the end: a table with names and no elements.
local function split(args, keys, fname)
  local last = args[args.n]
  if args.n > 1 and type(last) == "table" and getmetatable(last) == nil and #last == 0 and next(last) ~= nil then
    core.options(last, keys, fname)
    args.n = args.n - 1
    return last
  end
  return {}
end
M.split = split

--- Gives the next arguments of each iterable until one of them ends; as a packed table.
local function zip(args)
  local sources = {}
  for i = 1, args.n do sources[i] = elements(args[i], i) end
  return function()
    local tuple = { n = #sources }
    for i = 1, #sources do
      local value = sources[i]()
      if value == nil then return nil end
      tuple[i] = value
    end
    return tuple
  end
end
M.zip = zip

local Rest = {}
Rest.__index = Rest

--- Cancels what is left of a map that was broken off.
function Rest:__close()
  for i = self.at, #self.futures do self.futures[i]:cancel() end
end

--- The values of a future; nil, which would end a `for`, is false.
local function value_of(first, ...)
  if first == nil then return false, ... end
  return first, ...
end

local function wait(future, loop, deadline)
  if not deadline then return await(future) end
  return await(require("asyncio.wait_for").wait_for(future, math.max(0, deadline - loop:time())))
end

--- Waits for each result in turn. Leaving the loop cancels the rest.
local function results(futures, timeout, take)
  local loop = core.get_event_loop()
  local deadline = timeout and loop:time() + timeout
  local rest = setmetatable({ futures = futures, at = 1 }, Rest)
  local function step()
    local future = futures[rest.at]
    if not future then return nil end
    local values = table.pack(core.catch(wait, future, loop, deadline))
    if not values[1] then
      rest:__close()
      rest.at = #futures + 1
      error(values[2], 0)
    end
    rest.at = rest.at + 1
    return take(table.unpack(values, 2, values.n))
  end
  return step, nil, nil, rest
end

--- In a worker: calls f for each of a chunk.
function M.run_chunk(f, tuples)
  local list = {}
  for i, tuple in ipairs(tuples) do list[i] = table.pack(f(table.unpack(tuple, 1, tuple.n))) end
  return list
end

--- map with several elements in each call.
local function map_chunks(self, f, args, size, timeout)
  local futures, chunk = {}, {}
  local function flush()
    if #chunk > 0 then futures[#futures + 1] = self:call("map", nil, nil, M.run_chunk, f, chunk) end
    chunk = {}
  end
  for tuple in zip(args) do
    chunk[#chunk + 1] = tuple
    if #chunk == size then flush() end
  end
  flush()
  local next_chunk, _, _, rest = results(futures, timeout, function(list) return list end)
  local list, at = {}, 0
  return function()
    at = at + 1
    if at > #list then
      list, at = next_chunk(), 1
      if list == nil then
        list = {}
        return nil
      end
    end
    return value_of(table.unpack(list[at], 1, list[at].n))
  end, nil, nil, rest
end

--- Calls f with each element (of several arrays or iterators: with one element of each), all at once, and iterates
--- over the results in order: `for result in executor:map(f, {1, 2, 3}) do`. Awaits by itself. An error is raised where
--- its result would be. A result nil comes as false. Options: `timeout`, seconds from now for all (TimeoutError);
--- `chunksize`: so many elements go to a process at a time.
---@param f function
---@param ... any arrays or iterators, and a table of options
---@return fun(): any
function Executor:map(f, ...)
  local args = table.pack(...)
  local opts = split(args, { "timeout", "chunksize" }, "map")
  local timeout, chunksize = opts.timeout, opts.chunksize or 1
  if args.n == 0 then misuse.raise(core.TypeError, "map: an array or an iterator is missing") end
  if timeout ~= nil and type(timeout) ~= "number" then
    misuse.raise(core.TypeError, "map: timeout must be a number of seconds, got " .. misuse.describe(timeout))
  end
  if math.type(chunksize) ~= "integer" or chunksize < 1 then
    misuse.raise(core.ValueError, "map: chunksize must be a positive integer")
  end
  local futures = {}
  if chunksize > 1 and self.chunks then return map_chunks(self, f, args, chunksize, timeout) end
  for tuple in zip(args) do
    futures[#futures + 1] = self:call("map", nil, nil, f, table.unpack(tuple, 1, tuple.n))
  end
  return results(futures, timeout, value_of)
end

--- Ends the executor: await(executor:shutdown()) is done when its workers have ended. No more calls are taken. Options:
--- `wait = false`: gives nil, its workers end by themselves; `cancel_futures = true`: calls that wait are cancelled.
---@param opts? { wait?: boolean, cancel_futures?: boolean }
---@return any
function Executor:shutdown(opts)
  core.options(opts, { "wait", "cancel_futures" }, "shutdown")
  opts = opts or {}
  local ended = self:stop(opts.cancel_futures == true)
  if opts.wait == false then return nil end
  return ended
end

--- Leaving its block ends the executor and waits for what still runs.
function Executor:__close()
  local ended = self:stop(false)
  if not ended:done() and not (core.get_running_loop_or_nil() and not core.current_task()) then await(ended) end
end

--- A class derived from Executor.
---@param name string
---@return table
function M.class(name)
  local class = { __name = name, __close = Executor.__close, __tostring = function() return "<" .. name .. ">" end }
  class.__index = class
  return setmetatable(class, { __index = Executor, __name = "class " .. name })
end

--- The size of a pool, checked.
function M.check_workers(n, default, fname)
  if n == nil then return default end
  if math.type(n) ~= "integer" then
    misuse.raise(core.TypeError, fname .. ": max_workers must be an integer, got " .. misuse.describe(n), 4)
  end
  if n <= 0 then misuse.raise(core.ValueError, "max_workers must be greater than 0", 4) end
  return n
end

--- initializer and initargs of the options, checked.
function M.check_initializer(opts, fname)
  local f, args = opts.initializer, opts.initargs or {}
  if f ~= nil and type(f) ~= "function" then
    misuse.raise(core.TypeError, fname .. ": initializer must be a function, got " .. misuse.describe(f), 4)
  end
  if type(args) ~= "table" then
    misuse.raise(core.TypeError, fname .. ": initargs must be an array, got " .. misuse.describe(args), 4)
  end
  return f, args
end

return M
