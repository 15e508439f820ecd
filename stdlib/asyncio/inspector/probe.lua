--- The inspected program's side: what is asked, answered as JSON. It runs between two rounds of the loop, outside of
--- any task: nothing here may await, call what the script could have replaced, or change anything.

local core = require "asyncio.core"
local inspector = require "asyncio.inspector.core"
local json = require "json"
local standins = require "asyncio.standins"

local all_tasks, awaiting, awaiters_of, isfuture = core.all_tasks, core.awaiting, core.awaiters, core.isfuture
local encode, array = json.encode, json.array
local counts, timers, handles = inspector.counts, inspector.timers, inspector.handles
local getinfo = debug.getinfo
local format, sub, match, gsub = string.format, string.sub, string.match, string.gsub
local ipairs, next, type, tostring = ipairs, next, type, tostring
local len, valid, char = string.len, utf8.len, string.byte

local M = {}

local MAX_TASKS = 10000
local MAX_TIMERS = 200

--- Text that can be JSON, whatever the script has put into a name.
local function text(s)
  s = type(s) == "string" and s or "?"
  if len(s) > 300 then s = sub(s, 1, 300) .. "..." end
  if valid(s) then return s end
  return (gsub(s, "[\128-\255]", function(c) return format("\\x%02x", char(c)) end))
end

local function is_task(future) return future.get_coro ~= nil end

local function id_of(task) return format("%p", task) end

--- Who waits for what by a stand-in (wait, shield, TaskGroup): future -> the tasks that wait for it.
local function by_standin(waits)
  local extra = {}
  local function add(future, task)
    local list = extra[future] or {}
    extra[future] = list
    list[#list + 1] = task
  end
  for task, future in next, waits do
    local others = isfuture(future) and standins[future]
    if isfuture(others) then
      add(others, task)
    elseif type(others) == "table" then
      for key, value in next, others do
        if isfuture(key) then add(key, task) end
        if isfuture(value) then add(value, task) end
      end
    end
  end
  return extra
end

--- Collects the ids of the tasks that wait for `future`, be it through gathers and other futures.
local function collect(future, extra, seen, ids)
  local function take(list)
    for _, waiter in ipairs(list or {}) do
      if not seen[waiter] then
        seen[waiter] = true
        if is_task(waiter) then ids[#ids + 1] = id_of(waiter) else collect(waiter, extra, seen, ids) end
      end
    end
  end
  take(awaiters_of(future))
  take(extra[future])
end

local function frame(source, line, name) return { source = text(source), line = line, name = text(name) } end

--- What it waits for, in a few words.
local function waits_for(future)
  if future == nil then return nil end
  if type(future) == "string" then return future end
  if not isfuture(future) then return "an awaitable" end
  if is_task(future) then return "task " .. text(future:get_name()) end
  local others = standins[future]
  if isfuture(others) then return is_task(others) and "task " .. text(others:get_name()) or "future" end
  if type(others) == "table" then return "tasks" end
  return match(tostring(future), "^<_?(%a+)") == "GatheringFuture" and "gather" or "future"
end

local function describe(task, waiting, extra)
  local stack, ids = {}, {}
  for i, f in ipairs(task:get_stack()) do stack[i] = frame(f.source, f.line, f.name) end
  collect(task, extra, { [task] = true }, ids)
  local coro = tostring(task:get_coro())
  return {
    id = id_of(task), name = text(task:get_name()), coro = text(match(coro, "^<%a+ (.-)>?$") or coro),
    state = waiting == nil and (#stack == 0 and "new" or "ready") or "waiting",
    waits = waits_for(waiting), stack = array(stack), awaited_by = array(ids),
  }
end

local here = getinfo(1, "S").source

--- Where the program's main chunk waits, if that runs the loop: what is below this on the stack.
local function main_stack()
  local stack = {}
  for level = 3, 60 do
    local info = getinfo(level, "nSl")
    if not info then break end
    if info.currentline > 0 and info.source ~= here then
      stack[#stack + 1] = frame(info.short_src, info.currentline, info.what == "main" and "main chunk" or info.name)
    end
  end
  return stack
end

local questions = {}

function questions.tasks()
  local list, waits, described = all_tasks(), {}, {}
  for _, task in ipairs(list) do waits[task] = awaiting(task) end
  local extra = by_standin(waits)
  for i = 1, #list > MAX_TASKS and MAX_TASKS or #list do described[i] = describe(list[i], waits[list[i]], extra) end
  return { tasks = array(described), total = #list, main = array(main_stack()) }
end

function questions.counts() return counts() end

function questions.all()
  local answer = questions.tasks()
  answer.counts = counts()
  answer.timers = array(timers(MAX_TIMERS))
  for _, timer in ipairs(answer.timers) do
    timer.what = text(timer.what)
    if timer.left ~= timer.left or timer.left > 1e15 then timer.left = 1e15 end
  end
  answer.handles = array(handles())
  return answer
end

--- The answer to a question, one of the above, as JSON.
---@param question string
---@return string
function M.answer(question)
  local f = questions[question]
  return encode(f and f() or { error = "unknown question" })
end

return M
