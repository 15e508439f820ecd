---@meta multiprocessing

-- Module multiprocessing. Written by tools/definitions.lua.

---@class multiprocessing.ProcessOptions
---@field target function a coroutine function or a plain one
---@field args? any[]
---@field name? string
---@field initializer? function
---@field initargs? any[]
---@field loop_initializer? fun(): asyncio.Loop gives the process's loop

---@class multiprocessing.PoolOptions
---@field processes? integer
---@field childconcurrency? integer 16: calls at a time in each worker
---@field maxtasksperchild? integer
---@field queuecount? integer
---@field initializer? function
---@field initargs? any[]
---@field exception_handler? fun(err: any) called in the worker for each error
---@field loop_initializer? fun(): asyncio.Loop

---@class multiprocessing.Process
---@field pid integer?
---@field exitcode integer? -N when signal N ended it
---@field name string
---@overload fun(opts: multiprocessing.ProcessOptions): multiprocessing.Process
local Process = {}

--- Starts the process.
function Process:start() end

--- Awaits until it has a pid.
---@async
function Process:started() end

--- Awaits its end.
---@async
---@param timeout? number
function Process:join(timeout) end

--- Does it run?
---@return boolean
function Process:is_alive() end

--- SIGTERM.
function Process:terminate() end

--- SIGKILL.
function Process:kill() end

---@class multiprocessing.Worker: multiprocessing.Process
---@overload fun(opts: multiprocessing.ProcessOptions): multiprocessing.Worker
local Worker = {}

---@class multiprocessing.Pool
---@overload fun(opts?: integer|multiprocessing.PoolOptions): multiprocessing.Pool
local Pool = {}

--- A future of `f(...)`.
---@param f function
---@param args? any[]
---@return asyncio.Future|any
function Pool:apply(f, args) end

--- Calls `f` with each element.
---@param f function
---@param iterable any
---@return multiprocessing.PoolResult|any[]
function Pool:map(f, iterable) end

--- Calls `f` with the elements of each as arguments.
---@param f function
---@param iterable any
---@return multiprocessing.PoolResult|any[]
function Pool:starmap(f, iterable) end

--- Takes no more calls.
function Pool:close() end

--- Kills the workers.
function Pool:terminate() end

--- Awaits the end of all.
---@async
function Pool:join() end

---@class multiprocessing.PoolResult
local PoolResult = {}

--- Iterates over the results, in order.
---@return fun(): any
function PoolResult:each() end

--- An array of the results, in order, with `n`.
---@async
---@return any[]
function PoolResult:results() end

---@class multiprocessing
local multiprocessing = {}
multiprocessing.Pool = Pool
multiprocessing.PoolResult = PoolResult
multiprocessing.Process = Process
multiprocessing.Worker = Worker

--- How many processes can run at once.
---@return integer
function multiprocessing.cpu_count() end

--- The program of the workers.
---@param path string
function multiprocessing.set_executable(path) end

return multiprocessing
