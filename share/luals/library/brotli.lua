---@meta brotli

-- Module brotli. Written by tools/definitions.lua.

--- The class of errors.
---@class brotli.error: asyncio.Exception
---@overload fun(message?: any, fields?: table): brotli.error
local error = {}

---@class brotli.Options
---@field mode? integer MODE_GENERIC, MODE_TEXT, MODE_FONT
---@field quality? integer 0 to 11; 11
---@field lgwin? integer 10 to 24; 22
---@field lgblock? integer 0, 16 to 24

--- A stream: `c:process(data, first, last)`, `c:flush()`, `c:finish()`, `c:close()`. `opts`: `mode`, `quality` (0 to
--- 11; 11), `lgwin` (10 to 24; 22), `lgblock` (0, 16 to 24).
---@class brotli.Compressor
---@overload fun(opts?: brotli.Options): brotli.Compressor
local Compressor = {}

--- Takes part of a string, and gives what there is.
---@param data string
---@param first? integer
---@param last? integer
---@return string
function Compressor:process(data, first, last) end

--- Gives all that was taken.
---@return string
function Compressor:flush() end

--- Ends the stream, and gives the rest.
---@return string
function Compressor:finish() end

--- Gives the memory back.
function Compressor:close() end

--- A stream: `d:process(data, max_length)`, `d:is_finished()`, `d:close()`, and the fields `unconsumed_tail`,
--- `unused_data`, `eof`.
---@class brotli.Decompressor
---@field unconsumed_tail string input that was left for want of room
---@field unused_data string what came after the end
---@field eof boolean
---@overload fun(): brotli.Decompressor
local Decompressor = {}

--- Gives at most `max_length` bytes.
---@param data string
---@param max_length? integer
---@return string
function Decompressor:process(data, max_length) end

--- Has the end come?
---@return boolean
function Decompressor:is_finished() end

--- Gives the memory back.
function Decompressor:close() end

---@class brotli
---@field MODE_FONT integer What `mode` may be.
---@field MODE_GENERIC integer What `mode` may be.
---@field MODE_TEXT integer What `mode` may be.
local brotli = {}
brotli.Compressor = Compressor
brotli.Decompressor = Decompressor
brotli.error = error

--- Gives a string. `opts`: as `brotli.Compressor`.
---@param data string
---@param opts? brotli.Options
---@return string
function brotli.compress(data, opts) end

--- Gives a string. `opts`: `max_length`; longer is a `brotli.error`.
---@param data string
---@param opts? { max_length?: integer }
---@return string
function brotli.decompress(data, opts) end

--- The same as awaitables: other tasks run in between. At quality 10 and 11 Brotli compresses large blocks at once,
--- up to a second each: `asyncio.to_thread` is the place for that.
---@async
---@param data string
---@param opts? brotli.Options
---@return string
function brotli.compress_in_pieces(data, opts) end

--- The same as awaitables: other tasks run in between. At quality 10 and 11 Brotli compresses large blocks at once,
--- up to a second each: `asyncio.to_thread` is the place for that.
---@async
---@param data string
---@param opts? { max_length?: integer }
---@return string
function brotli.decompress_in_pieces(data, opts) end

return brotli
