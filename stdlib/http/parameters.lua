--- Header values with parameters: Content-Type, Content-Disposition (RFC 9110, 5.6.6; RFC 6266; RFC 8187; RFC 2231).
--- Reading is lenient and takes time in proportion to the text.

local quoting = require "url.quoting"

local M = {}

local find, gsub, lower, match, sub = string.find, string.gsub, string.lower, string.match, string.sub

local function trim(text)
  local first = find(text, "[^ \t]")
  return first and match(text, "^.*[^ \t]", first) or ""
end

--- The quoted string that begins at i, and what is behind it. In file names of old browsers backslashes are just that:
--- only \" and \\ are escapes.
local function quoted(text, i)
  local at = i + 1
  while true do
    local j = find(text, '["\\]', at)
    if not j then break end
    if sub(text, j, j) == '"' then return gsub(sub(text, i + 1, j - 1), '\\(["\\])', "%1"), j + 1 end
    at = j + 2
  end
  local stop = find(text, ";", i, true) or #text + 1 -- never closed: up to the next parameter
  return trim(sub(text, i + 1, stop - 1)), stop
end

--- The value before the first semicolon, in small letters, and the parameters by name, in small letters. Of two with
--- one name the first counts.
---@param text string
---@return string main, table<string, string> parameters
function M.parse(text)
  local parameters = {}
  local at = find(text, ";", 1, true) or #text + 1
  local main = lower(trim(sub(text, 1, at - 1)))
  while at <= #text do
    local _, blank = find(text, "^[ \t;]*", at)
    local name, value = match(text, '^([^=;"%s]+)[ \t]*=[ \t]*()', blank + 1)
    if not name then
      at = find(text, ";", blank + 1, true) or #text + 1
    else
      if sub(text, value, value) == '"' then
        local stop
        value, stop = quoted(text, value)
        at = find(text, ";", stop, true) or #text + 1
      else
        at = find(text, ";", value, true) or #text + 1
        value = trim(sub(text, value, at - 1))
      end
      name = lower(name)
      parameters[name] = parameters[name] or value
    end
  end
  return main, parameters
end

--- Text of ISO-8859-1 as UTF-8.
---@param text string
---@return string
function M.latin1(text)
  return (gsub(text, "[\128-\255]", function(c) return utf8.char(c:byte()) end))
end

local charsets = {
  ["utf-8"] = function(text) return text end,
  ["us-ascii"] = function(text) return text end,
  ["iso-8859-1"] = M.latin1,
}
charsets.utf8, charsets.ascii, charsets.latin1, charsets["latin-1"] =
  charsets["utf-8"], charsets["us-ascii"], M.latin1, M.latin1

--- The text as UTF-8, or nil when the character set is not known here.
---@param text string
---@param charset string
---@return string?
function M.decode(text, charset)
  local f = charsets[lower(charset)]
  if f then return f(text) end
  return require("http.charsets").decode(text, charset)
end

--- Text in UTF-8 in another character set; nil for those that are not known here or can only be read; nil and the
--- character that it lacks. What is not UTF-8 stays as it is.
---@param text string
---@param charset string
---@return string?, string? missing
function M.encode(text, charset)
  local f = charsets[lower(charset)]
  if f == charsets["utf-8"] or not utf8.len(text) or not find(text, "[\128-\255]") then return text end
  if f == charsets["us-ascii"] then return nil, match(text, "[\xC2-\xF4][\x80-\xBF]+") end
  if f ~= M.latin1 then return require("http.charsets").encode(text, charset) end
  local missing
  local coded = gsub(text, utf8.charpattern, function(character)
    local code = utf8.codepoint(character)
    missing = missing or code > 255 and character or nil
    return code < 256 and string.char(code) or nil
  end)
  if missing then return nil, missing end
  return coded
end

--- charset'language'percent-encoded (RFC 8187), or nil.
local function extended(value)
  local charset, text = match(value, "^([^']*)'[^']*'(.*)$")
  return charset and M.decode(quoting.unquote(text), charset)
end

--- A parameter that may come in an extended form (`name*`, which is preferred) or in pieces (`name*0`, `name*1*`...).
---@param parameters table<string, string> of `parse`
---@param name string
---@return string?
function M.extended(parameters, name)
  local value = parameters[name .. "*"]
  value = value and extended(value) or parameters[name]
  if value or not (parameters[name .. "*0"] or parameters[name .. "*0*"]) then return value end
  local parts, charset = {}, nil
  for i = 0, 999 do
    local plain, coded = parameters[name .. "*" .. i], parameters[name .. "*" .. i .. "*"]
    if not plain and not coded then break end
    if coded then
      if i == 0 then
        local of, text = match(coded, "^([^']*)'[^']*'(.*)$")
        charset, coded = of, text or coded
      end
      plain = quoting.unquote(coded)
    end
    parts[i + 1] = plain
  end
  value = table.concat(parts)
  return charset and M.decode(value, charset) or value
end

return M
