local helper = require "spec.helper"
local asyncio = require "asyncio"

local function run(f) return helper.run(async(f)) end
local function is_cancelled(e) return asyncio.isinstance(e, asyncio.CancelledError) end

local function settle(rounds)
  for _ = 1, rounds or 5 do await(asyncio.sleep(0)) end
end

-- A value that is not there at once.
local later = async(function(...)
  await(asyncio.sleep(1))
  return ...
end)

local function on_close(f) return setmetatable({}, { __close = f }) end

describe("async", function()
  it("makes a function whose call starts nothing", function()
    run(function()
      local ran = false
      local f = async(function() ran = true end)
      local c = f()
      assert.is_true(asyncio.iscoroutine(c))
      settle(2)
      assert.is_false(ran)
      await(c)
      assert.is_true(ran)
    end)
  end)

  it("keeps the arguments of the call, nils too", function()
    run(function()
      local f = async(function(...) return select("#", ...), ... end)
      assert.same({ 4, 1, nil, "x", nil, n = 5 }, table.pack(await(f(1, nil, "x", nil))))
      assert.equal(0, (await(f())))
      local many = {}
      for i = 1, 200 do many[i] = i end
      assert.equal(200, (await(f(table.unpack(many)))))
    end)
  end)

  it("of a coroutine function gives it back", function()
    local f = async(function() end)
    assert.equal(f, async(f))
  end)

  it("refuses what cannot be called", function()
    local e = helper.raises(asyncio.TypeError, function() async(12) end)
    assert.is_truthy(tostring(e):find("coroutine_spec.lua:%d+: async: a function was expected, got number"), tostring(e))
    helper.raises(asyncio.TypeError, function() async() end)
    run(function()
      assert.equal(3, await(async(setmetatable({}, { __call = function(_, x) return x end }))(3)))
    end)
  end)

  it("is a global and a field of asyncio", function()
    assert.equal(async, asyncio.async)
    assert.equal(await, asyncio.await)
    assert.equal(await, require("asyncio.core").await)
  end)
end)

describe("await", function()
  it("of a coroutine is a call: nothing else runs in between", function()
    run(function()
      local others = 0
      asyncio.create_task(function() others = others + 1 end)
      local f = async(function(x) return x * 2 end)
      for i = 1, 100 do assert(await(f(i)) == i * 2) end
      assert.equal(0, others)
      settle(1)
    end)
  end)

  it("gives every value", function()
    run(function()
      assert.same({ 1, nil, false, nil, n = 4 }, table.pack(await(later(1, nil, false, nil))))
      assert.same({ n = 0 }, table.pack(await(async(function() end)())))
      assert.same({ n = 0 }, table.pack(await(later())))
      local a, b = await(later(1, 2))
      assert.same({ 1, 2 }, { a, b })
    end)
  end)

  it("takes plain functions and coroutine functions", function()
    run(function()
      assert.same({ 1, 2 }, { await(function() return 1, 2 end) })
      assert.equal(3, await(async(function() return 3 end)))
      assert.equal("v", await(function() return await(later("v")) end))
    end)
  end)

  it("takes values with __await", function()
    run(function()
      local future = asyncio.get_running_loop():create_future()
      future:set_result("future")
      for _, case in ipairs {
        { function(self) return later(self.v) end, "own" },
        { function() return future end, "future" },
        { function() return function() return "function" end end, "function" },
        { function() return later(await(later "awaited in it")) end, "awaited in it" },
        { function() return setmetatable({}, { __await = function() return later("nested") end }) end, "nested" },
      } do
        assert.equal(case[2], await(setmetatable({ v = "own" }, { __await = case[1] })))
      end
    end)
  end)

  it("raises what __await raises, and an error when it gives no awaitable", function()
    run(function()
      local ok, e = pcall(await, setmetatable({}, { __await = function() error("from __await", 0) end }))
      assert.is_false(ok)
      assert.equal("from __await", e)
      e = helper.raises(asyncio.TypeError, await, setmetatable({}, { __await = function() return 5 end }))
      assert.is_truthy(tostring(e):find("__await must return an awaitable, it returned number", 1, true), tostring(e))
      helper.raises(asyncio.TypeError, await, setmetatable({}, { __await = function() end }))
      helper.raises(asyncio.TypeError, await, setmetatable({}, { __await = {} }) and {})
    end)
  end)

  it("of an __await that gives itself ends with an error", function()
    run(function()
      local self
      self = setmetatable({}, { __await = function() return self end })
      assert.is_false((pcall(await, self)))
    end)
  end)

  it("raises the error of the coroutine, as the same object", function()
    run(function()
      local e = {}
      local ok, got = pcall(await, async(function()
        await(asyncio.sleep(1))
        error(e)
      end)())
      assert.is_false(ok)
      assert.is_true(rawequal(e, got))
    end)
  end)

  it("of a coroutine that was awaited before is a RuntimeError", function()
    run(function()
      local c = later(1)
      await(c)
      local e = helper.raises(asyncio.RuntimeError, function() await(c) end)
      assert.is_truthy(tostring(e):find("coroutine_spec.lua:%d+: cannot reuse already awaited coroutine"), tostring(e))
      c = asyncio.sleep(1)
      await(c)
      helper.raises(asyncio.RuntimeError, await, c)
    end)
  end)

  it("of a coroutine that somebody awaits now is a RuntimeError", function()
    run(function()
      local c = later(1)
      local t = asyncio.create_task(function() await(c) end)
      settle(1)
      helper.raises("cannot reuse already awaited coroutine", await, c)
      await(t)
    end)
  end)

  it("of asyncio.sleep(0) works any number of times", function()
    run(function()
      local s = asyncio.sleep(0)
      for _ = 1, 5 do await(s) end
      s:close()
      await(asyncio.sleep(0))
    end)
  end)

  it("refuses what is no awaitable and says what came", function()
    run(function()
      for _, case in ipairs { { 12, "number" }, { "x", "string" }, { {}, "table" }, { true, "boolean" },
        { asyncio.Lock(), "Lock" }, { asyncio.get_running_loop(), "EventLoop" }, { io.stdout, "userdata" },
        { coroutine.create(print), "thread" } } do
        local e = helper.raises(asyncio.TypeError, function() await(case[1]) end)
        assert.is_truthy(tostring(e):find("coroutine_spec.lua:%d+: await: an awaitable .* was expected, got "), tostring(e))
        if case[2] ~= "EventLoop" then
          assert.is_truthy(tostring(e):find("got " .. case[2], 1, true), tostring(e))
        end
      end
      local e = helper.raises(asyncio.TypeError, function() await(nil) end)
      assert.is_truthy(tostring(e):find("got nil (does the function that was called return its awaitable?)", 1, true), tostring(e))
      e = helper.raises(asyncio.TypeError, function() await() end)
      assert.is_truthy(tostring(e):find("got no value", 1, true), tostring(e))
    end)
  end)
end)

describe("a coroutine", function()
  it("shows its name and where it is defined", function()
    local function named() end
    local my_function = async(named)
    local c = my_function()
    assert.is_truthy(tostring(c):find("^<coroutine my_function%(%) defined at spec/engine/coroutine_spec.lua:%d+>$"), tostring(c))
    c:close()
    local s = asyncio.sleep(1)
    assert.equal("<coroutine sleep()>", tostring(s))
    s:close()
  end)

  it("that is closed never runs and is not reported", function()
    run(function()
      local ran = false
      local c = async(function() ran = true end)()
      c:close()
      c:close()
      helper.raises(asyncio.RuntimeError, await, c)
      assert.is_false(ran)
    end)
  end)

  it("that is never awaited is reported with name and place", function()
    local status, out, err = helper.cli({ "-e", [[
      local asyncio = require "asyncio"
      local fetch_data = async(function() end)
      fetch_data()
      collectgarbage()
      print("on")
      asyncio.sleep(1)
      asyncio.Lock():acquire()
      collectgarbage()]] })
    assert.equal(0, status)
    assert.equal("on\n", out)
    assert.is_truthy(err:find("warning: coroutine 'fetch_data' ((command line):2) was never awaited", 1, true), err)
    assert.is_truthy(err:find("coroutine 'sleep' was never awaited", 1, true), err)
    assert.is_truthy(err:find("coroutine 'acquire' was never awaited", 1, true), err)
  end)

  it("leave Lua's own warnings to warn('@off') and '@on'", function()
    local _, _, err = helper.cli({ "-e", [[
      local function collect() setmetatable({}, { __gc = function() error "lost" end }) collectgarbage() end
      warn("first") collect()
      warn("@off") warn("second") warn("@of", "f") collect()
      warn("@other") warn("@on") warn("third", " and ", "last")]] })
    assert.equal("Lua warning: first\nLua warning: error in __gc ((command line):1: lost)\nLua warning: third and last\n", err)
  end)

  it("without a name is reported by its place", function()
    local _, _, err = helper.cli({ "-e", "local async = async\n(({ async(function() end) })[1])()" })
    assert.is_truthy(err:find("warning: coroutine 'function at (command line):2' was never awaited", 1, true), err)
  end)

  it("that is never awaited is reported at the end at the latest, once", function()
    local _, _, err = helper.cli({ "-e", "keep = async(function() end)()" })
    assert.equal(1, select(2, err:gsub("never awaited", "")), err)
  end)

  it("that was awaited, closed or run by a task is not reported", function()
    local status, out, err = helper.cli({ "--virtual-time", "-e", [[
      local asyncio = require "asyncio"
      local f = async(function() await(asyncio.sleep(1)) end)
      await(f())
      await(asyncio.create_task(f()))
      await(asyncio.gather(f(), f()))
      local t = asyncio.create_task(f())
      t:cancel()
      asyncio.catch(await, t)
      f():close()
      pcall(await, async(function() error("x") end)())
      collectgarbage()]] })
    assert.same({ 0, "", "" }, { status, out, err })
  end)
end)

describe("await works", function()
  it("in pcall and xpcall", function()
    run(function()
      assert.same({ true, 1, 2 }, { pcall(await, later(1, 2)) })
      assert.same({ true, 1, 2 }, { pcall(function(x) return x, await(later(2)) end, 1) })
      assert.same({ true, 3 }, { xpcall(await, debug.traceback, later(3)) })
      local ok, e = pcall(function()
        await(later())
        error("after", 0)
      end)
      assert.same({ false, "after" }, { ok, e })
      ok, e = xpcall(function()
        await(later())
        error("x", 0)
      end, function(m) return "handled " .. m end)
      assert.same({ false, "handled x" }, { ok, e })
      ok, e = pcall(pcall, function()
        local inner_ok, v = xpcall(function() return await(later("deep")) end, print)
        assert.is_true(inner_ok)
        error(v, 0)
      end)
      assert.is_true(ok)
      assert.is_false(e)
    end)
  end)

  it("in metamethods", function()
    run(function()
      local meta = {}
      for _, event in ipairs { "add", "sub", "mul", "div", "mod", "pow", "idiv", "band", "bor", "bxor", "shl", "shr",
        "concat" } do
        meta["__" .. event] = function() return await(later(event)) end
      end
      meta.__unm = function() return await(later "unm") end
      meta.__bnot = function() return await(later "bnot") end
      meta.__len = function() return await(later(7)) end
      meta.__index = function(_, k) return await(later("index " .. k)) end
      local stored
      meta.__newindex = function(_, k, v) stored = await(later(k .. v)) end
      meta.__call = function(_, x) return await(later(x)) end
      meta.__eq = function() return await(later(true)) end
      meta.__lt = function() return await(later(true)) end
      meta.__le = function() return await(later(false)) end
      local a, b = setmetatable({}, meta), setmetatable({}, meta)
      assert.equal("add", a + b)
      assert.equal("sub", a - 1)
      assert.equal("mul", 2 * b)
      assert.equal("div", a / b)
      assert.equal("mod", a % b)
      assert.equal("pow", a ^ b)
      assert.equal("idiv", a // b)
      assert.equal("band", a & b)
      assert.equal("bor", a | b)
      assert.equal("bxor", a ~ b)
      assert.equal("shl", a << b)
      assert.equal("shr", a >> b)
      assert.equal("concat", a .. b)
      assert.equal("x", "x" .. "" .. "" .. (a .. "" == "concat" and "" or "?"))
      assert.equal("unm", -a)
      assert.equal("bnot", ~a)
      assert.equal(7, #a)
      assert.equal("index key", a.key)
      a.k = "v"
      assert.equal("kv", stored)
      assert.equal(9, a(9))
      assert.is_true(a == b)
      assert.is_true(a < b)
      assert.is_false(a <= b)
    end)
  end)

  it("in iterators of for", function()
    run(function()
      local function range(n)
        local i = 0
        return function()
          await(asyncio.sleep(1))
          i = i + 1
          if i <= n then return i end
        end
      end
      local sum = 0
      for i in range(4) do sum = sum + i end
      assert.equal(10, sum)
      assert.equal(5.0, asyncio.get_running_loop():time())
    end)
  end)

  it("in __pairs", function()
    run(function()
      local t = setmetatable({}, { __pairs = function()
        local list = await(later { "a", "b" })
        return ipairs(list)
      end })
      local got = {}
      for i, v in pairs(t) do got[i] = v end
      assert.same({ "a", "b" }, got)
    end)
  end)

  it("in __close on the normal way out", function()
    run(function()
      local log = {}
      local function f()
        local _ <close> = on_close(function()
          await(asyncio.sleep(1))
          log[#log + 1] = "closed"
        end)
        log[#log + 1] = "body"
        return "result", 2
      end
      assert.same({ "result", 2 }, { f() })
      assert.same({ "body", "closed" }, log)
      do
        local _ <close> = on_close(function() log[#log + 1] = await(later "block") end)
      end
      for i = 1, 2 do
        local _ <close> = on_close(function()
          await(asyncio.sleep(0))
          log[#log + 1] = i
        end)
        if i == 2 then break end
      end
      assert.same({ "body", "closed", "block", 1, 2 }, log)
    end)
  end)

  it("in __close after an error", function()
    run(function()
      local log = {}
      local ok, e = pcall(function()
        local _ <close> = on_close(function(_, err)
          await(asyncio.sleep(1))
          log[#log + 1] = err
        end)
        local _ <close> = on_close(function(_, err)
          await(asyncio.sleep(1))
          log[#log + 1] = err
          error("second", 0)
        end)
        error("first", 0)
      end)
      assert.is_false(ok)
      assert.equal("second", e)
      assert.same({ "first", "second" }, log)
    end)
  end)

  it("in __close of a cancelled task, each once, innermost first", function()
    run(function()
      local log = {}
      local t = asyncio.create_task(function()
        local _ <close> = on_close(function(_, e)
          await(asyncio.sleep(1))
          log[#log + 1] = is_cancelled(e) and "outer" or "?"
        end)
        local inner = async(function()
          local _ <close> = on_close(function(_, e)
            await(asyncio.sleep(1))
            log[#log + 1] = is_cancelled(e) and "inner" or "?"
          end)
          pcall(function()
            local _ <close> = on_close(function(_, e)
              await(asyncio.sleep(1))
              log[#log + 1] = is_cancelled(e) and "pcall" or "?"
            end)
            await(asyncio.sleep(100))
          end)
          log[#log + 1] = "not reached"
        end)
        await(inner())
      end)
      await(asyncio.sleep(1))
      t:cancel()
      helper.raises(asyncio.CancelledError, await, t)
      assert.same({ "pcall", "inner", "outer" }, log)
      assert.equal(4.0, asyncio.get_running_loop():time())
    end)
  end)

  it("in the closing value of a for loop", function()
    run(function()
      local log = {}
      local function iter()
        local i = 0
        return function()
          i = i + 1
          if i < 4 then return i end
        end, nil, nil, on_close(function()
          await(asyncio.sleep(1))
          log[#log + 1] = "closed"
        end)
      end
      for i in iter() do if i == 2 then break end end
      for _ in iter() do end
      pcall(function() for _ in iter() do error("x") end end)
      assert.same({ "closed", "closed", "closed" }, log)
    end)
  end)

  it("in nested coroutines three levels deep", function()
    run(function()
      local log = {}
      local level1 = coroutine.wrap(function()
        local level2 = coroutine.create(function()
          local level3 = coroutine.wrap(function()
            for i = 1, 3 do
              await(asyncio.sleep(1))
              coroutine.yield("three " .. i)
            end
            return "end three"
          end)
          for _ = 1, 3 do coroutine.yield(level3()) end
          await(asyncio.sleep(1))
          return level3()
        end)
        while coroutine.status(level2) ~= "dead" do
          local ok, v = coroutine.resume(level2)
          assert.is_true(ok)
          await(asyncio.sleep(1))
          coroutine.yield(v)
        end
        return "end one"
      end)
      for _ = 1, 5 do log[#log + 1] = level1() end
      assert.same({ "three 1", "three 2", "three 3", "end three", "end one" }, log)
      assert.equal(8.0, asyncio.get_running_loop():time())
    end)
  end)

  it("in generators that several tasks run side by side", function()
    run(function()
      local function generator(n)
        return coroutine.wrap(function()
          for i = 1, n do
            await(asyncio.sleep(1))
            coroutine.yield(i)
          end
        end)
      end
      local tasks = {}
      for k = 1, 5 do
        tasks[k] = asyncio.create_task(function()
          local sum = 0
          for i in generator(k) do sum = sum + i end
          return sum
        end)
      end
      assert.same({ 1, 3, 6, 10, 15, n = 5 }, await(asyncio.gather(tasks)))
      assert.equal(5.0, asyncio.get_running_loop():time())
    end)
  end)

  it("in nested coroutines that are cancelled or fail", function()
    run(function()
      local log = {}
      local t = asyncio.create_task(function()
        local co = coroutine.wrap(function()
          local _ <close> = on_close(function(_, e)
            log[#log + 1] = is_cancelled(e) and "closed" or tostring(e)
          end)
          coroutine.wrap(function() await(asyncio.sleep(100)) end)()
        end)
        pcall(co)
        log[#log + 1] = "not reached"
      end)
      settle(2)
      t:cancel()
      helper.raises(asyncio.CancelledError, await, t)
      assert.same({ "closed" }, log)
      local ok, e = pcall(coroutine.wrap(function()
        await(asyncio.sleep(1))
        error({ 5 })
      end))
      assert.is_false(ok)
      assert.same({ 5 }, e)
    end)
  end)

  it("in coroutine.close is not needed for coroutines that close one another, however many", function()
    local closed, last = 0, nil
    for _ = 1, 20000 do
      local before = last
      last = coroutine.create(function()
        local _ <close> = on_close(function()
          closed = closed + 1
          if before == nil then return end
          local ok, err = coroutine.close(before)
          if not ok then error(err, 0) end
        end)
        coroutine.yield()
      end)
      coroutine.resume(last)
    end
    local ok, err = coroutine.close(last)
    assert.is_false(ok)
    assert.matches("C stack overflow", err)
    assert.is_true(closed > 100 and closed < 1000)
  end)

  it("in coroutine.close of a suspended coroutine's __close only where it need not suspend", function()
    run(function()
      local e
      local co = coroutine.create(function()
        local _ <close> = on_close(function()
          local c = asyncio.sleep(1)
          local ok
          ok, e = pcall(await, c)
          c:close()
          assert.is_false(ok)
        end)
        coroutine.yield()
      end)
      coroutine.resume(co)
      coroutine.close(co)
      assert.is_truthy(tostring(e):find("cannot await here", 1, true), tostring(e))
    end)
  end)

  it("in modules that are required", function()
    local dir = helper.tmpdir()
    local f = assert(io.open(dir .. "/slow_module.lua", "w"))
    f:write([[
      local asyncio = require "asyncio"
      loads = (loads or 0) + 1
      await(asyncio.sleep(5))
      return { name = ..., value = 42 }
    ]])
    f:close()
    local path = package.path
    package.path = dir .. "/?.lua;" .. path
    run(function()
      local m, where = require "slow_module"
      assert.equal(42, m.value)
      assert.equal("slow_module", m.name)
      assert.is_truthy(where:find("slow_module.lua", 1, true))
      assert.equal(5.0, asyncio.get_running_loop():time())
      assert.equal(m, require "slow_module")
    end)
    package.path = path
    package.loaded.slow_module = nil
    assert.equal(1, loads) -- luacheck: ignore
    loads = nil -- luacheck: ignore
  end)

  it("in modules that two tasks require at once: it is loaded once", function()
    local dir = helper.tmpdir()
    local f = assert(io.open(dir .. "/shared_module.lua", "w"))
    f:write([[
      shared_loads = (shared_loads or 0) + 1
      await(require("asyncio").sleep(5))
      return { shared_loads }
    ]])
    f:close()
    local path = package.path
    package.path = dir .. "/?.lua;" .. path
    run(function()
      local all = await(asyncio.gather(function() return require "shared_module" end,
        function() return require "shared_module" end,
        function()
          await(asyncio.sleep(2))
          return require "shared_module"
        end))
      assert.is_true(rawequal(all[1], all[2]) and rawequal(all[1], all[3]))
      assert.same({ 1 }, all[1])
    end)
    package.path = path
    package.loaded.shared_module = nil
    shared_loads = nil -- luacheck: ignore
  end)

  it("in modules that fail or whose task is cancelled: the next one tries again", function()
    local dir = helper.tmpdir()
    local f = assert(io.open(dir .. "/bad_module.lua", "w"))
    f:write([[
      bad_loads = (bad_loads or 0) + 1
      await(require("asyncio").sleep(5))
      if bad_loads == 1 then error("first time") end
      return bad_loads
    ]])
    f:close()
    local path = package.path
    package.path = dir .. "/?.lua;" .. path
    run(function()
      local ok, e = pcall(require, "bad_module")
      assert.is_false(ok)
      assert.is_truthy(tostring(e):find("first time", 1, true), tostring(e))
      local t = asyncio.create_task(function() require "bad_module" end)
      await(asyncio.sleep(1))
      local waiting = asyncio.create_task(function() return (require "bad_module") end)
      await(asyncio.sleep(1))
      t:cancel()
      helper.raises(asyncio.CancelledError, await, t)
      assert.equal(3, await(waiting))
      assert.equal(3, (require "bad_module"))
    end)
    package.path = path
    package.loaded.bad_module = nil
    bad_loads = nil -- luacheck: ignore
  end)

  it("in dofile and in loaded chunks", function()
    local file = helper.tmpfile([[return await(require("asyncio").sleep(1, "dofile"))]], ".lua")
    run(function()
      assert.equal("dofile", dofile(file))
      assert.equal("load", load([[local a = ...; return await(a)]])(later "load"))
      assert.equal("loadfile", (function() return loadfile(file)() and "loadfile" end)())
    end)
  end)

  it("in variadic, recursive and tail calls", function()
    run(function()
      local function count(n)
        if n == 0 then return await(later "end") end
        return count(n - 1)
      end
      assert.equal("end", count(1000))
      local function f(...) return await(...) end
      assert.equal("x", f(later "x"))
    end)
  end)

  it("in table.unpack'd, select'd and string-built arguments", function()
    run(function()
      assert.equal("a1b", ("a" .. await(later(1)) .. "b"))
      assert.same({ 1, 2, 3 }, { await(later(1)), await(later(2)), await(later(3)) })
      assert.equal(3, select("#", await(later(nil, nil, nil))))
    end)
  end)
end)

describe("nested awaits", function()
  local nest
  nest = async(function(depth, leaf)
    if depth == 0 then return leaf() end
    return await(nest(depth - 1, leaf))
  end)

  -- Not a tail call: its frames stay, and its <close> runs.
  local closed
  local held
  held = async(function(depth, leaf)
    local _ <close> = on_close(function() closed = closed + 1 end)
    if depth == 0 then return leaf() end
    local v = await(held(depth - 1, leaf))
    return v + 1
  end)

  for _, depth in ipairs { 10, 59, 60, 61, 150, 250, 1000, 10000, 100000 } do
    it(depth .. " deep give their value", function()
      run(function()
        assert.equal("leaf", await(nest(depth, function() return "leaf" end)))
        assert.equal("leaf", await(nest(depth, function() return await(later "leaf") end)))
      end)
    end)

    it(depth .. " deep carry values and close each level once", function()
      run(function()
        closed = 0
        assert.equal(depth, await(held(depth, function()
          await(asyncio.sleep(1))
          return 0
        end)))
        assert.equal(depth + 1, closed)
      end)
    end)

    it(depth .. " deep carry an error", function()
      run(function()
        closed = 0
        local e = {}
        local ok, got = pcall(await, held(depth, function()
          await(asyncio.sleep(1))
          error(e)
        end))
        assert.is_false(ok)
        assert.is_true(rawequal(e, got))
        assert.equal(depth + 1, closed)
      end)
    end)

    it(depth .. " deep carry a cancellation", function()
      run(function()
        closed = 0
        local t = asyncio.create_task(function() return await(held(depth, function()
          await(asyncio.sleep(100))
        end)) end)
        await(asyncio.sleep(1))
        assert.is_string(tostring(t))
        t:cancel("from above")
        local e = helper.raises(asyncio.CancelledError, await, t)
        assert.equal("from above", e.message)
        assert.is_true(t:cancelled())
        assert.equal(depth + 1, closed)
      end)
    end)
  end

  it("with a pcall at each level", function()
    run(function()
      local f
      f = async(function(n)
        if n == 0 then
          await(asyncio.sleep(1))
          error("bottom", 0)
        end
        local ok, e = pcall(await, f(n - 1))
        assert(not ok)
        error(e, 0)
      end)
      local ok, e = pcall(await, f(5000))
      assert.is_false(ok)
      assert.equal("bottom", e)
    end)
  end)

  it("with pcalls alone end in an error, not a crash", function()
    run(function()
      local function f(n)
        if n == 0 then return await(later "bottom") end
        return select(2, pcall(f, n - 1))
      end
      assert.equal("bottom", f(100))
      local v = f(1000)
      assert.is_truthy(v == "bottom" or tostring(v):find("overflow", 1, true), tostring(v))
    end)
  end)

  it("with a coroutine.wrap at each level", function()
    run(function()
      local function f(n)
        if n == 0 then return await(later "bottom") end
        return coroutine.wrap(function() return f(n - 1) end)()
      end
      assert.equal("bottom", f(50))
      local ok, v = pcall(f, 1000)
      assert.is_truthy((ok and v == "bottom") or tostring(v):find("overflow", 1, true), tostring(v))
    end)
  end)

  it("that never end are an error", function()
    local status, out, err = helper.cli({ "-e", [[
      local asyncio = require "asyncio"
      local f
      f = async(function(n) local v = await(f(n + 1)) return v end)
      local ok, e = pcall(asyncio.run, f(1))
      print(ok, #tostring(e) > 0)]] }, { timeout = 60 })
    assert.equal(0, status, err)
    assert.equal("false\ttrue\n", out)
  end)
end)

describe("await where Lua cannot suspend", function()
  -- f runs in a task and gets an awaitable maker; the text of the error is given.
  local function refused(f)
    local text
    run(function()
      local c = later(1)
      local ok, e = pcall(f, c)
      assert.is_false(ok, "no error")
      text = tostring(e)
      c:close()
      -- the task is none the worse for it
      assert.equal("fine", await(later "fine"))
    end)
    assert.is_truthy(text:find("cannot await here", 1, true), text)
    assert.is_truthy(text:find("create_task", 1, true), text)
    return text
  end

  it("says so in the comparator of table.sort", function()
    local text = refused(function(c) table.sort({ 3, 2, 1 }, function(a, b)
      await(c)
      return a < b
    end) end)
    assert.is_truthy(text:find("sort", 1, true), text)
    assert.is_truthy(text:find("coroutine_spec.lua:%d+"), text)
  end)

  it("says so in the callback of string.gsub", function()
    local text = refused(function(c) return (("abc"):gsub("b", function() return await(c) end)) end)
    assert.is_truthy(text:find("gsub", 1, true), text)
  end)

  it("says so in __tostring", function()
    local text = refused(function(c) return tostring(setmetatable({}, { __tostring = function() return await(c) end })) end)
    assert.is_truthy(text:find("tostring", 1, true), text)
  end)

  it("says so in metamethods that table.concat, table.insert and table.unpack call", function()
    refused(function(c) return table.concat(setmetatable({}, { __len = function() return 1 end, __index = function() return await(c) end })) end)
    refused(function(c) table.insert(setmetatable({}, { __len = function()
      await(c)
      return 0
    end }), 1) end)
    refused(function(c) return table.unpack(setmetatable({}, { __index = function() return await(c) end }), 1, 2) end)
  end)

  it("says so in the reader of load", function()
    local text
    run(function()
      local c = later(1)
      local chunk, e = load(function() return await(c) end)
      assert.is_nil(chunk)
      text = tostring(e)
      c:close()
    end)
    assert.is_truthy(text:find("cannot await here", 1, true), text)
    assert.is_truthy(text:find("load", 1, true), text)
  end)

  it("says so in the message handler of xpcall", function()
    run(function()
      local c, text = later(1), nil
      local ok = xpcall(function() error("x") end, function()
        local _, e = pcall(await, c)
        text = tostring(e)
      end)
      assert.is_false(ok)
      assert.is_truthy(text:find("cannot await here", 1, true), text)
      c:close()
    end)
  end)

  it("says so in __gc", function()
    run(function()
      local c, text = later(1), nil
      do
        local _ = setmetatable({}, { __gc = function()
          local _, e = pcall(await, c)
          text = tostring(e)
        end })
      end
      collectgarbage()
      collectgarbage()
      assert.is_truthy(text and text:find("cannot await here", 1, true), text)
      c:close()
    end)
  end)

  it("says so for futures, sleep(0), locks and queues too, and loses nothing", function()
    run(function()
      local loop = asyncio.get_running_loop()
      local f, lock, q = loop:create_future(), asyncio.Lock(), asyncio.Queue()
      await(lock:acquire())
      local function in_sort(make)
        local ok, e = pcall(table.sort, { 2, 1 }, function(a, b)
          await(make())
          return a < b
        end)
        assert.is_false(ok)
        assert.is_truthy(tostring(e):find("cannot await here", 1, true), tostring(e))
      end
      in_sort(function() return f end)
      in_sort(function() return asyncio.sleep(0) end)
      in_sort(function() return lock:acquire() end)
      in_sort(function() return q:get() end)
      in_sort(function() return asyncio.sleep(5) end)
      in_sort(function() return function() return await(f) end end)
      in_sort(function() return async(function() return await(f) end)() end)
      lock:release()
      await(lock:acquire())
      q:put_nowait(1)
      assert.equal(1, q:get_nowait())
      f:set_result(1)
      assert.equal(1, await(f))
    end)
  end)

  it("lets through what is done already", function()
    run(function()
      local f = asyncio.get_running_loop():create_future()
      f:set_result(1)
      local list = { 3, 1, 2 }
      table.sort(list, function(a, b)
        await(f)
        return await(async(function() return a < b end)())
      end)
      assert.same({ 1, 2, 3 }, list)
    end)
  end)
end)

describe("asyncio.critical", function()
  it("makes an await inside an error", function()
    run(function()
      local c = later(1)
      local e = helper.raises(asyncio.RuntimeError, function()
        asyncio.critical(function() await(c) end)
      end)
      assert.is_truthy(tostring(e):find("await inside asyncio.critical", 1, true), tostring(e))
      c:close()
      assert.equal("after", await(later "after"))
    end)
  end)

  it("gives arguments and values through, and errors", function()
    run(function()
      assert.same({ 1, nil, 3, n = 3 }, table.pack(asyncio.critical(function(...) return ... end, 1, nil, 3)))
      local e = {}
      local ok, got = pcall(asyncio.critical, function() error(e) end)
      assert.is_false(ok)
      assert.is_true(rawequal(e, got))
    end)
  end)

  it("nests and ends with the outermost", function()
    run(function()
      asyncio.critical(function()
        asyncio.critical(function() end)
        local c = later(1)
        helper.raises(asyncio.RuntimeError, await, c)
        c:close()
      end)
      await(asyncio.sleep(1))
    end)
  end)

  it("holds for its task alone", function()
    run(function()
      asyncio.critical(function()
        local t = asyncio.create_task(function() return 5 end, { eager_start = true })
        assert.equal(5, t:result())
      end)
      await(asyncio.sleep(0))
    end)
  end)
end)

describe("iscoroutinefunction", function()
  it("knows those of asyncio itself", function()
    for _, name in ipairs { "sleep", "wait", "wait_for", "open_connection", "start_server", "open_datagram" } do
      assert.is_true(asyncio.iscoroutinefunction(asyncio[name]), name)
    end
    for _, name in ipairs { "gather", "create_task", "run", "shield", "current_task" } do
      assert.is_false(asyncio.iscoroutinefunction(asyncio[name]), name)
    end
    for _, value in ipairs { 1, "x", {}, print } do assert.is_false(asyncio.iscoroutinefunction(value)) end
    assert.is_false(asyncio.iscoroutinefunction(nil))
  end)

  it("is why call_soon refuses them", function()
    helper.run(function()
      local loop = asyncio.get_running_loop()
      helper.raises(asyncio.TypeError, loop.call_soon, loop, asyncio.sleep, 1)
      helper.raises(asyncio.TypeError, loop.call_later, loop, 1, asyncio.sleep, 1)
    end)
  end)
end)

describe("a coroutine of coroutine.create in a task", function()
  it("closes with awaits when its task is cancelled", function()
    local log = {}
    helper.run(async(function()
      local t = asyncio.create_task(async(function()
        local co = coroutine.create(function()
          local _ <close> = setmetatable({}, { __close = function(_, e)
            log[#log + 1] = tostring(e)
            await(asyncio.sleep(1))
            log[#log + 1] = "closed"
          end })
          await(asyncio.sleep(10))
        end)
        log[#log + 1] = tostring(coroutine.resume(co))
      end)())
      await(asyncio.sleep(0))
      t:cancel()
      helper.raises(asyncio.CancelledError, await, t)
    end))
    assert.same({ "CancelledError", "closed" }, log)
  end)

  it("fails as in Lua, and debug.traceback tells where", function()
    helper.run(async(function()
      local function fails() error({ 1 }) end
      local co = coroutine.create(function() fails() return 1 end)
      local ok, e = coroutine.resume(co)
      assert.is_false(ok)
      assert.same({ 1 }, e)
      assert.equal("dead", coroutine.status(co))
      local text = debug.traceback(co, "message")
      assert.truthy(text:find("^message\nstack traceback:\n.*in upvalue 'fails'"), text)
      assert.truthy(debug.traceback(co):find("^stack traceback:"))
      assert.equal(e, debug.traceback(co, e))
      assert.same({ false, e }, { coroutine.close(co) })
    end))
  end)

  it("takes and gives all values", function()
    helper.run(async(function()
      local co = coroutine.create(function(...)
        local n = select("#", coroutine.yield(...))
        return n, nil, nil
      end)
      assert.same({ true, nil, 2, nil, n = 4 }, table.pack(coroutine.resume(co, nil, 2, nil)))
      assert.same({ true, 2, nil, nil, n = 4 }, table.pack(coroutine.resume(co, nil, nil)))
      assert.same({ false, "cannot resume dead coroutine" }, { coroutine.resume(co) })
    end))
  end)
end)

describe("debug.traceback", function()
  it("takes a message, a level and a thread, as Lua's", function()
    local function here() return debug.traceback("m", 1) end
    assert.truthy(here():find("^m\nstack traceback:\n\t[^\n]*coroutine_spec.lua:%d+: in [^\n]*'here'"), here())
    assert.falsy(debug.traceback("m", 2):find("traceback'", 1, true))
    local t = {}
    assert.equal(t, debug.traceback(t))
    local co = coroutine.create(function() coroutine.yield() end)
    coroutine.resume(co)
    assert.truthy(debug.traceback(co):find("coroutine.yield", 1, true))
    assert.equal("x\nstack traceback:", (debug.traceback(co, "x", 99)))
  end)
end)
