local helper = require "spec.helper"
local asyncio = require "asyncio"

local isinstance = asyncio.isinstance

local function run(f)
  return helper.run(async(f))
end

--- Lets everything that is ready run.
local function settle()
  for _ = 1, 5 do await(asyncio.sleep(0)) end
end

--- n tasks that wait on the condition and log their number.
local function waiters(condition, n, log)
  local tasks = {}
  for i = 1, n do
    tasks[i] = asyncio.create_task(async(function()
      local _ <close> = await(condition:guard())
      local woken = await(condition:wait())
      log[#log + 1] = i
      return woken
    end)())
  end
  settle()
  return tasks
end

describe("Condition", function()
  it("wakes as many as it is told to, in the order in which they came", function()
    run(function()
      local condition, log = asyncio.Condition(), {}
      local tasks = waiters(condition, 5, log)
      await(condition:acquire())
      condition:notify(1)
      condition:release()
      settle()
      assert.same({ 1 }, log)
      await(condition:acquire())
      condition:notify(2)
      condition:release()
      settle()
      assert.same({ 1, 2, 3 }, log)
      await(condition:acquire())
      condition:notify(2048)
      condition:release()
      settle()
      assert.same({ 1, 2, 3, 4, 5 }, log)
      for _, task in ipairs(tasks) do assert.is_true(task:result()) end
    end)
  end)

  it("wakes all", function()
    run(function()
      local condition, log = asyncio.Condition(), {}
      waiters(condition, 3, log)
      await(condition:acquire())
      condition:notify_all()
      condition:release()
      settle()
      assert.same({ 1, 2, 3 }, log)
    end)
  end)

  it("lets nobody go on before the lock is free", function()
    run(function()
      local condition, log = asyncio.Condition(), {}
      waiters(condition, 2, log)
      await(condition:acquire())
      condition:notify_all()
      settle()
      assert.same({}, log)
      condition:release()
      settle()
      assert.same({ 1, 2 }, log)
    end)
  end)

  it("refuses to wait and notify without the lock", function()
    run(function()
      local condition = asyncio.Condition()
      local err = helper.raises(asyncio.RuntimeError, await, condition:wait())
      assert.equal("cannot wait on un-acquired lock", err.message)
      err = helper.raises(asyncio.RuntimeError, condition.notify, condition)
      assert.equal("cannot notify on un-acquired lock", err.message)
      helper.raises(asyncio.RuntimeError, condition.notify_all, condition)
    end)
  end)

  it("waits for a predicate and gives its value", function()
    run(function()
      local condition, value, calls = asyncio.Condition(), nil, 0
      local task = asyncio.create_task(async(function()
        await(condition:acquire())
        local v = await(condition:wait_for(function()
          calls = calls + 1
          return value
        end))
        condition:release()
        return v
      end)())
      settle()
      await(condition:acquire())
      condition:notify_all()
      condition:release()
      settle()
      assert.is_false(task:done())
      value = "ready"
      await(condition:acquire())
      condition:notify()
      condition:release()
      assert.equal("ready", await(task))
      assert.equal(3, calls)
    end)
  end)

  it("does not wait when the predicate holds", function()
    run(function()
      local condition = asyncio.Condition()
      local _ <close> = await(condition:guard())
      assert.equal(1, await(condition:wait_for(function() return 1 end)))
    end)
  end)

  it("holds the lock again before a cancel goes on", function()
    run(function()
      local condition, locked = asyncio.Condition(), nil
      local task = asyncio.create_task(async(function()
        await(condition:acquire())
        local _, err = asyncio.catch(await, condition:wait())
        locked = condition:locked()
        condition:release()
        error(err, 0)
      end)())
      settle()
      await(condition:acquire())
      task:cancel("why")
      settle()
      assert.is_false(task:done())
      condition:release()
      local _, err = asyncio.catch(await, task)
      assert.equal("why", err.message)
      assert.is_true(locked)
      assert.is_true(task:cancelled())
      assert.is_false(condition:locked())
    end)
  end)

  it("raises the last CancelledError when it is cancelled again while it takes the lock", function()
    run(function()
      local condition, caught = asyncio.Condition(), nil
      local task = asyncio.create_task(async(function()
        await(condition:acquire())
        local _, err = asyncio.catch(await, condition:wait())
        caught = err
        condition:release()
        error(err, 0)
      end)())
      settle()
      await(condition:acquire())
      task:cancel("one")
      settle()
      task:cancel("two")
      settle()
      assert.is_false(task:done())
      condition:release()
      asyncio.catch(await, task)
      assert.is_true(isinstance(caught, asyncio.CancelledError))
      assert.equal("two", caught.message)
    end)
  end)

  it("passes the notification on when the one it woke is cancelled", function()
    run(function()
      local condition, log = asyncio.Condition(), {}
      local tasks = waiters(condition, 2, log)
      await(condition:acquire())
      condition:notify(1)
      tasks[1]:cancel()
      condition:release()
      settle()
      assert.same({ 2 }, log)
      assert.is_true(tasks[1]:cancelled())
      assert.is_true(tasks[2]:done())
    end)
  end)

  it("passes the notification on when the one it woke is cancelled as it takes the lock", function()
    run(function()
      local condition, log = asyncio.Condition(), {}
      local tasks = waiters(condition, 2, log)
      await(condition:acquire())
      condition:notify(1)
      settle() -- it now waits for the lock
      tasks[1]:cancel()
      settle()
      condition:release()
      settle()
      assert.same({ 2 }, log)
    end)
  end)

  it("forgets waiters that were cancelled", function()
    run(function()
      local condition, log = asyncio.Condition(), {}
      local tasks = waiters(condition, 3, log)
      tasks[2]:cancel()
      settle()
      assert.same({ 1 }, log) -- woken without a reason: the cancelled one may have been notified
      assert.equal("<Condition [unlocked, waiters:1]>", tostring(condition))
      await(condition:acquire())
      condition:notify(2)
      condition:release()
      settle()
      assert.same({ 1, 3 }, log)
      assert.equal("<Condition [unlocked]>", tostring(condition))
    end)
  end)

  it("shares a lock with others", function()
    run(function()
      local lock = asyncio.Lock()
      local a, b = asyncio.Condition(lock), asyncio.Condition(lock)
      await(a:acquire())
      assert.is_true(lock:locked())
      assert.is_true(b:locked())
      b:release()
      assert.is_false(a:locked())
      helper.raises(asyncio.TypeError, asyncio.Condition, 5)
    end)
  end)

  it("guards a block", function()
    run(function()
      local condition = asyncio.Condition()
      do
        local _ <close> = await(condition:guard())
        assert.is_true(condition:locked())
      end
      assert.is_false(condition:locked())
      asyncio.with(condition, function() assert.is_true(condition:locked()) end)
      assert.is_false(condition:locked())
    end)
  end)

  it("wakes after a time-out around it holding the lock", function()
    run(function()
      local condition = asyncio.Condition()
      local _ <close> = await(condition:guard())
      helper.raises(asyncio.TimeoutError, await, asyncio.wait_for(condition:wait(), 1))
      assert.is_true(condition:locked())
    end)
  end)

  it("serves many waiters in time linear in their number", function()
    run(function()
      local condition, woken = asyncio.Condition(), 0
      for _ = 1, 2000 do
        asyncio.create_task(async(function()
          local _ <close> = await(condition:guard())
          await(condition:wait())
          woken = woken + 1
        end)())
      end
      await(asyncio.sleep(1))
      for _ = 1, 2000 do
        local _ <close> = await(condition:guard())
        condition:notify()
      end
      await(asyncio.sleep(1))
      assert.equal(2000, woken)
    end)
  end)

  it("takes its lock as a keyword", function()
    run(function()
      local lock = asyncio.Lock()
      local _ <close> = await(asyncio.Condition({ lock = lock }):guard())
      assert.is_true(lock:locked())
      helper.raises("lokc", asyncio.Condition, { lokc = lock })
    end)
  end)
end)
