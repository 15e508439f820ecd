--- A peer that speaks HTTP/2 frame by frame, well or badly, for specs and fuzzers.

local asyncio = require "asyncio"

local M = {}

M.PREFACE = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

--- Adds what t maps to, mapped to its keys.
local function both_ways(t)
  local back = {}
  for k, v in pairs(t) do back[v] = k end
  for k, v in pairs(back) do t[k] = v end
  return t
end

--- Types of frames, both ways.
M.types = both_ways {
  DATA = 0, HEADERS = 1, PRIORITY = 2, RST_STREAM = 3, SETTINGS = 4, PUSH_PROMISE = 5, PING = 6, GOAWAY = 7,
  WINDOW_UPDATE = 8, CONTINUATION = 9,
}

--- Error codes, both ways.
M.errors = both_ways {
  [0] = "NO_ERROR", "PROTOCOL_ERROR", "INTERNAL_ERROR", "FLOW_CONTROL_ERROR", "SETTINGS_TIMEOUT", "STREAM_CLOSED",
  "FRAME_SIZE_ERROR", "REFUSED_STREAM", "CANCEL", "COMPRESSION_ERROR", "CONNECT_ERROR", "ENHANCE_YOUR_CALM",
  "INADEQUATE_SECURITY", "HTTP_1_1_REQUIRED",
}

M.END_STREAM, M.ACK, M.END_HEADERS, M.PADDED, M.PRIORITY = 1, 1, 4, 8, 32

---@return string
function M.frame(kind, flags, id, payload)
  payload = payload or ""
  return string.pack(">I3BBI4", #payload, math.type(kind) and kind or M.types[kind], flags, id) .. payload
end

-- ---- HPACK, as simple as it can be: literals, nothing indexed ----

local function int(prefix, bits, n)
  local max = (1 << bits) - 1
  if n < max then return string.char(prefix | n) end
  local s = string.char(prefix | max)
  n = n - max
  while n >= 128 do
    s = s .. string.char(n % 128 | 128)
    n = n // 128
  end
  return s .. string.char(n)
end
M.int = int

--- A block of the fields {name, value, name, value...}.
function M.block(fields)
  local out = {}
  for i = 1, #fields, 2 do
    out[#out + 1] = "\0" .. int(0, 7, #fields[i]) .. fields[i] .. int(0, 7, #fields[i + 1]) .. fields[i + 1]
  end
  return table.concat(out)
end

--- The fields of a request, with more behind them.
function M.request(method, path, more)
  local fields = { ":method", method, ":scheme", "http", ":path", path, ":authority", "example.com" }
  for _, s in ipairs(more or {}) do fields[#fields + 1] = s end
  return fields
end

-- Huffman codes of digits (RFC 7541, appendix B).
local digits = { ["00000"] = "0", ["00001"] = "1", ["00010"] = "2" }
for i = 3, 9 do
  local bits = ""
  for k = 5, 0, -1 do bits = bits .. ((22 + i) >> k & 1) end
  digits[bits] = tostring(i)
end

local function huffman_digits(s)
  local bits, out = "", ""
  for c in s:gmatch(".") do
    for k = 7, 0, -1 do bits = bits .. (c:byte() >> k & 1) end
  end
  while true do
    local five, six = digits[bits:sub(1, 5)], digits[bits:sub(1, 6)]
    if not five and not six then return out end
    out, bits = out .. (five or six), bits:sub(five and 6 or 7)
  end
end

local indexed = { [8] = 200, [9] = 204, [10] = 206, [11] = 304, [12] = 400, [13] = 404, [14] = 500 }

--- The status that a block begins with, if its peer was told to keep no table; or nil.
function M.status(block)
  while block:byte() and block:byte() & 0xe0 == 0x20 do block = block:sub(2) end
  local first = block:byte()
  if not first then return nil end
  if first & 0x80 ~= 0 then return indexed[first & 0x7f] end
  if first & 0x0f ~= 8 and first & 0x3f ~= 8 then return nil end
  local n = block:byte(2)
  local value = block:sub(3, 2 + (n & 0x7f))
  return tonumber(n & 0x80 ~= 0 and huffman_digits(value) or value)
end

-- ---- a connection ----

---@class spec.Http2Peer
local Peer = {}
Peer.__index = Peer

--- Connects, and says hello unless `bare`.
---@param settings table? {id = value}
function M.connect(port, settings, bare)
  local r, w = asyncio.await(asyncio.open_connection("127.0.0.1", port))
  local self = setmetatable({ r = r, w = w, seen = {} }, Peer)
  if bare then return self end
  local s = { string.pack(">I2I4", 1, 0) }
  for id, v in pairs(settings or {}) do s[#s + 1] = string.pack(">I2I4", id, v) end
  self:raw(M.PREFACE .. M.frame("SETTINGS", 0, 0, table.concat(s)))
  return self
end

--- Waits for a client's preface on a connection that came in, and says hello.
---@param settings table? {id = value}
function M.accept(r, w, settings)
  local self = setmetatable({ r = r, w = w, seen = {} }, Peer)
  if await(r:readexactly(#M.PREFACE)) ~= M.PREFACE then error("no preface of HTTP/2 came") end
  local s = { string.pack(">I2I4", 1, 0) }
  for id, v in pairs(settings or {}) do s[#s + 1] = string.pack(">I2I4", id, v) end
  self:send("SETTINGS", 0, 0, table.concat(s))
  return self
end

--- A head of the fields {name, value...}, or that of a response if `status` is a number.
function Peer:head(id, status, fields, open)
  local all = math.type(status) and { ":status", tostring(status) } or {}
  for _, v in ipairs(fields or {}) do all[#all + 1] = v end
  self:send("HEADERS", M.END_HEADERS | (open and 0 or M.END_STREAM), id, M.block(all))
end

--- Reads up to the next request: its stream, and whether it has no body.
function Peer:asked()
  local f = self:expect("HEADERS")
  return f and f.id, f and f.flags & M.END_STREAM ~= 0
end

function Peer:raw(s)
  self.w:write(s)
  asyncio.catch(function() asyncio.await(self.w:drain()) end)
end

function Peer:send(kind, flags, id, payload) self:raw(M.frame(kind, flags, id, payload)) end

--- A request, at once complete unless `open`.
function Peer:request(id, method, path, more, open)
  self:send("HEADERS", M.END_HEADERS | (open and 0 or M.END_STREAM), id, M.block(M.request(method, path, more)))
end

function Peer:data(id, data, more) self:send("DATA", more and 0 or M.END_STREAM, id, data) end

--- The next frame {type, flags, id, payload}, or nil at the end.
function Peer:next()
  local ok, head = asyncio.catch(function() return asyncio.await(self.r:readexactly(9)) end)
  if not ok then return nil end
  local n, kind, flags, id = string.unpack(">I3BBI4", head)
  local done, payload = asyncio.catch(function() return n > 0 and asyncio.await(self.r:readexactly(n)) or "" end)
  if not done then return nil end
  local f = { type = M.types[kind], flags = flags, id = id & 0x7fffffff, payload = payload }
  if f.type == "HEADERS" then f.status = M.status(payload) end
  if f.type == "RST_STREAM" then f.error = M.errors[string.unpack(">I4", payload)] end
  if f.type == "GOAWAY" then
    local last, code = string.unpack(">I4I4", payload)
    f.last, f.error = last, M.errors[code]
  end
  return f
end

--- Reads up to a frame of that type (of that stream), which is given; nil: the connection ended.
--- Settings and pings are acknowledged on the way.
function Peer:expect(kind, id)
  for f in function() return self:next() end do
    self.seen[#self.seen + 1] = f
    if f.type == "SETTINGS" and f.flags == 0 then self:send("SETTINGS", M.ACK, 0) end
    if f.type == "PING" and f.flags == 0 then self:send("PING", M.ACK, 0, f.payload) end
    if f.type == kind and (not id or f.id == id) then return f end
  end
end

--- Status and body of the response on a stream; or nil and the error it was reset with.
function Peer:response(id)
  local status, parts = nil, {}
  for f in function() return self:next() end do
    if f.type == "SETTINGS" and f.flags == 0 then self:send("SETTINGS", M.ACK, 0) end
    if f.type == "PING" and f.flags == 0 then self:send("PING", M.ACK, 0, f.payload) end
    if f.type == "GOAWAY" and f.error ~= "NO_ERROR" then return nil, "GOAWAY " .. f.error end
    if f.id == id then
      if f.type == "HEADERS" and (not status or status < 200) then status = f.status or "?" end
      if f.type == "DATA" then parts[#parts + 1] = f.payload end
      if f.type == "RST_STREAM" then return nil, f.error end
      if (f.type == "DATA" or f.type == "HEADERS") and f.flags & M.END_STREAM ~= 0 then
        return status, table.concat(parts)
      end
    end
  end
  return nil, "EOF"
end

--- What the connection ends with: the error of the last GOAWAY, or "EOF".
function Peer:ending()
  local error = "EOF"
  for f in function() return self:next() end do
    if f.type == "GOAWAY" then error = f.error end
    if f.type == "SETTINGS" and f.flags == 0 then self:send("SETTINGS", M.ACK, 0) end
    if f.type == "PING" and f.flags == 0 then self:send("PING", M.ACK, 0, f.payload) end
  end
  return error
end

function Peer:close()
  self.w:close()
  asyncio.catch(function() asyncio.await(self.w:wait_closed()) end)
end
Peer.__close = Peer.close

return M
