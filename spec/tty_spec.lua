--- Module tty, in a pseudo-terminal.

local asyncio = require "asyncio"
local helper = require "spec.helper"
local terminal = require "spec.terminal"
local tty = require "tty"

local function run(code, steps) return terminal.run({ "-e", code }, steps) end

describe("tty", function()
  it("knows a terminal from what is none, and its size", function()
    local code = [[local tty, asyncio = require "tty", require "asyncio"
      print(tty.isatty(), tty.isatty(0), tty.isatty(io.stdout), tty.isatty(asyncio.stderr), tty.isatty(asyncio.stdin))
      print(tty.size()) print(tty.size(io.stderr))]]
    assert.equal("true\ttrue\ttrue\ttrue\ttrue\n120\t40\n120\t40\n[0 restored]\n", run(code, {}))
    local file <close> = assert(io.open("/dev/null"))
    assert.is_false(tty.isatty(file))
    assert.is_false(tty.isatty(99999))
    local e = helper.raises(asyncio.OSError, tty.size, file)
    assert.equal("ENOTTY", e.code)
    assert.truthy(tostring(e):find("terminal size of descriptor %d+ failed"))
    assert.equal("ENOTTY", helper.raises(asyncio.OSError, tty.raw, file).code)
    assert.equal("EBADF", helper.raises(asyncio.OSError, tty.setraw, 99999).code)
  end)

  it("refuses what is no stream", function()
    for _, f in ipairs { tty.isatty, tty.size, tty.raw, tty.setcbreak, tty.reset } do
      local e = helper.raises(asyncio.TypeError, f, {})
      assert.truthy(tostring(e):find("a stream, file or descriptor was expected, got a table"))
    end
    helper.raises(asyncio.TypeError, tty.keys, { speed = 1 })
    helper.raises(asyncio.ValueError, tty.keys, { mode = "wild" })
    helper.raises(asyncio.ValueError, tty.keys, { escape = -1 })
    local file = assert(io.open("/dev/null"))
    file:close()
    helper.raises(asyncio.TypeError, tty.isatty, file)
  end)

  it("raw() lasts for a block, also around another", function()
    local out = run([[local tty = require "tty"
      do
        local raw <close> = tty.raw()
        print("one") io.read(1)
        do local half <close> = tty.cbreak() print("two") io.read(1) end
        print("three") io.read(1)
        raw:close() raw:close()
      end
      print("four") io.read(1)]], {
      { "expect", "one" }, { "raw" }, { "type", "x" }, { "expect", "two" }, { "raw" }, { "type", "x" },
      { "expect", "three" }, { "raw" }, { "type", "x" }, { "expect", "four" }, { "raw" }, { "type", "x\n" },
    })
    assert.truthy(out:find("^raw\ncbreak\nraw\nnormal\n"), out)
    assert.truthy(out:find("%[0 restored%]"), out)
  end)

  it("modes that are left in another order leave the terminal as it was", function()
    local out = run([[local tty = require "tty"
      local a, b = tty.raw(), tty.cbreak()
      a:close() print("one") io.read(1)
      b:close() print("two") io.read(1)]],
      { { "expect", "one" }, { "raw" }, { "type", "x" }, { "expect", "two" }, { "raw" }, { "type", "\n" } })
    assert.truthy(out:find("^cbreak\nnormal\n"), out)
  end)

  it("setraw lasts until reset", function()
    local out = run([[local tty = require "tty"
      tty.setraw() print("one") io.read(1) tty.setcbreak(io.stdin) print("two") io.read(1) tty.reset() print("three")
      io.read(1)]],
      { { "expect", "one" }, { "raw" }, { "type", "x" }, { "expect", "two" }, { "raw" }, { "type", "x" },
        { "expect", "three" }, { "raw" }, { "type", "\n" } })
    assert.truthy(out:find("^raw\ncbreak\nnormal\n"), out)
  end)

  for name, ending in pairs {
    ["the end of the script"] = { "", 0 },
    ["an error"] = { "error('x')", 1 },
    ["os.exit"] = { "os.exit(3)", 3 },
    ["os.exit that closes the state"] = { "os.exit(3, true)", 3 },
    ["SystemExit in a task"] = {
      "local a = require 'asyncio' a.run(async(function() error(a.SystemExit(4)) end)())", 4,
    },
    ["kill"] = { "await(require('asyncio').sleep(20))", -15, "SIGTERM" },
    ["a hang-up"] = { "await(require('asyncio').sleep(20))", -1, "SIGHUP" },
    ["a signal while the script computes"] = { "while true do end", -15, "SIGTERM" },
    ["Ctrl-C"] = { "await(require('asyncio').sleep(20))", 130, "SIGINT" },
  } do
    it("the terminal is as it was after " .. name, function()
      local steps = { { "expect", "ready" }, { "raw" } }
      if ending[3] then steps[3] = { "signal", ending[3] } end
      local out = run("require('tty').setraw() print('ready') " .. ending[1], steps)
      if not ending[3] then out = "raw" .. out:match("\n.*") end -- it may be over before one looks
      assert.truthy(out:find("^raw\n"), out)
      assert.truthy(out:find(("%%[%d restored%%]"):format(ending[2]):gsub("%-", "%%-"), 1), out)
    end)
  end

  it("says when the window's size changes", function()
    local out = run([[local tty = require "tty"
      local sizes = tty.resizes()
      print("ready")
      for columns, rows in sizes do print(columns, rows) if columns == 60 then break end end]],
      { { "expect", "ready" }, { "resize", { 100, 30 } }, { "expect", "100\t30" }, { "resize", { 60, 20 } } })
    assert.equal("\n60\t20\n[0 restored]\n", (out:gsub("^\r?\n?", "\n")))
  end)
end)

describe("tty.keys", function()
  local code = [[for key in require("tty").keys() do print(key) if key == "q" then break end end
    print("over", io.read())]]

  it("gives the keys by name, and leaves raw mode with the loop", function()
    local out = run("print 'ready' " .. code, {
      { "expect", "ready" }, { "type", "a" }, { "expect", "a\r" }, { "raw" }, { "type", "\3" }, { "expect", "ctrl-c" },
      { "type", "\27[A" }, { "expect", "up" }, { "type", "\195\169" }, { "expect", "\195\169" }, { "type", "\27" },
      { "expect", "escape" }, { "type", "q" }, { "expect", "q" }, { "type", "line\n" },
    })
    assert.truthy(out:find("^raw\n"), out)
    assert.truthy(out:find("over\tline\n[0 restored]", 1, true), out)
  end)

  it("ends when the terminal is gone", function()
    local status, out = helper.sh("exec python3 " .. helper.tmpfile([[
import os, pty, signal, subprocess, sys
master, slave = pty.openpty()
code = 'for key in require("tty").keys() do print(key) io.stdout:flush() end print("over")'
child = subprocess.Popen([sys.argv[1], "-e", code], stdin=slave, stdout=subprocess.PIPE)
os.close(slave)
os.write(master, b"a\n")
child.stdout.readline()
os.close(master)
print(child.stdout.read(), child.wait())
]], ".py") .. " " .. helper.moonloop)
    assert.truthy(out:find("over\\n' 0", 1, true), out)
    assert.equal(0, status)
  end)
end)
