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

-- What the body is read from.
local function source_of(response, codings)
  local raw = response[RAW]
  local source = raw and replay(raw) or response[X]:content()
  if not codings then return source end
  local encodings = require "http.encodings"
  local ok, reader = pcall(encodings.reader, source, codings, true)
  if ok then return reader end
  if core.isinstance(reader, encodings.UnknownEncoding) then return source end -- as it is, as aiohttp does
  error(reader, 0)
end

--- The content of a response.
---@param response http.ClientResponse
---@param codings string? the Content-Encoding to be undone
---@return http.client.Content
function M.of(response, codings)
  local self = setmetatable({
    response = response, source = false, read_before = false, total = 0,
    limit = response:_limit_of(), traces = response:_traces_of() or false,
  }, Content)
  if response[BODY] then
    self.source, self.read_before = replay(response[BODY]), true
  elseif response[RAW] or not rawget(response, "_closed") then
    self.source = source_of(response, codings)
  end
  return self
end

local function fail(response, class, reason, fields)
  local errors = require "http.client.errors"
  error(errors.make(errors[class], response, reason, fields), 0)
end

-- Was the response, which has no connection any more, closed before its end had come?
local function is_cut(self)
  local response, source = self.response, self.source
  if not source then return true end
  if not rawget(response, "_closed") or response[RAW] or self.read_before then return false end
  return not source:at_eof() and not response[X]:over()
end

-- Errors that leave the stream as it is, and are the reader's: too few bytes, too long a line, cancellation.
local readers_own = { core.IncompleteReadError, core.LimitOverrunError, core.CancelledError }

-- What is to be seen to after n bytes have been read; nil: the end.
local function note(self, n)
  local response, limit = self.response, self.limit
  if response[CONN] and response[X]:over() then response:_settle() end
  if limit > 0 and n then
    self.total = self.total + n
    if self.total > limit then
      response:close()
      fail(response, "ClientPayloadError", ("the body is longer than %d bytes (max_body_size)"):format(limit),
        { limit = limit })
    end
  end
end

local function check_open(self)
  if not self.response[CONN] and is_cut(self) then
    fail(self.response, "ClientConnectionError", "Connection closed: the response was closed")
  end
end

local function failed(self, err)
  error(core.isinstance(err, readers_own) and err or self.response:_failed(err), 0)
end

-- Calls the source's method with what it needs and gives what it gives.
local function take(self, name, arg)
  if not self then misuse.no_object(core.TypeError, name, "a response's content", self) end
  check_open(self)
  local source = self.source
  local ok, data = catch(await, source[name](source, arg))
  if not ok then failed(self, data) end
  if self.read_before then return data end
  note(self, data and #data)
  local traces = self.traces
  if traces and data and data ~= "" then
    local response = self.response
    traces:send("response_chunk_received", { method = response.method, url = response.url, chunk = data })
  end
  return data
end

--- Puts at most n bytes into a file's block, see File:_receive: how many, nil at the end, 0 if that is full. Bytes that
--- are decoded or that a trace is to see come as a string instead. Awaits by itself.
---@param file fs.File
---@param n integer
---@return integer|string?
function Content:_into(file, n)
  if type(self.source) ~= "userdata" or self.traces then return take(self, "read", n) end
  check_open(self)
  local ok, got = catch(await, file:_receive(self.source, n))
  if not ok then failed(self, got) end
  if not self.read_before then note(self, got) end
  return got
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
function Content:at_eof() return not self.source or self.source:at_eof() end

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
