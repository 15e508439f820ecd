--- ssl: contexts of TLS connections. Names and rules are those of Python's ssl module; the connections themselves are
--- made by asyncio (`open_connection`, `start_server`, `writer:start_tls`, ...) with the option `ssl`.

local core = require "asyncio.core"
local misuse = require "asyncio.misuse"

local found, tls = pcall(require, "asyncio.tls")
if not found then error(core.RuntimeError("module ssl: this build has no TLS (it was made with WITH_TLS=0)"), 2) end

local raise, describe = misuse.raise, misuse.describe
local constants = tls.constants

local M = {
  SSLError = tls.SSLError,
  SSLZeroReturnError = tls.SSLZeroReturnError,
  SSLEOFError = tls.SSLEOFError,
  SSLCertVerificationError = tls.SSLCertVerificationError,
  CertificateError = tls.SSLCertVerificationError,
  SSLObject = setmetatable({ methods = tls.SSLObject }, { __name = "class SSLObject" }),
  SSLSession = setmetatable({ methods = tls.SSLSession }, { __name = "class SSLSession" }),
  PROTOCOL_TLS_CLIENT = 16,
  PROTOCOL_TLS_SERVER = 17,
  CERT_NONE = 0,
  CERT_OPTIONAL = 1,
  CERT_REQUIRED = 2,
  HAS_ALPN = true,
  HAS_SNI = true,
  HAS_ECDH = true,
  HAS_NPN = false,
  HAS_SSLv2 = false,
  HAS_SSLv3 = false,
  HAS_TLSv1_2 = true,
  HAS_TLSv1_3 = true,
  CHANNEL_BINDING_TYPES = { "tls-unique" },
  ALERT_DESCRIPTION_HANDSHAKE_FAILURE = 40,
  ALERT_DESCRIPTION_ACCESS_DENIED = 49,
  ALERT_DESCRIPTION_INTERNAL_ERROR = 80,
  ALERT_DESCRIPTION_UNRECOGNIZED_NAME = 112,
  --- Versions, for `minimum_version` and `maximum_version`.
  TLSVersion = {
    MINIMUM_SUPPORTED = -2, MAXIMUM_SUPPORTED = -1,
    TLSv1 = 0x301, TLSv1_1 = 0x302, TLSv1_2 = 0x303, TLSv1_3 = 0x304,
  },
  --- What a context is for: SERVER_AUTH verifies servers (for clients), CLIENT_AUTH is for servers.
  Purpose = { SERVER_AUTH = "SERVER_AUTH", CLIENT_AUTH = "CLIENT_AUTH" },
}
for name, value in pairs(constants) do
  if not name:find("^HOSTFLAG") then M[name] = value end
end

-- ---- SSLContext ----

---@class SSLContext
---@field verify_mode integer CERT_NONE, CERT_OPTIONAL or CERT_REQUIRED
---@field check_hostname boolean is the certificate compared with the name asked for?
---@field minimum_version integer of TLSVersion
---@field maximum_version integer of TLSVersion
---@field verify_flags integer VERIFY_* flags, or'ed
---@field options integer OP_* flags, or'ed
---@field sni_callback? fun(object: any, name: string?, context: SSLContext): integer?
---@field hostname_checks_common_name boolean
---@field num_tickets integer session tickets that a TLS 1.3 server sends
---@field protocol integer PROTOCOL_TLS_CLIENT or PROTOCOL_TLS_SERVER
---@field security_level integer
local SSLContext = { __name = "SSLContext" }
local methods = {}

local function native(self)
  local context = type(self) == "table" and rawget(self, "_context")
  if not context then
    raise(core.TypeError, "an SSLContext was expected (called with '.' instead of ':'?), got " .. describe(self), 3)
  end
  return context
end

local function integer(name, value, least, most)
  if math.type(value) ~= "integer" then
    raise(core.TypeError, ("%s: an integer was expected, got %s"):format(name, describe(value)), 4)
  end
  if value < least or value > most then raise(core.ValueError, ("invalid value for %s: %d"):format(name, value), 4) end
  return value
end

local versions = { [-2] = 0, [-1] = 0, [0x301] = 0x301, [0x302] = 0x302, [0x303] = 0x303, [0x304] = 0x304 }

local function set_version(context, name, value)
  if not versions[integer(name, value, -2, 0xffff)] then
    raise(core.ValueError, ("unsupported TLS/SSL version 0x%x"):format(value), 3)
  end
  local least = name == "minimum_version"
  local number = versions[value]
  if value == -2 and not least then number = 0x301 end
  if value == -1 and least then number = 0x304 end
  if not context:set(name, number) then
    raise(core.ValueError, ("unsupported protocol version 0x%x"):format(number), 3)
  end
end

local plain = { verify_mode = true, verify_flags = true, options = true, num_tickets = true, security_level = true }

function SSLContext.__index(self, name)
  local method = methods[name]
  if method then return method end
  local context = native(self)
  if name == "check_hostname" or plain[name] then return context:get(name) end
  if name == "minimum_version" or name == "maximum_version" then
    local number = context:get(name)
    return number ~= 0 and number or name == "minimum_version" and -2 or -1
  end
  if name == "protocol" then return context:get("server") and M.PROTOCOL_TLS_SERVER or M.PROTOCOL_TLS_CLIENT end
  if name == "hostname_checks_common_name" then
    return context:get("hostflags") & constants.HOSTFLAG_NEVER_CHECK_SUBJECT == 0
  end
  if name == "sni_callback" then return rawget(self, "_sni") end
end

local setters = {}

function setters.verify_mode(context, value)
  integer("verify_mode", value, 0, 2)
  if value == M.CERT_NONE and context:get("check_hostname") then
    raise(core.ValueError, "Cannot set verify_mode to CERT_NONE when check_hostname is enabled.", 3)
  end
  context:set("verify_mode", value)
end

function setters.check_hostname(context, value)
  value = value and true or false
  if value and context:get("verify_mode") == M.CERT_NONE then context:set("verify_mode", M.CERT_REQUIRED) end
  context:set("check_hostname", value)
end

function setters.minimum_version(context, value)
  set_version(context, "minimum_version", value)
end

function setters.maximum_version(context, value)
  set_version(context, "maximum_version", value)
end

function setters.verify_flags(context, value)
  context:set("verify_flags", integer("verify_flags", value, 0, 0xffffffff))
end

function setters.options(context, value)
  context:set("options", integer("options", value, 0, math.maxinteger))
end

function setters.num_tickets(context, value)
  integer("num_tickets", value, 0, 255)
  if not context:get("server") then raise(core.ValueError, "SSLContext is not a server context.", 3) end
  context:set("num_tickets", value)
end

function setters.hostname_checks_common_name(context, value)
  local flags = context:get("hostflags") & ~constants.HOSTFLAG_NEVER_CHECK_SUBJECT
  context:set("hostflags", value and flags or flags | constants.HOSTFLAG_NEVER_CHECK_SUBJECT)
end

function setters.sni_callback(_, value, self)
  if value ~= nil and type(value) ~= "function" then
    raise(core.TypeError, "sni_callback: not a function, but " .. describe(value), 3)
  end
  rawset(self, "_sni", value)
end

function SSLContext.__newindex(self, name, value)
  local context, setter = native(self), setters[name]
  if not setter then
    raise(core.TypeError, ("SSLContext has no attribute '%s' that can be set"):format(tostring(name)))
  end
  setter(context, value, self)
end

function SSLContext.__tostring(self)
  return ("<SSLContext %s>"):format(native(self):get("server") and "server" or "client")
end

--- Loads a certificate with its chain, and its private key. `password`, a string or a function that gives one, is for
--- an encrypted key. Raises OSError for a file that cannot be read, SSLError for what is in it.
---@param certfile string path of a PEM file
---@param keyfile? string path of a PEM file; nil: the key is in certfile
---@param password? string|fun(): string
function methods:load_cert_chain(certfile, keyfile, password)
  if password ~= nil and type(password) ~= "string" and type(password) ~= "function" then
    raise(core.TypeError, "password should be a string or a function, got " .. describe(password))
  end
  native(self):load_cert_chain(certfile, keyfile, password)
end

--- Adds certificates (and CRLs) to trust: of a file, a folder of hashed names, or given as PEM or DER.
---@param where string|{cafile: string?, capath: string?, cadata: string?} a path is a cafile
function methods:load_verify_locations(where, capath, cadata)
  local context, cafile = native(self), where
  if type(where) == "table" then
    core.options(where, { "cafile", "capath", "cadata" }, "load_verify_locations")
    cafile, capath, cadata = where.cafile, where.capath, where.cadata
  end
  if cafile == nil and capath == nil and cadata == nil then
    raise(core.TypeError, "cafile, capath and cadata cannot be all omitted")
  end
  context:load_verify_locations(cafile, capath, cadata)
end

--- Trusts what the system trusts (SSL_CERT_FILE and SSL_CERT_DIR name others).
function methods:set_default_verify_paths()
  native(self):set_default_verify_paths()
end

--- The same, for a purpose.
---@param purpose? string of Purpose
function methods:load_default_certs(purpose)
  if purpose ~= nil and not M.Purpose[purpose] then
    raise(core.TypeError, "load_default_certs: a Purpose was expected, got " .. describe(purpose))
  end
  native(self):set_default_verify_paths()
end

--- The CA certificates that were loaded, as dicts or, if `binary`, as DER.
---@param binary? boolean
function methods:get_ca_certs(binary)
  return native(self):get_ca_certs(binary)
end

--- How many certificates and CRLs are loaded: {x509 = n, crl = n, x509_ca = n}.
function methods:cert_store_stats()
  local certs, cas, crls = native(self):cert_store_stats()
  return { x509 = certs, crl = crls, x509_ca = cas }
end

function methods:session_stats()
  return native(self):session_stats()
end

--- The ciphers up to TLS 1.2, in OpenSSL's notation. Raises SSLError if none is left.
---@param ciphers string
function methods:set_ciphers(ciphers)
  if type(ciphers) ~= "string" then
    raise(core.TypeError, "set_ciphers: a string was expected, got " .. describe(ciphers))
  end
  native(self):set_ciphers(ciphers)
end

--- The ciphers that may be agreed on: an array of {name, protocol, id, strength_bits, alg_bits, aead}.
function methods:get_ciphers()
  return native(self):get_ciphers()
end

---@param name string "prime256v1", "X25519", or several joined by ":"
function methods:set_ecdh_curve(name)
  if type(name) ~= "string" then
    raise(core.TypeError, "set_ecdh_curve: a string was expected, got " .. describe(name))
  end
  native(self):set_ecdh_curve(name)
end

--- The protocols to offer or accept, the best first: {"h2", "http/1.1"}.
---@param protocols string[]
function methods:set_alpn_protocols(protocols)
  local context, parts = native(self), {}
  if type(protocols) ~= "table" then
    raise(core.TypeError, "set_alpn_protocols: an array of strings was expected, got " .. describe(protocols))
  end
  for i, name in ipairs(protocols) do
    if type(name) ~= "string" then
      raise(core.TypeError, ("set_alpn_protocols: item %d must be a string, got %s"):format(i, describe(name)))
    end
    if #name == 0 or #name > 255 then raise(core.ValueError, "ALPN protocols must be 1 to 255 bytes long") end
    parts[i] = string.pack("s1", name)
  end
  local names = table.concat(parts)
  if #names > 65535 then raise(core.ValueError, "ALPN protocols are too many") end
  context:set_alpn_protocols(names)
end

--- Calls f(object, name or nil, context) for each client that a server has, before a certificate is chosen. It may set
--- `object.context`; a number that it gives is the alert that refuses the client.
---@param f? function
function methods:set_servername_callback(f)
  self.sni_callback = f
end

M.SSLContext = setmetatable(SSLContext, {
  __name = "class SSLContext",
  __call = function(_, protocol)
    if protocol ~= M.PROTOCOL_TLS_CLIENT and protocol ~= M.PROTOCOL_TLS_SERVER then
      raise(core.ValueError,
        "SSLContext(): PROTOCOL_TLS_CLIENT or PROTOCOL_TLS_SERVER was expected, got " .. tostring(protocol))
    end
    return setmetatable({ _context = tls.new_context(protocol == M.PROTOCOL_TLS_SERVER) }, SSLContext)
  end,
})

--- A context with safe settings. For SERVER_AUTH, the default, it is a client's: certificates and host names are
--- verified, against what the system trusts unless cafile, capath or cadata say otherwise. For CLIENT_AUTH it is a
--- server's.
---@param purpose? string of Purpose
---@param opts? table {cafile, capath, cadata}
---@return SSLContext
function M.create_default_context(purpose, opts)
  if type(purpose) == "table" and opts == nil then
    purpose, opts = nil, purpose
  end
  purpose = purpose or M.Purpose.SERVER_AUTH
  if not M.Purpose[purpose] then
    raise(core.TypeError, "create_default_context(): a Purpose was expected, got " .. describe(purpose))
  end
  core.options(opts, { "cafile", "capath", "cadata" }, "create_default_context")
  opts = opts or {}
  local context = M.SSLContext(purpose == "SERVER_AUTH" and M.PROTOCOL_TLS_CLIENT or M.PROTOCOL_TLS_SERVER)
  context.verify_flags = context.verify_flags | M.VERIFY_X509_PARTIAL_CHAIN | M.VERIFY_X509_STRICT
  if opts.cafile or opts.capath or opts.cadata then
    context:load_verify_locations(opts.cafile, opts.capath, opts.cadata)
  elseif context.verify_mode ~= M.CERT_NONE then
    context:load_default_certs(purpose)
  end
  return context
end

--- A certificate in DER as PEM, and back.
function M.DER_cert_to_PEM_cert(der)
  if type(der) ~= "string" then
    raise(core.TypeError, "DER_cert_to_PEM_cert: a string was expected, got " .. describe(der))
  end
  local alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
  local text = der:gsub("..?.?", function(s)
    local a, b, c = s:byte(1, 3)
    local n = a << 16 | (b or 0) << 8 | (c or 0)
    local out = ""
    for shift = 18, 0, -6 do
      local i = n >> shift & 63
      out = out .. alphabet:sub(i + 1, i + 1)
    end
    return out:sub(1, #s + 1) .. ("="):rep(3 - #s)
  end)
  return "-----BEGIN CERTIFICATE-----\n" .. text:gsub(("."):rep(64), "%0\n"):gsub("\n?$", "\n")
    .. "-----END CERTIFICATE-----\n"
end

return M
