--- Tasks as lines of text: tables, and the tree of who waits for whom.

local text = require "tty.text"

local M = {}

local function is_library(source) return source:sub(1, 9) == "moonloop/" or source:sub(1, 7) == "stdlib/" end

--- "FILE:LINE NAME" of a frame; a function that has no name but its place has that alone.
---@param name? string known from elsewhere
---@return string
function M.frame(frame, name)
  if not name and frame.name:sub(1, 12) ~= "function at " and frame.name ~= "?" then name = frame.name end
  return text.printable(("%s:%d%s"):format(frame.source, frame.line, name and " " .. name or ""))
end

--- The name of a task's coroutine function: "fetch" of "fetch() defined at crawler.lua:12".
---@return string
function M.coro(task)
  local name, place = task.coro:match "^(.-)%(%) defined at (.+)$"
  if name == "function" then return text.printable(place) end
  return text.printable(name or task.coro)
end

--- The innermost frame that is the program's own; else the innermost.
---@return table? frame
function M.own_frame(stack)
  for _, frame in ipairs(stack) do
    if not is_library(frame.source) then return frame end
  end
  return stack[1]
end

--- The state of a task and what it waits for, in one word or two.
function M.waits(task) return task.state == "waiting" and (task.waits or "?") or task.state end

--- Rows (arrays of strings; the first are the titles) as aligned columns, cut to `columns` if that is given.
---@return string
function M.columns(rows, columns)
  local widths, lines = {}, {}
  for _, row in ipairs(rows) do
    for i, cell in ipairs(row) do widths[i] = math.max(widths[i] or 0, text.width(cell)) end
  end
  for _, row in ipairs(rows) do
    local cells = {}
    for i, cell in ipairs(row) do
      cells[i] = i == #row and cell or cell .. (" "):rep(widths[i] - text.width(cell))
    end
    local line = table.concat(cells, "  "):gsub("%s+$", "")
    lines[#lines + 1] = columns and text.fit(line, columns) or line
  end
  return table.concat(lines, "\n")
end

--- The table of `moonloop ps PID`.
---@return string
function M.tasks(answer)
  local names = {}
  for _, task in ipairs(answer.tasks) do names[task.id] = text.printable(task.name) end
  local rows = { { "TASK", "ID", "WAITS FOR", "AT", "COROUTINE", "AWAITED BY" } }
  for _, task in ipairs(answer.tasks) do
    local own, by = M.own_frame(task.stack), {}
    for i, id in ipairs(task.awaited_by) do by[i] = names[id] or id end
    rows[#rows + 1] = {
      names[task.id], task.id, text.printable(M.waits(task)), own and M.frame(own) or "-", M.coro(task),
      table.concat(by, ", "),
    }
  end
  return M.columns(rows)
end

-- What each task awaits: id -> tasks.
local function awaited(tasks)
  local by_id, children = {}, {}
  for _, task in ipairs(tasks) do by_id[task.id], children[task.id] = task, {} end
  for _, task in ipairs(tasks) do
    for _, id in ipairs(task.awaited_by) do
      if children[id] then table.insert(children[id], task) end
    end
  end
  return by_id, children
end

-- A cycle of tasks that wait for each other as names, or nil.
local function find_cycle(tasks, children)
  local state = {} -- 1: on the path, 2: done
  for _, root in ipairs(tasks) do
    local path, at = { root }, { 0 }
    if state[root.id] then path = {} else state[root.id] = 1 end
    while #path > 0 do
      local task, n = path[#path], at[#path] + 1
      local child = children[task.id][n]
      at[#path] = n
      if not child then
        state[task.id] = 2
        path[#path] = nil
      elseif state[child.id] == 1 then
        local names = {}
        for i = 1, #path do
          if names[1] or path[i] == child then names[#names + 1] = text.printable(path[i].name) end
        end
        names[#names + 1] = text.printable(child.name)
        return names
      elseif not state[child.id] then
        state[child.id] = 1
        path[#path + 1], at[#path + 1] = child, 0
      end
    end
  end
end

local MAX_DEPTH = 100

--- The tree of `moonloop pstree PID`: tasks that nobody awaits, their coroutines from outside in, and below what they
--- await. A task that stands in several places has its own branch at the first.
---@return string
function M.tree(answer)
  local tasks, lines, shown = answer.tasks, {}, {}
  local _, children = awaited(tasks)
  local function branch(task, indent, last, depth)
    local tail = last and "    " or "│   "
    local again = shown[task.id]
    lines[#lines + 1] = ("%s%s(T) %s%s"):format(indent, last and "└── " or "├── ", text.printable(task.name),
      again and " (see above)" or task.state ~= "waiting" and (" (%s)"):format(task.state) or "")
    if again or depth > MAX_DEPTH then return end
    shown[task.id] = true
    indent = indent .. tail
    for i = #task.stack, 1, -1 do
      local name = i == #task.stack and task.coro:match "^([^(]+)%(%) defined" or nil
      lines[#lines + 1] = indent .. "└── " .. M.frame(task.stack[i], name ~= "function" and name or nil)
      indent = indent .. "    "
    end
    local below = children[task.id]
    if #below == 0 and task.state == "waiting" then
      lines[#lines + 1] = indent .. "└── [" .. text.printable(task.waits or "?") .. "]"
    end
    for i, child in ipairs(below) do branch(child, indent, i == #below, depth + 1) end
  end
  local cycle = find_cycle(tasks, children)
  if cycle then lines[1] = "Tasks that wait for each other: " .. table.concat(cycle, " → ") end
  local roots = {}
  for _, task in ipairs(tasks) do
    if #task.awaited_by == 0 then roots[#roots + 1] = task end
  end
  for i, task in ipairs(roots) do branch(task, "", i == #roots, 1) end
  for _, task in ipairs(tasks) do -- cycles have no roots
    if not shown[task.id] then branch(task, "", true, 1) end
  end
  return table.concat(lines, "\n")
end

--- The line about the main chunk, if it is what runs the loop; else nil.
function M.main_line(answer)
  local own = answer.main and M.own_frame(answer.main)
  return own and "main program: " .. M.frame(own) or nil
end

--- Tasks that do the same, the most numerous first: {n, coro, waits, at}.
function M.groups(tasks)
  local groups, by_key = {}, {}
  for _, task in ipairs(tasks) do
    local own = M.own_frame(task.stack)
    local at, waits = own and M.frame(own) or "-", task.state == "waiting" and (task.waits or "?") or task.state
    waits = waits:gsub("^task .*", "a task")
    local key = ("%s\0%s\0%s"):format(task.coro, waits, at)
    local group = by_key[key]
    if not group then
      group = { n = 0, coro = M.coro(task), waits = text.printable(waits), at = at, name = task.name }
      by_key[key] = group
      groups[#groups + 1] = group
    end
    group.n = group.n + 1
  end
  table.sort(groups, function(a, b)
    if a.n ~= b.n then return a.n > b.n end
    if a.coro ~= b.coro then return a.coro < b.coro end
    return a.at .. a.waits < b.at .. b.waits
  end)
  return groups
end

return M
