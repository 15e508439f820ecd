--- moonloop test: users' tests, each as a task, and what is told of those that fail.

local helper = require "spec.helper"

-- Runs `moonloop test` in a folder with these files.
local function run(files, args)
  local dir = helper.tmpdir()
  assert(os.execute("mkdir " .. dir .. "/spec"))
  for name, text in pairs(files) do
    local f <close> = assert(io.open(dir .. "/" .. name, "wb"))
    f:write(text)
  end
  return helper.cli({ "test", table.unpack(args or {}) }, { cwd = dir, env = { NO_COLOR = "1" } })
end

local function one(text, args) return run({ ["spec/a_spec.lua"] = 'local asyncio = require "asyncio"\n' .. text }, args) end

-- The line with the counts, without the time.
local function counts(out) return out:match("\n(%d+ passed[^\n]-) in [%d.]+ s\n$") end

local function has(out, text)
  assert(out:find(text, 1, true), ("'%s' is not in:\n%s"):format(text, out))
end

describe("moonloop test", function()
  it("awaits in tests and hooks, in virtual time", function()
    local status, out, err = one [[
local log, loop = {}, nil
describe("hours", function()
  before_each(async function() loop = asyncio.get_running_loop() await asyncio.sleep(3600) end)
  after_each(function() await asyncio.sleep(3600) log[#log + 1] = loop:time() end)
  it("pass", function()
    assert.equal(asyncio.get_running_loop(), loop)
    finally(function() await asyncio.sleep(1800) end)
    await asyncio.sleep(3600)
  end)
  it("pass in coroutine functions", async function() await asyncio.sleep(7200) end)
  it("begin anew", function() assert.same({ 12600.0, 14400.0 }, log) end)
end)
]]
    assert.equal("3 passed, 0 failed", counts(out), out .. err)
    assert.equal("0", tostring(status))
    assert.equal("", err)
  end)

  it("shows what fails, with its line", function()
    local status, out = one [[
it("adds", function()
  await asyncio.sleep(1)
  assert.equal(3, 1 + 1)
end)
it("raises", function()
  local task = asyncio.create_task((async function() error("deep") end)())
  await task
end)
it("passes", function() end)
]]
    assert.equal("1 passed, 2 failed", counts(out))
    assert.equal("1", tostring(status))
    has(out, "FAILED spec/a_spec.lua:2: adds\n    spec/a_spec.lua:4: Expected objects to be equal.")
    has(out, "\n  4 | assert.equal(3, 1 + 1)\n")
    has(out, "FAILED spec/a_spec.lua:6: raises\n    spec/a_spec.lua:7: deep\n")
  end)

  it("marks what of the line an error is about", function()
    local _, out = one 'it("calls", function()\n\tlocal t = { 1 } t.go() t = t.go\r\nend)\n'
    has(out, "attempt to call a nil value (field 'go')\n  3 | local t = { 1 } t.go() t = t.go\n    |                   ^^\n")
  end)

  it("shows lines of files alone, whatever a message names", function()
    local status, out = one 'os.execute("mkfifo pipe") it("fails", function() error("pipe:1: no file", 0) end)'
    assert.equal("0 passed, 1 failed", counts(out))
    assert.equal("1", tostring(status))
    assert.equal(nil, out:find("1 |", 1, true))
  end)

  for name, case in pairs {
    ["a task"] = {
      'asyncio.create_task((async function() await asyncio.sleep(9) end)(), { name = "left" })\nawait asyncio.sleep(0)',
      "left behind: the task 'left' is not done: it waits at spec/a_spec.lua:3",
    },
    ["a server"] = {
      'SERVER = await asyncio.start_server(print, "127.0.0.1", 0)', "left behind: a handle is open: tcp 127.0.0.1:",
    },
    ["a coroutine"] = {
      "local f = async function() end\nf()", "' (spec/a_spec.lua:3) was never awaited",
    },
    ["an error"] = {
      'asyncio.create_task((async function() error("unseen") end)())\nawait asyncio.sleep(0)',
      "left behind: Task exception was never retrieved: spec/a_spec.lua:3: unseen",
    },
    ["a timer"] = { "asyncio.get_running_loop():call_later(5, print)", "timers: 0 before, 1 after" },
  } do
    it("finds " .. name .. " that is left behind, unless it is not asked to", function()
      local text = ('it("leaves", function()\n%s\nend)\nit("is not blamed", function() end)'):format(case[1])
      local status, out = one(text)
      assert.equal("1 passed, 1 failed", counts(out), out)
      assert.equal("1", tostring(status))
      has(out, "FAILED spec/a_spec.lua:2: leaves\n")
      has(out, case[2])
      status, out = one(text, { "--no-leaks" })
      assert.equal("2 passed, 0 failed", counts(out), out)
      assert.equal("0", tostring(status))
    end)
  end

  it("shows each error of a group", function()
    local text = [[
it("has two", function()
  async with asyncio.TaskGroup() as group do
    group:create_task((async function() error("first") end)())
    group:create_task((async function() error("second") end)())
  end
end)
]]
    local _, out = one(text)
    has(out, "ExceptionGroup: unhandled errors in a TaskGroup (2 sub-exceptions)\n")
    has(out, "\n      sub-exception 1: spec/a_spec.lua:4: first\n")
    has(out, "\n      sub-exception 2: spec/a_spec.lua:5: second\n")
    _, out = one(text, { "-o", "tap" })
    has(out, "#   sub-exception 2: spec/a_spec.lua:5: second\n")
  end)

  it("lets nothing steer the terminal", function()
    local dir = helper.tmpdir()
    local f <close> = assert(io.open(dir .. "/a_spec.lua", "wb"))
    f:write('it("na\\nme \\27[31m", function() error("te\\27]0;xt") end)')
    f:close()
    local out = require("spec.terminal").run({ "test", dir }, {}, { TERM = "dumb" })
    has(out, "na?me ?[31m")
    has(out, "te?]0;xt")
    assert.is_nil(out:find("\27[31m", 1, true))
    assert.is_nil(out:find("\27]0", 1, true))
  end)

  it("awaits what asyncio.run is given in a test, but for within another", function()
    local _, out, err = one [[
local loop
before_each(function() loop = asyncio.run(async function() return asyncio.get_running_loop() end) end)
it("runs", function()
  local a, b = asyncio.run(async function()
    await asyncio.sleep(60)
    local inner = asyncio.sleep(1)
    local ok, why = pcall(asyncio.run, inner)
    return asyncio.get_running_loop() == loop and not ok, tostring(why)
  end)
  assert.is_true(a)
  assert(b:find("cannot be called from a running event loop", 1, true), b)
  assert.equal(5, asyncio.run(asyncio.sleep(1, 5)))
  assert.has_error(function() asyncio.run(5) end)
end)
]]
    assert.equal("1 passed, 0 failed", counts(out), out .. err)
  end)

  it("ends tests that wait for ever, and says where", function()
    local status, out = one([[
local done = false
after_each(function() done = true end)
it("waits", function()
  local queue = asyncio.Queue()
  await queue:get()
end)
it("comes after", function() assert.is_true(done) end)
]], { "--timeout", "5s" })
    assert.equal("1 passed, 1 failed", counts(out), out)
    assert.equal("1", tostring(status))
    has(out, "TimeoutError: the test was not over after 5 s of virtual time: it waits at spec/a_spec.lua:6\n")
  end)

  it("tells of failing hooks", function()
    local status, out = one [[
describe("a", function()
  before_each(function() await asyncio.sleep(1) error("before") end)
  it("is not run", function() print("run") end)
end)
describe("b", function()
  setup(function() await asyncio.sleep(1) error("setting up") end)
  it("is not run", function() print("run") end)
end)
]]
    assert.equal("0 passed, 2 failed", counts(out), out)
    assert.equal("1", tostring(status))
    has(out, "spec/a_spec.lua:3: before")
    has(out, "spec/a_spec.lua:7: setting up")
    assert.is_nil(out:find("\nrun", 1, true))
  end)

  it("has blocks with setup share a loop", function()
    local _, out, err = one [[
for _, kind in ipairs { "", "lazy_" } do
  describe(kind, function()
    local server, loop
    _ENV[kind .. "setup"](function()
      loop = asyncio.get_running_loop()
      server = await asyncio.start_server(function(r, w) w:write("hi") w:close() end, "127.0.0.1", 0)
    end)
    _ENV[kind .. "teardown"](function() server:close() await server:wait_closed() end)
    for i = 1, 2 do
      it("asks " .. i, function()
        assert.equal(loop, asyncio.get_running_loop())
        local r, w <close> = await asyncio.open_connection("127.0.0.1", server.sockets[1].port)
        assert.equal("hi", await r:read())
      end)
    end
  end)
end
]]
    assert.equal("4 passed, 0 failed", counts(out), out .. err)
  end)

  local several = {
    ["spec/a_spec.lua"] = 'describe("one #slow", function() it("a", function() end) end) it("two", function() end)',
    ["spec/b_spec.lua"] = 'it("three", function() end) pending("four")',
    ["spec/c_test.lua"] = 'it("five", function() error("x") end) it("six", function() end)',
  }

  it("takes files, folders, patterns, filters and tags", function()
    for args, expected in pairs {
      [""] = "3 passed, 0 failed, 1 skipped",
      ["spec/b_spec.lua"] = "1 passed, 0 failed, 1 skipped",
      ["--tags slow"] = "1 passed, 0 failed",
      ["--exclude-tags slow"] = "2 passed, 0 failed, 1 skipped",
      ["--filter t[wh]"] = "2 passed, 0 failed",
      ["--filter-out t[wh]"] = "1 passed, 0 failed, 1 skipped",
      ["-p _test%.lua$"] = "1 passed, 1 failed",
      ["-p _test%.lua$ --fail-fast"] = "0 passed, 1 failed",
      ["--repeat 2"] = "6 passed, 0 failed, 2 skipped",
      ["--shuffle 7"] = "3 passed, 0 failed, 1 skipped",
      ["--exclude-pattern ^a_"] = "1 passed, 0 failed, 1 skipped",
    } do
      local words = {}
      for word in args:gmatch("%S+") do words[#words + 1] = word end
      local _, out = run(several, words)
      assert.equal(expected, counts(out), args .. out)
    end
  end)

  it("lists, and prints other forms", function()
    local _, out = run(several, { "--list" })
    assert.equal("spec/a_spec.lua:1: one #slow a\ntwo\nthree\nfour\n", out)
    _, out = run(several, { "-v" })
    assert(out:find("ok     one #slow a %(%d+ ms%)\n"), out)
    has(out, "skip   four\n")
    local status
    status, out = run(several, { "-o", "tap", "-p", "_test%.lua$" })
    has(out, "not ok 1 - five")
    has(out, "ok 2 - six")
    assert.equal("1", tostring(status))
    _, out = run(several, { "-o", "junit" })
    has(out, "<testcase")
    _, out = run(several, { "-o", "json" })
    assert.equal(3, #require("json").decode(out).successes)
  end)

  it("reports leaks in other forms, too", function()
    local _, out = one('it("leaves", function() asyncio.get_running_loop():call_later(5, print) end)', { "-o", "tap" })
    has(out, "not ok 1 - leaves")
    has(out, "# Failure message: left behind: ")
  end)

  it("has real time and tests that make loops themselves", function()
    local _, out = one([[
it("is real", function()
  local loop = asyncio.get_running_loop()
  local at = require("time").monotonic()
  await asyncio.sleep(0.05)
  assert(require("time").monotonic() - at > 0.04)
end)
]], { "--real-time" })
    assert.equal("1 passed, 0 failed", counts(out), out)
    _, out = one([[
it("runs", function() assert.equal(1, asyncio.run(async(function() return 1 end)())) end)
it("leaves", function() TASK = asyncio.get_event_loop():create_task(async(function() await asyncio.sleep(1) end)()) end)
]], { "--no-loop" })
    assert.equal("1 passed, 1 failed", counts(out), out)
    has(out, "leak gate: ")
  end)

  it("says what is wrong with its options, and with files", function()
    for args, expected in pairs {
      ["--output xml"] = "moonloop test: there is no output handler 'xml'",
      ["--repeat 0"] = "moonloop test: --repeat: a positive number was expected, got '0'",
      ["--filter ["] = "moonloop test: --filter: '[' is no pattern: malformed pattern",
      ["--nothing"] = "moonloop test: unknown option '--nothing'",
    } do
      local status, _, err = helper.cli("test " .. args)
      assert.equal("2", tostring(status))
      has(err, expected)
    end
    local status, out = run({}, { "nowhere" })
    assert.equal("1", tostring(status))
    has(out, "Cannot find file or directory: nowhere")
    status, out = one("it(")
    assert.equal("1", tostring(status))
    has(out, "spec/a_spec.lua:2: unexpected symbol near <eof>")
  end)

  it("says how to get busted", function()
    local status, _, err = helper.cli("test", { env = { LUA_PATH_5_4 = "/nowhere/?.lua", LUA_PATH = "/nowhere/?.lua" } })
    assert.equal("2", tostring(status))
    has(err, "moonloop test: busted is not installed (Debian and Ubuntu: apt install lua-busted;")
  end)

  it("ends with Ctrl-C", function()
    local status, out = one('it("waits", function() io.popen("kill -INT $PPID"):close() await asyncio.sleep(5) end)', { "--real-time" })
    assert.equal("130", tostring(status), out)
  end)
end)
