local helper = require "spec.helper"
local host = require "spec.scripts.host"

--- Python that reads pictures: load(path) of a BMP, or of what Xvfb has in its frame buffer (XWD). A picture gives
--- cell(column, row): the colours of that cell, most frequent first.
local reader = [[
import collections, struct, sys
class Picture:
    def __init__(self, data):
        if data[:2] == b"BM":
            at, = struct.unpack("<I", data[10:14])
            self.width, self.height, _, bits = struct.unpack("<iiHH", data[18:30])
            stride = (self.width * bits // 8 + 3) // 4 * 4
            self.lines = [data[at + y * stride:at + (y + 1) * stride] for y in range(self.height)][::-1]
        else:
            head = struct.unpack(">25I", data[:100])
            size, self.width, self.height, bits, stride, colours = head[0], head[4], head[5], head[11], head[12], head[19]
            at = size + colours * 12
            self.lines = [data[at + y * stride:at + (y + 1) * stride] for y in range(self.height)]
        self.n = bits // 8
    def dot(self, x, y): return tuple(self.lines[y][x * self.n:x * self.n + 3][::-1])
    def cell(self, column, row, x0=0, y0=0):
        dots = [self.dot(x0 + column * 12 + x, y0 + row * 20 + y) for y in range(20) for x in range(12)]
        return [c for c, _ in collections.Counter(dots).most_common()]
def load(path): return Picture(open(path, "rb").read())
GREY, BLUE, WHITE, GREEN, YELLOW, PAPER = (90, 90, 100), (50, 60, 110), (230, 230, 220), (90, 210, 90), (240, 200, 70), (12, 12, 18)
def check(p, x0=0, y0=0): # the room, with the player one step to the right of where it began
    assert p.cell(0, 1, x0, y0) == [GREY], p.cell(0, 1, x0, y0)
    assert p.cell(2, 2, x0, y0) == [PAPER, BLUE], "no floor"
    assert p.cell(5, 5, x0, y0) == [PAPER, WHITE], "no player: %s" % p.cell(5, 5, x0, y0)
    assert p.cell(7, 7, x0, y0) == [PAPER, YELLOW], "no old man"
    assert p.cell(10, 17, x0, y0) == [PAPER, GREEN], "no gem"
    assert p.cell(0, 0, x0, y0) == [PAPER, WHITE], "no title"
    assert p.cell(40, 21, x0, y0) == [PAPER], "something in an empty row"
]]

local function look(code)
  local status, _, err = helper.sh("exec python3 -", reader .. code)
  assert(status == 0, err)
end

--- Starts Xvfb. Gives its display and the file that has its frame buffer.
local function xvfb()
  local folder = helper.tmpdir()
  helper.background(("sh -c 'exec 4>%s/display; exec Xvfb -displayfd 4 -fbdir %s -screen 0 1000x500x24 -nolisten tcp'")
    :format(folder, folder))
  local status, out, err = helper.sh(([[
for i in $(seq 1100); do
  if [ -s %s/display ]; then cat %s/display; exit 0; fi
  sleep 0.05
done
echo 'Xvfb does not start' >&2
exit 1]]):format(folder, folder))
  assert(status == 0, err)
  return ":" .. out:gsub("%s", ""), folder .. "/Xvfb_screen0"
end

describe("scripts/hosts/window (SDL 2)", function()
  it("shows the game in a window of X", function()
    local display, framebuffer = xvfb()
    local shot = helper.tmpfile()
    local _, err = host.talk(host.build "window" .. " --keys 20:x,30:right --screenshot " .. shot, ([[
exec(open("%s").read())
def seen():
    try:
        check(load("%s"), *place)
        return True
    except (AssertionError, struct.error): return False
place = (0, 0)
while not seen():
    if time.monotonic() > end: check(load("%s"), *place)
    time.sleep(0.05)
p.send_signal(signal.SIGTERM)
expect("frames, ")
assert status() == 0
]]):format(helper.tmpfile(reader), framebuffer, framebuffer),
      { env = { DISPLAY = display, SDL_VIDEODRIVER = "x11",
        ASAN_OPTIONS = "detect_leaks=0:exitcode=99" } }) -- libX11 and libdbus keep what they have; the next spec looks
    assert.equal("", err)
    look(("check(load('%s'))\n"):format(shot))
  end)

  it("is the same game without a screen", function()
    local shot = helper.tmpfile()
    local status, out, err = helper.sh(("%s --fast --keys 20:x,30:right --frames 120 --screenshot %s"):format(
      host.build "window", shot), { env = { SDL_VIDEODRIVER = "dummy" } })
    assert.same({ 0, "" }, { status, err })
    assert.truthy(out:find("^120 frames, "), out)
    look(("p = load('%s')\nassert (p.width, p.height) == (960, 480)\ncheck(p)\n"):format(shot))
  end)

  it("says what is wrong: no display, no folder, a script's error", function()
    local program = host.build "window"
    local status, _, err = helper.sh(program, { env = { SDL_VIDEODRIVER = "x11", DISPLAY = ":987",
      ASAN_OPTIONS = "detect_leaks=0:exitcode=99" } }) -- as above
    assert.equal(1, status)
    assert.truthy(err:find("^window: %S"), err)
    assert.same({ 1, "", "window: there is no folder /no/where\n" }, { helper.sh(program .. " /no/where") })
    local folder = helper.tmpdir()
    local main <close> = assert(io.open(folder .. "/main.lua", "w"))
    main:write("error 'the room fell in'\n")
    main:close()
    status, _, err = helper.sh(program .. " " .. folder, { env = { SDL_VIDEODRIVER = "dummy" } })
    assert.equal(1, status)
    assert.truthy(err:find("the room fell in", 1, true), err)
  end)
end)
