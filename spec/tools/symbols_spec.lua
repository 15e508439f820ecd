--- What the libraries give to and take from a host's process: engine/moonloop.sym lists every function of the API; what
--- of the C library could touch the host as a whole is used in the places named here and nowhere else.

local helper = require "spec.helper"

local build = helper.moonloop:match("^(.*)/moonloop$") or "build"

local function lines(command)
  local status, out, err = helper.sh(command)
  assert.equal(0, status, err)
  local list = {}
  for line in out:gmatch("[^\n]+") do list[#list + 1] = line end
  return list
end

--- The names of `nm`'s output that belong to the API or the library, not to a sanitizer.
local function own(command)
  local seen, list = {}, {}
  for _, line in ipairs(lines(command)) do
    local name = line:match("(%S+)$")
    if line:find("^%x+ %a ") and not name:find("^__") and not name:find("^mangled_path") and not seen[name] then
      seen[name] = true
      list[#list + 1] = name
    end
  end
  table.sort(list)
  return list
end

local function listed()
  local list = lines("cat engine/moonloop.sym")
  table.sort(list)
  return list
end

describe("engine/moonloop.sym", function()
  it("lists what moonloop.h declares", function()
    local f <close> = assert(io.open("engine/moonloop.h"))
    local declared = {}
    for name in f:read("a"):gsub("/%*.-%*/", ""):gmatch("ML_API%s[^;]-(ml_[%w_]+)%(") do
      declared[#declared + 1] = name
    end
    table.sort(declared)
    assert.same(listed(), declared, "a function of moonloop.h belongs into engine/moonloop.sym, and the other way round")
  end)

  it("lists what the shared library exports", function()
    assert.same(listed(), own("nm -D --defined-only " .. build .. "/libmoonloop.so"))
  end)

  it("is in order, each name once", function()
    local list = lines("cat engine/moonloop.sym")
    for i = 2, #list do assert.truthy(list[i - 1] < list[i], list[i]) end
  end)
end)

describe("libmoonloop.a", function()
  it("has no global names but the API's and ml__*", function()
    local api, strange = {}, {}
    for _, name in ipairs(listed()) do api[name] = true end
    for _, name in ipairs(own("nm -g --defined-only " .. build .. "/libmoonloop.a 2>/dev/null")) do
      if not api[name] and not name:find("^ml__") then strange[#strange + 1] = name end
    end
    assert.same({}, strange)
  end)
end)

describe("libmoonloop.so", function()
  it("names its version, and hosts name the one they can run with", function()
    local status, out = helper.sh("readlink " .. build .. "/libmoonloop.so; readelf -d " .. build .. "/libmoonloop.so")
    assert.equal(0, status)
    assert.truthy(out:find("^libmoonloop%.so%.%d+%.%d+%.%d+\n"), out)
    assert.truthy(out:find("soname: [libmoonloop.so.0]", 1, true), out)
  end)
end)

describe("asyncio.so", function()
  it("exports what require looks for, and nothing else", function()
    assert.same({ "luaopen_asyncio" }, own("nm -D --defined-only " .. build .. "/asyncio.so"))
  end)
end)

-- Functions and objects of the C library that reach beyond an engine, and which objects may use them for what.
local watched = {
  -- never (llhttp: in states of its generated machine that cannot be)
  abort = { "llhttp", "api" }, exit = {}, _Exit = {}, quick_exit = {}, atexit = {}, __assert_fail = {}, raise = {}, system = {},
  printf = {}, __printf_chk = {}, puts = {}, putchar = {}, putc = {}, perror = {}, psignal = {}, vprintf = {},
  setlocale = {}, uselocale = { "edit" }, setvbuf = {}, setbuf = {}, freopen = {}, signal = {}, sigaltstack = {},
  setitimer = {}, alarm = {}, timer_create = {}, pthread_atfork = {}, setenv = {}, putenv = {}, unsetenv = {},
  srand = {}, setjmp = {}, longjmp = {}, daemon = {}, setrlimit = {}, prctl = {}, vsyslog = {}, syslog = {},
  -- a child process that could not be started ends itself; before that it is set up as the script asked
  _exit = { "spawn" }, fork = { "spawn" }, vfork = {}, chdir = { "spawn" }, umask = { "spawn" }, setsid = { "spawn" },
  setuid = { "spawn" }, setgid = { "spawn" }, setgroups = { "spawn" },
  -- write: asks whether SIGPIPE is still the system's. spawn: in the child. channel: a worker of multiprocessing, in
  -- a process of its own. signal: puts back what a script has set by loop:add_signal_handler. watchdog: a host's
  -- ML_METER_WATCHDOG asks for it
  sigaction = { "write", "spawn", "channel", "signal", "watchdog" },
  -- around one write to a pipe or one fork, and in threads of its own: the host's own mask is as before afterwards
  pthread_sigmask = { "edit", "executor", "executor_thread", "fswhole", "http_sendfile", "inspector", "sendfile", "spawn", "stdfd", "watchdog", "write" },
  sigprocmask = { "spawn" },
  -- what scripts send
  kill = { "process", "signal" }, killpg = {},
  -- to a thread of an engine that has the watchdog
  pthread_kill = { "watchdog" },
  -- raw mode, asked for by scripts through module tty, ended by ml_close
  tcsetattr = { "tty" },
  -- warnings and reports of an engine whose host gave no `log`
  -- limits: and print where output is limited
  fprintf = { "error", "limits", "api" }, fwrite = { "error", "limits" }, fputc = { "error" }, fputs = { "error" }, __fprintf_chk = { "error", "limits" },
  stderr = { "error", "launch", "limits", "api", "edit" }, -- api: llhttp's own, which prints for its debugger alone
  -- print of an engine whose host gave no `print` is Lua's own. What is queued there is written before a child that
  -- inherits it runs and before asyncio.stdout writes; pipe, sendfile: a script's own file
  -- edit: the REPL's line is taken off the screen when others print; its thread has a locale for itself
  stdout = { "edit", "launch", "limits", "stdout" }, fflush = { "edit", "launch", "limits", "stdout", "pipe", "sendfile" },
}

describe("the library", function()
  it("uses what reaches beyond an engine only where a script asks for it", function()
    local status, out, err = helper.sh("nm -A -u " .. build .. "/libmoonloop.a 2>/dev/null")
    assert.equal(0, status, err)
    local found, seen = {}, 0
    for object, symbol in out:gmatch("([%w_]+)%.o:[^\n]- U ([%w_]+)") do
      seen = seen + 1
      local allowed = watched[symbol]
      if allowed and not (" " .. table.concat(allowed, " ") .. " "):find(" " .. object .. " ", 1, true) then
        found[#found + 1] = object .. ".c uses " .. symbol
      end
    end
    table.sort(found)
    assert.truthy(seen > 1000, "nm shows too little: " .. seen)
    assert.same({}, found)
  end)
end)
