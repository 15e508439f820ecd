local helper = require "spec.helper"
local asyncio = require "asyncio"

local function run(f) return helper.run(async(f)) end

local function settle(rounds)
  for _ = 1, rounds or 5 do await(asyncio.sleep(0)) end
end

-- n tasks that acquire sem and note their number.
local function acquirers(sem, n, log)
  local tasks = {}
  for i = 1, n do
    tasks[i] = asyncio.create_task(function()
      await(sem:acquire())
      log[#log + 1] = i
    end)
  end
  return tasks
end

describe("a semaphore", function()
  it("starts with 1, or with what is given", function()
    run(function()
      local sem = asyncio.Semaphore()
      assert.is_false(sem:locked())
      assert.is_true(await(sem:acquire()))
      assert.is_true(sem:locked())
      sem:release()
      assert.is_false(sem:locked())
      assert.is_true(asyncio.Semaphore(0):locked())
    end)
  end)

  it("shows its value and its waiters", function()
    run(function()
      local sem = asyncio.Semaphore(2)
      assert.is_truthy(tostring(sem):find("unlocked, value:2", 1, true))
      await(sem:acquire())
      await(sem:acquire())
      assert.is_truthy(tostring(sem):find("[locked", 1, true))
      local tasks = acquirers(sem, 2, {})
      settle(1)
      assert.is_truthy(tostring(sem):find("waiters:2", 1, true))
      sem:release()
      sem:release()
      await(asyncio.gather(tasks))
      assert.is_truthy(tostring(asyncio.BoundedSemaphore(3)):find("BoundedSemaphore [unlocked, value:3]", 1, true))
    end)
  end)

  it("takes its value as a keyword", function()
    local s = asyncio.Semaphore { value = 0 }
    assert.is_true(s:locked())
    assert.is_false(asyncio.BoundedSemaphore({ value = 2 }):locked())
    helper.raises("valeu", asyncio.Semaphore, { valeu = 2 })
  end)

  it("refuses initial values that are no count", function()
    helper.raises(asyncio.ValueError, asyncio.Semaphore, -1)
    helper.raises(asyncio.ValueError, asyncio.BoundedSemaphore, -1)
    local e = helper.raises(asyncio.TypeError, asyncio.Semaphore, "x")
    assert.is_truthy(tostring(e):find("the initial value must be an integer, got string", 1, true))
    helper.raises(asyncio.TypeError, asyncio.Semaphore, 1.5)
  end)

  it("lets as many in as it has permits", function()
    run(function()
      local sem, inside, most = asyncio.Semaphore(3), 0, 0
      local tasks = {}
      for i = 1, 50 do
        tasks[i] = asyncio.create_task(function()
          await(sem:acquire())
          inside = inside + 1
          most = math.max(most, inside)
          await(asyncio.sleep(i % 4))
          inside = inside - 1
          sem:release()
        end)
      end
      await(asyncio.gather(tasks))
      assert.equal(3, most)
      assert.is_false(sem:locked())
    end)
  end)

  it("is first come, first served", function()
    run(function()
      local sem, log = asyncio.Semaphore(1), {}
      await(sem:acquire())
      local tasks = acquirers(sem, 4, log)
      settle(1)
      sem:release()
      sem:release()
      settle(2)
      assert.same({ 1, 2 }, log)
      sem:release()
      sem:release()
      await(asyncio.gather(tasks))
      assert.same({ 1, 2, 3, 4 }, log)
    end)
  end)

  it("released without waiters grows, a bounded one only to its bound", function()
    local sem = asyncio.Semaphore(0)
    sem:release()
    sem:release()
    assert.is_truthy(tostring(sem):find("value:2", 1, true))
    local bounded = asyncio.BoundedSemaphore(1)
    local e = helper.raises(asyncio.ValueError, function() bounded:release() end)
    assert.is_truthy(tostring(e):find("semaphore_spec.lua:%d+: BoundedSemaphore released too many times"), tostring(e))
  end)

  it("is locked while somebody waits for it, though its value is not 0", function()
    run(function()
      local sem, log = asyncio.Semaphore(1), {}
      await(sem:acquire())
      local tasks = acquirers(sem, 1, log)
      settle(1)
      sem:release() -- the waiter is woken
      assert.is_true(sem:locked())
      local late = asyncio.create_task(function()
        await(sem:acquire())
        log[#log + 1] = "late"
      end)
      settle(2)
      assert.same({ 1 }, log)
      sem:release()
      await(late)
      assert.same({ 1, "late" }, log)
      await(tasks[1])
    end)
  end)

  it("is not taken by a newcomer before those who wait", function()
    run(function()
      local sem, log = asyncio.Semaphore(1), {}
      local function worker(name)
        return asyncio.create_task(function()
          await(sem:acquire())
          log[#log + 1] = name
          await(asyncio.sleep(0))
          sem:release()
        end)
      end
      local tasks = { worker "a", worker "b", worker "c" }
      settle(1)
      local t = worker "d"
      await(asyncio.gather(tasks))
      await(t)
      assert.same({ "a", "b", "c", "d" }, log)
    end)
  end)
end)

describe("a waiter of a semaphore that is cancelled", function()
  it("leaves its place to the next", function()
    run(function()
      local sem, log = asyncio.Semaphore(1), {}
      await(sem:acquire())
      local tasks = acquirers(sem, 3, log)
      settle(1)
      tasks[1]:cancel()
      settle(1)
      sem:release()
      settle(2)
      assert.same({ 2 }, log)
      sem:release()
      await(tasks[3])
    end)
  end)

  it("after it was woken gives the permit on", function()
    run(function()
      local sem, log = asyncio.Semaphore(1), {}
      await(sem:acquire())
      local tasks = acquirers(sem, 2, log)
      settle(1)
      sem:release()
      tasks[1]:cancel()
      settle(3)
      assert.same({ 2 }, log)
      assert.is_true(tasks[1]:cancelled())
      sem:release()
      assert.is_false(sem:locked())
      assert.is_truthy(tostring(sem):find("value:1", 1, true))
    end)
  end)

  it("before it was woken in the same round takes no permit away", function()
    run(function()
      local sem, log = asyncio.Semaphore(1), {}
      await(sem:acquire())
      local tasks = acquirers(sem, 2, log)
      settle(1)
      tasks[1]:cancel()
      sem:release()
      settle(3)
      assert.same({ 2 }, log)
      sem:release()
      assert.is_false(sem:locked())
    end)
  end)

  it("does not hang those behind it (three released, first cancelled)", function()
    run(function()
      local sem, log = asyncio.Semaphore(0), {}
      local tasks = acquirers(sem, 3, log)
      settle(1)
      sem:release()
      sem:release()
      tasks[1]:cancel()
      tasks[2]:cancel()
      settle(4)
      assert.same({ 3 }, log)
      assert.is_truthy(tostring(sem):find("value:1", 1, true), tostring(sem))
    end)
  end)

  it("loses no permit in any order of cancels and releases", function()
    local steps = { "c1", "c2", "c3", "r", "r", "s" }
    local n = 0
    local function permute(list, k, f)
      if k == 0 then return f(list) end
      for i = 1, k do
        list[i], list[k] = list[k], list[i]
        permute(list, k - 1, f)
        list[i], list[k] = list[k], list[i]
      end
    end
    run(function()
      permute(steps, #steps, function(order)
        local sem, got = asyncio.Semaphore(0), 0
        local tasks = {}
        for i = 1, 5 do
          tasks[i] = asyncio.create_task(function()
            await(sem:acquire())
            got = got + 1
          end)
        end
        settle(1)
        for _, step in ipairs(order) do
          if step == "r" then
            sem:release()
          elseif step == "s" then
            settle(1)
          else
            tasks[tonumber(step:sub(2))]:cancel()
          end
        end
        settle(6)
        assert(got == 2, table.concat(order, " ") .. ": " .. got)
        for _, t in ipairs(tasks) do t:cancel() end
        settle(2)
        assert(sem:locked()) -- both permits are out
        sem:release()
        assert(tostring(sem):find("value:1", 1, true), tostring(sem))
        n = n + 1
      end)
      assert.equal(720, n)
    end)
  end)
end)

describe("a semaphore as a guard", function()
  it("gives its permit back on any way out", function()
    run(function()
      local sem = asyncio.Semaphore(1)
      do
        local _ <close> = await(sem:guard())
        assert.is_true(sem:locked())
      end
      assert.is_false(sem:locked())
      pcall(function()
        local _ <close> = await(sem:guard())
        error("x")
      end)
      assert.is_false(sem:locked())
      asyncio.with(sem, function() assert.is_true(sem:locked()) end)
      assert.is_false(sem:locked())
    end)
  end)
end)
