---@meta concurrent.futures

-- Module concurrent.futures. Written by tools/definitions.lua.

---@class concurrent.futures.BrokenExecutor: asyncio.RuntimeError
---@overload fun(message?: any, fields?: table): concurrent.futures.BrokenExecutor
local BrokenExecutor = {}

---@class concurrent.futures.BrokenProcessPool: concurrent.futures.BrokenExecutor
---@overload fun(message?: any, fields?: table): concurrent.futures.BrokenProcessPool
local BrokenProcessPool = {}

---@class concurrent.futures.BrokenThreadPool: concurrent.futures.BrokenExecutor
---@overload fun(message?: any, fields?: table): concurrent.futures.BrokenThreadPool
local BrokenThreadPool = {}

---@class concurrent.futures.Executor
local Executor = {}

--- Calls `f(...)` in a worker; gives a future. TypeError: `f` is no function, or something cannot be copied;
--- RuntimeError: it was shut down.
---@param f function
---@param ... any
---@return asyncio.Future|any
function Executor:submit(f, ...) end

--- Calls `f` with each element of an array or iterator (with several: with one element of each, until one ends), all
--- at once, and iterates over the results in order. A result nil comes as false, as nil would end the `for`. An error
--- is raised where its result would be. Leaving the loop cancels what has not begun. `opts`: `timeout`, seconds from
--- now for all (TimeoutError); `chunksize` for processes.
---@param f function
---@param ... any
---@return fun(): any
function Executor:map(f, ...) end

--- Takes no more calls; awaits until its workers have ended. `opts`: `wait = false`: gives nil at once;
--- `cancel_futures = true`: what has not begun is cancelled. The second time it only waits. Leaving its block
--- (`<close>`) is a shutdown that waits.
---@async
---@param opts? { wait?: boolean, cancel_futures?: boolean }
function Executor:shutdown(opts) end

--- Makes a class that is derived from this one.
---@param name string
---@return table
function Executor:extend(name) end

---@class concurrent.futures.ThreadPoolExecutor: concurrent.futures.Executor
---@overload fun(opts?: integer|concurrent.futures.ThreadPoolOptions): concurrent.futures.ThreadPoolExecutor
local ThreadPoolExecutor = {}

---@class concurrent.futures.ProcessPoolExecutor: concurrent.futures.Executor
---@overload fun(opts?: integer|concurrent.futures.ProcessPoolOptions): concurrent.futures.ProcessPoolExecutor
local ProcessPoolExecutor = {}

--- The ids of the worker processes.
---@return integer[]
function ProcessPoolExecutor:pids() end

--- Ends the workers by SIGTERM: calls that run raise BrokenProcessPool, those that wait are cancelled.
function ProcessPoolExecutor:terminate_workers() end

--- Ends the workers by SIGKILL: calls that run raise BrokenProcessPool, those that wait are cancelled.
function ProcessPoolExecutor:kill_workers() end

---@class concurrent.futures.ThreadPoolOptions
---@field max_workers? integer
---@field thread_name_prefix? string
---@field initializer? function called once in each worker
---@field initargs? any[]
---@field memory_limit? integer bytes for all workers' states together; 0: none

---@class concurrent.futures.ProcessPoolOptions
---@field max_workers? integer
---@field initializer? function called once in each worker
---@field initargs? any[]
---@field max_tasks_per_child? integer

---@class concurrent.futures
---@field CancelledError asyncio.CancelledError
---@field InvalidStateError asyncio.InvalidStateError
---@field TimeoutError asyncio.TimeoutError
local futures = {}
futures.BrokenExecutor = BrokenExecutor
futures.BrokenProcessPool = BrokenProcessPool
futures.BrokenThreadPool = BrokenThreadPool
futures.Executor = Executor
futures.ProcessPoolExecutor = ProcessPoolExecutor
futures.ThreadPoolExecutor = ThreadPoolExecutor

return futures
