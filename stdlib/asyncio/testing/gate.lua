--- The leak gate: what a test has left behind, in words that name it.

local core = require "asyncio.core"

local M = {}

--- The engine's counts of what is alive, after everything was collected that can be.
---@return table<string, integer>
function M.stats()
  collectgarbage()
  collectgarbage()
  return core.stats()
end

--- What has grown since `before`: "handles: 1 before, 2 after"; nil if nothing has.
---@param before table<string, integer>
---@param now table<string, integer>
---@return string?
function M.grown(before, now)
  local list = {}
  for name, n in pairs(now) do
    if name ~= "bytes" and n > (before[name] or 0) then
      list[#list + 1] = ("%s: %d before, %d after"):format(name, before[name] or 0, n)
    end
  end
  table.sort(list)
  return #list > 0 and table.concat(list, "; ") or nil
end

--- The same of the loop that is current; handles that are closing get a few rounds to do so.
---@param before table<string, integer>
---@param turn? fun() lets the loop turn once
---@return string?
function M.leaks(before, turn)
  local leaks
  for _ = 1, 20 do
    leaks = M.grown(before, M.stats())
    if not leaks then return nil end
    pcall(turn or function() core.await(core.sleep(0)) end)
  end
  return leaks
end

local function lines(text)
  local list = {}
  for line in text:gmatch("[^\n]+") do list[#list + 1] = line end
  return list
end

--- Of the library or of busted: no place that a test's author looks for.
---@param source string
---@return boolean
function M.is_inner(source)
  source = source:gsub("^@", "")
  return source:find("^moonloop/") ~= nil or source:find("^stdlib/") ~= nil or source:find("^=?%[C%]") ~= nil
    or source:find("/busted/", 1, true) ~= nil or source:find("/luassert/", 1, true) ~= nil
end

--- Where a task is: "app.lua:12", the innermost place that is the script's; nil if none is.
---@param task any
---@return string?
function M.place(task)
  for _, frame in ipairs(task:get_stack()) do
    if frame.line > 0 and not M.is_inner(frame.source) then return ("%s:%d"):format(frame.source, frame.line) end
  end
end

--- What is there before a test begins.
---@class asyncio.testing.Before
---@field stats table<string, integer>
---@field tasks table<any, boolean>
---@field handles table<string, integer>

---@param loop any
---@return asyncio.testing.Before
function M.before(loop)
  local tasks, handles = {}, {}
  for _, task in ipairs(core.all_tasks(loop)) do tasks[task] = true end
  for _, line in ipairs(lines(core.handles())) do handles[line] = (handles[line] or 0) + 1 end
  core.take_lost()
  return { stats = M.stats(), tasks = tasks, handles = handles }
end

-- Names the tasks that are left, and ends them.
local function tasks_left(loop, before, list, run)
  local left = {}
  for _, task in ipairs(core.all_tasks(loop)) do
    if not before.tasks[task] then
      local place = M.place(task)
      left[#left + 1] = task
      local name = task:get_name()
      list[#list + 1] = ("the task '%s' is not done%s"):format(name, place and ": it waits at " .. place or "")
    end
  end
  if #left == 0 then return end
  for _, task in ipairs(left) do task:cancel() end
  run(function()
    core.await(core.sleep(0))
    for _ = 1, 20 do
      local open = false
      for _, task in ipairs(left) do open = open or not task:done() end
      if not open then return end
      core.await(core.sleep(0))
    end
  end)
end

local function handles_left(before, list)
  local have, found = {}, false
  for _, line in ipairs(lines(core.handles())) do
    have[line] = (have[line] or 0) + 1
    if have[line] > (before.handles[line] or 0) then
      list[#list + 1] = "a handle is open: " .. line
      found = true
    end
  end
  return found
end

-- An error that only the loop has heard of.
local function error_text(context)
  local text = tostring(context.message or "an error that nobody has handled")
  if context.exception ~= nil then text = ("%s: %s"):format(text, tostring(context.exception)) end
  if context.traceback then text = text .. "\n" .. tostring(context.traceback) end
  if context.exception ~= nil then text = text .. core.subexceptions(context.exception) end
  return text
end

--- What a test has left behind: an array of texts. `run(f)` runs f as a task of the loop.
---@param loop any
---@param before asyncio.testing.Before
---@param errors table[] what the exception handler got
---@param run fun(f: function)
---@return string[]
function M.left(loop, before, errors, run)
  local list = {}
  local function turn()
    run(function() core.await(core.sleep(0)) end)
  end
  tasks_left(loop, before, list, run)
  local leaks = M.leaks(before.stats, turn)
  local named = (leaks or next(before.handles)) and handles_left(before, list)
  if leaks and not (named and leaks:find "^handles: %d") then list[#list + 1] = leaks end
  for _, line in ipairs(lines(core.take_lost())) do list[#list + 1] = line end
  for _, context in ipairs(errors) do list[#list + 1] = error_text(context) end
  return list
end

return M
