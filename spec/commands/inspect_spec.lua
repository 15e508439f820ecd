--- moonloop --inspect, ps, pstree and top: processes that are looked at from outside.

local helper = require "spec.helper"
local json = require "json"
local processes = require "spec.commands.processes"
local terminal = require "spec.terminal"

local program = [[
local asyncio = require "asyncio"
async function inner(n) await asyncio.sleep(n) end
async function outer() await inner(1000) end
local a = asyncio.create_task(inner(500), { name = "first" })
local b = asyncio.create_task(outer(), { name = "sec\27ond" })
asyncio.create_task((async function() await asyncio.gather { a, b } end)(), { name = "both" })
print "ready"
await asyncio.sleep(1000)
]]

-- The variables with which a command of the spec finds what a command of the spec has left there.
local function runtime()
  local folder = helper.tmpdir()
  return { XDG_RUNTIME_DIR = folder }, folder
end

--- Starts a program; gives its process, its log and where its socket is, when it prints "ready".
local function start(text, env, options)
  local words = { "env" }
  for name, value in pairs(env) do words[#words + 1] = name .. "=" .. helper.quote(value) end
  words[#words + 1] = helper.quote(helper.moonloop) .. " " .. (options or "--inspect")
  words[#words + 1] = helper.tmpfile(text, ".lua")
  local pid, log = helper.background(table.concat(words, " "))
  processes.eventually("a program that runs", function() return processes.read(log):find("ready", 1, true) end)
  return pid, log, ("%s/moonloop/%d.sock"):format(env.XDG_RUNTIME_DIR, pid)
end

local function exists(path) return (os.execute("test -e " .. helper.quote(path))) end

describe("moonloop ps", function()
  it("prints each task, what it waits for and where, and who waits for it", function()
    local env = runtime()
    local pid = start(program, env)
    local status, out, err = helper.cli("ps " .. pid, { env = env })
    assert.same({ 0, "" }, { status, err })
    assert.truthy(out:find("^%d tasks\nmain program: [^\n]+%.lua:8 main chunk\n"), out)
    assert.truthy(out:find("\nfirst +0x%x+ +sleep +%S+%.lua:2 +inner +both\n"), out)
    assert.truthy(out:find("\nsec%?ond +0x%x+ +sleep +%S+%.lua:2 +outer +both\n"), out)
    assert.truthy(out:find("\nboth +0x%x+ +gather +%S+%.lua:6 "), out)
    local _, text = helper.cli("ps --json " .. pid, { env = env })
    local answer = json.decode(text)
    assert.equal(#answer.tasks, answer.total)
    local task = answer.tasks[2]
    assert.same({ "sec\27ond", "waiting", "sleep", 2 }, { task.name, task.state, task.waits, #task.stack })
    assert.same({ answer.tasks[3].id }, task.awaited_by)
  end)

  it("lists the processes that can be inspected, and removes the sockets of those that are gone", function()
    local env, folder = runtime()
    local _, out, err = helper.cli("ps", { env = env })
    assert.same({ "", "No process can be inspected (moonloop --inspect ...).\n" }, { out, err })
    local pid = start(program, env)
    local gone, _, left = start(program, env)
    processes.signal(gone, "KILL")
    processes.gone(gone)
    assert.truthy(exists(left))
    _, out = helper.cli("ps", { env = env })
    assert.truthy(out:find(("^PID +TASKS +COMMAND\n%d +%%d +[^\n]*%%-%%-inspect [^\n]*\n$"):format(pid)), out)
    assert.falsy(exists(left))
    assert.truthy(exists(("%s/moonloop/%d.sock"):format(folder, pid)))
    env.MOONLOOP_INSPECT = "1" -- which is for other programs than this
    _, out = helper.cli("ps --json", { env = env })
    local list = json.decode(out)
    assert.same({ 1, pid }, { #list, list[1].pid })
  end)

  it("says where a loop is blocked by a script, and that it is by a function of C", function()
    local env = runtime()
    local pid = start([[
      print "ready" io.stdout:flush()
      local function spin() while true do end end
      await(require("asyncio").sleep(0))
      spin()]], env)
    local status, out, err = helper.cli("ps " .. pid, { env = env })
    assert.same({ 1, "" }, { status, out })
    assert.truthy(err:find(("^moonloop ps: the loop of process %d does not turn: blocked for %%d+%%.%%d s or longer, at\n  [^\n]+%%.lua:2: in spin\n  [^\n]+%%.lua:4: in main chunk\n$"):format(pid)), err)
    processes.signal(pid, "TERM")
    pid = start([[print "ready" io.stdout:flush() require("time").sleep(60)]], env)
    for _, command in ipairs { "ps", "pstree" } do
      status, out, err = helper.cli(command .. " " .. pid, { env = env })
      assert.same({ 1, "" }, { status, out })
      assert.truthy(err:find("blocked for %d+%.%d s or longer, in a function of C or a system call"), err)
    end
  end)

  it("forgets that a loop was blocked when it has turned since, though nobody asked", function()
    local env = runtime()
    local pid, log = start([[
      local function spin(seconds) local e = os.clock() + seconds while os.clock() < e do end end
      print "ready" io.stdout:flush()
      spin(1.5)
      await(require("asyncio").sleep(1.5))
      print "again" io.stdout:flush()
      spin(1000)]], env)
    local _, _, err = helper.cli("ps " .. pid, { env = env })
    assert.truthy(err:find("blocked for", 1, true), err)
    local began
    processes.eventually("the second time", function()
      local seen = processes.read(log):find("again", 1, true)
      if not (began and seen) then began = os.time() end
      return seen
    end)
    _, _, err = helper.cli("ps " .. pid, { env = env })
    local seconds = tonumber(err:match("blocked for ([%d.]+) s"))
    assert(seconds and seconds <= os.time() - began + 1, err)
  end)

  it("leaves the hook of a script that it has interrupted, and what it computes", function()
    local env = runtime()
    local pid, log = start([[
      local n, stop = 0, os.clock() + 2
      debug.sethook(function() n = n + 1 end, "", 1000)
      print "ready" io.stdout:flush()
      while os.clock() < stop do end
      local seen = n
      for i = 1, 100000 do end
      print(n > seen and select(3, debug.gethook()) == 1000 and "kept" or "lost")]], env)
    local _, _, err = helper.cli("ps " .. pid, { env = env })
    assert.truthy(err:find("%.lua:4: in main chunk"), err)
    processes.gone(pid)
    assert.truthy(processes.read(log):find("kept", 1, true), processes.read(log))
  end)

  it("tells what is wrong", function()
    local env, folder = runtime()
    local function fails(args, expected, text)
      local status, out, err = helper.cli(args, { env = env })
      assert.same({ expected, "" }, { status, out })
      assert.truthy(err:find(text, 1, true), err)
    end
    fails("ps 2000000000", 1, "moonloop ps: there is no process 2000000000\n")
    fails("ps x", 2, "moonloop ps: a PID was expected, got 'x'")
    fails("ps 1 2", 2, "one PID was expected, got '2' too")
    fails("pstree", 2, "moonloop pstree: a PID is missing")
    fails("top", 2, "moonloop top: a PID is missing")
    fails("top --delay 1ms 1", 2, "--delay: 50ms or more")
    local pid = helper.background("sleep 60")
    fails("ps " .. pid, 1, "was not started with --inspect (or MOONLOOP_INSPECT=1)")
    pid = start(program, env)
    assert(os.execute(("chmod 755 %s/moonloop"):format(folder)))
    fails("ps " .. pid, 1, "can be opened by others")
  end)

  it("ends when the process does, in the middle of a question too", function()
    local env = runtime()
    local pid = start([[print "ready" io.stdout:flush() local e = os.clock() + 1.5 while os.clock() < e do end]], env)
    local status, _, err = helper.cli("top -n 100 -d 50ms " .. pid, { env = env })
    assert.equal(1, status)
    assert.truthy(err:find("moonloop top: ", 1, true), err)
  end)
end)

describe("moonloop pstree", function()
  it("prints the coroutines of each task, and the tasks that it awaits below them", function()
    local env = runtime()
    local pid = start(program, env)
    local status, out, err = helper.cli("pstree " .. pid, { env = env })
    assert.same({ 0, "" }, { status, err })
    assert.equal([[
main program: x.lua:8 main chunk
├── (T) both
│   └── x.lua:6
│       ├── (T) first
│       │   └── x.lua:2 inner
│       │       └── [sleep]
│       └── (T) sec?ond
│           └── x.lua:3 outer
│               └── x.lua:2
│                   └── [sleep]
└── (T) Task-4
    └── [sleep]
]], (out:gsub("/%S+%.lua", "x.lua")))
  end)

  it("shows a task that several wait for once, groups, and cycles by name", function()
    local env = runtime()
    local pid = start([[
      local asyncio = require "asyncio"
      local shared = asyncio.create_task(asyncio.sleep(1000), { name = "shared" })
      for i = 1, 2 do
        asyncio.create_task((async function() await(asyncio.shield(shared)) end)(), { name = "user" .. i })
      end
      local one, two
      one = asyncio.create_task((async function() await(asyncio.sleep(0)) await(two) end)(), { name = "one" })
      two = asyncio.create_task((async function() await(asyncio.sleep(0)) await(one) end)(), { name = "two" })
      asyncio.create_task((async function()
        local group <close> = asyncio.TaskGroup()
        group:create_task(asyncio.sleep(1000), { name = "member" })
      end)(), { name = "owner" })
      await(asyncio.sleep(0.01))
      print "ready"
      await(asyncio.sleep(1000))]], env)
    local _, out, err = helper.cli("pstree " .. pid, { env = env })
    assert.equal("", err)
    assert.truthy(out:find("Tasks that wait for each other: one → two → one", 1, true)
      or out:find("Tasks that wait for each other: two → one → two", 1, true), out)
    assert.truthy(out:find("%(T%) user1\n.-%(T%) shared\n.-%(T%) user2\n.-%(T%) shared %(see above%)"), out)
    assert.truthy(out:find("%(T%) owner\n.-%(T%) member"), out)
  end)
end)

describe("docs/reference/inspect.md", function()
  it("names the options of ps, pstree and top, and the manual page the commands", function()
    local blocks = require "spec.docs.blocks"
    local page, man = blocks.read("docs/reference/inspect.md"), blocks.read("docs/moonloop.1")
    for _, command in ipairs { "ps", "pstree", "top" } do
      local _, help = helper.cli(command .. " --help")
      for name in help:gmatch("\n  %-.-%-%-(%l+)") do
        assert(name == "help" or page:find("`--" .. name, 1, true), "--" .. name .. " is not there")
      end
      assert(page:find("`moonloop " .. command .. " PID`", 1, true) and man:find("moonloop " .. command, 1, true), command)
    end
    assert(page:find("MOONLOOP_INSPECT=1", 1, true) and man:find("MOONLOOP_INSPECT", 1, true))
  end)
end)

describe("moonloop top", function()
  local busy = [[
    local asyncio = require "asyncio"
    async function worker() while true do await asyncio.sleep(0.001) end end
    for i = 1, 30 do asyncio.create_task(worker()) end
    print "ready"
    await asyncio.sleep(1000)]]

  it("counts tasks, steps and callbacks, those that do the same as one line", function()
    local env = runtime()
    local pid = start(busy, env)
    local status, out, err = helper.cli("top -n 2 -d 300ms " .. pid, { env = env })
    assert.same({ 0, "" }, { status, err })
    assert.truthy(out:find(("^process %d  "):format(pid)), out)
    assert.truthy(out:find("tasks 3%d, ready %d+, timers %d+, handles %d+, memory [%d.]+[kM]B"), out)
    assert.truthy(out:find("steps/s %-, callbacks/s %-"), out)
    local rate, unit = out:match("steps/s ([%d.]+)(k?), callbacks/s [%d.]+k?, rounds/s [%d.]+k?, loop lag %d+%.%d ms")
    assert.truthy(rate and (tonumber(rate) * (unit == "k" and 1000 or 1)) > 100, out)
    assert.truthy(out:find("\n30 +worker +%S+ +%S+%.lua:2"), out)
  end)

  it("draws on a terminal until q, and leaves it as it was", function()
    local env = runtime()
    local pid = start(busy, env)
    local code = ([[local folder = require "asyncio.inspector.folder"
      folder.candidates = function() return { %q } end
      assert(loadfile("stdlib/commands/top.lua"))("-d", "100ms", "%d")]]):format(env.XDG_RUNTIME_DIR .. "/moonloop", pid)
    local out = terminal.run({ "-e", code }, {
      { "expect", "\27[?1049h" }, { "expect", "steps/s" }, { "expect", "worker" }, { "expect", "rounds/s" },
      { "raw" }, { "type", "q" },
    })
    assert.truthy(out:find("^raw\n"), out)
    assert.truthy(out:find("\27%[%?25h\27%[%?1049l\n?%[0 restored%]"), out)
  end)
end)

describe("moonloop --inspect", function()
  it("listens in a folder that is its user's alone, and removes the socket however the program ends", function()
    local env, folder = runtime()
    for _, ending in ipairs { "", "os.exit(0)", "error 'x'", "os.exit(3, true)" } do
      local go, open = helper.latch()
      local pid, _, path = start(([[local p = io.popen("stat -c '%%a %%U' %s/moonloop") print(p:read("a"), "ready") io.stdout:flush()
        repeat await(require("asyncio").sleep(0.01)) until io.open(%q)
        %s]]):format(folder, go, ending), env)
      assert.truthy(exists(path))
      local _, mode = helper.sh(("stat -c '%%a' %s/moonloop"):format(folder))
      assert.equal("700\n", mode)
      open()
      processes.gone(pid)
      assert.falsy(exists(path), ending)
    end
    for _, signal in ipairs { "TERM", "INT" } do
      local pid, _, path = start(program, env)
      processes.signal(pid, signal)
      processes.gone(pid)
      assert.falsy(exists(path), signal)
    end
  end)

  it("is off unless it is asked for; MOONLOOP_INSPECT asks, too", function()
    local env = runtime()
    local _, _, path = start(program, env, " ")
    assert.falsy(exists(path))
    env.MOONLOOP_INSPECT = "0"
    _, _, path = start(program, env, " ")
    assert.falsy(exists(path))
    env.MOONLOOP_INSPECT = "1"
    local pid
    pid, _, path = start(program, env, " ")
    assert.truthy(exists(path))
    env.MOONLOOP_INSPECT = nil
    assert.equal(0, (helper.cli("ps " .. pid, { env = env })))
  end)

  it("does not use a folder that others can open", function()
    local env, folder = runtime()
    assert(os.execute(("mkdir -m 755 %s/moonloop"):format(folder)))
    local pid, _, path = start(program, env)
    assert.falsy(exists(path))
    local user = select(2, helper.sh("id -u")):match "%d+"
    helper.finally(os.execute, ("rmdir /tmp/moonloop-%s 2>/dev/null"):format(user)) -- unless others are in there
    assert.truthy(exists(("/tmp/moonloop-%s/%d.sock"):format(user, pid)))
    assert.equal(0, (helper.cli("ps " .. pid, { env = env })))
  end)

  it("keeps nothing alive, jumps no clock, hides no deadlock and is no task", function()
    local env = runtime()
    local function run(options, code)
      local status, out, err = helper.cli(options .. " -e " .. helper.quote(code), { env = env })
      return { status, out, err }
    end
    assert.same({ 0, "", "" }, run("--inspect", ""))
    local days = [[local t = os.time() await(require("asyncio").sleep(86400 * 100)) print(os.time() - t < 100)]]
    assert.same({ 0, "true\n", "" }, run("--inspect --virtual-time", days))
    local stuck = [[local asyncio = require "asyncio" asyncio.create_task((async function() await(asyncio.Future()) end)())]]
    local plain, inspected = run("", stuck), run("--inspect", stuck)
    assert.equal(1, inspected[1])
    local function blank(s) return (s:gsub("0x%x+", "0x")) end
    assert.equal(blank(plain[3]), blank(inspected[3]))
    local stats = [[local asyncio, core = require "asyncio", require "asyncio.core"
      async function main() local s = core.stats() print(#asyncio.all_tasks(), s.tasks, s.timers, s.handles, s.pins, s.futures_in_flight) end
      asyncio.run(main())]]
    assert.same(run("", stats), run("--inspect", stats))
    local order = [[local asyncio = require "asyncio" local n = {}
      for i = 1, 40 do asyncio.create_task((async function() for k = 1, 3 do await(asyncio.sleep(0)) n[#n + 1] = i end end)()) end
      await(asyncio.sleep(1)) print(table.concat(n, " "))]]
    assert.same(run("--shuffle=7 --virtual-time", order), run("--inspect --shuffle=7 --virtual-time", order))
  end)

  it("is refused in a sandbox that may not listen, and tells what is wrong with its value", function()
    local env = runtime()
    local status, _, err = helper.cli("--sandbox --inspect -e 'print(1)'", { env = env })
    assert.equal(1, status)
    assert.truthy(err:find("moonloop: --inspect: PermissionError", 1, true), err)
    status, _, err = helper.cli([[--sandbox -e 'require("asyncio.inspector").start()']], { env = env })
    assert.equal(1, status)
    assert.truthy(err:find("PermissionError", 1, true), err)
    assert.equal(0, (helper.cli("--sandbox --allow-listen --inspect -e 'print(1)'", { env = env })))
    for _, value in ipairs { "x", "70000", "host:", ":x", "1:2x" } do
      status, _, err = helper.cli({ "--inspect=" .. value, "-e", "" }, { env = env })
      assert.equal(2, status, value)
      assert.truthy(err:find("PORT or HOST:PORT was expected", 1, true), err)
    end
    status, _, err = helper.cli({ "--inspect=", "-e", "" }, { env = env })
    assert.equal(2, status)
    assert.truthy(err:find("the value behind the = is missing", 1, true), err)
    local server = assert(require("socket").socket())
    helper.finally(function() server:close() end)
    server:bind("127.0.0.1", 0)
    server:listen(1)
    local port = server:getsockname()[2]
    status, _, err = helper.cli({ "--inspect=" .. port, "-e", "print(1)" }, { env = env })
    assert.equal(1, status)
    assert.truthy(err:find("moonloop: --inspect: ", 1, true) and err:find("already in use", 1, true), err)
    env.MOONLOOP_INSPECT = "yes"
    status, _, err = helper.cli({ "-e", "print(1)" }, { env = env })
    assert.same({ 0, "moonloop: MOONLOOP_INSPECT: 1, PORT or HOST:PORT was expected, got 'yes'\n" }, { status, err })
    env.MOONLOOP_INSPECT = tostring(port) -- inherited: only the page is not there
    local out
    status, out, err = helper.cli({ "-e", [[print(pcall(require("asyncio.inspector").start))]] }, { env = env })
    assert.equal(0, status)
    assert.truthy(out:find("runs already", 1, true), out)
    assert.truthy(err:find("^moonloop: MOONLOOP_INSPECT: [^\n]*already in use[^\n]*\n$"), err)
  end)

  it("answers while the program works, with thousands of tasks, names that are no text, and after asyncio.run", function()
    local env = runtime()
    local pid = start([[
      local asyncio = require "asyncio"
      asyncio.run((async function() await(asyncio.sleep(0)) end)())
      asyncio.run((async function()
        for i = 1, 11000 do asyncio.create_task(asyncio.sleep(1000), { name = "\xff" .. i }) end
        print "ready"
        await(asyncio.sleep(1000))
      end)())]], env)
    local _, text = helper.cli("ps --json " .. pid, { env = env })
    local answer = json.decode(text)
    assert.same({ 11001, 10000, "\\xff1" }, { answer.total, #answer.tasks, answer.tasks[2].name })
  end)
end)
