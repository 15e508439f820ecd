-- json.lua decode|encode PATH N: the limit of the rows json-*, lua-cjson in a plain lua5.4.

local cjson = require "cjson"

local what, path, n = arg[1], arg[2], tonumber(arg[3]) or 2000
local file <close> = assert(io.open(path))
local text = file:read("a")
local value, written = cjson.decode(text), nil
local started = os.clock()
if what == "decode" then
  for _ = 1, n do value = cjson.decode(text) end
else
  for _ = 1, n do written = cjson.encode(value) end
end
print(("us %.9g"):format((os.clock() - started) * 1e6 / n))
assert(#value == 620 and (not written or #written > 90000))
