--- Random changes of packed values: unpacking gives a value or a ValueError, never a crash, whatever comes.
---   moonloop spec/fuzz/unpack_fuzz.lua [SECONDS] [SEED]

local asyncio = require "asyncio"
local pickle = require "pickle"
local fuzz = require "spec.fuzz.fuzz"

local random = math.random

local Mine = asyncio.OSError:extend("Mine"):extend("Deeper")

--- A random value; tables that are there already come again.
local function value(depth, known)
  local kind = random(depth > 4 and 7 or 10)
  if kind == 1 then return random(0) end
  if kind == 2 then return random() * 10 ^ random(-300, 300) end
  if kind == 3 then return random(2) == 1 end
  if kind == 4 then return ("s"):rep(random(0, 200)) end
  if kind == 5 then return random(-200, 200) end
  if kind == 6 and #known > 0 then return known[random(#known)] end
  if kind == 7 then return Mine("m", { code = "E" }) end
  local t = {}
  known[#known + 1] = t
  for i = 1, random(0, 6) do t[i] = value(depth + 1, known) end
  for _ = 1, random(0, 3) do
    local key = value(depth + 1, known)
    if key == key and key ~= nil then t[key] = value(depth + 1, known) end
  end
  return t
end

local function change(bytes)
  local how, at = random(5), random(#bytes)
  if how == 1 then return bytes:sub(1, at - 1) end
  if how == 2 then return bytes:sub(1, at - 1) .. bytes:sub(at + 1) end
  if how == 3 then return bytes:sub(1, at) .. bytes:sub(at) end
  if how == 4 then return bytes:sub(1, at - 1) .. string.char(random(0, 255)) .. bytes:sub(at + 1) end
  local from, to = random(#bytes), random(#bytes)
  return bytes:sub(1, at) .. bytes:sub(math.min(from, to), math.max(from, to)) .. bytes:sub(at + 1)
end

local tries, whole = 0, 0
while fuzz.going() do
  local bytes = pickle.dumps(value(1, {}))
  pickle.loads(bytes)
  for _ = 1, 50 do
    local changed = bytes
    for _ = 1, random(4) do
      if #changed > 0 then changed = change(changed) end
    end
    tries = tries + 1
    local ok, err = pcall(pickle.loads, changed)
    if ok then
      whole = whole + 1
    elseif not asyncio.isinstance(err, asyncio.ValueError) then
      fuzz.die(tostring(err), changed)
    end
  end
end
print(("unpack: %d messages, %d of them whole, seed %d"):format(tries, whole, fuzz.seed))
