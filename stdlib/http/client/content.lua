--- A response's body as a stream: a StreamReader of what comes, decoded if it is coded, whose errors name the request.
--- The connection is given back when the end has been read.

local core = require "asyncio.core"
local misuse = require "asyncio.misuse"

local async, await, catch = core.async, core.await, core.catch

-- Of a response's array part (http.client.response).
local X <const>, CONN <const>, RAW <const>, BODY <const> = 1, 2, 6, 9

local M = {}

--- What `readany` and the iterators take at a time.
local PIECE <const> = 131072

---@class http.client.Content
local Content = {}
Content.__index = Content
Content.__name = "Content"
M.Content = Content

-- The body that has been read already.
local function replay(body)
  local reader = require("asyncio").StreamReader()
  reader:feed_data(body)
  reader:feed_eof()
  return reader
end

--- The content of a response.
---@param response http.ClientResponse
---@param codings string? the Content-Encoding to be undone
---@return http.client.Content
function M.of(response, codings)
  local body = response[BODY]
  local self = setmetatable({ response = response, total = 0 }, Content)
  if body then
    self.source, self.ended = replay(body), false
    self.replayed = true
    return self
  end
  if rawget(response, "_closed") and not response[RAW] then
    self.closed = true
    return self
  end
  local source = response[RAW] and replay(response[RAW]) or response[X]:content()
  if codings then
    local encodings = require "http.encodings"
    local ok, reader = pcall(encodings.reader, source, codings, true)
    if ok then
      source = reader
    elseif not core.isinstance(reader, encodings.UnknownEncoding) then
      error(reader, 0)
    end
  end
  self.source = source
  return self
end

local function closed(self)
  local errors = require "http.client.errors"
  error(errors.make(errors.ClientConnectionError, self.response, "Connection closed: the response was closed"), 0)
end

-- Calls the source's method and takes what it gives.
local function take(self, name, ...)
  local response, source = self.response, self.source
  if not source or rawget(response, "_closed") and response[CONN] == false and not source:at_eof() and not self.replayed
    and not response[RAW] and not response[X]:over() then
    closed(self)
  end
  local ok, data = catch(await, source[name](source, ...))
  if not ok then
    if core.isinstance(data, core.IncompleteReadError) or core.isinstance(data, core.LimitOverrunError)
      or core.isinstance(data, core.CancelledError) then
      if core.isinstance(data, core.CancelledError) then response:close() end
      error(data, 0)
    end
    error(response:_failed(data), 0)
  end
  if self.replayed then return data end
  if response[CONN] then response:_settle() end
  local limit = response:_limit_of()
  if limit > 0 and data then
    self.total = self.total + #data
    if self.total > limit then
      response:close()
      local errors = require "http.client.errors"
      local reason = ("the body is longer than %d bytes (max_body_size)"):format(limit)
      error(errors.make(errors.ClientPayloadError, response, reason, { limit = limit }), 0)
    end
  end
  local traces = response:_traces_of()
  if traces and data and data ~= "" then
    traces:send("response_chunk_received", { method = response.method, url = response.url, chunk = data })
  end
  return data
end

-- All that is left, for response:read().
function Content:_rest() return take(self, "read") end

local function check_count(n, what)
  if n ~= nil and (math.type(n) ~= "integer") then
    misuse.blame(core.TypeError, what .. ": a number of bytes was expected, got " .. misuse.describe(n))
  end
end

local read = async(function(self, n) return take(self, "read", n) end, "content.read")

--- At most n bytes, nil at the end; without n all there is.
---@param n? integer
---@return any awaitable of string?
function Content:read(n)
  check_count(n, "content:read")
  return read(self, n)
end

--- What has come, at least a byte; nil at the end.
---@return any awaitable of string?
function Content:readany() return read(self, PIECE) end

--- Exactly n bytes; IncompleteReadError with `partial` when there are fewer.
---@param n integer
---@return any awaitable of a string
Content.readexactly = async(function(self, n) return take(self, "readexactly", n) end, "content.readexactly")

--- Up to the separator and with it; IncompleteReadError when it does not come.
---@param separator? string "\n"
---@return any awaitable of a string
Content.readuntil = async(function(self, separator)
  return take(self, "readuntil", separator or "\n")
end, "content.readuntil")

--- A line with its break; nil at the end.
---@return any awaitable of string?
Content.readline = async(function(self) return take(self, "readline") end, "content.readline")

--- Has the end been read?
---@return boolean
function Content:at_eof() return self.source == nil or self.source:at_eof() end

Content.is_eof = Content.at_eof

--- Iterates over the lines, without their breaks. Awaits by itself.
---@return fun(): string?
function Content:lines()
  return function()
    local line = take(self, "readline")
    if line and line:byte(-1) == 10 then return line:sub(1, -2) end
    return line
  end
end

--- Iterates over the body in pieces of n bytes at most. Awaits by itself.
---@param n integer
---@return fun(): string?
function Content:iter_chunked(n)
  check_count(n, "content:iter_chunked")
  if n == nil or n < 1 then
    misuse.blame(core.ValueError, "content:iter_chunked: 1 byte or more was expected, got " .. tostring(n))
  end
  return function() return take(self, "read", n) end
end

--- Iterates over the body as it comes. Awaits by itself.
---@return fun(): string?
function Content:iter_any()
  return function() return take(self, "read", PIECE) end
end

--- The same; the second value is true, as in aiohttp at the end of a chunk.
---@return fun(): string?, boolean?
function Content:iter_chunks()
  return function()
    local data = take(self, "read", PIECE)
    if data then return data, true end
  end
end

function Content:__aiter() return self end

function Content:__anext() return self:readline() end

return M
