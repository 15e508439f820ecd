--- TaskGroup: tasks that end together.
---
--- The group is left only when all its tasks are done. The first error of a task (or of the body) cancels the rest;
--- then all errors are raised as one ExceptionGroup. Children that end by CancelledError are ignored.

local core = require "asyncio.core"
local misuse = require "asyncio.misuse"
local standins = require "asyncio.standins"

local await, catch = core.await, core.catch
local isinstance = core.isinstance
local CancelledError, RuntimeError = core.CancelledError, core.RuntimeError

--- These are raised as they are, not in a group.
local bare = { core.SystemExit, core.KeyboardInterrupt }

---@class asyncio.TaskGroup
---@field private loop any
---@field private parent any the task that made the group
---@field private tasks table<any, integer> the tasks that run, with their place in the order of making
---@field private made integer how many tasks were made
---@field private errors any[]
---@field private base_error any the first error that is raised as it is
---@field private waiter any future, while the exit waits for tasks
---@field private entered boolean? by asyncio.with
---@field private exiting boolean
---@field private aborting boolean
---@field private cancelled_parent boolean
---@field private on_done fun(task: any)
local TaskGroup = {}
TaskGroup.__index = TaskGroup
TaskGroup.__name = "TaskGroup"

--- Cancels the tasks that run, in the order in which they were made.
---@param self asyncio.TaskGroup
local function abort(self)
  self.aborting = true
  local order, tasks = {}, self.tasks
  for task in next, tasks do order[#order + 1] = task end
  table.sort(order, function(a, b) return tasks[a] < tasks[b] end)
  for i = 1, #order do
    if not order[i]:done() then order[i]:cancel() end
  end
end

---@param self asyncio.TaskGroup
local function on_task_done(self, task)
  self.tasks[task] = nil
  local waiter = self.waiter
  if waiter and not next(self.tasks) and not waiter:done() then waiter:set_result(true) end
  if task:cancelled() then return end
  local err = task:exception()
  if err == nil then return end

  self.errors[#self.errors + 1] = err
  if self.base_error == nil and isinstance(err, bare) then self.base_error = err end
  local parent = self.parent
  if parent:done() then
    self.loop:call_exception_handler {
      message = ("Task %s has errored out but its parent task %s is already completed"):format(task, parent),
      exception = err,
      task = task,
    }
  elseif not self.aborting and not self.cancelled_parent then
    -- The body is cut off where it waits; the exit takes this cancel back.
    abort(self)
    self.cancelled_parent = true
    parent:cancel()
  end
end

--- Waits for all tasks. Gives the CancelledError by which the parent was cancelled from outside meanwhile, if any.
---@param self asyncio.TaskGroup
local function join(self)
  local cancelled
  local scopes = package.loaded["asyncio.scopes"]
  while next(self.tasks) do
    self.waiter = self.loop:create_future()
    standins[self.waiter] = self.tasks
    -- Once the tasks are being cancelled, a cancelled scope around has nothing more to ask of the wait.
    local _ <close> = scopes and self.aborting and scopes.hold() or nil
    local ok, err = catch(await, self.waiter)
    if not ok then
      if not isinstance(err, CancelledError) then error(err, 0) end
      if not self.aborting then
        cancelled = err
        abort(self)
      end
    end
    self.waiter = nil
  end
  return cancelled
end

---@param errors any[]
local function group_of(errors)
  local class = core.ExceptionGroup
  for i = 1, #errors do
    if isinstance(errors[i], core.BaseException) and not isinstance(errors[i], core.Exception) then
      class = core.BaseExceptionGroup
    end
  end
  return class("unhandled errors in a TaskGroup", errors)
end

--- What asyncio.with and `async with` ask: a group is entered as it is made, and used once.
function TaskGroup:__aenter()
  if self.entered or self.exiting then
    error(RuntimeError("TaskGroup " .. tostring(self) .. " has already been entered"))
  end
  self.entered = true
  return self
end

--- Leaves the group: waits for its tasks, raises what went wrong.
function TaskGroup:__close(err)
  if self.exiting then return end
  self.exiting = true
  if self.base_error == nil and isinstance(err, bare) then self.base_error = err end
  local body_cancelled = isinstance(err, CancelledError)
  local cancelled = body_cancelled and err or nil
  if err ~= nil and not self.aborting then abort(self) end

  cancelled = join(self) or cancelled
  local parent, errors = self.parent, self.errors
  if self.base_error ~= nil then error(self.base_error, 0) end
  -- The cancel that was our own is taken back; if it was the only one, it stays inside.
  if self.cancelled_parent and parent:uncancel() == 0 then cancelled = nil end
  if cancelled and #errors == 0 then error(cancelled, 0) end
  if err ~= nil and not body_cancelled then errors[#errors + 1] = err end
  if #errors > 0 then
    -- A cancel from outside is delivered again at the next await; the count stays what it was.
    if parent:cancelling() > 0 then
      parent:uncancel()
      parent:cancel()
    end
    error(group_of(errors))
  end
end

--- Makes a task that belongs to the group. Raises RuntimeError when the group has failed or has ended.
---@param coroutine any a coroutine, or a function without arguments
---@param opts? { name?: string, context?: table, eager_start?: boolean }
---@return any task
function TaskGroup:create_task(coroutine, opts)
  local refusal = self.exiting and not next(self.tasks) and " is finished" or self.aborting and " is shutting down"
  if refusal then
    if core.iscoroutine(coroutine) then coroutine:close() end
    error(RuntimeError("TaskGroup " .. tostring(self) .. refusal))
  end
  local task = self.loop:create_task(coroutine, opts)
  self.made = self.made + 1
  self.tasks[task] = self.made
  task:add_done_callback(self.on_done)
  return task
end

function TaskGroup:__tostring()
  local info, running = "", 0
  for _ in next, self.tasks do running = running + 1 end
  if running > 0 then info = info .. " tasks=" .. running end
  if #self.errors > 0 then info = info .. " errors=" .. #self.errors end
  return "<TaskGroup" .. info .. (self.aborting and " cancelling" or " entered") .. ">"
end

local M = {}

--- Opens a group in the current task: `local tg <close> = asyncio.TaskGroup()`. Raises RuntimeError outside of a task.
---@return asyncio.TaskGroup
function M.TaskGroup(...)
  if select("#", ...) > 0 then misuse.raise(core.TypeError, "TaskGroup() takes no arguments") end
  local loop = core.get_running_loop()
  local parent = core.current_task()
  if not parent then error(RuntimeError("TaskGroup <TaskGroup> cannot determine the parent task")) end
  local self = {
    loop = loop,
    parent = parent,
    tasks = {},
    made = 0,
    errors = {},
    exiting = false,
    aborting = false,
    cancelled_parent = false,
  }
  self.on_done = function(task) on_task_done(self, task) end
  return setmetatable(self, TaskGroup)
end

return M
