--- CookieJar: the cookies of a session (RFC 6265bis, 5.6 to 5.8). A cookie goes back to the host that set it, or to the
--- domain that it was set for, if that is one under which not just anybody can register a name. What comes from peers
--- never raises; what breaks the rules is not stored.

local cookies = require "http.cookies"
local core = require "asyncio.core"
local jars = require "http.client.jars"
local misuse = require "asyncio.misuse"
local parse = require "url.parse"
local time = require "time"

local byte, find, lower, sub = string.byte, string.find, string.lower, string.sub
local pair = jars.pair

local M = {}

-- Cookies of a domain, and in all: RFC 6265bis, 6.1 asks for 50 and 3,000 at least.
local PER_DOMAIN, IN_ALL = 180, 10000
-- No date is behind the year 9999.
local FOREVER = 253402300799

local SLASH = byte "/"

-- ---- domains ----

local function is_ip(host) return find(host, ":", 1, true) ~= nil or find(host, "%.?%d+$") ~= nil end

local is_listed -- of libpsl; false in a build without it

-- Without libpsl: what has no point in it.
local function is_public_suffix(domain)
  if is_listed == nil then
    local known, psl = pcall(require, "http.psl")
    is_listed = known and psl.is_public_suffix
  end
  if is_listed then return is_listed(domain) end
  return not find(domain, ".", 1, true)
end

-- RFC 6265bis, 5.1.3, for names.
local function domain_match(host, domain)
  return host == domain or #host > #domain and sub(host, -#domain - 1) == "." .. domain
end

-- RFC 6265bis, 5.1.4
local function path_match(path, cookie_path)
  if path == cookie_path then return true end
  local n = #cookie_path
  return sub(path, 1, n) == cookie_path and (byte(cookie_path, n) == SLASH or byte(path, n + 1) == SLASH)
end

local function default_path(path)
  local folder = path:match("^(/.*)/[^/]*$")
  return folder or "/"
end

-- ---- the jar ----

---@class http.CookieJar : http.AbstractCookieJar
local CookieJar = jars.AbstractCookieJar:extend("CookieJar")

local OPTIONS = { "unsafe", "quote_cookie", "treat_as_secure_origin" }

---@class http.Cookie : http.SetCookie
---@field domain string "" for one that goes everywhere
---@field path string
---@field host_only boolean

---@class http.CookieJarOptions
---@field unsafe boolean? cookies of hosts that are IP addresses, too
---@field quote_cookie boolean? true: values that are no tokens are quoted
---@field treat_as_secure_origin (string|url.URL|(string|url.URL)[])? "http://localhost:8080": as good as https

local function url_of(value, what)
  if type(value) == "string" or misuse.describe(value):find("URL$") then return require("url").parse(value) end
  misuse.blame(core.TypeError, ("%s: a URL was expected, got %s"):format(what, misuse.describe(value)))
end

local function origin_of(url) return ("%s://%s:%s"):format(url.scheme, url.raw_host, url.port) end

local function origins(given)
  local set = {}
  if given == nil then return set end
  if type(given) ~= "table" or misuse.describe(given):find("URL$") then given = { given } end
  for _, value in ipairs(given) do
    set[origin_of(url_of(value, "treat_as_secure_origin"))] = true
  end
  return set
end

local function switch(opts, name, default)
  local value = opts[name]
  if value == nil then return default end
  if type(value) ~= "boolean" then
    misuse.blame(core.TypeError, ("CookieJar: %s: a boolean was expected, got %s"):format(name, misuse.describe(value)))
  end
  return value
end

function CookieJar:init(opts)
  core.options(opts, OPTIONS, "CookieJar")
  opts = opts or {}
  self._unsafe, self._quote = switch(opts, "unsafe", false), switch(opts, "quote_cookie", true)
  self._secure = origins(opts.treat_as_secure_origin)
  self._time = time.time
  self:clear()
end

-- What of a URL decides about cookies; nil: none at all.
local function site_of(self, url)
  local host = url.raw_host
  if not host or host == "" then return nil end
  if byte(host, -1) == 46 and #host > 1 then host = sub(host, 1, -2) end -- the root's point
  local scheme = url.scheme
  return {
    host = host, path = url.raw_path, is_ip = is_ip(host),
    secure = scheme == "https" or scheme == "wss" or self._secure[origin_of(url)] == true,
  }
end

-- ---- keeping ----

local function expired(cookie, now) return cookie.expires ~= nil and cookie.expires <= now end

local function same(a, b)
  return a.name == b.name and a.path == b.path and a.host_only == b.host_only
end

-- How many secure cookies of a name there are.
local function count_secure(self, cookie, n)
  if not cookie.secure then return end
  local names = self._secure_names
  local now = (names[cookie.name] or 0) + n
  names[cookie.name] = now > 0 and now or nil
end

local function drop(self, list, i, domain)
  count_secure(self, table.remove(list, i), -1)
  self._count = self._count - 1
  if #list == 0 then self._domains[domain] = nil end
end

-- Drops what has expired, and then the oldest, down to `keep`; secure ones last.
local function evict(self, list, keep, now)
  table.sort(list, function(a, b)
    local x, y = expired(a, now), expired(b, now)
    if x ~= y then return x end
    if (a.secure or false) ~= (b.secure or false) then return not a.secure end
    return a.created < b.created
  end)
  local n = #list
  local gone = math.max(0, n - keep)
  while gone < n and expired(list[gone + 1], now) do gone = gone + 1 end
  for i = 1, gone do count_secure(self, list[i], -1) end
  table.move(list, gone + 1, n + gone, 1)
  self._count = self._count - gone
end

local function make_room(self, list, now)
  if list and #list >= PER_DOMAIN then evict(self, list, PER_DOMAIN - 1, now) end
  if self._count < IN_ALL then return end
  local all, domains = {}, {}
  for _, of in next, self._domains do table.move(of, 1, #of, #all + 1, all) end
  evict(self, all, IN_ALL * 9 // 10, now)
  for _, cookie in ipairs(all) do
    local of = domains[cookie.domain] or {}
    domains[cookie.domain], of[#of + 1] = of, cookie
  end
  self._domains = domains
end

-- Does every header stay as it is when a cookie is renewed?
local function changes_nothing(old, new)
  return old.coded_value == new.coded_value and old.secure == new.secure
    and (not new.expires or old.expires ~= nil and old.expires <= new.expires)
end

-- Stores a cookie that is in order, in place of the one that it is the successor of.
function CookieJar:_keep(cookie, now)
  local domain = cookie.domain
  local list = self._domains[domain]
  for i = 1, list and #list or 0 do
    if same(list[i], cookie) then
      local old = list[i]
      if not changes_nothing(old, cookie) then self._version = self._version + 1 end
      if expired(cookie, now) then return drop(self, list, i, domain) end
      cookie.created = old.created
      count_secure(self, old, -1)
      count_secure(self, cookie, 1)
      list[i] = cookie
      return
    end
  end
  if expired(cookie, now) then return end
  self._version = self._version + 1
  make_room(self, list, now)
  list = self._domains[domain]
  if not list then
    list = {}
    self._domains[domain] = list
  end
  if not cookie.created then
    self._serial = self._serial + 1
    cookie.created = self._serial
  end
  list[#list + 1] = cookie
  self._count = self._count + 1
  count_secure(self, cookie, 1)
end

-- ---- taking in ----

-- The domain that a cookie is for, and whether for that host alone; nil: it must not be set.
local function scope_of(domain, site)
  if not site then return domain or "", false end
  local host = site.host
  if not domain then return host, true end
  local ok, name = pcall(parse.host, domain)
  if not ok or name == "" or sub(name, -1) == "." then return nil end
  if site.is_ip then
    if name ~= host then return nil end
    return host, true
  end
  if not domain_match(host, name) then return nil end
  if is_public_suffix(name) then
    if name ~= host then return nil end
    return host, true
  end
  return name, false
end

-- Is there a secure cookie that this one, from an insecure page, would hide? (RFC 6265bis, 5.7, 16)
local function hides_secure(self, name, domain, path)
  if not self._secure_names[name] then return false end
  for of, list in next, self._domains do
    if of ~= "" and (domain_match(of, domain) or domain_match(domain, of)) then
      for _, cookie in ipairs(list) do
        if cookie.secure and cookie.name == name and path_match(path, cookie.path) then return true end
      end
    end
  end
  return false
end

-- RFC 6265bis, 4.1.3: what names promise.
local function keeps_promise(cookie, domain_given)
  local prefix = lower(sub(cookie.name, 1, 9))
  if prefix == "__secure-" then return cookie.secure end
  if sub(prefix, 1, 7) ~= "__host-" then return true end
  return cookie.secure and cookie.host_only and not domain_given and cookie.path_given == "/"
end

-- c: http.SetCookie. site: of the response; nil: the user's own.
local function take(self, c, site, now)
  if site and site.is_ip and not self._unsafe then return end
  local domain, host_only = scope_of(c.domain, site)
  if not domain then return end
  local secure = c.secure or nil
  if secure and site and not site.secure then return end
  local cookie = {
    name = c.name, value = c.value, coded_value = c.coded_value, domain = domain, host_only = host_only,
    path = c.path or site and default_path(site.path) or "/", path_given = c.path, secure = secure,
    httponly = c.httponly or nil, samesite = c.samesite, partitioned = c.partitioned or nil,
  }
  if c.max_age then
    cookie.expires = c.max_age <= 0 and 0 or math.min(now + c.max_age, FOREVER)
  elseif c.expires then
    cookie.expires = math.min(c.expires, FOREVER)
  end
  if site then
    if not keeps_promise(cookie, c.domain) then return end
    if not site.secure and hides_secure(self, cookie.name, domain, cookie.path) then return end
  end
  cookie.path_given = nil
  self:_keep(cookie, now)
end

--- Takes in what a response set. Never raises.
---@param url url.URL
---@param values string[] of Set-Cookie
function CookieJar:update_from(url, values)
  local site = site_of(self, url)
  if not site or site.is_ip and not self._unsafe then return end
  local now = self._time()
  for _, value in ipairs(values) do
    local cookie = cookies.parse_set_cookie(value)
    if cookie then take(self, cookie, site, now) end
  end
end

local function check_field(value, name, want)
  if value == nil or type(value) == want then return value end
  misuse.blame(core.TypeError, ("update_cookies: %s must be a %s, got %s"):format(name, want, misuse.describe(value)))
end

local function given_cookie(self, name, value, more)
  local coded = more and more.coded_value
  -- as a response set it, whatever it is, it goes back
  local as_it_came = type(coded) == "string" and name ~= "" and not find(name .. coded, "[%z\1-\8\10-\31\127;]")
    and not find(name, "=", 1, true)
  if not as_it_came then coded = sub(pair(name, value, self._quote, "update_cookies"), #name + 2) end
  local c = { name = name, value = value, coded_value = coded }
  if not more then return c end
  for _, field in ipairs { "domain", "path", "samesite" } do
    c[field] = check_field(more[field], field, "string")
    if c[field] and find(c[field], "[%c;]") then
      misuse.blame(core.ValueError, ("update_cookies: %s has a character that it cannot have: %q"):format(field,
        c[field]))
    end
  end
  if c.domain then c.domain = lower(c.domain:gsub("^%.", "")) end
  if c.domain == "" then c.domain = nil end
  if c.path and byte(c.path) ~= SLASH then c.path = nil end
  c.expires, c.max_age = more.expires, more.max_age
  if type(c.expires) == "string" then c.expires = cookies.parse_date(c.expires) end
  check_field(c.expires, "expires", "number")
  check_field(c.max_age, "max_age", "number")
  c.secure, c.httponly, c.partitioned = more.secure, more.httponly, more.partitioned
  return c
end

--- Takes cookies in: by name, {name, value} in a list, a MultiDict; values are strings or tables with `value` and the
--- attributes. Without a URL they are for the domain that they name, and without that for every host. Raises
--- TypeError, ValueError; cookies that the URL's host must not set are passed over.
---@param all table
---@param response_url? url.URL|string
function CookieJar:update_cookies(all, response_url)
  local site
  if response_url ~= nil then
    site = site_of(self, url_of(response_url, "update_cookies"))
    if not site then return end
  end
  local list = {}
  jars.each(all, "update_cookies", function(name, value, more)
    list[#list + 1] = given_cookie(self, name, value, more)
  end)
  local now = self._time()
  for _, cookie in ipairs(list) do take(self, cookie, site, now) end
end

-- ---- giving out ----

local function collect(self, domain, site, now, found)
  local list = self._domains[domain]
  for i = list and #list or 0, 1, -1 do
    local cookie = list[i]
    if expired(cookie, now) then
      drop(self, list, i, domain)
    elseif (not cookie.secure or site.secure) and (not cookie.host_only or domain == site.host)
        and path_match(site.path, cookie.path) then
      found[#found + 1] = cookie
    end
  end
end

-- Longer paths come first, then older cookies: RFC 6265bis, 5.8.3.
local function before(a, b)
  if #a.path ~= #b.path then return #a.path > #b.path end
  return a.created < b.created
end

-- The cookies for a URL, in order, and until when that holds.
-- Where no host is named: those for every host.
local ANYWHERE = { host = "", path = "/", is_ip = true, secure = true }

local function matching(self, url, now)
  local found, site = {}, url and site_of(self, url) or ANYWHERE
  collect(self, "", site, now, found)
  if not site.is_ip then
    local domain = site.host
    while domain do
      collect(self, domain, site, now, found)
      domain = domain:match("^[^.]*%.(.+)$")
    end
  elseif self._unsafe and site ~= ANYWHERE then
    collect(self, site.host, site, now, found)
  end
  table.sort(found, before)
  local ends
  for _, cookie in ipairs(found) do
    if cookie.expires and (not ends or cookie.expires < ends) then ends = cookie.expires end
  end
  return found, ends
end

local function texts(found, names)
  local list = {}
  for _, cookie in ipairs(found) do
    if not names or not names[cookie.name] then list[#list + 1] = cookie.name .. "=" .. cookie.coded_value end
  end
  return list
end

--- The Cookie header for a URL; nil when there is none.
---@param url url.URL
---@param more? table the request's own cookies, which count before the jar's
---@return string?
function CookieJar:cookie_header(url, more)
  if more then
    local own, names = jars.pairs_of(more, self._quote)
    local list = self._count > 0 and texts(matching(self, url, self._time()), names) or {}
    table.move(own, 1, #own, #list + 1, list)
    return list[1] and table.concat(list, "; ") or nil
  end
  if self._count == 0 then return nil end
  local now, known = self._time(), self._known[url]
  if known and known.version == self._version and (not known.ends or now < known.ends) then return known.text end
  local found, ends = matching(self, url, now)
  local text = found[1] and table.concat(texts(found), "; ") or nil
  self._known[url] = { text = text, version = self._version, ends = ends }
  return text
end

--- The cookies that a request to a URL would have, by name; of two with one name the one with the longer path. Without
--- a URL: those for every host.
---@param request_url? url.URL|string
---@return table<string, string>
function CookieJar:filter_cookies(request_url)
  local url, result = request_url ~= nil and url_of(request_url, "filter_cookies"), {}
  local found = matching(self, url, self._time())
  for i = #found, 1, -1 do result[found[i].name] = found[i].value end
  return result
end

-- ---- all of them ----

-- Goes over all cookies that have not expired; drops those for which f gives true.
local function sweep(self, f)
  local now = self._time()
  for domain, list in next, self._domains do
    for i = #list, 1, -1 do
      if expired(list[i], now) or f and f(list[i]) then
        self._version = self._version + 1
        drop(self, list, i, domain)
      end
    end
  end
end

local function copy(cookie)
  local c = {}
  for key, value in next, cookie do c[key] = value end
  c.created = nil
  return c
end

local function in_order(self)
  sweep(self)
  local all = {}
  for _, list in next, self._domains do table.move(list, 1, #list, #all + 1, all) end
  table.sort(all, function(a, b) return a.created < b.created end)
  return all
end

--- Drops all cookies, or those for which the function gives true.
---@param predicate? fun(cookie: http.Cookie): boolean
function CookieJar:clear(predicate)
  if predicate ~= nil then
    if type(predicate) ~= "function" then
      misuse.blame(core.TypeError, "CookieJar:clear: a function was expected, got " .. misuse.describe(predicate))
    end
    local gone = {}
    for _, cookie in ipairs(in_order(self)) do gone[cookie] = predicate(copy(cookie)) and true or nil end
    return sweep(self, function(cookie) return gone[cookie] end)
  end
  self._domains, self._count, self._serial, self._version = {}, 0, self._serial or 0, (self._version or 0) + 1
  self._known, self._secure_names = setmetatable({}, { __mode = "k" }), {}
end

--- Drops the cookies of a domain and of those below it.
---@param domain string
function CookieJar:clear_domain(domain)
  if type(domain) ~= "string" then
    misuse.blame(core.TypeError, "CookieJar:clear_domain: a domain was expected, got " .. misuse.describe(domain))
  end
  local name = parse.host(domain:gsub("^%.", ""))
  sweep(self, function(cookie) return domain_match(cookie.domain, name) end)
end

--- How many there are.
function CookieJar:__len()
  sweep(self)
  return self._count
end

--- `for name, cookie in pairs(jar)`: all of them, oldest first. They are copies.
function CookieJar:__pairs()
  local all, i = in_order(self), 0
  return function()
    i = i + 1
    if all[i] then return all[i].name, copy(all[i]) end
  end
end

function CookieJar:__tostring() return ("CookieJar(%d cookies)"):format(self._count) end

--- Writes all cookies to a file that only its owner can read, also those that end with the session. See
--- http.client.cookiefile.
---@param path string
---@return any awaitable; raises OSError
function CookieJar:save(path)
  local list = {}
  for i, cookie in ipairs(in_order(self)) do list[i] = copy(cookie) end
  return require("http.client.cookiefile").save(path, list)
end

--- Reads the cookies that `save` wrote, in place of those that there are. The file is checked first: a bad one changes
--- nothing.
---@param path string
---@return any awaitable; raises OSError, ValueError
function CookieJar:load(path)
  return require("http.client.cookiefile").load(path, function(list)
    self:clear()
    local now = self._time()
    for _, cookie in ipairs(list) do self:_keep(cookie, now) end
  end)
end

M.CookieJar = CookieJar

M.AbstractCookieJar, M.DummyCookieJar = jars.AbstractCookieJar, jars.DummyCookieJar
M.pairs_of, M.is = jars.pairs_of, jars.is

return M
