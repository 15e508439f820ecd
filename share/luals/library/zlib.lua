---@meta zlib

-- Module zlib. Written by tools/definitions.lua.

--- The class of errors.
---@class zlib.error: asyncio.Exception
---@overload fun(message?: any, fields?: table): zlib.error
local error = {}

---@class zlib.CompressOptions
---@field level? integer -1 to 9
---@field method? integer DEFLATED
---@field wbits? integer 9 to 15: zlib's frame; -9 to -15: none; 25 to 31: gzip's
---@field memLevel? integer 8
---@field strategy? integer
---@field zdict? string

---@class zlib.DecompressOptions
---@field wbits? integer 40 to 47: zlib's or gzip's frame, whichever comes
---@field zdict? string
---@field max_length? integer 0: any length

--- Their methods, as tables.
---@class zlib.Compress
local Compress = {}

--- Takes part of a string, as `string.sub`, and gives what there is.
---@param data string
---@param first? integer
---@param last? integer
---@return string
function Compress:compress(data, first, last) end

--- What is left; Z_FINISH (the default) ends the stream.
---@param mode? integer
---@return string
function Compress:flush(mode) end

--- Another one in the same state.
---@return zlib.Compress
function Compress:copy() end

--- Gives the memory back.
function Compress:close() end

--- Their methods, as tables.
---@class zlib.Decompress
---@field unconsumed_tail string input that was left for want of room: give it again
---@field unused_data string what came after the end
---@field eof boolean
local Decompress = {}

--- Gives at most `max_length` bytes.
---@param data string
---@param max_length? integer
---@return string
function Decompress:decompress(data, max_length) end

--- What is left.
---@return string
function Decompress:flush() end

--- Another one in the same state.
---@return zlib.Decompress
function Decompress:copy() end

--- Gives the memory back.
function Decompress:close() end

---@class zlib
---@field DEFLATED integer
---@field DEF_MEM_LEVEL integer
---@field MAX_WBITS integer
---@field ZLIB_RUNTIME_VERSION string
---@field Z_BEST_COMPRESSION integer
---@field Z_BEST_SPEED integer
---@field Z_BLOCK integer
---@field Z_DEFAULT_COMPRESSION integer
---@field Z_DEFAULT_STRATEGY integer
---@field Z_FILTERED integer
---@field Z_FINISH integer
---@field Z_FIXED integer
---@field Z_FULL_FLUSH integer
---@field Z_HUFFMAN_ONLY integer
---@field Z_NO_COMPRESSION integer
---@field Z_NO_FLUSH integer
---@field Z_PARTIAL_FLUSH integer
---@field Z_RLE integer
---@field Z_SYNC_FLUSH integer
local zlib = {}
zlib.Compress = Compress
zlib.Decompress = Decompress
zlib.error = error

--- Gives a string. `opts`: the level, or the table of `zlib.compressobj`.
---@param data string
---@param opts? integer|zlib.CompressOptions
---@return string
function zlib.compress(data, opts) end

--- Gives a string. `opts`: window bits, or `{wbits = 15, zdict, max_length = 0}`. With `max_length` what would become
--- longer is a `zlib.error`: a few bytes may stand for gigabytes, so set it for what comes from strangers.
---@param data string
---@param opts? integer|zlib.DecompressOptions
---@return string
function zlib.decompress(data, opts) end

--- The same as awaitables: other tasks run in between.
---@async
---@param data string
---@param opts? integer|zlib.CompressOptions
---@return string
function zlib.compress_in_pieces(data, opts) end

--- The same as awaitables: other tasks run in between.
---@async
---@param data string
---@param opts? integer|zlib.DecompressOptions
---@return string
function zlib.decompress_in_pieces(data, opts) end

--- Checksums; `value` is that of what came before.
---@param data string
---@param value? integer
---@return integer
function zlib.crc32(data, value) end

--- Checksums; `value` is that of what came before.
---@param data string
---@param value? integer
---@return integer
function zlib.adler32(data, value) end

--- A Compress. `opts`: the level, or `{level = -1, wbits = 15, memLevel = 8, strategy = 0, zdict}`. `wbits`: 9 to 15:
--- zlib's frame; -9 to -15: none; 25 to 31: gzip's.
---@param opts? integer|zlib.CompressOptions
---@return zlib.Compress
function zlib.compressobj(opts) end

--- A Decompress. `opts`: window bits, or `{wbits = 15, zdict}`; 40 to 47: zlib's or gzip's frame, whichever comes.
---@param opts? integer|zlib.DecompressOptions
---@return zlib.Decompress
function zlib.decompressobj(opts) end

return zlib
