--- What specs share: the leak gate, virtual time, running the command, files,
--- ports and processes that are cleaned up when the spec ends.

local M = {}

--- The command under test.
M.moonloop = os.getenv("MOONLOOP") or "build/moonloop"
--- How many times longer than usual things may take (sanitizers, valgrind).
M.slow = tonumber(os.getenv("SPEC_SLOW")) or 1

-- ---- the leak gate ----------------------------------------------------------

local gate = require "asyncio.testing.gate"

--- The engine's counts of what is alive.
---@return table<string, integer>
M.stats = gate.stats

--- What is alive that was not when `before` was taken, in words; nil if nothing.
--- Handles that are closing get a few rounds of the loop to do so.
M.leaks = gate.leaks

local cleanups = {}
--- Calls f(...) when the running spec has ended, last come first served.
function M.finally(f, ...) cleanups[#cleanups + 1] = table.pack(f, ...) end

--- For the runner.
function M.cleanup()
  while #cleanups > 0 do
    local c = table.remove(cleanups)
    pcall(c[1], table.unpack(c, 2, c.n))
  end
end

-- ---- async code -------------------------------------------------------------

--- asyncio.run on a loop with the virtual clock.
---@param main function|userdata a function or coroutine
---@param opts table? further options of asyncio.run
function M.run(main, opts)
  local all = { clock = "virtual" }
  for k, v in pairs(opts or {}) do all[k] = v end
  return require("asyncio").run(main, all)
end

--- asyncio.run of f(loop), in real time.
function M.run_with_loop(f)
  local asyncio = require("asyncio")
  return asyncio.run(asyncio.async(function() return f(asyncio.get_running_loop()) end)())
end

--- Lets the loop turn n times (3).
function M.turn(n)
  local asyncio = require("asyncio")
  for _ = 1, n or 3 do asyncio.await(asyncio.sleep(0)) end
end

--- Lets what is under way within this process come to its rest, in real time: as many rounds of the loop as a chain of
--- connections, reads and writes needs, however slow the machine.
function M.settle()
  local asyncio = require("asyncio")
  for _ = 1, 20 do asyncio.await(asyncio.sleep(0.001)) end
end

--- In a task, in real time: what f() gives when it does so twice, with all that was under way in between.
function M.steady(f)
  local now = f()
  while true do
    local before = now
    M.settle()
    now = f()
    if now == before then return now end
  end
end

--- Two connected sockets, closed when the spec ends.
function M.socketpair()
  local a, b = require("socket").socketpair()
  M.finally(a.close, a)
  M.finally(b.close, b)
  return a, b
end

--- Calls f(...), which must raise an error of the class (by asyncio.isinstance),
--- or one whose text contains it if `class` is a string. Returns the error.
function M.raises(class, f, ...)
  local asyncio = require("asyncio")
  local r = table.pack((asyncio.catch or pcall)(f, ...))
  if r[1] then
    error("expected an error, got " .. (r.n == 1 and "no value" or tostring(r[2])), 2)
  end
  local e = r[2]
  if type(class) == "string" then
    if not tostring(e):find(class, 1, true) then
      error(("expected an error with '%s', got: %s"):format(class, tostring(e)), 2)
    end
  elseif not asyncio.isinstance(e, class) then
    error("another error than expected: " .. tostring(e), 2)
  end
  return e
end

-- ---- the command and other programs -----------------------------------------

--- s as one word of the shell.
function M.quote(s) return "'" .. tostring(s):gsub("'", "'\\''") .. "'" end

local function read_all(path)
  local f <close> = assert(io.open(path, "rb"))
  return f:read("a")
end

--- Runs a shell command. Returns its exit status (128 + n for signal n), standard output and standard error. It is an
--- error if it takes longer than the timeout.
---@param command string
---@param opts table|string|nil {stdin=, env={NAME=value}, cwd=, timeout=60}, or the standard input
---@return integer status, string stdout, string stderr
function M.sh(command, opts)
  if type(opts) == "string" then opts = { stdin = opts } end
  opts = opts or {}
  local files = { os.tmpname(), os.tmpname(), os.tmpname() }
  local cin <close> = assert(io.open(files[1], "wb"))
  cin:write(opts.stdin or "")
  cin:close()
  local env = {}
  for k, v in pairs(opts.env or {}) do env[#env + 1] = k .. "=" .. M.quote(v) end
  table.sort(env)
  local limit = math.ceil((opts.timeout or 60) * M.slow)
  local line = ("%s env %s timeout -k 5 %d sh -c %s <%s >%s 2>%s"):format(
    opts.cwd and "cd " .. M.quote(opts.cwd) .. " && " or "", table.concat(env, " "),
    limit, M.quote(command), files[1], files[2], files[3])
  local began = os.time()
  local _, how, status = os.execute(line)
  local out, err = read_all(files[2]), read_all(files[3])
  for _, f in ipairs(files) do os.remove(f) end
  if status == 124 and os.time() - began >= limit then
    error(("it took more than %d s: %s\n%s%s"):format(limit, command, out, err), 2)
  end
  return how == "signal" and 128 + status or status, out, err
end

--- The moonloop command's whole path.
---@return string
function M.executable() return M.moonloop:sub(1, 1) == "/" and M.moonloop or M.pwd() .. "/" .. M.moonloop end

--- The same as a word of the shell: for commands in other folders.
---@return string
function M.program() return M.quote(M.executable()) end

--- Runs the moonloop command.
---@param args string|string[] one string as the shell reads it, or a list of arguments
---@param opts table|string|nil as for sh
---@return integer status, string stdout, string stderr
function M.cli(args, opts)
  if type(args) == "table" then
    local words = {}
    for i, a in ipairs(args) do words[i] = M.quote(a) end
    args = table.concat(words, " ")
  end
  return M.sh("exec " .. M.program() .. " " .. args, opts)
end

--- What a short Python program prints: CPython's asyncio is the oracle.
--- Runs `moonloop COMMAND ARGS` for each pair of cases, arguments and a part of what is then said of them: it must be
--- refused with that, and nothing on standard output; and have a --help.
---@param command string
---@param cases table<string, string>
function M.refuses(command, cases)
  local assert = require "luassert"
  for args, text in pairs(cases) do
    local status, out, err = M.cli(command .. " " .. args)
    assert.same({ 2, "" }, { status, out }, args .. ": " .. err)
    assert.truthy(err:find("moonloop " .. command .. ": ", 1, true) == 1 and err:find(text, 1, true), args .. ": " .. err)
  end
  local status, out = M.cli(command .. " --help")
  assert.equal(0, status)
  assert.truthy(out:find("^Usage: moonloop " .. command), out)
end

function M.python(code) return select(2, M.sh("exec python3 -", code)) end

function M.pwd()
  local p <close> = assert(io.popen("pwd"))
  return p:read("l")
end

--- Is there an IPv6 address to listen on? Not in each container.
---@return boolean
function M.ipv6()
  local s <close> = require("socket").socket("inet6")
  return (pcall(s.bind, s, "::1", 0))
end

--- When the process with that number was started; nil: there is none (or /proc does not tell).
local function started(pid)
  local f <close> = io.open(("/proc/%d/stat"):format(pid))
  local fields = f and f:read("a"):match(".*%) (.*)")
  return fields and fields:match(("%S+ "):rep(19) .. "(%d+)")
end

--- Starts a shell command in the background; it is killed when the spec ends.
---@return integer pid, string logfile where its output goes
function M.background(command)
  local log = M.tmpfile()
  local p <close> = assert(io.popen(("exec 3>&1; setsid sh -c %s </dev/null >%s 2>&1 3>&- & echo $! >&3")
    :format(M.quote("exec " .. command), log)))
  local pid = math.tointeger(tonumber(p:read("l")))
  local since = started(pid)
  M.finally(function() -- it may end by itself for a while; a zombie has
    local now = started(pid)
    if now and now ~= since then return end -- it has ended, and its number is another's
    os.execute(([[kill -- -PID 2>/dev/null || ALONE
      for i in $(seq 100); do grep -qs '^State:.[^ZX]' /proc/PID/status || break; sleep 0.02; done
      kill -s KILL -- -PID 2>/dev/null]]):gsub("ALONE", now and "kill PID 2>/dev/null" or "exit"):gsub("PID", pid))
  end)
  return pid, log
end

--- Was the command under test built with TLS (not by make WITH_TLS=0)?
function M.has_tls()
  local f <close> = io.open((M.moonloop:match("^(.*)/") or "build") .. "/flags")
  return not f or f:read("a"):find("ML_WITH_TLS", 1, true) ~= nil
end

-- ---- files and ports --------------------------------------------------------

--- A new file with the text in it, removed when the spec ends.
---@return string path
function M.tmpfile(text, suffix)
  local base = os.tmpname()
  local path = base .. (suffix or "")
  local f <close> = assert(io.open(path, "wb"))
  f:write(text or "")
  M.finally(function()
    os.remove(base)
    os.remove(path)
  end)
  return path
end

--- A new folder, removed when the spec ends.
---@return string path
function M.tmpdir()
  local p <close> = assert(io.popen("mktemp -d"))
  local path = assert(p:read("l"), "mktemp failed")
  M.finally(function() -- again if a program that has just been ended has written there meanwhile
    os.execute(("rm -rf %s 2>/dev/null || { sleep 0.2; rm -rf %s; }"):format(M.quote(path), M.quote(path)))
  end)
  return path
end

--- The path of a file that is not there, and a function that makes it: for what runs elsewhere (a thread, a process, the
--- shell) and must not be done before the spec says so.
---@return string path, function open
function M.latch()
  local path = M.tmpdir() .. "/open"
  return path, function() assert(io.open(path, "w")):close() end
end

--- As a command of the shell: waits for the file of a latch.
---@param path string
---@return string
function M.until_open(path) return ("until [ -e %s ]; do sleep 0.01; done"):format(M.quote(path)) end

--- For threads and other processes: blocks until the file of a latch is there.
---@param path string
---@return string path
function M.held(path)
  local time = require "time"
  for _ = 1, 12000 do
    local f = io.open(path)
    if f then
      f:close()
      return path
    end
    time.sleep(0.005)
  end
  error("nobody has opened " .. path)
end

--- A TCP port of 127.0.0.1 on which nothing listens, nor will until the spec ends but what the spec starts there: a
--- socket is bound to it, which only keeps those away that ask for any port.
---@return integer
function M.unused_port()
  local socket = require "socket"
  local s = socket.socket()
  M.finally(s.close, s)
  s:setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
  s:bind("127.0.0.1", 0)
  return s:getsockname()[2]
end

--- Waits (in real time) until something listens on the port of 127.0.0.1.
function M.wait_port(port, seconds)
  local code = ([[
import socket, sys, time
end = time.monotonic() + %f
while time.monotonic() < end:
    try:
        socket.create_connection(("127.0.0.1", %d), 1).close()
        sys.exit(0)
    except OSError:
        time.sleep(0.02)
sys.exit(1)
]]):format((seconds or 60) * M.slow, port)
  assert(M.sh("exec python3 -", code) == 0, "nothing listens on port " .. port)
end

--- In a task, in real time: waits until a unix socket takes connections. It does so some time after it is there.
function M.wait_unix(path, seconds)
  local asyncio = require "asyncio"
  for _ = 1, (seconds or 20) * 100 * M.slow do
    local ok, _, writer = pcall(asyncio.await, asyncio.open_unix_connection(path))
    if ok then return writer:close() end
    asyncio.await(asyncio.sleep(0.01))
  end
  error("nothing listens on " .. path)
end

--- In a task, in real time: waits until f() is true; false if it never is.
---@return boolean
function M.eventually(f, seconds)
  local asyncio = require "asyncio"
  for _ = 1, (seconds or 60) * 100 * M.slow do
    if f() then return true end
    asyncio.await(asyncio.sleep(0.01))
  end
  return false
end

return M
