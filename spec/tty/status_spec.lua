--- Lines at the bottom of a terminal, seen through asyncio.progress on a screen of 80 x 24.

local helper = require "spec.helper"
local screen = require "spec.scripts.screen"
local terminal = require "spec.terminal"

--- Runs Lua on the screen; `code` is Python that looks at it.
local function on_screen(lua, code, env)
  local script = helper.tmpfile('local asyncio = require "asyncio" local unechoed <close> = require("tty").cbreak()\n' .. lua, ".lua")
  return screen.run(("env LC_ALL=C %s %s %s"):format(env or "", helper.quote(helper.moonloop), script), code)
end

describe("tty.status", function()
  it("keeps the lines below what is printed meanwhile, of every function that prints", function()
    on_screen([[
      local bar <close> = asyncio.progress(6, { desc = "work", mininterval = 0 })
      for i = 1, 6 do
        if i == 1 then print("by print")
        elseif i == 2 then io.write("by ", "write\n")
        elseif i == 3 then io.stdout:write("by stdout\n")
        elseif i == 4 then io.stderr:write("by stderr\n")
        elseif i == 5 then asyncio.stdout:write("by asyncio's stdout\n")
        else asyncio.stderr:write("by asyncio's stderr\n") end
        bar:update()
      end
      bar:write("by bar")
      print(table.concat { "ready" })
      io.read()
    ]], [[
wait("ready")
wait("work: 100%|#")
lines = [l.rstrip() for l in screen()]
assert lines[:8] == ["by print", "by write", "by stdout", "by stderr", "by asyncio's stdout", "by asyncio's stderr", "by bar", "ready"], lines
assert lines[8].startswith("work: 100%|####") and " 6/6 [00:00<00:00, " in lines[8] and len(lines[8]) == 79, lines
assert not any(lines[9:]), lines
key("\n")
assert rest().endswith("restored\nstatus 0\n"), plain
]])
  end)

  it("lets lines that are written in parts be whole, or ends them before it goes on", function()
    on_screen([[
      local bar <close> = asyncio.progress(4, { desc = "work", mininterval = 0 })
      io.write("in ")
      io.write("parts\n")
      io.write("half")
      bar:update()
      io.write("other half")
      bar:close()
      print("ready")
      io.read()
    ]], [[
wait("ready")
lines = [l.rstrip() for l in screen()]
assert lines[:3] == ["in parts", "half", "other half"], lines
assert lines[3].startswith("work:  25%|#") and lines[4] == "ready" and not any(lines[5:]), lines
key("\n")
rest()
]])
  end)

  it("has a line for each bar; inner ones go when they end", function()
    on_screen([[
      local b <close> = asyncio.progress(2, { desc = "outer", mininterval = 0 })
      local c <close> = asyncio.progress(2, { desc = "inner", mininterval = 0 })
      local d <close> = asyncio.progress(2, { desc = "kept", leave = true, mininterval = 0 })
      print("three") io.read()
      d:update(2) d:close()
      print("two") io.read()
      c:close()
      print("one") io.read()
      b:update(1) b:close()
      print("none") io.read()
    ]], [[
def names(): return [re.match(r"\w*", l)[0] for l in screen() if l.strip()]
wait("three"); wait("kept:")
assert names() == ["three", "outer", "inner", "kept"], screen()
key("\n"); wait("two")
wait(lambda: names() == ["three", "kept", "two", "outer", "inner"] or names() == ["three", "", "kept", "two", "outer", "inner"])
key("\n"); wait("one")
wait(lambda: names()[-2:] == ["one", "outer"])
key("\n"); wait("none")
assert names()[-2:] == ["outer", "none"], screen()
key("\n"); rest()
]])
  end)

  it("shows as many lines as the screen has room for", function()
    on_screen([[
      local bars = {}
      for i = 1, 40 do bars[i] = asyncio.progress(2, { desc = "bar" .. i, leave = false }) end
      for i = 1, 5 do bars[i]:update() bars[i]:refresh() end
      print("ready") io.read()
      for i = 1, 40 do bars[i]:close() end
      print("over") io.read()
    ]], [[
wait("ready"); wait("(18 more)")
lines = screen()
assert lines[0].startswith("ready") and lines[1].startswith("bar1:  50%") and lines[22].startswith("bar22:   0%"), lines
key("\n"); wait("over")
assert [l.rstrip() for l in screen() if l.strip()] == ["ready", "over"], screen()
key("\n"); rest()
]])
  end)

  it("gives print and io.write back as they were", function()
    local out = terminal.run({ "-e", [[
      local asyncio = require "asyncio"
      local print_was, write_was, method = print, io.write, io.stdout.write
      local bar = asyncio.progress(1)
      assert(print ~= print_was and io.write ~= write_was and io.stdout.write ~= method)
      local own = function(...) print_was("own", ...) end
      print = own
      bar:close()
      assert(print == own and io.write == write_was and io.stdout.write == method)
      local f = assert(io.tmpfile())
      local other <close> = asyncio.progress(1)
      assert(f:write("a", 1, "\n") == f and io.write() == io.stdout and io.stderr:write("") == io.stderr)
      assert(not pcall(f.write, f, {}) and not pcall(io.write, {}))
      f:seek("set")
      assert(f:read("a") == "a1\n")
      other:close()
      local third = asyncio.progress(1)
      asyncio.stdout:write("first\n") -- puts functions that keep the order in the place of print and the like
      assert(not pcall(asyncio.stdout.write, asyncio.stdout, {}))
      third:close()
      assert(print == own and io.write ~= write_was and io.stdout.write ~= method)
      asyncio.stdout:write("second ")
      io.write("third\n")]] }, {})
    assert.truthy(out:find("second third", 1, true), out)
    assert.truthy(out:find("[0 restored]", 1, true), out)
  end)

  it("leaves the prompt a line of its own when a script forgets a bar, or is interrupted", function()
    local out = terminal.run({ "-e", "bar = require('asyncio').progress(1)" }, { { "expect", "0/1" } })
    assert.truthy(out:find("\n[0 restored]", 1, true), out)
    out = terminal.run({ "-e", "bar = require('asyncio').progress(1) await(require('asyncio').sleep(100))" },
      { { "expect", "0/1" }, { "signal", "SIGINT" } })
    assert.truthy(out:find("KeyboardInterrupt", 1, true), out)
    assert.truthy(out:find("[130 restored]", 1, true), out)
  end)

  it("shows nothing on a dumb terminal, and no colours with NO_COLOR", function()
    local code = [[
      local asyncio = require "asyncio"
      for _ in asyncio.progress(1, { colour = "green" }) do end
      print "ready"]]
    local script = helper.tmpfile(code, ".lua")
    local function run(env)
      local _, out = helper.sh(("env %s script -qec %s /dev/null"):format(env, helper.quote(helper.moonloop .. " " .. script)))
      return out
    end
    assert.equal("ready\r\n", run("TERM=dumb"))
    assert.truthy(run("-u NO_COLOR TERM=xterm"):find("\27[32m", 1, true))
    local plain = run("TERM=xterm NO_COLOR=1 LC_ALL=C.UTF-8")
    assert.falsy(plain:find("\27[32m", 1, true))
    assert.truthy(plain:find("█", 1, true))
  end)

  it("knows nothing of terminals in a sandbox without standard streams", function()
    local status, out, err = helper.cli { "--sandbox", "-e", [[
      local n = 0
      for i in require("asyncio").progress(3) do n = n + i end
      print(n)]] }
    assert.same({ 0, "6\n", "" }, { status, out, err })
  end)
end)
