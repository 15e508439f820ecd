local helper = require "spec.helper"
local asyncio = require "asyncio"

local function now()
  return asyncio.get_running_loop():time()
end

local function run(f)
  return helper.run(async(f))
end

local after = async(function(delay, value)
  await(asyncio.sleep(delay))
  return value
end)

describe("as_completed", function()
  it("gives tasks as they finish", function()
    run(function()
      local seen, times = {}, {}
      for task in asyncio.as_completed { after(3, "c"), after(1, "a"), after(2, "b") } do
        seen[#seen + 1] = await(task)
        times[#times + 1] = now()
      end
      assert.same({ "a", "b", "c" }, seen)
      assert.same({ 1.0, 2.0, 3.0 }, times)
    end)
  end)

  it("gives the tasks themselves, fit as keys", function()
    run(function()
      local a, b = asyncio.create_task(after(2)), asyncio.create_task(after(1))
      local names, order = { [a] = "a", [b] = "b" }, {}
      for task in asyncio.as_completed { a, b } do
        assert.is_true(task:done())
        order[#order + 1] = names[task]
      end
      assert.same({ "b", "a" }, order)
    end)
  end)

  it("starts the coroutines at once", function()
    run(function()
      local started
      local iterator = asyncio.as_completed { async(function() started = true end)() }
      await(asyncio.sleep(0))
      assert.is_true(started)
      iterator()
    end)
  end)

  it("goes on after a break", function()
    run(function()
      local iterator = asyncio.as_completed { after(1, 1), after(2, 2), after(3, 3) }
      local seen = {}
      for task in iterator do
        seen[#seen + 1] = await(task)
        if #seen == 1 then break end
      end
      for task in iterator do seen[#seen + 1] = await(task) end
      assert.same({ 1, 2, 3 }, seen)
      assert.is_nil(iterator())
    end)
  end)

  it("counts what is there twice once", function()
    run(function()
      local c, t, n = after(1), asyncio.create_task(after(2)), 0
      for _ in asyncio.as_completed { c, t, c, t } do n = n + 1 end
      assert.equal(2, n)
    end)
  end)

  it("gives failed tasks, whose error await raises", function()
    run(function()
      for task in asyncio.as_completed { async(function() error(asyncio.ValueError("x")) end)() } do
        helper.raises(asyncio.ValueError, await, task)
      end
    end)
  end)

  it("raises TimeoutError from the iteration when the time is up", function()
    run(function()
      local late = asyncio.create_task(after(5, "late"))
      local seen = {}
      helper.raises(asyncio.TimeoutError, function()
        for task in asyncio.as_completed({ after(1, "a"), late }, { timeout = 3 }) do
          seen[#seen + 1] = await(task)
        end
      end)
      assert.same({ "a" }, seen)
      assert.equal(3.0, now())
      assert.equal("late", await(late))
    end)
  end)

  it("raises TimeoutError once for each that is left, then ends", function()
    run(function()
      local a, b = asyncio.create_task(after(5)), asyncio.create_task(after(6))
      local iterator = asyncio.as_completed({ a, b }, { timeout = 1 })
      helper.raises(asyncio.TimeoutError, iterator)
      helper.raises(asyncio.TimeoutError, iterator)
      assert.is_nil(iterator())
      a:cancel()
      b:cancel()
    end)
  end)

  it("gives what is done already without waiting", function()
    run(function()
      local future = asyncio.get_running_loop():create_future()
      future:set_result(5)
      for f in asyncio.as_completed({ future }, { timeout = 1 }) do assert.equal(future, f) end
      assert.equal(0.0, now())
    end)
  end)

  it("gives nothing for an empty array", function()
    run(function()
      for _ in asyncio.as_completed {} do error("never") end
    end)
  end)

  it("loses no task when a step is cancelled", function()
    run(function()
      local iterator = asyncio.as_completed { after(5, "x") }
      helper.raises(asyncio.TimeoutError, function()
        local _ <close> = asyncio.timeout(1)
        iterator()
      end)
      assert.equal("x", await(iterator()))
      assert.is_nil(iterator())
    end)
  end)

  it("can be shared by several tasks", function()
    run(function()
      local iterator = asyncio.as_completed { after(1, 1), after(2, 2), after(3, 3) }
      local sum = 0
      local consume = async(function()
        for task in iterator do sum = sum + await(task) end
      end)
      await(asyncio.gather(consume(), consume()))
      assert.equal(6, sum)
    end)
  end)

  it("says what is wrong with its arguments", function()
    run(function()
      local t <const> = asyncio.create_task(after(0))
      local err = helper.raises(asyncio.TypeError, asyncio.as_completed, t)
      assert.matches("as_completed%(%) expects an array of awaitables, not a Task", err.message)
      helper.raises("timeuot", asyncio.as_completed, { t }, { timeuot = 1 })
      helper.raises(asyncio.TypeError, asyncio.as_completed, { t }, { timeout = "1" })
      helper.raises(asyncio.TypeError, asyncio.as_completed, { 5 })
    end)
  end)
end)
