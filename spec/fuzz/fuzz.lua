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

return M
