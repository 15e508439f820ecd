--- MultiDict: names with one or more values each, in the order they came. Names are strings and case counts (headers
--- have a class of their own). `d[name]` is the first value or nil; names of methods are reached by `d:get` alone.

local core = require "asyncio.core"
local misuse = require "asyncio.misuse"

local M = {}

---@class http.MultiDict
local MultiDict = {}

-- Where an object keeps its list {name, value, name, value...}, and, for a longer one, name -> place of its first.
local LIST, INDEX = {}, {}
-- Pairs from which on an index is made.
local LONG = 16

local function check_name(name, what)
  if type(name) == "string" then return end
  local got = misuse.describe(name)
  misuse.raise(core.TypeError, ("MultiDict%s: the name must be a string, got %s"):format(what, got), 3)
end

local function check_value(value, what)
  if value ~= nil then return end
  misuse.raise(core.TypeError, ("MultiDict%s: a value was expected, got nil"):format(what), 3)
end

local function make_index(self, list)
  local index = {}
  for i = #list - 1, 1, -2 do index[list[i]] = i end
  rawset(self, INDEX, index)
  return index
end

--- Where the first pair of that name is, or nil.
local function place(self, name)
  local list = rawget(self, LIST)
  local index = rawget(self, INDEX)
  if index or #list > 2 * LONG then return (index or make_index(self, list))[name] end
  for i = 1, #list, 2 do
    if list[i] == name then return i end
  end
end

--- The first value of that name.
---@param name string
---@param default? any what is given when there is none
---@return any
function MultiDict:get(name, default)
  local i = place(self, name)
  if i then return rawget(self, LIST)[i + 1] end
  return default
end

--- All values of that name, in order.
---@param name string
---@return any[] empty when there is none
function MultiDict:getall(name)
  local list, values = rawget(self, LIST), {}
  for i = place(self, name) or #list + 1, #list, 2 do
    if list[i] == name then values[#values + 1] = list[i + 1] end
  end
  return values
end

--- Is there a value of that name?
---@param name string
---@return boolean
function MultiDict:contains(name) return place(self, name) ~= nil end

--- Adds a value behind those that are there. Raises TypeError.
---@param name string
---@param value any not nil
function MultiDict:add(name, value)
  check_name(name, ":add")
  check_value(value, ":add")
  local list = rawget(self, LIST)
  local index, n = rawget(self, INDEX), #list
  list[n + 1], list[n + 2] = name, value
  if index and not index[name] then index[name] = n + 1 end
end

--- Drops the values of that name but the one at `keep`.
local function drop(self, name, keep)
  local list, n = rawget(self, LIST), 0
  local len = #list
  for i = 1, len, 2 do
    if list[i] ~= name or i == keep then
      list[n + 1], list[n + 2] = list[i], list[i + 1]
      n = n + 2
    end
  end
  for i = n + 1, len do list[i] = nil end
  rawset(self, INDEX, nil)
end

local function set(self, name, value)
  local i = place(self, name)
  if value == nil then
    if i then drop(self, name) end
    return
  end
  if not i then return self:add(name, value) end
  rawget(self, LIST)[i + 1] = value
  drop(self, name, i)
end

--- Drops a name; gives its first value, or the default.
---@param name string
---@param default? any
---@return any
function MultiDict:pop(name, default)
  local i = place(self, name)
  if not i then return default end
  local value = rawget(self, LIST)[i + 1]
  drop(self, name)
  return value
end

-- A list of values is one from end to end: what stands beside it would be lost.
local function check_list(list, name, what)
  for key in next, list do
    if math.type(key) ~= "integer" or key < 1 or key > #list then
      local text = "%s: the value of %q must be a value or a list of them, got a table with the key %s"
      misuse.raise(core.TypeError, text:format(what, name, tostring(key)), 4)
    end
  end
end

--- Calls f(name, value) for all that `source` has: a MultiDict, a list of {name, value} pairs, or a table by name (in
--- the order of its names), whose values may be lists.
local function each(source, what, f)
  if type(source) ~= "table" then
    local got = misuse.describe(source)
    misuse.raise(core.TypeError, ("%s: a table or MultiDict was expected, got %s"):format(what, got), 3)
  end
  local list = rawget(source, LIST)
  if list then
    for i = 1, #list, 2 do f(list[i], list[i + 1]) end
  elseif source[1] ~= nil then
    for i, pair in ipairs(source) do
      if type(pair) ~= "table" or type(pair[1]) ~= "string" or pair[2] == nil then
        misuse.raise(core.TypeError, ("%s: {name, value} was expected at %d"):format(what, i), 3)
      end
      f(pair[1], pair[2])
    end
  else
    local names = {}
    for name in pairs(source) do
      if type(name) ~= "string" then
        misuse.raise(core.TypeError, ("%s: the names must be strings, got %s"):format(what, misuse.describe(name)), 3)
      end
      names[#names + 1] = name
    end
    table.sort(names)
    for _, name in ipairs(names) do
      local value = source[name]
      if type(value) == "table" and not getmetatable(value) then
        check_list(value, name, what)
        for _, v in ipairs(value) do f(name, v) end
      else
        f(name, value)
      end
    end
  end
end
M.each = each

--- Adds all that `source` has: a MultiDict, a list of {name, value}, or a table by name. Raises TypeError.
---@param source table
function MultiDict:extend(source)
  each(source, "MultiDict:extend", function(name, value) self:add(name, value) end)
end

--- The same, and what was there under those names before is dropped.
---@param source table
function MultiDict:update(source)
  local fresh = M.MultiDict(source)
  for name in pairs(fresh) do set(self, name, nil) end
  self:extend(fresh)
end

--- Drops everything.
function MultiDict:clear()
  rawset(self, LIST, {})
  rawset(self, INDEX, nil)
end

--- A MultiDict of the same pairs.
---@return http.MultiDict
function MultiDict:copy()
  local list = rawget(self, LIST)
  return M.from_list(table.move(list, 1, #list, 1, {}))
end

---@private
MultiDict.__name = "MultiDict"

local metatable = {
  __name = "MultiDict",
  __metatable = MultiDict,
  __newindex = function(self, name, value)
    check_name(name, "")
    set(self, name, value)
  end,
  __len = function(self) return #rawget(self, LIST) // 2 end,
}

function metatable.__index(self, name)
  local method = MultiDict[name]
  if method ~= nil then return method end
  return MultiDict.get(self, name)
end

--- pairs gives every pair, in order; more than once for a name with more values.
function metatable:__pairs()
  local list, i = rawget(self, LIST), -1
  return function()
    i = i + 2
    return list[i], list[i + 1]
  end
end

function metatable.__eq(a, b)
  local x, y = rawget(a, LIST), rawget(b, LIST)
  if not x or not y or #x ~= #y then return false end
  for i = 1, #x do
    if x[i] ~= y[i] then return false end
  end
  return true
end

function metatable:__tostring()
  local parts = {}
  for name, value in metatable.__pairs(self) do
    parts[#parts + 1] = ("%s=%s"):format(name, type(value) == "string" and ("%q"):format(value) or tostring(value))
  end
  return "MultiDict(" .. table.concat(parts, ", ") .. ")"
end

--- A MultiDict around the list {name, value, name, value...}, which is not copied.
---@param list any[]
---@return http.MultiDict
function M.from_list(list)
  return setmetatable({ [LIST] = list }, metatable)
end

--- Is it one?
---@param value any
---@return boolean
function M.is(value)
  return type(value) == "table" and rawget(value, LIST) ~= nil
end

--- Makes one: of nothing, of a MultiDict, a list of {name, value}, or a table by name. Raises TypeError.
---@param source? table
---@return http.MultiDict
function M.MultiDict(source)
  local self = M.from_list({})
  if source ~= nil then self:extend(source) end
  return self
end

return M
