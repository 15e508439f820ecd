local helper = require "spec.helper"
local asyncio = require "asyncio"

-- Runs code with the command; gives its standard error, after checking the status.
local function fails(code, status, opts)
  local args = { "--virtual-time", "-e", code }
  local got, out, err = helper.cli(args, opts)
  assert.equal(status or 1, got, err)
  assert.equal("", out)
  return err
end

local function says(text, ...)
  for _, part in ipairs { ... } do
    assert.is_truthy(text:find(part, 1, true), ("'%s' is not in:\n%s"):format(part, text))
  end
end

local function file(text, name)
  local dir = helper.tmpdir()
  local path = dir .. "/" .. name
  local f <close> = assert(io.open(path, "wb"))
  f:write(text)
  return path
end

describe("the command line", function()
  it("with an unknown option names it", function()
    for _, option in ipairs { "--frobnicate", "-x", "--debugg" } do
      local status, _, err = helper.cli({ option, "x.lua" })
      assert.equal(2, status)
      says(err, "unknown option '" .. option .. "'", "--help")
    end
  end)

  it("with an option that lacks its value says which", function()
    for option, word in pairs { ["-e"] = "CODE", ["-m"] = "MODULE", ["--shuffle"] = "SEED" } do
      local status, _, err = helper.cli({ option })
      assert.equal(2, status)
      says(err, option, word)
    end
  end)

  it("with a seed that is none says what was expected and what came", function()
    for _, seed in ipairs { "x", "-1", "0", "1.5", "99999999999999999999999" } do
      local status, _, err = helper.cli({ "--shuffle", seed, "-e", "" })
      assert.equal(2, status, seed)
      says(err, "--shuffle", "positive integer", "'" .. seed .. "'")
    end
  end)

  it("with a script that is not there names it", function()
    local status, out, err = helper.cli({ "no/such/script.lua" })
    assert.equal(1, status)
    assert.equal("", out)
    says(err, "cannot open 'no/such/script.lua'", "No such file or directory")
  end)

  it("with a folder as script says so", function()
    local status, _, err = helper.cli({ helper.tmpdir() })
    assert.equal(1, status)
    says(err, "directory")
  end)

  it("with a module that is not there names it", function()
    local status, _, err = helper.cli({ "-m", "no.such.module" })
    assert.equal(1, status)
    says(err, "no.such.module", "not found")
  end)
end)

describe("a syntax error", function()
  it("in a script is told with file, line and the line itself", function()
    local path = file("local x = 1\n\nlocal y = = 2\nprint(x)\n", "bad.lua")
    local status, out, err = helper.cli({ path })
    assert.equal(1, status)
    assert.equal("", out)
    says(err, "bad.lua:3:", "unexpected symbol near '='", "local y = = 2")
  end)

  it("at the end of the file too", function()
    local status, _, err = helper.cli({ file("if true then\n  print(1)\n", "open.lua") })
    assert.equal(1, status)
    says(err, "open.lua:", "'end' expected")
  end)

  it("in a line of endless length is cut", function()
    local status, _, err = helper.cli({ file("local x = " .. ("1 + "):rep(20000) .. "= 2\n", "long.lua") })
    assert.equal(1, status)
    says(err, "long.lua:1:")
    assert.is_true(#err < 2000, #err)
  end)

  it("keeps its line number behind a shebang and a byte order mark", function()
    local status, _, err = helper.cli({ file("#!/usr/bin/env moonloop\nprint(1)\n)\n", "sb.lua") })
    assert.equal(1, status)
    says(err, "sb.lua:3:", "  3 | )\n    | ^\n")
    status, _, err = helper.cli({ file("\xEF\xBB\xBFlocal a\n)\n", "bom.lua") })
    assert.equal(1, status)
    says(err, "bom.lua:2:")
  end)

  it("in -e, standard input and a module is told too", function()
    local _, _, err = helper.cli({ "-e", "x = = 1" })
    says(err, "(command line):1:", "x = = 1")
    local status
    status, _, err = helper.cli("-", "print(1)\ny = = 1\n")
    assert.equal(1, status)
    says(err, "stdin:2:", "y = = 1")
    local dir = helper.tmpdir()
    local f = assert(io.open(dir .. "/broken.lua", "w"))
    f:write("return = 1\n")
    f:close()
    status, _, err = helper.cli({ "-e", "require 'broken'" }, { cwd = dir })
    assert.equal(1, status)
    says(err, "broken.lua:1:", "unexpected symbol")
    status, _, err = helper.cli({ "-m", "broken" }, { cwd = dir })
    assert.equal(1, status)
    says(err, "broken.lua:1:")
  end)

  it("of a binary file is told without its bytes running wild", function()
    local bytes = {}
    for i = 0, 255 do bytes[#bytes + 1] = string.char(i) end
    local status, _, err = helper.cli({ file(table.concat(bytes):rep(20), "noise.lua") })
    assert.equal(1, status)
    says(err, "noise.lua:1:")
    status = helper.cli({ file("\27Lua\0\0garbage", "chunk.luac") })
    assert.equal(1, status)
  end)
end)

describe("unknown keyword arguments", function()
  it("are named, with those that are known, at the caller's line", function()
    local cases = {
      { "asyncio.gather({}, {return_exception = true})", "gather()", "'return_exception'", "return_exceptions" },
      { "asyncio.create_task(f(), {nam = 1})", "create_task()", "'nam'", "name" },
      { "asyncio.wait({f()}, {timout = 1})", "wait()", "'timout'", "timeout" },
      { "asyncio.run(f(), {clok = 'virtual'})", "run()", "'clok'", "clock" },
      { "asyncio.Runner{debg = true}", "Runner()", "'debg'", "debug" },
      { "asyncio.new_event_loop{clok = 1}", "new_event_loop()", "'clok'", "clock" },
      { "asyncio.as_completed({f()}, {tim = 1})", "as_completed()", "'tim'", "timeout" },
      { "asyncio.Future{lop = 1}", "Future()", "'lop'", "loop" },
      { "asyncio.ensure_future(f(), {lop = 1})", "ensure_future()", "'lop'", "loop" },
      { "asyncio.Queue{max = 1}", "Queue()", "'max'", "maxsize" },
    }
    for _, case in ipairs(cases) do
      local err = fails("local asyncio = require 'asyncio'\nlocal f = async(function() end)\n" .. case[1])
      says(err, "TypeError", case[2] .. " got an unexpected keyword argument " .. case[3], "expected: ", case[4],
        "(command line):3:")
    end
  end)

  it("that are no strings are refused too", function()
    says(fails("require('asyncio').create_task(function() end, {[1] = 2})"), "create_task() got an unexpected keyword argument '1'")
    says(fails("require('asyncio').create_task(function() end, 5)"), "create_task() options must be a table, got number")
  end)
end)

describe("wrong arguments", function()
  local function check(cases)
    for _, case in ipairs(cases) do
      local err = fails("local asyncio = require 'asyncio'\nlocal loop = asyncio.get_event_loop()\n" .. case[1])
      says(err, table.unpack(case, 2))
      says(err, "(command line):3:")
    end
  end

  it("are told with what was expected and what came: delays", function()
    check {
      { "asyncio.sleep('1')", "TypeError", "sleep: the delay must be a number of seconds, got string" },
      { "asyncio.sleep()", "TypeError", "sleep: the delay must be a number of seconds, got no value" },
      { "asyncio.sleep(0/0)", "ValueError", "sleep: the delay is NaN" },
      { "asyncio.sleep({})", "TypeError", "got table" },
      { "loop:call_later('x', print)", "TypeError", "call_later: the delay must be a number of seconds, got string" },
      { "loop:call_later(0/0, print)", "ValueError", "NaN" },
      { "loop:call_at(nil, print)", "TypeError", "call_at" },
    }
  end)

  it("are told with what was expected and what came: awaitables", function()
    check {
      { "await(5)", "TypeError", "await: an awaitable", "got number" },
      { "await('x')", "TypeError", "got string" },
      { "await({})", "TypeError", "got table" },
      { "await(nil)", "TypeError", "got nil" },
      { "await()", "TypeError", "got no value" },
      { "asyncio.gather(5)", "TypeError", "gather: argument 1: an awaitable was expected, got number" },
      { "asyncio.gather(print, {})", "TypeError", "gather" },
      { "asyncio.create_task(5)", "TypeError", "create_task: a coroutine was expected, got number" },
      { "asyncio.ensure_future({})", "TypeError", "got table" },
      { "async(5)", "TypeError", "async: a function was expected, got number" },
      { "loop:call_soon(5)", "TypeError", "call_soon: a function was expected, got number" },
      { "loop:run_until_complete(5)", "TypeError", "run_until_complete", "got number" },
      { "asyncio.Semaphore(-1)", "ValueError", ">= 0" },
      { "asyncio.Semaphore('x')", "TypeError", "must be an integer, got string" },
      { "asyncio.Queue('x')", "TypeError", "maxsize must be a number, got string" },
      { "asyncio.Lock():release()", "RuntimeError", "Lock is not acquired" },
    }
  end)

  it("to run are told", function()
    says(fails("require('asyncio').run(5)"), "ValueError", "a coroutine was expected, got", "(command line):1:")
    says(fails("require('asyncio').run()"), "a coroutine was expected, got")
    says(fails("local a = require 'asyncio' a.run(function() a.run(function() end) end)"), "RuntimeError", "await")
  end)

  it("to methods name the type", function()
    local lock, loop = asyncio.Lock(), asyncio.new_event_loop()
    for _, case in ipairs {
      { lock.acquire, "Lock expected, got nil" }, { asyncio.Event().wait, "Event expected, got nil" },
      { asyncio.Semaphore().release, "Semaphore expected, got nil" }, { asyncio.Queue().get, "Queue expected, got nil" },
      { loop.time, "Loop expected, got nil" }, { loop:create_future().done, "Future expected, got nil" },
    } do
      local ok, e = pcall(case[1])
      assert.is_false(ok)
      local text = tostring(e):gsub("got no value", "got nil")
      says(text, case[2])
    end
    -- one engine object for another
    assert.is_false((pcall(lock.acquire, loop)))
    assert.is_false((pcall(lock.acquire, io.stdout)))
    assert.is_false((pcall(asyncio.Queue().get, lock)))
    loop:close()
  end)

  it("of many kinds never crash the functions of asyncio", function()
    local code = [[
      local asyncio = require "asyncio"
      local core = require "asyncio.core"
      local skip = { run = true, Runner = true, start_server = true, open_connection = true, start_unix_server = true,
        open_unix_connection = true, print_call_graph = true }
      local values = { 0, -1, 0/0, 1/0, "x", "", true, {}, print, io.stdout, coroutine.create(print),
        asyncio.Lock(), asyncio.Event(), asyncio.Queue(), asyncio.get_event_loop(), asyncio.get_event_loop():create_future(),
        setmetatable({}, { __index = function() error("i") end, __call = function() error("c") end }), asyncio.ValueError("x"), asyncio.ValueError }
      local n = 0
      local function try(f, ...)
        local r = table.pack(pcall(f, ...))
        n = n + 1
        if core.iscoroutine(r[2]) then r[2]:close() end
        if core.isfuture(r[2]) then r[2]:cancel() end
      end
      local function all(f)
        try(f)
        try(f, nil)
        for _, a in ipairs(values) do
          try(f, a)
          for _, b in ipairs(values) do try(f, a, b) end
        end
      end
      for name, f in pairs(core) do
        if type(f) == "function" and not skip[name] then all(f) end
        if type(f) == "table" and name:find("^%u") and not skip[name] then all(function(...) return f(...) end) end
      end
      for _, o in ipairs(values) do
        local mt = type(o) == "userdata" and debug.getmetatable(o)
        local methods = mt and mt.__index
        if type(methods) == "table" and o ~= io.stdout then
          for name, f in pairs(methods) do
            if name ~= "run_forever" and type(f) == "function" then all(f) end
          end
        end
      end
      print(n > 1000)
      os.exit(0)]]
    local status, out, err = helper.cli({ "--virtual-time", "-e", code }, { timeout = 50 })
    assert.equal(0, status, out:sub(-500) .. err:sub(-2000))
    assert.equal("true\n", out:sub(-5))
  end)
end)

describe("things of another loop", function()
  it("are refused by name", function()
    local other <close> = asyncio.new_event_loop()
    local f = other:create_future()
    helper.run(async(function()
      says(tostring(helper.raises(asyncio.RuntimeError, await, f)), "attached to a different loop")
      says(tostring(helper.raises(asyncio.ValueError, asyncio.gather, asyncio.get_running_loop():create_future(), f)),
        "different loop")
    end))
    f:cancel()
  end)
end)

describe("the network", function()
  local function raised(f)
    local e
    asyncio.run(async(function() e = select(2, pcall(f)) end)())
    return e
  end

  it("refuses ports out of range", function()
    for _, port in ipairs { -1, 65536, 10000000000 } do
      local e = raised(function() await(asyncio.open_connection("127.0.0.1", port)) end)
      says(tostring(e), "port", "65535")
    end
    local e = raised(function() await(asyncio.start_server(print, "127.0.0.1", 70000)) end)
    says(tostring(e), "port", "65535")
  end)

  it("tells a refused connection with code, host and port", function()
    local port = helper.unused_port()
    local e = raised(function() await(asyncio.open_connection("127.0.0.1", port)) end)
    assert.is_true(asyncio.isinstance(e, asyncio.OSError), tostring(e))
    assert.equal("ECONNREFUSED", e.code)
    assert.equal("127.0.0.1", e.host)
    assert.equal(port, e.port)
    says(tostring(e), "127.0.0.1", tostring(port), "refused")
  end)

  it("tells an unresolvable name with code and host", function()
    local e = raised(function() await(asyncio.open_connection("no-such-host.invalid", 80)) end)
    assert.is_true(asyncio.isinstance(e, asyncio.OSError), tostring(e))
    assert.is_truthy(tostring(e.code):find("^EAI_"), tostring(e.code))
    assert.equal("no-such-host.invalid", e.host)
    says(tostring(e), "no-such-host.invalid")
  end)
end)
