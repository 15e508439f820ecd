--- What the fuzzers share: the time and the seed of their command line, random choices, the end of a bad run.
---   moonloop spec/fuzz/NAME_fuzz.lua [SECONDS [SEED]]

local time = require "time"

local M = {}

local random = math.random

M.seconds = tonumber(arg[1]) or 5
M.seed = tonumber(arg[2]) or os.time()
math.randomseed(M.seed)

local finish = time.monotonic() + M.seconds

--- Is there time left?
function M.going() return time.monotonic() < finish end

--- Ends the run: with the seed, what was wrong, and the texts it happened with.
---@param what string
---@param ... string
function M.die(what, ...)
  io.stderr:write(("seed %d: %s\n"):format(M.seed, what))
  for _, text in ipairs { ... } do io.stderr:write(("%q\n"):format(text)) end
  os.exit(1)
end

--- Calls f again and again until the time is over, each time with a seed of its own, by which a round can be run alone.
--- Gives the number of rounds.
---@param f fun()
---@return integer
function M.rounds(f)
  local first, n = M.seed, 0
  repeat
    M.seed = first + n
    math.randomseed(M.seed)
    local ok, err = xpcall(f, debug.traceback)
    if not ok then M.die(tostring(err)) end
    n = n + 1
  until not M.going()
  M.seed = first
  return n
end

--- One of a list.
function M.pick(list) return list[random(#list)] end

--- n random bytes.
function M.bytes(n)
  local list = {}
  for i = 1, n do list[i] = string.char(random(0, 255)) end
  return table.concat(list)
end

--- Random pieces of a list, n of them at most.
function M.noise(pieces, n)
  local list = {}
  for i = 1, random(0, n) do list[i] = pieces[random(#pieces)] end
  return table.concat(list)
end

--- A text in pieces of random size, `most` bytes at most, but no more than about so many.
---@param s string
---@param most integer
---@param count integer
---@return string[]
function M.pieces(s, most, count)
  local pieces, at = {}, 1
  if #s / most > count then most = #s // count + 1 end
  while at <= #s do
    local n = random(1, most)
    pieces[#pieces + 1] = s:sub(at, at + n - 1)
    at = at + n
  end
  return pieces
end

--- Writes a text as a bad peer may: a byte is another one, it comes in two pieces, there is a pause behind it.
---@param s string
---@param write fun(s: string)
---@param pause fun(seconds: number)
function M.write_badly(s, write, pause)
  if random(25) == 1 then
    local at = random(#s)
    s = s:sub(1, at - 1) .. M.bytes(1) .. s:sub(at + 1)
  end
  if random(6) == 1 then
    local cut = random(#s)
    write(s:sub(1, cut))
    pause(0)
    s = s:sub(cut + 1)
  end
  write(s)
  if random(5) == 1 then pause(random(3) == 1 and 0.002 or 0) end
end

return M
