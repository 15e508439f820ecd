--- Builds a host of scripts/hosts against the build under test, and talks to it.

local helper = require "spec.helper"

local M = {}

local build = helper.moonloop:match("^(.*)/moonloop$") or "build"
local absolute = build:sub(1, 1) == "/"
--- As make sees it from scripts/hosts: compilers and make want paths without spaces.
local seen = (absolute and "" or "../../") .. build

local built = {}

local function sh(command)
  local status, out, err = helper.sh("exec " .. command, { env = { MAKEFLAGS = "", MAKELEVEL = "" }, timeout = 120 })
  assert(status == 0, command .. ":\n" .. out .. err)
end

--- With hosts_sweep.h in front of it and hosts_sweep.c behind.
local function sweep_options()
  local here, object = "spec/scripts/hosts_sweep", build .. "/hosts/sweep.o"
  if not built[object] then
    sh(("sh -c 'mkdir -p %s/hosts && ${CC:-cc} -std=gnu11 -g -Wall -Wextra -Werror -Iengine -c -o %s %s.c'"):format(build,
      object, here))
    built[object] = true
  end
  return (" OUT=%s/hosts/sweep CFLAGS='-O0 -include ../../%s.h -I../../engine' MORE=%s/hosts/sweep.o"):format(seen, here, seen)
end

--- Builds it with `make -C scripts/hosts NAME`, once in each spec file. Gives the program, as a word of the shell.
---@param name string
---@param sweep boolean? to be run by hosts_sweep.h
---@return string
function M.build(name, sweep)
  local program = build .. (sweep and "/hosts/sweep/" or "/hosts/") .. name
  if not built[program] then
    sh("make -s -C scripts/hosts " .. name .. " BUILD=" .. helper.quote(seen) .. (sweep and sweep_options() or ""))
    built[program] = true
  end
  return helper.quote(absolute and program or helper.pwd() .. "/" .. program)
end

--- Python that is run beside a host: p is its process, say(text) writes to its standard input, expect(pattern) reads
--- its output until that matches and gives the match; connect(port) gives a socket with the same two.
local python = [[
import os, re, select, signal, socket, struct, subprocess, sys, time
end = time.monotonic() + 60 * float(sys.argv[1])
class Talk:
    def __init__(self, rfd, write):
        self.rfd, self.write, self.seen = rfd, write, ""
    def say(self, text): self.write(text.encode())
    def expect(self, pattern):
        while not (m := re.search(pattern, self.seen)):
            ready = select.select([self.rfd], [], [], max(0, end - time.monotonic()))[0]
            data = os.read(self.rfd, 65536) if ready else b""
            if not data:
                sys.exit("not seen: %s in %r%s" % (pattern, self.seen, "" if ready else " (too late)"))
            self.seen += data.decode("utf-8", "replace")
        self.seen = self.seen[m.end():]
        return m
    def rest(self):
        while data := os.read(self.rfd, 65536): self.seen += data.decode()
        return self.seen
def connect(port):
    s = socket.create_connection(("127.0.0.1", int(port)), 10)
    s.settimeout(None)
    t = Talk(s.fileno(), s.sendall)
    t.socket = s
    t.close = s.close
    return t
p = subprocess.Popen(sys.argv[2:], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
host = Talk(p.stdout.fileno(), p.stdin.write)
say, expect, rest = host.say, host.expect, host.rest
def status(): # how it ends
    try:
        return p.wait(max(0.1, end - time.monotonic()))
    except subprocess.TimeoutExpired:
        p.kill()
        sys.exit("it does not end")
try:
    exec(compile(sys.stdin.read(), "the spec", "exec"))
finally:
    p.kill()
]]

--- Runs a host and Python beside it, which must end with 0. Gives what Python printed, and standard error.
---@param program string a command line; what it names is one process, no shell
---@param code string
---@param opts table? as of helper.sh
---@return string stdout, string stderr
function M.talk(program, code, opts)
  local all = { stdin = code, timeout = 90 }
  for k, v in pairs(opts or {}) do all[k] = v end
  local command = "exec python3 -c " .. helper.quote(python) .. " " .. helper.slow .. " " .. program
  local status, out, err = helper.sh(command, all)
  assert(status == 0, ("status %d\n%s%s"):format(status, out, err))
  return out, err
end

return M
