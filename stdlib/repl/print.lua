--- Values as text that a reader makes something of: strings quoted, tables written out as far as depth and width allow.

local M = {}

local text = require "tty.text"

--- Names of styles -> what switches them on.
local colours = {
  string = "\27[32m", number = "\27[36m", boolean = "\27[35m", ["nil"] = "\27[2m", other = "\27[33m", key = "\27[34m",
  error = "\27[1;31m", strong = "\27[1m", faint = "\27[2m",
}

--- Text in a style, if there are colours.
---@param style string
---@param s string
---@param on boolean
---@return string
function M.paint(style, s, on)
  return on and colours[style] .. s .. "\27[0m" or s
end

local escapes = { ["\n"] = "\\n", ["\r"] = "\\r", ["\t"] = "\\t", ["\27"] = "\\27", ['"'] = '\\"', ["\\"] = "\\\\" }

--- What stands for the bytes of a string that cannot be shown, so that Lua reads it back.
local function escape(s)
  s = s:gsub('[%c"\\]', function(c) return escapes[c] or ("\\x%02x"):format(c:byte()) end)
  if not s:find("[\128-\255]") then return s end
  local parts, i = {}, 1
  while i <= #s do
    local valid, bad = utf8.len(s, i)
    local last = valid and #s or bad - 1
    parts[#parts + 1] = s:sub(i, last)
    if valid then break end
    parts[#parts + 1] = ("\\x%02x"):format(s:byte(bad))
    i = bad + 1
  end
  -- C1's control characters, and what turns the direction of writing
  return (table.concat(parts):gsub("\194([\128-\159])", function(c) return ("\\xc2\\x%02x"):format(c:byte()) end)
    :gsub("\226(\128[\168-\174])", function(c) return ("\\xe2\\x80\\x%02x"):format(c:byte(2)) end)
    :gsub("\226(\129[\166-\169])", function(c) return ("\\xe2\\x81\\x%02x"):format(c:byte(2)) end))
end

--- The string between quotes; of a long one the beginning, and how long it is.
local function quote(s, most)
  if #s <= most then return '"' .. escape(s) .. '"' end
  local cut = utf8.len(s, 1, most) and most or most - 3
  while cut > most - 4 and not utf8.len(s:sub(1, cut)) do cut = cut - 1 end
  return ('"%s"... (%d bytes)'):format(escape(s:sub(1, cut)), #s)
end

local keywords = {}
for word in ([[and break do else elseif end false for function goto if in local nil not or repeat return then true until
  while]]):gmatch("%a+") do
  keywords[word] = true
end

local function is_name(key)
  return type(key) == "string" and key:find("^[%a_][%w_]*$") ~= nil and not keywords[key]
end

local ranks = { number = 1, string = 2, boolean = 3 }

--- Order of keys: numbers, strings, the others as they come.
local function before(a, b)
  local ra, rb = ranks[type(a)] or 4, ranks[type(b)] or 4
  if ra ~= rb then return ra < rb end
  if ra < 3 then return a < b end
  return false
end

--- tostring, of what may raise an error or give no string.
local function described(value)
  local ok, s = pcall(tostring, value)
  if ok then return text.printable(s) end
  return ("<%s: __tostring failed: %s>"):format(type(value), text.printable(tostring(s)))
end

local function describe_function(f)
  local info = debug.getinfo(f, "S")
  local s = tostring(f)
  if info.what == "C" then return s end
  return ("%s <%s:%d>"):format(s, text.printable(info.short_src), info.linedefined)
end

---@class repl.Writer
---@field depth integer how many tables inside each other
---@field width integer columns
---@field items integer of each table
---@field bytes integer of each string inside a table
---@field colours boolean
local Writer = {}
Writer.__index = Writer

--- What stands in a table, in order: keys (nil for the array's part) and values; and how many are left out.
function Writer:entries(t)
  local list, n, left = {}, 0, 0
  local length = rawlen(t)
  for i = 1, length do
    if n == self.items then
      left = length - n
      break
    end
    n = n + 1
    list[n] = { nil, rawget(t, i) }
  end
  local keys = {}
  for key in next, t do
    if not (math.type(key) == "integer" and key >= 1 and key <= length) then keys[#keys + 1] = key end
  end
  if #keys <= 10000 then table.sort(keys, before) end
  for _, key in ipairs(keys) do
    if n == self.items then
      left = left + 1
    else
      n = n + 1
      list[n] = { key, rawget(t, key) }
    end
  end
  return list, left
end

--- A value that is no table: its text and style.
function Writer:leaf(value, most)
  local kind = type(value)
  if kind == "string" then return quote(value, most), "string" end
  if kind == "number" or kind == "boolean" or kind == "nil" then return tostring(value), kind end
  if kind == "function" then return describe_function(value), "other" end
  return described(value), "other"
end

--- What a table's metatable says that it is: text to show instead of it, or its name.
local function face(t)
  local mt = debug.getmetatable(t)
  if type(mt) ~= "table" then return nil, nil end
  if rawget(mt, "__tostring") then return described(t) end
  local name = rawget(mt, "__name")
  return nil, type(name) == "string" and text.printable(name) or nil
end

--- A value's text, maybe coloured, and its width in columns; a number of lines if it does not fit.
---@param indent integer columns that are taken on its lines
---@param used integer columns that are taken on its first line
function Writer:write(value, level, indent, used)
  local on = self.colours
  if type(value) ~= "table" then
    local s, style = self:leaf(value, level == 0 and 10000 or self.bytes)
    return M.paint(style, s, on), text.width(s)
  end
  local instead, name = face(value)
  if instead then return M.paint("other", instead, on), text.width(instead) end
  local head = name and name .. " " or ""
  if self.path[value] then return M.paint("other", head .. "<cycle>", on), #head + 7 end
  if next(value) == nil then return M.paint("other", head, on and head ~= "") .. "{}", #head + 2 end
  if level >= self.depth then return M.paint("other", head, on and head ~= "") .. "{...}", #head + 5 end
  self.path[value] = true
  local entries, left = self:entries(value)
  local parts, total, flat = {}, #head + 2, true
  for i, entry in ipairs(entries) do
    local key, prefix, size = entry[1], "", 0
    if key ~= nil then
      local s = is_name(key) and key or "[" .. self:leaf(key, 60) .. "]"
      if type(key) == "table" then s = "[" .. (face(key) or described(key)) .. "]" end
      prefix, size = M.paint("key", s, on) .. " = ", text.width(s) + 3
    end
    local shown, n = self:write(entry[2], level + 1, indent + 2, indent + 2 + size)
    if shown:find("\n", 1, true) then flat = false end
    parts[i] = prefix .. shown
    total = total + size + n + 2
  end
  if left > 0 then
    local more = ("... %d more"):format(left)
    parts[#parts + 1] = M.paint("faint", more, on)
    total = total + #more + 2
  end
  self.path[value] = nil
  head = M.paint("other", head, on and head ~= "")
  if flat and used + total <= self.width then return head .. "{ " .. table.concat(parts, ", ") .. " }", total end
  local gap = "\n" .. (" "):rep(indent + 2)
  return head .. "{" .. gap .. table.concat(parts, "," .. gap) .. ",\n" .. (" "):rep(indent) .. "}", total
end

--- A value as text.
---@param value any
---@param opts? { depth?: integer, width?: integer, items?: integer, bytes?: integer, colours?: boolean }
---@return string
function M.format(value, opts)
  opts = opts or {}
  local writer = setmetatable({
    depth = opts.depth or 4, width = opts.width or 80, items = opts.items or 100, bytes = opts.bytes or 400,
    colours = opts.colours or false, path = {},
  }, Writer)
  return (writer:write(value, 0, 0, 0))
end

return M
