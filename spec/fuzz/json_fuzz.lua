--- Texts that are nearly JSON: decoding gives a value, which is written and read back as it is, or a JSONDecodeError that
--- says where; never a crash. Random values come back from their texts as they were.
---   moonloop spec/fuzz/json_fuzz.lua [SECONDS] [SEED]

local asyncio = require "asyncio"
local json = require "json"
local fuzz = require "spec.fuzz.fuzz"

local die, random = fuzz.die, math.random

local pieces = {
  "{", "}", "[", "]", ",", ":", '"', "\\", "\\u", "d83d", "\\ude00", "true", "false", "null", "0", "-", "1.5", "e", "E+", ".",
  "9223372036854775807",
  "123456789012345678901234567890", "1e400", "\xC3\xA9", "\xFF", "\xED\xA0\x80", "\xF0\x9F\x98\x80", "\0", "\n", " ", "\t", '"a"', '"key":', "[[", "]]", "\31", "/", "NaN",
  ("x"):rep(20), ("7"):rep(25), "\\n", '\\"', '"' .. ("y"):rep(300) .. '"',
}

local function noise() return fuzz.noise(pieces, 30) end

local function text()
  local list = {}
  for i = 1, random(0, 30) do
    local c = random(8)
    list[i] = c == 1 and "\xE2\x82\xAC" or c == 2 and string.char(random(0, 31)) or c == 3 and "\xF0\x9F\x98\x80" or string.char(random(32, 126))
  end
  return table.concat(list)
end

local function value(depth)
  local kind = random(depth > 5 and 6 or 9)
  if kind == 1 then return random(0) >> random(0, 63) end
  if kind == 2 then
    local d = string.unpack("<d", string.pack("<i8", random(0)))
    return d == d and d - d == 0 and d or 0.5
  end
  if kind == 3 then return random(2) == 1 end
  if kind == 4 then return json.null end
  if kind == 5 then return text() end
  if kind == 6 then return random(-10 ^ 9, 10 ^ 9) / 10 ^ random(0, 9) end
  local t = kind == 7 and json.array() or json.object()
  for i = 1, random(0, random(50) == 1 and 2000 or 6) do
    t[kind == 7 and i or text()] = i <= 6 and random(3) == 1 and value(depth + 1) or i
  end
  return t
end

local function same(a, b)
  if type(a) ~= "table" or type(b) ~= "table" then return a == b and math.type(a) == math.type(b) end
  for k, v in pairs(a) do
    if not same(v, b[k]) then return false end
  end
  for k in pairs(b) do
    if a[k] == nil then return false end
  end
  return next(a) ~= nil or getmetatable(a) == getmetatable(b)
end

local function change(bytes)
  local how, at = random(4), random(#bytes)
  if how == 1 then return bytes:sub(1, at - 1) end
  if how == 2 then return bytes:sub(1, at - 1) .. bytes:sub(at + 1) end
  if how == 3 then return bytes:sub(1, at - 1) .. string.char(random(0, 255)) .. bytes:sub(at + 1) end
  return bytes:sub(1, at) .. pieces[random(#pieces)] .. bytes:sub(at + 1)
end

local function check(bytes)
  local ok, result = pcall(json.decode, bytes)
  if ok then
    local again = json.decode(json.encode(result))
    if not same(result, again) then die("another value after encode and decode", bytes) end
    return true
  end
  if not asyncio.isinstance(result, json.JSONDecodeError) or result.pos < 1 or result.pos > #bytes + 1
    or result.lineno < 1 or result.colno < 1 then
    die(tostring(result), bytes)
  end
end

local tries, whole = 0, 0
while fuzz.going() do
  local v = value(1)
  local options = { indent = random(3) == 1 and random(0, 4) or nil, sort_keys = random(2) == 1, ensure_ascii = random(2) == 1 }
  local bytes = json.encode(v, options)
  if not same(v, json.decode(bytes)) then die("another value", bytes) end
  for _ = 1, 20 do
    local changed = random(3) == 1 and noise() or bytes
    for _ = 1, random(3) do
      if #changed > 0 then changed = change(changed) end
    end
    tries = tries + 1
    if check(changed) then whole = whole + 1 end
  end
end
print(("json: %d texts, %d of them whole, seed %d"):format(tries, whole, fuzz.seed))
