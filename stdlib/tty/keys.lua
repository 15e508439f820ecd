--- What terminals send for keys, as names. xterm's sequences and what others send alike.

local asyncio = require "asyncio"

local await = asyncio.await

local M = {}

--- The last letter of CSI and SS3 sequences.
local letters = {
  A = "up", B = "down", C = "right", D = "left", E = "center", F = "end", H = "home",
  P = "f1", Q = "f2", R = "f3", S = "f4", M = "enter",
}

--- The number of CSI n ~.
local numbers = {
  [1] = "home", [2] = "insert", [3] = "delete", [4] = "end", [5] = "pageup", [6] = "pagedown",
  [7] = "home", [8] = "end",
  [11] = "f1", [12] = "f2", [13] = "f3", [14] = "f4", [15] = "f5", [17] = "f6", [18] = "f7", [19] = "f8",
  [20] = "f9", [21] = "f10", [23] = "f11", [24] = "f12",
}

local single = {
  [0] = "ctrl-space", [9] = "tab", [10] = "enter", [13] = "enter", [28] = "ctrl-\\", [29] = "ctrl-]", [30] = "ctrl-^",
  [31] = "ctrl-_", [32] = "space", [127] = "backspace",
}

--- xterm's modifiers: 1 + shift + 2 alt + 4 ctrl.
local function modified(name, modifiers)
  local bits = (modifiers or 1) - 1
  if bits & 1 ~= 0 then name = "shift-" .. name end
  if bits & 2 ~= 0 then name = "alt-" .. name end
  if bits & 4 ~= 0 then name = "ctrl-" .. name end
  return name
end

--- The name of a whole sequence, from ESC to its last byte.
---@param bytes string
---@return string
function M.sequence(bytes)
  if bytes == "\27[Z" then return "shift-tab" end
  local parameters, last = bytes:match("^\27[%[O]([%d;]*)([%a~])$")
  if not last then return "unknown" end
  local first, second = parameters:match("^(%d*);?(%d*)$")
  if not first then return "unknown" end
  local name = letters[last]
  if last == "~" then name = numbers[tonumber(first)] end
  if not name then return "unknown" end
  return modified(name, tonumber(second) or bytes:sub(2, 2) == "O" and tonumber(first) or nil)
end

--- The length of the UTF-8 character that begins with the byte; 0: none does.
local function utf8_length(byte)
  if byte < 0x80 then return 1 end
  if byte >= 0xC2 and byte < 0xE0 then return 2 end
  if byte >= 0xE0 and byte < 0xF0 then return 3 end
  if byte >= 0xF0 and byte < 0xF5 then return 4 end
  return 0
end

--- Reads the next key. `next(wait)` gives a byte as a string, or nil at the end, or when `wait` is true and none
--- comes within a moment. Gives its name and its bytes, or nil.
---@param next fun(wait?: boolean): string?
function M.read(next)
  local bytes = next()
  if not bytes then return nil end
  local byte = bytes:byte()
  if byte == 27 then
    local second = next(true)
    if not second then return "escape", bytes end
    if second == "\27" then return "alt-escape", bytes .. second end
    if second ~= "[" and second ~= "O" then
      local name, more = M.read(function(wait)
        local c = second
        second = nil
        if c then return c end
        return next(wait)
      end)
      return "alt-" .. name, bytes .. more
    end
    bytes = bytes .. second
    for _ = 1, 32 do
      local c = next(true)
      if not c then return #bytes == 2 and "alt-" .. second or "unknown", bytes end
      bytes = bytes .. c
      if c:find("^[@-~]") and not (c == "[" and #bytes == 3) then return M.sequence(bytes), bytes end
    end
    return "unknown", bytes
  end
  if single[byte] then return single[byte], bytes end
  if byte < 32 then return "ctrl-" .. string.char(byte + 96), bytes end
  local n = utf8_length(byte)
  while #bytes < n do
    local c = next(true)
    if not c then break end
    bytes = bytes .. c
  end
  return n > 0 and utf8.len(bytes) == 1 and bytes or "unknown", bytes
end

--- An iterator over the keys that come in a StreamReader.
function M.reader(reader, escape)
  local function next(wait)
    if not wait then return await(reader:read(1)) end
    local ok, byte = pcall(await, asyncio.wait_for(reader:read(1), escape))
    if ok then return byte end
    if asyncio.isinstance(byte, asyncio.TimeoutError) then return nil end
    error(byte, 0)
  end
  return function() return M.read(next) end
end

return M
