--- Character sets of texts on the web, as UTF-8: those of one byte for each character, and UTF-16.

local lower, char, gsub = string.lower, utf8.char, string.gsub

local M = {}

-- ---- of one byte ----

-- What the bytes 128 to 255 are: code points in hexadecimal; "+n": so many that follow each other, "*n": that often.
local single = {
  ["windows-1250"] = "20AC FFFD 201A FFFD 201E 2026 2020+2 FFFD 2030 160 2039 15A 164 17D 179 FFFD 2018+2 201C+2 2022 "
    .. "2013+2 FFFD 2122 161 203A 15B 165 17E 17A A0 2C7 2D8 141 A4 104 A6+4 15E AB+4 17B B0+2 2DB 142 "
    .. "B4+5 105 15F BB 13D 2DD 13E 17C 154 C1+2 102 C4 139 106 C7 10C C9 118 CB 11A CD+2 10E 110 143 "
    .. "147 D3+2 150 D6+2 158 16E DA 170 DC+2 162 DF 155 E1+2 103 E4 13A 107 E7 10D E9 119 EB 11B ED+2 "
    .. "10F 111 144 148 F3+2 151 F6+2 159 16F FA 171 FC+2 163 2D9",
  ["windows-1251"] = "402+2 201A 453 201E 2026 2020+2 20AC 2030 409 2039 40A 40C 40B 40F 452 2018+2 201C+2 2022 "
    .. "2013+2 FFFD 2122 459 203A 45A 45C 45B 45F A0 40E 45E 408 A4 490 A6+2 401 A9 404 AB+4 407 B0+2 "
    .. "406 456 491 B5+3 451 2116 454 BB 458 405 455 457 410+64",
  ["windows-1252"] = "20AC FFFD 201A 192 201E 2026 2020+2 2C6 2030 160 2039 152 FFFD 17D FFFD*2 2018+2 201C+2 2022 "
    .. "2013+2 2DC 2122 161 203A 153 FFFD 17E 178 A0+96",
  ["windows-1253"] = "20AC FFFD 201A 192 201E 2026 2020+2 FFFD 2030 FFFD 2039 FFFD*5 2018+2 201C+2 2022 2013+2 FFFD "
    .. "2122 FFFD 203A FFFD*4 A0 385+2 A3+7 FFFD AB+4 2015 B0+4 384 B5+3 388+3 BB 38C BD 38E+20 FFFD "
    .. "3A3+44 FFFD",
  ["windows-1254"] = "20AC FFFD 201A 192 201E 2026 2020+2 2C6 2030 160 2039 152 FFFD*4 2018+2 201C+2 2022 2013+2 2DC "
    .. "2122 161 203A 153 FFFD*2 178 A0+48 11E D1+12 130 15E DF+17 11F F1+12 131 15F FF",
  ["windows-1255"] = "20AC FFFD 201A 192 201E 2026 2020+2 2C6 2030 FFFD 2039 FFFD*5 2018+2 201C+2 2022 2013+2 2DC "
    .. "2122 FFFD 203A FFFD*4 A0+4 20AA A5+5 D7 AB+15 F7 BB+5 5B0+10 FFFD 5BB+9 5F0+5 FFFD*7 5D0+27 "
    .. "FFFD*2 200E+2 FFFD",
  ["windows-1256"] = "20AC 67E 201A 192 201E 2026 2020+2 2C6 2030 679 2039 152 686 698 688 6AF 2018+2 201C+2 2022 "
    .. "2013+2 6A9 2122 691 203A 153 200C+2 6BA A0 60C A2+8 6BE AB+15 61B BB+4 61F 6C1 621+22 D7 637+4 "
    .. "640+4 E0 644 E2 645+4 E7+5 649+2 EE+2 64B+4 F4 64F+2 F7 651 F9 652 FB+2 200E+2 6D2",
  ["windows-1257"] = "20AC FFFD 201A FFFD 201E 2026 2020+2 FFFD 2030 FFFD 2039 FFFD A8 2C7 B8 FFFD 2018+2 201C+2 2022 "
    .. "2013+2 FFFD 2122 FFFD 203A FFFD AF 2DB FFFD A0 FFFD A2+3 FFFD A6+2 D8 A9 156 AB+4 C6 B0+8 F8 B9 "
    .. "157 BB+4 E6 104 12E 100 106 C4+2 118 112 10C C9 179 116 122 136 12A 13B 160 143 145 D3 14C D5+3 "
    .. "172 141 15A 16A DC 17B 17D DF 105 12F 101 107 E4+2 119 113 10D E9 17A 117 123 137 12B 13C 161 "
    .. "144 146 F3 14D F5+3 173 142 15B 16B FC 17C 17E 2D9",
  ["windows-1258"] = "20AC FFFD 201A 192 201E 2026 2020+2 2C6 2030 FFFD 2039 152 FFFD*4 2018+2 201C+2 2022 2013+2 2DC "
    .. "2122 FFFD 203A 153 FFFD*2 178 A0+35 102 C4+8 300 CD+3 110 D1 309 D3+2 1A0 D6+7 1AF 303 DF+4 103 "
    .. "E4+8 301 ED+3 111 F1 323 F3+2 1A1 F6+7 1B0 20AB FF",
  ["iso-8859-2"] = "80+33 104 2D8 141 A4 13D 15A A7+2 160 15E 164 179 AD 17D 17B B0 105 2DB 142 B4 13E 15B 2C7 B8 "
    .. "161 15F 165 17A 2DD 17E 17C 154 C1+2 102 C4 139 106 C7 10C C9 118 CB 11A CD+2 10E 110 143 147 "
    .. "D3+2 150 D6+2 158 16E DA 170 DC+2 162 DF 155 E1+2 103 E4 13A 107 E7 10D E9 119 EB 11B ED+2 10F "
    .. "111 144 148 F3+2 151 F6+2 159 16F FA 171 FC+2 163 2D9",
  ["iso-8859-3"] = "80+33 126 2D8 A3+2 FFFD 124 A7+2 130 15E 11E 134 AD FFFD 17B B0 127 B2+4 125 B7+2 131 15F 11F "
    .. "135 BD FFFD 17C C0+3 FFFD C4 10A 108 C7+9 FFFD D1+4 120 D6+2 11C D9+4 16C 15C DF+4 FFFD E4 10B "
    .. "109 E7+9 FFFD F1+4 121 F6+2 11D F9+4 16D 15D 2D9",
  ["iso-8859-4"] = "80+33 104 138 156 A4 128 13B A7+2 160 112 122 166 AD 17D AF+2 105 2DB 157 B4 129 13C 2C7 B8 161 "
    .. "113 123 167 14A 17E 14B 100 C1+6 12E 10C C9 118 CB 116 CD+2 12A 110 145 14C 136 D4+5 172 DA+3 "
    .. "168 16A DF 101 E1+6 12F 10D E9 119 EB 117 ED+2 12B 111 146 14D 137 F4+5 173 FA+3 169 16B 2D9",
  ["iso-8859-5"] = "80+33 401+12 AD 40E+66 2116 451+12 A7 45E+2",
  ["iso-8859-6"] = "80+33 FFFD*3 A4 FFFD*7 60C AD FFFD*13 61B FFFD*3 61F FFFD 621+26 FFFD*5 640+19 FFFD*13",
  ["iso-8859-7"] = "80+33 2018+2 A3 20AC 20AF A6+4 37A AB+3 FFFD 2015 B0+4 384+3 B7 388+3 BB 38C BD 38E+20 FFFD "
    .. "3A3+44 FFFD",
  ["iso-8859-8"] = "80+33 FFFD A2+8 D7 AB+15 F7 BB+4 FFFD*32 2017 5D0+27 FFFD*2 200E+2 FFFD",
  ["iso-8859-9"] = "80+80 11E D1+12 130 15E DF+17 11F F1+12 131 15F FF",
  ["iso-8859-10"] = "80+33 104 112 122 12A 128 136 A7 13B 110 160 166 17D AD 16A 14A B0 105 113 123 12B 129 137 B7 "
    .. "13C 111 161 167 17E 2015 16B 14B 100 C1+6 12E 10C C9 118 CB 116 CD+4 145 14C D3+4 168 D8 172 "
    .. "DA+6 101 E1+6 12F 10D E9 119 EB 117 ED+4 146 14D F3+4 169 F8 173 FA+5 138",
  ["iso-8859-13"] = "80+33 201D A2+3 201E A6+2 D8 A9 156 AB+4 C6 B0+4 201C B5+3 F8 B9 157 BB+4 E6 104 12E 100 106 "
    .. "C4+2 118 112 10C C9 179 116 122 136 12A 13B 160 143 145 D3 14C D5+3 172 141 15A 16A DC 17B 17D "
    .. "DF 105 12F 101 107 E4+2 119 113 10D E9 17A 117 123 137 12B 13C 161 144 146 F3 14D F5+3 173 142 "
    .. "15B 16B FC 17C 17E 2019",
  ["iso-8859-14"] = "80+33 1E02+2 A3 10A+2 1E0A A7 1E80 A9 1E82 1E0B 1EF2 AD+2 178 1E1E+2 120+2 1E40+2 B6 1E56 1E81 "
    .. "1E57 1E83 1E60 1EF3 1E84+2 1E61 C0+16 174 D1+6 1E6A D8+6 176 DF+17 175 F1+6 1E6B F8+6 177 FF",
  ["iso-8859-15"] = "80+36 20AC A5 160 A7 161 A9+11 17D B5+3 17E B9+3 152+2 178 BF+65",
  ["iso-8859-16"] = "80+33 104+2 141 20AC 201E 160 A7 161 A9 218 AB 179 AD 17A+2 B0+2 10C 142 17D 201D B6+2 17E 10D "
    .. "219 BB 152+2 178 17C C0+3 102 C4 106 C6+10 110 143 D2+3 150 D6 15A 170 D9+4 118 21A DF+4 103 E4 "
    .. "107 E6+10 111 144 F2+3 151 F6 15B 171 F9+4 119 21B FF",
  ["koi8-r"] = "2500 2502 250C 2510 2514 2518 251C 2524 252C 2534 253C 2580 2584 2588 258C 2590+4 2320 25A0 "
    .. "2219+2 2248 2264+2 A0 2321 B0 B2 B7 F7 2550+3 451 2553+15 401 2562+11 A9 44E 430+2 446 434+2 "
    .. "444 433 445 438+8 44F 440+4 436 432 44C 44B 437 448 44D 449 447 44A 42E 410+2 426 414+2 424 413 "
    .. "425 418+8 42F 420+4 416 412 42C 42B 417 428 42D 429 427 42A",
  ["koi8-u"] = "2500 2502 250C 2510 2514 2518 251C 2524 252C 2534 253C 2580 2584 2588 258C 2590+4 2320 25A0 "
    .. "2219+2 2248 2264+2 A0 2321 B0 B2 B7 F7 2550+3 451 454 2554 456+2 2557+5 491 255D+5 401 404 2563 "
    .. "406+2 2566+5 490 256C A9 44E 430+2 446 434+2 444 433 445 438+8 44F 440+4 436 432 44C 44B 437 "
    .. "448 44D 449 447 44A 42E 410+2 426 414+2 424 413 425 418+8 42F 420+4 416 412 42C 42B 417 428 42D "
    .. "429 427 42A",
  ["macintosh"] = "C4+2 C7 C9 D1 D6 DC E1 E0 E2 E4 E3 E5 E7 E9 E8 EA+2 ED EC EE+2 F1 F3 F2 F4 F6 F5 FA F9 FB+2 "
    .. "2020 B0 A2+2 A7 2022 B6 DF AE A9 2122 B4 A8 2260 C6 D8 221E B1 2264+2 A5 B5 2202 2211 220F 3C0 "
    .. "222B AA BA 3A9 E6 F8 BF A1 AC 221A 192 2248 2206 AB BB 2026 A0 C0 C3 D5 152+2 2013+2 201C+2 "
    .. "2018+2 F7 25CA FF 178 2044 20AC 2039+2 FB01+2 2021 B7 201A 201E 2030 C2 CA C1 CB C8 CD+3 CC "
    .. "D3+2 F8FF D2 DA+2 D9 131 2C6 2DC AF 2D8+3 B8 2DD 2DB 2C7",
  ["ibm866"] = "410+48 2591+3 2502 2524 2561+2 2556 2555 2563 2551 2557 255D 255C 255B 2510 2514 2534 252C 251C "
    .. "2500 253C 255E+2 255A 2554 2569 2566 2560 2550 256C 2567+2 2564+2 2559 2558 2552+2 256B 256A "
    .. "2518 250C 2588 2584 258C 2590 2580 440+16 401 451 404 454 407 457 40E 45E B0 2219 B7 221A 2116 "
    .. "A4 25A0 A0",
  ["tis-620"] = "80+33 E01+58 FFFD*4 E3F+29 FFFD*4",
}

local aliases = {
  cp1250 = "windows-1250", cp1251 = "windows-1251", cp1252 = "windows-1252", cp1253 = "windows-1253",
  cp1254 = "windows-1254", cp1255 = "windows-1255", cp1256 = "windows-1256", cp1257 = "windows-1257",
  cp1258 = "windows-1258", latin2 = "iso-8859-2", latin3 = "iso-8859-3", latin4 = "iso-8859-4", cyrillic = "iso-8859-5",
  arabic = "iso-8859-6", greek = "iso-8859-7", hebrew = "iso-8859-8", latin5 = "iso-8859-9", latin6 = "iso-8859-10",
  ["latin-9"] = "iso-8859-15", latin9 = "iso-8859-15", koi8 = "koi8-r", cp866 = "ibm866", ["866"] = "ibm866",
  ["iso-8859-11"] = "tis-620", ["x-mac-roman"] = "macintosh", mac = "macintosh",
}

local tables = {}

local function table_of(name)
  local map = tables[name]
  if map then return map end
  map = {}
  local byte = 128
  for first, how, n in single[name]:gmatch("(%x+)([+*]?)(%d*)") do
    local code = tonumber(first, 16)
    for i = 0, (tonumber(n) or 1) - 1 do
      map[string.char(byte)] = char(how == "+" and code + i or code)
      byte = byte + 1
    end
  end
  tables[name] = map
  return map
end

-- ---- UTF-16 ----

-- Units that are no half of a pair in their place, and an odd byte at the end, are U+FFFD.
local function utf16(text, format)
  local out, n, at = {}, 0, 1
  while at < #text do
    local unit = string.unpack(format, text, at)
    at = at + 2
    if unit >= 0xD800 and unit < 0xDC00 and at < #text then
      local second = string.unpack(format, text, at)
      if second >= 0xDC00 and second < 0xE000 then
        unit, at = 0x10000 + ((unit - 0xD800) << 10) + (second - 0xDC00), at + 2
      end
    end
    n = n + 1
    out[n] = char(unit >= 0xD800 and unit < 0xE000 and 0xFFFD or unit)
  end
  if at == #text then out[n + 1] = "\u{FFFD}" end
  return table.concat(out)
end

local function utf16_by_mark(text)
  local mark = text:sub(1, 2)
  if mark == "\xFE\xFF" then return utf16(text:sub(3), ">I2") end
  return utf16(mark == "\xFF\xFE" and text:sub(3) or text, "<I2")
end

local of_two = {
  ["utf-16"] = utf16_by_mark, utf16 = utf16_by_mark, ["utf-16le"] = function(text) return utf16(text, "<I2") end,
  ["utf-16be"] = function(text) return utf16(text, ">I2") end,
}

-- ---- all ----

local function name_of(charset)
  local name = gsub(lower(charset), "_", "-")
  return aliases[name] or (gsub(gsub(name, "^iso8859", "iso-8859"), "^x%-cp", "windows-"))
end

--- The text as UTF-8, or nil when the character set is not known here. Bytes that are no character are U+FFFD.
---@param text string
---@param charset string as servers name it, in any case
---@return string?
function M.decode(text, charset)
  local name = name_of(charset)
  if of_two[name] then return of_two[name](text) end
  if not single[name] then return nil end
  return (gsub(text, "[\128-\255]", table_of(name)))
end

-- The same the other way round: bytes by character.
local inverse = {}

local function inverse_of(name)
  local map = inverse[name]
  if map then return map end
  map = {}
  for byte, character in next, table_of(name) do
    if character ~= "\u{FFFD}" then map[character] = byte end
  end
  inverse[name] = map
  return map
end

--- Text in UTF-8 in another character set of one byte; nil when that is not known here, or has not all of the
--- characters, with the first of those that it lacks.
---@param text string
---@param charset string
---@return string?, string? missing
function M.encode(text, charset)
  local name = name_of(charset)
  if not single[name] then return nil end
  local map, missing = inverse_of(name), nil
  local coded = gsub(text, "[\xC2-\xF4][\x80-\xBF]+", function(character)
    local byte = map[character]
    missing = missing or not byte and character or nil
    return byte
  end)
  if missing then return nil, missing end
  return coded
end

return M
