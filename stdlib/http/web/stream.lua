--- StreamResponse: status, headers, cookies, and a body that is written piece by piece. Every other response derives
--- from it.
---
--- A response's array part has what every response has (http.web.layout): STATUS; BODY, false if it is written piece by
--- piece; TYPE, its content type; HEADERS and COOKIES, false until somebody looks at them (cookies: the line of one, or
--- name, line, value, name, line, value... of several); X, the exchange that it has been begun on; MORE, true if there
--- is something rare to look at (`_reason`, `_close`, `_compression`). `_eof` says that it is complete.

local class = require "http.web.class"
local core = require "asyncio.core"
local http_core = require "http.core"
local misuse = require "asyncio.misuse"
local cookie_line = require("http.web.cookies").line
local phrases = require("http.status").phrases
local plain_cookie = require("http.web.core").cookie

local STATUS <const>, TYPE <const>, HEADERS <const> = 1, 3, 4
local COOKIES <const>, X <const>, MORE <const> = 5, 6, 7

local async, await = core.async, core.await
local Headers = http_core.Headers

---@class http.web.StreamResponse
---@field status integer
---@field reason string
---@field headers any the response's Headers
---@field content_type string without parameters
---@field charset string?
---@field content_length integer?
---@field chunked boolean
---@field last_modified integer? seconds since 1970; a string is taken as it is
---@field etag { value: string, is_weak: boolean }? a string is taken as the value of a strong one
---@field cookies table<string, string> what set_cookie has set
---@field prepared boolean
---@field keep_alive boolean?
local StreamResponse = class.define("StreamResponse")
StreamResponse.is_response = true
StreamResponse.__open = true

--- Raises TypeError for a status that is none.
function StreamResponse._check_status(status, name)
  if math.type(status) ~= "integer" or status < 100 or status > 999 then
    local what = type(status) == "number" and tostring(status) or misuse.describe(status)
    misuse.blame(core.ValueError, name .. ": a status of three digits was expected, got " .. what)
  end
  return status
end

--- Headers of what a script gives: a table of names and values, an array of pairs, or Headers.
function StreamResponse._make_headers(given, name)
  if given == nil then return Headers() end
  if type(given) ~= "table" and type(given) ~= "userdata" then
    misuse.blame(core.TypeError, name .. ": headers: a table was expected, got " .. misuse.describe(given))
  end
  return Headers(given)
end

--- Sets a content type on a response that is being made.
function StreamResponse._set_type(self, content_type, charset, name)
  if content_type ~= nil and type(content_type) ~= "string" then
    misuse.blame(core.TypeError, name .. ": content_type: a string was expected, got " .. misuse.describe(content_type))
  elseif charset ~= nil and type(charset) ~= "string" then
    misuse.blame(core.TypeError, name .. ": charset: a string was expected, got " .. misuse.describe(charset))
  elseif content_type and content_type:find("charset=", 1, true) then
    misuse.blame(core.ValueError, name .. ": charset must not be in content_type")
  end
  if self[HEADERS] and self[HEADERS]["Content-Type"] then
    misuse.blame(core.ValueError, name .. ": both a Content-Type header and content_type or charset were given")
  end
  content_type = content_type or "application/octet-stream"
  self[TYPE] = charset and content_type .. "; charset=" .. charset or content_type
end

local get, set = StreamResponse.__get, StreamResponse.__set

function StreamResponse.new(cls, opts)
  core.options(opts, { "status", "reason", "headers", "content_type", "charset" }, "StreamResponse")
  local self = setmetatable({ 200, false, false, false, false, false, false }, cls)
  if not opts then return self end
  if opts.status then self[STATUS] = StreamResponse._check_status(opts.status, "StreamResponse") end
  if opts.reason then set.reason(self, opts.reason) end
  if opts.headers then self[HEADERS] = StreamResponse._make_headers(opts.headers, "StreamResponse") end
  if opts.content_type or opts.charset then
    StreamResponse._set_type(self, opts.content_type, opts.charset, "StreamResponse")
  end
  return self
end

-- ---- fields ----

for i, name in ipairs(require("http.web.layout").response) do
  get[name] = function(self) return self[i] end
  set[name] = function(self, value) self[i] = value end
end

local function rare(self, name, value)
  rawset(self, name, value)
  self[MORE] = true
end

function get.reason(self) return rawget(self, "_reason") or phrases[self[STATUS]] or "" end

function set.reason(self, reason)
  if reason ~= nil and (type(reason) ~= "string" or reason:find("[%c\127]")) then
    misuse.blame(core.ValueError, "reason: a line of text was expected, got " .. misuse.describe(reason))
  end
  rare(self, "_reason", reason)
end

function get.headers(self)
  local headers = self[HEADERS]
  if not headers then
    headers = Headers()
    self[HEADERS] = headers
  end
  if self[TYPE] then
    if not headers["Content-Type"] then headers["Content-Type"] = self[TYPE] end
    self[TYPE] = false
  end
  return headers
end

-- The Content-Type as it is now, or nil.
local function full_type(self) return self[HEADERS] and self[HEADERS]["Content-Type"] or self[TYPE] or nil end

local function set_full_type(self, value)
  if self[HEADERS] then
    self[HEADERS]["Content-Type"] = value
    self[TYPE] = false
  else
    self[TYPE] = value
  end
end

function get.content_type(self)
  local value = full_type(self)
  return value and value:match("^%s*([^;%s]*)"):lower() or "application/octet-stream"
end

function get.charset(self)
  local value = full_type(self)
  local charset = value and value:match(";%s*[cC][hH][aA][rR][sS][eE][tT]=\"?([^;\"%s]+)")
  return charset and charset:lower()
end

function set.content_type(self, value)
  local charset = self.charset
  set_full_type(self, charset and value .. "; charset=" .. charset or value)
end

function set.charset(self, charset)
  local value = self.content_type
  if charset and not full_type(self) then
    misuse.blame(core.RuntimeError, "set content_type before charset")
  end
  set_full_type(self, charset and value .. "; charset=" .. charset:lower() or value)
end

-- As long as it is not chunked the header is the one place for it.
function get.content_length(self)
  local headers = self[HEADERS]
  if self._chunked or not headers then return nil end
  return math.tointeger(tonumber(headers["Content-Length"]))
end

function set.content_length(self, value)
  if value ~= nil and (math.type(value) ~= "integer" or value < 0) then
    misuse.blame(core.ValueError, "content_length: a number of bytes was expected, got " .. tostring(value))
  elseif value and self._chunked then
    misuse.blame(core.RuntimeError, "content_length: chunked encoding is enabled, the length is not told then")
  end
  self.headers["Content-Length"] = value and tostring(value)
end

function get.chunked(self) return self._chunked or false end

function get.last_modified(self) return require("http.dates").parse(self.headers["Last-Modified"]) end

function set.last_modified(self, value)
  self.headers["Last-Modified"] = type(value) == "number" and require("http.dates").format(value) or value
end

function get.etag(self)
  local value = self.headers["ETag"]
  if value == "*" then return { value = "*", is_weak = false } end
  local weak, tag = (value or ""):match('^(W?/?)"([!#-~\128-\255]*)"$')
  return tag and { value = tag, is_weak = weak ~= "" } or nil
end

function set.etag(self, value)
  if value == nil then
    self.headers["ETag"] = nil
    return
  end
  local tag, weak = value, false
  if type(value) == "table" then tag, weak = value.value, value.is_weak end
  if type(tag) ~= "string" or tag:find('[%c "\127]') then
    misuse.blame(core.ValueError, "etag: text without quotes, blanks and control characters was expected")
  end
  self.headers["ETag"] = value == "*" and "*" or (weak and "W/" or "") .. '"' .. tag .. '"'
end

function get.prepared(self) return self[X] and true or false end

function get.keep_alive(self)
  if self._close then return false end
  return self[X] and self[X]:keep_alive() or nil
end

function get.body_length(self) return self._sent or 0 end

function get.compression(self) return self._compression end

--- Sets the status, and the phrase that goes with it. RuntimeError once it has been sent.
---@param status integer
---@param reason? string
function StreamResponse:set_status(status, reason)
  if self[X] then misuse.blame(core.RuntimeError, "set_status: the status has been sent") end
  self[STATUS] = StreamResponse._check_status(status, "set_status")
  set.reason(self, reason)
end

--- The connection is closed after this response.
function StreamResponse:force_close() rare(self, "_close", true) end

--- Compresses the body if the client takes that: with gzip, deflate or br, what the client likes best, or as `force`
--- says ("gzip", "deflate", "br", "identity").
---@param force? string
function StreamResponse:enable_compression(force)
  if force ~= nil and not ({ gzip = 1, deflate = 1, br = 1, identity = 1 })[force] then
    misuse.blame(
      core.ValueError, ("enable_compression: gzip, deflate, br or identity was expected, got %s"):format(force)
    )
  end
  rare(self, "_compression", force or true)
end

--- Sends the body in chunks. RuntimeError if content_length is set, and when it is prepared for a client of HTTP/1.0.
function StreamResponse:enable_chunked_encoding()
  if self[HEADERS] and self[HEADERS]["Content-Length"] then
    misuse.blame(core.RuntimeError, "enable_chunked_encoding: content_length is set")
  end
  rawset(self, "_chunked", true)
end

-- ---- cookies ----

-- Name, line and value of a plain cookie of which there is the line.
local function one_cookie(line)
  local name, value = line:match("^([^=]*)=([^;]*)")
  return { name, line, value }
end

--- Sets a cookie.
---@param name string
---@param value string
---@param opts? table {expires, domain, max_age, path = "/", secure, httponly, samesite}
function StreamResponse:set_cookie(name, value, opts)
  local cookies = self[COOKIES]
  local line = opts == nil and plain_cookie(name, value)
  if line and not cookies then
    self[COOKIES] = line -- one plain cookie is its line
    return
  end
  line = line or cookie_line(name, value, opts)
  if not cookies then
    self[COOKIES] = { name, line, value }
    return
  elseif type(cookies) == "string" then
    cookies = one_cookie(cookies)
    self[COOKIES] = cookies
  end
  for i = 1, #cookies, 3 do
    if cookies[i] == name then
      cookies[i + 1], cookies[i + 2] = line, value
      return
    end
  end
  local n = #cookies
  cookies[n + 1], cookies[n + 2], cookies[n + 3] = name, line, value
end

--- Tells the client to forget a cookie.
---@param name string
---@param opts? table {domain, path = "/", secure, httponly, samesite}: as it was set
function StreamResponse:del_cookie(name, opts)
  local all = { max_age = 0, expires = "Thu, 01 Jan 1970 00:00:00 GMT" }
  for key, value in next, opts or {} do all[key] = value end
  self:set_cookie(name, "", all)
end

function get.cookies(self)
  local all, cookies = {}, self[COOKIES] or {}
  if type(cookies) == "string" then cookies = one_cookie(cookies) end
  for i = 1, #cookies, 3 do all[cookies[i]] = cookies[i + 2] end
  return all
end

-- ---- sending ----

local type_only = {} -- content type -> the array of a head that has nothing else; not for ever new ones
local type_count = 0
StreamResponse._heads = type_only

--- The headers as an exchange takes them: nil, an array of names and values, or Headers.
function StreamResponse._head(self)
  local headers, cookies, ctype = self[HEADERS], self[COOKIES], self[TYPE]
  if not headers and not cookies then
    if not ctype then return nil end
    local head = type_only[ctype]
    if not head then
      head = { "Content-Type", ctype }
      if type_count < 64 then
        type_count = type_count + 1
        type_only[ctype] = head
      end
    end
    return head
  elseif headers and not cookies and not ctype then
    return headers
  elseif type(cookies) == "string" then
    if ctype and not headers then return { "Content-Type", ctype, "Set-Cookie", cookies } end
    cookies = one_cookie(cookies)
  end
  local head, n = {}, 0
  if headers then
    for name, value in pairs(headers) do
      head[n + 1], head[n + 2] = name, value
      n = n + 2
    end
  end
  if ctype and not (headers and headers["Content-Type"]) then
    head[n + 1], head[n + 2] = "Content-Type", ctype
    n = n + 2
  end
  for i = 1, cookies and #cookies or 0, 3 do
    head[n + 1], head[n + 2] = "Set-Cookie", cookies[i + 1]
    n = n + 2
  end
  return head
end

--- The applications' on_response_prepare, the outermost's first.
local function signal_prepare(self, request)
  local apps = request._apps
  for i = 1, #apps do
    local signal = apps[i].on_response_prepare
    if #signal > 0 then await(signal:send(request, self)) end
  end
end

StreamResponse._signal_prepare = signal_prepare

-- Begins on the exchange; nil: chunked.
local function start(self, request, length)
  local x = request._x
  if self[X] then
    if self[X] == x then return self end
    error(core.RuntimeError(("%s was prepared for another request"):format(self.__name)), 0)
  end
  local app = request._route.app
  if app and app._has_prepare then signal_prepare(self, request) end
  if self._compression then
    self._encoder = require("http.web.compression").start(self, request)
    if self._encoder then length = nil end
  end
  if self._close then x:set_keep_alive(false) end
  if self._chunked and x:version() == "1.0" then
    error(core.RuntimeError("HTTP/1.0 knows no chunked encoding"), 0)
  end
  self[X], self._request, self._eof, self._sent = x, request, false, 0
  x:start(self[STATUS], self._reason, StreamResponse._head(self), not self._chunked and length or nil)
  return self
end

--- Sends status and headers. Done by itself with the first of the requests that a response is returned for.
---@param request table
---@return any awaitable of the response
function StreamResponse:prepare(request) return self._prepare(self, request) end

StreamResponse._prepare = async(function(self, request)
  local status, headers = self[STATUS], self[HEADERS]
  if not self[TYPE] and not (headers and headers["Content-Type"]) and status ~= 204 and status ~= 304 then
    self[TYPE] = "application/octet-stream"
  end
  return start(self, request)
end, "StreamResponse.prepare")

StreamResponse._start = start

--- Writes a piece of the body, and waits while the client is slow. RuntimeError before prepare and after write_eof.
---@param data string
---@return any awaitable
StreamResponse.write = async(function(self, data)
  if type(data) ~= "string" then
    error(core.TypeError("write: a string was expected, got " .. misuse.describe(data)), 0)
  elseif not self[X] then
    error(core.RuntimeError("write: the response has not been prepared: await(response:prepare(request)) first"), 0)
  elseif self._eof then
    error(core.RuntimeError("write: write_eof was called before"), 0)
  end
  if self._encoder then data = self._encoder:compress(data) end
  if #data == 0 then return end
  self._sent = self._sent + #data
  local drain = self[X]:write(data)
  if drain then await(drain) end
end, "StreamResponse.write")

--- Ends the body, with a last piece if there is one. A second time nothing happens.
---@param data? string
---@return any awaitable
StreamResponse.write_eof = async(function(self, data)
  if self._eof then return end
  if not self[X] then error(core.RuntimeError("write_eof: the response has not been prepared"), 0) end
  if data and #data > 0 then await(StreamResponse.write(self, data)) end
  self._eof = true
  if self._encoder then
    local rest = self._encoder:finish()
    if #rest > 0 then
      local drain = self[X]:write(rest)
      if drain then await(drain) end
    end
  end
  local drain = self[X]:finish()
  if drain then await(drain) end
end, "StreamResponse.write_eof")

--- For the server: sends what has not been sent.
function StreamResponse._send(self, request)
  if not self[X] or self[X] ~= request._x then await(self:prepare(request)) end
  if not self._eof then await(self:write_eof()) end
end

function StreamResponse:__tostring()
  return ("<%s %d %s%s>"):format(self.__name, self[STATUS], self.reason, self[X] and " prepared" or "")
end

return StreamResponse
