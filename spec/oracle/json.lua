--- JSON as the oracle's programs need it: arrays, objects, strings, numbers, booleans. No null.

local M = {}

local escapes = { ['"'] = '"', ["\\"] = "\\", ["/"] = "/", n = "\n", t = "\t", r = "\r", b = "\b", f = "\f" }

local value

local function fail(s, at) error(("JSON: unexpected '%s' at %d"):format(s:sub(at, at + 10), at), 0) end

local function skip(s, at) return s:find("[^%s]", at) or #s + 1 end

local function string_at(s, at)
  local parts, i = {}, at + 1
  while true do
    local j = s:find('["\\]', i) or fail(s, at)
    parts[#parts + 1] = s:sub(i, j - 1)
    if s:sub(j, j) == '"' then return table.concat(parts), j + 1 end
    local c = s:sub(j + 1, j + 1)
    if c == "u" then
      parts[#parts + 1] = utf8.char(tonumber(s:sub(j + 2, j + 5), 16))
      i = j + 6
    else
      parts[#parts + 1] = escapes[c] or fail(s, j)
      i = j + 2
    end
  end
end

local function array_at(s, at)
  local t = {}
  at = skip(s, at + 1)
  if s:sub(at, at) == "]" then return t, at + 1 end
  while true do
    t[#t + 1], at = value(s, at)
    at = skip(s, at)
    local c = s:sub(at, at)
    if c == "]" then return t, at + 1 end
    if c ~= "," then fail(s, at) end
    at = at + 1
  end
end

local function object_at(s, at)
  local t = {}
  at = skip(s, at + 1)
  if s:sub(at, at) == "}" then return t, at + 1 end
  while true do
    local key
    key, at = string_at(s, skip(s, at))
    at = skip(s, at)
    if s:sub(at, at) ~= ":" then fail(s, at) end
    t[key], at = value(s, at + 1)
    at = skip(s, at)
    local c = s:sub(at, at)
    if c == "}" then return t, at + 1 end
    if c ~= "," then fail(s, at) end
    at = at + 1
  end
end

function value(s, at)
  at = skip(s, at)
  local c = s:sub(at, at)
  if c == "[" then return array_at(s, at) end
  if c == "{" then return object_at(s, at) end
  if c == '"' then return string_at(s, at) end
  if s:sub(at, at + 3) == "true" then return true, at + 4 end
  if s:sub(at, at + 4) == "false" then return false, at + 5 end
  local number = s:match("^-?[%d.eE+-]+", at)
  if not number then fail(s, at) end
  return tonumber(number), at + #number
end

--- The value that the text holds.
---@param s string
---@return any
function M.decode(s) return (value(s, 1)) end

local encode

local function encode_table(t)
  local parts = {}
  if #t > 0 or next(t) == nil then
    for i = 1, #t do parts[i] = encode(t[i]) end
    return "[" .. table.concat(parts, ",") .. "]"
  end
  for k, v in pairs(t) do parts[#parts + 1] = ("%q:%s"):format(k, encode(v)) end
  table.sort(parts)
  return "{" .. table.concat(parts, ",") .. "}"
end

function encode(v)
  local kind = type(v)
  if kind == "table" then return encode_table(v) end
  if kind == "string" then return ("%q"):format(v) end
  if kind == "number" then return math.type(v) == "integer" and tostring(v) or ("%.14g"):format(v) end
  return tostring(v)
end

--- The value in JSON: a table is an array if it has items or nothing at all, else an object.
---@param v any
---@return string
function M.encode(v) return encode(v) end

return M
