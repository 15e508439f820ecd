local helper = require "spec.helper"
local host = require "spec.scripts.host"
local screen = require "spec.scripts.screen"

--- A copy of the game's scripts, to be changed.
local function copy()
  local folder = helper.tmpdir()
  assert(helper.sh("cp scripts/hosts/game/*.lua " .. folder) == 0)
  return folder
end

describe("scripts/hosts/game (ncurses)", function()
  it("is played in a terminal: a cut-scene, steps, a dialogue, pause, slow motion, quit", function()
    screen.run(host.build "game", [[
wait("You have found")
key("x")
wait("hearts 3   gems 0 of 3")
start = wait("@")
key("right")
wait(lambda: find("@") == (start[0] + 1, start[1]))
key("right", "right", "down", "down")  # into the old man
wait("Old man")
wait("Ah, a light at last. Bats have come down the chimney")
still = screen()[1:15]  # above the box
key("x")
wait("something worse through the wall. [key]")
assert still == screen()[1:15], "time has not stood still"
key("x", "x")
wait("Your arrows fly where you went last. [key]")
key("x")
wait(lambda: not find("Old man"))
key("p")
wait("PAUSED")
settle()  # all of that picture
still = screen()
key("right", "left", "up")
for i in range(5): pump(0.05)
assert screen() == still, "it goes on while it is paused"
key("p")
wait(lambda: screen() != still)
key("o")
wait("SLOW")
key("q")
end_ = rest()
assert re.search(r"\d+ frames, [\d.]+ a second\nrestored\nstatus 0\n$", end_), end_
]])
  end)

  it("reads a script again that is changed while it runs, or says what is wrong with it", function()
    local folder = copy()
    screen.run(host.build "game" .. " " .. folder, ([[
import pathlib
bat = pathlib.Path("%s/bat.lua")
text = bat.read_text()
def save(new):
    bat.with_suffix(".new").write_text(new)
    os.replace(bat.with_suffix(".new"), bat)
key("x")
wait("gems 0 of 3")
key("up")  # at play, and far from the old man
wait(lambda: sum(l.count("b") for l in screen()[1:20]) == 4)
save(text.replace('GLYPH = "b"', 'GLYPH = "W"'))
wait("reloaded: bat")
wait(lambda: sum(l.count("W") for l in screen()[1:20]) == 4)
save(text.replace("local M = {", "local M = = {"))
wait("bat.lua:5: unexpected symbol near '='")
before = screen()[1:20]
wait(lambda: screen()[1:20] != before)  # they fly on
save(text.replace("function M.step(bat, dt)", "function M.step(bat, dt)\n  bat:look('V', 'red') do return end"))
wait(lambda: sum(l.count("V") for l in screen()[1:20]) == 4)
key("q")
assert rest().endswith("restored\nstatus 0\n")
]]):format(folder))
  end)

  it("leaves the terminal as it was when it is asked to end, and when a script fails", function()
    screen.run(host.build "game", [[
wait("You have found")
os.kill(int(open("/proc/%d/task/%d/children" % (pid, pid)).read()), signal.SIGTERM)
assert rest().endswith("restored\nstatus 0\n")
]])
    local folder = copy()
    local main <close> = assert(io.open(folder .. "/main.lua", "w"))
    main:write("await(require 'asyncio'.next_frame())\nerror 'the room fell in'\n")
    main:close()
    screen.run(host.build "game" .. " " .. folder, [[
end_ = rest()
assert "the room fell in" in plain and "stack traceback" in plain and end_.endswith("restored\nstatus 1\n"), plain
]])
  end)

  --- Keys from frame 30 on, one in each frame: "right 16 down 10".
  local function plan(way)
    local keys, frame = { "30:x" }, 40
    for name, n in way:gmatch "(%a+) (%d+)" do
      for _ = 1, n do
        keys[#keys + 1] = frame .. ":" .. name
        frame = frame + 1
      end
    end
    return table.concat(keys, ","), frame
  end

  it("can be won", function()
    local shot = helper.tmpfile()
    local keys, frames = plan "right 16 down 10 left 10 down 2 up 2 right 26 up 5 right 7 up 1 down 1 right 26 up 6 down 11 right 10"
    screen.run(("%s --fast --keys %s --frames %d --screenshot %s"):format(host.build "game", keys, frames + 90, shot), [[
assert rest().endswith("restored\nstatus 0\n")
]])
    local f <close> = assert(io.open(shot))
    local text = f:read "a"
    assert.truthy(text:find("The door opens. It is morning.", 1, true), text)
    assert.truthy(text:find("gems 3 of 3", 1, true), text)
  end)

  it("says what is wrong with its options, its folder and where it runs", function()
    local program = host.build "game"
    assert.same({ 2, "", "usage: game [--fast] [--frames N] [--keys KEYS] [--screenshot FILE] [FOLDER]\n" },
      { helper.sh(program .. " --nonsense 2>&1 | grep usage >&2; exit 2") })
    assert.same({ 1, "", "game: there is no folder /no/where\n" }, { helper.sh(program .. " /no/where") })
    assert.same({ 1, "", "game: this is no terminal\n" }, { helper.sh(program) })
    screen.run("env TERM=nonsense ASAN_OPTIONS=detect_leaks=0 " .. program, [[
end_ = rest()
assert "game: TERM names no terminal that curses can draw on" in end_ and end_.endswith("status 1\n"), end_
]])
  end)
end)
