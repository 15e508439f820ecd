--- What `moonloop fetch` and `moonloop bench` have in common: the options that say how to reach a server, and the
--- session that they make.

local core = require "asyncio.core"
local options = require "commands.options"

local M = {}

--- Kinds of the common options (see commands.options).
M.kinds = {
  request = "string", header = "list", user = "string", digest = "flag", ["user-agent"] = "string", insecure = "flag",
  cacert = "string", cert = "string", key = "string", proxy = "string", ["proxy-user"] = "string",
  ["proxy-digest"] = "flag", noproxy = "flag", ["unix-socket"] = "string", ["http1.1"] = "flag", http2 = "flag",
  ipv4 = "flag", ipv6 = "flag", ["connect-timeout"] = "duration",
}

M.short = {
  X = "request", H = "header", u = "user", A = "user-agent", k = "insecure", E = "cert", x = "proxy", ["4"] = "ipv4",
  ["6"] = "ipv6",
}

M.help = [[
  -X, --request METHOD    another method
  -H, --header 'N: V'     a header (may come again); 'N:' leaves one out that would be sent
  -A, --user-agent NAME
  -u, --user USER:PASS    Basic credentials; with --digest: Digest
  -k, --insecure          do not verify certificates
      --cacert FILE       certificates to trust instead of the system's (PEM)
  -E, --cert FILE         our own certificate, with its chain
      --key FILE          its private key, if it is not in the same file
  -x, --proxy URL         http://, https://, socks5:// or socks5h://; else the environment's
      --proxy-user U:P    credentials for the proxy; with --proxy-digest: Digest
      --noproxy           no proxy, whatever the environment says
      --unix-socket PATH  connect there
      --http1.1, --http2  HTTP/1.1 alone; HTTP/2 also where there is no TLS to agree on it
  -4, --ipv4; -6, --ipv6  addresses of one kind alone
      --connect-timeout T 30s
]]

--- Both tables in one.
function M.with(common, own)
  local all = {}
  for _, t in ipairs { common, own } do
    for key, value in next, t do all[key] = value end
  end
  return all
end

--- f(...); what it raises for what stands on the command line ends the command.
local function on_command_line(command, what, f, ...)
  local ok, value = pcall(f, ...)
  if ok then return value end
  local text = type(value) == "table" and value.message or tostring(value)
  text = tostring(text):gsub("^[^:]*:%d+: ", "")
  if text:sub(1, #what) ~= what then text = what .. ": " .. text end
  options.misuse(command, "%s", text)
end

local function credentials(command, name, text)
  local user, password = text:match("^([^:]*):(.*)$")
  if not user then options.misuse(command, "%s: USER:PASSWORD was expected", name) end
  return user, password
end

local function ssl_of(command, given)
  if not (given.cacert or given.cert) then
    if given.key then options.misuse(command, "--key is of no use without --cert") end
    if given.insecure then return false end
    return nil
  end
  local ssl = require "ssl"
  local context = on_command_line(command, "--cacert", ssl.create_default_context, ssl.Purpose.SERVER_AUTH,
    { cafile = given.cacert })
  if given.insecure then
    context.check_hostname = false
    context.verify_mode = ssl.CERT_NONE
  end
  if given.cert then
    on_command_line(command, "--cert", context.load_cert_chain, context, given.cert, given.key)
  end
  return context
end

local function connector_of(command, given, opts)
  local http = require "http"
  if given["http1.1"] and given.http2 then options.misuse(command, "--http1.1 and --http2 exclude each other") end
  if given.ipv4 and given.ipv6 then options.misuse(command, "-4 and -6 exclude each other") end
  local all = { limit = opts.limit, force_close = opts.force_close }
  if given["http1.1"] then all.http2 = false end
  if given.http2 then all.http2 = "prior" end
  if given.unix_socket then
    return on_command_line(command, "--unix-socket", http.UnixConnector, given.unix_socket, all)
  end
  if given.ipv4 or given.ipv6 then
    local socket = require "socket"
    all.family = given.ipv4 and socket.AF_INET or socket.AF_INET6
  end
  return http.TCPConnector(all)
end

--- Headers of --header, and the names of those that are to be left out.
---@return table headers pairs
---@return string[] skipped
function M.headers(command, given)
  local headers, skipped = {}, {}
  for _, text in ipairs(given.header or {}) do
    local name, value = options.header(command, text)
    if value == "" and text:find(":", 1, true) then
      skipped[#skipped + 1] = name
    else
      headers[#headers + 1] = { name, value }
    end
  end
  if given.user_agent then
    if given.user_agent:find("%c") then options.misuse(command, "--user-agent has control characters") end
    headers[#headers + 1] = { "User-Agent", given.user_agent }
  end
  return headers, skipped
end

local function auth_of(command, given)
  local http = require "http"
  if not given.user then
    if given.digest then options.misuse(command, "--digest is of no use without --user") end
    return nil
  end
  local user, password = credentials(command, "--user", given.user)
  local class = given.digest and http.DigestAuth or http.BasicAuth
  return on_command_line(command, "--user", class, user, password)
end

--- The proxy, and its credentials: --proxy's, or for a session of one URL (`opts.url`) the environment's, which is
--- looked up once then; else the session does that for each request.
local function proxy_of(command, given, opts)
  local proxy, auth = given.proxy, nil
  if given.proxy_user then
    local class = require("http")[given.proxy_digest and "DigestAuth" or "BasicAuth"]
    auth = on_command_line(command, "--proxy-user", class, credentials(command, "--proxy-user", given.proxy_user))
  elseif given.proxy_digest then
    options.misuse(command, "--proxy-digest is of no use without --proxy-user")
  end
  if proxy == "" then return nil, nil end
  if proxy then
    local anywhere = require("url").parse("http://localhost/")
    on_command_line(command, "--proxy", require("http.client.place").new, anywhere, { proxy = proxy }, "--proxy")
  elseif opts.url and not given.noproxy then
    local own
    proxy, own = require("http.client.proxy").from_environment(require("url").parse(opts.url))
    auth = auth or own
  end
  return proxy, auth
end

--- A session as the options want it.
---@param command string
---@param given table the options
---@param opts table { limit, force_close, timeout, silence, cookie_jar, auto_decompress, trace_configs, url }
---@return any http.ClientSession
function M.session(command, given, opts)
  local http = require "http"
  local headers, skipped = M.headers(command, given)
  local proxy, proxy_auth = proxy_of(command, given, opts)
  local session_opts = {
    headers = headers, skip_auto_headers = skipped, auth = auth_of(command, given),
    connector = connector_of(command, given, opts), ssl = ssl_of(command, given), timeout = http.ClientTimeout {
      total = opts.timeout, sock_connect = given.connect_timeout or 30, sock_read = opts.silence,
    },
    cookie_jar = opts.cookie_jar, auto_decompress = opts.auto_decompress, trace_configs = opts.trace_configs,
    trust_env = not given.noproxy and given.proxy == nil and not opts.url, proxy = proxy, proxy_auth = proxy_auth,
    max_redirects = opts.max_redirects,
  }
  return on_command_line(command, "options", http.ClientSession, session_opts)
end

--- A URL of the command line: "example.com" is "http://example.com".
---@return string
function M.url(command, text)
  if not text:find("^%a[%w+.-]*://") then text = "http://" .. text end
  local scheme = text:match("^(%a[%w+.-]*):"):lower()
  if scheme ~= "http" and scheme ~= "https" then
    options.misuse(command, "http and https can be requested, not '%s'", scheme)
  end
  local url = on_command_line(command, "'" .. text .. "'", require("url").parse, text)
  if not url.host or url.host == "" then options.misuse(command, "there is no host in '%s'", text) end
  return text
end

--- Runs main as the command does: Ctrl-C ends it with 130, SystemExit by its code.
function M.run(main)
  local status = require("asyncio").run(main)
  if status and status ~= 0 then error(core.SystemExit(status), 0) end
end

--- What went wrong, without the request in front of it: "Connection refused", "timeout".
---@param err any
---@return string kind, string reason
function M.reason(err)
  if type(err) ~= "table" then return "error", tostring(err) end
  local message = tostring(err.message or "")
  if err.method and err.url then
    local front = ("%s %s: "):format(err.method, err.url)
    if message:sub(1, #front) == front then message = message:sub(#front + 1) end
  end
  return err.name or "error", message
end

return M
