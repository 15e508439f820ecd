--- Makes a program that shows a fault as small as it can be.
---
--- In each round every single change for the smaller is tried at once (both interpreters start once a round), and the
--- smallest program that still shows the fault goes into the next.

local notation = require "notation"

local function copy(v)
  if type(v) ~= "table" then return v end
  local t = {}
  for k, x in pairs(v) do t[k] = copy(x) end
  return t
end

--- Statements with statements inside, and from where on.
local blocks = {
  pcall = 2, catch = 2, finally = 2, loop = 3, timeout = 3, timeout_at = 3, group = 3, lock = 3, condition = 3,
  semaphore = 3, as_completed = 4,
}

--- Where a function is named: functions call later ones only, so that programs end.
local called = { call = 2, spawn = 3, gspawn = 4 }

--- Is it a list of statements or awaitables (and not a single one)?
local function is_list(v) return type(v) == "table" and (v[1] == nil or type(v[1]) == "table") end

--- Calls visit(path) for each table in the tree.
local function walk(node, path, visit)
  visit(node, path)
  for k, v in ipairs(node) do
    if type(v) == "table" then
      path[#path + 1] = k
      walk(v, path, visit)
      path[#path] = nil
    end
  end
end

local function at(node, path, n)
  for i = 1, n do node = node[path[i]] end
  return node
end

--- A copy of the program in which edit(parent, key) was applied to the node of the path.
local function edited(program, path, edit)
  local p = copy(program)
  local parent = at(p.functions, path, #path - 1)
  if edit(parent, path[#path]) == false then return nil end
  return p
end

--- All programs that are one step smaller.
local function smaller(program)
  local list = {}
  local function add(path, edit)
    local p = edited(program, path, edit)
    if p then list[#list + 1] = p end
  end
  walk(program.functions, {}, function(node, path)
    if #path == 0 then return end
    if is_list(node) then
      if #node > 1 then -- halves
        add(path, function(parent, key)
          local half = {}
          for k = 1, #node // 2 do half[k] = copy(node[k]) end
          parent[key] = half
        end)
        add(path, function(parent, key)
          local half = {}
          for k = #node // 2 + 1, #node do half[#half + 1] = copy(node[k]) end
          parent[key] = half
        end)
      elseif #node == 1 and #path == 1 then
        add(path, function(parent, key) parent[key] = {} end)
      end
      return
    end
    -- A statement or awaitable: away with it; or something inside in its place.
    local parent_is_list = is_list(at(program.functions, path, #path - 1))
    if parent_is_list then
      add(path, function(parent, key) table.remove(parent, key) end)
    end
    for k, inner in ipairs(node) do
      if is_list(inner) and parent_is_list and k >= (blocks[node[1]] or 99) then
        add(path, function(parent, key)
          table.remove(parent, key)
          for n, s in ipairs(inner) do table.insert(parent, key + n - 1, copy(s)) end
        end)
      elseif type(inner) == "table" and not is_list(inner) and node[1] ~= "await" and not parent_is_list then
        add(path, function(parent, key) parent[key] = copy(inner) end)
      elseif type(inner) == "number" and inner > 0 and k > 1 and k ~= called[node[1]] then
        add(path, function(parent, key) parent[key][k] = 0 end)
        if inner > 1 then add(path, function(parent, key) parent[key][k] = 1 end) end
      elseif type(inner) == "string" and k > 1 and inner:find("^m%d$") then
        add(path, function(parent, key) parent[key][k] = "" end)
      end
    end
    if node[1] == "call" or node[1] == "gather" or node[1] == "shield" or node[1] == "wait_for" then
      add(path, function(parent, key) parent[key] = { "sleep", 0, 0 } end)
    end
  end)
  return list
end

local function weight(program)
  local text = notation.encode(program.functions)
  local n = select(2, text:gsub("%[", ""))
  local digits = select(2, text:gsub("[1-9m]", ""))
  return n * 10 + digits
end

--- The smallest program found of which failing({programs}) gives the indices.
---@param program table
---@param failing fun(programs: table[]): integer[]
---@return table
return function(program, failing)
  local best = program
  local function try(candidates)
    local found
    for first = 1, #candidates, 400 do
      local part = table.move(candidates, first, math.min(first + 399, #candidates), 1, {})
      for _, k in ipairs(failing(part)) do
        if weight(part[k]) < weight(found or best) then found = part[k] end
      end
    end
    return found
  end
  for _ = 1, 60 do
    local found = try(smaller(best))
    if not found then break end
    best = found
  end
  return best
end
