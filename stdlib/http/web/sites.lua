--- Sites: where a runner listens. TCPSite, UnixSite, SockSite.

local class = require "http.web.class"
local connections = require "asyncio.connections"
local core = require "asyncio.core"
local misuse = require "asyncio.misuse"
local runners = require "http.web.runner"
local streams = require "asyncio.streams"

local async, await = core.async, core.await

local M = {}

---@class http.web.Site
---@field name string its URL
local Site = class.define("Site")
Site.__open = true

local function new(cls, runner, options, known, name)
  if not class.is(runner, runners.ServerRunner) then
    misuse.blame(core.TypeError, name .. ": a runner was expected, got " .. misuse.describe(runner))
  end
  core.options(options, known, name)
  options = options or {}
  local self = setmetatable({}, cls)
  rawset(self, "_runner", runner)
  local opts = {}
  for _, key in ipairs { "backlog", "reuse_address", "reuse_port", "ssl_handshake_timeout", "ssl_shutdown_timeout" } do
    opts[key] = options[key]
  end
  opts.ssl = options.ssl_context
  if opts.backlog == nil then opts.backlog = 128 end
  rawset(self, "_opts", opts)
  rawset(self, "_scheme", opts.ssl and "https" or "http")
  return self
end

local common = { "ssl_context", "backlog", "ssl_handshake_timeout", "ssl_shutdown_timeout" }

--- Listens from now on. RuntimeError if the runner is not set up or the site was started before; OSError if the address
--- cannot be had.
---@return any awaitable
Site.start = async(function(self)
  local runner = self._runner
  if runner._state ~= "up" or not rawget(runner, "_handler") then
    error(core.RuntimeError(("%s: the runner is not set up: await(runner:setup()) first"):format(self.__name)), 0)
  elseif rawget(self, "_server") then
    error(core.RuntimeError(("%s was started before"):format(self.__name)), 0)
  end
  self._opts.http = runner._settings
  rawset(self, "_server", self:_listen(runner._handler, self._opts))
  table.insert(runner._sites, self)
end, "Site.start")

-- Stops listening; the connections go on.
function Site:_close()
  local server = rawget(self, "_server")
  if server then server:close() end
end

--- Stops listening. What came in before is the runner's affair.
---@return any awaitable
Site.stop = async(function(self)
  if not rawget(self, "_server") then return end
  self:_close()
  for i, site in ipairs(self._runner._sites) do
    if site == self then
      table.remove(self._runner._sites, i)
      break
    end
  end
end, "Site.stop")

function Site:__close() await(self:stop()) end

function Site:__tostring() return ("<%s %s>"):format(self.__name, self.name) end

local function derive(name)
  local cls = class.define(name, Site)
  cls.__open, cls.__close, cls.__tostring = true, Site.__close, Site.__tostring
  M[name] = cls
  return cls
end

local function place(host, port) return (host:find(":", 1, true) and "[%s]:%s" or "%s:%s"):format(host, port) end

-- The address that the first of its sockets has, or nil.
local function bound(self)
  local server = rawget(self, "_server")
  local socket = server and server.sockets[1]
  return socket and socket.host, socket and socket.port
end

-- ---- TCP ----

---@class http.web.TCPSite : http.web.Site
local TCPSite = derive("TCPSite")

local tcp_names = connections.join(common, { "reuse_address", "reuse_port" })

--- Listens on a host (name, address, array of them; nil: every interface) and port (nil: 8080, with TLS 8443; 0: a free
--- one).
---@param runner http.web.ServerRunner
---@param host? string|string[]
---@param port? integer
---@param options? table {ssl_context, backlog = 128, reuse_address, reuse_port}
function TCPSite.new(cls, runner, host, port, options)
  local self = new(cls, runner, options, tcp_names, "TCPSite")
  connections.check_hosts(host, "TCPSite")
  rawset(self, "_host", host)
  rawset(self, "_port", connections.check_port(port, "TCPSite") or self._opts.ssl and 8443 or 8080)
  return self
end

function TCPSite._listen(self, handler, opts)
  local host = self._host
  return await(streams.start_server(handler, host, self._port, opts))
end

function TCPSite.__get.name(self)
  local host, port = self._host, self._port
  local real, number = bound(self)
  if type(host) == "table" then host = host[1] end
  if port == 0 then port = number or 0 end
  return ("%s://%s"):format(self._scheme, place(host or real or "0.0.0.0", port))
end

-- ---- unix sockets ----

---@class http.web.UnixSite : http.web.Site
local UnixSite = derive("UnixSite")

--- Listens on a unix socket; a path that begins with a zero byte is an abstract name.
---@param runner http.web.ServerRunner
---@param path string
---@param options? table {ssl_context, backlog = 128}
function UnixSite.new(cls, runner, path, options)
  local self = new(cls, runner, options, common, "UnixSite")
  rawset(self, "_path", connections.check_path(path, "UnixSite"))
  return self
end

function UnixSite._listen(self, handler, opts) return await(streams.start_unix_server(handler, self._path, opts)) end

function UnixSite.__get.name(self)
  return ("%s://unix:%s:"):format(self._scheme, (self._path:gsub("^\0", "@")))
end

-- ---- sockets that are there already ----

---@class http.web.SockSite : http.web.Site
local SockSite = derive("SockSite")

--- Listens on a stream socket that is bound already (module socket); it belongs to the site then.
---@param runner http.web.ServerRunner
---@param sock any
---@param options? table {ssl_context, backlog = 128}
function SockSite.new(cls, runner, sock, options)
  local self = new(cls, runner, options, common, "SockSite")
  if sock == nil then misuse.blame(core.TypeError, "SockSite: a socket was expected, got nil") end
  local ok, name = pcall(function() return sock:getsockname() end)
  if not ok then
    misuse.blame(core.TypeError, "SockSite: a bound socket was expected, got " .. misuse.describe(sock))
  end
  rawset(self, "_sock", sock)
  rawset(self, "_bound", name)
  return self
end

function SockSite._listen(self, handler, opts)
  opts.sock = self._sock
  if self._sock.family == "unix" then return await(streams.start_unix_server(handler, nil, opts)) end
  return await(streams.start_server(handler, nil, nil, opts))
end

function SockSite.__get.name(self)
  local host, port = bound(self)
  if port then return ("%s://%s"):format(self._scheme, place(host, port)) end
  local name = self._bound
  if type(name) == "table" then return ("%s://%s"):format(self._scheme, place(name[1], name[2])) end
  return ("%s://unix:%s:"):format(self._scheme, tostring(name or ""):gsub("^\0", "@"))
end

return M
