--- Runs a script of scripts/ as the command does and checks all that it prints.

local helper = require "spec.helper"

local assert = require "luassert"

local M = {}

--- Runs scripts/NAME.lua in virtual time. It must end with status 0, print `expected`, and warn of `warnings`
--- alone on standard error. \t in `expected` is a tab. `normalise` makes equal what differs from run to run.
---@param name string
---@param expected string
---@param opts? { warnings?: string, normalise?: fun(out: string): string }
function M.prints(name, expected, opts)
  opts = opts or {}
  local status, out, err = helper.cli({ "--virtual-time", "scripts/" .. name .. ".lua" })
  if opts.normalise then out = opts.normalise(out) end
  assert.equal((expected:gsub("\\t", "\t")), out)
  assert.equal(opts.warnings or "", err)
  assert.equal(0, status)
end

local interrupt = [[
import os, pty, signal, subprocess, sys, time
ready, command = sys.argv[1].encode(), sys.argv[2:]
terminal, inner = pty.openpty()  # a terminal, so that lines come as they are printed
program = subprocess.Popen(command, stdout=inner, stderr=subprocess.PIPE)
os.close(inner)
out = b""
def read():
    try:
        return os.read(terminal, 4096)
    except OSError:  # the other end is closed
        return b""
while ready not in out:
    data = read()
    if not data:
        break
    out += data
asleep = 0
while asleep < 5 and program.poll() is None:  # it gets from printing to waiting
    time.sleep(0.02)
    with open("/proc/%d/stat" % program.pid) as f:
        asleep = asleep + 1 if f.read().rpartition(")")[2].split()[0] == "S" else 0
program.send_signal(signal.SIGINT)
while data := read():
    out += data
sys.stderr.buffer.write(program.stderr.read())
sys.stdout.buffer.write(out.replace(b"\r\n", b"\n"))
sys.exit(program.wait() % 256)
]]

--- Runs scripts/NAME.lua with arguments and presses Ctrl-C once it has printed `ready`.
---@return integer status, string stdout, string stderr
function M.interrupt(name, ready, ...)
  local program = helper.tmpfile(interrupt, ".py")
  local words = { "python3", program, ready, helper.moonloop, "scripts/" .. name .. ".lua", ... }
  for i, w in ipairs(words) do words[i] = helper.quote(w) end
  return helper.sh("exec " .. table.concat(words, " "))
end

return M
