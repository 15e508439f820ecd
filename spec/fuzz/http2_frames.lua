--- Random frames of HTTP/2 for the fuzzers of both sides: well made and badly.

local asyncio = require "asyncio"
local fuzz = require "spec.fuzz.fuzz"
local h2 = require "spec.http.http2peer"

local bytes, pick, random = fuzz.bytes, fuzz.pick, math.random

local M = {}

local function u32(n) return string.pack(">I4", n & 0xffffffff) end

--- A head: the list of names and values, and up to two of the fields; sometimes its end is lost, or it is cut in two.
---@param id integer
---@param list string[]
---@param fields string[][]
---@return string
function M.head(id, list, fields)
  for _ = 1, random(0, 3) - 1 do
    local f = pick(fields)
    list[#list + 1] = f[1]
    list[#list + 1] = f[2]
  end
  local block = h2.block(list)
  if random(10) == 1 then block = block:sub(1, random(#block)) .. bytes(random(0, 5)) end
  if random(8) == 1 and #block > 0 then
    local cut = random(#block)
    return h2.frame("HEADERS", random(0, 1), id, block:sub(1, cut)) .. h2.frame("CONTINUATION", 4, id, block:sub(cut + 1))
  end
  return h2.frame("HEADERS", 4 | random(0, 1), id, block)
end

---@param id integer
---@return string
function M.data(id)
  return h2.frame("DATA", random(0, 1), id, bytes(random(4) == 1 and random(0, 3000) or random(0, 10)))
end

local controls = {
  function(id) return h2.frame("RST_STREAM", 0, id, u32(random(0, 13))) end,
  function(id) return h2.frame("WINDOW_UPDATE", 0, random(2) == 1 and 0 or id, u32(pick { 0, 1, 100, 65535, 0x7fffffff, -1 })) end,
  function()
    return h2.frame("SETTINGS", random(0, 1), 0, string.pack(">I2I4", random(1, 9), pick { 0, 1, 16384, 65535, 0x7fffffff }))
  end,
  function() return h2.frame("PING", random(0, 1), 0, bytes(8)) end,
  function(id) return h2.frame("PRIORITY", 0, id, u32(random(0, 9)) .. "\16") end,
  function() return h2.frame("GOAWAY", 0, 0, u32(random(0, 20)) .. u32(random(0, 13))) end,
  function() return h2.frame(random(0, 255), random(0, 255), random(0, 9), bytes(random(0, 30))) end,
}

--- One of the others.
---@param id integer of the stream, if it is about one
---@return string
function M.control(id) return pick(controls)(id) end

--- Writes up to 40 frames that make() gives, as a bad peer may, until the connection closes.
---@param p table
---@param make fun(): string
function M.write(p, make)
  local function pause(seconds) await(asyncio.sleep(seconds)) end
  for _ = 1, random(1, 40) do
    local s = make()
    if p.w:is_closing() then break end
    fuzz.write_badly(s, function(piece) p:raw(piece) end, pause)
  end
end

return M
