--- What a request sends: strings, forms, files, streams, whatever gives strings one after the other. A payload knows
--- its type, its length if that can be known, whether it can be sent once more, and writes itself to an exchange.

local core = require "asyncio.core"
local fs_core = require "fs.core"
local misuse = require "asyncio.misuse"

local async, await = core.async, core.await

local M = {}

-- What is read at a time; what of a long string is looked at to tell text from bytes.
local PIECE, LOOK = 65536, 1048576

local File = fs_core.File

-- ---- the class ----

---@class http.Payload
---@field size integer? bytes, when that is known
---@field content_type string?
---@field filename string? of a file
---@field replayable boolean can it be written more than once?
local Payload = {}
Payload.__index = Payload
Payload.__name = "Payload"
Payload.__payload = true
M.Payload = Payload

--- Gets ready to be written, also for the second time. Awaits by itself. Raises OSError, and RuntimeError for what was
--- sent and cannot be had again.
---@return integer|boolean body the length, or true when nobody knows
function Payload:prepare()
  if self._begun and not self.replayable then
    error(core.RuntimeError(("the body of the request (%s) was sent already, and cannot be had again"):format(
      self._what)), 0)
  end
  self._begun = true
  return self.size or true
end

--- Writes itself to what has `write(data)` and `sendfile(file, offset, count)`, as exchanges have. Raises what its
--- source raises, and what the sink does.
---@param x any
---@return any awaitable
Payload.write = async(function(self, x) self:_write(x) end, "Payload.write")

-- A sink that keeps everything.
local Collector = {}
Collector.__index = Collector

function Collector:write(data) self[#self + 1] = data end

Collector.sendfile = async(function(self, file, offset, count)
  local sent = 0
  while sent < count do
    local data = await(file:pread(math.min(PIECE, count - sent), offset + sent))
    if not data then break end
    self[#self + 1] = data
    sent = sent + #data
  end
  return sent
end, "Payload.as_bytes")

--- All of it as one string.
---@return any awaitable
Payload.as_bytes = async(function(self)
  local all = setmetatable({}, Collector)
  self:prepare()
  self:_write(all)
  return table.concat(all)
end, "Payload.as_bytes")

--- Lets go of what it opened itself. The second time nothing happens.
function Payload:close() end

function Payload:__close() self:close() end

function Payload:__tostring() return ("Payload(%s)"):format(self._what) end

local function class(name)
  local cls = setmetatable({}, { __index = Payload })
  cls.__index, cls.__name, cls.__close, cls.__tostring = cls, name, Payload.__close, Payload.__tostring
  return cls
end

--- A class of payloads, for modules that have their own (forms, multipart).
M.class = class

--- Is it one?
---@param value any
---@return boolean
function M.is(value)
  local mt = type(value) == "table" and getmetatable(value)
  return type(mt) == "table" and mt.__payload == true
end

-- What a sink gives for data: nothing, or what is to be awaited.
local function put(x, data)
  local drain = x:write(data)
  if drain then await(drain) end
end
M.put = put

-- ---- strings ----

--- Text is said to be text: what is UTF-8. Of a very long string its beginning tells.
---@param data string
---@return string
function M.type_of(data)
  local stop = #data
  if stop > LOOK then
    stop = LOOK
    while stop > LOOK - 4 and (data:byte(stop + 1) or 0) & 0xC0 == 0x80 do stop = stop - 1 end
  end
  return utf8.len(data, 1, stop) and "text/plain; charset=utf-8" or "application/octet-stream"
end

local StringPayload = class "StringPayload"

function StringPayload:_write(x) if self.size > 0 then put(x, self._data) end end

---@param data string
---@param content_type string?
---@return http.Payload
function M.string(data, content_type)
  return setmetatable({
    size = #data, content_type = content_type or M.type_of(data), replayable = true, _data = data, _what = "a string",
  }, StringPayload)
end

-- ---- files ----

local FilePayload = class "FilePayload"

--- From where the file stands, to its end.
function FilePayload:prepare()
  local stat = await(self._file:stat())
  if stat.type ~= "file" then -- a pipe, a terminal: what comes, comes once
    self.replayable, self._regular, self.size = false, false, nil
    return Payload.prepare(self)
  end
  self._regular, self.replayable = true, true
  self._offset = self._offset or await(self._file:tell())
  self.size = math.max(0, stat.size - self._offset)
  return self.size
end

local function write_stream(read, x)
  while true do
    local data = await(read())
    if not data or data == "" then return end
    put(x, data)
  end
end

function FilePayload:_write(x)
  local file = self._file
  if not self._regular then return write_stream(function() return file:read(PIECE) end, x) end
  if self.size == 0 then return end
  require "http.client.sendfile"
  local sent = await(x:sendfile(file, self._offset, self.size))
  if sent < self.size then
    error(core.OSError(("the file '%s' became shorter while it was sent: %d bytes of %d"):format(file.path, sent,
      self.size), { path = file.path }), 0)
  end
end

local function file_payload(file, content_type)
  if file.closed then misuse.blame(core.ValueError, ("the file '%s' is closed"):format(file.path)) end
  local name = file.path:match("[^/]*$")
  return setmetatable({
    content_type = content_type or require("mime").content_type(name):gsub(";.*$", ""), filename = name,
    replayable = true, _file = file, _what = ("the file '%s'"):format(name),
  }, FilePayload)
end

-- ---- what comes piece by piece ----

local StreamPayload = class "StreamPayload"

local function bad_piece(self, piece)
  error(core.TypeError(("the body (%s) is made of strings, got %s"):format(self._what,
    misuse.describe(piece))), 0)
end

function StreamPayload:_write(x)
  for piece in require("asyncio.aio").aiter(self._source) do
    if type(piece) ~= "string" then bad_piece(self, piece) end
    if piece ~= "" then put(x, piece) end
  end
end

-- source: what asyncio.aiter takes.
local function stream_payload(source, what, content_type)
  return setmetatable({
    content_type = content_type or "application/octet-stream", replayable = false, _source = source, _what = what,
  }, StreamPayload)
end

local function reading(value)
  local what = misuse.describe(value)
  if value.read_chunk then return function() return await(value:read_chunk()) end, what end
  return function()
    local data = await(value:read(PIECE))
    return data ~= "" and data or nil
  end, what
end

-- The values that a Lua coroutine yields; awaits pass through to the loop. One that is not run to its end is closed.
local Resuming = { __name = "Resuming" }
Resuming.__index = Resuming

function Resuming:__anext()
  local thread = self.thread
  if coroutine.status(thread) == "dead" then return nil end
  local ok, piece = coroutine.resume(thread)
  if not ok then error(piece, 0) end
  if coroutine.status(thread) == "dead" then return nil end -- what it returns is no piece
  return piece
end

function Resuming:aclose()
  if coroutine.status(self.thread) ~= "suspended" then return end
  local ok, err = coroutine.close(self.thread)
  if not ok then error(err, 0) end
end

local function method(value, name)
  local ok, f = pcall(function() return value[name] end)
  if ok and type(f) == "function" or ok and core.iscoroutinefunction(f) then return f end
  local mt = getmetatable(value)
  f = type(mt) == "table" and rawget(mt, name)
  return f or nil
end

local function refuse(value, what)
  local hint = ""
  if io.type(value) then
    hint = " (reading it would hold everything up: open it with fs.open)"
  elseif type(value) == "number" or type(value) == "boolean" then
    hint = " (tostring() makes text of it, json = sends it as JSON)"
  elseif core.isawaitable(value) then
    hint = " (await it: what it gives can be sent)"
  end
  misuse.blame(core.TypeError, ("%s: a string, a table of fields, FormData, MultipartWriter, a File of fs.open, a "
    .. "stream with read(n), or an iterator of strings was expected, got %s%s"):format(what, misuse.describe(value),
    hint))
end

local function of_object(value, content_type)
  if io.type(value) then return nil end
  if method(value, "read_chunk") or method(value, "read") then
    local next, what = reading(value)
    return stream_payload(next, what, content_type)
  end
  if method(value, "__aiter") or method(value, "__anext") then
    return stream_payload(value, misuse.describe(value), content_type)
  end
  local mt = getmetatable(value)
  if type(mt) == "table" and mt.__call then return stream_payload(value, misuse.describe(value), content_type) end
end

--- A payload of anything that can be one; nil if it cannot.
---@param value any
---@param content_type string?
---@return http.Payload?
function M.make(value, content_type)
  local kind = type(value)
  if kind == "string" then return M.string(value, content_type) end
  if kind == "function" then
    local next = value
    if core.iscoroutinefunction(value) then next = function() return await(value()) end end
    return stream_payload(next, "an iterator", content_type)
  elseif kind == "thread" then
    return stream_payload(setmetatable({ thread = value }, Resuming), "a Lua coroutine", content_type)
  elseif kind == "userdata" then
    if M.is_file(value) then return file_payload(value, content_type) end
    return of_object(value, content_type)
  elseif kind == "table" then
    if M.is(value) then return value end
    return of_object(value, content_type)
  end
end

--- Is it a File of fs.open?
---@param value any
---@return boolean
function M.is_file(value)
  if type(value) ~= "userdata" or io.type(value) then return false end
  local ok, pread = pcall(function() return value.pread end)
  return ok and pread ~= nil and pread == File.pread
end

--- What a request sends for its `data`.
---@param value any
---@param content_type? string what its type is, if it is not to be guessed
---@return string|boolean body a string, or true: ask the payload's `prepare`
---@return string? content_type
---@return http.Payload? payload nil for a string
function M.of(value, content_type)
  if type(value) == "string" then return value, content_type or M.type_of(value), nil end
  if type(value) == "table" then
    local mt = getmetatable(value)
    if mt == nil or require("http.multidict").is(value) then
      local formdata = require "http.client.formdata"
      return M.of(formdata.FormData(value), content_type)
    elseif mt._body then -- a form
      return mt._body(value, content_type)
    end
  end
  local p = M.make(value, content_type)
  if not p then refuse(value, "data") end
  return true, content_type or p.content_type, p
end

-- ---- encoded ----

local EncodedPayload = class "EncodedPayload"

-- A sink that encodes what it is given for another one.
local Encoding = {}
Encoding.__index = Encoding

function Encoding:write(data)
  local out = self.encoder:compress(data)
  if out ~= "" then return self.x:write(out) end
end

Encoding.sendfile = async(function(self, file, offset, count)
  local sent = 0
  while sent < count do
    local data = await(file:pread(math.min(PIECE, count - sent), offset + sent))
    if not data then break end
    put(self, data)
    sent = sent + #data
  end
  return sent
end, "Payload.write")

function EncodedPayload:prepare()
  self._inner:prepare()
  self.replayable = self._inner.replayable
  return true
end

function EncodedPayload:_write(x)
  local encoder <close> = self._encoder()
  self._inner:_write(setmetatable({ encoder = encoder, x = x }, Encoding))
  local rest = encoder:finish()
  if rest ~= "" then put(x, rest) end
end

function EncodedPayload:close() self._inner:close() end

local function encoded(p, encoder, how)
  return setmetatable({
    content_type = p.content_type, filename = p.filename, replayable = p.replayable, _inner = p, _encoder = encoder,
    _what = p._what .. how,
  }, EncodedPayload)
end

--- The same, compressed while it is sent. Raises ValueError for a coding that this build has not.
---@param body string|boolean what `of` gave
---@param p http.Payload? what `of` gave
---@param coding string "gzip", "deflate", "br"
---@return boolean body
---@return http.Payload payload
function M.compressed(body, p, coding)
  local encodings = require "http.encodings"
  if type(coding) ~= "string" or not encodings.available(coding) then
    misuse.blame(core.ValueError, ("compress: gzip, deflate or br was expected, got %s"):format(tostring(coding)))
  end
  p = p or M.string(body, "")
  return true, encoded(p, function() return encodings.encoder(coding) end, ", compressed")
end

--- The same in a Content-Transfer-Encoding (RFC 2045, 6). Raises ValueError for one that nobody knows.
---@param p http.Payload
---@param encoding string "base64", "quoted-printable", "binary", "7bit", "8bit"
---@return http.Payload
function M.transferred(p, encoding)
  local transfer = require "http.transfer"
  local encoder = transfer.encoder(encoding)
  if not encoder then return p end
  if p._data then return M.string(encoder:compress(p._data) .. encoder:finish(), p.content_type) end
  return encoded(p, function() return transfer.encoder(encoding) end, " in " .. encoding)
end

return M
