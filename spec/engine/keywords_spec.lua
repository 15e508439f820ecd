--- The keywords async and await: what they are written as, what they do, and that nothing else is changed.

local core = require "asyncio.core"
local helper = require "spec.helper"

local translate = core.translate

-- A stock interpreter's load knows no keywords: there a source is what `moonloop translate` makes of it.
local stock, lua_load = os.getenv "SPEC_STOCK" == "1", load
local function load(source, ...)
  if stock and type(source) == "string" and source:byte() ~= 27 then source = translate(source) end
  return lua_load(source, ...)
end

--- Runs source with the keywords in a task, and gives what it gives.
local function run(source, ...)
  local f = assert(load(source, "=source"))
  local arguments = table.pack(...)
  return table.unpack(helper.run(function() return table.pack(f(table.unpack(arguments))) end))
end

describe("async and await", function()
  local pairs_of = {
    { "await f()", "await(f())" },
    { "await f(x, 1)", "await(f(x, 1))" },
    { "local r = await session:get(url)", "local r = await(session:get(url))" },
    { "await t.task", "await(t.task)" },
    { "return await f()", "return await(f())" },
    { "x = await a.b[c](d):e{f} + 1", "x = await(a.b[c](d):e{f}) + 1" },
    { "x = -await a ^ 2 .. #await b", "x = -await(a) ^ 2 .. #await(b)" },
    { "x = not await f'a' or await g[[b]]", "x = not await(f'a') or await(g[[b]])" },
    { "x = { await a, await b; k = await c }", "x = { await(a), await(b); k = await(c) }" },
    { "f(await g(await h(1)), 2)", "f(await(g(await(h(1)))), 2)" },
    { "await await f()", "await(await(f()))" },
    { "await f -- why\nx = 1", "await(f) -- why\nx = 1" },
    { "await f\n(g)", "await(f\n(g))" },
    { "await  --[[ a ]] f", "await(f)" },
    { "::l:: await f()", "::l:: await(f())" },
    { "if await f() then await g() end", "if await(f()) then await(g()) end" },
    { "for i = 1, await n() do end", "for i = 1, await(n()) do end" },
    { "local x <const> = await f()", "local x <const> = await(f())" },
    { "async function f() end", 'f = async(function() end, "f")' },
    { "async function f(a, ...) end", 'f = async(function(a, ...) end, "f")' },
    { "async function M.a.b(x) end", 'M.a.b = async(function(x) end, "M.a.b")' },
    { "async function M.a:b() end", 'M.a.b = async(function(self) end, "M.a:b")' },
    { "async function M:b(x, y) end", 'M.b = async(function(self, x, y) end, "M:b")' },
    { "async function M . a : b (x) end", 'M . a . b = async(function (self, x) end, "M.a:b")' },
    { "local async function f(x) end", 'local f; f = async(function(x) end, "f")' },
    { "x = async function(a) return a end", "x = async(function(a) return a end)" },
    { "f(async function() end, 2)", "f(async(function() end), 2)" },
    { "t = { async function() end, b = async function() end }", "t = { async(function() end), b = async(function() end) }" },
    { "return async function() end", "return async(function() end)" },
    { "async function f(x) end await f(1)", 'f = async(function(x) end, "f") await(false,f,1)' },
    { "async function f() end x = await f()", 'f = async(function() end, "f") x = await(false,f )' },
    { "async function f() end await f(1).x", 'f = async(function() end, "f") await(      f(1).x)' },
    { "async function f() end await f 'x'", "f = async(function() end, \"f\") await(f 'x')" },
    { "async function f() end f = g await f(1)", 'f = async(function() end, "f") f = g await(f(1))' },
    { "async function f() end local f await f()", 'f = async(function() end, "f") local f await(f())' },
    { "async function f() end function g(f) await f() end", 'f = async(function() end, "f") function g(f) await(f()) end' },
    { "async function f() end function f() end await f()", 'f = async(function() end, "f") function f() end await(f())' },
    { "async for a, b in e do end", 'for a, b in async("for", e) do end' },
    { "async for a in f(), s, 1 do g(a) end", 'for a in async("for", f(), s, 1) do g(a) end' },
    { "async for a in await f() do end", 'for a in async("for", await(f())) do end' },
    {
      "async for a in (function() while x do end return y end)() do end",
      'for a in async("for", (function() while x do end return y end)()) do end',
    },
    { "async with e do f() end", 'do local __async_with <close> = async("with", e) f() end' },
    {
      "async with e as x do f(x) end",
      'do local __async_with <close> = async("with", e) local x = __async_with.value f(x) end',
    },
    {
      "async with f(1, 2) as x, g{3, 4} as y, z do end",
      'do local __async_with <close> = async("with", f(1, 2)) local x = __async_with.value local __async_with <close> = '
        .. 'async("with", g{3, 4}) local y = __async_with.value local __async_with <close> = async("with", z) end',
    },
    { "async with as as as do end", 'do local __async_with <close> = async("with", as) local as = __async_with.value end' },
    { "async with o.as do end", 'do local __async_with <close> = async("with", o.as) end' },
    { "async with\n\n\te\n  as\nx\ndo\nend", 'do local __async_with <close> = async("with",\n\n\te) local \n\nx = __async_with.value\n\nend' },
    { "x = await\rf()", "x = await\rf()" },
    { "await a\rawait b", "await(a)\rawait(b)" },
    { "do local async = 1 async function f() end end", 'local __async, __await = async, await do local async = 1 f = __async(function() end, "f") end' },
    { "do local function await() end await x end", "local __async, __await = async, await do local function await() end __await(x) end" },
    { "do local async function await() end await x end", 'local __async, __await = async, await do local await; await = __async(function() end, "await") __await(x) end' },
    { "local async function async() end", 'local __async, __await = async, await local async; async = __async(function() end, "async")' },
    {
      "async with e as await do await x end",
      'local __async, __await = async, await do local __async_with <close> = async("with", e) local await = __async_with.value __await(x) end',
    },
    {
      "function f(await) end function g() await x end",
      "local __async, __await = async, await function f(await) end function g() __await(x) end",
    },
  }
  for _, pair in ipairs(pairs_of) do
    it("writes plain Lua: " .. pair[1]:gsub("%s+", " "), function()
      assert.equal(pair[2], translate(pair[1]))
      assert(load(pair[2]))
      local _, lines = pair[1]:gsub("\n", "")
      local _, after = translate(pair[1]):gsub("\n", "")
      assert.equal(lines, after)
    end)
  end

  for _, source in ipairs {
    "await(f())", "local r = await (f())", "await 'x'", "await { 1 }", "x = await", "x = await\ny = 1", "await = 1", "a.await = b", "t = { await = 1, async = 2 }",
    "async(function() end)", "async = async or 1", "local async, await = asyncio.async, asyncio.await", "x.await.y()", "x:async()", "goto await ::await::",
    "function async() end", "local function await() end", "local await x = 1", "for await in pairs(async) do end", "local t = async\nfunction f() end",
    "x = async function f() end", "x = async for i = 1, 2 do end", "async\nfor i = 1, 2 do end", "x = async with(1)", "async.with(1)", "-- await x\n--[[ async function f() end ]]",
    "s = 'await x' .. \"async for\" .. [[await y]] .. [==[ ]] async with ]==]", "x = async, y", "return async", "return await, async",
  } do
    it("leaves alone: " .. source:gsub("%s+", " "), function() assert.equal(source, translate(source)) end)
  end

  it("keeps lines, whatever ends them", function()
    for _, newline in ipairs { "\n", "\r", "\r\n", "\n\r" } do
      local source = ("async with\n\n\te\n  as\nx\ndo\nlocal async function\nf\n()\nend\nend\nx = = 1"):gsub("\n", newline)
      local _, err = load(source, "=source")
      assert.equal("source:12: unexpected symbol near '='", err)
    end
  end)

  it("does what Lua would in every Lua file that is here", function()
    local n = 0
    for _, dir in ipairs { "stdlib", "scripts", "spec", "/usr/share" } do
      local list <close> = io.popen(("find %s -name '*.lua' 2>/dev/null"):format(dir))
      for path in list:lines() do
        local f <close> = io.open(path, "rb")
        local source = f and f:read("a")
        if source and (dir == "/usr/share" or not source:find("async [fw]") and not source:find("await [%a_]")) then
          n = n + 1
          assert(source == translate(source), path)
        end
      end
    end
    assert(n > 100)
  end)
end)

describe("async functions", function()
  it("are coroutine functions, of each form", function()
    assert.same({ 1, 2, 3, 4, 5, true }, { run [[
      async function f(x) return x end
      local async function g(x) return x end
      local M = { a = {} }
      async function M.a.h(x) return x end
      async function M.a:i(x) return self == M.a and x end
      local j = async function(...) return (...) end
      local all = require("asyncio").iscoroutinefunction(f) and require("asyncio").iscoroutinefunction(j)
      return await f(1), await g(2), await M.a.h(3), await M.a:i(4), await j(5, 6), all
    ]] })
  end)

  it("call themselves", function()
    assert.equal(120, (run [[
      local async function factorial(n) if n == 0 then return 1 end return n * await factorial(n - 1) end
      return await factorial(5)
    ]]))
  end)

  it("give all their values, and take all their arguments", function()
    assert.same({ 3, 1, nil, 3, n = 4 }, table.pack(run [[
      local async function f(...) return select("#", ...), ... end
      return await f(1, nil, 3)
    ]]))
    assert.equal(0, (run "local async function f(...) return select('#', ...) end return await f()"))
  end)

  it("go on in further threads when they are very deep", function()
    assert.equal(20000, (run [[
      local async function down(n) if n == 0 then return 0 end return 1 + await down(n - 1) end
      return await down(20000)
    ]]))
  end)

  it("are awaited in tasks of their own", function()
    assert.same({ 10, 20, n = 2 }, (run [[
      local asyncio = require "asyncio"
      async function f(x) await asyncio.sleep(0.1) return 10 * x end
      return await asyncio.gather(f(1), f(2))
    ]]))
  end)

  it("make no coroutine where they are awaited by name", function()
    run [[
      local async function f(x) return x end
      await f(0)
      collectgarbage() collectgarbage("stop")
      local before = collectgarbage("count")
      for i = 1, 1000 do await f(i) end
      local used = collectgarbage("count") - before
      collectgarbage("restart")
      assert(used < 1, used)
    ]]
  end)

  it("may be another thing by then", function()
    assert.same({ 5, 6 }, { run [[
      async function f() end
      _ENV["f"] = function(x) return async(function() return x end)() end
      local first = await f(5)
      _ENV["f"] = function() return async(function() return 6 end) end
      return first, await f(0)
    ]] })
  end)

  it("are called, whatever they are by then, as await(f(x)) calls them", function()
    local asyncio = require "asyncio"
    local function calls(arguments, other)
      return run("local async function f(...) return ... end\nlocal g = ...\n"
        .. "local function call() return await f(" .. arguments .. ") end\n"
        .. "for i = 1, 9 do if debug.getupvalue(call, i) == 'f' then debug.setupvalue(call, i, g) end end\nreturn call()", other)
    end
    local object = setmetatable({}, { __call = function(_, ...) return asyncio.sleep(0, (...) or "none") end, __await = error })
    local function plain(...) return asyncio.sleep(0, (...) or "none") end
    local bound = core.bindlast(function(...) return select("#", ...), ... end, "last")
    for _, other in ipairs { object, plain } do
      assert.equal("none", calls("", other))
      assert.equal(5, (calls("5, 6", other)))
    end
    assert.same({ 1, "last" }, { calls("", bound) })
    assert.same({ 3, 1, 2, "last" }, { calls("1, 2", bound) })
    local ok, err = pcall(calls, "", function() return "x" end)
    assert(not ok and tostring(err):find("an awaitable .* expected, got string"), err)
    ok, err = pcall(calls, "1", nil)
    assert.equal("source:3: attempt to call a nil value", not ok and err)
    ok, err = pcall(calls, "", 5)
    assert.equal("source:3: attempt to call a number value", not ok and err)
  end)

  it("are no calls that a function which fails gives", function()
    local ok, err = pcall(run, "await((function() return false, 'why' end)())")
    assert(not ok and tostring(err):find("an awaitable .* expected, got boolean"), err)
    ok, err = pcall(run, "await(true, print)")
    assert(not ok and tostring(err):find("an awaitable .* expected, got boolean"), err)
  end)

  it("are not awaited within asyncio.critical", function()
    local ok, err = pcall(run, [[
      local async function f() end
      require("asyncio").critical(function() await f() end)
    ]])
    assert(not ok and tostring(err):find("asyncio.critical", 1, true), tostring(err))
  end)

  it("have their names in tracebacks and reports", function()
    local f = assert(load([[
      local M = {}
      async function M.fails() error("no") end
      local task = require("asyncio").create_task(M.fails())
      local lost = M.fails()
      local text = tostring(lost)
      lost:close()
      return pcall(await, task), text
    ]], "=names"))
    local _, out = helper.run(f)
    assert(out:find("M.fails() defined at names:2", 1, true), out)
  end)
end)

describe("async with", function()
  local manager = [[
    local asyncio = require "asyncio"
    local log = {}
    local CM = {}
    CM.__index = CM
    async function CM:__aenter() await asyncio.sleep(0) log[#log + 1] = "+" .. self.name return self.name:upper() end
    async function CM:__aexit(err) await asyncio.sleep(0) log[#log + 1] = "-" .. self.name .. (err and "!" or "") return self.swallow end
    local function cm(name) return setmetatable({ name = name }, CM) end
  ]]

  it("enters and leaves, in order", function()
    assert.equal("+a +b A B -b -a", (run(manager .. [[
      async with cm "a" as x, cm "b" as y do log[#log + 1] = x log[#log + 1] = y end
      return table.concat(log, " ")
    ]])))
  end)

  it("leaves on return, break, goto, errors and cancel", function()
    assert.equal("+r -r +b -b +g -g +e -e! +c -c!", (run(manager .. [[
      local function returns() async with cm "r" do return 1 end end
      assert(returns() == 1)
      for _ = 1, 3 do async with cm "b" do break end end
      do async with cm "g" do goto out end end
      ::out::
      local ok, err = pcall(function() async with cm "e" do error("it", 0) end end)
      assert(not ok and err == "it")
      local task = asyncio.create_task(async function() async with cm "c" do await asyncio.sleep(10) end end)
      await asyncio.sleep(0.1)
      task:cancel()
      ok, err = pcall(await, task)
      assert(not ok and asyncio.isinstance(err, asyncio.CancelledError))
      return table.concat(log, " ")
    ]])))
  end)

  it("takes locks, timeouts, groups, and awaits what gives a manager", function()
    run(manager .. [[
      local lock = asyncio.Lock()
      async with lock do assert(lock:locked()) end
      assert(not lock:locked())
      local ok, err = pcall(function() async with asyncio.timeout(0.1) do await asyncio.sleep(1) end end)
      assert(not ok and asyncio.isinstance(err, asyncio.TimeoutError))
      local task
      async with asyncio.TaskGroup() as group do task = group:create_task(async function() await asyncio.sleep(0.1) return 7 end) end
      assert(task:result() == 7)
      async function make() await asyncio.sleep(0) return cm "m" end
      async with make() as x do assert(x == "M") end
    ]])
  end)

  it("says what it cannot enter", function()
    local ok, err = pcall(run, "async with 5 do end")
    assert(not ok)
    assert.equal("TypeError: async with expects an object with __aexit or __close, not a number", tostring(err))
  end)
end)

describe("async for", function()
  it("iterates objects, iterators and what is awaited for one", function()
    assert.same({ "1:1", "2:4", "a1", "b2", 3, 6, "1x", "2y" }, (run [[
      local asyncio = require "asyncio"
      local out = {}
      local It = {}
      It.__index = It
      function It:__aiter() return setmetatable({ i = 0 }, It) end
      async function It:__anext() await asyncio.sleep(0) self.i = self.i + 1 if self.i < 3 then return self.i, self.i ^ 2 // 1 | 0 end end
      async for a, b in setmetatable({}, It) do out[#out + 1] = a .. ":" .. b end
      async for i, v in ipairs { 1, 2 } do out[#out + 1] = ("ab"):sub(i, i) .. v end
      async function later() await asyncio.sleep(0) local n = 0 return function() n = n + 3 if n < 9 then return n end end end
      async for n in later() do out[#out + 1] = n end
      async function pairs_of(list) await asyncio.sleep(0) return ipairs(list) end
      async for i, v in pairs_of { "x", "y" } do out[#out + 1] = i .. v end
      return out
    ]]))
  end)

  it("says what it cannot iterate", function()
    local ok, err = pcall(run, "async for x in 5 do end")
    assert(not ok)
    assert.equal("TypeError: async for expects an object with __aiter or __anext, or an iterator, not a number", tostring(err))
  end)
end)

describe("what is wrong with them", function()
  for _, pair in ipairs {
    { "async function f(\n", "source:2: <name> or '...' expected near <eof>" },
    { "\nasync function f() x = 1", "source:2: 'end' expected near <eof>" },
    { "async function f()\nx = 1\n", "source:3: 'end' expected (to close 'function' at line 1) near <eof>" },
    { "async function 1() end", "source:1: <name> expected near '1'" },
    { "local async function a.b() end", "source:1: '(' expected near '.'" },
    { "async function() end", "source:1: <name> expected near '('" },
    { "await f(1 2)", "source:1: ')' expected near '2'" },
    { "await f(", "source:1: unexpected symbol near <eof>" },
    { "x = await a.", "source:1: <name> expected near <eof>" },
    { "x = await a:b + 1", "source:1: function arguments expected near '+'" },
    { "await f() = 1", "source:1: syntax error near '='" },
    { "await 5", "source:1: syntax error near '5'" },
    { "async for i = 1, 2 do end", "source:1: 'in' expected near '='" },
    { "async for x y do end", "source:1: '=' or 'in' expected near 'y'" },
    { "async for x in y print(1) end", "source:1: 'do' expected near 'print'" },
    { "async with x print(1) end", "source:1: 'do' expected near 'print'" },
    { "async with x as y print(1) end", "source:1: 'do' expected near 'print'" },
    { "async with x as 5 do end", "source:1: <name> expected near '5'" },
    { "async with x do", "source:1: 'end' expected near <eof>" },
    { "async with do end", "source:1: unexpected symbol near 'do'" },
    { "async with x", "source:1: 'do' expected near <eof>" },
    { "async with x as y.z do end end", "source:1: 'do' expected near '.'" },
    { "async with x as y() do end end", "source:1: 'do' expected near '('" },
    { "async with x as y'z' do end end", "source:1: 'do' expected near ''z''" },
    { "async with x as y + 1 do end end", "source:1: unexpected symbol near '+'" },
    { "async with x as y or z do end end", "source:1: unexpected symbol near 'or'" },
    { "await f() 'unfinished", "source:1: unfinished string near <eof>" },
  } do
    it("is told as Lua tells it: " .. pair[1]:gsub("%s+", " "), function()
      local f, err = load(pair[1], "=source")
      assert.equal(nil, f)
      assert.equal(pair[2], err)
    end)
  end

  it("has the line of the source", function()
    local ok, err = pcall(run, "local asyncio = require 'asyncio'\nasync with asyncio.Lock() as l,\n  asyncio.Lock() do\n  error('here')\nend")
    assert.equal("source:4: here", (not ok and err))
    local names = {}
    ok, err = pcall(run, "async function f()\n\n  local x = await\n  g()\nend\nawait f()", names)
    assert(not ok and tostring(err):find("source:4", 1, true), tostring(err))
  end)
end)

if stock then return end -- they are Lua's there

describe("load, loadfile, dofile, require", function()
  it("accept the keywords", function()
    local dir = helper.tmpdir()
    local f <close> = assert(io.open(dir .. "/kw_module.lua", "w"))
    f:write("#!/usr/bin/env moonloop\nlocal async function f(x) return x end\nreturn { value = await f(7), line = debug.getinfo(1, 'l').currentline }\n")
    f:close()
    local path = package.path
    package.path = dir .. "/?.lua;" .. path
    helper.run(function()
      assert.same({ value = 7, line = 3 }, dofile(dir .. "/kw_module.lua"))
      assert.same({ value = 7, line = 3 }, assert(loadfile(dir .. "/kw_module.lua"))())
      local module, where = require "kw_module"
      assert.equal(7, module.value)
      assert.equal(dir .. "/kw_module.lua", where)
    end)
    package.loaded.kw_module = nil
    package.path = path
  end)

  it("give what is wrong where there is no memory", function()
    local dir = helper.tmpdir()
    local f <close> = assert(io.open(dir .. "/a.lua", "w"))
    for _ = 1, 400 do f:write(("local x = await f()\n"):rep(2000)) end
    f:close()
    local read = ("print(loadfile(%q))"):format(dir .. "/a.lua")
    for _, args in ipairs {
      { "--memory-limit=12M", "-e", read },
      { "--sandbox", "--allow-read=" .. dir, "--memory-limit=12M", "-e", read },
      { "--memory-limit=12M", "-e", "local s = ('x = 1 '):rep(100) print(load(function() return s end))" },
      { "--memory-limit=12M", "-e", "print(load(function() return 12 end))" },
    } do
      local _, out, err = helper.cli(args)
      assert.equal("nil\tnot enough memory\n", out, err)
    end
  end)

  it("are Lua's own in all else", function()
    assert.equal(3, load("return ...", "x", "t")(3))
    assert.equal(9, load("return x", "x", "t", { x = 9 })())
    local parts = { "return", " 1", "" }
    local i = 0
    assert.equal(1, load(function() i = i + 1 return parts[i] end)())
    assert.same({ nil, "stop" }, { load(function() error("stop", 0) end) })
    i = 0
    assert.equal(12.5, load(function() i = i + 1 return ({ "return ", 12, ".", 5 })[i] end)())
    local env = { n = 0 }
    i = 0
    load(function() i = i + 1 return i <= 5000 and "n = n + 1 " or nil end, "=many", "t", env)()
    assert.equal(5000, env.n)
    local empty = load(function() return nil end)
    assert.equal(0, select("#", empty()))
    local _, err = load(function() return {} end)
    assert.equal("keywords_spec.lua:LINE: reader function must return a string", (tostring(err):gsub("^.*/", ""):gsub(":%d+:", ":LINE:")))
    assert.equal(5, load(string.dump(load "return 5"), "x", "b")())
    _, err = load(string.dump(load "return 5"), "x", "t")
    assert(err:find("attempt to load a binary chunk", 1, true), err)
    assert.same({ nil, "cannot open nowhere.lua: No such file or directory" }, { loadfile("nowhere.lua") })
    assert.same({ false, "cannot open nowhere.lua: No such file or directory" }, { pcall(dofile, "nowhere.lua") })
    _, err = load("x =", "await x")
    assert.equal('[string "await x"]:1: unexpected symbol near <eof>', err)
    _, err = load("await f() x =")
    assert.equal('[string "await f() x ="]:1: unexpected symbol near <eof>', err)
  end)
end)
