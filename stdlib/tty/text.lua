--- Text as a terminal shows it: how many columns it takes, cut to fit, and free of what would steer the terminal.

local M = {}

-- First and last code points: of two columns (East Asian wide and full-width, emoji), of none (combining, joiners).
local wide = {
  0x1100, 0x115F, 0x231A, 0x231B, 0x2329, 0x232A, 0x23E9, 0x23EC, 0x23F0, 0x23F0, 0x23F3, 0x23F3, 0x25FD, 0x25FE,
  0x2614, 0x2615, 0x2648, 0x2653, 0x267F, 0x267F, 0x2693, 0x2693, 0x26A1, 0x26A1, 0x26AA, 0x26AB, 0x26BD, 0x26BE,
  0x26C4, 0x26C5, 0x26CE, 0x26CE, 0x26D4, 0x26D4, 0x26EA, 0x26EA, 0x26F2, 0x26F3, 0x26F5, 0x26F5, 0x26FA, 0x26FA,
  0x26FD, 0x26FD, 0x2705, 0x2705, 0x270A, 0x270B, 0x2728, 0x2728, 0x274C, 0x274C, 0x274E, 0x274E, 0x2753, 0x2755,
  0x2757, 0x2757, 0x2795, 0x2797, 0x27B0, 0x27B0, 0x27BF, 0x27BF, 0x2B1B, 0x2B1C, 0x2B50, 0x2B50, 0x2B55, 0x2B55,
  0x2E80, 0x303E, 0x3041, 0xA4CF, 0xA960, 0xA97F, 0xAC00, 0xD7A3, 0xF900, 0xFAFF, 0xFE10, 0xFE19, 0xFE30, 0xFE6F,
  0xFF01, 0xFF60, 0xFFE0, 0xFFE6, 0x16FE0, 0x18CFF, 0x1B000, 0x1B2FF, 0x1F004, 0x1F004, 0x1F0CF, 0x1F0CF,
  0x1F18E, 0x1F18E, 0x1F191, 0x1F19A, 0x1F200, 0x1F320, 0x1F32D, 0x1F335, 0x1F337, 0x1F37C, 0x1F37E, 0x1F393,
  0x1F3A0, 0x1F3CA, 0x1F3CF, 0x1F3D3, 0x1F3E0, 0x1F3F0, 0x1F3F4, 0x1F3F4, 0x1F3F8, 0x1F43E, 0x1F440, 0x1F440,
  0x1F442, 0x1F4FC, 0x1F4FF, 0x1F53D, 0x1F54B, 0x1F54E, 0x1F550, 0x1F567, 0x1F57A, 0x1F57A, 0x1F595, 0x1F596,
  0x1F5A4, 0x1F5A4, 0x1F5FB, 0x1F64F, 0x1F680, 0x1F6C5, 0x1F6CC, 0x1F6CC, 0x1F6D0, 0x1F6D2, 0x1F6D5, 0x1F6DF,
  0x1F6EB, 0x1F6EC, 0x1F6F4, 0x1F6FC, 0x1F7E0, 0x1F7EB, 0x1F90C, 0x1F93A, 0x1F93C, 0x1F945, 0x1F947, 0x1F9FF,
  0x1FA70, 0x1FAFF, 0x20000, 0x3FFFD,
}
local none = {
  0x0300, 0x036F, 0x0483, 0x0489, 0x0591, 0x05BD, 0x0610, 0x061A, 0x064B, 0x065F, 0x06D6, 0x06DC, 0x093C, 0x093C,
  0x0941, 0x0948, 0x094D, 0x094D, 0x0E31, 0x0E31, 0x0E34, 0x0E3A, 0x0E47, 0x0E4E, 0x1AB0, 0x1AFF, 0x1DC0, 0x1DFF,
  0x200B, 0x200F, 0x2060, 0x2064, 0x20D0, 0x20FF, 0x302A, 0x302D, 0x3099, 0x309A, 0xFE00, 0xFE0F, 0xFE20, 0xFE2F,
  0xFEFF, 0xFEFF, 0x1F3FB, 0x1F3FF, 0xE0100, 0xE01EF,
}

--- Is the code point in one of the ranges, which are in ascending order?
local function within(ranges, code)
  local low, high = 1, #ranges // 2
  while low <= high do
    local middle = (low + high) // 2
    if code < ranges[2 * middle - 1] then
      high = middle - 1
    elseif code > ranges[2 * middle] then
      low = middle + 1
    else
      return true
    end
  end
  return false
end

local function columns_of(code)
  if code < 0x300 then return 1 end
  if within(none, code) then return 0 end
  return within(wide, code) and 2 or 1
end

--- Text from elsewhere without what a terminal would obey: control characters (C1's and what turns the direction of
--- writing among them) and bytes that are no UTF-8 become "?".
---@param text string
---@return string
function M.printable(text)
  if not text:find("[^ -~]") then return text end
  local parts, i = {}, 1
  while i <= #text do
    local valid, bad = utf8.len(text, i)
    local last = valid and #text or bad - 1
    parts[#parts + 1] = text:sub(i, last)
    if valid then break end
    parts[#parts + 1] = "?"
    i = bad + 1
  end
  local clean = table.concat(parts):gsub("%c", "?")
  clean = clean:gsub("\u{80}", "?"):gsub("\194[\128-\159]", "?")
  return (clean:gsub("\226\128[\168-\174]", "?"):gsub("\226\129[\166-\169]", "?"))
end

--- The columns that printable text takes.
---@param text string
---@return integer
function M.width(text)
  if not text:find("[\128-\255]") then return #text end
  local n = 0
  for _, code in utf8.codes(text) do n = n + columns_of(code) end
  return n
end

--- Printable text cut to so many columns at most.
---@param text string
---@param columns integer
---@return string
function M.fit(text, columns)
  if #text <= columns then return text end
  local n = 0
  for position, code in utf8.codes(text) do
    n = n + columns_of(code)
    if n > columns then return text:sub(1, position - 1) end
  end
  return text
end

--- A number of bytes, or of anything, in few characters: 999, 1.23k, 45.6M. The divisor is 1000, or 1024 for bytes.
---@param n number
---@param divisor? integer 1000
---@return string
function M.scaled(n, divisor)
  divisor = divisor or 1000
  local sign = n < 0 and "-" or ""
  n = math.abs(n)
  for _, unit in ipairs { "", "k", "M", "G", "T", "P", "E" } do
    if n < 999.5 then
      if unit == "" and math.type(n) == "integer" then return sign .. n end
      local digits = n < 9.995 and "%.2f" or n < 99.95 and "%.1f" or "%.0f"
      return sign .. digits:format(n) .. unit
    end
    n = n / divisor
  end
  return sign .. ("%.3g"):format(n) .. "Z"
end

--- Seconds as a clock shows them: 01:02, 1:02:03; 2d 01:00:00 from two days on.
---@param seconds number
---@return string
function M.clock(seconds)
  if seconds ~= seconds or seconds >= 1e10 then return "?" end
  local s = math.floor(seconds + 0.5) // 1 | 0
  local text = ("%02d:%02d"):format(s // 60 % 60, s % 60)
  if s < 3600 then return text end
  if s < 48 * 3600 then return ("%d:%s"):format(s // 3600, text) end
  return ("%dd %02d:%s"):format(s // 86400, s // 3600 % 24, text)
end

return M
