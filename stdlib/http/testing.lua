--- http.testing: servers and requests for tests.

local core = require "asyncio.core"
local misuse = require "asyncio.misuse"

local async, await = core.async, core.await

local M = {}

--- A TCP port of 127.0.0.1 on which nothing listens now.
---@return integer
function M.unused_port()
  local socket <close> = require("socket").socket()
  socket:bind({ "127.0.0.1", 0 })
  return socket:getsockname()[2]
end

local mock_options = {
  "headers", "body", "match_info", "version", "app", "scheme", "peername", "sockname", "transport_info", "keep_alive",
  "payload", "client_max_size", "sslcontext",
}

--- A request that came over no connection, for calling a handler with. Also gives the exchange (http.mock), which
--- keeps what is sent: `exchange.status`, `exchange.sent_headers`, `exchange.body`.
---@param method string
---@param path string with the query
---@param opts? table {headers, body or payload (a StreamReader), match_info, version, app, scheme, sslcontext (any: it
--- is https), peername, sockname, transport_info, keep_alive, client_max_size}
---@return http.web.Request request, http.mock.Exchange exchange
function M.make_mocked_request(method, path, opts)
  core.options(opts, mock_options, "make_mocked_request")
  if type(method) ~= "string" or type(path) ~= "string" then
    misuse.blame(core.TypeError, "make_mocked_request: a method and a path were expected, got "
      .. misuse.describe(method) .. " and " .. misuse.describe(path))
  end
  opts = opts or {}
  local app = opts.app or require("http.web").Application()
  app:freeze()
  local x = require("http.mock").exchange(method, path, opts)
  if opts.sslcontext then x._scheme = "https" end
  local route, params = app.router:_resolve(method, x:path(), x:authority())
  if not route then route = app._missing.not_found end
  local copy
  if opts.match_info then
    copy = setmetatable({}, route.match_meta)
    for key, value in next, opts.match_info do copy[key] = value end
  end
  local request = require("http.web.request")._make(x, route, copy or params or false)
  if opts.client_max_size then rawset(request, "client_max_size", opts.client_max_size) end
  return request, x
end

--- Answers a mocked exchange as the server does: route, middlewares, handler, errors.
---@param app http.web.Application
---@param x http.mock.Exchange
---@param opts? table those of http.web.server.handler
---@return any awaitable of the exchange
M.answer = async(function(app, x, opts)
  local handler = require("http.web.server").handler(app, opts)
  local left = 1
  await(handler(function()
    left = left - 1
    if left == 0 then return x, x:method(), x:path() end
  end))
  return x
end, "answer")

-- ---- servers ----

local class = require "http.web.class"

--- A server of an application on a port of its own.
---@class http.testing.TestServer
---@field app http.web.Application
---@field host string
---@field port integer? once it has been started
---@field scheme string
local TestServer = class.define("TestServer")
TestServer.__open = true
M.TestServer = TestServer

local server_options = {
  "host", "port", "ssl", "settings", "access_log", "access_log_format", "handler_cancellation", "debug",
}

---@param app http.web.Application
---@param opts? table {host = "127.0.0.1", port = 0, ssl, settings (http.core's), access_log, access_log_format,
--- handler_cancellation, debug}
function TestServer.new(cls, app, opts)
  core.options(opts, server_options, "TestServer")
  if not class.is(app, require("http.web").Application) then
    misuse.blame(core.TypeError, "TestServer: an Application was expected, got " .. misuse.describe(app))
  end
  opts = opts or {}
  return setmetatable({
    app = app, host = opts.host or "127.0.0.1", scheme = opts.ssl and "https" or "http", opts = opts, port = nil,
  }, cls)
end

--- Starts the application and listens.
---@return any awaitable of the server
TestServer.start_server = async(function(self)
  if self.server then return self end
  local opts = self.opts
  local handler = require("http.web.server").handler(self.app, {
    access_log = opts.access_log, access_log_format = opts.access_log_format,
    handler_cancellation = opts.handler_cancellation, debug = opts.debug,
  })
  await(self.app:startup())
  self.settings = require("http.core").settings(opts.settings or {})
  local how = { http = self.settings, ssl = opts.ssl }
  local ok, server = core.catch(await, require("asyncio").start_server(handler, self.host, opts.port or 0, how))
  if not ok then
    await(self.app:shutdown())
    await(self.app:cleanup())
    error(server, 0)
  end
  self.server, self.port = server, server.sockets[1]:getsockname()[2]
  return self
end, "TestServer.start_server")

--- `async with testing.TestServer(app) as server do`
TestServer.__aenter = TestServer.start_server

--- The URL of a path. Raises ValueError for a URL of another host.
---@param path? string|url.URL "/"
---@return string
function TestServer:make_url(path)
  if not self.port then misuse.blame(core.RuntimeError, "make_url: the server has not been started") end
  local text = path == nil and "/" or path
  if type(text) ~= "string" and not pcall(require("url").parse, text) then
    misuse.blame(core.TypeError, "make_url: a path was expected, got " .. misuse.describe(path))
  end
  text = tostring(text)
  if text:find("^%a[%w+.-]*:") or text:find("^//") then
    misuse.blame(core.ValueError, ("make_url: a path was expected, got %q"):format(text))
  end
  if text ~= "" and text:sub(1, 1) ~= "/" then text = "/" .. text end
  local host = self.host:find(":", 1, true) and "[" .. self.host .. "]" or self.host
  return ("%s://%s:%d%s"):format(self.scheme, host, self.port, text)
end

--- Stops listening, lets the requests under way end, and the application. A second time nothing happens.
---@return any awaitable
TestServer.close = async(function(self)
  local server = self.server
  if not server or self.closed then return end
  self.closed = true
  server:close()
  await(self.app:shutdown())
  self.settings:shutdown()
  await(server:wait_closed())
  await(self.app:cleanup())
end, "TestServer.close")

function TestServer:__close() await(self:close()) end

-- ---- clients ----

--- A session that asks a server under test: paths in place of URLs.
---@class http.testing.TestClient
---@field server http.testing.TestServer
---@field app http.web.Application
---@field session http.ClientSession
---@field host string
---@field port integer? once it has been started
local TestClient = class.define("TestClient")
TestClient.__open = true
M.TestClient = TestClient

local get = TestClient.__get
function get.app(self) return self.server.app end
function get.host(self) return self.server.host end
function get.port(self) return self.server.port end

--- The session keeps cookies of addresses without a name, too.
function get.session(self)
  local http = require "http"
  local opts = {}
  for key, value in next, self._opts do opts[key] = value end
  if opts.cookie_jar == nil then opts.cookie_jar = http.CookieJar { unsafe = true } end
  local session = http.ClientSession(opts)
  rawset(self, "session", session)
  return session
end

---@param server http.testing.TestServer|http.web.Application an Application gets a server of its own
---@param opts? table those of ClientSession
function TestClient.new(cls, server, opts)
  if class.is(server, require("http.web").Application) then server = TestServer(server) end
  if not class.is(server, TestServer) then
    misuse.blame(core.TypeError, "TestClient: a TestServer or an Application was expected, got "
      .. misuse.describe(server))
  elseif opts ~= nil and type(opts) ~= "table" then
    misuse.blame(core.TypeError, "TestClient: ClientSession's options were expected, got " .. misuse.describe(opts))
  end
  local weak = { __mode = "k" }
  return setmetatable({
    server = server, _opts = opts or {}, _responses = setmetatable({}, weak), _websockets = setmetatable({}, weak),
  }, cls)
end

--- Starts the server.
---@return any awaitable of the client
TestClient.start_server = async(function(self)
  local session = self.session -- what is wrong with its options is told before anything is started
  local ok, err = core.catch(await, self.server:start_server())
  if not ok then
    await(session:close())
    error(err, 0)
  end
  return self
end, "TestClient.start_server")

--- `async with testing.TestClient(app) as client do`
TestClient.__aenter = TestClient.start_server

--- The URL of a path. Raises ValueError for a URL of another host.
---@param path? string|url.URL "/"
---@return string
function TestClient:make_url(path) return self.server:make_url(path) end

-- The session, and the URL of a path.
local function reach(self, path)
  if self.closed then misuse.blame(core.RuntimeError, "Session is closed") end
  local url = self.server:make_url(path)
  return self.session, url
end

local keep = async(function(awaitable, all)
  local value = await(awaitable)
  all[value] = true
  return value
end, "TestClient.request")

--- As ClientSession:request, with a path.
---@param method string
---@param path string
---@param opts? table
---@return any awaitable of an http.ClientResponse
function TestClient:request(method, path, opts)
  local session, url = reach(self, path)
  return keep(session:request(method, url, opts), self._responses)
end

for _, verb in ipairs { "get", "options", "head", "post", "put", "patch", "delete" } do
  TestClient[verb] = function(self, path, opts)
    local session, url = reach(self, path)
    return keep(session[verb](session, url, opts), self._responses)
  end
end

--- As ClientSession:ws_connect, with a path.
---@param path string
---@param opts? table
---@return any awaitable of an http.ClientWebSocketResponse
function TestClient:ws_connect(path, opts)
  local session, url = reach(self, path)
  return keep(session:ws_connect(url, opts), self._websockets)
end

--- Closes what is open of responses and WebSockets, the session and the server. A second time nothing happens.
---@return any awaitable
TestClient.close = async(function(self)
  if self.closed then return end
  self.closed = true
  for resp in next, self._responses do resp:close() end
  local open = {}
  for ws in next, self._websockets do open[#open + 1] = ws end
  for _, ws in ipairs(open) do await(ws:close()) end
  local session = rawget(self, "session")
  if session then await(session:close()) end
  await(self.server:close())
end, "TestClient.close")

function TestClient:__close() await(self:close()) end

return M
