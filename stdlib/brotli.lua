--- brotli: Brotli's streams and whole strings. Names and rules are those of Python's brotli.

local compression = require "compression"
local core = require "asyncio.core"

local found, brotli = pcall(require, "brotli.core")
if not found then
  error(core.RuntimeError("module brotli: this build has no Brotli (it was made with WITH_BROTLI=0)"), 2)
end

local M = {
  error = brotli.error,
  MODE_GENERIC = brotli.MODE_GENERIC,
  MODE_TEXT = brotli.MODE_TEXT,
  MODE_FONT = brotli.MODE_FONT,
}

--- A stream that compresses: `c:process(data [, first [, last]])`, `c:flush()`, `c:finish()`, `c:close()`.
---@param opts? table {mode = MODE_GENERIC, quality = 11 (0 to 11), lgwin = 22 (10 to 24), lgblock = 0}
---@return any; raises ValueError, TypeError
function M.Compressor(opts)
  return brotli.compressor(opts)
end

--- A stream that decompresses: `d:process(data [, max_length])`, `d:is_finished()`, and the fields `unconsumed_tail`,
--- `unused_data` and `eof`.
---@return any
function M.Decompressor()
  return brotli.decompressor()
end

local function decompressor(opts)
  if opts ~= nil then core.options(opts, { "max_length" }, "decompress") end
  return brotli.decompressor()
end

local codec = {
  compressor = brotli.compressor,
  feed = brotli.Compressor.process,
  finish = brotli.Compressor.finish,
  decompressor = decompressor,
  unfeed = brotli.Decompressor.process,
  error = brotli.error,
}

--- A whole string.
---@param data string
---@param opts? table as Compressor
---@return string; raises ValueError, TypeError
function M.compress(data, opts)
  return compression.compress(codec, data, opts)
end

--- Raises brotli.error for what is no such stream, or is cut off, or longer than max_length.
---@param data string
---@param opts? table {max_length = 0: no limit}
---@return string
function M.decompress(data, opts)
  return compression.decompress(codec, data, opts)
end

--- As compress; other tasks run in between. (At quality 10 and 11 Brotli works on large blocks at once: up to a
--- second.)
---@param data string
---@param opts? table
---@return any awaitable of a string
function M.compress_in_pieces(data, opts)
  return compression.compress_in_pieces(codec, data, opts)
end

--- As decompress; other tasks run in between.
---@param data string
---@param opts? table
---@return any awaitable of a string
function M.decompress_in_pieces(data, opts)
  return compression.decompress_in_pieces(codec, data, opts)
end

return M
