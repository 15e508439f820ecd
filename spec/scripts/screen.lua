--- A terminal for specs of programs that draw on it: Python runs the program in a pseudo-terminal of 80 x 24, keeps what
--- a VT100 would show, and does what the spec says.

local helper = require "spec.helper"

local M = {}

local python = [[
import fcntl, os, pty, re, select, signal, struct, sys, termios, time
end = time.monotonic() + 60 * float(sys.argv[1])
pid, fd = pty.fork()
if pid == 0:
    fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    os.environ["TERM"] = "vt100"
    os.execv("/bin/sh", ["sh", "-c", 'before=$(stty -g); "$@"; s=$?; [ "$before" = "$(stty -g)" ] && echo restored; '
                         'echo "status $s"', "sh"] + sys.argv[2:])
rows, x, y, pending, plain, over = [[" "] * 80 for _ in range(24)], 0, 0, b"", "", False
def put(c):
    global x, y
    if c == "\r": x = 0
    elif c == "\n":
        y += 1
        if y > 23:
            rows.pop(0)
            rows.append([" "] * 80)
            y = 23
    elif c == "\b": x = max(0, x - 1)
    elif c >= " ":
        if x > 79: x, y = 0, min(23, y + 1)
        rows[y][x] = c
        x += 1
def control(n, what): # what vt100's entry in terminfo makes use of
    global x, y
    a = [int(i or 0) for i in re.findall(r"\d*", n)] or [0]
    if what == "H":
        a = [int(i or 1) for i in (n or "1;1").split(";")]
        y, x = a[0] - 1, a[1] - 1
    elif what == "A": y = max(0, y - (a[0] or 1))
    elif what == "B": y = min(23, y + (a[0] or 1))
    elif what == "C": x = min(79, x + (a[0] or 1))
    elif what == "D": x = max(0, x - (a[0] or 1))
    elif what == "K" and a[0] == 0: rows[y][x:] = [" "] * (80 - x)
    elif what == "K" and a[0] == 1: rows[y][:x + 1] = [" "] * (x + 1)
    elif what == "J" and a[0] == 0:
        rows[y][x:] = [" "] * (80 - x)
        for r in range(y + 1, 24): rows[r] = [" "] * 80
    elif what == "J" and a[0] == 2:
        for r in range(24): rows[r] = [" "] * 80
def pump(seconds):
    global pending, plain, over
    if not select.select([fd], [], [], seconds)[0]: return
    try: data = os.read(fd, 65536)
    except OSError: data = b""
    if not data:
        over = True
        return
    plain += data.decode("latin-1")
    data = pending + data
    while data:
        if data[0] != 27:
            put(chr(data[0]))
            data = data[1:]
        elif m := re.match(rb"\x1b\[([?0-9;]*)([A-Za-z])", data):
            control(m[1].decode(), m[2].decode())
            data = data[m.end():]
        elif m := re.match(rb"\x1b([()].|[=>78MDEHc])", data): data = data[m.end():]
        elif len(data) < 12: break
        else: data = data[1:]
    pending = data
def settle(): # until nothing has been written for half a second
    global quiet
    quiet = time.monotonic()
    while time.monotonic() < quiet + 0.5 and time.monotonic() < end:
        before = len(plain)
        pump(0.05)
        if len(plain) != before: quiet = time.monotonic()
def screen(): return ["".join(r) for r in rows]
def find(text): # where it stands: column, row; or None
    for r, line in enumerate(screen()):
        if (c := line.find(text)) >= 0: return c, r
def wait(what): # until the text stands there, or what() is true; gives where, or that
    while not (found := find(what) if isinstance(what, str) else what()):
        if over or time.monotonic() > end:
            sys.exit("not seen: %s in\n%s\n%s" % (what, "\n".join(screen()), plain[-300:] if over else "(too late)"))
        pump(0.05)
    return found if found is not True else None
def key(*keys):
    names = {"up": b"\x1bOA", "down": b"\x1bOB", "right": b"\x1bOC", "left": b"\x1bOD"}
    for k in keys: os.write(fd, names.get(k) or k.encode())
def rest(): # until it ends: what it wrote when it was a plain terminal again
    while not over:
        pump(0.1)
        if time.monotonic() > end: sys.exit("it does not end\n" + "\n".join(screen()))
    return plain[-200:].replace("\r\n", "\n")
try:
    exec(compile(sys.stdin.read(), "the spec", "exec"))
finally:
    try: os.kill(pid, signal.SIGHUP)
    except OSError: pass
]]

--- Runs a program in the terminal and the spec's Python beside it, which must end with 0. Gives what Python printed.
---@param program string a command line
---@param code string
---@return string stdout
function M.run(program, code)
  local command = "exec python3 -c " .. helper.quote(python) .. " " .. helper.slow .. " " .. program
  local status, out, err = helper.sh(command, { stdin = code, timeout = 90 })
  assert(status == 0, ("status %d\n%s%s"):format(status, out, err))
  return out
end

return M
