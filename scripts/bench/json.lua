-- json.lua document PATH: writes the document that the others read.
-- json.lua decode|encode PATH N: reads, or writes, it N times.

local json = require "json"
local bench = dofile((arg[0]:match(".*/") or "") .. "bench.lua")

local what, path, n = arg[1], arg[2], bench.arg(3, 2000)

if what == "document" then
  local list = {}
  for i = 0, 619 do
    list[i + 1] = {
      id = i, name = "user" .. i, email = ("user%d@example.com"):format(i), active = i % 3 == 0, score = i * 1.5 + 0.25,
      tags = { "a", "bc", "d\u{e9}f", "line\nbreak" }, pos = { x = i, y = -i, z = json.null },
    }
  end
  local file <close> = assert(io.open(path, "w"))
  file:write(json.encode(list, { sort_keys = true }))
  return
end

local file <close> = assert(io.open(path))
local text = file:read("a")
local value, written = json.decode(text), nil
local started = os.clock() -- as the limit does: nothing waits here
if what == "decode" then
  for _ = 1, n do value = json.decode(text) end
else
  for _ = 1, n do written = json.encode(value) end
end
bench.figure("us", (os.clock() - started) * 1e6 / n)
assert(#value == 620 and (not written or #written == #text))
