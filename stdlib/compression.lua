--- What zlib and brotli have in common: whole strings at once or in pieces, with a limit to what comes out.

local core = require "asyncio.core"
local misuse = require "asyncio.misuse"

local async, await = core.async, core.await

local M = {}

--- What is worked on between two rounds of the loop: a millisecond or so.
M.PIECE = 32 * 1024

local function check(data, fname)
  if type(data) ~= "string" then
    misuse.raise(core.TypeError, ("%s: data must be a string, got %s"):format(fname, misuse.describe(data)), 4)
  end
end

--- max_length of the options, which is taken out of them.
local function limited(opts, fname)
  if opts == nil then return nil, 0 end
  if type(opts) ~= "table" then
    misuse.raise(core.TypeError, ("%s() options must be a table, got %s"):format(fname, misuse.describe(opts)), 4)
  end
  local max, rest = opts.max_length, {}
  if max ~= nil and (math.type(max) ~= "integer" or max < 0) then
    misuse.raise(core.ValueError,
      ("%s: max_length must be a non-negative integer, got %s"):format(fname, tostring(max)), 4)
  end
  for k, v in pairs(opts) do
    if k ~= "max_length" then rest[k] = v end
  end
  return rest, max or 0
end

local function too_long(error_class, max)
  error(error_class(("the data is longer than max_length (%d) when it is decompressed"):format(max)), 0)
end

local function truncated(error_class)
  error(error_class("Error -5 while decompressing data: incomplete or truncated stream"), 0)
end

local in_pieces = async(function(coder, feed, finish, data)
  local _ <close> = coder
  local out = {}
  for at = 1, #data, M.PIECE do
    out[#out + 1] = feed(coder, data, at, at + M.PIECE - 1)
    await(core.sleep(0))
  end
  out[#out + 1] = finish(coder)
  return table.concat(out)
end, "compress_in_pieces")

local out_pieces = async(function(coder, feed, data, max, error_class)
  local _ <close> = coder
  local out, n = {}, 0
  local at = 1
  while not coder.eof do
    local tail = coder.unconsumed_tail
    local piece
    if tail ~= "" then
      piece = tail
    elseif at <= #data then
      piece = data:sub(at, at + M.PIECE - 1)
      at = at + M.PIECE
    else
      piece = ""
    end
    local bytes = feed(coder, piece, 4 * M.PIECE)
    if bytes == "" and piece == "" then truncated(error_class) end
    n = n + #bytes
    if max > 0 and n > max then too_long(error_class, max) end
    out[#out + 1] = bytes
    await(core.sleep(0))
  end
  return table.concat(out)
end, "decompress_in_pieces")

---@class compression.Codec how a module does it
---@field compressor fun(opts: any): any
---@field feed fun(coder: any, data: string, first?: integer, last?: integer): string
---@field finish fun(coder: any): string
---@field decompressor fun(opts: any): any
---@field unfeed fun(coder: any, data: string, max?: integer): string
---@field error table

---@param codec compression.Codec
function M.compress(codec, data, opts)
  check(data, "compress")
  local coder <close> = codec.compressor(opts)
  local head = codec.feed(coder, data)
  return head .. codec.finish(coder)
end

---@param codec compression.Codec
function M.decompress(codec, data, opts)
  check(data, "decompress")
  local rest, max = limited(opts, "decompress")
  local coder <close> = codec.decompressor(rest)
  local out = codec.unfeed(coder, data, max > 0 and max + 1 or 0)
  if max > 0 and #out > max then too_long(codec.error, max) end
  if not coder.eof then truncated(codec.error) end
  return out
end

---@param codec compression.Codec
function M.compress_in_pieces(codec, data, opts)
  check(data, "compress_in_pieces")
  return in_pieces(codec.compressor(opts), codec.feed, codec.finish, data)
end

---@param codec compression.Codec
function M.decompress_in_pieces(codec, data, opts)
  check(data, "decompress_in_pieces")
  local rest, max = limited(opts, "decompress_in_pieces")
  return out_pieces(codec.decompressor(rest), codec.unfeed, data, max, codec.error)
end

return M
