--- How a connection of the HTTP client is made: the name is looked up, its addresses are tried, then the way leads
--- through the proxy and TLS, as the place says. What fails on the way becomes one of the client's errors.

local connections = require "asyncio.connections"
local core = require "asyncio.core"
local errors = require "http.client.errors"
local net = require "asyncio.net"
local places = require "http.client.place"
local secure = require "http.client.tls"

require "asyncio.streams" -- by it transports tell of their TLS: http.client.core asks for the protocol agreed on

local await, catch, isinstance = core.await, core.catch, core.isinstance

local M = {}

--- How often a proxy of HTTP is asked: without an answer to its challenge, with one, with one to a newer nonce.
local MAX_ATTEMPTS <const> = 3

---@class http.client.Dialer what a connector says of all its connections
---@field names http.client.Names
---@field locals table[]? addresses to bind to
---@field delay number? of happy eyeballs; nil: one address after the other
---@field path string? of a unix socket, in place of all names
---@field http2 any false: HTTP/2 is not offered

-- ---- errors ----

--- The reason as people read it: without what was tried, which the message says itself.
local function reason_of(err)
  local text = type(err) == "table" and err.message or tostring(err)
  if text == nil or text == "" then text = tostring(err) end
  return (tostring(text):gsub("^connect to [^ ]+ failed: ", ""):gsub("^TLS handshake with [^ ]+ failed: ", ""))
end

local function fields(err, host, port, ssl)
  return {
    host = host, port = port, ssl = ssl, os_error = err, cause = err, code = err.code, errno = err.errno,
    reason = reason_of(err),
  }
end

--- Is it for the client's own classes? Cancellation, what a sandbox refuses and misuse are not.
local function ours(err)
  return isinstance(err, core.OSError) and not isinstance(err, core.PermissionError)
end

local function fail(class, asked, what, err, host, port, ssl)
  if not ours(err) then error(err, 0) end
  error(errors.make(class, asked, ("%s [%s]"):format(what, reason_of(err)), fields(err, host, port, ssl)), 0)
end

--- One error for all addresses that were tried.
local function combined(list)
  if #list == 1 then return list[1] end
  local texts, first = {}, list[1]
  for i, e in ipairs(list) do texts[i] = ("%s: %s"):format(e.host, reason_of(e)) end
  return core.OSError(table.concat(texts, "; "), { code = first.code, errno = first.errno, errors = list })
end

-- ---- the steps ----

--- The addresses of host, or the error of the client's.
local function addresses(dialer, asked, place, host, port, traces)
  local ok, list = catch(dialer.names.addresses, dialer.names, host, port, traces)
  if ok then return list end
  local what = place.proxy and ("Cannot connect to proxy %s:%d"):format(host, port)
    or "Cannot connect to host " .. places.text(place)
  fail(errors.ClientConnectorDNSError, asked, what, list, host, port, place.ssl)
end

--- A Transport to one of the addresses. Awaits by itself.
local function tcp(dialer, asked, place, host, port, traces)
  local list = addresses(dialer, asked, place, host, port, traces)
  local ok, transport, tried = catch(await, connections.connect_tcp(list, dialer.locals, dialer.delay))
  if ok and transport then return transport end
  local proxied = place.proxy ~= nil
  local what = proxied and ("Cannot connect to proxy %s:%d"):format(host, port)
    or "Cannot connect to host " .. places.text(place)
  local class = proxied and errors.ClientProxyConnectionError or errors.ClientConnectorError
  fail(class, asked, what, ok and combined(tried) or transport, host, port, place.ssl)
end

local function unix(dialer, asked, place)
  local ok, transport = catch(await, net.connect_unix(dialer.path))
  if ok then return transport end
  if not ours(transport) then error(transport, 0) end
  local more = fields(transport, place.host, place.port, place.ssl)
  more.path = dialer.path
  error(errors.make(errors.UnixClientConnectorError, asked,
    ("Cannot connect to unix socket %s [%s]"):format(dialer.path, reason_of(transport)), more), 0)
end

--- TLS on a connection to `host`; gives the protocol that was agreed on.
local function tls(asked, owner, settings, host, port, ssl)
  local ok, protocol = catch(secure.secure, owner, settings)
  if ok then return protocol end
  local err = protocol
  if type(err) == "table" and err.expected then
    error(errors.make(errors.ServerFingerprintMismatch, asked,
      ("the certificate of %s:%d has another fingerprint: expected %s, got %s")
        :format(host, port, err.expected, err.got),
      { expected = err.expected, got = err.got, host = host, port = port }), 0)
  end
  local ssls = package.loaded["ssl"] or require "ssl"
  local class = errors.ClientConnectorError
  if isinstance(err, ssls.SSLCertVerificationError) then
    class = errors.ClientConnectorCertificateError
  elseif isinstance(err, ssls.SSLError) then
    class = errors.ClientConnectorSSLError
  end
  local name = host:find(":", 1, true) and "[" .. host .. "]" or host
  fail(class, asked, ("Cannot connect to host %s:%d ssl:%s"):format(name, port, secure.text(ssl)), err, host, port, ssl)
end

--- Where the proxy may connect to: the name, or the addresses if we are to look it up.
local function behind(dialer, asked, place, proxy, traces)
  local host = place.host
  if proxy.remote or net.isip(host) then return { (host:gsub("%.$", "")) } end
  local all, list = {}, addresses(dialer, asked, place, host, place.port, traces)
  for _, address in ipairs(list) do
    if proxy.kind ~= "socks4" or not address[1]:find(":", 1, true) then all[#all + 1] = address[1] end
  end
  if #all == 0 then all[1] = list[1][1] end -- which SOCKS 4 refuses
  return all
end

--- A proxy wants to know who we are: may it be asked once more, with an answer to that?
local function challenged(proxy, err, sent)
  return proxy.digest and isinstance(err, errors.ClientHttpProxyError) and err.status == 407
    and proxy.digest:challenged(proxy.url, err.headers:getall "Proxy-Authenticate", sent)
end

--- Through a proxy of HTTP; `attempt.again`: another connection will do.
local function connect(_, asked, place, reader, writer, _, attempt)
  local proxy = place.proxy
  local host = place.host:find(":", 1, true) and "[" .. place.host .. "]" or place.host
  local target, headers = ("%s:%d"):format(host, place.port), places.proxy_headers(proxy)
  local sent = proxy.digest and proxy.digest:authorize("CONNECT", proxy.url, nil, nil, target)
  if sent then
    headers = headers or {}
    table.move({ "Proxy-Authorization", sent }, 1, 2, #headers + 1, headers)
  end
  local ok, r, w = catch(require("http.client.tunnel").connect, reader, writer, asked, target, headers)
  if not ok then attempt.again = challenged(proxy, r, sent) end
  return ok, r, w
end

--- Through a SOCKS proxy to the next of the addresses; `attempt.again`: it was out of reach, and there is another one.
local function socks(dialer, asked, place, reader, writer, traces, attempt)
  local proxy = place.proxy
  attempt.targets = attempt.targets or behind(dialer, asked, place, proxy, traces)
  local target = table.remove(attempt.targets, 1)
  local ok, r, w = catch(require("http.client.tunnel")[proxy.kind], reader, writer, proxy, target, place.port)
  if not ok then attempt.again = attempt.targets[1] ~= nil and isinstance(r, core.OSError) and r.code ~= "EPROTO" end
  return ok, r, w
end

--- Through the proxy: reader and writer of what is behind it.
local function through(dialer, asked, place, reader, writer, traces, attempt)
  local proxy = place.proxy
  local lead = proxy.kind == "http" and connect or socks
  local ok, r, w = lead(dialer, asked, place, reader, writer, traces, attempt)
  if ok then return r, w end
  if isinstance(r, errors.ClientError) then error(r, 0) end
  fail(errors.ClientProxyConnectionError, asked, ("Cannot connect to host %s through the proxy %s"):format(
    places.text(place), tostring(proxy.url)), r, proxy.host, proxy.port, place.ssl)
end

-- ---- all of it ----

--- The rest, on a connection that is there.
local function finish(dialer, asked, place, pool, transport, settings, traces, attempt)
  local proxy, protocol = place.proxy, nil
  if proxy and proxy.secure then
    pool.proxy_tls = pool.proxy_tls or secure.settings(secure.without_fingerprint(pool.ssl), proxy.host, false)
    tls(asked, transport, pool.proxy_tls, proxy.host, proxy.port, pool.ssl)
  end
  local tunnelled = proxy and not place.absolute
  if place.secure and not pool.tls then
    pool.tls = secure.settings(pool.ssl, place.server_hostname, dialer.http2 ~= false and not place.http1)
  end
  if place.secure and not tunnelled then
    protocol = tls(asked, transport, pool.tls, place.host, place.port, pool.ssl)
  end
  local reader, writer = net.streams(transport, 65536)
  if tunnelled then
    reader, writer = through(dialer, asked, place, reader, writer, traces, attempt)
    if place.secure then protocol = tls(asked, writer, pool.tls, place.host, place.port, pool.ssl) end
  end
  return require("http.client.core").connection(reader, writer, settings), protocol
end

--- Makes a connection. Awaits by itself, raises the client's errors; nothing is left of one that fails.
---@param dialer http.client.Dialer
---@param asked table what errors say of the request: method, url
---@param pool table what connections to the place have in common: place, ssl; here are tls and proxy_tls
---@param settings any of http.client.core
---@param traces any
---@return any conn
---@return string? protocol that TLS agreed on
function M.dial(dialer, asked, pool, settings, traces)
  local place = pool.place
  local proxy = place.proxy
  local attempt = {} -- of a SOCKS proxy's addresses each is tried once
  for n = 1, math.huge do
    local transport
    if dialer.path then
      transport = unix(dialer, asked, place)
    elseif proxy then
      transport = tcp(dialer, asked, place, proxy.host, proxy.port, traces)
    else
      transport = tcp(dialer, asked, place, place.host, place.port, traces)
    end
    attempt.again = false
    local ok, conn, protocol = catch(finish, dialer, asked, place, pool, transport, settings, traces, attempt)
    if ok then return conn, protocol end
    transport:abort()
    if not attempt.again or n == MAX_ATTEMPTS and not attempt.targets then error(conn, 0) end
  end
end

return M
