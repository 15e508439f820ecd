--- URL: an address taken apart, with the names of yarl. Objects don't change: the `with_` methods give new ones. `raw_`
--- fields are as they are sent, the others as people read them.

local core = require "asyncio.core"
local misuse = require "asyncio.misuse"
local multidict = require "http.multidict"
local parse = require "url.parse"
local quoting = require "url.quoting"

local find, gsub, match, sub = string.find, string.gsub, string.match, string.sub
local unquote = quoting.unquote

---@class url.URL
---@field scheme string? in small letters
---@field user string?
---@field password string?
---@field host string? in small letters, as people read it; IPv6 without brackets
---@field port integer? the scheme's when none is written
---@field explicit_port integer? as it is written
---@field authority string? user:password@host:port
---@field path string "/" when there is a host and no path
---@field query http.MultiDict made from the query string; changing it changes no URL
---@field query_string string
---@field fragment string
---@field path_qs string path and query as they are sent
---@field parts string[] {"/", "segment"...}
---@field name string the last segment
---@field suffix string of the name, with its point
---@field parent url.URL without the last segment, query and fragment
---@field raw_host string? as DNS has it: "xn--..." for names that are not ASCII
---@field raw_user string?
---@field raw_password string?
---@field raw_authority string?
---@field raw_path string
---@field raw_query_string string
---@field raw_fragment string
local URL = {}
URL.__name = "URL"

-- Where an object keeps its parts (url.Parts), and fields that have been asked for.
local PARTS = {}

local metatable = { __name = "URL", __metatable = URL }

local function new(parts)
  return setmetatable({ [PARTS] = parts }, metatable)
end

local function is_url(value) return type(value) == "table" and rawget(value, PARTS) ~= nil end

--- The parts of a URL or text.
local function parts_of(value, what, encoded)
  if is_url(value) then return rawget(value, PARTS) end
  if type(value) == "string" then return parse.split(value, encoded) end
  misuse.raise(core.TypeError, ("%s: a URL or string was expected, got %s"):format(what, misuse.describe(value)), 3)
end

local function check_text(value, what)
  if type(value) == "string" then return end
  misuse.raise(core.TypeError, ("%s: a string was expected, got %s"):format(what, misuse.describe(value)), 3)
end

-- ---- fields ----

local get = {}

local function decoded(name)
  return function(p) return p[name] and unquote(p[name]) end
end

function get.scheme(p) return p.scheme end
function get.host(p) return p.host and parse.decoded_host(p.host) end
function get.raw_host(p) return p.host end
function get.explicit_port(p) return p.port end
function get.port(p) return p.port or parse.default_ports[p.scheme] end
function get.raw_user(p) return p.user end
function get.raw_password(p) return p.password end
function get.raw_path(p) return p.path end
function get.raw_query_string(p) return p.query or "" end
function get.raw_fragment(p) return p.fragment or "" end
function get.raw_authority(p) return p.host and parse.authority(p) end

function get.authority(p)
  return p.host and unquote(parse.authority {
    scheme = p.scheme, user = p.user, password = p.password, host = parse.decoded_host(p.host), port = p.port,
  })
end

get.user, get.password, get.path = decoded "user", decoded "password", decoded "path"
function get.query_string(p) return p.query and quoting.unquote_plus(p.query) or "" end
function get.fragment(p) return p.fragment and unquote(p.fragment) or "" end
function get.path_qs(p) return p.path .. (p.query and "?" .. p.query or "") end
function get.query(p) return quoting.parse_qs(p.query or "") end

function get.parts(p)
  local list = {}
  local path = p.path
  if sub(path, 1, 1) == "/" then
    list[1] = "/"
    path = sub(path, 2)
  end
  if path ~= "" then
    for segment in string.gmatch(path, "[^/]*") do list[#list + 1] = unquote(segment) end
  end
  return list
end

function get.name(p) return unquote(match(p.path, "[^/]*$")) end
function get.suffix(p) return unquote(match(match(p.path, "[^/]*$"), "^.+(%.[^.]+)$") or "") end

local function copy(p, changes)
  local q = {
    scheme = p.scheme, user = p.user, password = p.password, host = p.host, port = p.port, path = p.path,
    query = p.query, fragment = p.fragment,
  }
  for key, value in pairs(changes or {}) do q[key] = value or nil end
  return q
end

function get.parent(p)
  local path = match(p.path, "^(.*)/[^/]*$")
  if not path then
    path = ""
  elseif path == "" then
    path = "/"
  end
  return new(copy(p, { path = path, query = false, fragment = false }))
end

-- ---- questions ----

--- Has it a host?
---@return boolean
function URL:is_absolute() return rawget(self, PARTS).host ~= nil end

--- Is its port the scheme's?
---@return boolean
function URL:is_default_port()
  return self.port ~= nil and self.port == parse.default_ports[self.scheme]
end

--- Scheme, host and port alone. Raises ValueError when it has none.
---@return url.URL
function URL:origin()
  local p = rawget(self, PARTS)
  if not p.host or not p.scheme then error(core.ValueError(("no origin: '%s'"):format(tostring(self))), 0) end
  return new { scheme = p.scheme, host = p.host, port = p.port, path = "" }
end

--- Path, query and fragment alone. Raises ValueError when there is no host to leave out.
---@return url.URL
function URL:relative()
  local p = rawget(self, PARTS)
  if not p.host then error(core.ValueError(("not absolute: '%s'"):format(tostring(self))), 0) end
  return new { path = p.path, query = p.query, fragment = p.fragment }
end

-- ---- others like it ----

local function with(self, changes) return new(copy(rawget(self, PARTS), changes)) end

local function need_host(self, what)
  if not rawget(self, PARTS).host then
    error(core.ValueError(("URL:%s: '%s' has no host"):format(what, tostring(self))), 0)
  end
end

--- With another scheme.
---@param scheme string
---@return url.URL
function URL:with_scheme(scheme)
  check_text(scheme, "URL:with_scheme")
  need_host(self, "with_scheme")
  if not find(scheme, "^%a[%w+.-]*$") then parse.fail("the scheme is '%s'", scheme) end
  return with(self, { scheme = scheme:lower() })
end

--- With another user, or with none (and no password).
---@param user string?
---@return url.URL
function URL:with_user(user)
  if user == nil then return with(self, { user = false, password = false }) end
  check_text(user, "URL:with_user")
  need_host(self, "with_user")
  return with(self, { user = quoting.quote(user, "!$&'()*+,;=") })
end

--- With another password, or with none.
---@param password string?
---@return url.URL
function URL:with_password(password)
  if password == nil then return with(self, { password = false }) end
  check_text(password, "URL:with_password")
  need_host(self, "with_password")
  return with(self, { password = quoting.quote(password, "!$&'()*+,;=") })
end

--- With another host.
---@param host string
---@return url.URL
function URL:with_host(host)
  check_text(host, "URL:with_host")
  need_host(self, "with_host")
  if host == "" then parse.fail("no host") end
  return with(self, { host = parse.host(host) })
end

--- With another port, or with the scheme's.
---@param port integer?
---@return url.URL
function URL:with_port(port)
  need_host(self, "with_port")
  if port ~= nil and (math.type(port) ~= "integer" or port < 0 or port > 65535) then
    misuse.raise(core.ValueError, "URL:with_port: a number from 0 to 65535 was expected, got " .. tostring(port))
  end
  return with(self, { port = port or false })
end

local function quote_path(path) return parse.requote(gsub(path, "%%", "%%25"), "path") end

--- With another path, without query and fragment.
---@param path string as people write it
---@return url.URL
function URL:with_path(path)
  check_text(path, "URL:with_path")
  path = quote_path(path)
  if rawget(self, PARTS).host then
    if sub(path, 1, 1) ~= "/" then path = "/" .. path end
    path = parse.normalize(path)
  end
  return with(self, { path = path, query = false, fragment = false })
end

local function query_text(query, what)
  if type(query) == "string" then return parse.requote(query, "query") end
  if type(query) ~= "table" then
    local got = misuse.describe(query)
    misuse.raise(core.TypeError, ("URL:%s: a table, MultiDict or string was expected, got %s"):format(what, got), 3)
  end
  return quoting.urlencode(query, "/:@!$'()*,?")
end

--- With another query: a table or MultiDict (see `urlencode`), a string, or nil for none.
---@param query table|string|nil
---@return url.URL
function URL:with_query(query)
  local text = query ~= nil and query_text(query, "with_query")
  return with(self, { query = text ~= "" and text })
end

local function as_dict(query, what)
  if type(query) == "string" then return quoting.parse_qs(query) end
  query_text(query, what) -- refuses what is none
  return multidict.MultiDict(query)
end

--- With these fields added to its query.
---@param query table|string
---@return url.URL
function URL:extend_query(query)
  local all = self.query:copy()
  all:extend(as_dict(query, "extend_query"))
  return self:with_query(all)
end

--- With these fields in place of those of the same names. `url % query` is the same.
---@param query table|string
---@return url.URL
function URL:update_query(query)
  local all = self.query:copy()
  all:update(as_dict(query, "update_query"))
  return self:with_query(all)
end

--- Without the fields of these names.
---@param ... string
---@return url.URL
function URL:without_query_params(...)
  local all = self.query:copy()
  for _, name in ipairs { ... } do all[name] = nil end
  return self:with_query(all)
end

--- With another fragment, or with none.
---@param fragment string?
---@return url.URL
function URL:with_fragment(fragment)
  if fragment == nil then return with(self, { fragment = false }) end
  check_text(fragment, "URL:with_fragment")
  return with(self, { fragment = parse.requote(gsub(fragment, "%%", "%%25"), "fragment") })
end

--- With another last segment, without query and fragment. Raises ValueError for one with a slash, "." and "..".
---@param name string
---@return url.URL
function URL:with_name(name)
  check_text(name, "URL:with_name")
  if find(name, "/", 1, true) or name == "." or name == ".." then parse.fail("'%s' is not a name", name) end
  local folder = match(rawget(self, PARTS).path, "^.*/") or ""
  return with(self, { path = folder .. quote_path(name), query = false, fragment = false })
end

--- With another suffix of its name. Raises ValueError.
---@param suffix string with its point, or ""
---@return url.URL
function URL:with_suffix(suffix)
  check_text(suffix, "URL:with_suffix")
  local name = self.name
  if name == "" or suffix ~= "" and not find(suffix, "^%.[^/.][^/]*$") then
    parse.fail("'%s' with the suffix '%s'", name, suffix)
  end
  return self:with_name(sub(name, 1, #name - #self.suffix) .. suffix)
end

--- With more segments; query and fragment go. `url / segment` is the same for one. Raises ValueError for one that
--- begins with a slash.
---@param ... string as people write them; slashes separate
---@return url.URL
function URL:joinpath(...)
  local p = rawget(self, PARTS)
  local path = p.path
  for _, segment in ipairs { ... } do
    check_text(segment, "URL:joinpath")
    if sub(segment, 1, 1) == "/" then parse.fail("'%s' begins with a slash: it cannot be appended", segment) end
    if path ~= "" and sub(path, -1) ~= "/" or path == "" and p.host then path = path .. "/" end
    path = path .. quote_path(segment)
  end
  if p.host then path = parse.normalize(path) end
  return with(self, { path = path, query = false, fragment = false })
end

--- What a link means on this page (RFC 3986, 5.2). Raises ValueError.
---@param ref url.URL|string
---@return url.URL
function URL:join(ref)
  return new(parse.resolve(rawget(self, PARTS), parts_of(ref, "URL:join")))
end

-- ---- texts ----

--- Undoes escapes, but of what would be read as something else, and of what is no UTF-8.
local function readable(text, unsafe)
  if not text or not find(text, "%", 1, true) then return text end
  local result = gsub(text, "%%(%x%x)", function(hex)
    local c = string.char(tonumber(hex, 16))
    return not find(c, "[%c%%" .. unsafe .. "]") and c or nil
  end)
  return utf8.len(result) and result or text
end

--- The URL as people read it.
---@return string
function URL:human_repr()
  local p = rawget(self, PARTS)
  return parse.unsplit(copy(p, {
    user = readable(p.user, " #/:?@%[%]"), password = readable(p.password, " #/:?@%[%]"),
    host = p.host and parse.decoded_host(p.host), path = readable(p.path, " #?/"),
    query = readable(p.query, " #&+;="), fragment = readable(p.fragment, " "),
  }))
end

function metatable:__tostring() return parse.unsplit(rawget(self, PARTS)) end

function metatable.__concat(a, b) return tostring(a) .. tostring(b) end

function metatable.__eq(a, b) return tostring(a) == tostring(b) end

function metatable.__lt(a, b) return tostring(a) < tostring(b) end

function metatable.__le(a, b) return tostring(a) <= tostring(b) end

function metatable.__div(self, segment) return URL.joinpath(self, segment) end

function metatable.__mod(self, query) return URL.update_query(self, query) end

function metatable:__json() return tostring(self) end

function metatable:__index(key)
  local method = URL[key]
  if method then return method end
  local f = get[key]
  if not f then return nil end
  local cache = rawget(self, f)
  if cache ~= nil then return cache end
  local value = f(rawget(self, PARTS))
  if type(value) == "table" then rawset(self, f, value) end
  return value
end

function metatable:__newindex(key)
  misuse.raise(core.TypeError, ("a URL does not change: '%s' (see URL:with_...)"):format(tostring(key)))
end

local M = { URL = URL }

--- Makes a URL of a text; of a URL itself. Raises ValueError for what is none, TypeError.
---@param text string|url.URL
---@param opts? {encoded: boolean?} true: path, query and fragment are written as they are to be sent
---@return url.URL
function M.parse(text, opts)
  if opts ~= nil then core.options(opts, { "encoded" }, "URL") end
  if is_url(text) then return text end
  return new(parts_of(text, "URL", opts and opts.encoded))
end

setmetatable(URL, { __call = function(_, text, opts) return M.parse(text, opts) end })

local build_keys = { "scheme", "user", "password", "host", "port", "path", "query", "fragment" }

---@class url.BuildParts
---@field scheme string?
---@field user string?
---@field password string?
---@field host string?
---@field port integer?
---@field path string?
---@field query table|string?
---@field fragment string?

--- Makes a URL of its parts, as people write them. Raises ValueError, TypeError.
---@param parts url.BuildParts
---@return url.URL
function URL.build(parts)
  core.options(parts, build_keys, "URL.build")
  if parts.scheme and not parts.host then
    misuse.raise(core.ValueError, "URL.build: a scheme without a host")
  end
  local self = new { path = "" }
  if parts.host then
    self = new { host = parse.host(parts.host), path = "/" }
    if parts.scheme then self = self:with_scheme(parts.scheme) end
    if parts.user then self = self:with_user(parts.user) end
    if parts.password then self = self:with_password(parts.password) end
    if parts.port then self = self:with_port(parts.port) end
  elseif parts.user or parts.password or parts.port then
    misuse.raise(core.ValueError, "URL.build: user, password and port need a host")
  end
  if parts.path then self = self:with_path(parts.path) end
  if parts.query then self = self:with_query(parts.query) end
  if parts.fragment then self = self:with_fragment(parts.fragment) end
  return self
end

--- What a link means on a page, as text. Raises ValueError.
---@param base string|url.URL
---@param ref string|url.URL
---@return string
function M.join(base, ref)
  return tostring(new(parse.resolve(parts_of(base, "url.join"), parts_of(ref, "url.join"))))
end

return M
