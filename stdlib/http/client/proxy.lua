--- Which proxy the environment asks for: http_proxy, https_proxy, all_proxy and no_proxy, as curl and Python read them.
--- What is found is asked for anew each time: a script may alter nothing of it, and a session keeps what it got.

local core = require "asyncio.core"
local net = require "asyncio.net"

local M = {}

local find, gsub, lower, match = string.find, string.gsub, string.lower, string.match

--- nil too for what a sandbox hides.
local function getenv(name)
  local ok, value = pcall(os.getenv, name)
  return ok and value ~= "" and value or nil
end

--- The small name first. HTTP_PROXY is what a CGI program gets of a client's header "Proxy": it is not asked then.
local function variable(name)
  local value = getenv(name)
  if value then return value end
  if name == "http_proxy" and getenv("REQUEST_METHOD") then return nil end
  return getenv(name:upper())
end

-- ---- no_proxy ----

local function bits_of(address)
  local ok, packed = pcall(function()
    local sockets = require "socket"
    return sockets.inet_pton(find(address, ":", 1, true) and "inet6" or "inet", address)
  end)
  return ok and packed or nil
end

--- Is the address in the network "10.0.0.0/8"?
local function within(address, network)
  local base, length = match(network, "^(.-)/(%d+)$")
  local a, b = base and bits_of(address), base and bits_of(base)
  length = tonumber(length)
  if not a or not b or #a ~= #b or length > #a * 8 then return false end
  local whole, rest = length // 8, length % 8
  if a:sub(1, whole) ~= b:sub(1, whole) then return false end
  if rest == 0 then return true end
  return a:byte(whole + 1) >> (8 - rest) == b:byte(whole + 1) >> (8 - rest)
end

local function names(entry, host, port, is_ip)
  if entry == "*" then return true end
  if is_ip and find(entry, "/", 1, true) then return within(host, entry) end
  local name, number = match(entry, "^%[(.-)%]:?(%d*)$") -- [::1]:8080
  if not name then name, number = match(entry, "^([^:]*):(%d+)$") end
  if not name then name, number = entry, "" end
  if number ~= "" and tonumber(number) ~= port then return false end
  name = gsub(gsub(name, "^%*?%.", ""), "%.$", "")
  if name == "" then return false end
  if is_ip then return name == host or bits_of(name) ~= nil and bits_of(name) == bits_of(host) end
  return name == host or host:sub(-#name - 1) == "." .. name
end

--- Is the host to be asked without a proxy, by a list as no_proxy has: names (with all below them), addresses, networks
--- ("10.0.0.0/8"), each with a port or not; "*" is everything?
---@param list string?
---@param host string
---@param port integer?
---@return boolean
function M.bypassed(list, host, port)
  if not list then return false end
  host = gsub(lower(host), "%.$", "")
  local is_ip = net.isip(host)
  for entry in string.gmatch(lower(list), "[^%s,]+") do
    if names(entry, host, port, is_ip) then return true end
  end
  return false
end

-- ---- proxies ----

local ASKED = {
  http = { "http_proxy", "all_proxy" },
  https = { "https_proxy", "all_proxy" },
  ws = { "ws_proxy", "http_proxy", "all_proxy" },
  wss = { "wss_proxy", "https_proxy", "all_proxy" },
}

--- The proxy that the environment names for a URL, and a BasicAuth for it if there are user and password; nil if there
--- is none. Without a scheme it is one of HTTP. Raises ValueError, naming the variable, if it is no URL.
---@param url url.URL
---@return url.URL? proxy
---@return any auth
function M.from_environment(url)
  local list = ASKED[url.scheme]
  if not list then return nil end
  local value, from
  for _, name in ipairs(list) do
    value, from = variable(name), name
    if value then break end
  end
  if not value or M.bypassed(variable("no_proxy"), url.raw_host, url.port) then return nil end
  if not find(value, "://", 1, true) then value = "http://" .. value end
  local ok, proxy = pcall(require("url").parse, value)
  if not ok or not proxy.raw_host or not require("http.client.place").proxies[proxy.scheme] then
    error(core.ValueError(("the environment's %s is no proxy's URL: '%s'"):format(from,
      require("http.client.errors").shown(value))), 0)
  end
  local found, auth = pcall(require, "http.client.auth")
  auth = found and auth.BasicAuth.from_url(proxy) or nil
  if auth then proxy = proxy:with_user(nil) end
  return proxy, auth
end

return M
