--- Requests before they are sent: what a call's arguments and the session's defaults come to. Everything that can be
--- checked without the network is checked here, at the call.

local Headers = require("http.core").Headers
local core = require "asyncio.core"
local entries = require "http.client.entries"
local misuse = require "asyncio.misuse"
local redirects = require "http.client.redirects"
local timeouts = require "http.client.timeout"
local tracing = require "http.client.tracing"

local blame, describe = misuse.blame, misuse.describe
local find, format, lower, upper = string.find, string.format, string.lower, string.upper

local M = {}

-- ---- RequestInfo ----

--- What was asked: of responses and errors.
---@class http.RequestInfo
---@field method string
---@field url url.URL without its fragment
---@field real_url url.URL
---@field headers http.Headers as they were sent
local RequestInfo = { __name = "RequestInfo" }
RequestInfo.__index = RequestInfo
M.RequestInfo = setmetatable(RequestInfo, {
  __name = "class RequestInfo",
  __call = function(cls, url, method, headers, real_url)
    return setmetatable({ url = url, method = method, headers = headers, real_url = real_url or url }, cls)
  end,
})

function RequestInfo:__tostring() return ("<RequestInfo %s %s>"):format(self.method, self.real_url) end

--- Headers of the array {name, value, name, value...}.
---@param lines string[]
---@return http.Headers
function M.headers_of(lines)
  local headers = Headers()
  for i = 1, #lines, 2 do headers:add(lines[i], lines[i + 1]) end
  return headers
end

-- ---- headers ----

local function skips(session, opts)
  local more = opts and opts.skip_auto_headers
  if not more then return session._skip end
  local all = setmetatable({}, { __index = session._skip })
  for _, name in ipairs(M.check_names(more, "skip_auto_headers")) do all[lower(name)] = true end
  return all
end

--- A list of header names as an option; raises TypeError.
function M.check_names(list, what)
  if type(list) ~= "table" then
    blame(core.TypeError, format("%s: a list of names was expected, got %s", what, describe(list)))
  end
  for _, name in ipairs(list) do
    if type(name) ~= "string" then
      blame(core.TypeError, format("%s: names of headers were expected, got %s", what, describe(name)))
    end
  end
  return list
end

--- Headers of an option. Raises TypeError and ValueError: for names that are no token, for line breaks in values.
---@param value any
---@param what string
---@return http.Headers
function M.make_headers(value, what)
  if type(value) ~= "table" and type(value) ~= "userdata" then
    blame(core.TypeError, format("%s: a table or Headers was expected, got %s", what, describe(value)))
  end
  local ok, headers = pcall(Headers, value)
  if ok then return headers end
  local err = headers
  if type(err) ~= "table" then error(err, 0) end
  local text = tostring(err.message):gsub("^.-Headers: ", "")
  blame(core.isinstance(err, core.ValueError) and core.ValueError or core.TypeError, what .. ": " .. text)
end

--- The defaults, with what the request has of its own in place of those of the same names.
---@param defaults http.Headers
---@param own http.Headers?
---@return http.Headers
function M.merge(defaults, own)
  if not own then return defaults end
  if #defaults == 0 then return own end
  local all = Headers()
  local lines = defaults:array()
  for i = 1, #lines, 2 do
    if not own:contains(lines[i]) then all:add(lines[i], lines[i + 1]) end
  end
  all:extend(own)
  return all
end

--- The array of a request's headers, without cookies and what depends on its body.
---@param session http.ClientSession
---@param entry http.client.Entry
---@param own http.Headers the session's and the request's
---@param skip table<string, boolean>
---@return string[]
function M.lines(session, entry, own, skip)
  local lines, n = {}, 0
  if not own:contains("Host") then lines[1], lines[2], n = "Host", entry.host, 2 end
  local array = own:array()
  for i = 1, #array, 2 do
    lines[n + 1], lines[n + 2], n = array[i], tostring(array[i + 1]), n + 2
  end
  if not skip.accept and not own:contains("Accept") then lines[n + 1], lines[n + 2], n = "Accept", "*/*", n + 2 end
  if not skip["accept-encoding"] and not own:contains("Accept-Encoding") then
    lines[n + 1], lines[n + 2], n = "Accept-Encoding", session._accept_encoding, n + 2
  end
  if not skip["user-agent"] and not own:contains("User-Agent") then
    lines[n + 1], lines[n + 2], n = "User-Agent", session._agent, n + 2
  end
  local more = entry.place.headers
  if more then table.move(more, 1, #more, n + 1, lines) end
  return lines
end

-- ---- bodies ----

local function given(opts)
  local data, json = opts.data, opts.json
  if data ~= nil and json ~= nil then
    blame(core.ValueError, "data and json: one of the two was expected, not both")
  end
  return data, json
end

-- JSON of a value; raises what says which argument it was.
local function serialize(session, value)
  local encode = session._json_serialize or require("json").encode
  local ok, text = pcall(encode, value)
  if not ok then
    local err = text
    local reason = tostring(type(err) == "table" and err.message or err):gsub("^%S+:%d+: ", "")
    local class = core.isinstance(err, core.ValueError) and core.ValueError or core.TypeError
    local place = misuse.place()
    error(class(format("%sjson: %s", place and place .. ": " or "", reason), { cause = err }), 0)
  end
  if type(text) ~= "string" then
    blame(core.TypeError, "json_serialize: a string was expected of it, got " .. describe(text))
  end
  return text
end

local codings = { gzip = "gzip", deflate = "deflate", br = "br", [true] = "deflate" }

local function check_compress(value)
  if not value then return nil end
  local coding = codings[value]
  if not coding then
    blame(type(value) == "string" and core.ValueError or core.TypeError,
      "compress: 'gzip', 'deflate', 'br' or a boolean was expected, got "
        .. (type(value) == "string" and format("%q", value) or describe(value)))
  end
  return coding
end

--- body, content_type, payload: see http.client.payload.
local function body_of(session, opts, own)
  local data, json = given(opts)
  local compress = check_compress(opts.compress)
  local body, kind, payload
  if json ~= nil then
    body, kind = serialize(session, json), "application/json"
  elseif data ~= nil then
    body, kind, payload = require("http.client.payload").of(data, own:get("Content-Type"))
  else
    return nil
  end
  if compress and body ~= "" then
    if own:contains("Content-Encoding") then
      blame(core.ValueError, "compress cannot be set if Content-Encoding is in the headers")
    end
    body, payload = require("http.client.payload").compressed(body, payload, compress)
  end
  return body, kind, payload, body ~= "" and compress or nil
end

--- Headers that frame the body are the connection's affair: those that are given must agree with it.
---@return http.Headers, boolean? chunked, integer? length of a body that comes in parts
function M.check_framing(own, body, chunked, compress)
  local coding, length = own:get("Transfer-Encoding"), own:get("Content-Length")
  if coding then
    if lower(coding) ~= "chunked" then
      blame(core.ValueError, format("headers: Transfer-Encoding: 'chunked' was expected, got %q", coding))
    elseif chunked then
      blame(core.ValueError, "chunked cannot be set if there is a header Transfer-Encoding: chunked")
    end
    own, chunked = own:copy(), true
    own["Transfer-Encoding"] = nil
  end
  if length then
    if chunked then blame(core.ValueError, "chunked cannot be set if there is a header Content-Length") end
    if type(body) == "string" and length ~= tostring(#body) then
      blame(core.ValueError, format("headers: Content-Length is %s, the body has %d bytes", length, #body))
    elseif body == true then
      if compress then blame(core.ValueError, "compress cannot be set if there is a header Content-Length") end
      local n = find(length, "^%d+$") and math.tointeger(length)
      if not n then blame(core.ValueError, format("headers: Content-Length: a number was expected, got %q", length)) end
      own = own:copy()
      own["Content-Length"] = nil
      return own, chunked, n
    end
  end
  return own, chunked
end

-- ---- requests ----

local OPTIONS = {
  "params", "data", "json", "cookies", "headers", "skip_auto_headers", "auth", "allow_redirects", "max_redirects",
  "compress", "chunked", "expect100", "raise_for_status", "read_until_eof", "proxy", "proxy_auth", "proxy_headers",
  "timeout", "ssl", "server_hostname", "trace_request_ctx", "auto_decompress", "max_body_size", "middlewares",
  "read_bufsize", "max_line_size", "max_field_size", "max_headers",
}
M.OPTIONS = OPTIONS

local kinds = {
  allow_redirects = "boolean", chunked = "boolean", expect100 = "boolean", read_until_eof = "boolean",
  auto_decompress = "boolean", max_redirects = "integer", max_body_size = "integer", read_bufsize = "integer",
  max_line_size = "integer", max_field_size = "integer", max_headers = "integer",
}
local positive = { max_line_size = true, max_field_size = true, max_headers = true }
local known = {}
for _, name in ipairs(OPTIONS) do known[name] = kinds[name] or true end

local function check_options(opts, who)
  if type(opts) ~= "table" then
    blame(core.TypeError, format("%s: a table of keyword arguments was expected, got %s", who, describe(opts)))
  end
  for key, value in next, opts do
    local kind = known[key]
    if not kind then
      local names = table.concat(OPTIONS, ", ")
      blame(core.TypeError, format("%s() got an unexpected keyword argument '%s' (expected: %s)", who, key, names))
    elseif key == "raise_for_status" and type(value) ~= "boolean" and type(value) ~= "function"
      and not core.iscoroutinefunction(value) then
      blame(core.TypeError, format("%s: raise_for_status: a boolean or a function was expected, got %s", who,
        describe(value)))
    elseif kind ~= true and type(value) ~= kind and math.type(value) ~= kind then
      blame(core.TypeError, format("%s: %s: a%s was expected, got %s", who, key,
        kind == "integer" and "n integer" or " boolean", describe(value)))
    elseif kind == "integer" and (value < 0 or value == 0 and positive[key]) then
      local least = positive[key] and 1 or 0
      blame(core.ValueError, format("%s: %s: %d or more was expected, got %d", who, key, least, value))
    end
  end
end

--- What connections are made with: settings of http.client.core.
function M.settings(max_line, max_field, max_headers, read_bufsize)
  return {
    max_line = max_line, max_field = max_field, max_head = math.max(65536, 2 * max_field), max_headers = max_headers,
    read_bufsize = read_bufsize,
  }
end

-- Those of a request that has its own, kept by the session: connectors tell them apart by the table. And their text,
-- as such requests have connections of their own.
local function own_settings(session, opts)
  if not (opts.read_bufsize or opts.max_line_size or opts.max_field_size or opts.max_headers) then return nil end
  local default = session._settings
  local values = {
    opts.max_line_size or default.max_line, opts.max_field_size or default.max_field,
    opts.max_headers or default.max_headers, opts.read_bufsize or default.read_bufsize,
  }
  local key = table.concat(values, " ")
  session._own_settings = session._own_settings or setmetatable({}, { __mode = "v" })
  local settings = session._own_settings[key]
  if not settings then
    settings = M.settings(table.unpack(values))
    session._own_settings[key] = settings
  end
  return settings, key
end

--- A method in capitals; raises TypeError, ValueError for what is no token.
---@param method any
---@return string
function M.check_method(method)
  if type(method) ~= "string" then
    blame(core.TypeError, "request: method: a string was expected, got " .. describe(method))
  elseif not find(method, "^[%w!#$%%&'*+.^_`|~-]+$") then
    blame(core.ValueError, format("request: method: %q is none: letters, digits and !#$%%&'*+.^_`|~- are", method))
  end
  method = upper(method)
  if method == "CONNECT" then
    blame(core.ValueError, "request: method: CONNECT asks proxies for a tunnel: see the option proxy")
  end
  return method
end

--- The cookies of a request's option; raises TypeError, ValueError.
function M.check_cookies(cookies)
  local ok, err = pcall(require("http.client.cookiejar").pairs_of, cookies)
  if ok then return end
  local class = core.isinstance(err, core.ValueError) and core.ValueError or core.TypeError
  local text = tostring(type(err) == "table" and err.message or err):gsub("^%S+:%d+: ", ""):gsub("^cookies: ", "")
  blame(class, "cookies: " .. text)
end

---@class http.client.Request
---@field session http.ClientSession
---@field method string
---@field url url.URL
---@field entry http.client.Entry
---@field own http.Headers what the session and the request have of headers
---@field lines string[]
---@field body string|integer|boolean|nil
---@field payload any
---@field length integer? of the payload, as a header says
---@field timeout http.ClientTimeout
---@field deadline number? loop time; set when it begins
---@field history http.ClientResponse[]
---@field traces http.client.Traces?

--- A request that has been checked. Raises TypeError, ValueError, InvalidURL.
---@param session http.ClientSession
---@param method string in capitals
---@param url string|url.URL
---@param opts? table
---@param upgrade? boolean
---@return http.client.Request
function M.make(session, method, url, opts, upgrade)
  opts = opts or {}
  check_options(opts, lower(method))
  local own = session._headers
  if opts.headers ~= nil then
    own = M.merge(own, M.make_headers(opts.headers, "headers"))
    upgrade = upgrade or own:contains("Upgrade") and "headers" or nil -- not by HTTP/2, nor by a proxy that reads it
  end
  local special = opts.ssl ~= nil or opts.proxy ~= nil or opts.proxy_auth ~= nil or opts.proxy_headers ~= nil
    or opts.server_hostname ~= nil or upgrade
  local settings, variant = own_settings(session, opts) -- variant: connections with these settings alone
  if settings then
    local all = { variant = variant }
    for key, value in next, opts do all[key] = value end
    opts, special = all, true
  end
  local entry
  if opts.params ~= nil then
    local parsed = entries.parse(session._base, method, url, upgrade == true and "ws_connect" or nil)
    local ok, extended = pcall(parsed.extend_query, parsed, opts.params)
    if not ok then
      local text = tostring(type(extended) == "table" and extended.message or extended)
      text = text:gsub("^.-URL:[%w_]+: ", ""):gsub("^[^:\n]*:%d+: ", "")
      blame(core.isinstance(extended, core.ValueError) and core.ValueError or core.TypeError, "params: " .. text)
    end
    url = extended
  end
  entry = special and entries.special(session, method, url, opts, upgrade) or session:_entry(method, url)
  local auth = opts.auth
  if auth ~= nil then
    if not require("http.client.auth").is(auth) then
      blame(core.TypeError, "auth: a BasicAuth or DigestAuth was expected, got " .. describe(auth))
    elseif entry.auth then
      blame(core.ValueError, "auth: the URL has a user, too: one of the two was expected")
    end
  end
  local default = session._auth
  if default and session._base and not redirects.same_origin(session._base, entry.url) then default = nil end
  auth = auth or entry.auth or default
  if auth and own:contains("Authorization") then
    blame(core.ValueError, "auth: there is a header Authorization, too: one of the two was expected")
  end
  local body, kind, payload, coding = body_of(session, opts, own)
  if body == nil and (method == "POST" or method == "PUT" or method == "PATCH") then
    kind = "application/octet-stream"
  end
  if opts.cookies ~= nil then M.check_cookies(opts.cookies) end
  local chunked, length
  own, chunked, length = M.check_framing(own, body, opts.chunked, coding)
  local decompress, limit, around = opts.auto_decompress, opts.max_body_size, session._middlewares
  if opts.middlewares ~= nil then
    around = require("http.client.middlewares").check(opts.middlewares, "middlewares")
  end
  return {
    session = session, method = method, url = entry.url, entry = entry, own = own, skip = skips(session, opts),
    body = body, kind = kind, payload = payload, coding = coding, chunked = chunked,
    length = length, expect = opts.expect100, auth = auth, cookies = opts.cookies,
    redirects = opts.allow_redirects ~= false, max_redirects = opts.max_redirects or session._max_redirects,
    raise = opts.raise_for_status, decompress = decompress, max_body_size = limit, upgrade = upgrade,
    timeout = opts.timeout == nil and session._timeout or timeouts.of(opts.timeout, "timeout"),
    settings = settings, middlewares = around and around[1] and around or nil, no_eof = opts.read_until_eof == false,
    place_options = special and opts or nil, history = {},
    traces = tracing.of(session, session._trace_configs, opts.trace_request_ctx),
  }
end

-- ---- what goes over the wire ----

local function with(lines, name, value)
  local n = #lines
  local all = table.move(lines, 1, n, 1, {})
  all[n + 1], all[n + 2] = name, value
  return all
end
M.with = with

-- Those that are kept: others may have a boundary in them, and be as many as there are requests.
local kept_types = {
  ["application/json"] = true, ["application/x-www-form-urlencoded"] = true, ["text/plain; charset=utf-8"] = true,
  ["application/octet-stream"] = true,
}

-- Content-Type, for a request whose other headers are the session's.
local function typed(entry, lines, kind)
  if not kept_types[kind] then return with(lines, "Content-Type", kind) end
  local cache = entry.typed
  if not cache then
    cache = {}
    entry.typed = cache
  end
  local all = cache[kind]
  if not all then
    all = with(lines, "Content-Type", kind)
    cache[kind] = all
  end
  return all
end

--- For sessions with trust_env: what .netrc has for the host. It is read once, when it is first asked for.
local function from_netrc(session, entry, own)
  if own:contains("Authorization") then return nil end
  session._netrc = session._netrc or require("http.client.netrc").load()
  return session._netrc:auth(entry.url.raw_host)
end

--- The headers of the request, complete: what it has itself, cookies, authorization, type of the body.
---@param req http.client.Request
---@return string[]
function M.complete(req)
  local session, entry, own = req.session, req.entry, req.own
  local plain = own == session._headers and req.skip == session._skip
  local lines = plain and entry.lines or M.lines(session, entry, own, req.skip)
  local netrc = not req.auth and session._trust_env and from_netrc(session, entry, own) or nil
  local auth, digest = req.auth or netrc, entry.place.absolute and entry.place.proxy.digest
  -- those with lines go by the session's short way: not if something is added to them
  local kept = plain and not session._exposed and not digest and not (session._trust_env and auth)
  if kept then entry.lines = lines end
  local kind = req.kind
  if kind and not req.skip["content-type"] and not own:contains("Content-Type") then
    lines = plain and not session._exposed and typed(entry, lines, kind) or with(lines, "Content-Type", kind)
  end
  if req.coding then lines = with(lines, "Content-Encoding", req.coding) end
  if req.expect and not own:contains("Expect") then lines = with(lines, "Expect", "100-continue") end
  local cookie = session._jar:cookie_header(entry.url, req.cookies)
  if cookie then
    local given_cookies = own:get("Cookie")
    if given_cookies then
      lines = table.move(lines, 1, #lines, 1, {})
      for i = 1, #lines, 2 do
        if lower(lines[i]) == "cookie" then lines[i + 1] = given_cookies .. "; " .. cookie end
      end
    else
      lines = with(lines, "Cookie", cookie)
    end
  end
  if auth then
    local text = type(req.body) == "string" and req.body or nil
    local value = auth:authorize(req.method, entry.url, text, req.payload)
    req.sent_auth = value
    if value then lines = with(lines, "Authorization", value) end
  end
  if digest then
    local text = type(req.body) == "string" and req.body or nil
    req.sent_to_proxy = digest:authorize(req.method, entry.place.proxy.url, text, req.payload, entry.target)
    if req.sent_to_proxy then lines = with(lines, "Proxy-Authorization", req.sent_to_proxy) end
  end
  return lines
end

return M
