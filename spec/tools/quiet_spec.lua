--- What a host's process sees of the library, by its system calls: no signal handler, no output, no end, no child. The
--- host is spec/embed/quiet.c, which also looks from inside.

local helper = require "spec.helper"

local build = helper.moonloop:match("^(.*)/moonloop$") or "build"

--- The system calls of a program, as lines "name(arguments) = result", and signals as "--- SIGNAL ...".
local function trace(program, calls)
  local log = helper.tmpfile()
  local status, _, err = helper.sh(("strace -f -qq -e trace=%s -o %s %s"):format(calls, log, program))
  local lines = {}
  local f <close> = assert(io.open(log))
  for line in f:lines() do lines[#lines + 1] = line:gsub("^%d+%s+", "") end
  return status, lines, err
end

--- Those of the lines that match the first pattern and none of the others.
local function matching(lines, pattern, ...)
  local found = {}
  for _, line in ipairs(lines) do
    local hit = line:find(pattern)
    for _, but in ipairs { ... } do hit = hit and not line:find(but) end
    if hit then found[#found + 1] = line end
  end
  return found
end

describe("a host's system calls", function()
  if build ~= "build" then return end -- sanitizers have calls of their own
  if (helper.sh("strace -o /dev/null true")) ~= 0 then -- a container may forbid it
    pending("need strace, and leave to use it")
    return
  end

  local status, lines, err

  setup(function()
    local program = os.tmpname()
    local flags = "$(PKG_CONFIG_PATH=" .. build .. " pkg-config --cflags --libs --static moonloop)"
    local built, _, why = helper.sh(("${CC:-cc} -std=gnu11 -Ispec/embed -o %s spec/embed/quiet.c %s"):format(program, flags))
    assert.equal(0, built, why)
    status, lines, err = trace(program, "%process,%signal,write,writev,pwrite64,openat,prlimit64,setrlimit,chdir,fchdir,"
      .. "prctl,personality,setpriority,sched_setaffinity,setuid,setgid,setsid,setpgid")
    os.remove(program)
  end)

  it("are seen", function()
    assert.equal(0, status, err)
    assert.truthy(#matching(lines, "^write%(") > 0)
    assert.truthy(#matching(lines, "^clone3?%(") > 0)
  end)

  it("set no signal handler", function()
    -- reading one is `rt_sigaction(SIGNAL, NULL`; 32 and 33 are the C library's own, set when it makes a thread
    assert.same({}, matching(lines, "^rt_sigaction%(", "^rt_sigaction%([%w_]+, NULL", "^rt_sigaction%(SIGRT_?[01]?,",
      "^rt_sigaction%(SIGRTMIN,", "^rt_sigaction%(SIGRT_1,"))
    assert.same({}, matching(lines, "^sigaltstack%("))
  end)

  it("raise and send no signal, not even SIGPIPE", function()
    assert.same({}, matching(lines, "^%-%-%- SIG"))
    assert.same({}, matching(lines, "^t?g?kill%("))
  end)

  it("write nothing to standard output and standard error", function()
    assert.same({}, matching(lines, "^p?writev?[%d]*%([12],"))
  end)

  it("end the process once, as main does", function()
    assert.same({ "exit_group(0)" }, (function()
      local ends = matching(lines, "^exit_group%(")
      for i, line in ipairs(ends) do ends[i] = line:match("^[^)]*%)") end
      return ends
    end)())
  end)

  it("start no other process", function()
    assert.same({}, matching(lines, "^v?fork%("))
    assert.same({}, matching(lines, "^clone3?%(", "CLONE_THREAD"))
    assert.equal(1, #matching(lines, "^execve%("))
  end)

  it("leave locale, folder, limits, priorities and identity alone", function()
    assert.same({}, matching(lines, "^openat%(.*/usr/lib/locale"))
    assert.same({}, matching(lines, "^f?chdir%("))
    assert.same({}, matching(lines, "^setrlimit%("))
    assert.same({}, matching(lines, "^prlimit64%(", "^prlimit64%(0, [%u_]+, NULL"))
    assert.same({}, matching(lines, "^prctl%(", "^prctl%(PR_SET_NAME"))
    assert.same({}, matching(lines, "^set%l+%("))
    assert.same({}, matching(lines, "^sched_setaffinity%("))
    assert.same({}, matching(lines, "^personality%("))
  end)
end)
