--- Ways through a proxy, on a connection to it: CONNECT (RFC 9110, 9.3.6), SOCKS 4, 4a and 5 (RFC 1928, 1929). Each
--- awaits by itself and gives the reader and writer of what is behind the proxy. What the proxy says is read to its
--- last byte and no further: the next one is the server's.

local core = require "asyncio.core"
local errors = require "http.client.errors"
local net = require "asyncio.net"

local await, isinstance = core.await, core.isinstance

local M = {}

--- What went wrong between us and the proxy: for dial, which knows of the request.
local function refuse(text, ...)
  error(core.OSError(text:format(...), { code = "EPROTO" }), 0)
end

--- The proxy could not connect to the address that it was given: another one may do.
local function unreachable(text, code)
  error(core.OSError("the proxy refused: " .. text, { code = code }), 0)
end

--- Exactly n bytes of the proxy's answer.
local function take(reader, n)
  local ok, data = core.catch(await, reader:readexactly(n))
  if ok then return data end
  if data.name == "IncompleteReadError" then refuse("the proxy closed the connection") end
  error(data, 0)
end

-- ---- SOCKS ----

local function packed(host)
  return require("socket").inet_pton(host:find(":", 1, true) and "inet6" or "inet", host)
end

local function check(text, what, most)
  if #text > most then refuse("the %s is longer than %d bytes", what, most) end
  return text
end

local SOCKS4 = {
  [91] = "the request was rejected or failed",
  [92] = "it cannot reach identd on this machine",
  [93] = "identd and the request name different users",
}

--- SOCKS 4; with a name in place of an address 4a.
---@param host string an IPv4 address, or a name
function M.socks4(reader, writer, proxy, host, port)
  local user = check(proxy.user or "", "user", 255)
  if user:find("%z") then refuse("the user has a zero byte in it") end
  local head = "\4\1" .. (">I2"):pack(port)
  if net.isip(host) then
    if host:find(":", 1, true) then refuse("SOCKS 4 knows no IPv6 addresses: '%s'", host) end
    writer:write(head .. packed(host) .. user .. "\0")
  else
    writer:write(head .. "\0\0\0\1" .. user .. "\0" .. check(host, "host", 255) .. "\0")
  end
  local version, status = take(reader, 8):byte(1, 2)
  if version ~= 0 then refuse("the proxy does not speak SOCKS 4") end
  if status == 91 then unreachable(SOCKS4[91], "ECONNREFUSED") end
  if status ~= 90 then refuse("the proxy refused: %s", SOCKS4[status] or "code " .. status) end
  return reader, writer
end

local SOCKS5 = {
  "general SOCKS server failure", "connection not allowed by ruleset", "network unreachable", "host unreachable",
  "connection refused", "TTL expired", "command not supported", "address type not supported",
}

--- Those of the statuses that are about the address.
local UNREACHABLE = {
  [1] = "ECONNREFUSED", [3] = "ENETUNREACH", [4] = "EHOSTUNREACH", [5] = "ECONNREFUSED", [8] = "EAFNOSUPPORT",
}

--- Proves who we are, if the proxy wants that.
local function login(reader, writer, proxy)
  local named = proxy.user ~= nil
  writer:write(named and "\5\2\0\2" or "\5\1\0")
  local version, method = take(reader, 2):byte(1, 2)
  if version ~= 5 then refuse("the proxy does not speak SOCKS 5") end
  if method == 0 then return end
  if method ~= 2 or not named then
    refuse(named and "the proxy knows no way to log in that we know" or "the proxy wants a user and a password")
  end
  local user, password = check(proxy.user, "user", 255), check(proxy.password or "", "password", 255)
  if user == "" then refuse("the user is empty") end
  writer:write("\1" .. ("s1s1"):pack(user, password))
  local status = take(reader, 2):byte(2)
  if status ~= 0 then refuse("the proxy did not accept user and password") end
end

--- SOCKS 5.
---@param host string an address, or a name that the proxy is to look up
function M.socks5(reader, writer, proxy, host, port)
  login(reader, writer, proxy)
  local address
  if net.isip(host) then
    local bytes = packed(host:gsub("%%.*$", ""))
    address = (#bytes == 4 and "\1" or "\4") .. bytes
  else
    address = "\3" .. ("s1"):pack(check(host, "host", 255))
  end
  writer:write("\5\1\0" .. address .. (">I2"):pack(port))
  local version, status, _, kind = take(reader, 4):byte(1, 4)
  if version ~= 5 then refuse("the proxy does not speak SOCKS 5") end
  if UNREACHABLE[status] then unreachable(SOCKS5[status], UNREACHABLE[status]) end
  if status ~= 0 then refuse("the proxy refused: %s", SOCKS5[status] or "code " .. status) end
  local rest = kind == 1 and 4 or kind == 4 and 16 or kind == 3 and take(reader, 1):byte()
  if not rest then refuse("the proxy's answer has an address of unknown kind (%d)", kind) end
  take(reader, rest + 2)
  return reader, writer
end

-- ---- CONNECT ----

--- Raises ClientHttpProxyError if the proxy says no.
---@param asked table what errors say of the request
---@param target string host:port
---@param headers string[]? for the proxy: names and values in turn
function M.connect(reader, writer, asked, target, headers)
  local http = require "http.client.core"
  local conn = http.connection(reader, writer, http.settings())
  local list = { "Host", target }
  local x = conn:request("CONNECT", target, table.move(headers or {}, 1, headers and #headers or 0, 3, list))
  local ok, status = core.catch(await, x:response())
  if ok and status // 100 == 2 then return x:upgrade() end
  conn:close()
  if ok then
    local reason = x:reason()
    error(errors.make(errors.ClientHttpProxyError, asked, reason ~= "" and reason or "the proxy refused to connect",
      { status = status, headers = x:headers(), history = {}, proxy_target = target }), 0)
  end
  if isinstance(status, http.BadResponse) then refuse("the proxy's answer to CONNECT is no HTTP: %s", status.why) end
  if isinstance(status, http.Disconnected) then refuse("the proxy closed the connection") end
  error(status, 0)
end

return M
