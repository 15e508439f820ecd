--- Multipart bodies (RFC 2046, RFC 7578), read as they come: one part after the other, each in pieces. Only a window of
--- the body is in memory. A part that is multipart itself gives a reader of its own, which reads from the part.

local core = require "asyncio.core"
local http_core = require "http.core"
local misuse = require "asyncio.misuse"
local parameters = require "http.parameters"
local transfer = require "http.transfer"

local async, await = core.async, core.await
local find, lower, match, sub = string.find, string.lower, string.match, string.sub

local M = {}

-- What is asked of the stream at a time; limits of a part's head.
local CHUNK, MAX_HEAD, MAX_HEADERS = 65536, 16384, 128

--- More came than was allowed: `message`, and `limit` in bytes.
M.TooLarge = core.ValueError:extend("TooLarge")
--- What is no multipart body, or a malformed one.
M.MultipartError = core.ValueError:extend("MultipartError")

local function fail(text, ...) error(M.MultipartError("multipart: " .. text:format(...)), 0) end

-- ---- a part ----

---@class http.BodyPartReader
---@field headers http.Headers
---@field name string? of Content-Disposition
---@field filename string?
---@field content_type string "text/plain" when it has none
---@field private _reader http.MultipartReader
local BodyPartReader = {}
BodyPartReader.__index = BodyPartReader
BodyPartReader.__name = "BodyPartReader"
M.BodyPartReader = BodyPartReader

--- Up to `size` bytes, or nil at the part's end.
---@param size? integer 65536 by default
---@return any awaitable; ValueError when the body ends within the part
BodyPartReader.read_chunk = async(function(self, size)
  if size ~= nil and (math.type(size) ~= "integer" or size < 1) then
    misuse.raise(core.ValueError, "read_chunk: a number of bytes was expected, got " .. tostring(size))
  end
  local rest = self._rest
  if not rest then
    rest = self._reader:_data(self)
    if not rest then return nil end
  end
  if size and #rest > size then
    self._rest = sub(rest, size + 1)
    return sub(rest, 1, size)
  end
  self._rest = nil
  return rest
end, "BodyPartReader.read_chunk")

--- The whole part, or what is left of it; its Content-Transfer-Encoding is undone.
---@param limit? integer bytes; the reader's client_max_size by default
---@return any awaitable; TooLarge, ValueError
BodyPartReader.read = async(function(self, limit)
  limit = limit or self._reader.client_max_size or 0
  local pieces, n, decode = {}, 0, transfer.decoder(self.headers["Content-Transfer-Encoding"])
  while true do
    local piece = await(self:read_chunk())
    if not piece then break end
    n = n + #piece
    if limit > 0 and n > limit then
      error(M.TooLarge(("a part of more than %d bytes"):format(limit), { limit = limit }), 0)
    end
    pieces[#pieces + 1] = decode(piece)
  end
  pieces[#pieces + 1] = decode()
  return table.concat(pieces)
end, "BodyPartReader.read")

--- A line with its break; the last one may have none; nil at the end.
---@return any awaitable; ValueError for a line of more than 64 KiB
BodyPartReader.readline = async(function(self)
  local line = ""
  while true do
    local piece = await(self:read_chunk())
    if not piece then return line ~= "" and line or nil end
    local stop = find(piece, "\n", 1, true)
    if stop then
      if stop < #piece then self._rest = sub(piece, stop + 1) end
      return line .. sub(piece, 1, stop)
    end
    line = line .. piece
    if #line > CHUNK then fail("a line of more than %d bytes", CHUNK) end
  end
end, "BodyPartReader.readline")

--- The character set that its Content-Type names.
---@param default? string "utf-8"
---@return string
function BodyPartReader:get_charset(default)
  return lower(self._type.charset or default or "utf-8")
end

--- The whole part as UTF-8.
---@param encoding? string what it is in; what its Content-Type says by default
---@return any awaitable; ValueError for a character set other than UTF-8, US-ASCII and ISO-8859-1
BodyPartReader.text = async(function(self, encoding)
  encoding = encoding or self:get_charset()
  local data = await(self:read())
  local text = parameters.decode(data, encoding)
  if not text then fail("unknown character set '%s'", encoding) end
  return text
end, "BodyPartReader.text")

--- The whole part as JSON.
---@return any awaitable of the value; json.JSONDecodeError
BodyPartReader.json = async(function(self)
  return require("json").decode(await(self:text()))
end, "BodyPartReader.json")

--- The whole part as an urlencoded form.
---@return any awaitable of a MultiDict
BodyPartReader.form = async(function(self)
  return require("url").parse_qs(await(self:text()))
end, "BodyPartReader.form")

--- Lets the rest of the part go.
---@return any awaitable
BodyPartReader.release = async(function(self)
  while await(self:read_chunk()) do end
end, "BodyPartReader.release")

--- Has everything been read?
---@return boolean
function BodyPartReader:at_eof() return self._ended and not self._rest end

--- For a reader of the parts in this part.
---@private
function BodyPartReader:_next() return await(self:read_chunk()) end

-- ---- heads ----

--- The headers of a part, from the text between its boundary and the empty line.
local function parse_headers(text)
  local headers, n = http_core.Headers {}, 0
  text = text:gsub("\r\n[ \t]+", " ") -- folded lines
  for line in text:gmatch("[^\r\n]+") do
    local name, at = match(line, "^([%w!#$%%&'*+%-.^_`|~]+)[ \t]*:[ \t]*()")
    if not name then fail("not a header: %q", sub(line, 1, 80)) end
    n = n + 1
    if n > MAX_HEADERS then fail("more than %d headers", MAX_HEADERS) end
    local value = match(line, "^.*[^ \t]", at) or ""
    if find(value, "%z") then fail("NUL in a header") end
    headers:add(name, value)
  end
  return headers
end

local function new_part(reader, headers)
  local disposition = headers["Content-Disposition"]
  local _, params = parameters.parse(disposition or "")
  local ctype, type_params = parameters.parse(headers["Content-Type"] or "text/plain")
  return setmetatable({
    headers = headers,
    name = parameters.extended(params, "name"),
    filename = parameters.extended(params, "filename"),
    content_type = ctype,
    _type = type_params,
    _reader = reader,
    _ended = false,
  }, BodyPartReader)
end

-- ---- the reader ----

---@class http.MultipartReader
---@field headers http.Headers? of the part that it reads from, or what it was made with
---@field boundary string
---@field subtype string "form-data", "mixed"...
---@field client_max_size integer? what a part may have for `read`
local MultipartReader = {}
MultipartReader.__index = MultipartReader
MultipartReader.__name = "MultipartReader"

--- Gets more of the body; false at its end.
function MultipartReader:_fill()
  local data = self._source:_next()
  if not data then return false end
  self._buffer = sub(self._buffer, self._at) .. data
  self._at = 1
  return true
end

--- Is there a delimiter at i? Gives where its line ends, which is awaited, and whether it is the last; nil if it is
--- none.
function MultipartReader:_delimiter(i)
  local from = i - self._at
  while true do
    i = self._at + from
    local buffer, behind = self._buffer, i + #self._mark
    if find(buffer, "^%-%-", behind) then return behind + 2, true end
    local _, stop = find(buffer, "^[ \t]*\r\n", behind)
    if stop then return stop + 1, false end
    if not find(buffer, "^[ \t]*\r?$", behind) and not find(buffer, "^%-$", behind) then return nil end
    if #buffer - behind > 1024 or not self:_fill() then return nil end
  end
end

--- Data up to the next delimiter, in pieces; nil when that has been reached.
function MultipartReader:_piece()
  local from = self._at -- where the search goes on
  while true do
    local i = find(self._buffer, self._mark, from, true)
    if i then
      if i > self._at then -- first what is in front of it
        local data = sub(self._buffer, self._at, i - 1)
        self._at = i
        return data
      end
      local stop, is_last = self:_delimiter(i)
      if stop then
        self._at, self._last = stop, is_last
        return nil
      end
      from = self._at + 1
    else
      local safe = #self._buffer - #self._mark + 1 -- behind it there may be the beginning of one
      if safe >= self._at and safe >= from then
        local data = sub(self._buffer, self._at, safe)
        self._at = safe + 1
        return data
      end
      local searched = from - self._at
      if not self:_fill() then fail("the body ends before its last boundary '--%s--'", self.boundary) end
      from = self._at + searched
    end
  end
end

local function left()
  error(core.RuntimeError("the part was left when the next one was asked for"), 0)
end

--- The next piece of a part, or nil at its end.
function MultipartReader:_data(part)
  if self._left or part._left then left() end
  if part._ended then return nil end
  local data = self:_piece()
  if not data then
    part._ended = true
    self._part = nil
  end
  return data
end

--- Reads the head of a part. The line break that ends it stays: a delimiter may begin with it.
function MultipartReader:_head()
  while true do
    local buffer, at = self._buffer, self._at
    if sub(buffer, at, at + 1) == "\r\n" then return parse_headers("") end
    local stop = find(buffer, "\r\n\r\n", at, true)
    if (stop or #buffer) - at > MAX_HEAD then fail("a head of more than %d bytes", MAX_HEAD) end
    if stop then
      self._at = stop + 2
      return parse_headers(sub(buffer, at, stop - 1))
    end
    if not self:_fill() then fail("the body ends in the head of a part") end
  end
end

--- Behind a head: the empty line's break belongs to the delimiter if the part has no body at all.
function MultipartReader:_body_begins()
  while #self._buffer - self._at + 1 < #self._mark do
    if not self:_fill() then break end
  end
  local i = self._at
  if sub(self._buffer, i, i + #self._mark - 1) == self._mark and self:_delimiter(i) then return end
  self._at = self._at + 2
end

local function leave_part(self)
  local part, nested = self._part, self._nested
  if nested then nested._left = true end
  self._nested = nil
  if part then
    part._rest = nil
    while self:_data(part) do end
    part._left = true
  end
end

--- The next part; what is unread of the last one is passed over.
---@return any awaitable of a BodyPartReader, of a MultipartReader for a part that is multipart itself, or nil; raises
--- ValueError
MultipartReader.next = async(function(self)
  if self._left then left() end
  leave_part(self)
  if not self._begun then -- what is in front of the first boundary
    self._begun = true
    while self:_piece() do end
  end
  if self._last then return nil end
  local headers = self:_head()
  self:_body_begins()
  local part = new_part(self, headers)
  self._part = part
  if not find(part.content_type, "^multipart/") then return part end
  if self._depth >= 8 then fail("parts in parts in parts, 8 times") end
  local nested = M.MultipartReader(headers, part, { client_max_size = self.client_max_size })
  nested.name, nested.filename, nested._depth = part.name, part.filename, self._depth + 1
  self._nested = nested
  return nested
end, "MultipartReader.next")

--- `for part in reader:parts() do`: awaits by itself.
---@return fun(): any
function MultipartReader:parts()
  return function() return await(self:next()) end
end

--- `async for part in reader do`
function MultipartReader:__aiter() return self end

MultipartReader.__anext = MultipartReader.next

--- Lets all that is left go, up to the last boundary.
---@return any awaitable
MultipartReader.release = async(function(self)
  while await(self:next()) do end
end, "MultipartReader.release")

--- Has the last boundary been read?
---@return boolean
function MultipartReader:at_eof() return self._last and not self._part end

-- ---- making one ----

local stream_source = {}
stream_source.__index = stream_source
function stream_source:_next() return await(self.stream:read(CHUNK)) end

--- What Content-Type says of a multipart body; ValueError when it is none.
local function parse_type(text)
  local ctype, params = parameters.parse(text or "")
  local subtype = match(ctype, "^multipart/(.+)$")
  if not subtype then fail("the content type is '%s'", text or "") end
  local boundary = params.boundary
  -- RFC 2046, 5.1.1: up to 70 characters; which ones is nobody's concern but a line's
  if not boundary or boundary == "" then fail("the content type names no boundary: %s", text) end
  if #boundary > 70 then fail("the boundary has more than 70 characters") end
  if find(boundary, "[%c\128-\255]") then fail("not a boundary: %q", boundary) end
  return subtype, boundary
end

--- A reader of the parts of a body.
---@param headers http.Headers|string the body's headers, or its Content-Type
---@param stream any what has `read(n)`: a StreamReader
---@param opts? {client_max_size: integer?}
---@return http.MultipartReader # raises ValueError: the content type is not multipart, or has no boundary
function M.MultipartReader(headers, stream, opts)
  core.options(opts, { "client_max_size" }, "MultipartReader")
  local ctype = headers
  if type(headers) ~= "string" then ctype = headers["Content-Type"] end
  local subtype, boundary = parse_type(ctype)
  local is_part = getmetatable(stream) == BodyPartReader
  return setmetatable({
    headers = type(headers) ~= "string" and headers or nil,
    boundary = boundary,
    subtype = subtype,
    client_max_size = opts and opts.client_max_size,
    _source = is_part and stream or setmetatable({ stream = stream }, stream_source),
    _mark = "\r\n--" .. boundary,
    _buffer = "\r\n", -- so that a boundary may come first
    _at = 1,
    _begun = false,
    _last = false,
    _depth = 1,
  }, MultipartReader)
end

return M
