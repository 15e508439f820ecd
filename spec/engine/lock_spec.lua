local helper = require "spec.helper"
local asyncio = require "asyncio"

local function run(f) return helper.run(async(f)) end

local function settle(rounds)
  for _ = 1, rounds or 5 do await(asyncio.sleep(0)) end
end

describe("a lock", function()
  it("is unlocked when it is made", function()
    local lock = asyncio.Lock()
    assert.is_false(lock:locked())
    assert.is_truthy(tostring(lock):find("unlocked", 1, true))
  end)

  it("is acquired and released", function()
    run(function()
      local lock = asyncio.Lock()
      assert.is_true(await(lock:acquire()))
      assert.is_true(lock:locked())
      assert.is_truthy(tostring(lock):find("[locked", 1, true))
      lock:release()
      assert.is_false(lock:locked())
    end)
  end)

  it("that is free is acquired without a yield", function()
    run(function()
      local lock, others = asyncio.Lock(), 0
      asyncio.create_task(function() others = others + 1 end)
      for _ = 1, 10 do
        await(lock:acquire())
        lock:release()
      end
      assert.equal(0, others)
      settle(1)
    end)
  end)

  it("cannot be released when it is not acquired", function()
    local lock = asyncio.Lock()
    local e = helper.raises(asyncio.RuntimeError, function() lock:release() end)
    assert.is_truthy(tostring(e):find("lock_spec.lua:%d+: Lock is not acquired%."), tostring(e))
  end)

  it("wakes its waiters first come, first served", function()
    run(function()
      local lock, order = asyncio.Lock(), {}
      await(lock:acquire())
      local tasks = {}
      for i = 1, 3 do
        tasks[i] = asyncio.create_task(function()
          await(lock:acquire())
          order[#order + 1] = i
          return true
        end)
      end
      settle(1)
      assert.is_truthy(tostring(lock):find("waiters:3", 1, true))
      lock:release()
      settle(2)
      assert.same({ 1 }, order)
      assert.is_true(lock:locked())
      settle(3)
      assert.same({ 1 }, order)
      lock:release()
      settle(2)
      assert.same({ 1, 2 }, order)
      lock:release()
      settle(2)
      assert.same({ 1, 2, 3 }, order)
      lock:release()
      assert.is_true(await(tasks[3]))
    end)
  end)

  it("is not taken by a newcomer while somebody waits", function()
    run(function()
      local lock, order = asyncio.Lock(), {}
      await(lock:acquire())
      local t = asyncio.create_task(function()
        await(lock:acquire())
        order[#order + 1] = "waiter"
        lock:release()
      end)
      settle(1)
      lock:release() -- the waiter is woken but has not run yet
      await(lock:acquire())
      order[#order + 1] = "newcomer"
      lock:release()
      await(t)
      assert.same({ "waiter", "newcomer" }, order)
    end)
  end)

  it("keeps one task at a time in its section", function()
    run(function()
      local lock, inside, most, done = asyncio.Lock(), 0, 0, 0
      local tasks = {}
      for i = 1, 100 do
        tasks[i] = asyncio.create_task(function()
          for k = 1, 5 do
            await(lock:acquire())
            inside = inside + 1
            most = math.max(most, inside)
            await(asyncio.sleep((i * k) % 3 == 0 and 1 or 0))
            inside = inside - 1
            lock:release()
          end
          done = done + 1
        end)
      end
      await(asyncio.gather(tasks))
      assert.equal(1, most)
      assert.equal(100, done)
      assert.is_false(lock:locked())
    end)
  end)
end)

describe("a waiter of a lock that is cancelled", function()
  it("leaves the others in order", function()
    run(function()
      local lock, order = asyncio.Lock(), {}
      await(lock:acquire())
      local tasks = {}
      for i = 1, 3 do
        tasks[i] = asyncio.create_task(function()
          await(lock:acquire())
          order[#order + 1] = i
          lock:release()
        end)
      end
      settle(1)
      tasks[2]:cancel()
      settle(1)
      lock:release()
      await(asyncio.gather(tasks[1], tasks[3]))
      assert.same({ 1, 3 }, order)
      assert.is_true(tasks[2]:cancelled())
    end)
  end)

  it("after it was woken wakes the next", function()
    run(function()
      local lock, got = asyncio.Lock(), {}
      await(lock:acquire())
      local a = asyncio.create_task(function()
        await(lock:acquire())
        got[#got + 1] = "a"
      end)
      local b = asyncio.create_task(function()
        await(lock:acquire())
        got[#got + 1] = "b"
        lock:release()
      end)
      settle(1)
      lock:release()
      a:cancel()
      await(b)
      assert.same({ "b" }, got)
      assert.is_true(a:cancelled())
      assert.is_false(lock:locked())
    end)
  end)

  it("before the lock is released in the same round loses nothing", function()
    run(function()
      local lock = asyncio.Lock()
      await(lock:acquire())
      local a = asyncio.create_task(function() await(lock:acquire()) end)
      local b = asyncio.create_task(function()
        await(lock:acquire())
        lock:release()
        return "got it"
      end)
      settle(1)
      a:cancel()
      lock:release()
      assert.equal("got it", await(b))
      assert.is_true(a:cancelled())
    end)
  end)

  it("when all waiters are cancelled leaves it to the next who asks", function()
    run(function()
      local lock = asyncio.Lock()
      await(lock:acquire())
      local tasks = {}
      for i = 1, 5 do tasks[i] = asyncio.create_task(function() await(lock:acquire()) end) end
      settle(1)
      lock:release()
      for _, t in ipairs(tasks) do t:cancel() end
      await(lock:acquire()) -- at once: none of them counts any more
      for _, t in ipairs(tasks) do
        settle(1)
        assert.is_true(t:cancelled())
      end
      assert.is_true(lock:locked())
      lock:release()
      assert.is_false(lock:locked())
    end)
  end)

  it("and the lock that is released at once, in every order of five tasks", function()
    local function permutations(list, n, f)
      if n == 0 then return f(list) end
      for i = 1, n do
        list[i], list[n] = list[n], list[i]
        permutations(list, n - 1, f)
        list[i], list[n] = list[n], list[i]
      end
    end
    run(function()
      local n = 0
      permutations({ 1, 2, 3, "release", "settle" }, 5, function(steps)
        local lock, holders = asyncio.Lock(), {}
        await(lock:acquire())
        local tasks = {}
        for i = 1, 4 do
          tasks[i] = asyncio.create_task(function()
            local _ <close> = await(lock:guard())
            holders[#holders + 1] = i
            await(asyncio.sleep(0))
          end)
        end
        settle(1)
        for _, step in ipairs(steps) do
          if step == "release" then
            lock:release()
          elseif step == "settle" then
            settle(1)
          else
            tasks[step]:cancel()
          end
        end
        await(asyncio.wait(tasks))
        assert(tasks[4]:done() and not tasks[4]:cancelled(), table.concat(steps, " "))
        assert(not lock:locked(), table.concat(steps, " "))
        n = n + 1
      end)
      assert.equal(120, n)
    end)
  end)
end)

describe("a lock as a guard", function()
  it("is released at the end of the block", function()
    run(function()
      local lock = asyncio.Lock()
      do
        local _ <close> = await(lock:guard())
        assert.is_true(lock:locked())
      end
      assert.is_false(lock:locked())
    end)
  end)

  it("is released after an error and after a cancel", function()
    run(function()
      local lock = asyncio.Lock()
      pcall(function()
        local _ <close> = await(lock:guard())
        error("x")
      end)
      assert.is_false(lock:locked())
      local t = asyncio.create_task(function()
        local _ <close> = await(lock:guard())
        await(asyncio.sleep(100))
      end)
      settle(1)
      assert.is_true(lock:locked())
      t:cancel()
      settle(2)
      assert.is_false(lock:locked())
    end)
  end)

  it("works with asyncio.with", function()
    run(function()
      local lock = asyncio.Lock()
      local v = asyncio.with(lock, function()
        assert.is_true(lock:locked())
        await(asyncio.sleep(1))
        return "value"
      end)
      assert.equal("value", v)
      assert.is_false(lock:locked())
    end)
  end)
end)

describe("a lock outside of a loop", function()
  it("can be made before the loop that uses it", function()
    local lock = asyncio.Lock()
    for _ = 1, 2 do
      run(function()
        await(lock:acquire())
        local t = asyncio.create_task(function() await(lock:acquire()) end)
        settle(1)
        lock:release()
        await(t)
        lock:release()
      end)
    end
    assert.is_false(lock:locked())
  end)

  it("is taken by an await of the main program", function()
    local lock = asyncio.Lock()
    assert.is_true(await(lock:acquire()))
    lock:release()
  end)

  it("is made without arguments", function()
    local e = helper.raises(asyncio.TypeError, asyncio.Lock, { loop = 1 })
    assert.matches("Lock%(%) got an unexpected keyword argument 'loop'$", e.message)
    helper.raises(asyncio.TypeError, asyncio.Lock, 1)
    assert.is_false(asyncio.Lock({}):locked())
  end)
end)
