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
    copy = {}
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
  local given = false
  await(handler {
    next = function()
      return async(function()
        if given then return nil end
        given = true
        return x
      end)()
    end,
  })
  return x
end, "answer")

return M
