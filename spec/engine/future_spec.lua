local helper = require "spec.helper"
local asyncio = require "asyncio"

local function run(f) return helper.run(async(f)) end

local function future() return asyncio.get_running_loop():create_future() end

-- Lets everything run that is ready now, and what follows from it.
local function settle(rounds)
  for _ = 1, rounds or 5 do await(asyncio.sleep(0)) end
end

describe("a new future", function()
  it("is pending", function()
    run(function()
      local f = future()
      assert.is_false(f:done())
      assert.is_false(f:cancelled())
      assert.is_true(asyncio.isfuture(f))
      assert.equal(asyncio.get_running_loop(), f:get_loop())
      f:cancel()
    end)
  end)

  it("belongs to the running loop, or to the one that is named", function()
    local other = asyncio.new_event_loop()
    run(function()
      assert.equal(asyncio.get_running_loop(), asyncio.Future():get_loop())
      assert.equal(other, asyncio.Future({ loop = other }):get_loop())
    end)
    other:close()
  end)

  it("has neither result nor exception", function()
    run(function()
      local f = future()
      helper.raises(asyncio.InvalidStateError, f.result, f)
      helper.raises(asyncio.InvalidStateError, f.exception, f)
    end)
  end)

  it("is no coroutine, and other things are no futures", function()
    run(function()
      assert.is_false(asyncio.iscoroutine(future()))
      for _, x in ipairs { 1, "f", {}, print, setmetatable({}, {}), io.stdout, asyncio.sleep(0) } do
        assert.is_false(asyncio.isfuture(x))
      end
      assert.is_false(asyncio.isfuture(nil))
    end)
  end)
end)

describe("set_result", function()
  it("ends the future with the value", function()
    run(function()
      local f = future()
      f:set_result(42)
      assert.is_true(f:done())
      assert.is_false(f:cancelled())
      assert.equal(42, f:result())
      assert.equal(42, f:result())
      assert.is_nil(f:exception())
      assert.equal(42, await(f))
    end)
  end)

  it("takes nil, false and several values", function()
    run(function()
      local a, b, c, d = future(), future(), future(), future()
      a:set_result(nil)
      b:set_result(false)
      c:set_result(1, nil, 3, nil)
      d:set_result()
      assert.same({ n = 1 }, table.pack(await(a)))
      assert.same({ false, n = 1 }, table.pack(await(b)))
      assert.same({ 1, nil, 3, nil, n = 4 }, table.pack(await(c)))
      assert.same({ 1, nil, 3, nil, n = 4 }, table.pack(c:result()))
      assert.is_nil(await(d))
    end)
  end)

  it("is refused when the future is done or cancelled", function()
    run(function()
      local f, g, h = future(), future(), future()
      f:set_result(1)
      g:cancel()
      h:set_exception("x")
      h:exception()
      for _, x in ipairs { f, g, h } do
        helper.raises(asyncio.InvalidStateError, x.set_result, x, 2)
        helper.raises(asyncio.InvalidStateError, x.set_exception, x, "no")
      end
      assert.equal(1, f:result())
    end)
  end)

  it("wakes every task that waits, in the order they came", function()
    run(function()
      local f, order = future(), {}
      local tasks = {}
      for i = 1, 4 do
        tasks[i] = asyncio.create_task(function()
          local value = await(f)
          order[#order + 1] = i .. value
        end)
      end
      settle(1)
      f:set_result("x")
      assert.same({}, order)
      await(asyncio.gather(tasks))
      assert.same({ "1x", "2x", "3x", "4x" }, order)
    end)
  end)
end)

describe("set_exception", function()
  it("raises the very same object in result and in each await", function()
    run(function()
      local f, e = future(), asyncio.ValueError("bad")
      f:set_exception(e)
      assert.is_true(f:done())
      assert.is_false(f:cancelled())
      assert.equal(e, f:exception())
      local ok, got = pcall(f.result, f)
      assert.is_false(ok)
      assert.equal(e, got)
      for _ = 1, 2 do
        ok, got = pcall(await, f)
        assert.is_false(ok)
        assert.is_true(rawequal(e, got))
      end
    end)
  end)

  it("makes an error of a class", function()
    run(function()
      local f = future()
      f:set_exception(asyncio.ValueError)
      local e = f:exception()
      assert.is_true(asyncio.isinstance(e, asyncio.ValueError))
      assert.equal("ValueError", tostring(e))
    end)
  end)

  it("takes any value but nil", function()
    run(function()
      for _, v in ipairs { "text", 12, false, {}, print } do
        local f = future()
        f:set_exception(v)
        local ok, got = pcall(await, f)
        assert.is_false(ok)
        assert.equal(v, got)
        assert.equal(v, f:exception())
      end
      local f = future()
      helper.raises(asyncio.TypeError, f.set_exception, f, nil)
      assert.is_false(f:done())
      f:cancel()
    end)
  end)

  it("refuses StopAsyncIteration", function()
    run(function()
      local f = future()
      helper.raises(asyncio.TypeError, f.set_exception, f, asyncio.StopAsyncIteration())
      helper.raises(asyncio.TypeError, f.set_exception, f, asyncio.StopAsyncIteration)
      f:cancel()
    end)
  end)
end)

describe("cancelling a future", function()
  it("ends it once", function()
    run(function()
      local f = future()
      assert.is_true(f:cancel())
      assert.is_true(f:cancelled())
      assert.is_true(f:done())
      assert.is_false(f:cancel())
      helper.raises(asyncio.CancelledError, f.result, f)
      helper.raises(asyncio.CancelledError, f.exception, f)
    end)
  end)

  it("does nothing to one that is done", function()
    run(function()
      local f, g = future(), future()
      f:set_result(1)
      g:set_exception("x")
      assert.is_false(f:cancel())
      assert.is_false(g:cancel())
      assert.equal(1, f:result())
      assert.equal("x", g:exception())
      assert.is_false(g:cancelled())
    end)
  end)

  it("gives its message to every error", function()
    run(function()
      local f = future()
      f:cancel("why")
      for _ = 1, 2 do
        local e = helper.raises(asyncio.CancelledError, f.result, f)
        assert.equal("why", e.message)
        assert.equal("CancelledError: why", tostring(e))
      end
      local g = future()
      g:cancel()
      local e = helper.raises(asyncio.CancelledError, g.result, g)
      assert.is_nil(e.message)
      assert.equal("CancelledError", tostring(e))
    end)
  end)

  it("reaches the task that awaits it as an error that pcall catches", function()
    run(function()
      local f = future()
      local t = asyncio.create_task(function()
        local ok, e = pcall(await, f)
        return ok, asyncio.isinstance(e, asyncio.CancelledError)
      end)
      settle()
      f:cancel()
      local ok, cancelled = await(t)
      assert.is_false(ok)
      assert.is_true(cancelled)
      assert.equal(0, t:cancelling())
    end)
  end)

  it("cancels the task that awaits it and lets the error go", function()
    run(function()
      local f = future()
      local t = asyncio.create_task(function() await(f) end)
      settle()
      f:cancel("gone")
      settle()
      assert.is_true(t:cancelled())
      local e = helper.raises(asyncio.CancelledError, t.result, t)
      assert.equal("gone", e.message)
    end)
  end)
end)

describe("done callbacks", function()
  it("get the future, through the ready queue, in the order of adding", function()
    run(function()
      local f, seen = future(), {}
      for i = 1, 3 do f:add_done_callback(function(x) seen[#seen + 1] = { i, rawequal(x, f) } end) end
      f:set_result(1)
      assert.same({}, seen)
      await(asyncio.sleep(0))
      assert.same({ { 1, true }, { 2, true }, { 3, true } }, seen)
    end)
  end)

  it("run for results, exceptions and cancels", function()
    run(function()
      local a, b, c, n = future(), future(), future(), 0
      for _, f in ipairs { a, b, c } do f:add_done_callback(function(x) n = n + (x:done() and 1 or 0) end) end
      a:set_result(1)
      b:set_exception("x")
      b:exception()
      c:cancel()
      settle(1)
      assert.equal(3, n)
    end)
  end)

  it("are called even when they are added late, again through the ready queue", function()
    run(function()
      local f, n = future(), 0
      f:set_result(1)
      f:add_done_callback(function() n = n + 1 end)
      assert.equal(0, n)
      settle(1)
      assert.equal(1, n)
    end)
  end)

  it("may be added twice and are then called twice", function()
    run(function()
      local f, n = future(), 0
      local function cb() n = n + 1 end
      f:add_done_callback(cb)
      f:add_done_callback(cb)
      f:set_result(1)
      settle(1)
      assert.equal(2, n)
    end)
  end)

  it("are removed by remove_done_callback, which counts them", function()
    run(function()
      local f, seen = future(), {}
      local function a() seen[#seen + 1] = "a" end
      local function b() seen[#seen + 1] = "b" end
      local function c() seen[#seen + 1] = "c" end
      for _, cb in ipairs { a, b, a, c, a } do f:add_done_callback(cb) end
      assert.equal(3, f:remove_done_callback(a))
      assert.equal(0, f:remove_done_callback(a))
      assert.equal(0, f:remove_done_callback(print))
      f:set_result(1)
      settle(1)
      assert.same({ "b", "c" }, seen)
      assert.equal(0, f:remove_done_callback(b))
    end)
  end)

  it("can be removed first, second, third", function()
    for gone = 1, 3 do
      run(function()
        local f, seen, cbs = future(), {}, {}
        for i = 1, 3 do
          cbs[i] = function() seen[#seen + 1] = i end
          f:add_done_callback(cbs[i])
        end
        assert.equal(1, f:remove_done_callback(cbs[gone]))
        f:set_result(1)
        settle(1)
        local expected = { 1, 2, 3 }
        table.remove(expected, gone)
        assert.same(expected, seen)
      end)
    end
  end)

  it("survive an __eq that changes the list of callbacks", function()
    run(function()
      local f, n = future(), 0
      local evil = setmetatable({}, {
        __call = function() n = n + 1 end,
        __eq = function()
          f:remove_done_callback(print)
          return false
        end,
      })
      local other = setmetatable({}, getmetatable(evil))
      f:add_done_callback(evil)
      f:add_done_callback(evil)
      f:remove_done_callback(other)
      f:set_result(1)
      settle(1)
      assert.equal(2, n)
    end)
  end)

  it("survive an __eq that ends the future", function()
    run(function()
      local f = future()
      local meta = {
        __call = function() end,
        __eq = function()
          if not f:done() then f:set_result(1) end
          return true
        end,
      }
      for _ = 1, 3 do f:add_done_callback(setmetatable({}, meta)) end
      f:remove_done_callback(setmetatable({}, meta))
      settle()
      assert.equal(1, f:result())
    end)
  end)

  it("that fail are reported, and the others still run", function()
    run(function()
      local loop, contexts, n = asyncio.get_running_loop(), {}, 0
      loop:set_exception_handler(function(_, context) contexts[#contexts + 1] = context end)
      local f = future()
      f:add_done_callback(function() error("first", 0) end)
      f:add_done_callback(function() n = n + 1 end)
      f:set_result(1)
      settle(1)
      assert.equal(1, n)
      assert.equal(1, #contexts)
      assert.equal("first", contexts[1].exception)
      assert.is_truthy(contexts[1].message:find("Exception in callback", 1, true))
    end)
  end)

  it("must be callable", function()
    run(function()
      local f = future()
      local e = helper.raises(asyncio.TypeError, function() f:add_done_callback(12) end)
      assert.is_truthy(tostring(e):find("add_done_callback: a function was expected, got number", 1, true))
      f:cancel()
    end)
  end)

  it("keep a future alive that nobody else holds", function()
    run(function()
      local n = 0
      do
        local f = future()
        f:add_done_callback(function(x) n = x:result() end)
        asyncio.get_running_loop():call_later(1, f.set_result, f, 7)
      end
      collectgarbage()
      collectgarbage()
      await(asyncio.sleep(2))
      assert.equal(7, n)
    end)
  end)

  it("may end other futures and add further callbacks", function()
    run(function()
      local a, b, seen = future(), future(), {}
      a:add_done_callback(function()
        b:set_result("from a")
        a:add_done_callback(function() seen[#seen + 1] = "late" end)
      end)
      a:set_result(1)
      assert.equal("from a", await(b))
      settle(1)
      assert.same({ "late" }, seen)
    end)
  end)
end)

describe("awaiting a future", function()
  it("that is done does not yield", function()
    run(function()
      local f, others = future(), 0
      asyncio.create_task(function() others = others + 1 end)
      f:set_result(1)
      assert.equal(1, await(f))
      assert.equal(0, others)
      settle(1)
    end)
  end)

  it("of another loop is refused", function()
    local other = asyncio.new_event_loop()
    local f = other:create_future()
    run(function()
      local e = helper.raises(asyncio.RuntimeError, function() await(f) end)
      assert.is_truthy(tostring(e):find("attached to a different loop", 1, true))
    end)
    f:cancel()
    other:close()
  end)

  it("works from two tasks of which one is cancelled", function()
    run(function()
      local f = future()
      local t1 = asyncio.create_task(function() return pcall(await, f) end)
      local t2 = asyncio.create_task(function() return await(f) end)
      settle()
      t2:cancel()
      settle()
      assert.is_true(t2:cancelled())
      assert.is_true(f:cancelled()) -- as in CPython: a cancel goes through to the future
      assert.is_false(await(t1))
    end)
  end)
end)

describe("tostring of a future", function()
  it("shows state and outcome", function()
    run(function()
      local f, g, h, i = future(), future(), future(), future()
      assert.equal("<Future pending>", tostring(f))
      f:set_result(42)
      g:set_result("text")
      h:set_exception(asyncio.ValueError("bad"))
      i:cancel()
      assert.equal("<Future finished result=42>", tostring(f))
      assert.equal("<Future finished result='text'>", tostring(g))
      assert.equal("<Future finished exception=ValueError: bad>", tostring(h))
      assert.equal("<Future cancelled>", tostring(i))
      h:exception()
    end)
  end)

  it("survives a __tostring that fails", function()
    run(function()
      local f, g = future(), future()
      local bad = setmetatable({}, { __tostring = function() error("no") end })
      f:set_result(bad)
      g:set_exception(bad)
      assert.is_string(tostring(f))
      assert.is_string(tostring(g))
      g:exception()
    end)
  end)
end)

describe("an error of a future that nobody has seen", function()
  local function reports(f)
    local list = {}
    run(function()
      asyncio.get_running_loop():set_exception_handler(function(_, context) list[#list + 1] = context end)
      f()
      collectgarbage()
      collectgarbage()
      settle()
    end)
    return list
  end

  it("is reported when the future is collected", function()
    local seen
    local list = reports(function()
      local loop = asyncio.get_running_loop()
      local outer = {}
      loop:set_exception_handler(function(_, context) outer[#outer + 1] = context end)
      future():set_exception(asyncio.ValueError("lost"))
      collectgarbage()
      collectgarbage()
      seen = #outer
      assert.equal("Future exception was never retrieved", outer[1].message)
      assert.equal("ValueError: lost", tostring(outer[1].exception))
    end)
    assert.equal(1, seen)
    assert.equal(0, #list)
  end)

  it("is reported when the loop closes, if the future lives on", function()
    local f
    local list = reports(function()
      f = future()
      f:set_exception("kept")
    end)
    assert.equal(1, #list)
    assert.equal("kept", list[1].exception)
    assert.is_truthy(f)
  end)

  it("is not reported after result, exception or an await", function()
    local list = reports(function()
      local a, b, c = future(), future(), future()
      for _, f in ipairs { a, b, c } do f:set_exception("seen") end
      pcall(a.result, a)
      b:exception()
      pcall(await, c)
    end)
    assert.equal(0, #list)
  end)

  it("is not reported for results and cancels", function()
    local list = reports(function()
      future():set_result(1)
      future():cancel()
    end)
    assert.equal(0, #list)
  end)
end)

describe("methods of futures", function()
  it("called on something else say what was expected", function()
    run(function()
      local f = future()
      for _, name in ipairs { "result", "done", "cancel", "set_result", "add_done_callback" } do
        local ok, e = pcall(f[name], {})
        assert.is_false(ok)
        assert.is_truthy(tostring(e):find("Future expected, got table", 1, true), tostring(e))
      end
      f:cancel()
    end)
  end)
end)
