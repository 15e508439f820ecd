--- Response: one whose body is known, sent in one piece; and json_response.

local StreamResponse = require "http.web.stream"
local class = require "http.web.class"
local core = require "asyncio.core"
local misuse = require "asyncio.misuse"

local STATUS <const>, BODY <const>, TYPE <const>, HEADERS <const> = 1, 2, 3, 4
local X <const>, MORE <const> = 6, 7
local REQUEST_ROUTE <const> = 2

local async, await = core.async, core.await
local head_of, signal_prepare, stream_send = StreamResponse._head, StreamResponse._signal_prepare, StreamResponse._send

---@class http.web.Response : http.web.StreamResponse
---@field text string? nil: it has no body, or one that is no string
---@field body any a string, or what gives strings: a File of fs.open, a part of a form, a stream, an iterator
local Response = class.define("Response", StreamResponse)
Response.__open = true

local known_names, known = { "text", "body", "status", "reason", "headers", "content_type", "charset" }, {}
for _, name in ipairs(known_names) do known[name] = true end

-- A body that is written piece by piece: `_payload`, with `_source`, what the script gave.
local function set_payload(self, source, what)
  local payload = require("http.client.payload").make(source)
  if not payload then
    misuse.blame(core.TypeError, ("%s: a string, a File of fs.open, a part of a multipart body, a stream with read(n), "
      .. "or an iterator of strings was expected, got %s"):format(what, misuse.describe(source)))
  end
  self[BODY], self[MORE] = false, true
  rawset(self, "_payload", payload)
  rawset(self, "_source", source)
end

-- What a body is that nobody has told the type of; statuses without a body have none.
local function type_of_body(self)
  local status, payload = self[STATUS], rawget(self, "_payload")
  if status == 204 or status == 304 then return false end
  return payload and payload.content_type or "application/octet-stream"
end

--- Takes the options of a response into an object that is being made.
function Response._fill(self, opts, name)
  local text, body = opts.text, opts.body
  for key in next, opts do
    if not known[key] then core.options(opts, known_names, name) end
  end
  if opts.status ~= nil then self[STATUS] = StreamResponse._check_status(opts.status, name) end
  if text ~= nil then
    if body ~= nil then misuse.blame(core.ValueError, name .. ": body and text were both given") end
    if type(text) ~= "string" then
      misuse.blame(core.TypeError, name .. ": text: a string was expected, got " .. misuse.describe(text))
    end
    self[BODY] = text
  elseif type(body) == "string" then
    self[BODY] = body
  elseif body ~= nil then
    set_payload(self, body, name .. ": body")
  end
  if opts.reason ~= nil then self.reason = opts.reason end
  if opts.headers ~= nil then self[HEADERS] = StreamResponse._make_headers(opts.headers, name) end
  if opts.content_type or opts.charset then
    local charset = opts.charset
    if text and not charset then charset = "utf-8" end
    local kind = opts.content_type or text and "text/plain"
    StreamResponse._set_type(self, kind, charset, name)
  elseif not self[HEADERS] or not self[HEADERS]["Content-Type"] then
    self[TYPE] = text and "text/plain; charset=utf-8" or body and type_of_body(self) or false
  end
end

local fill = Response._fill
local text_type = "text/plain; charset=utf-8"

---@param opts? { text: string, body: any, status: integer, reason: string, headers: table, content_type: string,
--- charset: string }
function Response.new(cls, opts)
  local self = setmetatable({ 200, "", false, false, false, false, false }, cls)
  if type(opts) == "table" then
    fill(self, opts, "Response")
  elseif opts ~= nil then
    misuse.blame(core.TypeError, "Response: a table of keyword arguments was expected, got " .. misuse.describe(opts))
  end
  return self
end

-- Most responses are made of a text and nothing else: C makes those.
getmetatable(Response).__call = require("http.web.core").constructor(Response, text_type)

-- ---- fields ----

local get, set = Response.__get, Response.__set

-- Was there any? One that was given has a type.
local function bodiless(self) return self[BODY] == "" and not self[TYPE] end

function get.body(self)
  if bodiless(self) then return nil end
  return self[BODY] or rawget(self, "_source")
end

function get.text(self) return not bodiless(self) and self[BODY] or nil end

local function forget_payload(self)
  rawset(self, "_payload", nil)
  rawset(self, "_source", nil)
end

local function untyped(self) return not self[TYPE] and not (self[HEADERS] and self[HEADERS]["Content-Type"]) end

function set.body(self, body)
  forget_payload(self)
  if body == nil or type(body) == "string" then
    self[BODY] = body or ""
  else
    set_payload(self, body, "body")
  end
  if body and untyped(self) then self[TYPE] = type_of_body(self) end
end

function set.text(self, text)
  if text ~= nil and type(text) ~= "string" then
    misuse.blame(core.TypeError, "text: a string was expected, got " .. misuse.describe(text))
  end
  forget_payload(self)
  self[BODY] = text or ""
  if text and untyped(self) then self[TYPE] = text_type end
end

local stream_length, stream_sent = get.content_length, get.body_length

function get.content_length(self)
  if self._chunked then return nil end
  return self[BODY] and #self[BODY] or stream_length(self)
end

function set.content_length()
  misuse.blame(core.RuntimeError, "content_length of a Response is that of its body")
end

function get.body_length(self) return self[BODY] and #self[BODY] or stream_sent(self) end

-- ---- sending ----

-- aiohttp's: what a file is called, or a part of a form.
local function disposition_of(payload, source)
  local name = type(source) == "table" and type(source.name) == "string" and source.name or nil
  local filename = payload.filename or type(source) == "table" and source.filename or nil
  if type(filename) ~= "string" then filename = nil end
  if not name and not filename then return nil end
  local function param(key, text)
    return text and ('; %s="%s"'):format(key, text:gsub('[%c\127]', ""):gsub('[\\"]', "\\%0")) or ""
  end
  return "attachment" .. param("name", name) .. param("filename", filename)
end

-- The head of a body that is written piece by piece. What it is of may be looked at first.
local function prepare_payload(self, request)
  local payload, headers = rawget(self, "_payload"), self.headers
  local size = payload:prepare()
  if math.type(size) == "integer" and not headers["Content-Length"] and not self._chunked then
    headers["Content-Length"] = tostring(size)
  end
  local disposition = not headers["Content-Disposition"] and disposition_of(payload, rawget(self, "_source"))
  if disposition then headers["Content-Disposition"] = disposition end
  return StreamResponse._start(self, request)
end

-- What a payload writes itself to: the response, and so its exchange.
local Sink = {}
Sink.__index = Sink

-- A file that was sent is closed, as in aiohttp: the handler has returned and cannot do it.
local Closing = {}

function Closing:__close()
  self.payload:close()
  if require("http.client.payload").is_file(self.source) then await(self.source:close()) end
end

function Sink:write(data) await(StreamResponse.write(self.response, data)) end

Sink.sendfile = async(function(self, file, offset, count)
  local response = self.response
  if response._encoder then return self:copy(file, offset, count) end
  require "http.sendfile"
  local sent = await(response[X]:sendfile(file, offset, count))
  rawset(response, "_sent", response._sent + sent)
  return sent
end, "Response.write_eof")

function Sink:copy(file, offset, count)
  local sent = 0
  while sent < count do
    local data = await(file:pread(math.min(65536, count - sent), offset + sent))
    if not data then break end
    self:write(data)
    sent = sent + #data
  end
  return sent
end

--- For the server: the whole response leaves in one write, if its body is a string.
function Response._send(self, request, x)
  if self[X] == x or not self[BODY] then return stream_send(self, request) end
  if request[REQUEST_ROUTE].app._has_prepare then signal_prepare(self, request) end
  local reason
  if self[MORE] then
    reason = self._reason
    if self._compression then require("http.web.compression").start(self, request) end
    if self._close then x:set_keep_alive(false) end
  end
  local drain = x:respond(self[STATUS], reason, head_of(self), self[BODY])
  if drain then await(drain) end
end

Response._prepare = async(function(self, request)
  if not self[BODY] then
    if self[X] == request._x then return self end
    return prepare_payload(self, request)
  end
  return StreamResponse._start(self, request, #self[BODY])
end, "Response.prepare")

--- Sends the body, after prepare.
---@return any awaitable
Response.write_eof = async(function(self)
  if self[X] and not self._eof and not self._body_sent then
    rawset(self, "_body_sent", true)
    local payload = rawget(self, "_payload")
    local _closing <close> = payload and setmetatable({ payload = payload, source = rawget(self, "_source") }, Closing)
    if self[BODY] then
      await(StreamResponse.write(self, self[BODY]))
    elseif self._request.method ~= "HEAD" and self[STATUS] ~= 204 and self[STATUS] ~= 304 then
      await(payload:write(setmetatable({ response = self }, Sink)))
    end
  end
  await(StreamResponse.write_eof(self))
end, "Response.write_eof")

local M = { Response = Response }

local encode -- json's, once it is needed
local json_type <const> = "application/json; charset=utf-8"

--- A Response of a value as JSON.
---@param data any
---@param opts? table {text, body, status, reason, headers, content_type = "application/json", dumps}
---@return http.web.Response
function M.json_response(data, opts)
  encode = encode or require("json").encode
  if opts == nil then
    return setmetatable({ 200, encode(data), json_type, false, false, false, false }, Response)
  elseif type(opts) ~= "table" then
    misuse.blame(
      core.TypeError, "json_response: a table of keyword arguments was expected, got " .. misuse.describe(opts)
    )
  end
  local all = {}
  for key, value in next, opts do all[key] = value end
  local dumps = all.dumps or encode
  all.dumps = nil
  if data ~= nil then
    if all.text ~= nil or all.body ~= nil then
      misuse.blame(core.ValueError, "json_response: only one of data, text and body may be given")
    end
    all.text = dumps(data)
  elseif all.text == nil and all.body == nil then
    all.text = dumps(data)
  end
  all.content_type = all.content_type or "application/json"
  return Response.new(Response, all)
end

return M
