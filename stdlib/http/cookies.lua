--- Cookies as they are sent: the Cookie header's pairs, Set-Cookie written and read (RFC 6265, RFC 6265bis). What comes
--- is read as lenient as aiohttp does; what goes is checked. Values that are no tokens are quoted as Python's
--- http.cookies does it, with octal escapes, and read back the same way.

local core = require "asyncio.core"
local dates = require "http.dates"
local misuse = require "asyncio.misuse"

local M = {}

-- RFC 9110, 5.6.2: what names consist of.
local TOKEN = "^[%w!#$%%&'*+%-.^_`|~]+$"
-- RFC 6265, 4.1.1: what a value may have without quotes, less the backslash, comma and semicolon.
local OCTETS = "^[]-~!#-+--:<-[]*$"
local SEMICOLON, EQUALS = (";"):byte(), ("="):byte()

local byte, find, match, sub, gsub = string.byte, string.find, string.match, string.sub, string.gsub
local format, lower = string.format, string.lower

-- ---- values ----

local function escape(c)
  if c == '"' then return '\\"' end
  if c == "\\" then return "\\\\" end
  return format("\\%03o", c:byte())
end

local function quote(value)
  if find(value, OCTETS) then return value end
  return '"' .. gsub(value, '["\\,;\128-\255]', escape) .. '"'
end

--- The value without its quotes, escapes undone.
local function unquote(value)
  if not find(value, '^".*"$') or #value < 2 then return value end
  value = sub(value, 2, -2)
  if not find(value, "\\", 1, true) then return value end
  local parts, at = {}, 1
  while true do
    local i = find(value, "\\", at, true)
    if not i or i == #value then break end
    parts[#parts + 1] = sub(value, at, i - 1)
    if find(value, "^[0-3][0-7][0-7]", i + 1) then
      parts[#parts + 1] = string.char(tonumber(sub(value, i + 1, i + 3), 8))
      at = i + 4
    else
      parts[#parts + 1] = sub(value, i + 1, i + 1)
      at = i + 2
    end
  end
  return table.concat(parts) .. sub(value, at)
end

--- Without blanks around it. (Linear in the length, whatever comes.)
local function trim(text)
  local a, b = byte(text, 1), byte(text, -1)
  if not a or a ~= 32 and a ~= 9 and b ~= 32 and b ~= 9 then return text end
  local first = find(text, "[^ \t]")
  return first and match(text, "^.*[^ \t]", first) or ""
end

-- ---- the Cookie header ----

--- The cookies of a Cookie header. A semicolon ends a value, also between quotes; of two cookies with one name the last
--- counts; what is no pair or has no proper name is passed over. Raises TypeError.
---@param header string? nil: no header
---@return table<string, string>
function M.parse(header)
  local cookies = {}
  if not header then return cookies end
  if type(header) ~= "string" then
    misuse.raise(core.TypeError, "cookies.parse: a string was expected, got " .. misuse.describe(header))
  end
  local at, n = 1, #header
  while at <= n do
    local i = find(header, "[=;]", at)
    if not i then break end
    if byte(header, i) == SEMICOLON then
      at = i + 1
    else
      local stop = find(header, ";", i + 1, true) or n + 1
      local name = trim(sub(header, at, i - 1))
      if find(name, TOKEN) then cookies[name] = unquote(trim(sub(header, i + 1, stop - 1))) end
      at = stop + 1
    end
  end
  return cookies
end

-- ---- Set-Cookie, written ----

local samesite = { lax = "Lax", strict = "Strict", none = "None" }
local OPTIONS = {
  "expires", "domain", "max_age", "path", "secure", "httponly", "samesite", "partitioned", "version",
}

local function bad(class, what, level)
  misuse.raise(class, "cookies.serialize: " .. what, (level or 2) + 1)
end

local function attribute(name, value)
  if type(value) ~= "string" then
    bad(core.TypeError, format("%s must be a string, got %s", name, misuse.describe(value)), 3)
  end
  if find(value, "[%c;\128-\255]") then
    bad(core.ValueError, format("%s has characters that end it or that no cookie may have: %q", name, value), 3)
  end
  return value
end

local function expires(value)
  if type(value) == "number" then
    -- years 1601 to 9999
    if value ~= value or value < -11644473600 or value > 253402300799 then
      bad(core.ValueError, "expires is out of range: " .. value, 3)
    end
    return dates.format(value)
  end
  return attribute("expires", value)
end

local function integer(name, value)
  local n = type(value) == "number" and math.tointeger(value)
  if not n then bad(core.TypeError, format("%s must be an integer, got %s", name, tostring(value)), 3) end
  return n
end

local function check(name, value)
  if type(name) ~= "string" then
    bad(core.TypeError, "the name must be a string, got " .. misuse.describe(name), 3)
  end
  if not find(name, TOKEN) then bad(core.ValueError, format("not a name of a cookie: %q", name), 3) end
  if type(value) ~= "string" then
    bad(core.TypeError, format("the value of '%s' must be a string, got %s", name, misuse.describe(value)), 3)
  end
  if find(value, "%c") then
    bad(core.ValueError, format("the value of '%s' has control characters: %q", name, value), 3)
  end
end

---@class http.CookieOptions
---@field expires number|string? seconds since 1970, or the text
---@field domain string?
---@field max_age integer? seconds
---@field path string?
---@field secure boolean?
---@field httponly boolean?
---@field samesite string? "Lax", "Strict" or "None"
---@field partitioned boolean?
---@field version integer?

--- A pair as the Cookie header has it. Raises TypeError and ValueError: for names that are no token, for values with
--- control characters; without quoting also for those that would end early.
---@param name string
---@param value string
---@param quoting? boolean true: values that are no tokens are quoted
---@return string
function M.pair(name, value, quoting)
  check(name, value)
  if quoting ~= false then return name .. "=" .. quote(value) end
  if find(value, ";", 1, true) then
    bad(core.ValueError, format("the value of '%s' has a semicolon and is not quoted: %q", name, value))
  end
  return name .. "=" .. value
end

--- The text of a Set-Cookie header. Raises TypeError and ValueError: for names that are no token, for control
--- characters in values, for attributes that would end early.
---@param name string
---@param value string any text; quoted when it has to be
---@param opts? http.CookieOptions
---@return string
function M.serialize(name, value, opts)
  check(name, value)
  local text = name .. "=" .. quote(value)
  if opts == nil then return text end
  core.options(opts, OPTIONS, "cookies.serialize")
  if opts.domain then text = text .. "; Domain=" .. attribute("domain", opts.domain) end
  if opts.expires then text = text .. "; Expires=" .. expires(opts.expires) end
  if opts.httponly then text = text .. "; HttpOnly" end
  if opts.max_age then text = text .. "; Max-Age=" .. integer("max_age", opts.max_age) end
  if opts.partitioned then text = text .. "; Partitioned" end
  if opts.path then text = text .. "; Path=" .. attribute("path", opts.path) end
  if opts.samesite then
    local known = type(opts.samesite) == "string" and samesite[lower(opts.samesite)]
    if not known then
      bad(core.ValueError, "samesite must be Lax, Strict or None, got " .. tostring(opts.samesite))
    end
    text = text .. "; SameSite=" .. known
  end
  if opts.secure then text = text .. "; Secure" end
  if opts.version then text = text .. "; Version=" .. integer("version", opts.version) end
  return text
end

-- ---- Set-Cookie, read ----

--- Seconds since 1970 of a cookie's date, whatever its form (RFC 6265, 5.1.1); nil when it is none.
---@param text string
---@return integer?
function M.parse_date(text)
  local hour, min, sec, day, month, year
  for token in text:gmatch("[^\t -/;-@[-`{-~]+") do
    local h, m, s = token:match("^(%d%d?):(%d%d?):(%d%d?)")
    local digits = token:match("^%d+")
    if not hour and h and not token:find("^%d%d?:%d%d?:%d%d%d") then
      hour, min, sec = tonumber(h), tonumber(m), tonumber(s)
    elseif not day and digits and #digits <= 2 then
      day = tonumber(digits)
    elseif not month and dates.month(token) then
      month = dates.month(token)
    elseif not year and digits and #digits >= 2 and #digits <= 4 then
      year = tonumber(digits)
      if year >= 70 and year <= 99 then year = year + 1900 elseif year < 70 then year = year + 2000 end
    end
  end
  if not (hour and day and month and year) then return nil end
  if day < 1 or day > 31 or year < 1601 or hour > 23 or min > 59 or sec > 59 then return nil end
  local feb = (year % 4 == 0 and year % 100 ~= 0 or year % 400 == 0) and 29 or 28
  if day > ({ 31, feb, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 })[month] then return nil end
  return dates.seconds(year, month, day, hour, min, sec)
end

local readers = {
  expires = function(cookie, value) cookie.expires = M.parse_date(value) or cookie.expires end,
  ["max-age"] = function(cookie, value)
    if find(value, "^%-?%d+$") then
      cookie.max_age = math.tointeger(tonumber(value)) or (sub(value, 1, 1) == "-" and 0 or math.maxinteger)
    end
  end,
  domain = function(cookie, value)
    cookie.domain = value ~= "" and lower(gsub(value, "^%.", "")) or nil
  end,
  path = function(cookie, value) cookie.path = sub(value, 1, 1) == "/" and value or nil end,
  secure = function(cookie) cookie.secure = true end,
  httponly = function(cookie) cookie.httponly = true end,
  partitioned = function(cookie) cookie.partitioned = true end,
  samesite = function(cookie, value) cookie.samesite = samesite[lower(value)] end,
}

-- Values of attributes that are longer are passed over: RFC 6265bis, 5.6.
local LONGEST = 1024

---@class http.SetCookie
---@field name string
---@field value string without quotes
---@field coded_value string as it was sent, and is to be sent back
---@field domain string? in small letters, without a dot in front
---@field path string?
---@field expires integer? seconds since 1970
---@field max_age integer?
---@field secure boolean?
---@field httponly boolean?
---@field samesite string? "Lax", "Strict" or "None"
---@field partitioned boolean?

--- Reads the value of a Set-Cookie header (RFC 6265bis, 5.6). Unknown and malformed attributes are passed over.
---@param text string
---@return http.SetCookie? # nil when it is to be ignored: no "=", no name, control characters, over 4 KiB
function M.parse_set_cookie(text)
  if type(text) ~= "string" then
    misuse.raise(core.TypeError, "cookies.parse_set_cookie: a string was expected, got " .. misuse.describe(text))
  end
  if find(text, "[%z\1-\8\10-\31\127]") then return nil end
  local equals = find(text, "=", 1, true)
  if not equals then return nil end
  local stop = find(text, ";", 1, true) or #text + 1
  if stop < equals then return nil end
  local name, coded = trim(sub(text, 1, equals - 1)), trim(sub(text, equals + 1, stop - 1))
  if name == "" or #name + #coded > 4096 then return nil end
  local cookie = { name = name, value = unquote(coded), coded_value = coded }
  local n = #text
  while stop <= n do
    local key, at = match(text, "^;[ \t]*([%a-]*)[ \t]*()", stop)
    stop = find(text, ";", at, true) or n + 1
    local read = readers[lower(key)]
    local value = at == stop and "" or byte(text, at) == EQUALS and trim(sub(text, at + 1, stop - 1))
    if read and value and #value <= LONGEST then read(cookie, value) end
  end
  return cookie
end

return M
