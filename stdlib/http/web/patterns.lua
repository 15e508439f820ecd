--- Paths of routes: plain ones, and those with parameters, "/users/{name}" and "/users/{id:%d+}". What stands behind
--- the colon is a Lua pattern, which may match "/" too; without one a parameter is a piece between slashes, not empty.
---
--- Paths are compared decoded, but for %2F and %25, which stay: "/a%2Fb" is one piece, and its parameter is "a/b".

local core = require "asyncio.core"
local misuse = require "asyncio.misuse"

local M = {}

local ANY <const> = "[^/]+"

local keep = { ["2f"] = "%2F", ["2F"] = "%2F", ["25"] = "%25" }

--- A path as routes compare it.
---@param path string as it was sent
---@return string
function M.normalise(path)
  return (path:gsub("%%(%x%x)", function(hex) return keep[hex] or string.char(tonumber(hex, 16)) end))
end

--- What a parameter matched, decoded.
---@param value string
---@return string
function M.decode(value)
  return (value:gsub("%%2([5F])", { ["5"] = "%", F = "/" }))
end

local safe = "[^%w%-._~!$&'()*+,;=:@/]"

--- A path as it is sent.
---@param path string
---@param slashes boolean? a slash is part of the path, and not of a piece of it
---@return string
function M.encode(path, slashes)
  path = path:gsub(safe, function(c) return ("%%%02X"):format(c:byte()) end)
  return slashes and path or (path:gsub("/", "%%2F"))
end

--- A literal part of a route's path as it is sent: %2F and %25 stay what they are.
---@param part string as `normalise` gives it
---@return string
function M.encode_literal(part)
  return (part:gsub("[^%w%-._~!$&'()*+,;=:@/%%]", function(c) return ("%%%02X"):format(c:byte()) end))
end

-- ---- patterns ----

-- Where the set that begins at i ends, or nil.
local function set_end(p, i)
  local k = i + 1
  if p:sub(k, k) == "^" then k = k + 1 end
  repeat
    local c = p:sub(k, k)
    if c == "" then return nil end
    k = k + (c == "%" and 2 or 1)
  until p:sub(k, k) == "]" and k > i + 1
  return k
end

--- What is wrong with a Lua pattern for a parameter, or nil.
---@param p string
---@return string?
function M.fault(p)
  local i = 1
  while i <= #p do
    local c = p:sub(i, i)
    if c == "%" then
      local class = p:sub(i + 1, i + 1)
      if class == "" then return "ends with '%'" end
      if class:find("%d") then return "refers to a capture" end
      if class == "b" then
        if #p < i + 3 then return "lacks the two characters of '%b'" end
        i = i + 3
      elseif class == "f" then
        if p:sub(i + 2, i + 2) ~= "[" then return "lacks '[' after '%f'" end
        i = i + 1
      else
        i = i + 1
      end
    elseif c == "[" then
      local last = set_end(p, i)
      if not last then return "lacks a ']'" end
      i = last
    elseif c == "(" or c == ")" then
      return "has a capture of its own"
    end
    i = i + 1
  end
  return nil
end

-- Where the brace that opens at i is closed, or nil. Braces within are counted.
local function brace_end(path, i)
  local depth = 0
  for k = i, #path do
    local c = path:sub(k, k)
    if c == "{" then
      depth = depth + 1
    elseif c == "}" then
      depth = depth - 1
      if depth == 0 then return k end
    end
  end
end

local function refuse(path, why)
  misuse.blame(core.ValueError, ("the path %q cannot be routed: %s"):format(path, why))
end

local function parameter(path, text, seen)
  local name, pattern = text:match("^([%a_][%w_]*)$"), nil
  if not name then
    name, pattern = text:match("^([%a_][%w_]*):(.+)$")
    if not name then refuse(path, ("{%s} is no parameter: {name} or {name:pattern}"):format(text)) end
    local fault = M.fault(pattern)
    if fault then refuse(path, ("the pattern of {%s} %s"):format(text, fault)) end
  end
  if seen[name] then refuse(path, ("it has two parameters %q"):format(name)) end
  seen[name] = true
  return name, pattern or ANY
end

-- The literal beginning, if one parameter for the last piece follows it, and nothing else.
local function tail_of(parts)
  local literal, parameter_of = parts[1], parts[2]
  if #parts ~= 2 or type(literal) ~= "string" or type(parameter_of) ~= "table" then return nil end
  if parameter_of.pattern ~= ANY or literal:sub(-1) ~= "/" or literal:find("%", 1, true) then return nil end
  return literal
end

--- Takes a route's path apart. ValueError says what is wrong with it.
---@param path string
---@return table { path, plain, pattern, names, parts, shape, tail, prefix }
function M.parse(path)
  if type(path) ~= "string" then
    misuse.blame(core.TypeError, "a route's path must be a string, got " .. misuse.describe(path))
  end
  if path ~= "" and path:sub(1, 1) ~= "/" then refuse(path, "it must begin with / or be empty") end
  local parts, names, lua, shape, seen, i = {}, {}, {}, {}, {}, 1
  while i <= #path do
    local open = path:find("[{}]", i)
    local literal = M.normalise(path:sub(i, (open or 0) - 1))
    if literal ~= "" then
      parts[#parts + 1] = literal
      lua[#lua + 1] = literal:gsub("[%^$()%%.%[%]*+%-?]", "%%%0")
      shape[#shape + 1] = literal
    end
    if not open then break end
    if path:sub(open, open) == "}" then refuse(path, "a '}' without '{'") end
    local close = brace_end(path, open)
    if not close then refuse(path, "a '{' is not closed") end
    local name, pattern = parameter(path, path:sub(open + 1, close - 1), seen)
    names[#names + 1] = name
    parts[#parts + 1] = { name = name, pattern = pattern }
    lua[#lua + 1] = "(" .. pattern .. ")"
    shape[#shape + 1] = "{" .. pattern .. "}"
    i = close + 1
  end
  local plain = #names == 0
  local prefix = type(parts[1]) == "string" and parts[1] or ""
  return {
    path = path,
    plain = plain and (parts[1] or "") or nil,
    pattern = not plain and "^" .. table.concat(lua) .. "$" or nil,
    names = names,
    parts = parts,
    shape = table.concat(shape),
    tail = tail_of(parts),
    prefix = prefix:match("^(.*)/") or "", -- whole pieces that are literal
  }
end

return M
