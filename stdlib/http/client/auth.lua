--- BasicAuth (RFC 7617) and what it has in common with DigestAuth: the session asks `authorize` for the value of the
--- Authorization header, and `challenged`, if there is one, whether a refused request is to be sent once more.

local core = require "asyncio.core"
local misuse = require "asyncio.misuse"
local parameters = require "http.parameters"
local transfer = require "http.transfer"

local M = {}

local find, match, sub = string.find, string.match, string.sub

local function check_text(value, what, class)
  if type(value) == "string" then return value end
  misuse.blame(core.TypeError, ("%s: %s must be a string, got %s"):format(class, what, misuse.describe(value)))
end
M.check_text = check_text

-- ---- character sets ----

local LATIN1 = { ["latin1"] = true, ["latin-1"] = true, ["iso-8859-1"] = true }

local function is_latin1(encoding, what)
  encoding = check_text(encoding or "utf-8", "encoding", what):lower()
  if LATIN1[encoding] then return true end
  if not parameters.decode("", encoding) then
    misuse.blame(core.ValueError, ("%s: the encoding '%s' is not known"):format(what, encoding))
  end
  return false
end

local function to_latin1(text, what)
  if not utf8.len(text) then return text end
  local bytes = {}
  for _, code in utf8.codes(text) do
    if code > 255 then
      misuse.blame(core.ValueError, ("%s: '%s' cannot be written in latin1"):format(what, utf8.char(code)))
    end
    bytes[#bytes + 1] = string.char(code)
  end
  return table.concat(bytes)
end

-- ---- BasicAuth ----

---@class http.BasicAuth
---@field login string
---@field password string
---@field encoding string
local BasicAuth = {}
BasicAuth.__index = BasicAuth
BasicAuth.__name = "BasicAuth"
BasicAuth.__auth = true

--- The value of the Authorization header: "Basic dTpw".
---@return string
function BasicAuth:encode()
  local text = self.login .. ":" .. self.password
  if is_latin1(self.encoding, "BasicAuth") then text = to_latin1(text, "BasicAuth") end
  return "Basic " .. transfer.base64(text)
end

--- For the session.
---@return string
function BasicAuth:authorize() return self._value end

function BasicAuth.__eq(a, b)
  return a.login == b.login and a.password == b.password and a.encoding == b.encoding
end

--- Without the password: texts are logged.
function BasicAuth:__tostring() return ("BasicAuth(%q, ...)"):format(self.login) end

--- User and password. Raises TypeError; ValueError for a colon in the login.
---@param login string
---@param password? string ""
---@param encoding? string "utf-8": the bytes as they are; "latin1"
---@return http.BasicAuth
local function new(login, password, encoding)
  if password == nil then password = "" end
  check_text(login, "login", "BasicAuth")
  check_text(password, "password", "BasicAuth")
  if find(login, ":", 1, true) then
    misuse.blame(core.ValueError, "BasicAuth: a ':' is not allowed in login (RFC 7617, 2)")
  end
  local self = setmetatable({ login = login, password = password, encoding = encoding or "utf-8" }, BasicAuth)
  self._value = self:encode()
  return self
end

local function bad(what) error(core.ValueError("BasicAuth.decode: " .. what), 0) end

--- Reads the value of an Authorization header. Raises ValueError.
---@param header string
---@param encoding? string "utf-8"
---@return http.BasicAuth
function BasicAuth.decode(header, encoding)
  check_text(header, "header", "BasicAuth.decode")
  local latin1 = is_latin1(encoding, "BasicAuth.decode")
  local scheme, coded = match(header, "^[ \t]*(%S+)[ \t]+(%S+)[ \t]*$")
  if not scheme then bad "could not parse authorization header" end
  if scheme:lower() ~= "basic" then bad("unknown authorization method " .. scheme) end
  local decode = transfer.decoder "base64"
  local ok, text = pcall(function() return decode(coded) .. decode() end)
  if not ok then bad "invalid base64 encoding" end
  local login, password = match(text, "^([^:]*):(.*)$")
  if not login then bad "invalid credentials: no ':'" end
  if latin1 then login, password = parameters.latin1(login), parameters.latin1(password) end
  return new(login, password, encoding)
end

--- The user and password of a URL; nil if it has none.
---@param url url.URL
---@param encoding? string
---@return http.BasicAuth?
function BasicAuth.from_url(url, encoding)
  if misuse.describe(url) ~= "a URL" and misuse.describe(url) ~= "an URL" then
    misuse.blame(core.TypeError, "BasicAuth.from_url: a URL was expected, got " .. misuse.describe(url))
  end
  local user, password = url.user, url.password
  if user == nil and password == nil then return nil end
  return new(user or "", password or "", encoding)
end

M.BasicAuth = setmetatable(BasicAuth, { __call = function(_, ...) return new(...) end, __name = "class BasicAuth" })

--- Is it something that authorizes requests: a BasicAuth, a DigestAuth?
---@param value any
---@return boolean
function M.is(value)
  local mt = type(value) == "table" and getmetatable(value)
  return type(mt) == "table" and mt.__auth == true
end

-- ---- challenges ----

-- A quoted string from i on, unescaped, and what is behind it; nil if it does not end.
local function quoted(text, i)
  local at = i + 1
  while true do
    local j = find(text, '["\\]', at)
    if not j then return nil end
    if sub(text, j, j) == '"' then return (sub(text, i + 1, j - 1):gsub("\\(.)", "%1")), j + 1 end
    at = j + 2
  end
end

-- name = value from i on; nil if there is none.
local function parameter(text, i)
  local name, at = match(text, "^([%w!#$%%&'*+.^_`|~-]+)[ \t]*=[ \t]*()", i)
  if not name then return nil end
  if sub(text, at, at) == '"' then
    local value, behind = quoted(text, at)
    if value then return name, value, behind end
    return nil
  end
  local value, behind = match(text, "^([^%s,\"=]+)()", at)
  if value then return name, value, behind end
end

--- The challenges of a WWW-Authenticate header, or the parameters of Authentication-Info (scheme ""): names in small
--- letters, of two alike the first counts. What cannot be read ends it. (RFC 9110, 11.6.1)
---@param text string
---@return {scheme: string, params: table<string, string>}[]
function M.challenges(text)
  local list, at = {}, 1
  while true do
    at = match(text, "^[ \t,]*()", at)
    local name, value, behind = parameter(text, at)
    if name then
      if #list == 0 then list[1] = { scheme = "", params = {} } end
      local params = list[#list].params
      name = name:lower()
      params[name] = params[name] or value
      at = behind
    else
      local scheme, stop = match(text, "^([%w!#$%%&'*+.^_`|~-]+)()", at)
      if not scheme or not find(text, "^[ \t,]", stop) and stop <= #text then return list end
      list[#list + 1] = { scheme = scheme:lower(), params = {} }
      local token68 = "^[ \t]+[%w._~+/-]+=*()[ \t]*"
      at = match(text, token68 .. ",", stop) or match(text, token68 .. "$", stop) or stop
    end
  end
end

return M
