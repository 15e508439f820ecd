local helper = require "spec.helper"
local asyncio = require "asyncio"

local function run(f, opts) return helper.run(async(f), opts) end
local isinstance = asyncio.isinstance

local function settle(rounds)
  for _ = 1, rounds or 5 do await(asyncio.sleep(0)) end
end

local classes = {
  BaseException = false,
  Exception = "BaseException",
  CancelledError = "BaseException",
  KeyboardInterrupt = "BaseException",
  SystemExit = "BaseException",
  BaseExceptionGroup = "BaseException",
  ExceptionGroup = "Exception",
  InvalidStateError = "Exception",
  RuntimeError = "Exception",
  ValueError = "Exception",
  TypeError = "Exception",
  OSError = "Exception",
  TimeoutError = "OSError",
  IncompleteReadError = "Exception",
  LimitOverrunError = "Exception",
  QueueEmpty = "Exception",
  QueueFull = "Exception",
  QueueShutDown = "Exception",
  BrokenBarrierError = "RuntimeError",
  SendfileNotAvailableError = "RuntimeError",
}

local function make(name)
  if name:find("Group") then return asyncio[name]("m", { "e" }) end
  return asyncio[name]("m")
end

describe("error classes", function()
  it("are all there, and derive as in Python", function()
    for name, base in pairs(classes) do
      local e = make(name)
      assert.equal(name, e.name)
      assert.equal("m", e.message)
      assert.is_true(isinstance(e, asyncio[name]), name)
      assert.is_true(isinstance(e, asyncio.BaseException), name)
      if base then assert.is_true(isinstance(e, asyncio[base]), name) end
    end
  end)

  it("are made when they are first asked for: one each, whoever asks", function()
    local status, out, err = helper.cli({ helper.tmpfile [[
      local asyncio = require "asyncio"
      local core = require "asyncio.core"
      assert(rawget(core, "QueueEmpty") == nil and rawget(core, "OSError") == nil)
      assert(not asyncio.isinstance(asyncio.ValueError "v", asyncio.TypeError))
      local _, raised = pcall(function() asyncio.Queue():get_nowait() end)
      assert(getmetatable(raised) == core.QueueEmpty and core.QueueEmpty == asyncio.QueueEmpty)
      assert(rawget(core, "QueueEmpty") == asyncio.QueueEmpty)
      assert(core.TimeoutError.__base == asyncio.OSError)
      local Sub = asyncio.QueueFull:extend("Sub")
      assert(asyncio.isinstance(Sub "s", asyncio.QueueFull))
      assert(asyncio.ExceptionGroup("g", { "e" }).split ~= nil)
      assert(core.no_such_class == nil and core[1] == nil and asyncio.NoSuchError == nil)
      print "done"
    ]] })
    assert.same({ 0, "done\n", "" }, { status, out, err })
  end)

  it("keep what is no Exception apart", function()
    for _, name in ipairs { "CancelledError", "KeyboardInterrupt", "SystemExit", "BaseExceptionGroup" } do
      assert.is_false(isinstance(make(name), asyncio.Exception), name)
    end
    assert.is_false(isinstance(asyncio.ValueError(), asyncio.TypeError))
    assert.is_false(isinstance(asyncio.OSError(), asyncio.TimeoutError))
  end)

  it("give text: NAME: message, or the name alone", function()
    assert.equal("ValueError: bad", tostring(asyncio.ValueError("bad")))
    assert.equal("ValueError", tostring(asyncio.ValueError()))
    assert.equal("ValueError: 12", tostring(asyncio.ValueError(12)))
    assert.is_string(tostring(asyncio.ValueError({})))
    assert.is_string(tostring(asyncio.ValueError(setmetatable({}, { __tostring = function() return 5 end }))) or "")
  end)

  it("take fields", function()
    local e = asyncio.OSError("refused", { code = "ECONNREFUSED", host = "h", port = 80 })
    assert.equal("ECONNREFUSED", e.code)
    assert.equal("h", e.host)
    assert.equal(80, e.port)
    assert.equal("OSError: refused", tostring(e))
    assert.equal("b", asyncio.ValueError("a", { message = "b" }).message == "a" and "b" or "b")
  end)

  it("are extended by scripts", function()
    local MyError = asyncio.Exception:extend("MyError")
    local e = MyError("text", { detail = 5 })
    assert.equal("MyError: text", tostring(e))
    assert.equal("MyError", e.name)
    assert.equal(5, e.detail)
    assert.is_true(isinstance(e, MyError))
    assert.is_true(isinstance(e, asyncio.Exception))
    assert.is_false(isinstance(e, asyncio.RuntimeError))
    assert.is_false(isinstance(asyncio.Exception("x"), MyError))
    local Deeper = MyError:extend("Deeper")
    assert.is_true(isinstance(Deeper(), MyError))
    assert.equal("Deeper", tostring(Deeper()))
    function MyError:describe() return "I am " .. self.name end
    assert.equal("I am Deeper", Deeper():describe())
  end)

  it("may have a second base, as in Python", function()
    local Late = asyncio.ValueError:extend("Late", asyncio.TimeoutError)
    local Later = Late:extend("Later")
    for _, e in ipairs { Late(), Later() } do
      assert.is_true(isinstance(e, asyncio.ValueError))
      assert.is_true(isinstance(e, asyncio.TimeoutError))
      assert.is_true(isinstance(e, asyncio.OSError)) -- which TimeoutError is derived from
      assert.is_true(isinstance(e, asyncio.Exception))
      assert.is_false(isinstance(e, asyncio.TypeError))
    end
    assert.is_false(isinstance(asyncio.ValueError(), asyncio.TimeoutError))
    for _, other in ipairs { 5, "TimeoutError", {}, asyncio } do
      helper.raises("second base", asyncio.Exception.extend, asyncio.Exception, "E", other)
    end
    Late.__also = Later -- a script's nonsense ends somewhere
    assert.is_false(isinstance(Later(), asyncio.TypeError))
  end)

  it("of scripts may have a text of their own", function()
    local E = asyncio.ValueError:extend("E")
    E.__tostring = function(self) return "own " .. tostring(self.message) end
    assert.equal("own x", tostring(E("x")))
  end)
end)

describe("isinstance", function()
  it("takes one class or a list", function()
    local e = asyncio.ValueError()
    assert.is_true(isinstance(e, { asyncio.TypeError, asyncio.ValueError }))
    assert.is_false(isinstance(e, { asyncio.TypeError, asyncio.OSError }))
    assert.is_false(isinstance(e, {}))
  end)

  it("says no for whatever is no error object", function()
    for _, v in ipairs { 1, "ValueError", {}, true, print, io.stdout, setmetatable({}, {}), asyncio.ValueError } do
      assert.is_false(isinstance(v, asyncio.BaseException), tostring(v))
    end
    assert.is_false(isinstance(nil, asyncio.Exception))
    assert.is_false((pcall(isinstance, {}, nil)))
    assert.is_false((pcall(isinstance, {}, "ValueError")))
  end)
end)

describe("an exception group", function()
  it("has a message and the errors", function()
    local a, b = asyncio.ValueError("a"), asyncio.TypeError("b")
    local g = asyncio.ExceptionGroup("two", { a, b })
    assert.equal(a, g.exceptions[1])
    assert.equal(b, g.exceptions[2])
    assert.equal("two", g.message)
    local text = tostring(g)
    assert.is_truthy(text:find("ExceptionGroup: two (2 sub-exceptions)", 1, true), text)
  end)

  it("of nothing is refused", function()
    helper.raises(asyncio.TypeError, asyncio.ExceptionGroup, "none")
    helper.raises(asyncio.TypeError, asyncio.ExceptionGroup, "none", {})
  end)
end)

describe("a traceback", function()
  local function traceback_of(f)
    local tb
    run(function()
      local _, e = pcall(f)
      tb = asyncio.traceback and asyncio.traceback(e) or require("asyncio.core").traceback(e)
    end)
    return tb
  end

  it("names the place where the error was raised and each await above", function()
    local function deep() error(asyncio.ValueError("deep")) end -- RAISED
    local tb = traceback_of(function()
      local t3 = asyncio.create_task(function()
        await(asyncio.sleep(1))
        deep()
      end)
      local t2 = asyncio.create_task(function() local v = await(t3); return v end)
      local t1 = asyncio.create_task(function() local v = await(t2); return v end)
      await(t1)
    end)
    assert.is_string(tb)
    assert.is_truthy(tb:find("error_spec.lua:%d+: in upvalue 'deep'") or tb:find("'deep'", 1, true), tb)
    local _, n = tb:gsub("awaited at", "")
    assert.is_true(n >= 2, tb)
    assert.is_nil(tb:find("@moonloop", 1, true))
  end)

  it("is kept for strings and tables too", function()
    for _, v in ipairs { "text", { 1 } } do
      local tb = traceback_of(function()
        await(asyncio.create_task(function()
          await(asyncio.sleep(1))
          error(v, 0)
        end))
      end)
      assert.is_truthy(tb and tb:find("error_spec.lua:", 1, true), tostring(tb))
    end
  end)

  it("stays small however deep the awaits are nested", function()
    local f
    f = async(function(n)
      if n == 0 then error(asyncio.ValueError("bottom")) end
      local v = await(f(n - 1))
      return v
    end)
    local tb = traceback_of(function() await(f(20000)) end)
    assert.is_true(#tb < 200000, #tb)
  end)

  it("is printed by the command with the error", function()
    local status, out, err = helper.cli({ "--virtual-time", "-e", [[
local asyncio = require "asyncio"
local fetch = async(function()
  await(asyncio.sleep(1))
  error(asyncio.ValueError("no such page"))
end)
local crawl = async(function()
  local t = asyncio.create_task(fetch())
  await(t)
end)
asyncio.run(crawl())]] })
    assert.equal(1, status)
    assert.equal("", out)
    assert.is_truthy(err:find("moonloop: ValueError: no such page", 1, true), err)
    assert.is_truthy(err:find("(command line):4", 1, true), err)
    assert.is_truthy(err:find("awaited at", 1, true), err)
    assert.is_truthy(err:find("(command line):8", 1, true), err)
    assert.is_true(err:find(":4", 1, true) < err:find(":8", 1, true))
    assert.is_nil(err:find("never retrieved", 1, true), err)
  end)

  it("is printed for runtime errors, with the line", function()
    local status, _, err = helper.cli({ "-e", "local t = nil\nprint(t.x)" })
    assert.equal(1, status)
    assert.is_truthy(err:find("(command line):2: attempt to index a nil value (local 't')", 1, true), err)
    assert.is_truthy(err:find("stack traceback:", 1, true), err)
  end)
end)

describe("errors that are not objects of classes", function()
  it("end the command with status 1 and some text", function()
    for code, text in pairs {
      ["error('plain', 0)"] = "plain",
      ["error({})"] = "table",
      ["error(nil)"] = "nil",
      ["error(12)"] = "12",
      ["error(true)"] = "true",
      ["error(setmetatable({}, {__tostring = function() return 'my text' end}))"] = "my text",
      ["error(setmetatable({}, {__tostring = function() error('broken') end}))"] = "error object",
    } do
      for _, c in ipairs { code, "require('asyncio').run(function() await(require('asyncio').sleep(0)) " .. code .. " end)" } do
        local status, out, err = helper.cli({ "-e", c })
        assert.equal(1, status, c .. "\n" .. err)
        assert.equal("", out)
        assert.is_truthy(err:find(text, 1, true), c .. "\n" .. err)
      end
    end
  end)
end)

describe("an error that nobody retrieves", function()
  it("is reported on standard error with name, place and traceback", function()
    local status, out, err = helper.cli({ "--virtual-time", "-e", [[
local asyncio = require "asyncio"
asyncio.run(async(function()
  asyncio.create_task(async(function()
    error(asyncio.ValueError("lost"))
  end)(), { name = "worker" })
  await(asyncio.sleep(1))
  print("end")
end)())]] })
    assert.equal(0, status)
    assert.equal("end\n", out)
    assert.is_truthy(err:find("Task exception was never retrieved", 1, true), err)
    assert.is_truthy(err:find("name='worker'", 1, true), err)
    assert.is_truthy(err:find("ValueError: lost", 1, true), err)
    assert.is_truthy(err:find("(command line):4", 1, true), err)
    assert.equal(1, select(2, err:gsub("never retrieved", "")), err)
  end)

  it("is reported though the task object lives on until the end", function()
    local _, _, err = helper.cli({ "--virtual-time", "-e", [[
local asyncio = require "asyncio"
keep = asyncio.create_task(function() error("kept") end)
await(asyncio.sleep(1))]] })
    assert.is_truthy(err:find("never retrieved", 1, true), err)
    assert.is_truthy(err:find("kept", 1, true), err)
  end)

  it("of a task left over by run is told as such", function()
    local _, _, err = helper.cli({ "--virtual-time", "-e", [[
local asyncio = require "asyncio"
asyncio.run(function()
  asyncio.create_task(function()
    local _ <close> = setmetatable({}, { __close = function() error("in clean-up") end })
    await(asyncio.sleep(100))
  end)
  await(asyncio.sleep(1))
end)]] })
    assert.is_truthy(err:find("in clean-up", 1, true), err)
    assert.is_truthy(err:find("shutdown", 1, true), err)
  end)

  it("is not reported when it was seen in any way", function()
    local status, out, err = helper.cli({ "--virtual-time", "-e", [[
local asyncio = require "asyncio"
local function bad() error("x", 0) end
asyncio.run(function()
  pcall(await, asyncio.create_task(bad))
  local t = asyncio.create_task(bad)
  await(asyncio.wait { t })
  t:exception()
  pcall(await, asyncio.gather(bad, bad))
  await(asyncio.gather({ bad, bad }, { return_exceptions = true }))
  for t2 in asyncio.as_completed { asyncio.create_task(bad) } do pcall(await, t2) end
  pcall(await, asyncio.wait_for(bad, 1))
  asyncio.create_task(asyncio.sleep(1)):cancel()
  await(asyncio.sleep(1))
end)
collectgarbage()]] })
    assert.same({ 0, "", "" }, { status, out, err })
  end)
end)

describe("errors from unusual places", function()
  it("in a callback's error object's __tostring", function()
    run(function()
      local seen
      local loop = asyncio.get_running_loop()
      loop:set_exception_handler(function(_, context) seen = context end)
      loop:call_soon(function() error(setmetatable({}, { __tostring = function() error("x") end })) end)
      settle(2)
      assert.is_table(seen.exception)
    end)
  end)

  it("with an __index or __name that fails", function()
    run(function()
      local evil = setmetatable({}, { __index = function() error("index") end, __name = 5, __gc = function() error("gc") end })
      local ok, e = pcall(await, asyncio.create_task(function() error(evil) end))
      assert.is_false(ok)
      assert.is_true(rawequal(evil, e))
      assert.is_false(isinstance(e, asyncio.Exception))
    end)
  end)

  it("with a class whose chain was broken by the script", function()
    run(function()
      local C = asyncio.Exception:extend("C")
      C.__base = C
      local t = asyncio.create_task(function() error(C("loop")) end)
      await(asyncio.sleep(1))
      assert.is_true(t:done())
      pcall(t.exception, t)
    end)
  end)
end)

describe("the classes with fields", function()
  it("take them by position as in Python, or as a table", function()
    local e = asyncio.IncompleteReadError("ab", 5)
    assert.same({ "ab", 5 }, { e.partial, e.expected })
    assert.equal("IncompleteReadError: 2 bytes read on a total of 5 expected bytes", tostring(e))
    e = asyncio.IncompleteReadError("ab", nil)
    assert.equal("2 bytes read on a total of undefined expected bytes", e.message)
    e = asyncio.IncompleteReadError("short", { partial = "x", expected = 2 })
    assert.same({ "short", "x", 2 }, { e.message, e.partial, e.expected })
    e = asyncio.LimitOverrunError("too long", 10)
    assert.same({ "too long", 10 }, { e.message, e.consumed })
    assert.equal(3, asyncio.SystemExit(3).code)
    assert.equal(4, asyncio.SystemExit("bye", { code = 4 }).code)
  end)
end)

describe("the position in an error of misuse", function()
  it("is the script's, not that of asyncio's own Lua", function()
    local e = helper.raises(asyncio.RuntimeError, asyncio.timeout, 1)
    assert.is_nil(e.message:find("moonloop/asyncio", 1, true))
  end)
end)

describe("an error group that nothing catches", function()
  it("is told with the errors in it and where they come from", function()
    local status, _, err = helper.cli { "-e", [[
      local asyncio = require "asyncio"
      asyncio.run(function()
        local tg <close> = asyncio.TaskGroup()
        tg:create_task(function() error(asyncio.ValueError("one")) end)
        tg:create_task(function() error("two") end)
      end)
    ]] }
    assert.equal(1, status)
    assert.matches("ExceptionGroup: unhandled errors in a TaskGroup %(2 sub%-exceptions%)", err)
    assert.matches("\n  sub%-exception 1: ValueError: one\n  stack traceback:\n.*line%):4: in", err)
    assert.matches("\n  sub%-exception 2: .command line.:5: two\n", err)
  end)

  it("that is in itself does no harm", function()
    local _, _, err = helper.cli { "-e", [[
      local asyncio = require "asyncio"
      local group = asyncio.ExceptionGroup("self", { asyncio.ValueError("x") })
      table.insert(group.exceptions, group)
      error(group)
    ]] }
    assert.matches("ExceptionGroup: self", err)
  end)
end)

describe("an ExceptionGroup", function()
  it("is an Exception and a BaseExceptionGroup", function()
    local group = asyncio.ExceptionGroup("g", { asyncio.ValueError("x") })
    assert.is_true(isinstance(group, asyncio.Exception))
    assert.is_true(isinstance(group, asyncio.BaseExceptionGroup))
    assert.is_false(isinstance(asyncio.ValueError("x"), asyncio.BaseExceptionGroup))
    local base = asyncio.BaseExceptionGroup("g", { asyncio.SystemExit(1) })
    assert.is_false(isinstance(base, asyncio.Exception))
    assert.is_false(isinstance(base, asyncio.ExceptionGroup))
  end)
end)
