--- ClientResponse: what a server has answered. `status` and `method` are there when it is made, everything else is
--- computed when it is asked for. It holds its connection until its body has come in full, or until it is closed.
---
--- What every response has stands in its array part, which is cheaper to make than fields by name: the exchange, the
--- connection (false once it was given back), the URL's entry, the headers that were sent, the session, the body as it
--- came (false: not there yet), the method, the request when it had options of its own, the body decoded.

local class = require "http.web.class"
local core = require "asyncio.core"
local errors = require "http.client.errors"
local misuse = require "asyncio.misuse"

local X <const>, CONN <const>, ENTRY <const>, LINES <const>, SESSION <const> = 1, 2, 3, 4, 5
local RAW <const>, METHOD <const>, REQUEST <const>, BODY <const> = 6, 7, 8, 9

local async, await, catch = core.async, core.await, core.catch

---@class http.ClientResponse
---@field status integer
---@field method string
---@field reason string
---@field version string "1.1", "1.0", "2.0"
---@field ok boolean status below 400
---@field url url.URL whose answer it is, without its fragment
---@field real_url url.URL
---@field host string
---@field headers http.Headers case-insensitive, multi-valued
---@field raw_headers table[] { name, value } as they came
---@field trailers http.Headers? what came behind a body in chunks
---@field cookies table<string, http.SetCookie> that it sets, by name
---@field history http.ClientResponse[] the redirects that led here
---@field content http.client.Content the body as a stream, decoded
---@field content_type string "application/octet-stream" when the server says none
---@field content_length integer? as it was sent
---@field charset string?
---@field content_disposition { type: string, parameters: table<string, string>, filename: string? }?
---@field links http.MultiDict of the Link headers: rel -> MultiDict with `url`
---@field request_info http.RequestInfo
---@field closed boolean
---@field connection any the connection while the response has one
---@field session http.ClientSession
local ClientResponse = class.define("ClientResponse")

local get = ClientResponse.__get

--- For the session.
---@param status integer
---@param request http.client.Request|false
function ClientResponse._make(status, method, x, conn, entry, lines, session, request)
  local self = { x, conn, entry, lines, session, false, method, request, false, status = status }
  return setmetatable(self, ClientResponse)
end

function ClientResponse.new()
  misuse.blame(core.TypeError, "responses are made by sessions: await(session:get(url))")
end

-- Keeps what was computed.
local function lazy(name, f)
  get[name] = function(self)
    local value = f(self)
    rawset(self, name, value)
    return value
  end
end

-- ---- what it says ----

function get._x(self) return self[X] end

function get._conn(self) return self[CONN] end

function get.method(self) return self[METHOD] end

function get.reason(self) return self[X]:reason() end

function get.version(self) return self[X]:version() end

function get.ok(self) return self.status < 400 end

function get.url(self) return self[ENTRY].url end

function get.real_url(self) return self[ENTRY].real_url end

function get.host(self) return self[ENTRY].url.host end

function get.session(self) return self[SESSION] end

lazy("headers", function(self) return self[X]:headers() end)

lazy("history", function() return {} end)

function get.raw_headers(self)
  local list, lines = {}, self.headers:array()
  for i = 1, #lines, 2 do list[#list + 1] = { lines[i], lines[i + 1] } end
  return list
end

function get.trailers(self) return self[X]:trailers() end

lazy("cookies", function(self)
  local cookies = {}
  for _, line in ipairs(self.headers:getall("Set-Cookie")) do
    local cookie = require("http.cookies").parse_set_cookie(line)
    if cookie then cookies[cookie.name] = cookie end
  end
  return cookies
end)

lazy("request_info", function(self)
  local request, entry = require "http.client.request", self[ENTRY]
  return request.RequestInfo(entry.url, self[METHOD], request.headers_of(self[LINES]), entry.real_url)
end)

local function content_type(self)
  local value = self[X]:header("Content-Type")
  if not value then return nil end
  return require("http.parameters").parse(value)
end

lazy("content_type", function(self)
  local kind = content_type(self)
  return kind and kind ~= "" and kind or "application/octet-stream"
end)

function get.charset(self)
  local _, parameters = content_type(self)
  local charset = parameters and parameters.charset
  return charset and charset:lower()
end

function get.content_length(self)
  local value = self[X]:header("Content-Length")
  return value and math.tointeger(tonumber(value)) or nil
end

lazy("content_disposition", function(self)
  local value = self[X]:header("Content-Disposition")
  if not value then return nil end
  local parameters = require "http.parameters"
  local kind, list = parameters.parse(value)
  return { type = kind, parameters = list, filename = parameters.extended(list, "filename") }
end)

lazy("links", function(self)
  return require("http.client.links").parse(self.headers:getall("Link"), self.url)
end)

-- ---- its connection ----

function get.connection(self) return self[CONN] or nil end

function get.closed(self) return not self[CONN] end

-- The session that lives for this response alone goes with it (http.request).
local function leave(self)
  local owned = rawget(self, "_owned")
  if owned then
    rawset(self, "_owned", nil)
    owned:_drop()
  end
end

--- The connection goes back to the pool, or away.
local function give_back(self, keep)
  local conn = self[CONN]
  if not conn then return end
  self[CONN] = false
  self[SESSION]._connector:release(conn, keep)
  leave(self)
end

--- If all of it has come and the request has been sent, the connection is free for others.
local function settle(self)
  if self[CONN] and self[X]:over() then give_back(self, true) end
end

--- For the connector: the exchange has ended with nobody looking, and the connection is others' already.
function ClientResponse:_lost_connection()
  self[CONN] = false
  leave(self)
end

-- For read_until_eof = false: what has no length is taken to be empty, and its connection ends.
function ClientResponse:_without_body()
  self[RAW] = ""
  self[X]:abort()
  give_back(self, false)
end

-- The same, right behind the head: a body that is there is taken.
function ClientResponse:_take()
  local body = self[X]:take()
  if not body then
    settle(self)
    if self[CONN] then self[SESSION]._connector:hold(self[CONN], self) end
    return
  end
  self[RAW] = body
  give_back(self, true)
end
ClientResponse._settle = settle

local function stop_writer(self)
  local request = self[REQUEST]
  local writer = request and request.writing
  if writer then
    request.writing = nil
    writer:cancel()
  end
end

--- Closes the connection, if the response still has it.
function ClientResponse:close()
  if not self then misuse.no_object(core.TypeError, "close", "a ClientResponse", self) end
  local conn = self[CONN]
  if not conn then return end
  rawset(self, "_closed", true)
  stop_writer(self)
  if self[X]:over() then return give_back(self, true) end
  self[X]:abort()
  give_back(self, false)
end

--- Lets the rest of the body go: what is little of it is read past, for the connection to be used again; else that is
--- closed. Also what `<close>` does.
function ClientResponse:release()
  if not self then misuse.no_object(core.TypeError, "release", "a ClientResponse", self) end
  local conn = self[CONN]
  if not conn then return end
  if self.status == 101 then return self:close() end
  rawset(self, "_closed", true)
  local x = self[X]
  if not x:over() and not x:request_finished() then return self:close() end
  x:discard()
  if x:over() or x:multiplexed() then -- a stream of HTTP/2 has been reset
    give_back(self, true)
  elseif conn:is_closing() then
    give_back(self, false)
  else -- the pool is told when the rest has come
    self[CONN] = false
    leave(self)
  end
end

ClientResponse.__close = ClientResponse.release

--- Waits until the request has been sent to its end, and releases.
---@return any awaitable
ClientResponse.wait_for_close = async(function(self)
  local writer = self[REQUEST] and self[REQUEST].writing
  if writer then catch(await, writer) end
  self:release()
end, "ClientResponse.wait_for_close")

--- After 101, which a request with a header Upgrade may be answered by: what the connection is from there on, and who
--- calls it is to close. Raises RuntimeError when there is no such connection, ClientError when the server has gone.
---@return StreamReader reader
---@return StreamWriter writer
function ClientResponse:upgrade()
  if self.status ~= 101 or not self[CONN] then
    misuse.blame(core.RuntimeError, "upgrade: the server has not switched protocols, or the response was closed")
  end
  local x, _, release = self:_detach()
  local ok, reader, writer = pcall(x.upgrade, x)
  if not ok then x:abort() end
  release(false)
  if not ok then error(errors.translate(reader, self), 0) end
  return reader, writer
end

--- For WebSockets: gives the exchange, the connection and what gives the connection back; the response has no claim any
--- more.
function ClientResponse:_detach()
  local conn, connector = self[CONN], self[SESSION]._connector
  self[CONN] = false
  return self[X], conn, function(keep) connector:release(conn, keep) end
end

-- ---- the body ----

-- What the request says of it, or else the session.
local function option(self, name, default)
  local request = self[REQUEST]
  local value
  if request then value = request[name] end
  if value == nil then return self[SESSION][default] end
  return value
end

local function limit_of(self) return option(self, "max_body_size", "_max_body_size") end
ClientResponse._limit_of = limit_of

local function traces_of(self)
  local request = self[REQUEST]
  return request and request.traces
end
ClientResponse._traces_of = traces_of

-- The Content-Encoding that is to be undone; nil: none.
local function coding(self)
  if not option(self, "decompress", "_auto_decompress") then return nil end
  local value = self[X]:header("Content-Encoding")
  if not value or value == "" or value == "identity" then return nil end
  return value
end

--- An error of the layers below as the client's; the connection is not used again.
local function failed(self, err)
  local conn = self[CONN]
  if core.isinstance(err, core.RuntimeError) then
    if conn and not conn:is_closing() then return err end -- misuse: another task reads
    self:close()
    local reason = "Connection closed: the response was closed while it was read"
    return errors.make(errors.ClientConnectionError, self, reason, { cause = err })
  end
  self:close()
  local encodings = package.loaded["http.encodings"]
  if encodings and core.isinstance(err, encodings.DecodingError) then
    return errors.make(errors.ClientPayloadError, self, err.message, { cause = err, limit = err.limit })
  end
  return errors.late(err, self, option(self, "timeout", "_timeout")) or errors.translate(err, self, true)
end
ClientResponse._failed = failed

local function too_long(self, limit)
  self:close()
  local reason = ("the body is longer than %d bytes (max_body_size)"):format(limit)
  error(errors.make(errors.ClientPayloadError, self, reason, { limit = limit }), 0)
end

local function check_open(self)
  if rawget(self, "_closed") then
    local reason = "Connection closed: the response was closed before its body was read"
    error(errors.make(errors.ClientConnectionError, self, reason), 0)
  end
end

-- The bytes as they came.
local function receive(self)
  if self.status == 101 then return "", true end
  local content = rawget(self, "_content")
  if content then return content:_rest() end
  local limit = limit_of(self)
  local raw = self[RAW]
  if raw then
    if limit > 0 and #raw > limit then too_long(self, limit) end
    return raw, true
  end
  check_open(self)
  local ok, data = catch(await, self[X]:read(limit))
  if not ok then
    if limit > 0 and type(data) == "table" and rawget(data, "limit") == limit then too_long(self, limit) end
    error(failed(self, data), 0)
  end
  settle(self)
  if limit > 0 and #data > limit then too_long(self, limit) end
  return data, true
end

local function undo(encodings, data, codings, limit)
  return encodings.short(data, codings, limit) or await(encodings.decode(data, codings, limit, true))
end

local function decode(self, data, codings)
  local encodings = require "http.encodings"
  local ok, decoded = catch(undo, encodings, data, codings, limit_of(self))
  if ok then return decoded end
  if core.isinstance(decoded, encodings.UnknownEncoding) then return data end -- as it is, as aiohttp does
  error(failed(self, decoded), 0)
end

local function read(self)
  if not self then misuse.no_object(core.TypeError, "read", "a ClientResponse", self) end
  local body = self[BODY]
  if body then return body end
  body = self[RAW]
  if body and not self[REQUEST] and self[SESSION]._max_body_size == 0 and not self[X]:header("Content-Encoding") then
    self[BODY] = body -- what most are: all there, and nothing to be done with it
    return body
  end
  local raw
  body, raw = receive(self)
  local codings = raw and body ~= "" and coding(self)
  if codings then body = decode(self, body, codings) end
  self[BODY] = body
  local traces = traces_of(self)
  if traces then traces:send("response_chunk_received", { method = self[METHOD], url = self.url, chunk = body }) end
  return body
end

--- The whole body, decoded. Raises ClientPayloadError when it is cut off, malformed or over `max_body_size`,
--- SocketTimeoutError, TimeoutError, ClientConnectionError when the response was closed before.
---@return any awaitable of a string
ClientResponse.read = async(read, "ClientResponse.read")

lazy("content", function(self)
  local content = require("http.client.content").of(self, coding(self))
  rawset(self, "_content", content)
  return content
end)

-- ---- text ----

--- The character set that the text is taken to be in: what the server says if it is known here, else what the
--- session's fallback_charset_resolver makes of the body, else UTF-8.
---@return string
function ClientResponse:get_encoding()
  local charset = self.charset
  if charset and require("http.parameters").decode("", charset) then return charset end
  local resolve = self[SESSION]._resolve_charset
  if not resolve or charset == nil and (self.content_type):find("json$") then return "utf-8" end -- RFC 8259, 8.1
  if not self[BODY] then
    misuse.blame(core.RuntimeError, "get_encoding: the body has to be read first")
  end
  charset = resolve(self, self[BODY])
  if type(charset) ~= "string" then
    error(core.TypeError("fallback_charset_resolver: a string was expected of it, got " .. misuse.describe(charset)), 0)
  end
  return charset
end

local function fix_utf8(data, mode)
  local out, at = {}, 1
  while true do
    local _, bad = utf8.len(data, at)
    out[#out + 1] = data:sub(at, bad and bad - 1)
    if not bad then return table.concat(out) end
    if mode == "replace" then out[#out + 1] = "\u{FFFD}" end
    at = bad + 1
    local next_start = data:match("^[\128-\191]*()", at) -- the rest of what began there
    at = next_start
  end
end

local function text(self, encoding, mode)
  local data = read(self)
  encoding = encoding or self:get_encoding()
  local decoded = require("http.parameters").decode(data, encoding)
  if not decoded then
    error(core.ValueError(("text: the encoding %q is not known"):format(encoding)), 0)
  end
  if mode == nil or utf8.len(decoded) then return decoded end
  if mode == "strict" then
    local _, at = utf8.len(decoded)
    local reason = ("%s %s: the body is not UTF-8: byte %d"):format(self[METHOD], errors.shown(self.url), at)
    error(core.ValueError(reason, { method = self[METHOD], url = errors.shown(self.url) }), 0)
  end
  return fix_utf8(decoded, mode)
end

local modes = { strict = true, replace = true, ignore = true }

local function text_arguments(encoding, mode, what)
  if type(encoding) == "table" then
    core.options(encoding, { "encoding", "errors" }, what)
    encoding, mode = encoding.encoding, encoding.errors
  end
  if encoding ~= nil and type(encoding) ~= "string" then
    misuse.blame(core.TypeError, what .. ": encoding: a string was expected, got " .. misuse.describe(encoding))
  elseif mode ~= nil and not modes[mode] then
    local message = "%s: errors: 'strict', 'replace' or 'ignore' was expected, got %s"
    misuse.blame(core.ValueError, message:format(what, tostring(mode)))
  end
  return encoding, mode
end

local read_text = async(text, "ClientResponse.text")

--- The whole body as text in UTF-8. Bytes that are none stay as they are unless `errors` says "strict" (ValueError),
--- "replace" or "ignore". Raises what `read` raises, ValueError for an encoding that is not known.
---@param encoding? string|{ encoding: string?, errors: string? } the server's by default
---@param mode? "strict"|"replace"|"ignore"
---@return any awaitable of a string
function ClientResponse:text(encoding, mode)
  if not self then misuse.no_object(core.TypeError, "text", "a ClientResponse", self) end
  if encoding == nil and mode == nil then return read_text(self) end
  return read_text(self, text_arguments(encoding, mode, "text"))
end

-- ---- JSON ----

local function is_expected(kind, expected)
  if expected == "application/json" then
    return kind == expected or kind:find("^application/[%w.+_-]+%+json$") ~= nil
  end
  return kind:find(expected:lower(), 1, true) ~= nil
end

local function json(self, opts)
  local expected = opts and opts.content_type
  if expected == nil then expected = "application/json" end
  local data = text(self, opts and opts.encoding)
  if expected then
    local kind = content_type(self) or ""
    if not is_expected(kind, expected) then
      local reason = ("Attempt to decode JSON with unexpected mimetype: %s"):format(kind)
      error(errors.make(errors.ContentTypeError, self, reason,
        { status = self.status, headers = self.headers, history = self.history }), 0)
    end
  end
  if not data:find("%S") then return nil end
  local ok, value = pcall(opts and opts.loads or require("json").decode, data)
  if ok then return value end
  local reason = type(value) == "table" and value.message or tostring(value)
  reason = ("%s %s: the body is not JSON: %s"):format(self[METHOD], errors.shown(self.url), tostring(reason))
  error(core.ValueError(reason, { cause = value, method = self[METHOD], url = errors.shown(self.url) }), 0)
end

local read_json = async(json, "ClientResponse.json")

--- The whole body, decoded as JSON; nil for an empty one. Raises ContentTypeError when the response is of another type
--- (`content_type = false`: any will do), ValueError when it is no JSON, what `read` raises.
---@param opts? { encoding: string?, loads: (fun(text: string): any)?, content_type: string|false? }
---@return any awaitable
function ClientResponse:json(opts)
  if not self then misuse.no_object(core.TypeError, "json", "a ClientResponse", self) end
  if opts ~= nil then
    core.options(opts, { "encoding", "loads", "content_type" }, "json")
    text_arguments(opts.encoding, nil, "json")
    local loads, expected = opts.loads, opts.content_type
    if loads ~= nil and type(loads) ~= "function" then
      misuse.blame(core.TypeError, "json: loads: a function was expected, got " .. misuse.describe(loads))
    elseif expected and type(expected) ~= "string" then
      misuse.blame(core.TypeError, "json: content_type: a string or false was expected, got "
        .. misuse.describe(expected))
    end
  end
  return read_json(self, opts)
end

-- ---- the rest ----

--- Raises ClientResponseError for a status of 400 and above. The body can still be read: what is wrong is often there.
function ClientResponse:raise_for_status()
  if not self then misuse.no_object(core.TypeError, "raise_for_status", "a ClientResponse", self) end
  if self.status < 400 then return end
  error(errors.make(errors.ClientResponseError, self, self.reason, {
    status = self.status, headers = self.headers, history = self.history, request_info = self.request_info,
  }), 0)
end

function ClientResponse:__tostring()
  return ("<ClientResponse(%s) [%d %s]>"):format(errors.shown(self.url), self.status, self.reason)
end

return { ClientResponse = ClientResponse }
