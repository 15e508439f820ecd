--- task: threads in the terms of Roblox's task library. A thread is a coroutine; what runs it is a task of asyncio's,
--- so that it may await, and that what it raises is reported as any task's error.
---
--- A thread that yields by coroutine.yield belongs to nobody until it is spawned (deferred, delayed) again: `owners`
--- has those that a task is about to run, runs, or runs as soon as what they await is done.

local core = require "asyncio.core"
local misuse = require "asyncio.misuse"

local await, catch, create_task, frame, sleep = core.await, core.catch, core.create_task, core.frame, core.sleep
local next_frame = core.next_frame()
local create, resume, status = coroutine.create, coroutine.resume, coroutine.status

local M = {}

---@type table<thread, any> thread -> its task
local owners = setmetatable({}, { __mode = "k" })

--- Yields the running thread for that many seconds of the loop's time, and at least until the next frame.
---@param seconds number? 0
---@return number elapsed seconds
function M.wait(seconds)
  if seconds ~= nil and (type(seconds) ~= "number" or seconds ~= seconds) then
    misuse.raise(core.TypeError, "task.wait: seconds were expected, got " .. misuse.describe(seconds))
  end
  local start, n = frame()
  if seconds and seconds > 0 then
    await(sleep(seconds))
    local now, later, period = frame()
    if later > n or period and now - start >= period then return now - start end
  end
  await(next_frame)
  return frame() - start
end

-- What a task does for a thread: waits until it is time, and resumes it once.
local segment = core.async(function(thread, seconds, ...)
  if seconds then
    local ok, err = catch(M.wait, seconds)
    if not ok then
      coroutine.close(thread)
      error(err, 0)
    end
  end
  local ok, err = resume(thread, ...)
  owners[thread] = nil
  if not ok then error(err, 0) end
end)

local function expected(name, what, value, level)
  local message = ("task.%s: %s was expected, got %s"):format(name, what, misuse.describe(value))
  misuse.raise(core.TypeError, message, level or 3)
end

-- The thread to be run: as it is, or one for a function.
local function to_thread(name, f)
  if type(f) == "thread" then
    local state = status(f)
    if owners[f] or state ~= "suspended" then
      local why = state ~= "dead" and owners[f] and "it waits, or is to be resumed already" or ("it is " .. state)
      misuse.raise(core.RuntimeError, ("task.%s: the thread cannot be resumed: %s"):format(name, why), 3)
    end
    return f
  elseif core.iscoroutinefunction(f) then
    return create(function(...) return await(f(...)) end)
  elseif core.iscoroutine(f) then
    return create(function() return await(f) end)
  elseif type(f) ~= "function" then
    expected(name, "a function or a thread", f, 4)
  end
  return create(f)
end


-- Makes the task that runs the thread.
local function own(thread, options, seconds, ...)
  local task = create_task(segment(thread, seconds, ...), options)
  if status(thread) ~= "dead" and not task:done() then owners[thread] = task end
  return thread
end

--- Resumes the thread, or a new one that calls the function, at once; goes on when it waits for the first time.
--- Outside of tasks the loop takes a turn.
---@param f function|thread|any a coroutine function or a coroutine, too
---@param ... any arguments
---@return thread
function M.spawn(f, ...)
  local thread = to_thread("spawn", f)
  if core.get_running_loop_or_nil() then return own(thread, { eager_start = true }, nil, ...) end
  own(thread, nil, nil, ...)
  await(sleep(0))
  return thread
end

--- The same, but when all that is ready now has run.
---@param f function|thread|any
---@param ... any arguments
---@return thread
function M.defer(f, ...) return own(to_thread("defer", f), nil, nil, ...) end

--- The same in that many seconds, and not before the next frame.
---@param seconds number
---@param f function|thread|any
---@param ... any arguments
---@return thread
function M.delay(seconds, f, ...)
  if type(seconds) ~= "number" or seconds ~= seconds then expected("delay", "a number of seconds", seconds) end
  return own(to_thread("delay", f), nil, seconds, ...)
end

--- Ends a thread: what it awaits is cancelled, what is left of it never runs, its `<close>` variables are closed. One
--- that has ended is left alone. RuntimeError: it is running.
---@param thread thread
function M.cancel(thread)
  if type(thread) ~= "thread" then expected("cancel", "a thread", thread) end
  local state, owner = status(thread), owners[thread]
  if state == "running" or state == "normal" and not (owner and owner ~= core.current_task()) then
    misuse.raise(core.RuntimeError, "task.cancel: the thread is running")
  elseif owner and not owner:done() then
    owner:cancel()
    if state == "suspended" then coroutine.close(thread) end -- it has not begun
  elseif state == "suspended" then
    coroutine.close(thread)
  end
end

--- Roblox runs threads in parallel between these two; here there is one at a time, and they do nothing.
function M.synchronize() end
function M.desynchronize() end

return M
