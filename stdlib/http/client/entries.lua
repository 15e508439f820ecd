--- What a session knows of a URL: the text taken apart, its Host, where to connect to. Worked out once, and kept by the
--- session for the requests that follow.

local core = require "asyncio.core"
local errors = require "http.client.errors"
local misuse = require "asyncio.misuse"
local urls = require "url"

local blame, describe = misuse.blame, misuse.describe
local find, format, lower = string.find, string.format, string.lower

local M = {}

--- How many URLs with options of their own a session remembers.
local MAX_SPECIAL <const> = 512

--- What a session keeps of a URL that it has seen.
---@class http.client.Entry
---@field url url.URL without user, password and fragment
---@field real_url url.URL with its fragment
---@field auth any BasicAuth of user and password
---@field host string of the header Host
---@field place any where a connector connects to
---@field target string
---@field lines string[]? the headers of a request that has none of its own
---@field typed table<string, string[]>? the same with a Content-Type

local schemes = { http = "http", https = "https", ws = "http", wss = "https" }

local function bad_url(class, method, url, reason, cause)
  reason = reason:gsub("\\?\n", "\\n") -- of a URL that has line breaks
  error(errors.make(class, { method = method, url = url }, reason, { cause = cause }), 0)
end

-- "localhost:8080/x" has a scheme by the letter.
local function hint(url)
  return find(tostring(url), "^[%w.-]+:%d") and " (is 'http://' missing?)" or ""
end

--- Text, or a URL, as an absolute one. Raises InvalidUrlClientError, NonHttpUrlClientError, TypeError.
---@param base url.URL? the session's base_url
---@param who? string the function that a script has called, if not that of the method's name
---@return url.URL
function M.parse(base, method, url, who)
  local ok, parsed = pcall(urls.parse, url)
  if not ok then
    if type(url) ~= "string" then
      who = who or lower(method)
      blame(core.TypeError, format("%s: url: a string or URL was expected, got %s", who, describe(url)))
    end
    bad_url(errors.InvalidUrlClientError, method, url, (parsed.message or tostring(parsed)) .. hint(url), parsed)
  end
  if base and not parsed.scheme then
    ok, parsed = pcall(base.join, base, parsed)
    if not ok then bad_url(errors.InvalidUrlClientError, method, url, parsed.message, parsed) end
  end
  if not parsed.scheme then
    bad_url(errors.InvalidUrlClientError, method, url, "the URL has no scheme, and the session no base_url")
  end
  return parsed
end

local function host_header(url)
  local host = url.raw_host or url.host
  if find(host, ":", 1, true) then host = "[" .. host:gsub("%%.*", "") .. "]" end
  host = host:gsub("(.)%.$", "%1") -- the root's point is for look-ups: servers do not know themselves by it
  local port = url.explicit_port
  return port and not url:is_default_port() and format("%s:%d", host, port) or host
end

--- Takes a URL apart for a request.
---@param session http.ClientSession
---@param method string
---@param url string|url.URL
---@param opts? table the request's options: ssl, proxy...
---@param upgrade? boolean|string true: for a WebSocket; "headers": for what a header asks for
---@return http.client.Entry
function M.make(session, method, url, opts, upgrade)
  local parsed = M.parse(session._base, method, url, upgrade == true and "ws_connect" or nil)
  local scheme = schemes[parsed.scheme]
  if not scheme or (scheme ~= parsed.scheme and upgrade ~= true) then
    local can = upgrade == true and "ws, wss, http and https" or "http and https"
    local reason = format("the scheme is '%s': %s can be requested%s", parsed.scheme, can, hint(url))
    bad_url(errors.NonHttpUrlClientError, method, url, reason)
  end
  local host = parsed.raw_host or parsed.host
  if not host or host == "" then bad_url(errors.InvalidUrlClientError, method, url, "the URL has no host") end
  if scheme ~= parsed.scheme then parsed = parsed:with_scheme(scheme) end
  local auth
  if parsed.raw_user or parsed.raw_password then
    auth = require("http.client.auth").BasicAuth.from_url(parsed)
    parsed = parsed:with_user(nil)
  end
  local plain = parsed.raw_fragment ~= "" and parsed:with_fragment(nil) or parsed
  local entry = { url = plain, real_url = parsed, auth = auth, host = host_header(plain) }
  M.set_place(session, entry, opts, upgrade)
  return entry
end

--- The proxy of the environment, for sessions with trust_env.
local function with_environment(session, entry, opts)
  if not session._trust_env or opts and opts.proxy ~= nil then return opts end
  local proxy, auth = require("http.client.proxy").from_environment(entry.url)
  if not proxy then return opts end
  local all = {}
  for key, value in next, opts or {} do all[key] = value end
  all.proxy, all.proxy_auth = proxy, all.proxy_auth or auth
  return all
end

--- Finds out where to connect to.
function M.set_place(session, entry, opts, upgrade)
  opts = with_environment(session, entry, opts)
  local defaults = session._place_options
  local how = { ssl = defaults.ssl, proxy = defaults.proxy, proxy_auth = defaults.proxy_auth }
  for _, key in ipairs { "ssl", "server_hostname", "proxy", "proxy_auth", "proxy_headers", "variant" } do
    if opts and opts[key] ~= nil then how[key] = opts[key] end
  end
  if how.proxy == false then how.proxy = nil end
  if upgrade then how.http2, how.tunnel = false, true end
  local place = require("http.client.place").new(entry.url, how, "request")
  entry.place = place
  entry.target = entry.url.path_qs
  if place.absolute then entry.target = tostring(entry.url) end
end

--- The same request over HTTP/1.1, for servers that want it (RFC 9113, 7: HTTP_1_1_REQUIRED).
---@param req http.client.Request
function M.without_http2(req)
  local copy = {}
  for key, value in next, req.entry do copy[key] = value end
  copy.lines, copy.typed, req.downgraded = nil, nil, true
  M.set_place(req.session, copy, req.place_options, true)
  req.entry = copy
end

--- The entry of a URL with options of its own. Those with `ssl` and a proxy's URL alone are remembered.
---@param session http.ClientSession
---@param method string
---@param url string|url.URL
---@param opts table
---@param upgrade? boolean|string
---@return http.client.Entry
function M.special(session, method, url, opts, upgrade)
  local proxy = opts.proxy
  if type(url) ~= "string" or upgrade or opts.proxy_auth ~= nil or opts.proxy_headers ~= nil
    or opts.server_hostname ~= nil or opts.variant or opts.ssl ~= opts.ssl
    or proxy ~= nil and proxy ~= false and type(proxy) ~= "string" then
    return M.make(session, method, url, opts, upgrade)
  end
  local known, ssl = session._special, opts.ssl
  if not known or known.n >= MAX_SPECIAL then
    known = { n = 0, of = {} }
    rawset(session, "_special", known)
  end
  if ssl == nil then ssl = "" end
  local list = known.of[ssl]
  if not list then
    list = {}
    known.of[ssl] = list
  end
  local key = proxy == nil and url or tostring(proxy) .. "\n" .. url
  local entry = list[key]
  if not entry then
    entry = M.make(session, method, url, opts)
    list[key], known.n = entry, known.n + 1
  end
  return entry
end

return M
