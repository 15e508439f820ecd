--- The errors of the HTTP client: aiohttp's tree. Each that a request raises says in its message which request it was
--- and why, and has `method`, `url` (text, without user and password) and, where there is one, `cause`.

local core = require "asyncio.core"

local M = {}

local isinstance = core.isinstance

-- ---- the tree ----

--- name, base, and what else it is: as Python's classes with two bases
local tree = {
  { "ClientError", core.Exception },

  { "ClientResponseError", "ClientError" },
  { "ContentTypeError", "ClientResponseError" },
  { "WSServerHandshakeError", "ClientResponseError" },
  { "ClientHttpProxyError", "ClientResponseError" },
  { "TooManyRedirects", "ClientResponseError" },

  { "ClientConnectionError", "ClientError" },
  { "ClientOSError", "ClientConnectionError", core.OSError },
  { "ClientConnectionResetError", "ClientOSError" },
  { "ClientConnectorError", "ClientOSError" },
  { "ClientConnectorDNSError", "ClientConnectorError" },
  { "ClientProxyConnectionError", "ClientConnectorError" },
  { "UnixClientConnectorError", "ClientConnectorError" },
  { "ClientSSLError", "ClientConnectorError" },
  { "ClientConnectorSSLError", "ClientSSLError" },
  { "ClientConnectorCertificateError", "ClientSSLError", core.ValueError },
  { "ServerConnectionError", "ClientConnectionError" },
  { "ServerDisconnectedError", "ServerConnectionError" },
  { "ServerTimeoutError", "ServerConnectionError", core.TimeoutError },
  { "ConnectionTimeoutError", "ServerTimeoutError" },
  { "SocketTimeoutError", "ServerTimeoutError" },
  { "ServerFingerprintMismatch", "ServerConnectionError" },

  { "ClientPayloadError", "ClientError" },

  { "InvalidURL", "ClientError", core.ValueError },
  { "InvalidUrlClientError", "InvalidURL" },
  { "NonHttpUrlClientError", "InvalidURL" },
  { "RedirectClientError", "ClientError" },
  { "InvalidUrlRedirectClientError", "InvalidUrlClientError", "RedirectClientError" },
  { "NonHttpUrlRedirectClientError", "NonHttpUrlClientError", "RedirectClientError" },
}

for _, row in ipairs(tree) do
  local name, base, also = row[1], row[2], row[3]
  base = M[base] or base
  M[name] = base:extend(name, M[also] or also)
end

-- What a server answered: `message` is its reason, as in aiohttp; the text has the rest.
function M.ClientResponseError:__tostring()
  local what = self.method and ("%s %s: "):format(self.method, self.url) or ""
  local status = self.status and self.status ~= 0 and tostring(self.status) or ""
  local message = self.message and tostring(self.message) or ""
  if status ~= "" and message ~= "" then status = status .. ", " end
  return self.name .. ": " .. what .. status .. message
end

for _, row in ipairs(tree) do
  local cls = M[row[1]]
  if row[2] == "ClientResponseError" then cls.__tostring = M.ClientResponseError.__tostring end
end

-- ---- making them ----

---@class http.client.Asked what an error says of a request: a request, or a table of these fields
---@field method string
---@field url string|url.URL
---@field request_info table?

--- The URL as it may be shown: without user and password.
---@param url string|url.URL?
---@return string?
local function shown(url)
  if url == nil then return nil end
  local text = tostring(url):gsub("^(%a[%w+.-]*://)[^/?#]*@", "%1")
  return (text:gsub("%c", function(c) return ("%%%02X"):format(c:byte()) end)) -- no line breaks into logs
end
M.shown = shown

--- Makes an error whose message begins with the request's method and URL.
---@param class table of this module
---@param asked http.client.Asked?
---@param reason string
---@param fields? table
---@return table
function M.make(class, asked, reason, fields)
  local e = class(reason, fields)
  if asked then
    e.method, e.url = e.method or asked.method, e.url or shown(asked.url)
    e.request_info = e.request_info or asked.request_info
    if e.method and not isinstance(e, M.ClientResponseError) then
      e.message = ("%s %s: %s"):format(e.method, e.url, reason)
    end
  end
  return e
end

local make = M.make

--- What is read of an error of another module.
local function reason_of(err)
  if type(err) ~= "table" then return tostring(err) end
  local message = err.message
  return message ~= nil and message ~= "" and tostring(message) or tostring(err)
end

local function seconds(n) return n and (" of %g s"):format(n) or "" end

--- The error of a deadline that has passed.
---@param kind string "total", "connect", "sock_connect", "sock_read" (or "read")
---@param asked http.client.Asked?
---@param limit number? seconds
---@return table
function M.timeout(kind, asked, limit)
  if kind == "total" then
    return make(core.TimeoutError, asked, ("timeout%s for the whole request (total)"):format(seconds(limit)))
  elseif kind == "read" or kind == "sock_read" then
    local reason = "timeout%s on reading data from socket (sock_read)"
    return make(M.SocketTimeoutError, asked, reason:format(seconds(limit)), { code = "ETIMEDOUT" })
  end
  local reason = "connection timeout%s (%s)"
  return make(M.ConnectionTimeoutError, asked, reason:format(seconds(limit), kind), { code = "ETIMEDOUT" })
end

--- The same of a deadline that an exchange has found passed; `timeouts` are those that it had.
---@param err any
---@param asked http.client.Asked?
---@param timeouts http.ClientTimeout
---@return table? # nil: it is another error
function M.late(err, asked, timeouts)
  local kind = type(err) == "table" and isinstance(err, core.TimeoutError) and err.kind
  if not kind then return nil end
  return M.timeout(kind, asked, kind == "total" and timeouts.total or timeouts.sock_read)
end

--- Fields of an OSError that ours has, too.
local function os_fields(err)
  return { code = err.code, errno = err.errno, host = err.host, port = err.port, cause = err, os_error = err }
end

local function of_response(err, asked, http)
  if isinstance(err, http.TimeoutError) then
    return M.timeout(err.kind, asked, err.limit)
  elseif isinstance(err, http.BadResponse) then
    local why = err.why or reason_of(err)
    local fields = { status = 400, cause = err, history = asked and asked.history or {} }
    return make(M.ClientResponseError, asked, why, fields)
  elseif isinstance(err, http.Disconnected) then
    local why = err.code and "Server disconnected: " .. err.message or "Server disconnected"
    return make(M.ServerDisconnectedError, asked, why, { cause = err, code = err.code })
  elseif isinstance(err, http.PayloadError) then
    return make(M.ClientPayloadError, asked, "Response payload is not completed: " .. reason_of(err), { cause = err })
  end
end

--- What is raised to scripts for an error of the layers below: one of this module's, with the request's method and URL.
--- Errors that are no business of the client's (cancellation, errors of a script's own iterator) stay what they are.
---@param err any
---@param asked http.client.Asked?
---@param reading? boolean the head has come: it is the body that is not complete
---@return any
function M.translate(err, asked, reading)
  if type(err) ~= "table" then return err end
  if isinstance(err, M.ClientError) then
    return err.method and err or not asked and err or make(getmetatable(err), asked, err.message, err)
  end
  local http = package.loaded["http.client.core"]
  local translated = http and of_response(err, asked, http)
  if translated then return translated end
  if not isinstance(err, core.OSError) or isinstance(err, core.TimeoutError) then return err end
  if isinstance(err, core.PermissionError) then return err end
  if reading then
    return make(M.ClientPayloadError, asked, "Response payload is not completed: " .. reason_of(err), os_fields(err))
  end
  local class = (err.code == "ECONNRESET" or err.code == "EPIPE") and M.ClientConnectionResetError or M.ClientOSError
  return make(class, asked, reason_of(err), os_fields(err))
end

return M
