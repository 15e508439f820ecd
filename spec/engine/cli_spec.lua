local helper = require "spec.helper"

local function script(text, name)
  local path = helper.tmpdir() .. "/" .. (name or "script.lua")
  local f <close> = assert(io.open(path, "wb"))
  f:write(text)
  return path
end

-- Starts the command, sends it SIGINT `times` times with `gap` seconds between once it
-- has written "ready"; gives its status and output.
local function interrupted(code, times, gap)
  local path = script(code)
  local out = helper.tmpfile()
  local sh = ([[
    set -m
    %s %s >%s 2>&1 &
    pid=$!
    i=0
    while ! grep -q ready %s; do i=$((i+1)); [ $i -gt 3000 ] && break; sleep 0.02; done
    for n in $(seq %d); do kill -INT $pid 2>/dev/null || break; sleep %s; done
    wait $pid
    echo "status $?"
  ]]):format(helper.quote(helper.moonloop), path, out, out, times and 20 or 1, gap or "0.1")
  local _, text, err = helper.sh("exec bash -c " .. helper.quote(sh), { timeout = 90 })
  local f <close> = assert(io.open(out))
  return tonumber(text:match("status (%d+)")), f:read("a"), err
end

describe("moonloop script.lua", function()
  it("runs the script with its arguments", function()
    local path = script("print(#arg, arg[0], ...)\nprint(arg[1], arg[2])")
    assert.same({ 0, "2\t" .. path .. "\ta\tb c\na\tb c\n", "" }, { helper.cli({ path, "a", "b c" }) })
  end)

  it("gives options behind the script to the script", function()
    local path = script("print(table.concat(arg, ','))")
    assert.same({ 0, "--debug,-e,--,x\n", "" }, { helper.cli({ path, "--debug", "-e", "--", "x" }) })
  end)

  it("accepts a shebang line and a script without a final newline", function()
    assert.same({ 0, "2\n", "" }, { helper.cli({ script("#!/usr/bin/env moonloop\nprint(debug.getinfo(1, 'l').currentline)") }) })
    assert.same({ 0, "", "" }, { helper.cli({ script("#!/usr/bin/env moonloop") }) })
    assert.same({ 0, "", "" }, { helper.cli({ script("") }) })
  end)

  it("runs as a program of its own by its shebang", function()
    local link = helper.tmpdir() .. "/moonloop" -- the kernel knows no spaces in that line, and an end
    os.execute(("ln -s %s %s"):format(helper.program(), link))
    local path = script("#!" .. link .. "\nprint(arg[0] ~= nil, ...)")
    os.execute("chmod +x " .. path)
    assert.same({ 0, "true\tx\n", "" }, { helper.sh(path .. " x") })
  end)

  it("runs a compiled chunk", function()
    local source = script("print('from bytecode', ...)")
    local compiled = source .. "c"
    local f = assert(io.open(compiled, "wb"))
    f:write(string.dump(assert(loadfile(source))))
    f:close()
    assert.same({ 0, "from bytecode\tx\n", "" }, { helper.cli({ compiled, "x" }) })
  end)

  it("after -- takes a name that begins with a dash", function()
    local dir = helper.tmpdir()
    local f = assert(io.open(dir .. "/-odd.lua", "w"))
    f:write("print('odd')")
    f:close()
    assert.same({ 0, "odd\n", "" }, { helper.cli({ "--", "-odd.lua" }, { cwd = dir }) })
  end)

  it("sees async, await and asyncio", function()
    local path = script [[
      local asyncio = require "asyncio"
      local main = async(function() return await(asyncio.sleep(0, "value")) end)
      print(asyncio.run(main()), await(main()))]]
    assert.same({ 0, "value\tvalue\n", "" }, { helper.cli({ path }) })
  end)
end)

describe("moonloop -e, -m and -", function()
  it("-e runs code with the arguments behind it", function()
    assert.same({ 0, "1\ta\tb\n", "" }, { helper.cli({ "-e", "print(1, ...)", "a", "b" }) })
    assert.same({ 0, "x\n", "" }, { helper.cli({ "-e", "print(arg[1])", "x" }) })
    assert.same({ 0, "", "" }, { helper.cli({ "-e", "" }) })
  end)

  it("-m runs a module that require finds", function()
    local dir = helper.tmpdir()
    os.execute("mkdir -p " .. dir .. "/pkg")
    local f = assert(io.open(dir .. "/pkg/tool.lua", "w"))
    f:write("print('tool', arg[1], arg[2])")
    f:close()
    assert.same({ 0, "tool\ta\tb\n", "" }, { helper.cli({ "-m", "pkg.tool", "a", "b" }, { cwd = dir }) })
  end)

  it("- reads standard input", function()
    assert.same({ 0, "from stdin\tx\n", "" }, { helper.cli("- x", "print('from stdin', ...)") })
  end)
end)

describe("moonloop --help and --version", function()
  it("print to standard output and end with 0", function()
    local status, out, err = helper.cli("--help")
    assert.equal(0, status)
    assert.equal("", err)
    for _, word in ipairs { "Usage: moonloop", "-e", "-m", "--debug", "--virtual-time", "--shuffle", "--version", "130" } do
      assert.is_truthy(out:find(word, 1, true), word)
    end
    status, out, err = helper.cli("--version")
    assert.equal(0, status)
    assert.is_truthy(out:find("^moonloop %d+%.%d+%.%d+ %(Lua 5%.4"), out)
    assert.equal("", err)
    assert.equal(0, (helper.cli("-h")))
  end)
end)

describe("options", function()
  it("stand before the script, in any order", function()
    local path = script [[
      local asyncio = require "asyncio"
      print(asyncio.get_event_loop():get_debug())
      await(asyncio.sleep(1000))]]
    assert.same({ 0, "true\n", "" }, { helper.cli({ "--virtual-time", "--debug", path }) })
    assert.same({ 0, "true\n", "" }, { helper.cli({ "--debug", "--virtual-time", path }) })
    assert.same({ 0, "false\n", "" }, { helper.cli({ "--virtual-time", path }) })
    assert.same({ 0, "false\n", "" }, { helper.cli({ "--shuffle=7", "--virtual-time", path }) })
  end)
end)

describe("limits", function()
  local function ended(option, code)
    local status, out, err = helper.cli({ option, "-e", code })
    assert.equal(1, status, err)
    assert.equal("", out)
    return err
  end

  it("end a script that goes beyond them", function()
    assert.matches("not enough memory", ended("--memory-limit=16M", "local s = ('x'):rep(1e8)"))
    assert.matches("TimeSliceError: .* %(20%.0 ms%)", ended("--slice=20", "while true do pcall(error) end"))
    assert.matches("TimeSliceError: .* %(20%.0 ms%)", ended("--slice=20", [[
      require("asyncio").run(async(function() while true do pcall(error) end end)())]]))
    assert.matches("LimitError: .*allows 2 at a time", ended("--max-tasks=2", [[
      local asyncio = require "asyncio"
      asyncio.run(async(function()
        for i = 1, 2 do asyncio.create_task(asyncio.sleep(9)) end
      end)())]]))
    assert.matches("LimitError: .*allows 2 at a time", ended("--max-handles=2", [[
      for i = 1, 3 do require("asyncio").get_event_loop():call_later(9, print) end]]))
    assert.matches("LimitError: .*allows 4096 bytes", ended("--max-output=4K", "print(('x'):rep(4096))"))
  end)

  it("are positive numbers", function()
    for _, option in ipairs { "--slice=", "--slice", "--slice=1K", "--slice=-1", "--memory-limit=0", "--max-tasks=x",
      "--max-output=1T", "--max-handles=99999999999999", "--memory-limit=17179869184G" } do
      local status, out, err = helper.cli({ option, "-e", "return 1" })
      assert.same({ 2, "" }, { status, out })
      assert.matches("^moonloop: " .. option:match("^[%w-]+"):gsub("%-", "%%-") .. "=%u+: a positive number was expected, got '[^']*'\nTry 'moonloop %-%-help'.\n$", err)
    end
  end)
end)

describe("the exit status", function()
  local function status(code)
    local s, _, err = helper.cli({ "-e", code })
    return s, err
  end

  it("is 0 for a script that ends, 1 for an error", function()
    assert.equal(0, (status "return 5"))
    local s, err = status "error('spam')"
    assert.equal(1, s)
    assert.is_truthy(err:find("^moonloop: %(command line%):1: spam\n  1 | error%('spam'%)\nstack traceback:\n"), err)
  end)

  it("is 1 when tasks are left that can never wake", function()
    local s, err = status [[local asyncio = require "asyncio"
      asyncio.create_task(async(function() await(asyncio.Event():wait()) end)(), { name = "stuck" })]]
    assert.equal(1, s)
    assert.truthy(err:find("1 task can never wake", 1, true) and err:find("stuck", 1, true), err)
  end)

  it("is 0 after a __gc that wants to await, which is told why it cannot", function()
    local s, err = status [[local asyncio = require "asyncio"
      asyncio.run(async(function()
        setmetatable({}, { __gc = function() await(asyncio.sleep(0)) end })
        collectgarbage() collectgarbage()
      end))]]
    assert.equal(0, s)
    assert.truthy(err:find("cannot await here: a __gc metamethod cannot suspend a task", 1, true), err)
  end)

  it("is what os.exit says, also within tasks, and output is flushed", function()
    assert.equal(7, (status "os.exit(7)"))
    assert.equal(0, (status "os.exit()"))
    assert.equal(1, (status "os.exit(false)"))
    assert.equal(0, (status "os.exit(true, true)"))
    local s, out = helper.cli({ "-e", "local a = require 'asyncio' a.run(function() io.write('text') await(a.sleep(0)) os.exit(9) end)" })
    assert.equal(9, s)
    assert.equal("text", out)
    s, out = helper.cli({ "-e", "local a = require 'asyncio' a.run(function() io.write('text') await(a.sleep(0)) os.exit(8, true) end)" })
    assert.equal(8, s)
    assert.equal("text", out)
  end)

  it("is what SystemExit says", function()
    for code, expected in pairs {
      ["error(a.SystemExit(3))"] = 3,
      ["error(a.SystemExit())"] = 0,
      ["error(a.SystemExit(0))"] = 0,
      ["error(a.SystemExit(true))"] = 0,
      ["error(a.SystemExit('some text'))"] = 1,
      ["a.run(function() error(a.SystemExit(4)) end)"] = 4,
      ["a.run(function() a.create_task(function() error(a.SystemExit(5)) end) await(a.sleep(10)) end)"] = 5,
      ["a.get_event_loop():call_soon(function() error(a.SystemExit(6)) end)"] = 6,
      ["a.create_task(function() error(a.SystemExit(7)) end)"] = 7,
      ["await(function() error(a.SystemExit(8)) end)"] = 8,
    } do
      local s, err = status("local a = require 'asyncio' " .. code)
      assert.equal(expected, s, code .. "\n" .. err)
      assert.equal(code:find("some text") and "some text\n" or "", err, code)
    end
  end)

  it("of SystemExit lets <close> run first", function()
    local s, out = helper.cli({ "-e", [[
      local a = require "asyncio"
      a.run(function()
        local _ <close> = setmetatable({}, { __close = function() print("closed") end })
        error(a.SystemExit(3))
      end)]] })
    assert.same({ 3, "closed\n" }, { s, out })
  end)

  it("is 130 for a KeyboardInterrupt that nothing handled", function()
    local s, err = status "error(require('asyncio').KeyboardInterrupt())"
    assert.equal(130, s)
    assert.equal("KeyboardInterrupt\n", err)
  end)
end)

describe("output", function()
  it("to a closed pipe is quiet", function()
    local program = helper.quote(helper.moonloop)
    local _, out, err = helper.sh(program .. " -e 'for i = 1, 100000 do print(i) end' | head -n 1")
    assert.same({ "1\n", "" }, { out, err })
    _, out, err = helper.sh(program .. [[ -e 'local a = require "asyncio" a.run(function() for i = 1, 100000 do print(i) if i % 100 == 0 then await(a.sleep(0)) end end end)' | head -n 2]])
    assert.same({ "1\n2\n", "" }, { out, err })
    _, _, err = helper.sh(program .. " --help | true")
    assert.equal("", err)
  end)

  it("to a closed pipe ends a script that would never end", function()
    local program = helper.quote(helper.moonloop)
    for _, code in ipairs { "while true do print(1) end", "while true do io.write('1\\n') end" } do
      local status, out, err = helper.sh(program .. " -e " .. helper.quote(code) .. " | head -n 1", { timeout = 60 })
      assert.same({ 0, "1\n", "" }, { status, out, err })
    end
  end)

  it("to a full device is an error", function()
    local s, _, err = helper.sh(helper.quote(helper.moonloop) .. " -e 'print(1)' >/dev/full")
    assert.equal(1, s)
    assert.is_truthy(err:find("moonloop: standard output: ", 1, true), err)
  end)

  it("comes in order, standard error included", function()
    local _, out = helper.sh(helper.quote(helper.moonloop) .. [[ -e 'print("a") io.stdout:flush() io.stderr:write("b\n") error("c", 0)' 2>&1]])
    assert.is_truthy(out:find("^a\nb\nmoonloop: c"), out)
  end)
end)

describe("Ctrl-C", function()
  it("cancels the main task, lets it clean up, and ends with 130", function()
    local status, out = interrupted [[
      local asyncio = require "asyncio"
      io.stdout:setvbuf "line"
      asyncio.run(function()
        local _ <close> = setmetatable({}, { __close = function(_, e)
          print("cleaning", tostring(e))
          await(asyncio.sleep(0.05))
          print("clean")
        end })
        print("ready")
        await(asyncio.sleep(30))
      end)]]
    assert.equal(130, status)
    assert.is_truthy(out:find("ready\ncleaning\tCancelledError\nclean\n", 1, true), out)
    assert.is_truthy(out:find("KeyboardInterrupt", 1, true), out)
    assert.is_nil(out:find("traceback", 1, true), out)
  end)

  it("twice ends a clean-up that hangs", function()
    local status, out = interrupted([[
      local asyncio = require "asyncio"
      io.stdout:setvbuf "line"
      asyncio.run(function()
        local _ <close> = setmetatable({}, { __close = function()
          print("hanging")
          await(asyncio.sleep(30))
        end })
        print("ready")
        await(asyncio.sleep(30))
      end)]], 2, "0.3")
    assert.equal(130, status)
    assert.is_truthy(out:find("hanging", 1, true), out)
  end)

  it("that the main task swallows lets it end as it likes", function()
    local status, out = interrupted [[
      local asyncio = require "asyncio"
      io.stdout:setvbuf "line"
      print(asyncio.run(function()
        print("ready")
        asyncio.catch(await, asyncio.sleep(30))
        asyncio.current_task():uncancel()
        return "survived"
      end))]]
    assert.equal(0, status, out)
    assert.is_truthy(out:find("survived", 1, true), out)
  end)

  it("ends a busy script that never awaits", function()
    local status, out = interrupted [[
      io.stdout:setvbuf "line"
      print("ready")
      while true do end]]
    assert.equal(130, status, out)
    assert.is_truthy(out:find("KeyboardInterrupt", 1, true), out)
  end)

  it("twice ends a busy task", function()
    local status, out = interrupted([[
      local asyncio = require "asyncio"
      io.stdout:setvbuf "line"
      asyncio.run(function()
        print("ready")
        while true do end
      end)]], 2, "0.2")
    assert.equal(130, status, out)
  end)

  it("ends an await of the main program and what runs after it", function()
    local status = interrupted [[
      local asyncio = require "asyncio"
      io.stdout:setvbuf "line"
      print("ready")
      await(asyncio.sleep(30))]]
    assert.equal(130, status)
    status = interrupted [[
      local asyncio = require "asyncio"
      io.stdout:setvbuf "line"
      asyncio.create_task(function()
        print("ready")
        await(asyncio.sleep(30))
      end)]]
    assert.equal(130, status)
  end)

  it("can be caught by pcall around run", function()
    local status, out = interrupted [[
      local asyncio = require "asyncio"
      io.stdout:setvbuf "line"
      local ok, e = pcall(asyncio.run, function()
        print("ready")
        await(asyncio.sleep(30))
      end)
      print(ok, asyncio.isinstance(e, asyncio.KeyboardInterrupt))]]
    assert.equal(0, status, out)
    assert.is_truthy(out:find("false\ttrue", 1, true), out)
  end)
end)

describe("the environment of scripts", function()
  it("has the standard libraries and the modules of the engine", function()
    local status, out, err = helper.cli({ "-e", [[
      for _, name in ipairs { "string", "table", "math", "io", "os", "coroutine", "utf8", "debug", "package" } do
        assert(type(_G[name]) == "table", name)
      end
      assert(package.loaded["asyncio.core"] == nil or true)
      assert(require "asyncio" == require "asyncio")
      print(_VERSION)]] })
    assert.same({ 0, "Lua 5.4\n", "" }, { status, out, err })
  end)

  it("survives a script that breaks globals", function()
    local status, out, err = helper.cli({ "--virtual-time", "-e", [[
      local core, print = require "asyncio.core", print
      local await, error, pcall, sleep = await, error, pcall, require("asyncio.core").sleep
      local loop, globals = core.new_event_loop(), _G
      for k in pairs(globals) do globals[k] = nil end
      loop:run_until_complete(function()
        local t = core.create_task(function() error("x") end)
        print(pcall(await, t))
        core.create_task(function() error("lost") end)
        await(sleep(1))
      end)
      loop:close()]] })
    assert.equal(0, status, err)
    assert.is_truthy(out:find("^false\t"), out)
    assert.is_truthy(err:find("lost", 1, true), err)
  end)
end)
