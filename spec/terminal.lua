--- A pseudo-terminal for specs: Python opens it, runs the command in it as its controlling terminal, and does what it
--- is told.

local helper = require "spec.helper"

local M = {}

local program = [[
import fcntl, os, pty, re, select, signal, struct, subprocess, sys, termios, time
patience, steps, command = float(sys.argv[1]), eval(sys.argv[2]), sys.argv[3:]
master, slave = pty.openpty()
fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
before = termios.tcgetattr(slave)
def own():
    os.setsid()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
child = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, preexec_fn=own)
seen = b""
def read(seconds):
    global seen
    if not select.select([master], [], [], seconds)[0]:
        return False
    try:
        data = os.read(master, 4096)
    except OSError:
        return False
    seen += data
    return data != b""
for what, value in steps:
    if what == "expect":  # all that came until then is dropped
        text, end = value.encode("latin-1"), time.monotonic() + patience
        while text not in seen and time.monotonic() < end:
            read(0.1)
        if text not in seen:
            sys.exit("not seen: %r in %r" % (text, seen))
        seen = seen.split(text, 1)[1]
    elif what == "type":
        os.write(master, value.encode("latin-1"))
    elif what == "pause":
        end = time.monotonic() + float(value)
        while time.monotonic() < end:
            read(0.02)
    elif what == "resize":
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", value[1], value[0], 0, 0))
    elif what == "signal":
        child.send_signal(getattr(signal, value))
    elif what == "raw":
        now = termios.tcgetattr(slave)
        print("raw" if not now[3] & termios.ICANON and not now[3] & termios.ISIG
              else "cbreak" if not now[3] & termios.ICANON else "normal")
while child.poll() is None:
    read(0.02)
while read(0.05):
    pass
now = termios.tcgetattr(slave)
sys.stdout.flush()
sys.stdout.buffer.write(seen.replace(b"\r\n", b"\n"))
print("[%d %s]" % (child.returncode, "restored" if now == before else "altered"))
]]

--- Runs code by the command in a terminal of 120 columns and 40 rows. Steps: {"expect", text}, {"type", bytes},
--- {"resize", {columns, rows}}, {"signal", "SIGTERM"}, {"raw"} (prints the mode). Gives what Python printed: what came
--- after the last expected text, then "[STATUS restored]" or "[STATUS altered]".
---@param args string[]
---@param steps table[]
---@param env? table<string, string> variables of the environment
---@return string
function M.run(args, steps, env)
  local list = {}
  for i, step in ipairs(steps) do
    local value = step[2]
    if type(value) == "table" then
      value = ("(%d, %d)"):format(value[1], value[2])
    else
      value = '"' .. tostring(value):gsub(".", function(c) return ("\\x%02x"):format(c:byte()) end) .. '"'
    end
    list[i] = ('("%s", %s)'):format(step[1], value)
  end
  local words = { "python3", helper.tmpfile(program, ".py"), 60 * helper.slow, "[" .. table.concat(list, ", ") .. "]", helper.moonloop }
  for _, arg in ipairs(args) do words[#words + 1] = arg end
  for i, w in ipairs(words) do words[i] = helper.quote(w) end
  local variables = { TERM = "xterm" }
  for name, value in pairs(env or {}) do variables[name] = value end
  local status, out, err = helper.sh("exec " .. table.concat(words, " "), { env = variables, timeout = 90 })
  assert(status == 0 or status == 1, "the terminal's program does not end")
  return out .. err
end

return M
