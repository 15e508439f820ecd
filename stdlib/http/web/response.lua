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
---@field text string
---@field body string
local Response = class.define("Response", StreamResponse)
Response.__open = true

local known_names, known = { "text", "body", "status", "reason", "headers", "content_type", "charset" }, {}
for _, name in ipairs(known_names) do known[name] = true end

--- Takes the options of a response into an object that is being made.
function Response._fill(self, opts, name)
  local text, body = opts.text, opts.body
  for key in next, opts do
    if not known[key] then core.options(opts, known_names, name) end
  end
  if text ~= nil then
    if body ~= nil then misuse.blame(core.ValueError, name .. ": body and text were both given") end
    if type(text) ~= "string" then
      misuse.blame(core.TypeError, name .. ": text: a string was expected, got " .. misuse.describe(text))
    end
    self[BODY] = text
  elseif body ~= nil then
    if type(body) ~= "string" then
      misuse.blame(core.TypeError, name .. ": body: a string was expected, got " .. misuse.describe(body))
    end
    self[BODY] = body
  end
  if opts.status ~= nil then self[STATUS] = StreamResponse._check_status(opts.status, name) end
  if opts.reason ~= nil then self.reason = opts.reason end
  if opts.headers ~= nil then self[HEADERS] = StreamResponse._make_headers(opts.headers, name) end
  if opts.content_type or opts.charset then
    local charset = opts.charset
    if text and not charset and not tostring(opts.content_type):find("charset=", 1, true) then charset = "utf-8" end
    local kind = opts.content_type or text and "text/plain"
    StreamResponse._set_type(self, kind, charset, name)
  elseif not self[HEADERS] or not self[HEADERS]["Content-Type"] then
    self[TYPE] = text and "text/plain; charset=utf-8" or body and "application/octet-stream" or false
  end
end

local fill = Response._fill
local text_type = "text/plain; charset=utf-8"

---@param opts? { text: string, body: string, status: integer, reason: string, headers: table, content_type: string,
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

function get.body(self) return self[BODY] end

function get.text(self) return self[BODY] end

function set.body(self, body)
  if body ~= nil and type(body) ~= "string" then
    misuse.blame(core.TypeError, "body: a string was expected, got " .. misuse.describe(body))
  end
  self[BODY] = body or ""
  if body and not self[TYPE] and not (self[HEADERS] and self[HEADERS]["Content-Type"]) then
    self[TYPE] = "application/octet-stream"
  end
end

function set.text(self, text)
  if text ~= nil and type(text) ~= "string" then
    misuse.blame(core.TypeError, "text: a string was expected, got " .. misuse.describe(text))
  end
  self[BODY] = text or ""
  if text and not self[TYPE] and not (self[HEADERS] and self[HEADERS]["Content-Type"]) then self[TYPE] = text_type end
end

function get.content_length(self) return #self[BODY] end

function set.content_length()
  misuse.blame(core.RuntimeError, "content_length of a Response is that of its body")
end

function get.body_length(self) return #self[BODY] end

-- ---- sending ----

--- For the server: the whole response leaves in one write.
function Response._send(self, request, x)
  if self[X] == x then return stream_send(self, request) end
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
  return StreamResponse._start(self, request, #self[BODY])
end, "Response.prepare")

--- Sends the body, after prepare.
---@return any awaitable
Response.write_eof = async(function(self)
  if self[X] and not self._eof and not self._body_sent then
    rawset(self, "_body_sent", true)
    await(StreamResponse.write(self, self[BODY]))
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
