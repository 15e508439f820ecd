local helper = require "spec.helper"
local asyncio = require "asyncio"

local function run(f) return helper.run(async(f)) end
local function is_cancelled(e) return asyncio.isinstance(e, asyncio.CancelledError) end
local function on_close(f) return setmetatable({}, { __close = f }) end

local function settle(rounds)
  for _ = 1, rounds or 5 do await(asyncio.sleep(0)) end
end

local sleeper = async(function(delay, value)
  await(asyncio.sleep(delay))
  return value
end)

-- Runs f in a task that is cancelled after a second; gives the task when it is done.
local function cancelled_in(f)
  local t = asyncio.create_task(f)
  await(asyncio.sleep(1))
  t:cancel("own")
  await(asyncio.wait { t })
  return t
end

describe("pcall", function()
  it("lets the running task's own cancellation pass", function()
    run(function()
      local log = {}
      local t = cancelled_in(function()
        pcall(await, asyncio.sleep(100))
        log[#log + 1] = "not reached"
      end)
      assert.is_true(t:cancelled())
      assert.same({}, log)
    end)
  end)

  it("lets it pass through many levels, running <close> on the way", function()
    run(function()
      local log = {}
      local t = cancelled_in(function()
        pcall(pcall, function()
          local _ <close> = on_close(function(_, e) log[#log + 1] = is_cancelled(e) end)
          pcall(function()
            xpcall(function()
              local _ <close> = on_close(function(_, e) log[#log + 1] = is_cancelled(e) end)
              await(asyncio.sleep(100))
            end, function(e) return e end)
            log[#log + 1] = "xpcall ended"
          end)
        end)
        log[#log + 1] = "pcall ended"
      end)
      assert.is_true(t:cancelled())
      assert.same({ true, true }, log)
    end)
  end)

  it("catches the CancelledError of another task", function()
    run(function()
      local other = asyncio.create_task(sleeper(100))
      settle(1)
      local t = asyncio.create_task(function()
        local ok, e = pcall(await, other)
        return ok, is_cancelled(e), e.message
      end)
      settle(1)
      other:cancel("other")
      local ok, cancelled, message = await(t)
      assert.is_false(ok)
      assert.is_true(cancelled)
      assert.equal("other", message)
    end)
  end)

  it("catches the CancelledError of a cancelled future and of one raised by hand", function()
    run(function()
      local f = asyncio.get_running_loop():create_future()
      f:cancel()
      local ok, e = pcall(await, f)
      assert.is_false(ok)
      assert.is_true(is_cancelled(e))
      ok, e = pcall(error, asyncio.CancelledError("mine"))
      assert.is_false(ok)
      assert.equal("mine", e.message)
    end)
  end)

  it("catches what a __close made of the cancellation", function()
    run(function()
      local caught
      local t = cancelled_in(function()
        local ok, e = pcall(function()
          local _ <close> = on_close(function() error("replaced", 0) end)
          await(asyncio.sleep(100))
        end)
        caught = { ok, e }
        return "went on"
      end)
      assert.same({ false, "replaced" }, caught)
      assert.equal("went on", t:result())
    end)
  end)

  it("in a __close that runs while the task is cancelled catches errors as ever", function()
    run(function()
      local got
      local t = cancelled_in(function()
        local _ <close> = on_close(function()
          local ok, e = pcall(error, "inside", 0)
          got = { ok, e, pcall(await, asyncio.sleep(1, "slept")) }
        end)
        await(asyncio.sleep(100))
      end)
      assert.is_true(t:cancelled())
      assert.same({ false, "inside", true, "slept" }, got)
    end)
  end)

  it("lets an error through that was caught, kept and raised again by the same task", function()
    run(function()
      local after
      local t = cancelled_in(function()
        local _, e = asyncio.catch(await, asyncio.sleep(100))
        after = select("#", pcall(error, e, 0)) -- its own: passes
      end)
      assert.is_true(t:cancelled())
      assert.is_nil(after)
    end)
  end)

  it("catches the cancellation of a task in another one that got it by hand", function()
    run(function()
      local kept
      cancelled_in(function()
        local _, e = asyncio.catch(await, asyncio.sleep(100))
        kept = e
      end)
      assert.is_true(is_cancelled(kept))
      local ok, e = pcall(error, kept, 0)
      assert.is_false(ok)
      assert.is_true(rawequal(kept, e))
    end)
  end)

  it("gives values and errors as stock Lua's", function()
    assert.same({ true, n = 1 }, table.pack(pcall(function() end)))
    assert.same({ true, 1, nil, 3, nil, n = 5 }, table.pack(pcall(function(...) return ... end, 1, nil, 3, nil)))
    local e = {}
    local ok, got = pcall(error, e)
    assert.is_false(ok)
    assert.is_true(rawequal(e, got))
    assert.same({ false, nil, n = 2 }, table.pack(pcall(error)))
    assert.is_false((pcall(nil)))
    assert.is_truthy(select(2, pcall(nil)):find("attempt to call a nil value", 1, true))
    assert.is_truthy(select(2, pcall(pcall)):find("bad argument #1 to 'pcall' (value expected)", 1, true))
    local t = setmetatable({}, { __call = function(_, x) return x * 2 end })
    assert.same({ true, 8 }, { pcall(t, 4) })
    assert.is_truthy(select(2, pcall(function() local x = nil; x() end)):find("local 'x'", 1, true))
  end)

  it("of many values works", function()
    local list = {}
    for i = 1, 5000 do list[i] = i end
    assert.equal(5001, select("#", pcall(table.unpack, list)))
    run(function()
      assert.equal(5001, select("#", pcall(function()
        await(asyncio.sleep(1))
        return table.unpack(list)
      end)))
    end)
  end)

  it("catches KeyboardInterrupt and SystemExit raised inside it", function()
    run(function()
      assert.is_false((pcall(error, asyncio.SystemExit(1))))
      assert.is_false((pcall(error, asyncio.KeyboardInterrupt())))
    end)
  end)
end)

describe("asyncio.catch", function()
  it("catches everything, the own cancellation too", function()
    run(function()
      local got
      local t = cancelled_in(function()
        local ok, e = asyncio.catch(await, asyncio.sleep(100))
        got = { ok, is_cancelled(e), e.message }
        return "end"
      end)
      assert.same({ false, true, "own" }, got)
      assert.equal("end", t:result())
      assert.equal(1, t:cancelling())
    end)
  end)

  it("gives values and errors as pcall", function()
    assert.same({ true, 1, nil, n = 3 }, table.pack(asyncio.catch(function(...) return ... end, 1, nil)))
    assert.same({ false, "x" }, { asyncio.catch(error, "x", 0) })
    assert.is_false((pcall(asyncio.catch)))
  end)

  it("inside a pcall keeps the cancellation from it", function()
    run(function()
      local t = cancelled_in(function()
        return pcall(function()
          asyncio.catch(await, asyncio.sleep(100))
          return "inside"
        end)
      end)
      assert.same({ true, "inside" }, { t:result() })
    end)
  end)

  it("around a pcall gets what the pcall let pass", function()
    run(function()
      local t = cancelled_in(function()
        local ok, e = asyncio.catch(pcall, await, asyncio.sleep(100))
        return ok, is_cancelled(e)
      end)
      assert.same({ false, true }, { t:result() })
    end)
  end)
end)

describe("coroutine.wrap and resume", function()
  it("let the own cancellation pass; <close> in them may await", function()
    run(function()
      local log = {}
      local t = cancelled_in(function()
        local outer = coroutine.wrap(function()
          local _ <close> = on_close(function(_, e)
            await(asyncio.sleep(1))
            log[#log + 1] = is_cancelled(e) and "outer" or tostring(e)
          end)
          local inner = coroutine.wrap(function()
            local _ <close> = on_close(function(_, e)
              await(asyncio.sleep(1))
              log[#log + 1] = is_cancelled(e) and "inner" or tostring(e)
            end)
            coroutine.yield(1)
            await(asyncio.sleep(100))
          end)
          inner()
          inner()
        end)
        pcall(outer)
        log[#log + 1] = "not reached"
      end)
      assert.is_true(t:cancelled())
      assert.same({ "inner", "outer" }, log)
      assert.equal(3.0, asyncio.get_running_loop():time())
    end)
  end)

  it("resume does not swallow it", function()
    run(function()
      local log = {}
      local t = cancelled_in(function()
        local co = coroutine.create(function()
          local _ <close> = on_close(function(_, e) log[#log + 1] = is_cancelled(e) end)
          await(asyncio.sleep(100))
        end)
        coroutine.resume(co)
        log[#log + 1] = "not reached"
      end)
      assert.is_true(t:cancelled())
      assert.same({ true }, log)
    end)
  end)

  it("resume gives the cancellation of another task", function()
    run(function()
      local other = asyncio.create_task(sleeper(100))
      local t = asyncio.create_task(function()
        local ok, e = coroutine.resume(coroutine.create(function() await(other) end))
        return ok, is_cancelled(e)
      end)
      settle(2)
      other:cancel()
      assert.same({ false, true }, { await(t) })
    end)
  end)
end)

describe("xpcall", function()
  it("lets the own cancellation pass and does not ask the handler", function()
    run(function()
      local asked = 0
      local t = cancelled_in(function()
        xpcall(await, function() asked = asked + 1 end, asyncio.sleep(100))
      end)
      assert.is_true(t:cancelled())
      assert.equal(0, asked)
    end)
  end)

  it("gives the handler's value for other errors", function()
    for _, wrap in ipairs { function(f) f() end, run } do
      wrap(function()
        assert.same({ false, "handled: x" }, { xpcall(error, function(e) return "handled: " .. e end, "x", 0) })
        assert.same({ true, 1, 2 }, { xpcall(function(...) return ... end, print, 1, 2) })
        local ok, tb = xpcall(function() local x = nil; return x.y end, debug.traceback)
        assert.is_false(ok)
        assert.is_truthy(tb:find("attempt to index a nil value (local 'x')", 1, true))
        assert.is_truthy(tb:find("stack traceback:", 1, true))
        assert.is_false((pcall(xpcall, print)))
        assert.is_false((pcall(xpcall, print, 1)))
      end)
    end
  end)

  it("survives handlers that fail", function()
    run(function()
      local ok = xpcall(error, function() error("again") end, "x")
      assert.is_false(ok)
      ok = xpcall(error, function(e)
        local t = nil
        return t[e]
      end, "x")
      assert.is_false(ok)
    end)
  end)
end)

describe("error objects", function()
  it("keep their identity through pcall, tasks, gather, wrap and await", function()
    run(function()
      local e = setmetatable({}, { __tostring = function() return "mine" end })
      local inner = async(function()
        coroutine.wrap(function()
          local _ <close> = on_close(function() await(asyncio.sleep(1)) end)
          pcall(await, asyncio.sleep(1))
          error(e)
        end)()
      end)
      local ok, got = pcall(await, asyncio.gather(asyncio.create_task(inner()), sleeper(5)))
      assert.is_false(ok)
      assert.is_true(rawequal(e, got))
    end)
  end)

  it("that are strings arrive as they were raised", function()
    run(function()
      local t = asyncio.create_task(function() error("spam", 0) end)
      assert.same({ false, "spam" }, { pcall(await, t) })
      t = asyncio.create_task(function() error("spam") end)
      local _, e = pcall(await, t)
      assert.is_truthy(e:find("^spec/engine/protect_spec.lua:%d+: spam$"), e)
    end)
  end)
end)

-- Where no await is involved the library is stock Lua's.
describe("coroutine.*", function()
  for where, wrap in pairs { ["in the main program"] = function(f) f() end, ["in a task"] = run } do
    it("pass values in and out " .. where, function()
      wrap(function()
        local co = coroutine.create(function(a, b)
          assert.same({ 1, nil }, { a, b })
          local c, d = coroutine.yield("y1", nil)
          assert.same({ 2, 3 }, { c, d })
          assert.equal(0, select("#", coroutine.yield()))
          return "r", nil, "s"
        end)
        assert.equal("suspended", coroutine.status(co))
        assert.same({ true, "y1", nil, n = 3 }, table.pack(coroutine.resume(co, 1)))
        assert.same({ true, n = 1 }, table.pack(coroutine.resume(co, 2, 3)))
        assert.same({ true, "r", nil, "s", n = 4 }, table.pack(coroutine.resume(co)))
        assert.equal("dead", coroutine.status(co))
        assert.same({ false, "cannot resume dead coroutine" }, { coroutine.resume(co) })
      end)
    end)

    it("know status, running and isyieldable " .. where, function()
      wrap(function()
        local outer, is_main = coroutine.running()
        assert.equal("thread", type(outer))
        assert.equal(where == "in the main program", is_main)
        assert.equal("running", coroutine.status(outer))
        local co
        co = coroutine.create(function()
          assert.is_true(coroutine.isyieldable())
          assert.equal(co, (coroutine.running()))
          assert.equal("running", coroutine.status(co))
          assert.equal("normal", coroutine.status(outer))
          local inner = coroutine.create(function() return coroutine.status(co) end)
          assert.same({ true, "normal" }, { coroutine.resume(inner) })
          assert.same({ false, "cannot resume non-suspended coroutine" }, { coroutine.resume(co) })
          local ok, e = coroutine.resume(outer)
          assert.is_false(ok)
          assert.is_truthy(tostring(e):find("cannot resume ", 1, true), e)
        end)
        assert.same({ true }, { coroutine.resume(co) })
      end)
    end)

    it("give errors and keep them " .. where, function()
      wrap(function()
        local e = {}
        local co = coroutine.create(function() error(e) end)
        assert.same({ false, e }, { coroutine.resume(co) })
        assert.equal("dead", coroutine.status(co))
        assert.same({ false, "cannot resume dead coroutine" }, { coroutine.resume(co) })
        local w = coroutine.wrap(function() error("text", 0) end)
        local ok, msg = pcall(w)
        assert.is_false(ok)
        assert.is_truthy(msg:find("text$"))
        assert.is_truthy(select(2, pcall(w)):find("cannot resume dead coroutine", 1, true))
        w = coroutine.wrap(function() error(e) end)
        ok, msg = pcall(w)
        assert.is_true(not ok and rawequal(msg, e))
        assert.is_false((pcall(coroutine.resume, 1)))
        assert.is_false((pcall(coroutine.create, 1)))
        assert.is_false((pcall(coroutine.wrap)))
        assert.is_truthy(select(2, pcall(coroutine.status, print)):find("coroutine expected", 1, true))
      end)
    end)

    it("make generators " .. where, function()
      wrap(function()
        local function permgen(a, n)
          n = n or #a
          if n <= 1 then
            coroutine.yield(a)
          else
            for i = 1, n do
              a[n], a[i] = a[i], a[n]
              permgen(a, n - 1)
              a[n], a[i] = a[i], a[n]
            end
          end
        end
        local n, seen = 0, {}
        for p in coroutine.wrap(function() permgen { 1, 2, 3, 4 } end) do
          n = n + 1
          seen[table.concat(p)] = true
        end
        local distinct = 0
        for _ in pairs(seen) do distinct = distinct + 1 end
        assert.same({ 24, 24 }, { n, distinct })

        local function gen(max)
          return coroutine.wrap(function() for i = 2, max do coroutine.yield(i) end end)
        end
        local function filter(p, g)
          return coroutine.wrap(function()
            for v in g do if v % p ~= 0 then coroutine.yield(v) end end
          end)
        end
        local x, primes = gen(40), {}
        while true do
          local p = x()
          if p == nil then break end
          primes[#primes + 1] = p
          x = filter(p, x)
        end
        assert.same({ 2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37 }, primes)
      end)
    end)

    it("yield across pcall, metamethods and iterators " .. where, function()
      wrap(function()
        local co = coroutine.wrap(function()
          local ok, v = pcall(function()
            local x = coroutine.yield "in pcall"
            error(x, 0)
          end)
          assert.same({ false, "err" }, { ok, v })
          local t = setmetatable({}, { __index = function(_, k) return coroutine.yield(k) end,
            __add = function() return coroutine.yield "add" end })
          assert.equal("got", t.key)
          assert.equal(5, t + 1)
          for v2 in function() return (coroutine.yield "iter") end do
            assert.equal("item", v2)
          end
          local xok, xv = xpcall(function() return coroutine.yield "xp" end, print)
          assert.same({ true, "xr" }, { xok, xv })
          return "end"
        end)
        assert.equal("in pcall", co())
        assert.equal("key", co "err")
        assert.equal("add", co "got")
        assert.equal("iter", co(5))
        assert.equal("iter", co "item")
        assert.equal("xp", co(nil))
        assert.equal("end", co "xr")
      end)
    end)

    it("close " .. where, function()
      wrap(function()
        local log = {}
        local function body()
          local _ <close> = on_close(function(_, e) log[#log + 1] = tostring(e) end)
          coroutine.yield()
        end
        local co = coroutine.create(body)
        assert.is_true(coroutine.close(co)) -- never started
        assert.equal("dead", coroutine.status(co))
        co = coroutine.create(body)
        coroutine.resume(co)
        assert.is_true(coroutine.close(co))
        assert.same({ "nil" }, log)
        assert.is_true(coroutine.close(co))
        co = coroutine.create(function()
          local _ <close> = on_close(function() error("in close", 0) end)
          coroutine.yield()
        end)
        coroutine.resume(co)
        assert.same({ false, "in close" }, { coroutine.close(co) })
        co = coroutine.create(function() error("x", 0) end)
        coroutine.resume(co)
        assert.same({ false, "x" }, { coroutine.close(co) })
        local _, e = pcall(coroutine.close, (coroutine.running()))
        assert.is_truthy(tostring(e):find("cannot close a running coroutine", 1, true), tostring(e))
        local outer
        outer = coroutine.create(function()
          local ok, err = coroutine.resume(coroutine.create(function() return coroutine.close(outer) end))
          assert.is_false(ok)
          assert.is_truthy(tostring(err):find("cannot close a normal coroutine", 1, true))
          return true
        end)
        assert.same({ true, true }, { coroutine.resume(outer) })
      end)
    end)

    it("cannot yield across a C function " .. where, function()
      wrap(function()
        local co = coroutine.create(function()
          table.sort({ 1, 2, 3 }, coroutine.yield)
        end)
        local ok, e = coroutine.resume(co)
        assert.is_false(ok)
        assert.is_truthy(e:find("attempt to yield across a C-call boundary", 1, true), e)
      end)
    end)

    it("wrap closes on an error " .. where, function()
      wrap(function()
        local log = {}
        local f = coroutine.wrap(function()
          local _ <close> = on_close(function(_, e) log[#log + 1] = tostring(e) end)
          error("boom", 0)
        end)
        assert.is_false((pcall(f)))
        assert.same({ "boom" }, log)
      end)
    end)

    it("are collected with what they hold " .. where, function()
      wrap(function()
        local weak = setmetatable({}, { __mode = "k" })
        do
          local x = {}
          weak[x] = true
          local co = coroutine.wrap(function()
            local _ = x
            coroutine.yield()
          end)
          co()
        end
        collectgarbage()
        collectgarbage()
        assert.is_nil(next(weak))
      end)
    end)

    it("take many values " .. where, function()
      wrap(function()
        local list = {}
        for i = 1, 2000 do list[i] = i end
        local co = coroutine.wrap(function(...)
          local n = select("#", coroutine.yield(...))
          return n, ...
        end)
        assert.equal(2000, select("#", co(table.unpack(list))))
        assert.equal(2001, select("#", co(table.unpack(list))))
      end)
    end)

    it("nest until the C stack ends, with an error " .. where, function()
      wrap(function()
        local function nest(n)
          local co = coroutine.wrap(function() return nest(n + 1) end)
          return co()
        end
        local ok, e = pcall(nest, 1)
        assert.is_false(ok)
        assert.is_truthy(tostring(e):find("C stack overflow", 1, true), tostring(e))
      end)
    end)
  end

  it("refuse a yield outside of a coroutine", function()
    local _, e = pcall(coroutine.yield)
    assert.is_truthy(e:find("attempt to yield from outside a coroutine", 1, true), e)
    run(function()
      _, e = pcall(coroutine.yield, 1)
      assert.is_truthy(e:find("attempt to yield from outside a coroutine", 1, true), e)
      assert.is_truthy(e:find("awaits instead", 1, true), e)
    end)
  end)

  it("refuse to resume or close what waits in an await", function()
    run(function()
      local co = coroutine.create(function() await(asyncio.sleep(5)) end)
      local t = asyncio.create_task(function() coroutine.resume(co) end)
      settle(2)
      assert.equal("normal", coroutine.status(co))
      local ok, e = coroutine.resume(co)
      assert.is_false(ok)
      assert.is_truthy(e:find("cannot resume a coroutine that waits in an await", 1, true), e)
      ok, e = pcall(coroutine.close, co)
      assert.is_false(ok)
      assert.is_truthy(e:find("cannot close a coroutine that waits in an await", 1, true), e)
      await(t)
      assert.equal("dead", coroutine.status(co))
    end)
  end)

  it("refuse to resume the thread of a task", function()
    run(function()
      local thread
      local t = asyncio.create_task(function()
        thread = coroutine.running()
        await(asyncio.sleep(5))
        return "unharmed"
      end)
      settle(2)
      assert.is_false((coroutine.resume(thread)))
      assert.is_false((pcall(coroutine.close, thread)))
      assert.equal("unharmed", await(t))
      for _ = 1, 10 do
        asyncio.create_task(sleeper(1))
      end
      coroutine.status(thread)
      assert.is_false((coroutine.resume(thread)))
      await(asyncio.sleep(2))
    end)
  end)

  it("let a coroutine that one task began go on in another", function()
    run(function()
      local co = coroutine.wrap(function()
        for i = 1, 4 do
          await(asyncio.sleep(1))
          coroutine.yield(i, asyncio.current_task())
        end
      end)
      local a = asyncio.create_task(function() return co() end)
      local i, task = await(a)
      assert.equal(1, i)
      assert.equal(a, task)
      local b = asyncio.create_task(function() return co() end)
      i, task = await(b)
      assert.equal(2, i)
      assert.equal(b, task)
      i, task = co()
      assert.equal(3, i)
      assert.equal(asyncio.current_task(), task)
    end)
  end)

  it("let a coroutine that a task began go on in the main program", function()
    local co = coroutine.wrap(function()
      coroutine.yield(await(asyncio.sleep(1, "in task")))
      return "outside"
    end)
    assert.equal("in task", run(function() return co() end))
    assert.equal("outside", co())
  end)
end)

describe("await in a coroutine of the main program", function()
  it("runs the loop, or says why not", function()
    local status, out, err = helper.cli({ "--virtual-time", "-e", [[
      local asyncio = require "asyncio"
      local co = coroutine.wrap(function()
        coroutine.yield(await(asyncio.sleep(1, "one")))
        return await(asyncio.sleep(1, "two"))
      end)
      print(co())
      print(co())]] })
    assert.same({ 0, "one\ntwo\n", "" }, { status, out, err })
  end)
end)
