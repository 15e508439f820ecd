--- Frames of WebSocket as bytes, for specs: made and taken apart without the code under test.

local M = {}

--- A frame. opts: fin (true), rsv (0 to 7), mask (a key of 4 bytes; false: none; by default there is one), length (what
--- the head says), form (7, 16 or 64: how the length is written).
function M.frame(opcode, payload, opts)
  opts = opts or {}
  payload = payload or ""
  local first = (opts.fin == false and 0 or 0x80) | (opts.rsv or 0) << 4 | opcode
  local mask = opts.mask == nil and "\x37\xfa\x21\x3d" or opts.mask
  local bit, n = mask and 0x80 or 0, opts.length or #payload
  local form = opts.form or (n < 126 and 7 or n < 65536 and 16 or 64)
  local length = form == 7 and string.char(bit | n)
    or form == 16 and string.char(bit | 126) .. (">I2"):pack(n)
    or string.char(bit | 127) .. (">I8"):pack(n)
  if mask then
    local bytes = {}
    for i = 1, #payload do
      bytes[i] = string.char(payload:byte(i) ~ mask:byte((i - 1) % 4 + 1))
    end
    payload = mask .. table.concat(bytes)
  end
  return string.char(first) .. length .. payload
end

--- A client's frames: TEXT, BINARY, ...
function M.text(s, opts) return M.frame(1, s, opts) end
function M.binary(s, opts) return M.frame(2, s, opts) end
function M.continuation(s, opts) return M.frame(0, s, opts) end
function M.ping(s, opts) return M.frame(9, s, opts) end
function M.pong(s, opts) return M.frame(10, s, opts) end
function M.close(code, reason, opts)
  return M.frame(8, code and (">I2"):pack(code) .. (reason or "") or "", opts)
end

--- The first frame in the bytes: {opcode, payload, fin, rsv, masked} and what is behind it; nil if it is not complete.
function M.parse(bytes)
  if #bytes < 2 then return nil end
  local first, second = bytes:byte(1, 2)
  local n, at = second & 127, 3
  if n == 126 then
    if #bytes < 4 then return nil end
    n, at = (">I2"):unpack(bytes, 3)
  elseif n == 127 then
    if #bytes < 10 then return nil end
    n, at = (">I8"):unpack(bytes, 3)
  end
  local mask
  if second & 0x80 ~= 0 then mask, at = bytes:sub(at, at + 3), at + 4 end
  if #bytes < at + n - 1 then return nil end
  local payload = bytes:sub(at, at + n - 1)
  if mask then
    payload = payload:gsub("()(.)", function(i, c)
      return string.char(c:byte() ~ mask:byte((i - 1) % 4 + 1))
    end)
  end
  return {
    opcode = first & 15, payload = payload, fin = first & 0x80 ~= 0, rsv = first >> 4 & 7, masked = mask ~= nil,
  }, bytes:sub(at + n)
end

--- All frames in the bytes, as "OPCODE:PAYLOAD" (a close frame's payload as its code and reason).
function M.list(bytes)
  local list = {}
  while #bytes > 0 do
    local f
    f, bytes = M.parse(bytes)
    if not f then error("not a whole frame") end
    local payload = f.payload
    if f.opcode == 8 and #payload >= 2 then payload = (">I2"):unpack(payload) .. payload:sub(3) end
    list[#list + 1] = (f.fin and "" or "-") .. f.opcode .. ":" .. payload
  end
  return list
end

return M
