--- Call graphs: where a task is, who waits for it, who waits for those, and so on.

local core = require "asyncio.core"
local misuse = require "asyncio.misuse"
local standins = require "asyncio.standins"

local isfuture, current_task = core.isfuture, core.current_task

---@class asyncio.CallGraph
---@field future any the task or future
---@field call_stack { source: string, line: integer, name: string }[] innermost first
---@field awaited_by asyncio.CallGraph[]
---@field cycle true? the future is one of those that wait for it: the graph ends here

local M = {}

local function is_task(future)
  return future.get_coro ~= nil
end

--- The tasks and futures that wait for `future`.
local function awaiters(future)
  local list = core.awaiters(future)
  for _, task in ipairs(core.all_tasks(future:get_loop())) do
    local waits_for = core.awaiting(task)
    local others = isfuture(waits_for) and standins[waits_for]
    if others == future then
      list[#list + 1] = task
    elseif type(others) == "table" then
      for key, value in next, others do
        if key == future or value == future then
          list[#list + 1] = task
          break
        end
      end
    end
  end
  return list
end

--- The frames of a task without the innermost `skip`; of the rest the first `limit` (or, if negative, the last).
local function call_stack(task, skip, limit)
  local all, stack = task:get_stack(), {}
  local first, last = skip + 1, #all
  if limit and limit >= 0 then last = math.min(last, skip + limit) end
  if limit and limit < 0 then first = math.max(first, #all + limit + 1) end
  for i = first, last do stack[#stack + 1] = all[i] end
  return stack
end

---@return asyncio.CallGraph
local function build(future, skip, limit, path)
  local graph = { future = future, call_stack = {}, awaited_by = {} }
  if path[future] then
    graph.cycle = true
    return graph
  end
  path[future] = true
  if is_task(future) then graph.call_stack = call_stack(future, skip, limit) end
  for i, awaiter in ipairs(awaiters(future)) do graph.awaited_by[i] = build(awaiter, 0, limit, path) end
  path[future] = nil
  return graph
end

local options = { "depth", "limit" }
local print_options = { "depth", "file", "limit" }

--- `inner` is the number of frames between this one and the caller whose graph it is.
local function capture(future, opts, inner)
  local running = current_task()
  if future == nil then
    future = running
    if not future then
      error(
        core.RuntimeError(
          "capture_call_graph() is called outside of a running event loop and no future to introspect was provided"
        )
      )
    end
  elseif not isfuture(future) then
    misuse.raise(core.TypeError, "a task or future was expected, got " .. misuse.describe(future), inner + 1)
  end
  local depth, limit = opts and opts.depth or 1, opts and opts.limit
  -- The frames of call_stack, build and this function, then those of the module's own callers.
  local skip = future == running and 3 + inner + depth - 1 or 0
  local graph = build(future, skip, limit, {})
  return graph
end

--- The graph of a task or future; of the running task unless given.
---@param future? any
---@param opts? { depth?: integer, limit?: integer } depth: how many frames of the running task's stack to leave out,
---1 (this function) unless given; limit: how many frames of each stack to keep, negative: the outermost
---@return asyncio.CallGraph
function M.capture_call_graph(future, opts)
  if opts ~= nil then core.options(opts, options, "capture_call_graph") end
  local graph = capture(future, opts, 1)
  return graph
end

local function render(graph, level, lines)
  local indent = ("    "):rep(level)
  local function add(line) lines[#lines + 1] = indent .. line end
  local future = graph.future
  local cycle = graph.cycle and " (cycle: it waits for itself)" or ""
  if is_task(future) then
    add(("* Task(name='%s', id=%p)%s"):format(future:get_name(), future, cycle))
  else
    add(("* Future(id=%p)%s"):format(future, cycle))
  end
  if #graph.call_stack > 0 then
    add "  + Call stack:"
    for _, frame in ipairs(graph.call_stack) do
      add(("  |   File '%s', line %d, in %s"):format(frame.source, frame.line, frame.name))
    end
  end
  if #graph.awaited_by > 0 then
    add "  + Awaited by:"
    for _, awaiter in ipairs(graph.awaited_by) do render(awaiter, level + 1, lines) end
  end
  return lines
end

--- The same as text.
---@param future? any
---@param opts? { depth?: integer, limit?: integer }
---@return string
function M.format_call_graph(future, opts)
  if opts ~= nil then core.options(opts, options, "format_call_graph") end
  local graph = capture(future, opts, 1)
  return table.concat(render(graph, 0, {}), "\n")
end

--- Writes it to a file, to standard output unless given.
---@param future? any
---@param opts? { file?: file*, depth?: integer, limit?: integer }
function M.print_call_graph(future, opts)
  if opts ~= nil then core.options(opts, print_options, "print_call_graph") end
  local graph = capture(future, opts, 1)
  local file = opts and opts.file or io.stdout
  file:write(table.concat(render(graph, 0, {}), "\n"), "\n")
end

return M
