local helper = require "spec.helper"
local asyncio = require "asyncio"

local function run(f, opts) return helper.run(async(f), opts) end

local function settle(rounds)
  for _ = 1, rounds or 5 do await(asyncio.sleep(0)) end
end

-- Calls f(loop) with a loop on a virtual clock, which is closed after it.
local function with_loop(f)
  local loop <close> = asyncio.new_event_loop { clock = "virtual" }
  f(loop)
end

local sleeper = async(function(delay, value)
  await(asyncio.sleep(delay))
  return value
end)

describe("call_soon", function()
  it("calls in order, with the arguments, in the next round", function()
    with_loop(function(loop)
      local log = {}
      for i = 1, 3 do loop:call_soon(function(...) log[#log + 1] = { i, select("#", ...), ... } end, i * 10, nil, "x", nil) end
      assert.same({}, log)
      loop:call_soon(loop.stop, loop)
      loop:run_forever()
      assert.same({ { 1, 4, 10, nil, "x" }, { 2, 4, 20, nil, "x" }, { 3, 4, 30, nil, "x" } }, log)
    end)
  end)

  it("from a callback runs in the next round, not in this one", function()
    run(function()
      local loop, log = asyncio.get_running_loop(), {}
      loop:call_soon(function()
        log[#log + 1] = "a"
        loop:call_soon(function() log[#log + 1] = "c" end)
      end)
      loop:call_soon(function() log[#log + 1] = "b" end)
      settle(1)
      assert.same({ "a", "b" }, log)
      settle(1)
      assert.same({ "a", "b", "c" }, log)
    end)
  end)

  it("that feeds itself does not starve timers", function()
    run(function()
      local loop, n, stop = asyncio.get_running_loop(), 0, false
      local function again()
        n = n + 1
        if not stop then loop:call_soon(again) end
      end
      again()
      loop:call_later(0, function() stop = true end)
      settle(20)
      assert.is_true(stop)
      assert.is_true(n < 20)
    end)
  end)

  it("refuses what cannot be called, and coroutines", function()
    with_loop(function(loop)
      local e = helper.raises(asyncio.TypeError, function() loop:call_soon(12) end)
      assert.is_truthy(tostring(e):find("loop_spec.lua:%d+: call_soon: a function was expected, got number"), tostring(e))
      local c = sleeper(1)
      helper.raises("coroutines cannot be used with call_soon(): use create_task", function() loop:call_soon(c) end)
      helper.raises("coroutines cannot be used with call_soon()", function() loop:call_soon(sleeper) end)
      helper.raises("coroutines cannot be used with call_later()", function() loop:call_later(1, c) end)
      helper.raises(asyncio.TypeError, function() loop:call_soon() end)
      c:close()
    end)
  end)

  it("takes callable objects", function()
    run(function()
      local got
      asyncio.get_running_loop():call_soon(setmetatable({}, { __call = function(_, x) got = x end }), 5)
      settle(1)
      assert.equal(5, got)
    end)
  end)

  it("does not allow an await in the callback, and says what to do", function()
    run(function()
      local loop, got = asyncio.get_running_loop(), nil
      local c = asyncio.sleep(1)
      loop:call_soon(function() got = select(2, pcall(await, c)) end)
      settle(1)
      c:close()
      assert.is_truthy(tostring(got):find("callbacks of the loop cannot suspend; use asyncio.create_task", 1, true), tostring(got))
      collectgarbage()
    end)
  end)

  it("threadsafe works like it", function()
    run(function()
      local log = {}
      asyncio.get_running_loop():call_soon_threadsafe(function(x) log[1] = x end, 7)
      settle(1)
      assert.same({ 7 }, log)
    end)
  end)

  it("on a closed loop is an error", function()
    local loop = asyncio.new_event_loop()
    loop:close()
    for _, f in ipairs {
      function() loop:call_soon(print) end,
      function() loop:call_later(1, print) end,
      function() loop:call_at(1, print) end,
      function() loop:run_forever() end,
      function() loop:call_soon_threadsafe(print) end,
    } do helper.raises("Event loop is closed", f) end
  end)
end)

describe("timers", function()
  it("fire in the order of their times, equal ones in the order of making", function()
    run(function()
      local loop, log = asyncio.get_running_loop(), {}
      local t0 = loop:time()
      for i, delay in ipairs { 3, 1, 2, 1, 3, 2, 1 } do
        loop:call_later(delay, function() log[#log + 1] = i end)
      end
      for i = 8, 9 do loop:call_at(t0 + 1, function() log[#log + 1] = i end) end
      await(asyncio.sleep(5))
      assert.same({ 2, 4, 7, 8, 9, 3, 6, 1, 5 }, log)
    end)
  end)

  it("see the loop's time at which they are due", function()
    run(function()
      local loop, seen = asyncio.get_running_loop(), nil
      loop:call_later(2.5, function() seen = loop:time() end)
      await(asyncio.sleep(3))
      assert.equal(2.5, seen)
    end)
  end)

  it("with a time that has passed fire at once", function()
    run(function()
      local loop, log = asyncio.get_running_loop(), {}
      loop:call_later(-5, function() log[#log + 1] = "negative" end)
      loop:call_at(loop:time() - 100, function() log[#log + 1] = "past" end)
      loop:call_later(0, function() log[#log + 1] = "zero" end)
      settle(2)
      table.sort(log)
      assert.same({ "negative", "past", "zero" }, log)
      assert.equal(0.0, loop:time())
    end)
  end)

  it("with negative delays fire by their times, too", function()
    run(function()
      local loop, log = asyncio.get_running_loop(), {}
      loop:call_later(-1, function() log[#log + 1] = "a" end)
      loop:call_later(-2, function() log[#log + 1] = "b" end)
      settle(2)
      assert.same({ "b", "a" }, log)
    end)
  end)

  it("of equal times keep their order with ten thousand of them", function()
    run(function()
      local loop, last = asyncio.get_running_loop(), 0
      for i = 1, 10000 do loop:call_later(1, function()
        assert(last == i - 1)
        last = i
      end) end
      await(asyncio.sleep(2))
      assert.equal(10000, last)
    end)
  end)

  it("refuse delays that are no number or not a number", function()
    with_loop(function(loop)
      local e = helper.raises(asyncio.TypeError, function() loop:call_later("1", print) end)
      assert.is_truthy(tostring(e):find("call_later: the delay must be a number of seconds, got string", 1, true))
      e = helper.raises(asyncio.ValueError, function() loop:call_later(0 / 0, print) end)
      assert.is_truthy(tostring(e):find("call_later: the delay is NaN", 1, true))
      helper.raises(asyncio.TypeError, function() loop:call_at(nil, print) end)
    end)
  end)

  it("can lie so far away that they never come", function()
    run(function()
      local h = asyncio.get_running_loop():call_later(math.huge, print)
      await(asyncio.sleep(1))
      h:cancel()
    end)
  end)
end)

describe("stop", function()
  it("finishes the current round", function()
    with_loop(function(loop)
      local log = {}
      loop:call_soon(function()
        log[#log + 1] = 1
        loop:stop()
        loop:call_soon(function() log[#log + 1] = 3 end)
      end)
      loop:call_soon(function() log[#log + 1] = 2 end)
      loop:run_forever()
      assert.same({ 1, 2 }, log)
      assert.is_false(loop:is_running())
      loop:stop()
      loop:run_forever()
      assert.same({ 1, 2, 3 }, log)
    end)
  end)

  it("before the run lets one round run", function()
    with_loop(function(loop)
      local n = 0
      loop:call_soon(function() n = n + 1 end)
      loop:stop()
      loop:run_forever()
      assert.equal(1, n)
    end)
  end)

  it("during run_until_complete is an error that says so", function()
    with_loop(function(loop)
      local t = loop:create_task(sleeper(10))
      loop:call_later(1, loop.stop, loop)
      helper.raises("Event loop stopped before Future completed.", loop.run_until_complete, loop, t)
      t:cancel()
      asyncio.catch(loop.run_until_complete, loop, t)
    end)
  end)

  it("may be called twice", function()
    with_loop(function(loop)
      loop:call_soon(loop.stop, loop)
      loop:call_soon(loop.stop, loop)
      loop:run_forever()
      local n = 0
      loop:call_soon(function()
        n = n + 1
        loop:call_soon(loop.stop, loop)
      end)
      loop:run_forever()
      assert.equal(1, n)
    end)
  end)
end)

describe("run_until_complete", function()
  it("gives the values of coroutines, tasks, futures and functions", function()
    with_loop(function(loop)
      assert.same({ 1, 2 }, { loop:run_until_complete(async(function() return 1, 2 end)()) })
      assert.equal("t", loop:run_until_complete(loop:create_task(sleeper(1, "t"))))
      local f = loop:create_future()
      loop:call_later(1, f.set_result, f, "f")
      assert.equal("f", loop:run_until_complete(f))
      assert.equal("fn", loop:run_until_complete(function() return "fn" end))
      assert.equal("done", loop:run_until_complete((function()
        local g = loop:create_future()
        g:set_result("done")
        return g
      end)()))
    end)
  end)

  it("raises the error object itself", function()
    with_loop(function(loop)
      local e = {}
      local ok, got = pcall(loop.run_until_complete, loop, async(function() error(e) end)())
      assert.is_false(ok)
      assert.is_true(rawequal(e, got))
    end)
  end)

  it("refuses what is no awaitable and futures of another loop", function()
    with_loop(function(loop)
      helper.raises(asyncio.TypeError, loop.run_until_complete, loop, "blah")
      with_loop(function(other)
        local f = other:create_future()
        helper.raises(asyncio.ValueError, loop.run_until_complete, loop, f)
        f:cancel()
      end)
    end)
  end)

  it("leaves other tasks where they are, for the next run", function()
    with_loop(function(loop)
      local log = {}
      local t = loop:create_task(function()
        await(asyncio.sleep(5))
        log[1] = "late"
      end)
      loop:run_until_complete(sleeper(1))
      assert.same({}, log)
      loop:run_until_complete(t)
      assert.same({ "late" }, log)
      assert.equal(5.0, loop:time())
    end)
  end)

  it("names the future when there is no task that could wait for it", function()
    with_loop(function(loop)
      local e = helper.raises(asyncio.RuntimeError, loop.run_until_complete, loop, loop:create_future())
      assert.equal("deadlock: nothing is left that could wake what is awaited: <Future pending>", e.message)
    end)
  end)

  it("says who waits when nothing is left that could happen", function()
    with_loop(function(loop)
      local f = loop:create_future()
      local t = loop:create_task(async(function() await(f) end)(), { name = "stuck" })
      local e = helper.raises(asyncio.RuntimeError, loop.run_until_complete, loop, t)
      assert.is_truthy(tostring(e):find("deadlock", 1, true), tostring(e))
      assert.is_truthy(tostring(e):find("name='stuck'", 1, true), tostring(e))
      assert.is_truthy(tostring(e):find("loop_spec.lua:%d+"), tostring(e))
      t:cancel()
      asyncio.catch(loop.run_until_complete, loop, t)
    end)
  end)
end)

describe("a loop that runs", function()
  it("is known as running, and no other is", function()
    with_loop(function(loop)
      assert.is_false(loop:is_running())
      helper.raises("no running event loop", asyncio.get_running_loop)
      loop:run_until_complete(async(function()
        assert.is_true(loop:is_running())
        assert.equal(loop, asyncio.get_running_loop())
        assert.equal(loop, asyncio.get_event_loop())
      end)())
      assert.is_false(loop:is_running())
    end)
  end)

  it("cannot be run again, nor another inside it", function()
    with_loop(function(loop)
      loop:run_until_complete(async(function()
        local c = sleeper(1)
        helper.raises("This event loop is already running", loop.run_until_complete, loop, c)
        helper.raises("This event loop is already running", loop.run_forever, loop)
        local other = asyncio.new_event_loop()
        helper.raises("Cannot run the event loop while another loop is running", other.run_forever, other)
        helper.raises("Cannot run the event loop while another loop is running", other.run_until_complete, other, c)
        other:close()
        c:close()
      end)())
    end)
  end)

  it("cannot be closed", function()
    with_loop(function(loop)
      loop:run_until_complete(async(function()
        helper.raises("Cannot close a running event loop", loop.close, loop)
      end)())
    end)
  end)

  it("can be run again after an error left it", function()
    with_loop(function(loop)
      loop:call_soon(function() error(asyncio.KeyboardInterrupt()) end)
      helper.raises(asyncio.KeyboardInterrupt, loop.run_forever, loop)
      assert.is_false(loop:is_running())
      assert.equal(1, loop:run_until_complete(sleeper(1, 1)))
    end)
  end)

  it("that was left by an error runs the rest of the round in the next run", function()
    with_loop(function(loop)
      local n = 0
      loop:call_soon(function() error(asyncio.SystemExit(3)) end)
      loop:call_soon(function() n = n + 1 end)
      helper.raises(asyncio.SystemExit, loop.run_forever, loop)
      loop:call_soon(loop.stop, loop)
      loop:run_forever()
      assert.equal(1, n)
    end)
  end)

  it("that was stopped and left by an error in one round is not stopped again in the next run", function()
    with_loop(function(loop)
      loop:call_soon(function()
        loop:stop()
        error(asyncio.KeyboardInterrupt())
      end)
      helper.raises(asyncio.KeyboardInterrupt, loop.run_until_complete, loop, asyncio.sleep(5))
      assert.equal(7, loop:run_until_complete(asyncio.sleep(1, 7)))
    end)
  end)

  it("that was left by an error runs what was readied in that round in the same one as its rest", function()
    with_loop(function(loop)
      local n = 0
      loop:call_soon(function()
        loop:call_soon(function() n = n + 1 end)
        error(asyncio.SystemExit(3))
      end)
      loop:call_soon(loop.stop, loop)
      helper.raises(asyncio.SystemExit, loop.run_forever, loop)
      loop:run_forever()
      assert.equal(1, n)
    end)
  end)
end)

describe("closing a loop", function()
  it("twice is fine", function()
    local loop = asyncio.new_event_loop()
    assert.is_false(loop:is_closed())
    loop:close()
    loop:close()
    assert.is_true(loop:is_closed())
    assert.is_truthy(tostring(loop):find("closed=true", 1, true))
  end)

  it("drops callbacks and timers that wait, which are never called", function()
    local loop, n = asyncio.new_event_loop { clock = "virtual" }, 0
    loop:call_soon(function() n = n + 1 end)
    local h = loop:call_later(1, function() n = n + 1 end)
    loop:close()
    assert.equal(0, n)
    h:cancel()
    assert.is_true(h:cancelled())
  end)

  it("leaves futures that can still be asked and set", function()
    local loop = asyncio.new_event_loop { clock = "virtual" }
    local f, g = loop:create_future(), loop:create_future()
    f:set_result(1)
    loop:close()
    assert.equal(1, f:result())
    assert.is_false(g:done())
    pcall(g.set_result, g, 2)
    pcall(g.cancel, g)
    helper.raises("Event loop is closed", loop.run_until_complete, loop, f)
  end)

  it("with tasks pending closes what they hold", function()
    local log = {}
    local loop = asyncio.new_event_loop { clock = "virtual" }
    loop:set_exception_handler(function() end)
    for i = 1, 3 do
      loop:create_task(function()
        local _ <close> = setmetatable({}, { __close = function() log[#log + 1] = i end })
        coroutine.wrap(function()
          await(loop:create_future())
        end)()
      end)
    end
    loop:run_until_complete(sleeper(1))
    loop:close()
    table.sort(log)
    assert.same({ 1, 2, 3 }, log)
  end)
end)

describe("closing a loop with a task that waits in nested coroutines", function()
  it("runs the <close> of each, innermost first, once", function()
    local log = {}
    local function closing(name)
      return setmetatable({}, { __close = function() log[#log + 1] = name end })
    end
    local loop = asyncio.new_event_loop { clock = "virtual" }
    loop:set_exception_handler(function() end)
    loop:create_task(function()
      local _ <close> = closing "task"
      coroutine.wrap(function()
        local _ <close> = closing "wrap"
        coroutine.resume(coroutine.create(function()
          local _ <close> = closing "create"
          coroutine.wrap(function()
            local _ <close> = closing "inner"
            await(asyncio.sleep(100))
          end)()
        end))
      end)()
    end)
    loop:run_until_complete(sleeper(1))
    loop:close()
    assert.same({ "inner", "create", "wrap", "task" }, log)
  end)

  it("refuses an await in a <close>, also when it is the current loop", function()
    local loop = asyncio.new_event_loop { clock = "virtual" }
    asyncio.set_event_loop(loop)
    loop:set_exception_handler(function() end)
    local said = {}
    for i = 1, 2 do
      loop:create_task(function()
        local _ <close> = setmetatable({}, { __close = function()
          local c = asyncio.sleep(1)
          said[i] = tostring(select(2, pcall(await, c)))
          c:close()
          pcall(loop.close, loop)
        end })
        await(asyncio.sleep(100))
      end)
    end
    loop:call_later(1, loop.stop, loop)
    loop:run_forever()
    loop:close()
    asyncio.set_event_loop(nil)
    for i = 1, 2 do assert.is_truthy(said[i]:find("RuntimeError", 1, true), said[i]) end
  end)
end)

describe("a future of a closed loop", function()
  it("can be set, but its callbacks are refused", function()
    local loop = asyncio.new_event_loop()
    local f, g, h = loop:create_future(), loop:create_future(), loop:create_future()
    f:add_done_callback(print)
    g:add_done_callback(print)
    loop:close()
    helper.raises("Event loop is closed", f.set_result, f, 1)
    assert.equal(1, f:result())
    helper.raises("Event loop is closed", g.set_exception, g, "x")
    assert.equal("x", g:exception())
    h:set_result(2)
    assert.equal(2, h:result())
    helper.raises("Event loop is closed", h.add_done_callback, h, print)
  end)
end)

describe("the loops there are", function()
  it("get_event_loop makes one at need, set_event_loop changes it", function()
    asyncio.set_event_loop(nil)
    local a = asyncio.get_event_loop()
    assert.equal(a, asyncio.get_event_loop())
    with_loop(function(loop)
      asyncio.set_event_loop(loop)
      assert.equal(loop, asyncio.get_event_loop())
      asyncio.set_event_loop(a)
    end)
    assert.equal(a, asyncio.get_event_loop())
  end)

  it("new_event_loop refuses unknown options and clocks", function()
    local e = helper.raises(asyncio.TypeError, asyncio.new_event_loop, { clok = "virtual" })
    assert.is_truthy(tostring(e):find("new_event_loop() got an unexpected keyword argument 'clok'", 1, true), tostring(e))
    e = helper.raises(asyncio.ValueError, asyncio.new_event_loop, { clock = "wrong" })
    assert.is_truthy(tostring(e):find('clock must be "real" or "virtual", got wrong', 1, true), tostring(e))
  end)
end)

describe("the virtual clock", function()
  it("jumps to the next timer and takes no real time", function()
    local t0 = os.time()
    run(function()
      local loop = asyncio.get_running_loop()
      local start = loop:time()
      for _ = 1, 24 do await(asyncio.sleep(3600)) end
      assert.equal(24 * 3600.0, loop:time() - start)
    end)
    assert.is_true(os.time() - t0 < 5)
  end)

  it("stands still while there is something to do", function()
    run(function()
      local loop = asyncio.get_running_loop()
      asyncio.create_task(asyncio.sleep(1))
      for _ = 1, 1000 do
        await(asyncio.sleep(0))
        assert(loop:time() == 0)
      end
    end)
  end)

  it("serves the main program's awaits too", function()
    local status, out = helper.cli({ "--virtual-time", "-e", [[
      local asyncio = require "asyncio"
      local loop = asyncio.get_event_loop()
      await(asyncio.sleep(1000))
      print(loop:time())]] })
    assert.equal(0, status)
    assert.equal("1000.0\n", out)
  end)
end)

describe("the real clock", function()
  it("is monotonic and in seconds", function()
    helper.run(async(function()
      local loop = asyncio.get_running_loop()
      local t0 = loop:time()
      await(asyncio.sleep(0.02))
      local took = loop:time() - t0
      assert.is_true(took >= 0.0199, tostring(took))
      assert.is_true(took < 5, tostring(took))
    end), { clock = "real" })
  end)
end)

describe("an exception handler", function()
  local function collect(f)
    local list = {}
    run(function()
      asyncio.get_running_loop():set_exception_handler(function(loop, context)
        list[#list + 1] = { loop, context }
      end)
      f()
      settle()
    end)
    return list
  end

  it("gets the trace of each error, also of those that read the same", function()
    local traces = {}
    run(function()
      local loop = asyncio.get_running_loop()
      loop:set_exception_handler(function(_, context)
        traces[#traces + 1] = context.traceback or require("asyncio.core").traceback(context.exception)
      end)
      for _ = 1, 3 do loop:call_soon(function() error("the same") end) end
      settle()
      for _ = 1, 3 do asyncio.create_task(function() error("the same") end) end
      settle()
      collectgarbage()
      collectgarbage()
    end)
    assert.equal(6, #traces)
    for _, trace in ipairs(traces) do assert.is_nil(trace:find("awaited at", 1, true), trace) end
  end)

  it("gets the loop and the context of a failing callback, and the loop goes on", function()
    local n, running = 0, nil
    local list = collect(function()
      running = asyncio.get_running_loop()
      running:call_soon(function() error(asyncio.ValueError("bad")) end)
      running:call_soon(function() n = n + 1 end)
    end)
    assert.equal(1, n)
    assert.equal(1, #list)
    assert.equal(running, list[1][1])
    assert.is_truthy(list[1][2].message:find("Exception in callback .*loop_spec.lua:%d+"), list[1][2].message)
    assert.equal("ValueError: bad", (tostring(list[1][2].exception):gsub("spec/.*: ", "")))
    assert.is_truthy(list[1][2].handle)
  end)

  it("can be asked for and taken away", function()
    with_loop(function(loop)
      local function h() end
      assert.is_nil(loop:get_exception_handler())
      loop:set_exception_handler(h)
      assert.equal(h, loop:get_exception_handler())
      loop:set_exception_handler(nil)
      assert.is_nil(loop:get_exception_handler())
      local e = helper.raises(asyncio.TypeError, function() loop:set_exception_handler("spam") end)
      assert.is_truthy(tostring(e):find("set_exception_handler: a function or nil was expected, got string", 1, true))
    end)
  end)

  it("is called by call_exception_handler", function()
    local list = collect(function()
      asyncio.get_running_loop():call_exception_handler { message = "mine", extra = 1 }
    end)
    assert.equal("mine", list[1][2].message)
    assert.equal(1, list[1][2].extra)
  end)

  it("that fails is told with the error it was called for", function()
    local status, out, err = helper.cli({ "--virtual-time", "-e", [[
      local asyncio = require "asyncio"
      asyncio.run(function()
        local loop = asyncio.get_running_loop()
        loop:set_exception_handler(function() error("handler broke") end)
        loop:call_soon(function() error("first") end)
        await(asyncio.sleep(1))
        print("still here")
      end)]] })
    assert.equal(0, status)
    assert.equal("still here\n", out)
    assert.is_truthy(err:find("Unhandled error in exception handler", 1, true), err)
    assert.is_truthy(err:find("handler broke", 1, true), err)
    assert.is_truthy(err:find("first", 1, true), err)
  end)

  it("by default writes message, error and traceback to standard error", function()
    local status, _, err = helper.cli({ "--virtual-time", "-e", [[
      local asyncio = require "asyncio"
      asyncio.run(function()
        asyncio.get_running_loop():call_soon(function() error(asyncio.ValueError("spam")) end)
        asyncio.get_running_loop():call_exception_handler { message = "told", future = "F", zebra = 1 }
        asyncio.get_running_loop():default_exception_handler { message = "default" }
        await(asyncio.sleep(1))
      end)]] })
    assert.equal(0, status)
    assert.is_truthy(err:find("Exception in callback", 1, true), err)
    assert.is_truthy(err:find("ValueError: spam", 1, true), err)
    assert.is_truthy(err:find("(command line):3", 1, true), err)
    assert.is_truthy(err:find("told\nfuture: F\nzebra: 1\n", 1, true), err)
    assert.is_truthy(err:find("default\n", 1, true), err)
  end)

  it("survives contexts that are odd", function()
    local status, _, err = helper.cli({ "--virtual-time", "-e", [[
      local asyncio = require "asyncio"
      local bad = setmetatable({}, { __tostring = function() error("no text") end, __name = "Bad" })
      local loop = asyncio.get_event_loop()
      loop:call_exception_handler {}
      loop:call_exception_handler { message = bad, exception = bad, [1] = 2, [bad] = bad }
      loop:call_exception_handler { exception = 12 }
      loop:call_exception_handler { exception = false }
      print(pcall(loop.call_exception_handler, loop, nil))]] })
    assert.equal(0, status)
    assert.is_truthy(err:find("Unhandled exception in event loop", 1, true), err)
  end)
end)

describe("debug mode", function()
  it("is set and asked per loop", function()
    with_loop(function(loop)
      assert.is_false(loop:get_debug())
      loop:set_debug(true)
      assert.is_true(loop:get_debug())
      assert.is_true(asyncio.new_event_loop({ debug = true }):get_debug())
      assert.equal(0.1, loop.slow_callback_duration)
      loop.slow_callback_duration = 0.25
      assert.equal(0.25, loop.slow_callback_duration)
      helper.raises(asyncio.TypeError, function() loop.slow_callback_duration = "x" end)
    end)
  end)

  it("tells of slow callbacks and tasks, with where", function()
    local status, _, err = helper.cli({ "--debug", "-e", [[
      local asyncio = require "asyncio"
      asyncio.run(function()
        local loop = asyncio.get_running_loop()
        loop.slow_callback_duration = 0.02
        local function busy()
          local t = os.clock()
          while os.clock() - t < 0.05 do end
        end
        loop:call_soon(busy)
        await(asyncio.create_task(function() busy() end, { name = "Slow" }))
      end)]] })
    assert.equal(0, status)
    assert.is_truthy(err:find("Executing <Handle %(command line%):5> took 0%.%d+ seconds"), err)
    assert.is_truthy(err:find("Executing <Task .*name='Slow'.*> took 0%.%d+ seconds"), err)
  end)

  it("tells where a task was made that failed unseen", function()
    local _, _, err = helper.cli({ "--debug", "-e", [[
      local asyncio = require "asyncio"
      asyncio.run(function()
        asyncio.create_task(function() error("lost") end)
        await(asyncio.sleep(0))
        await(asyncio.sleep(0))
      end)]] })
    assert.is_truthy(err:find("Task exception was never retrieved", 1, true), err)
    assert.is_truthy(err:find("lost", 1, true), err)
  end)
end)

describe("shuffling", function()
  it("is the same for one seed and differs between seeds", function()
    local code = [[
      local asyncio = require "asyncio"
      asyncio.run(function()
        local log, tasks = {}, {}
        for i = 1, 12 do tasks[i] = asyncio.create_task(function() log[#log + 1] = i end) end
        await(asyncio.gather(tasks))
        print(table.concat(log, " "))
      end)]]
    local outs = {}
    for i, seed in ipairs { 1, 1, 2, 3 } do
      local status, out = helper.cli({ "--virtual-time", "--shuffle", tostring(seed), "-e", code })
      assert.equal(0, status)
      outs[i] = out
    end
    assert.equal(outs[1], outs[2])
    assert.is_true(outs[1] ~= outs[3] or outs[1] ~= outs[4])
    local _, plain = helper.cli({ "--virtual-time", "-e", code })
    assert.equal("1 2 3 4 5 6 7 8 9 10 11 12\n", plain)
  end)

  it("is the matter of the loop that was made with a seed", function()
    local function order(opts)
      local log = {}
      asyncio.run(function()
        local tasks = {}
        for i = 1, 12 do tasks[i] = asyncio.create_task(function() log[#log + 1] = i end) end
        await(asyncio.gather(tasks))
      end, opts)
      return table.concat(log, " ")
    end
    local shuffled = order { clock = "virtual", shuffle = 5 }
    assert.not_equal("1 2 3 4 5 6 7 8 9 10 11 12", shuffled)
    assert.equal("1 2 3 4 5 6 7 8 9 10 11 12", order { clock = "virtual" })
    assert.equal(shuffled, order { clock = "virtual", shuffle = 5 })
  end)

  it("wants an integer, and makes no loop otherwise", function()
    local e = helper.raises(asyncio.TypeError, asyncio.new_event_loop, { shuffle = "often" })
    assert.matches(": shuffle must be an integer, got often$", e.message)
  end)
end)

describe("tostring of a loop", function()
  it("shows running, closed and debug", function()
    with_loop(function(loop) assert.equal("<EventLoop running=false closed=false debug=false>", tostring(loop)) end)
  end)

  it("has room for fields of scripts", function()
    with_loop(function(loop)
      assert.is_nil(loop.mine)
      loop.mine = 5
      assert.equal(5, loop.mine)
    end)
  end)
end)

describe("await outside of tasks", function()
  it("runs the loop until the awaitable is done", function()
    local status, out, err = helper.cli({ "--virtual-time", "-e", [[
      local asyncio = require "asyncio"
      local log = {}
      asyncio.create_task(function()
        await(asyncio.sleep(1))
        print("task")
      end)
      print(await(asyncio.sleep(2, "slept")))
      local f = asyncio.get_event_loop():create_future()
      asyncio.get_event_loop():call_later(1, f.set_result, f, "set")
      print(await(f))
      print(pcall(await, async(function() error("bad", 0) end)()))]] })
    assert.same({ 0, "task\nslept\nset\nfalse\tbad\n", "" }, { status, out, err })
  end)

  it("keeps the loop running after the main chunk until nothing is left", function()
    local status, out, err = helper.cli({ "--virtual-time", "-e", [[
      local asyncio = require "asyncio"
      asyncio.create_task(function()
        for i = 1, 3 do
          await(asyncio.sleep(10))
          print(i)
        end
      end)
      asyncio.get_event_loop():call_later(5, print, "timer")
      print("main")]] })
    assert.same({ 0, "main\ntimer\n1\n2\n3\n", "" }, { status, out, err })
  end)

  it("reports a task that can never wake, by name and place", function()
    local status, out, err = helper.cli({ "-e", [[
      local asyncio = require "asyncio"
      local f = asyncio.get_event_loop():create_future()
      asyncio.create_task(function()
        await(f)
      end, { name = "forever" })]] })
    assert.equal("", out)
    assert.is_truthy(err:find("1 task can never wake", 1, true), err)
    assert.is_truthy(err:find("name='forever'", 1, true), err)
    assert.is_truthy(err:find("(command line):4", 1, true), err)
    assert.is_number(status)
  end)

  it("reports a cycle of tasks", function()
    local _, _, err = helper.cli({ "-e", [[
      local asyncio = require "asyncio"
      local a, b
      a = asyncio.create_task(function() await(b) end)
      b = asyncio.create_task(function() await(a) end)]] })
    assert.is_truthy(err:find("in a cycle: ", 1, true), err)
  end)
end)
