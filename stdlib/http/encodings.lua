--- Content codings (RFC 9110, 8.4): gzip, deflate and br, both ways; which one a client wants (12.5.3).

local core = require "asyncio.core"
local misuse = require "asyncio.misuse"

local async, await = core.async, core.await

local M = {}

--- What cannot be decoded is a DecodingError; of a coding that nobody knows an UnknownEncoding; what would be longer
--- than was allowed is TooLong, with `limit`.
M.DecodingError = core.ValueError:extend("DecodingError")
M.UnknownEncoding = M.DecodingError:extend("UnknownEncoding")
M.TooLong = M.DecodingError:extend("TooLong")

--- What decoders give at a time.
local PIECE = 64 * 1024
--- Up to this a string is decoded in one step if it can be.
local SHORT = 16 * 1024

-- ---- which there are ----

local modules = { gzip = "zlib", deflate = "zlib", br = "brotli" }
local aliases = { ["x-gzip"] = "gzip" }

--- Can this build do it?
---@param name string
---@return boolean
function M.available(name)
  local module = modules[name]
  if not module then return false end
  return package.loaded[module] ~= nil or pcall(require, module)
end

-- ---- which one is wanted ----

-- "gzip;q=0.5" -> "gzip", 500
local function item(text)
  local name, params = text:match("^[ \t]*([%w!#$%%&'*+.^_`|~-]+)[ \t]*(.-)[ \t]*$")
  if not name then return nil end
  name = name:lower()
  if params == "" then return name, 1000 end
  local q = params:match("^;[ \t]*[qQ]=([01]%.?%d?%d?%d?)$")
  local value = q and tonumber(q)
  if not value or value > 1 then return name, 0 end -- what it says is not known: rather not
  return name, math.floor(value * 1000 + 0.5)
end

--- The best of the codings that the client takes, by its weights and then by the order of `offered`; nil: as it is.
---@param accept string? the Accept-Encoding header
---@param offered string[]
---@return string?
function M.choose(accept, offered)
  if not accept then return nil end
  local weights, any = {}, nil
  for text in accept:gmatch("[^,]+") do
    local name, q = item(text)
    if name == "*" then
      any = any or q
    elseif name then
      name = aliases[name] or name
      weights[name] = weights[name] or q
    end
  end
  local best, best_q = nil, weights.identity or 0
  for _, name in ipairs(offered) do
    local q = weights[name] or any or 0
    if q > 0 and (q > best_q or q == best_q and best == nil) and M.available(name) then best, best_q = name, q end
  end
  return best
end

-- ---- encoding ----

---@class http.Encoder
local Encoder = {}
Encoder.__index = Encoder
Encoder.__name = "Encoder"

--- A stream that encodes: `e:compress(data)`, `e:flush()`, `e:finish()`, each gives bytes to send.
---@param name string gzip, deflate, br
---@param opts? { level: integer } of zlib 6, of Brotli 4
---@return http.Encoder
function M.encoder(name, opts)
  local level = opts and opts.level
  if name == "br" then
    local brotli = require "brotli"
    return setmetatable({ name = name, coder = brotli.Compressor { quality = level or 4, lgwin = 19 } }, Encoder)
  end
  local zlib = require "zlib"
  local coder = zlib.compressobj { level = level or 6, wbits = name == "gzip" and 31 or 15 }
  return setmetatable({ name = name, coder = coder, feed = zlib.Compress.compress, sync = zlib.Z_SYNC_FLUSH }, Encoder)
end

--- Bytes for the data; there may be none yet. A long string lets other tasks run in between.
---@param data string
---@return string
function Encoder:compress(data)
  local coder = self.coder
  local feed = self.feed or coder.process
  if #data <= PIECE then return feed(coder, data) end
  local out = {}
  for at = 1, #data, PIECE do
    out[#out + 1] = feed(coder, data, at, at + PIECE - 1)
    await(core.sleep(0))
  end
  return table.concat(out)
end

--- What is left of what was given so far, so that the other side can have all of it.
---@return string
function Encoder:flush() return self.coder:flush(self.sync) end

--- The end. Its memory is given back.
---@return string
function Encoder:finish()
  if self.feed then return self.coder:flush() end
  return self.coder:finish()
end

function Encoder:close() self.coder:close() end

Encoder.__close = Encoder.close

-- ---- decoding ----

---@class http.Decoder
local Decoder = {}
Decoder.__index = Decoder
Decoder.__name = "Decoder"

-- "deflate" is zlib's frame, says RFC 9110; some send none at all.
local function zlib_bits(name, head)
  if name == "gzip" then return 31 end
  local a, b = head:byte(1, 2)
  return a & 15 == 8 and (not b or (a << 8 | b) % 31 == 0) and 15 or -15
end

local function new_decoder(name, lenient)
  name = aliases[name] or name
  if not M.available(name) then
    error(M.UnknownEncoding(("the content coding %q is not known"):format(name)), 0)
  end
  local self = setmetatable({ name = name, begun = false, tail = "", lenient = lenient }, Decoder)
  if name == "br" then
    self.coder = require("brotli").Decompressor()
    self.feed = self.coder.process
  end
  return self
end

-- Bytes of `data` and of what is left from before, at most `max`. More may be there: then `tail` or `full` is set.
local function feed(self, data, max)
  if self.tail ~= "" then data = self.tail .. data end
  self.tail = ""
  if data == "" and not self.full then return "" end
  self.begun = self.begun or data ~= ""
  if not self.coder then
    local zlib = require "zlib"
    self.coder, self.feed = zlib.decompressobj { wbits = zlib_bits(self.name, data) }, zlib.Decompress.decompress
  end
  local coder = self.coder
  local ok, out = pcall(self.feed, coder, data, max)
  if not ok then
    coder:close()
    local why = type(out) == "table" and out.message or out
    error(M.DecodingError(("the body is not %s: %s"):format(self.name, tostring(why))), 0)
  end
  self.full = #out == max and not coder.eof
  self.tail = coder.unconsumed_tail
  if coder.eof then
    local rest = coder.unused_data
    self.done = true
    if self.name == "gzip" and rest:byte(1) == 31 then -- another member follows: RFC 1952, 2.2
      self.coder, self.tail, self.done = nil, rest, false
    elseif rest ~= "" and not self.lenient then
      error(M.DecodingError(("the body goes on after the end of its %s"):format(self.name)), 0)
    end
  end
  return out
end

--- What most bodies are: a short string in one coding, decoded at once. nil for what takes more than one step (then
--- `decode` does it). Raises DecodingError.
---@param data string
---@param encoding string the Content-Encoding header
---@param limit? integer of what comes out; 0, nil: none
---@return string?
function M.short(data, encoding, limit)
  if data == "" or #data > PIECE or not M.available(aliases[encoding] or encoding) then return nil end
  local decoder = new_decoder(encoding, true)
  local out = feed(decoder, data, PIECE)
  if decoder.coder then decoder.coder:close() end
  if not decoder.done or decoder.full or decoder.tail ~= "" or limit and limit > 0 and #out > limit then return nil end
  return out
end

-- ---- readers ----

--- Reads what another reader gives, decoded. Has the methods of a StreamReader that bodies need.
---@class http.DecodingReader
local Reader = {}
Reader.__index = Reader
Reader.__name = "DecodingReader"
M.Reader = Reader

-- The decoders in a row: the first gives the content, the last reads what has come.
local function decoders_of(encodings, lenient)
  local list = {}
  for name in encodings:gmatch("[^,%s]+") do
    if name:lower() ~= "identity" then list[#list + 1] = new_decoder(name:lower(), lenient) end
  end
  return list
end

--- A reader of the decoded content. UnknownEncoding for a coding that this build has not.
---@param content any what has read(n)
---@param encodings string the Content-Encoding header
---@param lenient? boolean what is behind the end is passed over, as browsers do, and no error
---@return http.DecodingReader
function M.reader(content, encodings, lenient)
  return setmetatable({
    content = content, decoders = decoders_of(encodings, lenient), buffer = "", at = 1, ended = false, came = 0,
    limit = 0,
  }, Reader)
end

local function too_long(limit, when)
  error(M.TooLong(("the body is longer than %d bytes %s it is decoded"):format(limit, when), { limit = limit }), 0)
end

-- One piece from the i-th decoder; nil at the end.
local function pull(self, i)
  local decoder = self.decoders[i]
  if not decoder then
    local data = await(self.content:read(PIECE))
    self.came = self.came + (data and #data or 0)
    if self.limit > 0 and self.came > self.limit then too_long(self.limit, "before") end
    return data
  end
  while true do
    if decoder.tail ~= "" or decoder.full then
      local out = feed(decoder, "", PIECE)
      if out ~= "" then
        await(core.sleep(0))
        return out
      end
    else
      local data = pull(self, i + 1)
      if not data then
        if decoder.begun and not decoder.done then
          error(M.DecodingError(("the body's %s is cut off"):format(decoder.name)), 0)
        end
        return nil
      elseif decoder.done and not decoder.lenient then
        error(M.DecodingError(("the body goes on after the end of its %s"):format(decoder.name)), 0)
      end
      local out = decoder.done and "" or feed(decoder, data, PIECE)
      if out ~= "" then return out end
    end
  end
end

-- More bytes in the buffer; false at the end.
local function fill(self)
  if self.ended then return false end
  local data = pull(self, 1)
  if not data then
    self.ended = true
    return false
  end
  self.buffer = self.at > #self.buffer and data or self.buffer:sub(self.at) .. data
  self.at = 1
  return true
end

local function take(self, n)
  local data = self.buffer:sub(self.at, self.at + n - 1)
  self.at = self.at + n
  if self.at > #self.buffer then self.buffer, self.at = "", 1 end
  return data
end

local function have(self) return #self.buffer - self.at + 1 end

-- All that comes; more than `limit` (0: none) is TooLong.
local function read_all(self, limit)
  local out, n = {}, 0
  repeat
    out[#out + 1] = take(self, have(self))
    n = n + #out[#out]
    if limit > 0 and n > limit then too_long(limit, "when") end
  until not fill(self)
  return table.concat(out)
end

--- At most n bytes, nil at the end; without n all there is.
---@param n? integer
---@return any awaitable of string?
Reader.read = async(function(self, n)
  if n == nil or n < 0 then return read_all(self, 0) end
  if n == 0 then return "" end
  if have(self) == 0 and not fill(self) then return nil end
  return take(self, n)
end, "DecodingReader.read")

--- All of it, if it is not longer, neither as it came nor decoded; TooLong else. limit 0: no limit.
---@param limit integer
---@return any awaitable of a string
Reader.read_limited = async(function(self, limit)
  self.limit = limit
  return read_all(self, limit)
end, "DecodingReader.read_limited")

--- Exactly n bytes; IncompleteReadError with `partial`.
---@param n integer
---@return any awaitable of a string
Reader.readexactly = async(function(self, n)
  while have(self) < n do
    if not fill(self) then
      local partial = take(self, have(self))
      error(core.IncompleteReadError(("%d bytes read on a total of %d expected bytes"):format(#partial, n),
        { partial = partial, expected = n }), 0)
    end
  end
  return n == 0 and "" or take(self, n)
end, "DecodingReader.readexactly")

-- Up to the separator; nil: it does not come.
local function up_to(self, sep)
  local from = self.at
  while true do
    local _, stop = self.buffer:find(sep, from, true)
    if stop then return take(self, stop - self.at + 1) end
    if have(self) > PIECE then
      error(core.LimitOverrunError("Separator is not found, and chunk exceed the limit", { consumed = have(self) }), 0)
    end
    local skip = math.max(0, have(self) - #sep + 1)
    if not fill(self) then return nil end
    from = self.at + skip
  end
end

--- Up to the separator and with it; IncompleteReadError if it does not come.
---@param sep? string "\n"
---@return any awaitable of a string
Reader.readuntil = async(function(self, sep)
  local data = up_to(self, sep or "\n")
  if data then return data end
  local partial = take(self, have(self))
  error(core.IncompleteReadError(("%d bytes read on a total of undefined expected bytes"):format(#partial),
    { partial = partial }), 0)
end, "DecodingReader.readuntil")

--- A line with its break; nil at the end.
---@return any awaitable of string?
Reader.readline = async(function(self)
  local line = up_to(self, "\n")
  if line then return line end
  local rest = take(self, have(self))
  return rest ~= "" and rest or nil
end, "DecodingReader.readline")

--- Iterates over the lines, without their breaks. Awaits by itself.
---@return fun(): string?
function Reader:lines()
  return function()
    local line = await(self:readline())
    return line and line:gsub("\n$", "", 1) or nil
  end
end

---@return boolean
function Reader:at_eof() return self.ended and have(self) == 0 end

function Reader:__aiter() return self end

function Reader:__anext() return self:readline() end

-- ---- whole strings ----

-- What is short, of one coding, and whole in one step: most answers of APIs. nil: it takes more.
local function decode_short(data, encodings, limit, lenient)
  local name = #data <= SHORT and encodings:match("^[%w-]+$")
  name = name and name:lower()
  if not name or not modules[aliases[name] or name] or data == "" then return nil end
  local decoder = new_decoder(name, lenient)
  local out = feed(decoder, data, PIECE)
  if not decoder.done or decoder.full then return nil end
  if limit > 0 and #data > limit then too_long(limit, "before") end
  if limit > 0 and #out > limit then too_long(limit, "when") end
  return out
end

local decode = async(function(data, encodings, limit, lenient)
  local out = decode_short(data, encodings, limit, lenient)
  if out then return out end
  local at = 1
  local source = {
    read = async(function(_, n)
      local piece = data:sub(at, at + n - 1)
      at = at + n
      return piece ~= "" and piece or nil
    end),
  }
  return read_all(M.reader(source, encodings, lenient), limit)
end, "http.encodings.decode")

--- Decodes a string. Raises DecodingError, UnknownEncoding, TooLong.
---@param data string
---@param encodings string the Content-Encoding header
---@param limit? integer of what comes out; 0, nil: none
---@param lenient? boolean as for `reader`
---@return any awaitable of a string
function M.decode(data, encodings, limit, lenient)
  if type(data) ~= "string" then
    misuse.raise(core.TypeError, "decode: a string was expected, got " .. misuse.describe(data))
  end
  return decode(data, encodings, limit or 0, lenient)
end

--- Encodes a string; other tasks run in between if it is long.
---@param data string
---@param name string gzip, deflate, br
---@param opts? { level: integer }
---@return any awaitable of a string
M.encode = async(function(data, name, opts)
  local encoder <close> = M.encoder(name, opts)
  local head = encoder:compress(data)
  return head .. encoder:finish()
end, "http.encodings.encode")

return M
