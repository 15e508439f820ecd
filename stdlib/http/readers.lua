--- What readers of bodies have in aiohttp beyond asyncio's StreamReader: `readany`, `iter_any`, `iter_chunked`,
--- `iter_chunks`. Loading this adds them to StreamReader and to what decodes one.

local core = require "asyncio.core"
local encodings = require "http.encodings"
local misuse = require "asyncio.misuse"
local net = require "asyncio.net"
require "asyncio.streams" -- which makes StreamReader whole

local await = core.await

--- What is taken at a time where nobody says how much.
local PIECE <const> = 131072

local M = {}

--- What has come, at least a byte; nil at the end.
---@return any awaitable of string?
function M:readany() return self:read(PIECE) end

--- Iterates over the body as it comes. Awaits by itself.
---@return fun(): string?
function M:iter_any()
  return function() return await(self:read(PIECE)) end
end

--- Iterates over the body in pieces of n bytes at most. Awaits by itself. ValueError for less than a byte.
---@param n integer
---@return fun(): string?
function M:iter_chunked(n)
  if math.type(n) ~= "integer" or n < 1 then
    misuse.blame(core.ValueError, "iter_chunked: 1 byte or more was expected, got " .. tostring(n))
  end
  return function() return await(self:read(n)) end
end

--- As iter_any; the second value is true, as in aiohttp at the end of a chunk.
---@return fun(): string?, boolean?
function M:iter_chunks()
  return function()
    local data = await(self:read(PIECE))
    if data then return data, true end
  end
end

for name, method in next, M do
  net.StreamReader[name], encodings.Reader[name] = method, method
end

return M
