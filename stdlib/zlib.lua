--- zlib: deflate, with zlib's, gzip's or no frame. Names and rules are those of Python's zlib.
---
--- `compress` and `decompress` work at once; `compress_in_pieces` and `decompress_in_pieces` are awaited and let other
--- tasks run in between. What is decompressed can be limited with max_length: a few bytes may become gigabytes.

local compression = require "compression"
local core = require "asyncio.core"

local found, zlib = pcall(require, "zlib.core")
if not found then
  error(core.RuntimeError("module zlib: this build has no zlib (it was made with WITH_ZLIB=0)"), 2)
end

local M = {}
for name, value in pairs(zlib) do M[name] = value end

--- A stream that compresses: `c:compress(data [, first [, last]])`, `c:flush(mode)`, `c:copy()`, `c:close()`.
---@param opts? integer|table the level (-1 to 9), or {level, wbits = 15, memLevel = 8, strategy, zdict}
---@return any Compress; raises ValueError, TypeError
function M.compressobj(opts)
  if math.type(opts) == "integer" then opts = { level = opts } end
  return zlib.compressobj(opts)
end

--- A stream that decompresses: `d:decompress(data [, max_length])`, `d:flush()`, and the fields `unconsumed_tail`
--- (input that was left for want of room), `unused_data` (what came after the end) and `eof`.
---@param opts? integer|table the window bits, or {wbits = 15, zdict}
---@return any Decompress; raises ValueError, TypeError
function M.decompressobj(opts)
  if math.type(opts) == "integer" then opts = { wbits = opts } end
  return zlib.decompressobj(opts)
end

local codec = {
  compressor = M.compressobj,
  feed = zlib.Compress.compress,
  finish = zlib.Compress.flush,
  decompressor = zlib.decompressobj,
  unfeed = zlib.Decompress.decompress,
  error = zlib.error,
}

local function bits(opts)
  return math.type(opts) == "integer" and { wbits = opts } or opts
end

--- A whole string.
---@param data string
---@param opts? integer|table as compressobj
---@return string; raises ValueError, TypeError
function M.compress(data, opts)
  return compression.compress(codec, data, opts)
end

--- Raises zlib.error for what is no such stream, or is cut off, or longer than max_length.
---@param data string
---@param opts? integer|table the window bits, or {wbits = 15, zdict, max_length = 0: no limit}
---@return string
function M.decompress(data, opts)
  return compression.decompress(codec, data, bits(opts))
end

--- As compress; other tasks run in between.
---@param data string
---@param opts? integer|table
---@return any awaitable of a string
function M.compress_in_pieces(data, opts)
  return compression.compress_in_pieces(codec, data, opts)
end

--- As decompress; other tasks run in between.
---@param data string
---@param opts? integer|table
---@return any awaitable of a string
function M.decompress_in_pieces(data, opts)
  return compression.decompress_in_pieces(codec, data, bits(opts))
end

return M
