--- Random Range and condition headers: whatever comes, what is answered lies within the file, is in no more pieces than
--- were asked for, has every byte that a simple model finds, and takes time that grows with the header's length.
---   moonloop spec/fuzz/range_fuzz.lua [SECONDS] [SEED]

local ranges = require "http.ranges"
local time = require "time"
local fuzz = require "spec.fuzz.fuzz"

local random = math.random

local scraps = { "bytes=", "bytes", "=", "-", ",", ", ", " ", "\t", "0", "00", "1", "5", "9", "10", "99", "100", "500-", "-7",
  "18446744073709551616", "x", "W/", '"', '"a"', '"abc"', "*", "\0", "\255", ";", "0-0", "3-8", "8-3", "20-29", "0-" }

local function junk() return fuzz.noise(scraps, 12) end

local function spec()
  local how = random(3)
  if how == 1 then return random(0, 120) .. "-" end
  if how == 2 then return "-" .. random(0, 120) end
  local a = random(0, 120)
  return a .. "-" .. a + random(-2, 30)
end

local function header()
  if random(2) == 1 then return "bytes=" .. junk() end
  if random(6) == 1 then return junk() end
  local list = {}
  for i = 1, random(1, 6) do list[i] = spec() end
  return "bytes=" .. table.concat(list, random(2) == 1 and "," or " , ")
end

--- The set of bytes that the header asks for; nil: it is malformed. For headers without much junk.
local function model(text, size)
  local rest = text:match("^[ \t]*bytes=(.*)$")
  if not rest then return nil end
  local set, any = {}, false
  for part in (rest .. ","):gmatch("([^,]*),") do
    part = part:match("^[ \t]*(.-)[ \t]*$")
    if part ~= "" then
      local a, b = part:match("^(%d*)%-(%d*)$")
      if not a or a == "" and b == "" then return nil end
      any = true
      local first, last = tonumber(a), tonumber(b)
      if not first then
        first, last = math.max(0, size - last), size - 1
      else
        if last and last < first then return nil end
        last = math.min(last or size - 1, size - 1)
      end
      for i = math.tointeger(first) or size, math.tointeger(last) or size - 1 do set[i] = true end
    end
  end
  return any and set or nil
end

local function check(text, size)
  local list = ranges.parse(text, size)
  local function wrong(what)
    error(("seed %d: %s for %q of %d bytes"):format(fuzz.seed, what, text, size))
  end
  if type(list) ~= "table" then return end
  local set = model(text, size)
  if not set then wrong("ranges of a malformed header") end
  local _, commas = text:gsub(",", ",")
  if #list == 0 or #list > commas + 1 then wrong(#list .. " ranges") end
  local covered = {}
  for _, r in ipairs(list) do
    local first, last = r[1], r[2]
    if math.type(first) ~= "integer" or math.type(last) ~= "integer" or first < 0 or last < first or last >= size then
      wrong(("the range %s-%s"):format(first, last))
    end
    for i = first, last do
      if covered[i] then wrong("a byte twice") end
      covered[i] = true
    end
  end
  for i in pairs(set) do
    if not covered[i] then wrong(("no byte %d"):format(i)) end
  end
end

local function conditions()
  local headers = {}
  for _, name in ipairs { "If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since" } do
    if random(2) == 1 then headers[name] = random(3) == 1 and "Sun, 06 Nov 1994 08:49:37 GMT" or junk() end
  end
  local answer = ranges.condition(function(name) return headers[name] end, random(2) == 1 and "GET" or "PUT", '"abc"', 784111777)
  assert(answer == nil or answer == 304 or answer == 412)
  assert(type(ranges.if_range(junk(), '"abc"', "Sun, 06 Nov 1994 08:49:37 GMT")) == "boolean")
end

local rounds = 0
while fuzz.going() do
  for _ = 1, 200 do
    check(header(), random(0, 100))
    conditions()
    rounds = rounds + 1
  end
end
for _, unit in ipairs { " ", ",", "0-0,", '"a",', "-", "0", '"', "\t," } do -- long ones: no step is taken twice over
  local text = "bytes=" .. unit:rep(200000 // #unit)
  local start = time.monotonic()
  ranges.parse(text, 100)
  ranges.parse("bytes=0-0" .. text, 100)
  ranges.condition(function(name) return name == "If-None-Match" and text:sub(7) or nil end, "GET", '"abc"', 1)
  ranges.if_range(text, '"abc"', "x")
  local took = time.monotonic() - start
  if took > 5 then error(("%q, many times over, took %.1f s"):format(unit, took)) end
end
print(("range_fuzz: %d headers, seed %d"):format(rounds, fuzz.seed))
