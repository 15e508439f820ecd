--- Sessions of the REPL, in a pseudo-terminal and without one.

local helper = require "spec.helper"
local terminal = require "spec.terminal"

--- What a session shows that ends with Ctrl-D; without what steers the terminal.
local function session(steps, env, args)
  local list = { { "expect", "Ctrl-D leaves.\r\n" }, { "expect", "> " } }
  for _, step in ipairs(steps) do
    if type(step) == "string" then
      -- typed before the prompt is there it would be the terminal's own end of input
      if step == "\4" and list[#list][2] ~= "> " then list[#list + 1] = { "expect", "> " } end
      list[#list + 1] = { "type", step }
    else
      list[#list + 1] = step
    end
  end
  local all = { TERM = "xterm", NO_COLOR = "1", MOONLOOP_HISTORY = "" }
  for k, v in pairs(env or {}) do all[k] = v end
  local out = terminal.run(args or {}, list, all)
  assert(not out:find("not seen: ", 1, true), out)
  return (out:gsub("\27%[[%d;]*%a", ""):gsub("\r", ""))
end

local function expect(text) return { "expect", text } end

local has_edit = pcall(require, "asyncio.edit")

if has_edit then
  describe("the REPL at a terminal", function()
    it("prints what expressions give", function()
      local out = session { "1 + 1\n", expect "\r\n2\r\n", "{ 1, 'a', k = true }, nil\n", expect "\r\n{ 1, \"a\", k = true }\tnil\r\n",
        "\4" }
      assert(out:find("[0 restored]", 1, true), out)
    end)

    it("awaits, while background tasks go on and print above the line", function()
      session {
        "function tick() while not over do await(asyncio.sleep(0.05)) print 'tick' end end\n", expect "> ",
        "t = asyncio.create_task(async(tick)())\n", expect "> ",
        "'un", expect "un", expect "tick\r\n", expect "> 'un", "finished'\n", expect "\r\n\"unfinished\"\r\n",
        "await asyncio.sleep(0.2, 'slept')\n", expect "\"slept\"", "over = 1\n", expect "> ", "await t, t:done()\n", expect "true", "\4",
      }
    end)

    it("goes on reading what is not complete", function()
      session {
        "for i = 1, 2 do\n", expect ">> ", "print(i * 10)\n", expect ">> ", "end\n", expect "\r\n10\r\n20\r\n",
        "s = [[a\n", expect ">> ", "b]]\n", expect "> ", "s\n", expect '"a\\nb"', "await asyncio.sleep(0,\n", expect ">> ",
        "5)\n", expect "\r\n5\r\n", "\4",
      }
    end)

    it("takes several lines at once, with tabs", function()
      session { "x = {\n\t1,\n\t2 }\n#x * 10\n", expect "\r\n20\r\n", "\4" }
    end)

    it("cancels what is awaited on Ctrl-C and goes on", function()
      session {
        "await asyncio.sleep(1000)\n", expect "sleep(1000)\r\n", { "signal", "SIGINT" }, expect "KeyboardInterrupt", expect "> ",
        "'still here'\n", expect '\r\n"still here"', "\4",
      }
    end)

    it("stops what computes on the second Ctrl-C", function()
      session {
        "print 'go' while true do end\n", expect "go\r\n", { "signal", "SIGINT" }, { "pause", 0.5 }, { "signal", "SIGINT" },
        expect "KeyboardInterrupt", expect "> ", "6 * 7\n", expect "\r\n42", "\4",
      }
    end)

    it("clears the line on Ctrl-C, the lines before it too", function()
      session {
        "function f(\n", expect ">> ", "garbage", expect "garbage", { "signal", "SIGINT" }, expect "^C\r\n", expect "> ", "5 + 5\n",
        expect "\r\n10\r\n", "\4",
      }
    end)

    it("shows errors and goes on", function()
      local out = session {
        "local x = nil; return x.y\n", expect "<input 1>:1: attempt to index a nil value (local 'x')\r\n  1 | local x = nil; return x.y",
        "function f() error 'deep' end\n", expect "> ",
        "x = f()\n", expect "deep\r\n", expect "in function 'f'", expect "<input 3>:1: in main chunk", expect "> ", "x y\n", expect "syntax error near 'y'", expect "> ",
        "error { code = 5 }\n", expect "error object: { code = 5 }", expect "> ", "\4",
      }
      assert(not out:find("moonloop/repl", 1, true), out)
    end)

    it("tells above the line what the log has to say", function()
      session {
        "asyncio.create_task(async(function() await(asyncio.sleep(0.1)) error 'lost' end)()) and 0\n", expect "\r\n0\r\n", expect "> ",
        "typ", expect "typ", { "pause", 0.2 }, "ed = 1\n", expect "> ", "collectgarbage() collectgarbage()\n", expect "never retrieved",
        expect "lost", expect "> ", "typed\n", expect "\r\n1\r\n", "\4",
      }
    end)

    it("keeps the last values in _, __ and ___", function()
      session { "1\n", expect "\r\n1\r\n", "2\n", expect "\r\n2\r\n", "3\n", expect "\r\n3\r\n", "_ .. __ .. ___\n",
        expect '\r\n"321"', "\4" }
    end)

    it("begins a line of its own when output has left one open", function()
      session { "do io.write('open') end\n", expect "\r\nopen\r\n", expect "> ", "\4" }
    end)

    it("tells the tasks that it cancels", function()
      local out = session { "t = asyncio.create_task(asyncio.sleep(100), { name = 'long' })\n", expect "> ", "\4" }
      assert(out:find("1 task cancelled: long\n[0 restored]", 1, true), out)
    end)

    it("edits: unicode, arrows, history, completion", function()
      session {
        "'h\195\169lo\230\151\165'\27[D\27[D\127l\n", expect '\r\n"h\195\169ll\230\151\165"', expect "> ",
        "\27[A\27[A", { "pause", 0.1 }, "\n", expect '\r\n"h\195\169ll\230\151\165"', expect "> ", "\18h\195\169l", expect "bck:", { "pause", 0.1 }, "\n",
        expect '\r\n"h\195\169ll\230\151\165"', expect "> ", "asyncio.create_t\t", expect "ask", " ~= nil\n", expect "\r\ntrue",
        expect "> ", "asyncio.wait\t",
        expect "wait_for", "\21", "\4",
      }
    end)

    it("draws the line anew when the window has another size", function()
      session { "'abc", expect "'abc", { "resize", { 60, 20 } }, { "signal", "SIGWINCH" }, expect "> 'abc", "'\n", expect '"abc"', "\4" }
    end)

    it("leaves at os.exit and at SystemExit with their status", function()
      assert(session { "os.exit(3)\n" }:find("[3 restored]", 1, true))
      assert(session { "error(asyncio.SystemExit(4))\n" }:find("[4 restored]", 1, true))
    end)

    it("is restored by signals that end it", function()
      assert(session { "abc", expect "abc", { "signal", "SIGTERM" } }:find("[-15 restored]", 1, true))
    end)

    it("runs a script first with -i, and keeps its globals", function()
      local script = helper.tmpfile("value = 40 + #arg; print('script', ...)\n", ".lua")
      local list = { expect "script\ta\tb", expect "> ", { "type", "value\n" }, expect "\r\n42\r\n", expect "> ", { "type", "\4" } }
      local out = terminal.run({ "-i", script, "a", "b" }, list, { TERM = "xterm", NO_COLOR = "1", MOONLOOP_HISTORY = "" })
      assert(out:find("[0 restored]", 1, true), out)
    end)
  end)
end

describe("the REPL at a dumb terminal", function()
  it("reads plain lines", function()
    local out = session({ "1 + 1\n", expect "\r\n2\r\n", "do\n", expect ">> ", { "signal", "SIGINT" }, expect "> ", "2 + 2\n",
      expect "\r\n4\r\n", "\4" }, { TERM = "dumb" })
    assert(out:find("[0 restored]", 1, true), out)
  end)
end)

describe("the REPL without a terminal", function()
  it("reads statements and prints values, and nothing else", function()
    local status, out, err = helper.cli("", "x = 20\nx + 1\nfor i = 1, 2 do\n  print(i)\nend\nawait asyncio.sleep(0.01, 'ok')\n")
    assert.same({ 0, '21\n1\n2\n"ok"\n', "" }, { status, out, err })
  end)

  it("goes on after an error, and ends with status 1", function()
    local status, out, err = helper.cli("", "error 'first'\n1 +\n* 2\n'last'\n")
    assert.equal(1, status)
    assert.equal('"last"\n', out)
    assert(err:find("<input 1>:1: first", 1, true) and err:find("unexpected symbol near '*'", 1, true), err)
  end)

  it("awaits what asyncio.run is given, of scripts that run first as well", function()
    local script = helper.tmpfile("local asyncio = require 'asyncio'\nvalue = asyncio.run(async function() return await asyncio.sleep(0.01, 40) end)\n", ".lua")
    local status, out, err = helper.cli("-i " .. script, "value\nasyncio.run(asyncio.sleep(0, value + 1))\n"
      .. "asyncio.run(function() return 42, nil end)\nasyncio.run(async function() asyncio.run(asyncio.sleep(0)) end)\n"
      .. "await asyncio.create_task(async function() return asyncio.run(asyncio.sleep(0)) end)\nasyncio.run(asyncio.sleep(0, 43))\n")
    assert.equal(1, status)
    assert.equal("40\n41\n42\tnil\n43\n", out)
    assert.equal(2, select(2, err:gsub("RuntimeError: asyncio.run%(%) cannot be called from a running event loop", "")), err)
  end)

  it("goes on after an error that is nil, and prompts that cannot be", function()
    local status, out, err = helper.cli("", "error()\nerror(nil)\n.time error()\n_PROMPT = setmetatable({}, { __tostring = error })\n'last'\n")
    assert.same({ 1, '"last"\n', "nil\nnil\nnil\n" }, { status, out, err })
  end)

  it("goes on when an input stops the loop, or cancels all tasks", function()
    local status, out, err = helper.cli("", "asyncio.get_running_loop():stop()\n1\n"
      .. "for _, task in ipairs(asyncio.all_tasks()) do task:cancel() end\n2\nawait asyncio.sleep(0.01, 3)\n"
      .. "asyncio.get_running_loop():stop() await asyncio.sleep(0.01)\n4\n")
    assert.same({ 0, "1\n2\n3\n4\n", "" }, { status, out, err })
  end)

  it("shows each error of a group", function()
    local _, _, err = helper.cli("", "async with asyncio.TaskGroup() as g do g:create_task(async function() error 'one' end) end\n")
    assert(err:find("\n  sub-exception 1: <input 1>:1: one\n", 1, true), err)
  end)

  it("tells of a statement that is not complete at the end", function()
    local status, _, err = helper.cli("", "function f(")
    assert.equal(1, status)
    assert(err:find("near <eof>", 1, true), err)
  end)

  it("marks what an error is about as the command does", function()
    local _, _, err = helper.cli("", "t = {} t.go() t = t.go\n")
    assert(err:find("<input 1>:1: attempt to call a nil value (field 'go')\n  1 | t = {} t.go() t = t.go\n    |          ^^\n", 1, true), err)
  end)

  it("works in a sandbox", function()
    local status, out = helper.cli("--sandbox", "1 + 1\nio.open('/etc/passwd')\n")
    assert.equal(0, status)
    assert(out:find("^2\nnil\n\"EACCES: permission denied"), out)
  end)
end)
