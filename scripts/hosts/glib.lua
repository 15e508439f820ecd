-- A quiz with a time limit, in a GLib program: the host's main loop reads the lines and counts the seconds.
--   build/hosts/glib scripts/hosts/glib.lua
-- An answer takes five seconds at most, or as many as QUIZ_SECONDS says.

local asyncio = require "asyncio"

local SECONDS = tonumber(os.getenv "QUIZ_SECONDS") or 5

local questions = {
  { "How many legs has a spider?", "8" },
  { "What keyword lets other tasks run until a result is there?", "await" },
  { "What is 6 times 7?", "42" },
}

--- Asks once. Returns what was typed, nil if nothing was in time, and whether more can come at all.
local function ask(question)
  print(("%s (%g s)"):format(question, SECONDS))
  local ok, line = pcall(await, asyncio.wait_for(quiz.line(), SECONDS))
  if ok then return line, line ~= nil end
  if not asyncio.isinstance(line, asyncio.TimeoutError) then error(line, 0) end
  return nil, true
end

local async function main()
  local right = 0
  local _ <close> = setmetatable({}, { __close = function()
    print(("%d of %d right"):format(right, #questions))
  end })
  for _, q in ipairs(questions) do
    local line, more = ask(q[1])
    if not more then return print "nobody there" end
    if line == q[2] then
      right = right + 1
      print "yes"
    else
      print(line and "no, " .. q[2] or "too late: " .. q[2])
    end
  end
end

await main()
