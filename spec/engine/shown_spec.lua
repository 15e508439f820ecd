--- How the command shows an error that nothing handled, and what errors say of the usual slips.

local core = require "asyncio.core"
local helper = require "spec.helper"

local function write(text)
  local dir = helper.tmpdir()
  local f <close> = assert(io.open(dir .. "/a.lua", "w"))
  f:write(text)
  return dir
end

--- What running that source writes to standard error.
local function shown(source, ...)
  local status, _, err = helper.cli({ "a.lua", ... }, { cwd = write(source) })
  assert.equal("1", tostring(status))
  return err
end

describe("an error that nothing handles is shown", function()
  it("with its line, and what it is about", function()
    local source = "local config = {}\nlocal function name()\n\treturn config.user.name\nend\n"
      .. "local async function f() return (name()) end\nawait f()\n"
    assert.equal("moonloop: a.lua:3: attempt to index a nil value (field 'user')\n"
      .. "  3 | \treturn config.user.name\n    | \t              ^^^^\n"
      .. "stack traceback:\n\ta.lua:3: in upvalue 'name'\n\ta.lua:5: in function 'f'\n"
      .. "awaited at:\n\ta.lua:6: in main chunk\n", shown(source))
  end)

  it("with where its tasks were made, in debug mode", function()
    local dir = write("local asyncio = require 'asyncio'\nlocal async function work() await asyncio.sleep(0) error('no', 0) end\n"
      .. "local async function main()\n  local task = asyncio.create_task(work())\n  await task\nend\nasyncio.run(main())\n")
    local _, _, err = helper.cli({ "--debug", "a.lua" }, { cwd = dir })
    assert.equal("moonloop: no\n  2 | local async function work() await asyncio.sleep(0) error('no', 0) end\n"
      .. "stack traceback:\n\t[C]: in function 'error'\n\ta.lua:2: in function 'work'\ncreated at:\n\ta.lua:4: in function 'main'\n"
      .. "awaited at:\n\ta.lua:5: in function 'main'\ncreated at:\n\ta.lua:7: in main chunk\nawaited at:\n\ta.lua:7: in main chunk\n", err)
  end)

  for _, case in ipairs {
    { "nothing()", "^^^^^^^" },
    { "local x; x.x = x.y", false },
    { "local x; print(x, x.y)", "                  ^" },
    { "local t = {} t.go() t = t.go", "               ^^" },
    { "local s = 'a' s:bcd()", "                ^^^" },
    { "local a = 1 + nothing", "              ^^^^^^^" },
    { "local x = 5 5", false },
    { "local x = 5 then", "            ^^^^" },
    { "local x = (", false },
  } do
    it("with a caret where that is certain: " .. case[1], function()
      local err = shown(case[1] .. "\n")
      local line, mark = err:match("\n  1 | ([^\n]*)\n    | ([^\n]*)\n")
      if not case[2] then
        assert.equal(nil, mark)
        return
      end
      assert.equal(case[1], line)
      assert.equal(case[2], mark)
    end)
  end

  it("without what its message names, if that is no file", function()
    local dir = helper.tmpdir()
    assert(os.execute("mkfifo " .. dir .. "/fifo"))
    for _, path in ipairs { "/dev/zero", dir .. "/fifo", dir } do
      local err = shown(("error('%s:1: x', 0)\n"):format(path))
      assert.equal(("moonloop: %s:1: x\nstack traceback:\n\t[C]: in function 'error'\n\ta.lua:1: in main chunk\n"):format(path), err)
    end
  end)

  it("without the frames of the library, unless there are no others", function()
    local source = "local asyncio = require 'asyncio'\nlocal function f()\n  asyncio.run(async(function() error('x') end)())\nend\nf()\n"
    local err = shown(source)
    assert.equal("moonloop: a.lua:3: x\n  3 |   asyncio.run(async(function() error('x') end)())\nstack traceback:\n\t[C]: in function 'error'\n"
      .. "\ta.lua:3: in function <a.lua:3>\nawaited at:\n\ta.lua:3: in local 'f'\n\ta.lua:5: in main chunk\n", err)
  end)

  it("though a debug hook of the script fails while it is put into words", function()
    local err = shown("debug.sethook(function(event) if event == 'call' then error('hook', 0) end end, 'c')\nlocal t = nil + 1\n")
    assert(err:find("^moonloop: "), err)
    assert(not err:find("not enough memory"), err)
  end)

  it("of -e too", function()
    local _, _, err = helper.cli { "-e", "local x = 1\nnothing()" }
    assert.equal("moonloop: (command line):2: attempt to call a nil value (global 'nothing')\n  2 | nothing()\n    | ^^^^^^^\n"
      .. "stack traceback:\n\t(command line):2: in main chunk\n", err)
  end)

  it("with what may have been meant", function()
    local out = shown("local c = require('asyncio').Condition()\nlocal async function f() await c.wait() end\nawait f()\n")
    assert.truthy(out:find("\nhint: methods are called with ':', not with '.': object:method()\n", 1, true), out)
    out = shown("local t = {} function t:f() return self.x end\nt.f()\n") -- one of the script's: the line says enough
    assert.falsy(out:find("hint", 1, true), out)
  end)

  it("with the class of an error of ours, and a line of its traceback", function()
    local err = shown("local asyncio = require 'asyncio'\nawait asyncio.sleep('x')\n")
    assert(err:find("^moonloop: TypeError: a%.lua:2: sleep: [^\n]*\n  2 | await asyncio%.sleep%('x'%)\n"), err)
    err = shown("local asyncio = require 'asyncio'\nerror(asyncio.ValueError('no'))\n")
    assert(err:find("^moonloop: ValueError: no\n  2 | error%(asyncio%.ValueError%('no'%)%)\nstack traceback:\n"), err)
  end)

  it("in colours on a terminal, unless NO_COLOR is set", function()
    local asyncio = require "asyncio"
    local dir = write("nothing()\n")
    local function on_terminal(env)
      return helper.run(function()
        local process = await(asyncio.create_subprocess_exec(helper.executable(), "a.lua",
          { cwd = dir, pty = { 24, 80 }, add_env = env }))
        local out = await(process.pty:read())
        await(process:wait())
        return out
      end)
    end
    local out = on_terminal { TERM = "xterm", NO_COLOR = "" }
    assert(out:find("\27%[1;31mmoonloop:\27%[0m"), out)
    assert(out:find("\27%[1;31m^^^^^^^\27[0m", 1, true) or out:find("^^^^^^^\27[0m", 1, true), out)
    assert(not on_terminal({ TERM = "xterm", NO_COLOR = "1" }):find("\27", 1, true))
    assert(not on_terminal({ TERM = "dumb", NO_COLOR = "" }):find("\27", 1, true))
  end)

  it("without what would steer a terminal", function()
    local asyncio = require "asyncio"
    local dir = write("error('a\\27[2Jb\\rc', 0)\n")
    local out = helper.run(function()
      local process = await(asyncio.create_subprocess_exec(helper.executable(), "a.lua",
        { cwd = dir, pty = { 24, 80 }, add_env = { TERM = "dumb" } }))
      local text = await(process.pty:read())
      await(process:wait())
      return text
    end)
    assert(out:find("moonloop: a?[2Jb?c\r\n", 1, true), out)
  end)
end)

describe("the usual slips are told", function()
  local function message(source)
    local f = assert(load(core.translate("local asyncio = require 'asyncio'\nasync function fetch(x) return x end\nlocal c = fetch(1)\n"
      .. "local ok, e = pcall(async function() " .. source .. " end) if not ok then return e end ok, e = pcall(await, e) c:close() return e"), "=slip"))
    return tostring(helper.run(f))
  end
  for _, case in ipairs {
    { "return c.status", "slip:4: attempt to index a coroutine value: forgot to await fetch()?" },
    { "c.status = 1", "slip:4: attempt to index a coroutine value: forgot to await fetch()?" },
    { "return c + 1", "slip:4: attempt to perform arithmetic on a coroutine value: forgot to await fetch()?" },
    { "return 'a' .. c", "slip:4: attempt to concatenate a coroutine value: forgot to await fetch()?" },
    { "return #c", "slip:4: attempt to get length of a coroutine value: forgot to await fetch()?" },
    { "return c < 1", "slip:4: attempt to compare a coroutine value: forgot to await fetch()?" },
    { "local s = asyncio.sleep(1) local ok, e = pcall(function() return s.x end) s:close() error(e, 0)",
      "slip:4: attempt to index a coroutine value: forgot to await sleep()?" },
    { "await asyncio.sleep({ 1 })", "TypeError: slip:4: sleep: the delay must be a number of seconds, got table" },
    { "await asyncio.gather(1)", "TypeError: slip:4: gather: argument 1: an awaitable was expected, got number (calls of async functions give them: gather(f(1), f(2)))" },
    { "asyncio.run(c)", "RuntimeError: asyncio.run() cannot be called from a running event loop: await the coroutine instead" },
  } do
    it(case[1], function() assert.equal(case[2], message(case[1])) end)
  end

  it("a module's name that is nearly one of ours", function()
    for _, case in ipairs { { "asnycio", "asyncio" }, { "htpp", "http" }, { "sokcet", "socket" }, { "jsn", "zlib", none = true } } do
      local _, err = pcall(require, case[1])
      local near = err:match("\n\tdid you mean '([^']*)'%?$")
      if case.none then
        assert(near == nil or near ~= case[2], err)
      else
        assert.equal(case[2], near)
      end
    end
    local _, err = pcall(require, "nothing_like_it")
    assert(not err:find("did you mean", 1, true), err)
  end)

  it("a sleep that blocks the loop, in debug mode", function()
    local dir = write("local time = require 'time'\ntime.sleep(0.001)\nawait(async(function() time.sleep(0.001) end)())\n")
    local _, _, err = helper.cli({ "--debug", "a.lua" }, { cwd = dir })
    assert(err:find("warning: a.lua:3: time.sleep(0.001) blocks the loop: await asyncio.sleep(0.001)", 1, true), err)
    _, _, err = helper.cli({ "a.lua" }, { cwd = dir })
    assert.equal("", err)
  end)
end)
