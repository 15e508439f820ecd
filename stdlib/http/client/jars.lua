--- What cookie jars have in common: AbstractCookieJar, which jars of scripts extend, DummyCookieJar, which keeps
--- nothing, and how cookies that a user gives are read.

local cookies = require "http.cookies"
local core = require "asyncio.core"
local misuse = require "asyncio.misuse"
local multidict = require "http.multidict"

local sub = string.sub

local M = {}

---@class http.AbstractCookieJar jars of your own extend it and have `filter_cookies` and `update_cookies`
local AbstractCookieJar = { __name = "AbstractCookieJar" }
AbstractCookieJar.__index = AbstractCookieJar

local function make(cls, ...)
  local self = setmetatable({}, cls)
  if cls.init then cls.init(self, ...) end
  return self
end

--- Derives a class; its method `init` gets what it is called with.
---@param name string
---@return table
function AbstractCookieJar:extend(name)
  if type(name) ~= "string" then
    misuse.raise(core.TypeError, "AbstractCookieJar:extend: a name was expected, got " .. misuse.describe(name))
  end
  local cls = { __name = name }
  for key, value in pairs(self) do
    if type(key) == "string" and sub(key, 1, 2) == "__" and cls[key] == nil then cls[key] = value end
  end
  cls.__index = cls
  return setmetatable(cls, { __index = self, __call = make, __name = "class " .. name })
end

--- The cookies to be sent to a URL, by name.
---@param url url.URL
---@return table<string, string>
function AbstractCookieJar:filter_cookies(url) -- luacheck: ignore url
  error(core.RuntimeError(("%s:filter_cookies is not written"):format(getmetatable(self).__name)), 0)
end

--- Takes cookies in.
---@param all any
---@param url url.URL?
function AbstractCookieJar:update_cookies(all, url) -- luacheck: ignore all url
  error(core.RuntimeError(("%s:update_cookies is not written"):format(getmetatable(self).__name)), 0)
end

--- Calls f(name, value, attributes) for cookies that a user gives: a table by name, a list of {name, value}, a
--- MultiDict; tables with `value` and attributes in place of strings. Raises TypeError.
---@param all table
---@param what string the function's name, for errors
---@param f fun(name: string, value: string, attributes: table?)
function M.each(all, what, f)
  if type(all) ~= "table" then
    misuse.blame(core.TypeError, ("%s: a table of cookies was expected, got %s"):format(what, misuse.describe(all)))
  end
  local function one(name, value)
    if math.type(value) then value = tostring(value) end
    if type(value) == "table" and type(value.value) == "string" then
      return f(value.name or name, value.value, value)
    end
    if type(name) ~= "string" or type(value) ~= "string" then
      misuse.blame(core.TypeError, ("%s: the value of '%s' must be a string, got %s"):format(what, tostring(name),
        misuse.describe(value)))
    end
    f(name, value, nil)
  end
  if multidict.is(all) then
    for name, value in pairs(all) do one(name, value) end
  elseif all[1] ~= nil then
    for i, item in ipairs(all) do
      if type(item) ~= "table" or type(item.name or item[1]) ~= "string" then
        misuse.blame(core.TypeError, ("%s: {name, value} was expected at %d, got %s"):format(what, i,
          misuse.describe(item)))
      end
      if item.name then one(item.name, item) else one(item[1], item[2]) end
    end
  else
    local names = {}
    for name in pairs(all) do names[#names + 1] = name end
    table.sort(names, function(a, b) return tostring(a) < tostring(b) end)
    for _, name in ipairs(names) do one(name, all[name]) end
  end
end

--- A pair for the header; errors are those of the first caller outside.
---@param name string
---@param value string
---@param quoting boolean?
---@param what string
---@return string
function M.pair(name, value, quoting, what)
  local ok, text = pcall(cookies.pair, name, value, quoting)
  if ok then return text end
  misuse.blame(core.isinstance(text, core.TypeError) and core.TypeError or core.ValueError,
    what .. ": " .. text.message:gsub("^.-cookies%.[%a_]+: ", ""))
end

--- The pairs of a request's own cookies, by name; checked. Raises TypeError and ValueError at the place of the call.
---@param all table
---@param quoting? boolean
---@return string[] pairs, table<string, boolean> names
function M.pairs_of(all, quoting)
  local list, names = {}, {}
  M.each(all, "cookies", function(name, value)
    list[#list + 1] = M.pair(name, value, quoting, "cookies")
    names[name] = true
  end)
  return list, names
end

--- The Cookie header for a URL; nil when there is none.
---@param url url.URL
---@param more? table the request's own cookies, which count before the jar's
---@return string?
function AbstractCookieJar:cookie_header(url, more)
  local list, names = {}, {}
  if more then list, names = M.pairs_of(more) end
  local own = {}
  M.each(self:filter_cookies(url), "filter_cookies", function(name, value)
    if not names[name] then own[#own + 1] = M.pair(name, value, true, "filter_cookies") end
  end)
  table.move(list, 1, #list, #own + 1, own)
  return own[1] and table.concat(own, "; ") or nil
end

--- Takes in what a response set.
---@param url url.URL
---@param values string[] of Set-Cookie
function AbstractCookieJar:update_from(url, values)
  local list = {}
  for _, value in ipairs(values) do list[#list + 1] = cookies.parse_set_cookie(value) end
  if list[1] then self:update_cookies(list, url) end
end

M.AbstractCookieJar = AbstractCookieJar

-- ---- no jar ----

---@class http.DummyCookieJar : http.AbstractCookieJar keeps nothing
local DummyCookieJar = AbstractCookieJar:extend("DummyCookieJar")

function DummyCookieJar:filter_cookies() return {} end -- luacheck: ignore self

-- The request's own cookies, if it has any.
function DummyCookieJar:cookie_header(url, more)
  return more and AbstractCookieJar.cookie_header(self, url, more)
end

function DummyCookieJar:update_cookies() end -- luacheck: ignore self
function DummyCookieJar:update_from() end -- luacheck: ignore self
function DummyCookieJar:clear() end -- luacheck: ignore self
function DummyCookieJar:clear_domain() end -- luacheck: ignore self
function DummyCookieJar:__len() return 0 end -- luacheck: ignore self
function DummyCookieJar:__pairs() return function() end end -- luacheck: ignore self

M.DummyCookieJar = DummyCookieJar

--- Is it a jar: of one of these classes, or one that has their methods?
---@param value any
---@return boolean
function M.is(value)
  return type(value) == "table" and value.cookie_header ~= nil and value.update_from ~= nil
end

return M
