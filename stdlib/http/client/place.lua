--- Where a request goes: the server, whether by TLS and with which rules, and the proxy in between. A place is made
--- once for a URL's origin and its options and never changes; connections to places with the same key are as good as
--- each other.

local core = require "asyncio.core"
local misuse = require "asyncio.misuse"
local urls = require "url"

local describe = misuse.describe

local M = {}

local SECURE = { http = false, https = true, ws = false, wss = true }
--- How proxies are spoken to, and the port that they listen on if none is written. `remote`: they look names up.
M.proxies = {
  http = { kind = "http", port = 80 },
  https = { kind = "http", port = 443, secure = true },
  socks4 = { kind = "socks4", port = 1080 },
  socks4a = { kind = "socks4", port = 1080, remote = true },
  socks5 = { kind = "socks5", port = 1080 },
  socks5h = { kind = "socks5", port = 1080, remote = true },
}

---@class http.client.Proxy
---@field url url.URL without user and password
---@field kind string "http", "socks4" or "socks5"
---@field host string
---@field port integer
---@field secure boolean? is it spoken to over TLS?
---@field remote boolean? does it look names up?
---@field user string?
---@field password string?
---@field auth any a BasicAuth, for proxies of HTTP
---@field digest http.DigestAuth? in its place, asked for each request: its answers are each others'
---@field headers string[]? names and values for it alone, in turn

---@class http.client.Place
---@field key string
---@field scheme string of the URL
---@field host string as it is looked up: IDNA form, small letters, IPv6 without brackets
---@field port integer
---@field secure boolean TLS?
---@field ssl any the option
---@field ssl_text string the same for messages
---@field server_hostname string what the certificate must be for
---@field http1 boolean is HTTP/2 out of the question?
---@field variant string? settings of its connections that are not the session's
---@field proxy http.client.Proxy?
---@field absolute boolean does a request line name the whole URL? In the clear through a proxy of HTTP
---@field headers string[]? what requests get in addition then: names and values in turn

-- ---- proxies ----

local function check_auth(auth, who)
  if auth ~= nil and not require("http.client.auth").is(auth) then
    misuse.blame(core.TypeError, ("%s: proxy_auth must be a BasicAuth or DigestAuth, got %s"):format(who,
      describe(auth)))
  end
end

--- user, password of a URL or of proxy_auth; the object that makes a header's value of them.
local function credentials(url, auth, kind, who)
  check_auth(auth, who)
  if auth == nil then
    local user = url.user
    if not user then return nil end
    auth = require("http.client.auth").BasicAuth(user, url.password or "")
  end
  if kind ~= "http" and not auth.encode then
    misuse.blame(core.TypeError, who .. ": proxy_auth for a SOCKS proxy must be a BasicAuth")
  end
  return auth
end

local function header_list(headers, who)
  if headers == nil then return nil end
  return require("http.client.request").make_headers(headers, who .. ": proxy_headers"):array()
end

--- Takes the option `proxy` apart.
---@param value string|url.URL
---@param auth any
---@param headers any
---@param who string
---@return http.client.Proxy
function M.proxy(value, auth, headers, who)
  local ok, url = pcall(urls.parse, value)
  if not ok then
    local class = type(value) == "string" and require("http.client.errors").InvalidURL or core[url.name]
    misuse.blame(class or core.ValueError, ("%s: proxy: %s"):format(who, url.message))
  end
  local known = M.proxies[url.scheme]
  if not known or not url.raw_host then
    local text = "%s: proxy must be a URL of http, https, socks5, socks5h, socks4 or socks4a, got '%s'"
    local errors = require "http.client.errors"
    misuse.blame(errors.InvalidURL, text:format(who, errors.shown(url)))
  end
  auth = credentials(url, auth, known.kind, who)
  if url.raw_user then url = url:with_user(nil) end
  if known.kind ~= "http" and headers ~= nil then
    misuse.blame(core.ValueError, who .. ": proxy_headers are for proxies of HTTP, not for " .. url.scheme)
  end
  local digest
  if auth and auth.challenged then auth, digest = nil, auth end
  return {
    digest = digest, url = url, kind = known.kind, secure = known.secure, remote = known.remote, host = url.raw_host,
    port = url.explicit_port or known.port, auth = auth, headers = header_list(headers, who),
    user = auth and auth.login, password = auth and auth.password,
  }
end

--- Checks the options about proxies, whether there is one or not. Raises TypeError, ValueError.
---@param opts table {proxy, proxy_auth, proxy_headers}
---@param who string
---@return http.client.Proxy?
function M.check_proxy(opts, who)
  if opts.proxy ~= nil and opts.proxy ~= false then
    return M.proxy(opts.proxy, opts.proxy_auth, opts.proxy_headers, who)
  end
  check_auth(opts.proxy_auth, who)
  header_list(opts.proxy_headers, who)
end

--- What requests by way of a proxy of HTTP, and CONNECT, say to it.
---@param proxy http.client.Proxy
---@return string[]?
function M.proxy_headers(proxy)
  local list = proxy.headers and table.move(proxy.headers, 1, #proxy.headers, 1, {}) or {}
  if proxy.auth then
    list[#list + 1] = "Proxy-Authorization"
    list[#list + 1] = proxy.auth:encode()
  end
  return #list > 0 and list or nil
end

-- ---- places ----

---@param place http.client.Place
local function key_of(place)
  local proxy = place.proxy
  local parts = { place.secure and "https" or "http", place.host, place.port }
  if place.secure then
    parts[#parts + 1] = place.ssl_text
    parts[#parts + 1] = place.server_hostname
  end
  if place.http1 then parts[#parts + 1] = "http/1.1" end
  if place.variant then parts[#parts + 1] = "(" .. place.variant .. ")" end
  if proxy then
    parts[#parts + 1] = tostring(proxy.url)
    if not place.secure then -- then it is the proxy's TLS
      parts[#parts + 1] = place.ssl_text
      parts[#parts + 1] = place.absolute and "by URL" or "by tunnel"
    end
    local said = M.proxy_headers(proxy) or { proxy.user, proxy.password }
    for _, text in ipairs(said) do parts[#parts + 1] = ("%q"):format(text) end
    if proxy.digest then parts[#parts + 1] = ("digest %q %q"):format(proxy.digest.login, proxy.digest._password) end
  end
  return table.concat(parts, " ")
end

--- The place of an absolute URL of http, https, ws or wss.
---@param url url.URL
---@param opts? table {ssl, server_hostname, proxy, proxy_auth, proxy_headers, variant, http2 = false: out of the
--- question, tunnel = true: in the clear too}
---@param who? string the function that a script has called, for messages
---@return http.client.Place place raises TypeError, ValueError and InvalidURL, at the script's call
function M.new(url, opts, who)
  opts, who = opts or {}, who or "request"
  local scheme, name = url.scheme, opts.server_hostname
  local text = require("http.client.tls").check(opts.ssl, who, 3)
  if name ~= nil and (type(name) ~= "string" or name == "" or name:find("%z") or name:find("^%.")) then
    misuse.blame(core.ValueError, ("%s: server_hostname must be a host's name, got %s"):format(who,
      type(name) == "string" and ("%q"):format(name) or describe(name)))
  end
  local host = url.raw_host
  if host:find(":", 1, true) then host = host:gsub("%%25", "%%") end -- a zone: RFC 6874
  local proxy = M.check_proxy(opts, who)
  local place = {
    scheme = scheme, host = host, port = url.port, secure = SECURE[scheme] or false, ssl = opts.ssl,
    ssl_text = text, server_hostname = name or host:gsub("%.$", ""):gsub("%%.*", ""), proxy = proxy, absolute = false,
    http1 = opts.http2 == false or scheme == "ws" or scheme == "wss", variant = opts.variant,
  }
  if proxy and proxy.kind == "http" and scheme == "http" and not opts.tunnel then
    place.absolute = true
    place.headers = M.proxy_headers(proxy)
  end
  place.key = key_of(place)
  return place
end

--- The place as errors have it: host:port ssl:default.
---@param place http.client.Place
---@return string
function M.text(place)
  local host = place.host:find(":", 1, true) and "[" .. place.host .. "]" or place.host
  return ("%s:%d%s"):format(host, place.port, place.secure and " ssl:" .. place.ssl_text or "")
end

return M
