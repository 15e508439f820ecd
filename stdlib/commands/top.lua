--- moonloop top: what a running process does, drawn anew every second.

local asyncio = require "asyncio"
local core = require "asyncio.core"
local folder = require "asyncio.inspector.folder"
local options = require "commands.options"
local peers = require "commands.inspect.peer"
local tables = require "commands.inspect.tables"
local text = require "tty.text"
local tty = require "tty"

local await = core.await

local help = [[
Usage: moonloop top [options] PID
Shows what a process does that was started with --inspect (or with MOONLOOP_INSPECT=1): its tasks,
those that do the same as one line; steps and callbacks per second, the loop's lag, memory. q or Ctrl-C leaves.

  -d, --delay T          how often: 1s, 500ms (1s)
  -n, --count N          so many times, then the end (when not on a terminal: once, unless told)
  -h, --help             print this text

Exit status: 0; 1 if the process cannot be asked or ends; 2 for misuse.
]]

local function rate(now, before, key, seconds)
  return before and seconds > 0 and text.scaled(math.floor((now[key] - before[key]) / seconds + 0.5)) or "-"
end

--- The lines of one picture. state: {counts, at} of the one before.
local function picture(pid, answer, lag, state, now)
  if answer.blocked then return peers.blocked_text(pid, answer) end
  local c, before = answer.counts, state.counts
  local seconds = before and now - state.at or 0
  state.counts, state.at = c, now
  local lines = {
    ("process %d  %s"):format(pid, state.command),
    ("tasks %d, ready %d, timers %d, handles %d, memory %sB"):format(c.tasks, c.ready, c.timers, c.handles,
      text.scaled(c.bytes, 1024)),
    ("steps/s %s, callbacks/s %s, rounds/s %s, loop lag %.1f ms"):format(rate(c, before, "steps", seconds),
      rate(c, before, "calls", seconds), rate(c, before, "rounds", seconds), lag * 1000),
  }
  lines[#lines + 1] = tables.main_line(answer)
  lines[#lines + 1] = ""
  local rows = { { "TASKS", "COROUTINE", "WAITS FOR", "AT" } }
  for _, group in ipairs(tables.groups(answer.tasks)) do
    rows[#rows + 1] = { tostring(group.n), group.coro, group.waits, group.at }
  end
  lines[#lines + 1] = tables.columns(rows)
  return table.concat(lines, "\n")
end

-- ---- the screen ----

local Screen = {}
Screen.__index = Screen
function Screen:__close() io.stdout:write("\27[?25h\27[?1049l"):flush() end

--- The terminal's other screen, which is left as it was found.
local function screen()
  io.stdout:write("\27[?1049h\27[?25l"):flush()
  return setmetatable({}, Screen)
end

--- From the top, each line cut to the width and what was behind it taken away.
function Screen.draw(picture_text)
  local columns, rows = tty.size(1)
  local out, n = { "\27[H" }, 0
  for line in (picture_text .. "\n"):gmatch("(.-)\n") do
    n = n + 1
    if n >= rows then break end
    out[#out + 1] = text.fit(line, columns) .. "\27[K\r\n"
  end
  out[#out + 1] = "\27[J"
  io.stdout:write(table.concat(out)):flush()
end

local function watch(peer, delay, count, draw)
  local loop, state, n = core.get_running_loop(), { command = folder.command_line(peer.pid) }, 0
  while true do
    local began = loop:time()
    peer:ask "counts" -- the lag is that of a question that costs nothing to answer
    local lag = loop:time() - began
    local answer = peer:ask "all"
    n = n + 1
    draw(picture(peer.pid, answer, lag, state, loop:time()), n)
    if n == count then return end
    await(core.sleep(math.max(0, began + delay - loop:time())))
  end
end

local function on_terminal(peer, delay, count)
  local shown <close> = screen()
  local _ = shown
  local watcher = core.create_task(core.async(watch)(peer, delay, count, Screen.draw))
  local keys = core.create_task(core.async(function()
    for key in tty.keys() do
      if key == "q" or key == "Q" or key == "ctrl-c" or key == "ctrl-d" then break end
    end
  end)())
  await(asyncio.wait({ watcher, keys }, { return_when = asyncio.FIRST_COMPLETED }))
  for _, task in ipairs { watcher, keys } do task:cancel() end
  await(asyncio.wait { watcher, keys })
  if not watcher:cancelled() and watcher:exception() then error(watcher:exception(), 0) end
end

local given, pid = peers.arguments("top", { ... }, { delay = "duration", count = "integer" }, help,
  { d = "delay", n = "count" })
if not pid then options.misuse("top", "a PID is missing") end
if given.delay and given.delay < 0.05 then options.misuse("top", "--delay: 50ms or more was expected") end
if given.count and given.count < 1 then options.misuse("top", "--count: 1 or more was expected") end
peers.run("top", function()
  local peer <close> = peers.open("top", pid)
  local delay = given.delay or 1
  if tty.isatty(0) and tty.isatty(1) then
    on_terminal(peer, delay, given.count)
  else
    watch(peer, delay, given.count or 1, function(lines, n)
      io.stdout:write(n > 1 and "\n" or "", lines, "\n"):flush()
    end)
  end
  return 0
end)
