--- Percent-encoding (RFC 3986, 2.1) and query strings (application/x-www-form-urlencoded). Text is bytes: what is
--- unquoted may be anything, UTF-8 or not. A "%" that two hexadecimal digits don't follow stands for itself.

local core = require "asyncio.core"
local misuse = require "asyncio.misuse"
local multidict = require "http.multidict"

local M = {}

local byte, char, find, gsub, sub = string.byte, string.char, string.find, string.gsub, string.sub

local escapes, plain = {}, {}
for i = 0, 255 do
  local hex = ("%02X"):format(i)
  escapes[char(i)] = "%" .. hex
  local a, b = hex:sub(1, 1), hex:sub(2, 2)
  local c, d = a:lower(), b:lower()
  plain[a .. b], plain[c .. b], plain[a .. d], plain[c .. d] = char(i), char(i), char(i), char(i)
end

local function check(text, what)
  if type(text) == "string" then return end
  local got = misuse.describe(text)
  misuse.raise(core.TypeError, ("url.%s: a string was expected, got %s"):format(what, got), 3)
end

--- The pattern of what is to be escaped when these stay as they are besides letters, digits and _.-~
local function unsafe(safe) return "[^%w_.~" .. gsub(safe, "%W", "%%%0") .. "%-]" end

-- safe -> pattern; those that are used everywhere
local patterns = {}
for _, safe in ipairs { "", " ", "/", "/ ", "/:@!$&'()*+,;=" } do patterns[safe] = unsafe(safe) end

--- Escapes all but letters, digits, _.-~ and the characters of `safe`. Raises TypeError.
---@param text string
---@param safe? string "/" by default
---@return string
function M.quote(text, safe)
  check(text, "quote")
  if safe == nil then safe = "/" end
  check(safe, "quote")
  return (gsub(text, patterns[safe] or unsafe(safe), escapes))
end

--- The same for query strings: a space becomes "+".
---@param text string
---@param safe? string "" by default
---@return string
function M.quote_plus(text, safe)
  check(text, "quote_plus")
  safe = safe or ""
  check(safe, "quote_plus")
  return (gsub(gsub(text, patterns[safe .. " "] or unsafe(safe .. " "), escapes), " ", "+"))
end

--- Undoes the escapes. Raises TypeError.
---@param text string
---@return string bytes
function M.unquote(text)
  check(text, "unquote")
  if not find(text, "%", 1, true) then return text end
  return (gsub(text, "%%(%x%x)", plain))
end

--- The same for query strings: "+" is a space.
---@param text string
---@return string bytes
function M.unquote_plus(text)
  check(text, "unquote_plus")
  if find(text, "+", 1, true) then text = gsub(text, "+", " ") end
  if not find(text, "%", 1, true) then return text end
  return (gsub(text, "%%(%x%x)", plain))
end

local unquote_plus = M.unquote_plus
local EQUALS = byte("=")

--- The fields of a query string or an urlencoded form: a list {name, value, name, value...}. "&" is between them; one
--- without "=" has the value "". Raises ValueError when there are more than `max_fields`.
---@param query string
---@param max_fields? integer
---@return string[]
function M.parse_qsl(query, max_fields)
  check(query, "parse_qsl")
  local list, n, at, len = {}, 0, 1, #query
  local limit = max_fields and 2 * max_fields or math.maxinteger
  while at <= len do
    local stop = find(query, "&", at, true) or len + 1
    if stop > at then
      if n >= limit then error(core.ValueError(("more than %d fields"):format(max_fields)), 0) end
      local i = find(query, "[=&]", at)
      if i and byte(query, i) == EQUALS then
        list[n + 1], list[n + 2] = unquote_plus(sub(query, at, i - 1)), unquote_plus(sub(query, i + 1, stop - 1))
      else
        list[n + 1], list[n + 2] = unquote_plus(sub(query, at, stop - 1)), ""
      end
      n = n + 2
    end
    at = stop + 1
  end
  return list
end

--- The same as a MultiDict.
---@param query string
---@param max_fields? integer
---@return http.MultiDict
function M.parse_qs(query, max_fields)
  check(query, "parse_qs")
  return multidict.from_list(M.parse_qsl(query, max_fields))
end

local function text_of(name, value)
  local kind = type(value)
  if kind == "string" then return value end
  if kind == "number" then
    if value == value and value ~= math.huge and value ~= -math.huge then return ("%s"):format(value) end
    local reason = "url.urlencode: the value of '%s' is no number that could be sent: %s"
    error(core.ValueError(reason:format(name, value)), 0)
  end
  if kind == "boolean" then return value and "true" or "false" end
  error(core.TypeError(("url.urlencode: the value of '%s' must be a string, number or boolean, got %s"):format(name,
    misuse.describe(value))), 0)
end

--- A query string of a MultiDict, a list of {name, value}, or a table by name (in the order of its names; a list as a
--- value gives as many fields). Raises TypeError; ValueError for numbers that are none, or without end.
---@param fields table
---@param safe? string characters that stay as they are
---@return string
function M.urlencode(fields, safe)
  local parts = {}
  multidict.each(fields, "url.urlencode", function(name, value)
    parts[#parts + 1] = M.quote_plus(name, safe) .. "=" .. M.quote_plus(text_of(name, value), safe)
  end)
  return table.concat(parts, "&")
end

return M
