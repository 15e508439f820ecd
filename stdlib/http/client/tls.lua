--- How the HTTP client speaks TLS: what its option `ssl` may be, the contexts behind true and false, fingerprints, and
--- the handshake of one connection with what it knows of earlier ones.

local core = require "asyncio.core"
local misuse = require "asyncio.misuse"

local raise, describe = misuse.raise, misuse.describe

local M = {}

local HANDSHAKE_TIMEOUT = 60.0
--- close_notify is sent and nothing waited for: a response says by itself where it ends.
local SHUTDOWN_TIMEOUT = 0.0

local OFFERS = { h2 = "\2h2\8http/1.1", http1 = "\8http/1.1" }

-- ---- Fingerprint ----

---@class Fingerprint the SHA-256 digest that a server's certificate must have; it is verified in no other way
---@field fingerprint string 32 bytes
local Fingerprint = { __name = "Fingerprint" }
Fingerprint.__index = Fingerprint

function Fingerprint.__eq(a, b) return a.fingerprint == b.fingerprint end

local function hex(bytes)
  return (bytes:gsub(".", function(c) return ("%02x"):format(c:byte()) end))
end

function Fingerprint:__tostring() return ("<Fingerprint %s>"):format(hex(self.fingerprint)) end

--- `http.Fingerprint(digest)`, for the option `ssl`: 32 bytes, or the same as hexadecimal digits, with or without
--- colons (as `openssl x509 -fingerprint -sha256` prints them). Raises TypeError and ValueError.
M.Fingerprint = setmetatable(Fingerprint, {
  __name = "class Fingerprint",
  __call = function(class, digest)
    if type(digest) ~= "string" then
      raise(core.TypeError, "Fingerprint(): the digest must be a string, got " .. describe(digest))
    end
    local digits = digest:gsub(":", "")
    if #digits > 32 and #digits % 2 == 0 and not digits:find("%X") then
      digest = digits:gsub("%x%x", function(pair) return string.char(tonumber(pair, 16)) end)
    end
    if #digest == 16 or #digest == 20 then
      raise(core.ValueError, "Fingerprint(): md5 and sha1 are insecure and not supported. Use sha256.")
    end
    if #digest ~= 32 then
      raise(core.ValueError, ("Fingerprint(): a SHA-256 digest has 32 bytes, got %d"):format(#digest))
    end
    return setmetatable({ fingerprint = digest }, class)
  end,
})

--- Does the certificate (DER) have the digest? Gives what it has, in hexadecimal digits, too.
---@param certificate string?
---@return boolean, string
function Fingerprint:matches(certificate)
  local found = certificate and require("asyncio.digest").sha256(certificate) or "no certificate"
  return found == hex(self.fingerprint), found
end

--- In hexadecimal digits.
function Fingerprint:hex() return hex(self.fingerprint) end

-- ---- contexts ----

local contexts = {} -- of this engine: reading the system's certificates takes longer than a request

local function context_of(verified)
  local context = contexts[verified]
  if context then return context end
  local ssl = require "ssl"
  if verified then
    context = ssl.create_default_context()
  else
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = false
    context.verify_mode = ssl.CERT_NONE
  end
  contexts[verified] = context
  return context
end

--- A value of the option as messages have it.
function M.text(value)
  if value == nil or value == true then return "default" end
  if value == false then return "False" end
  return tostring(value)
end

--- The value for a proxy's TLS: a fingerprint is the server's, and the proxy is verified as any other.
function M.without_fingerprint(value)
  if getmetatable(value) == Fingerprint then return nil end
  return value
end

--- Checks a value of the option `ssl` and gives its text for messages and keys of pools. Raises TypeError, ValueError.
---@param value any nil or true: verified; false: not; an SSLContext; a Fingerprint
---@param who string
---@return string
function M.check(value, who)
  if value == nil or value == true then return "default" end
  if value == false then return "False" end
  local class = type(value) == "table" and getmetatable(value)
  if class == Fingerprint then return tostring(value) end
  local ssl = class and package.loaded.ssl
  if not ssl or class ~= ssl.SSLContext then
    local text = "%s: ssl should be an SSLContext, a Fingerprint or a boolean, got %s"
    misuse.blame(core.TypeError, text:format(who, describe(value)))
  end
  if value.protocol == ssl.PROTOCOL_TLS_SERVER then
    misuse.blame(core.ValueError, who .. ": ssl is a context for servers (PROTOCOL_TLS_SERVER)")
  end
  return ("%s %p"):format(value, value)
end

--- What a connection is secured with: settings for asyncio.secure. Connections with the same settings share their
--- sessions, so they must be for one server.
---@param value any of the option `ssl`, checked
---@param name string the server's: its host, or the option server_hostname
---@param http2 boolean is "h2" offered? A context with protocols of its own offers those.
---@return table
function M.settings(value, name, http2)
  local found, tls = pcall(require, "asyncio.tls")
  if not found then error(core.RuntimeError("https: this build has no TLS"), 0) end
  local context = value
  local pinned = getmetatable(value) == Fingerprint
  if type(value) ~= "table" or pinned then context = context_of(value == nil or value == true) end
  http2 = http2 and require("http.client.core").Connection2 ~= nil -- built with it?
  return {
    context = context, name = name, server = false, alpn = http2 and OFFERS.h2 or OFFERS.http1, cache = tls.new_cache(),
    fingerprint = pinned and value or nil,
    handshake = HANDSHAKE_TIMEOUT, shutdown = SHUTDOWN_TIMEOUT,
  }
end

--- The handshake on a connection, awaited here; the connection ends with an error. Gives the protocol that was agreed
--- on, or nil. Raises OSErrors, and a table {expected, got} if the fingerprint is another one.
---@param writer any StreamWriter or Transport
---@param settings table
---@return string?
function M.secure(writer, settings)
  require("asyncio.secure").handshake(writer, settings)
  local object = require("asyncio.tls").object(writer)
  local wanted = settings.fingerprint
  if wanted then
    local ok, got = wanted:matches(object:getpeercert(true))
    if not ok then error({ expected = wanted:hex(), got = got }, 0) end
  end
  return object:selected_alpn_protocol()
end

return M
