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
}

--- A request that came over no connection, for calling a handler with. Also gives the exchange (http.mock), which
--- keeps what is sent: `exchange.status`, `exchange.sent_headers`, `exchange.body`.
---@param method string
---@param path string with the query
---@param opts? table {headers, body, match_info, version, app, scheme, peername, sockname, transport_info, keep_alive}
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
  local route, params = app.router:_resolve(method, x:path(), x:authority())
  if not route then route = app._missing.not_found end
  local copy
  if opts.match_info then
    copy = setmetatable({}, route.match_meta)
    for key, value in next, opts.match_info do copy[key] = value end
  end
  return require("http.web.request")._make(x, route, copy or params or false), x
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
  self.server = await(require("asyncio").start_server(handler, self.host, opts.port or 0, how))
  self.port = self.server.sockets[1]:getsockname()[2]
  return self
end, "TestServer.start_server")

--- The URL of a path.
---@param path string
---@return string
function TestServer:make_url(path)
  if not self.port then misuse.blame(core.RuntimeError, "make_url: the server has not been started") end
  local host = self.host:find(":", 1, true) and "[" .. self.host .. "]" or self.host
  return ("%s://%s:%d%s"):format(self.scheme, host, self.port, path or "/")
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

return M
