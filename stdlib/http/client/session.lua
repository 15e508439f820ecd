--- ClientSession: makes requests. It keeps connections, cookies and what its requests have in common.

local ClientResponse = require("http.client.response").ClientResponse
local Headers = require("http.core").Headers
local class = require "http.web.class"
local core = require "asyncio.core"
local entries = require "http.client.entries"
local http_core = require "http.core"
local misuse = require "asyncio.misuse"
local redirects = require "http.client.redirects"
local request = require "http.client.request"
local send = require "http.client.send"
local timeouts = require "http.client.timeout"
local tracing = require "http.client.tracing"
local urls = require "url"

local async, await, catch = core.async, core.await, core.catch
local blame, describe = misuse.blame, misuse.describe
local get_running_loop = core.get_running_loop
local make_response = ClientResponse._make
local is_redirect = redirects.statuses

local CONN <const>, RAW <const> = 2, 6 -- of a response's array part (http.client.response)

--- How many URLs a session remembers, twice: what they mean is worked out once.
local MAX_URLS <const> = 512

---@class http.ClientSession
---@field closed boolean
---@field connector any
---@field cookie_jar any
---@field headers http.Headers what all requests send; may be altered
---@field skip_auto_headers string[]
---@field auth any
---@field timeout http.ClientTimeout
---@field base_url url.URL?
---@field json_serialize fun(value: any): string
---@field connector_owner boolean
---@field raise_for_status boolean|function
---@field auto_decompress boolean
---@field trust_env boolean
---@field requote_redirect_url boolean
---@field trace_configs http.TraceConfig[]
---@field version string
---@field loop any the loop that it runs on
local ClientSession = class.define("ClientSession")

-- ---- making one ----

local OPTIONS = {
  "base_url", "connector", "cookies", "headers", "skip_auto_headers", "auth", "json_serialize", "cookie_jar",
  "connector_owner", "raise_for_status", "timeout", "auto_decompress", "trust_env", "requote_redirect_url",
  "trace_configs", "read_bufsize", "max_line_size", "max_field_size", "max_headers", "proxy", "proxy_auth", "ssl",
  "http2", "limit", "limit_per_host", "max_redirects", "max_body_size", "middlewares",
  "fallback_charset_resolver",
}

ClientSession.OPTIONS = OPTIONS

local defaults = {
  connector_owner = true, raise_for_status = false, auto_decompress = true, trust_env = false,
  requote_redirect_url = true, read_bufsize = 65536, max_line_size = 8190, max_field_size = 8190, max_headers = 128,
  max_redirects = 10, max_body_size = 0,
}

local function check(opts, name)
  local value, default = opts[name], defaults[name]
  if value == nil then return default end
  local kind = math.type(default) or type(default)
  if (math.type(value) or type(value)) ~= kind and not (name == "raise_for_status" and type(value) == "function") then
    local expected = kind == "integer" and "an integer" or "a " .. kind
    blame(core.TypeError, ("ClientSession: %s: %s was expected, got %s"):format(name, expected, describe(value)))
  elseif kind == "integer" and (value < 0 or value == 0 and name:find("^max_[lfh]")) then
    blame(core.ValueError, ("ClientSession: %s: a positive number was expected, got %d"):format(name, value))
  end
  return value
end

local function check_function(opts, name)
  local f = opts[name]
  if f == nil or type(f) == "function" then return f end
  blame(core.TypeError, ("ClientSession: %s: a function was expected, got %s"):format(name, describe(f)))
end

local function check_base(url)
  if url == nil then return nil end
  local ok, base = pcall(urls.parse, url)
  if not ok then
    local text = type(base) == "table" and base.message or tostring(base)
    blame(type(url) == "string" and core.ValueError or core.TypeError, "ClientSession: base_url: " .. tostring(text))
  elseif not base:is_absolute() or not base.scheme then
    blame(core.ValueError, ("ClientSession: base_url: an absolute URL was expected, got '%s'"):format(tostring(url)))
  elseif base.raw_path:sub(-1) ~= "/" then
    blame(core.ValueError, ("ClientSession: base_url: its path must end with a slash: '%s'"):format(tostring(url)))
  end
  return base
end

local function make_connector(opts)
  if opts.connector ~= nil then
    for _, name in ipairs { "limit", "limit_per_host", "http2" } do
      if opts[name] ~= nil then
        blame(core.ValueError, ("ClientSession: %s is the connector's, which was given, too"):format(name))
      end
    end
    local connector = opts.connector
    if type(connector) ~= "table" or not connector.take or not connector.release then
      blame(core.TypeError, "ClientSession: connector: a TCPConnector or UnixConnector was expected, got "
        .. describe(connector))
    end
    return connector
  end
  return require("http.client.connector").TCPConnector {
    limit = opts.limit, limit_per_host = opts.limit_per_host, http2 = opts.http2,
  }
end

local function make_jar(opts)
  local jar = opts.cookie_jar
  if jar == nil then
    jar = require("http.client.cookiejar").CookieJar()
  elseif not require("http.client.cookiejar").is(jar) then
    blame(core.TypeError, "ClientSession: cookie_jar: a CookieJar was expected, got " .. describe(jar))
  end
  if opts.cookies ~= nil then jar:update_cookies(opts.cookies) end
  return jar
end

local function accepted()
  local encodings, list = require "http.encodings", {}
  for _, name in ipairs { "gzip", "deflate", "br" } do
    if encodings.available(name) then list[#list + 1] = name end
  end
  return #list > 0 and table.concat(list, ", ") or "identity"
end

local function check_auth(auth, what)
  if auth == nil then return nil end
  if not require("http.client.auth").is(auth) then
    blame(core.TypeError, ("%s: auth: a BasicAuth or DigestAuth was expected, got %s"):format(what, describe(auth)))
  end
  return auth
end

-- The session's values of options that requests have, too: checked with the first request otherwise.
local function place_options(opts)
  if opts.ssl ~= nil then require("http.client.tls").check(opts.ssl, "ClientSession") end
  if opts.proxy ~= nil or opts.proxy_auth ~= nil then
    require("http.client.place").check_proxy(opts, "ClientSession")
  end
  return { ssl = opts.ssl, proxy = opts.proxy, proxy_auth = opts.proxy_auth }
end

---@param opts? table {base_url, headers, timeout, cookie_jar, cookies, connector, auth, raise_for_status, ...}
function ClientSession.new(cls, opts)
  core.options(opts, OPTIONS, "ClientSession")
  opts = opts or {}
  local skip = {}
  for _, name in ipairs(request.check_names(opts.skip_auto_headers or {}, "ClientSession: skip_auto_headers")) do
    skip[name:lower()] = true
  end
  local self = {
    _base = check_base(opts.base_url),
    _headers = opts.headers ~= nil and request.make_headers(opts.headers, "ClientSession: headers") or Headers(),
    _skip = skip, _auth = check_auth(opts.auth, "ClientSession"),
    _timeout = opts.timeout == nil and timeouts.default or timeouts.of(opts.timeout, "ClientSession: timeout"),
    _json_serialize = check_function(opts, "json_serialize"),
    _resolve_charset = check_function(opts, "fallback_charset_resolver"),
    _owner = check(opts, "connector_owner"),
    _raise_for_status = check(opts, "raise_for_status"), _auto_decompress = check(opts, "auto_decompress"),
    _trust_env = check(opts, "trust_env"), _requote = check(opts, "requote_redirect_url"),
    _trace_configs = opts.trace_configs ~= nil and tracing.check(opts.trace_configs) or {},
    _max_redirects = check(opts, "max_redirects"), _max_body_size = check(opts, "max_body_size"),
    _place_options = place_options(opts),
    _settings = request.settings(check(opts, "max_line_size"), check(opts, "max_field_size"),
      check(opts, "max_headers"), check(opts, "read_bufsize")),
    _agent = http_core.software, _accept_encoding = accepted(),
    _urls = {}, _old_urls = {}, _n = 0, _closed = false, _exposed = false, _place = misuse.place(),
  }
  if opts.middlewares ~= nil then
    self._middlewares = require("http.client.middlewares").check(opts.middlewares, "ClientSession: middlewares")
  end
  self._jar = make_jar(opts)
  self._connector = make_connector(opts)
  -- the short way is for sessions of which nothing is asked that could alter a request
  self._plain = #self._trace_configs == 0 and not self._auth and not self._middlewares
  return setmetatable(self, cls)
end

-- ---- what it knows of URLs ----

--- For requests: what the URL means. Raises InvalidURL, TypeError.
function ClientSession:_entry(method, url)
  local key = type(url) == "string" and url or tostring(url)
  local entry = self._urls[key]
  if entry then return entry end
  entry = self._old_urls[key] or entries.make(self, method, url)
  if self._n == MAX_URLS then self._old_urls, self._urls, self._n = self._urls, {}, 0 end
  self._urls[key], self._n = entry, self._n + 1
  return entry
end

-- ---- requests ----

local run = send.run

local function begin(req)
  local total = req.timeout.total
  req.deadline = total and get_running_loop():time() + total or nil
  req.settings = req.settings or req.session._settings
end

local go = async(function(req)
  begin(req)
  return run(req)
end, "ClientSession.request")

-- From the short way to the long one, when something is out of the ordinary. `conn` was lent.
local function go_on(self, method, entry, deadline, resp, err, reused)
  local req = request.make(self, method, entry.real_url)
  req.entry, req.deadline, req.settings = entry, deadline, self._settings
  if err ~= nil and not send.may_retry(req, err, reused) then error(send.told(req, err), 0) end
  return run(req, resp)
end

-- A GET or HEAD of which nothing special is asked, on a connection that is there: what most requests are.
local short = async(function(self, method, entry)
  local timeout = self._timeout
  local total = timeout.total
  local deadline = total and get_running_loop():time() + total or nil
  local connector = self._connector
  local conn = connector:take(entry.place)
  if not conn then return go_on(self, method, entry, deadline) end
  local lines = entry.lines
  local cookie = self._jar:cookie_header(entry.url)
  if cookie then lines = request.with(lines, "Cookie", cookie) end
  local ok, x = pcall(conn.request, conn, method, entry.target, lines)
  if not ok then
    x = send.unsent(conn, x)
    connector:release(conn, false)
    return go_on(self, method, entry, deadline, nil, x, true)
  end
  x:deadline(deadline, timeout.sock_read)
  local status
  ok, status = catch(await, x:response())
  if not ok then
    x:abort()
    connector:release(conn, false)
    return go_on(self, method, entry, deadline, nil, status, true)
  end
  local resp = make_response(status, method, x, conn, entry, lines, self, false)
  local body = x:take()
  if body then
    resp[RAW], resp[CONN] = body, false
    connector:release(conn, true)
  else
    connector:hold(conn, resp)
  end
  if status ~= 101 and (status < 300 or not is_redirect[status]) then
    if x:header("Set-Cookie") then self._jar:update_from(entry.url, resp.headers:getall("Set-Cookie")) end
    local raise = self._raise_for_status
    if not raise or raise == true and status < 400 then return resp end
  end
  return go_on(self, method, entry, deadline, resp)
end, "ClientSession.request")

local function check_self(self, name)
  if not class.is(self, ClientSession) then
    misuse.no_object(core.TypeError, name, "a ClientSession", self)
  elseif self._closed or self._connector.closed then
    blame(core.RuntimeError, "Session is closed")
  end
end

--- A request. Awaits to a ClientResponse, which is to be closed: `local resp <close> = await(session:get(url))`.
--- Raises at the call TypeError, ValueError, InvalidURL for arguments that cannot be; the errors of http.client.errors
--- when it is awaited.
---@param method string
---@param url string|url.URL
---@param opts? table {params, headers, json, data, cookies, auth, timeout, allow_redirects = true, max_redirects = 10,
--- raise_for_status, ssl, server_hostname, proxy, proxy_auth, proxy_headers, skip_auto_headers, compress, chunked,
--- expect100, read_until_eof, auto_decompress, max_body_size, read_bufsize, max_line_size, max_field_size, max_headers,
--- middlewares, trace_request_ctx}
---@return any awaitable of a ClientResponse
function ClientSession:request(method, url, opts)
  check_self(self, "request")
  return go(request.make(self, request.check_method(method), url, opts))
end

--- For WebSockets: the response keeps its exchange and connection (`resp:_detach()`).
function ClientSession:_request(method, url, opts, how)
  check_self(self, "request")
  return go(request.make(self, method, url, opts, how and how.upgrade))
end

local function verb(method)
  local name = method:lower()
  if method == "GET" or method == "HEAD" then
    local follows = method == "GET"
    return function(self, url, opts)
      if opts == nil and self._plain and follows then
        local entry = self._urls[url]
        if entry and entry.lines then return short(self, method, entry) end
      end
      check_self(self, name)
      local req = request.make(self, method, url, opts)
      if not follows and not (opts and opts.allow_redirects) then req.redirects = false end
      return go(req)
    end
  end
  return function(self, url, opts)
    check_self(self, name)
    return go(request.make(self, method, url, opts))
  end
end

---@type fun(self: http.ClientSession, url: string|url.URL, opts?: table): any
ClientSession.get = verb "GET"
---@type fun(self: http.ClientSession, url: string|url.URL, opts?: table): any
ClientSession.options = verb "OPTIONS"
---@type fun(self: http.ClientSession, url: string|url.URL, opts?: table): any
ClientSession.head = verb "HEAD"
---@type fun(self: http.ClientSession, url: string|url.URL, opts?: table): any
ClientSession.post = verb "POST"
---@type fun(self: http.ClientSession, url: string|url.URL, opts?: table): any
ClientSession.put = verb "PUT"
---@type fun(self: http.ClientSession, url: string|url.URL, opts?: table): any
ClientSession.patch = verb "PATCH"
---@type fun(self: http.ClientSession, url: string|url.URL, opts?: table): any
ClientSession.delete = verb "DELETE"

--- Opens a WebSocket: see http.client.websocket.
---@param url string|url.URL ws://, wss://, or http and https
---@param opts? table
---@return any awaitable of a ClientWebSocketResponse
function ClientSession:ws_connect(url, opts)
  check_self(self, "ws_connect")
  return require("http.client.websocket").connect(self, url, opts)
end

-- ---- its end ----

local close = async(function(self)
  if self._closed then return end
  self._closed, self._plain = true, false
  if rawget(self, "_websockets") then require("http.client.websocket").drop(self) end
  if self._owner then await(self._connector:close()) end
end, "ClientSession.close")

--- Closes it, and its connections unless the connector belongs to others. A second time nothing happens.
---@return any awaitable
function ClientSession:close()
  if not self then misuse.no_object(core.TypeError, "close", "a ClientSession", self) end
  return close(self)
end

function ClientSession:__close() await(close(self)) end

--- Gives the connector up: it is neither closed nor used by this session any more.
---@return any connector
function ClientSession:detach()
  local connector = self._connector
  self._closed, self._plain, self._owner = true, false, false
  return connector
end

--- For http.request: closes without waiting.
function ClientSession:_drop()
  if self._closed then return end
  self._closed, self._plain = true, false
  if self._owner then core.create_task(self._connector:close()) end
end

function ClientSession:__gc()
  if self._closed or self._connector.closed then return end
  local place = self._place and " made at " .. self._place or ""
  warn("ResourceWarning: Unclosed client session" .. place .. ": call close()")
end

-- ---- fields ----

local fields = ClientSession.__get

function fields.closed(self) return self._closed or self._connector.closed == true end

function fields.connector(self) return not self._closed and self._connector or nil end

function fields.cookie_jar(self) return self._jar end

function fields.headers(self)
  self._exposed = true -- they may be altered from now on: nothing of them is kept
  self._plain = false
  for _, entry in next, self._urls do entry.lines, entry.typed = nil, nil end
  for _, entry in next, self._old_urls do entry.lines, entry.typed = nil, nil end
  return self._headers
end

function fields.skip_auto_headers(self)
  local list = {}
  for name in next, self._skip do list[#list + 1] = name end
  table.sort(list)
  return list
end

function fields.auth(self) return self._auth end

function fields.timeout(self) return self._timeout end

function fields.base_url(self) return self._base end

function fields.json_serialize(self) return self._json_serialize or require("json").encode end

function fields.connector_owner(self) return self._owner end

function fields.raise_for_status(self) return self._raise_for_status end

function fields.auto_decompress(self) return self._auto_decompress end

function fields.trust_env(self) return self._trust_env end

function fields.requote_redirect_url(self) return self._requote end

function fields.trace_configs(self) return self._trace_configs end

function fields.version() return "1.1" end

function fields.loop() return get_running_loop() end

function ClientSession:__tostring()
  return ("<ClientSession%s>"):format(self._closed and " closed" or "")
end

-- Classes of scripts close, and are warned of, as this one.
local extend = ClientSession.extend

function ClientSession.extend(parent, name)
  local cls = extend(parent, name)
  cls.extend = parent.extend
  for _, event in ipairs { "__close", "__gc", "__tostring" } do cls[event] = parent[event] end
  return cls
end

return { ClientSession = ClientSession }
