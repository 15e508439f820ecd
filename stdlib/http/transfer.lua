--- Content-Transfer-Encodings (RFC 2045, 6) undone while data comes in: base64 and quoted-printable. A decoder is a
--- function: pieces go in, what they stand for comes out; without a piece it gives what is left.

local core = require "asyncio.core"

local M = {}

local char, find, gsub, sub = string.char, string.find, string.gsub, string.sub

-- ---- base64 ----

local sextets = {}
for i = 0, 63 do
  sextets[("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"):byte(i + 1)] = i
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

return M
