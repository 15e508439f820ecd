---@meta task

-- Module task. Written by tools/definitions.lua.

---@class task
local task = {}

--- Calls a function, or resumes a thread, at once; gives the thread and goes on when that waits for the first time or
--- has ended. `f` may be a coroutine function or a coroutine, too. Outside of tasks the loop takes a turn.
---@param f any
---@param ... any
---@return thread
function task.spawn(f, ...) end

--- The same when all that is ready now has run.
---@param f any
---@param ... any
---@return thread
function task.defer(f, ...) end

--- The same in that many seconds, and not before the next frame.
---@param seconds number
---@param f any
---@param ... any
---@return thread
function task.delay(seconds, f, ...) end

--- Waits so long, and at least until the next frame; gives the seconds that have passed. Without `seconds`: until the
--- next frame.
---@async
---@param seconds? number
---@return number
function task.wait(seconds) end

--- Ends a thread: what it waits for is cancelled, what is left of it never runs, its `<close>` variables are closed
--- (and may await). One that has ended is left alone; RuntimeError for one that is running.
---@param thread thread
function task.cancel(thread) end

--- Nothing: there is one thread at a time.
function task.synchronize() end

--- Nothing: there is one thread at a time.
function task.desynchronize() end

return task
