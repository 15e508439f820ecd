local helper = require "spec.helper"
local asyncio = require "asyncio"

local isinstance = asyncio.isinstance

local function now()
  return asyncio.get_running_loop():time()
end

--- Runs f in a task of its own on a virtual clock.
local function run(f)
  return helper.run(async(f))
end

describe("timeout", function()
  it("raises TimeoutError in place of the CancelledError when the time is up", function()
    run(function()
      local start, t = now(), nil
      local err = helper.raises(asyncio.TimeoutError, function()
        t = asyncio.timeout(1)
        local _ <close> = t
        await(asyncio.sleep(10))
      end)
      assert.equal("TimeoutError", tostring(err))
      assert.equal(1.0, now() - start)
      assert.is_true(t:expired())
      assert.equal(0, asyncio.current_task():cancelling())
    end)
  end)

  it("does nothing when the body is done in time", function()
    run(function()
      local t
      do
        t = asyncio.timeout(1)
        local _ <close> = t
        await(asyncio.sleep(0.5))
        assert.is_false(t:expired())
        assert.equal("<Timeout [active] when=1.000>", tostring(t))
      end
      assert.is_false(t:expired())
      assert.equal("<Timeout [finished]>", tostring(t))
      await(asyncio.sleep(5))
      assert.equal(5.5, now())
    end)
  end)

  it("gives the deadline in loop time", function()
    run(function()
      await(asyncio.sleep(2))
      local t <close> = asyncio.timeout(3)
      assert.equal(5.0, t:when())
      local u <close> = asyncio.timeout_at(7)
      assert.equal(7, u:when())
      local v <close> = asyncio.timeout(nil)
      assert.is_nil(v:when())
    end)
  end)

  it("sets no limit with nil", function()
    run(function()
      local _ <close> = asyncio.timeout(nil)
      await(asyncio.sleep(1000))
    end)
  end)

  it("lets a moment in the past pass until the first await that suspends", function()
    local function zero() return asyncio.timeout(0) end
    local function past() return asyncio.timeout_at(now() - 10) end
    for _, make in ipairs { zero, past } do
      run(function()
        local reached = false
        helper.raises(asyncio.TimeoutError, function()
          local _ <close> = make()
          reached = true
          await(asyncio.sleep(0))
          await(asyncio.sleep(0))
          reached = false
        end)
        assert.is_true(reached)
      end)
    end
  end)

  it("does not raise with 0 when the body never suspends", function()
    run(function()
      local t
      do
        t = asyncio.timeout(0)
        local _ <close> = t
      end
      assert.is_false(t:expired())
      await(asyncio.sleep(0))
      await(asyncio.sleep(0))
    end)
  end)

  it("lets another error pass", function()
    run(function()
      local _, err = asyncio.catch(function()
        local _ <close> = asyncio.timeout(1)
        error("KeyError")
      end)
      assert.matches("KeyError", err)
    end)
  end)

  it("lets an error pass that the body raises instead of CancelledError", function()
    run(function()
      local t
      local _, err = asyncio.catch(function()
        t = asyncio.timeout(0.1)
        local _ <close> = t
        asyncio.catch(await, asyncio.sleep(10))
        error("other", 0)
      end)
      assert.equal("other", err)
      assert.is_true(t:expired())
      assert.equal(0, asyncio.current_task():cancelling())
    end)
  end)

  it("passes a cancel from outside on", function()
    run(function()
      local t
      local task = asyncio.create_task(async(function()
        t = asyncio.timeout(10)
        local _ <close> = t
        await(asyncio.sleep(20))
      end)())
      await(asyncio.sleep(1))
      task:cancel("why")
      local ok, err = asyncio.catch(await, task)
      assert.is_false(ok)
      assert.is_true(isinstance(err, asyncio.CancelledError))
      assert.equal("why", err.message)
      assert.is_true(task:cancelled())
      assert.is_false(t:expired())
    end)
  end)

  it("stays a CancelledError when a cancel from outside comes in the same moment", function()
    run(function()
      local task
      task = asyncio.create_task(async(function()
        local _ <close> = asyncio.timeout(1)
        asyncio.get_running_loop():call_at(1, function() task:cancel() end)
        await(asyncio.sleep(20))
      end)())
      asyncio.catch(await, task)
      assert.is_true(task:cancelled())
    end)
  end)

  it("is caught outside by the outermost when two nested ones expire at once", function()
    run(function()
      local outer, inner
      helper.raises(asyncio.TimeoutError, function()
        outer = asyncio.timeout(0.1)
        local _ <close> = outer
        local _, err = asyncio.catch(function()
          inner = asyncio.timeout(0.1)
          local _ <close> = inner
          await(asyncio.sleep(1))
        end)
        assert.is_true(isinstance(err, asyncio.CancelledError))
        error(err, 0)
      end)
      assert.is_true(outer:expired())
      assert.is_true(inner:expired())
      assert.equal(0, asyncio.current_task():cancelling())
    end)
  end)

  it("raises in the inner one alone when only that has expired", function()
    run(function()
      local outer <close> = asyncio.timeout(0.2)
      helper.raises(asyncio.TimeoutError, function()
        local _ <close> = asyncio.timeout(0.1)
        await(asyncio.sleep(1))
      end)
      assert.is_false(outer:expired())
    end)
  end)

  it("works within the clean-up of another one that has expired", function()
    run(function()
      helper.raises(asyncio.TimeoutError, function()
        local _ <close> = asyncio.timeout(1)
        local clean <close> = setmetatable({}, {
          __close = function()
            helper.raises(asyncio.TimeoutError, function()
              local _ <close> = asyncio.timeout(2)
              await(asyncio.sleep(10))
            end)
          end,
        })
        assert.is_table(clean)
        await(asyncio.sleep(10))
      end)
      assert.equal(3.0, now())
    end)
  end)

  it("works in a task that was cancelled before and went on", function()
    run(function()
      local task = asyncio.create_task(async(function()
        asyncio.catch(await, asyncio.sleep(10))
        assert.equal(1, asyncio.current_task():cancelling())
        helper.raises(asyncio.TimeoutError, function()
          local _ <close> = asyncio.timeout(1)
          await(asyncio.sleep(10))
        end)
        assert.equal(1, asyncio.current_task():cancelling())
        return "fine"
      end)())
      await(asyncio.sleep(0))
      task:cancel()
      assert.equal("fine", await(task))
    end)
  end)

  it("passes a new cancel on in a task that was cancelled before", function()
    run(function()
      local task = asyncio.create_task(async(function()
        asyncio.catch(await, asyncio.sleep(10))
        local _ <close> = asyncio.timeout(1)
        asyncio.current_task():cancel()
        await(asyncio.sleep(10))
      end)())
      await(asyncio.sleep(0))
      task:cancel()
      asyncio.catch(await, task)
      assert.is_true(task:cancelled())
    end)
  end)

  it("does not time out an error group, nor wait for less than its tasks' clean-up", function()
    run(function()
      helper.raises(asyncio.ExceptionGroup, function()
        local _ <close> = asyncio.timeout(0.1)
        local tg <close> = asyncio.TaskGroup()
        tg:create_task(async(function()
          asyncio.catch(await, asyncio.sleep(1))
          error(asyncio.ValueError("bad"))
        end)())
        await(asyncio.sleep(1))
      end)
      assert.equal(0.1, now())
    end)
  end)

  it("cannot be swallowed by pcall", function()
    run(function()
      local after = false
      helper.raises(asyncio.TimeoutError, function()
        local _ <close> = asyncio.timeout(1)
        pcall(await, asyncio.sleep(10))
        after = true
      end)
      assert.is_false(after)
    end)
  end)

  it("gives the CancelledError as the cause of its TimeoutError", function()
    run(function()
      local _, err = pcall(asyncio.with, asyncio.timeout(1), function() await(asyncio.sleep(2)) end)
      assert.equal("TimeoutError", tostring(err):match("^%a+"))
      assert.is_true(isinstance(err.cause, asyncio.CancelledError))
      for _, limit in ipairs { 1, 0 } do
        _, err = pcall(await, asyncio.wait_for(asyncio.sleep(2), limit))
        assert.is_true(isinstance(err, asyncio.TimeoutError))
        assert.is_true(isinstance(err.cause, asyncio.CancelledError))
      end
    end)
  end)

  it("can be used once", function()
    run(function()
      local timeout = asyncio.timeout(1)
      asyncio.with(timeout, function()
        helper.raises("Timeout has already been entered", asyncio.with, timeout, function() end)
      end)
      helper.raises("Timeout has already been entered", asyncio.with, timeout, function() end)
    end)
  end)

  it("can be caught by pcall around it", function()
    run(function()
      local ok, err = pcall(function()
        local _ <close> = asyncio.timeout(1)
        await(asyncio.sleep(10))
      end)
      assert.is_false(ok)
      assert.is_true(isinstance(err, asyncio.TimeoutError))
    end)
  end)

  it("is left on the way of a break and of an early return", function()
    run(function()
      for i = 1, 3 do
        local _ <close> = asyncio.timeout(1)
        if i == 2 then break end
      end
      local function f()
        local _ <close> = asyncio.timeout(1)
        return 5
      end
      assert.equal(5, f())
      await(asyncio.sleep(3))
    end)
  end)

  it("needs a running loop and a task", function()
    helper.raises(asyncio.RuntimeError, asyncio.timeout, 1)
    local loop = asyncio.new_event_loop()
    local ok, err
    loop:call_soon(function() ok, err = pcall(asyncio.timeout, 1) end)
    loop:call_soon(loop.stop, loop)
    loop:run_forever()
    loop:close()
    assert.is_false(ok)
    assert.equal("RuntimeError: Timeout should be used inside a task", tostring(err))
  end)

  it("refuses what is no number of seconds", function()
    run(function()
      local err = helper.raises(asyncio.TypeError, asyncio.timeout, "1")
      assert.matches("timeout%(%) expects a number of seconds or nil, not a string", err.message)
      helper.raises(asyncio.TypeError, asyncio.timeout_at, {})
      helper.raises(asyncio.ValueError, asyncio.timeout, 0 / 0)
    end)
  end)
end)

describe("Timeout:reschedule", function()
  it("moves the deadline on", function()
    run(function()
      local t <close> = asyncio.timeout(1)
      await(asyncio.sleep(0.9))
      t:reschedule(now() + 10)
      await(asyncio.sleep(9))
      assert.equal(10.9, t:when())
    end)
  end)

  it("moves the deadline to now", function()
    run(function()
      local start = now()
      helper.raises(asyncio.TimeoutError, function()
        local t <close> = asyncio.timeout(100)
        t:reschedule(now())
        await(asyncio.sleep(50))
      end)
      assert.equal(start, now())
    end)
  end)

  it("takes the limit away with nil", function()
    run(function()
      local t <close> = asyncio.timeout(1)
      t:reschedule(nil)
      assert.is_nil(t:when())
      await(asyncio.sleep(10))
    end)
  end)

  it("is refused after the time was up, and after the end", function()
    run(function()
      local t
      helper.raises(asyncio.TimeoutError, function()
        t = asyncio.timeout(1)
        local _ <close> = t
        local _, err = asyncio.catch(await, asyncio.sleep(10))
        assert.equal("<Timeout [expiring]>", tostring(t))
        assert.equal(
          "RuntimeError: Cannot change state of expiring Timeout",
          tostring(helper.raises(asyncio.RuntimeError, t.reschedule, t, 10))
        )
        error(err, 0)
      end)
      assert.equal(
        "RuntimeError: Cannot change state of expired Timeout",
        tostring(helper.raises(asyncio.RuntimeError, t.reschedule, t, 10))
      )
      local u = asyncio.timeout(1)
      do
        local _ <close> = u
      end
      assert.equal(
        "RuntimeError: Cannot change state of finished Timeout",
        tostring(helper.raises(asyncio.RuntimeError, u.reschedule, u, 10))
      )
    end)
  end)
end)
