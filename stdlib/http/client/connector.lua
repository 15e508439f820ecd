--- Connectors, as scripts make them: what their options may be. What they do is in http.client.pool.

local Connector = require "http.client.pool"
local core = require "asyncio.core"
local misuse = require "asyncio.misuse"

local blame, describe = misuse.blame, misuse.describe

local M = {}

-- ---- options ----

local base_known = { "limit", "limit_per_host", "keepalive_timeout", "force_close", "enable_cleanup_closed", "http2" }
local tcp_known = {
  "ssl", "family", "local_addr", "resolver", "use_dns_cache", "ttl_dns_cache", "happy_eyeballs_delay", "interleave",
}
table.move(base_known, 1, #base_known, #tcp_known + 1, tcp_known)
--- What a TCPConnector takes.
M.OPTIONS = tcp_known

local function count(opts, name, default, fname)
  local value = opts[name]
  if value == nil then return default end
  if math.type(value) ~= "integer" or value < 0 then
    blame(core.ValueError, ("%s: %s must be an integer of at least 0 (0: no limit), got %s"):format(fname, name,
      type(value) == "number" and tostring(value) or describe(value)))
  end
  return value
end

local function seconds(opts, name, default, fname)
  local value = opts[name]
  if value == nil then return default end
  if value == false then return nil end
  if type(value) ~= "number" or value ~= value or value < 0 then
    blame(core.ValueError, ("%s: %s must be a number of seconds or false, got %s"):format(fname, name,
      type(value) == "number" and tostring(value) or describe(value)))
  end
  return value < math.huge and value or nil
end

local function switch(opts, name, default, fname)
  local value = opts[name]
  if value == nil then return default end
  if type(value) ~= "boolean" then
    blame(core.TypeError, ("%s: %s must be a boolean, got %s"):format(fname, name, describe(value)))
  end
  return value
end

local function make(class, opts, fname)
  local force_close = switch(opts, "force_close", false, fname)
  switch(opts, "enable_cleanup_closed", false, fname)
  if force_close and opts.keepalive_timeout then
    blame(core.ValueError, fname .. ": keepalive_timeout cannot be set if force_close is true")
  end
  local http2 = opts.http2
  if http2 ~= nil and type(http2) ~= "boolean" and http2 ~= "prior" then
    blame(core.ValueError, ("%s: http2 must be a boolean or 'prior', got %s"):format(fname,
      type(http2) == "string" and ("%q"):format(http2) or describe(http2)))
  end
  if http2 == nil then http2 = true end
  local limit, per_host = count(opts, "limit", 100, fname), count(opts, "limit_per_host", 0, fname)
  return Connector.init(setmetatable({
    limit = limit, limit_per_host = per_host, force_close = force_close, http2 = http2,
    keepalive_timeout = seconds(opts, "keepalive_timeout", 15, fname),
  }, class))
end

---@class http.client.TCPConnector: http.client.BaseConnector
---@field names http.client.Names
local TCP = setmetatable({ __name = "TCPConnector", __tostring = Connector.__tostring, __close = Connector.__close },
  { __index = Connector })
TCP.__index = TCP

--- Forgets the addresses of a name, or of all.
---@param host? string
---@param port? integer
function TCP:clear_dns_cache(host, port)
  if (host == nil) ~= (port == nil) then
    blame(core.ValueError, "clear_dns_cache: either both host and port or none of them are allowed")
  end
  self.names:clear(host, port)
end

local families = { unspec = true, inet = true, inet6 = true }

local function check_resolver(resolver, fname)
  if resolver == nil then return require("http.client.resolver").ThreadedResolver() end
  local ok, method = pcall(function() return resolver.resolve end)
  if not ok or type(method) ~= "function" then
    blame(core.TypeError, ("%s: resolver must have a method resolve, got %s"):format(fname, describe(resolver)))
  end
  return resolver
end

--- What local_addr binds to: addresses, as no name can be looked up here.
local function check_locals(value, fname)
  if value == nil then return nil end
  local net = require "asyncio.net"
  local host = type(value) == "table" and value[1] or value
  if type(host) ~= "string" or not net.isip(host) then
    blame(core.ValueError, ("%s: local_addr must be an IP address or {address, port}, got %s"):format(fname,
      type(host) == "string" and ("%q"):format(host) or describe(host)))
  end
  local port = type(value) == "table" and value[2] or 0
  if math.type(port) ~= "integer" or port < 0 or port > 65535 then
    blame(core.ValueError, ("%s: local_addr has the port %s"):format(fname, tostring(port)))
  end
  return { { host, port } }
end

--- The order in which addresses are tried, and when the next one is.
local function check_race(self, opts, fname)
  self.delay = seconds(opts, "happy_eyeballs_delay", 0.25, fname)
  self.interleave = count(opts, "interleave", 1, fname)
end

--- `http.TCPConnector{limit = 100, ...}`: connections over TCP.
M.TCPConnector = setmetatable(TCP, {
  __name = "class TCPConnector",
  __index = Connector,
  __call = function(class, opts)
    core.options(opts, tcp_known, "TCPConnector")
    opts = opts or {}
    local self = make(class, opts, "TCPConnector")
    require("http.client.tls").check(opts.ssl, "TCPConnector", 2)
    local family = opts.family
    if family == nil then family = "unspec" end
    if not families[family] then
      blame(core.ValueError, ("TCPConnector: family must be 'unspec', 'inet' or 'inet6', got %s"):format(
        type(family) == "string" and ("%q"):format(family) or describe(family)))
    end
    self.family = family
    self._ssl = opts.ssl
    self.use_dns_cache = switch(opts, "use_dns_cache", true, "TCPConnector")
    self.locals = check_locals(opts.local_addr, "TCPConnector")
    check_race(self, opts, "TCPConnector")
    local resolver = check_resolver(opts.resolver, "TCPConnector")
    local ttl = seconds(opts, "ttl_dns_cache", 10, "TCPConnector")
    self.names = require("http.client.resolver").names(resolver, self.use_dns_cache, ttl, self.family, self.interleave)
    return self
  end,
})

---@class http.client.UnixConnector: http.client.BaseConnector
---@field path string
local Unix = setmetatable({ __name = "UnixConnector", __tostring = Connector.__tostring, __close = Connector.__close },
  { __index = Connector })
Unix.__index = Unix

--- `http.UnixConnector(path, {limit = 100, ...})`: all connections go to a unix socket, whatever the URL's host.
M.UnixConnector = setmetatable(Unix, {
  __name = "class UnixConnector",
  __index = Connector,
  __call = function(class, path, opts)
    core.options(opts, base_known, "UnixConnector")
    if type(path) ~= "string" or path == "" then
      blame(core.TypeError, "UnixConnector: path must be a string, got " .. (path == "" and "''" or describe(path)))
    end
    local self = make(class, opts or {}, "UnixConnector")
    self.path = path
    return self
  end,
})

--- What all connectors are: `asyncio.isinstance` does not know it, `http.client.connector.is` does.
M.BaseConnector = setmetatable({ methods = Connector }, { __name = "class BaseConnector" })

---@param value any
---@return boolean
function M.is(value)
  local class = type(value) == "table" and getmetatable(value)
  return class == TCP or class == Unix
end

return M
