--- What asyncio's connections do with the option `ssl`: checks, handshakes, and what get_extra_info tells of them.

local core = require "asyncio.core"
local misuse = require "asyncio.misuse"

local await, catch = core.await, core.catch
local raise, describe = misuse.raise, misuse.describe

local M = {}

local HANDSHAKE_TIMEOUT, SHUTDOWN_TIMEOUT = 60.0, 30.0

--- The modules, or nil in a build without TLS.
local function modules()
  local found, ssl = pcall(require, "ssl")
  if found then return ssl, require("asyncio.tls") end
end

local function timeout(opts, name, default, level)
  local value = opts[name]
  if value == nil then return default end
  if type(value) ~= "number" or value ~= value then
    raise(core.TypeError, ("%s must be a number of seconds, got %s"):format(name, describe(value)), level + 1)
  end
  if value <= 0 then
    raise(core.ValueError, ("%s should be a positive number, got %s"):format(name, value), level + 1)
  end
  return math.min(value, 1e9) + 0.0
end

--- The settings of a connection whose options ask for TLS; nil if they do not. Raises errors at the caller of the
--- function that calls.
---@param opts table with ssl, server_hostname, session, ssl_handshake_timeout, ssl_shutdown_timeout
---@param fname string
---@param server boolean which side
---@param host? string what server_hostname is by default
---@param level? integer
function M.settings(opts, fname, server, host, level)
  level = level or 3
  if not opts.ssl then return nil end
  local ssl, tls = modules()
  if not ssl then raise(core.RuntimeError, fname .. "() with ssl: this build has no TLS", level) end
  local context, name = opts.ssl, opts.server_hostname
  local given = getmetatable(context) == ssl.SSLContext
  if not given and (server or context ~= true) then
    raise(core.TypeError, ("%s(): ssl must be an SSLContext%s, got %s"):format(fname, server and "" or " or true",
      describe(context)), level)
  end
  if name ~= nil and type(name) ~= "string" then
    raise(core.TypeError, ("%s(): server_hostname must be a string, got %s"):format(fname, describe(name)), level)
  end
  if server then
    for _, key in ipairs { "server_hostname", "session" } do
      if opts[key] ~= nil and opts[key] ~= "" then
        raise(core.ValueError, key .. " is only meaningful for a client", level)
      end
    end
  else
    if name == nil then
      if not host then
        raise(core.ValueError, "You must set server_hostname when using ssl without a host", level)
      end
      name = host
    end
    if name:find("%z") then raise(core.ValueError, fname .. "(): server_hostname has a zero byte in it", level) end
    if name:find("^%.") then
      raise(core.ValueError, "server_hostname cannot be an empty string or start with a leading dot.", level)
    end
  end
  local set = {
    server = server,
    name = name,
    session = opts.session,
    handshake = timeout(opts, "ssl_handshake_timeout", HANDSHAKE_TIMEOUT, level),
    shutdown = timeout(opts, "ssl_shutdown_timeout", SHUTDOWN_TIMEOUT, level),
  }
  if context == true then
    context = ssl.create_default_context()
    if name == "" then context.check_hostname = false end
  end
  if not server and name == "" and context.check_hostname then
    raise(core.ValueError, "check_hostname requires server_hostname", level)
  end
  if set.session ~= nil and not tls.issession(set.session) then
    raise(core.TypeError, ("%s(): session must be an SSLSession, got %s"):format(fname, describe(set.session)), level)
  end
  set.context = context
  return set
end

--- Of a server: what sni_callback of the context says.
local function sni(object, name)
  local context = object.context
  local f = context.sni_callback
  if not f then return nil end
  local ok, result = catch(f, object, name, context)
  if ok and (result == nil or math.type(result) == "integer") then return result end
  core.get_running_loop():call_exception_handler({
    message = "sni_callback failed",
    exception = not ok and result or core.TypeError("sni_callback: an alert (an integer) or nil was expected, got "
      .. describe(result)),
  })
  return ok and 80 or 40
end

local function info(set, done)
  return {
    context = set.context, server_hostname = set.name, session = set.session, done = done,
    cache = set.cache, alpn = set.alpn, -- of http.client.tls
    sni = set.server and sni or nil,
  }
end

--- The handshake on a connection, awaited here: it fails with the connection.
function M.handshake(owner, set)
  local _, tls = modules()
  await(tls.handshake(owner, set.context._context, info(set), set.server, set.handshake, set.shutdown))
end

--- A fresh connection, secured; it is aborted if that fails.
function M.secured(transport, set)
  if not set then return transport end
  local ok, err = catch(M.handshake, transport, set)
  if ok then return transport end
  transport:abort()
  error(err, 0)
end

--- What a server does with what it has accepted; established(transport) is called after the handshake.
function M.acceptor(set, established)
  local _, tls = modules()
  return function(transport)
    tls.accept(transport, set.context._context, info(set, established), set.handshake, set.shutdown)
  end
end

local names = {
  ssl_object = function(object) return object end,
  sslcontext = function(object) return object.context end,
  peercert = function(object) return object:getpeercert() end,
  cipher = function(object) return object:cipher() end,
  compression = function(object) return object:compression() end,
  alpn = function(object) return object:selected_alpn_protocol() end,
}

--- For get_extra_info: true and the value if the name is one of TLS and the connection has it.
function M.extra_info(owner, name)
  local f = names[name]
  local tls = f and package.loaded["asyncio.tls"]
  local object = tls and tls.object(owner)
  if object then return true, f(object) end
  return false
end

local upgrade_known = { "server_hostname", "session", "ssl_handshake_timeout", "ssl_shutdown_timeout" }

--- Checks the arguments of start_tls and gives settings.
function M.upgrade(owner, context, opts, server, fname)
  core.options(opts, server == nil and { "server_side", table.unpack(upgrade_known) } or upgrade_known, fname)
  opts = opts or {}
  if server == nil then server = opts.server_side and true or false end
  local ssl, tls = modules()
  if not ssl then raise(core.RuntimeError, fname .. "(): this build has no TLS", 3) end
  if getmetatable(context) ~= ssl.SSLContext then
    raise(core.TypeError, ("%s(): sslcontext is expected to be an SSLContext, got %s")
      :format(fname, describe(context)), 3)
  end
  if server == "as accepted" then server = tls.accepted(owner) end
  if not server and not opts.server_hostname and context.check_hostname then
    raise(core.ValueError, "check_hostname requires server_hostname", 3)
  end
  local set = M.settings({
    ssl = context, server_hostname = opts.server_hostname or "", session = opts.session,
    ssl_handshake_timeout = opts.ssl_handshake_timeout, ssl_shutdown_timeout = opts.ssl_shutdown_timeout,
  }, fname, server, nil, 4)
  return set
end

return M
