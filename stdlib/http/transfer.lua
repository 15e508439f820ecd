--- Content-Transfer-Encodings (RFC 2045, 6): base64 and quoted-printable, undone while data comes in, and made while it
--- goes out. A decoder is a function: pieces go in, what they stand for comes out; without a piece it gives what is
--- left.

local core = require "asyncio.core"

local M = {}

local char, find, gsub, match, sub = string.char, string.find, string.gsub, string.match, string.sub

-- ---- base64 ----

local DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
local sextets, digits = {}, {}
for i = 0, 63 do
  sextets[DIGITS:byte(i + 1)] = i
  digits[i] = sub(DIGITS, i + 1, i + 1)
end

local function three(text)
  local a, b, c = text:byte(1, 3)
  return digits[a >> 2] .. digits[a << 4 & 63 | b >> 4] .. digits[b << 2 & 63 | c >> 6] .. digits[c & 63]
end

--- A string as base64 (RFC 4648), without line breaks.
---@param data string
---@return string
function M.base64(data)
  local missing = -#data % 3
  local text = gsub(data .. ("\0"):rep(missing), "...", three)
  return sub(text, 1, #text - missing) .. ("="):rep(missing)
end

local function four(text)
  local a, b, c, d = text:byte(1, 4)
  local u = sextets[a] << 18 | sextets[b] << 12 | sextets[c] << 6 | sextets[d]
  return char(u >> 16, u >> 8 & 255, u & 255)
end

local function last(text)
  if text == "" then return "" end
  if #text == 1 then error(core.ValueError("base64: a character too few"), 0) end
  return sub(four(text .. ("A"):rep(4 - #text)), 1, #text - 1)
end

local function base64()
  local rest, ended = "", false
  return function(piece)
    if not piece then return last(rest) end
    piece = gsub(piece, "%s+", "")
    local padding = find(piece, "=", 1, true)
    if ended and not find(piece, "^=*$") then error(core.ValueError("base64: more after its end"), 0) end
    if padding then
      if not find(piece, "^==?$", padding) then error(core.ValueError("base64: more after its end"), 0) end
      ended, piece = true, sub(piece, 1, padding - 1)
    end
    if find(piece, "[^%w+/]") then error(core.ValueError("base64: a character that is none of it"), 0) end
    piece = rest .. piece
    local whole = #piece // 4 * 4
    rest = sub(piece, whole + 1)
    return (gsub(sub(piece, 1, whole), "....", four))
  end
end

-- ---- quoted-printable ----

local function quoted_printable()
  local rest = ""
  return function(piece)
    local text = rest .. (piece or "")
    rest = ""
    if piece then -- an escape, or blanks before a line's end, may go on in the next piece
      local keep = find(text, "=[^\n]?[^\n]?$") or find(text, "=[ \t]*\r?$") or #text + 1
      rest, text = sub(text, keep), sub(text, 1, keep - 1)
    end
    text = gsub(text, "=[ \t]*\r?\n", "")
    return (gsub(text, "=(%x%x)", function(hex) return char(tonumber(hex, 16)) end))
  end
end

local function identity()
  return function(piece) return piece or "" end
end

local decoders = {
  [""] = identity, binary = identity, ["7bit"] = identity, ["8bit"] = identity,
  base64 = base64, ["quoted-printable"] = quoted_printable,
}

--- A decoder; ValueError when the encoding is not known.
---@param encoding string? nil: none
---@return fun(piece: string?): string
function M.decoder(encoding)
  local make = decoders[(encoding or ""):lower()]
  if not make then error(core.ValueError(("unknown Content-Transfer-Encoding %q"):format(encoding)), 0) end
  return make()
end

-- ---- the other way ----

local Base64Encoder, QuotedEncoder = {}, {}

-- Lines of 76 characters are of 57 bytes.
function Base64Encoder:compress(data)
  data = self.rest .. data
  local whole = #data // 57 * 57
  self.rest = sub(data, whole + 1)
  return (gsub(M.base64(sub(data, 1, whole)), ("."):rep(76), "%0\r\n"))
end

function Base64Encoder:finish() return self.rest ~= "" and M.base64(self.rest) .. "\r\n" or "" end

-- Line breaks are escaped like everything else that is not printed: so all comes back as it was.
function QuotedEncoder:compress(data)
  local out = {}
  data = gsub(data, "[^!-<>-~]", function(c) return ("=%02X"):format(c:byte()) end)
  local at = 1
  while at <= #data do
    local stop = at + 72 - self.column
    local line = sub(data, at, stop)
    local tail = #line == stop - at + 1 and (match(line, "=%x?$") or "") or ""
    line = sub(line, 1, #line - #tail)
    out[#out + 1] = line
    self.column, at = self.column + #line, at + #line
    if at <= #data then
      out[#out + 1] = "=\r\n"
      self.column = 0
    end
  end
  return table.concat(out)
end

function QuotedEncoder:finish() return "" end -- luacheck: ignore self

for _, class in ipairs { Base64Encoder, QuotedEncoder } do
  class.__index = class
  function class:__close() end -- luacheck: ignore self
end

--- An encoder as http.encodings has them, nil for what goes as it is; ValueError when the encoding is not known.
---@param encoding string
---@return {compress: fun(self, data: string): string, finish: fun(self): string}?
function M.encoder(encoding)
  local name = encoding:lower()
  if name == "base64" then return setmetatable({ rest = "" }, Base64Encoder) end
  if name == "quoted-printable" then return setmetatable({ column = 0 }, QuotedEncoder) end
  if decoders[name] then return nil end
  error(core.ValueError(("unknown Content-Transfer-Encoding %q"):format(encoding)), 0)
end

return M
