local helper = require "spec.helper"
local asyncio = require "asyncio"

local function run(f) return helper.run(async(f)) end

local function settle(rounds)
  for _ = 1, rounds or 5 do await(asyncio.sleep(0)) end
end

describe("an event", function()
  it("is unset when it is made", function()
    local event = asyncio.Event()
    assert.is_false(event:is_set())
    assert.is_truthy(tostring(event):find("unset", 1, true))
    event:set()
    assert.is_true(event:is_set())
    assert.is_truthy(tostring(event):find("[set", 1, true))
    event:clear()
    assert.is_false(event:is_set())
  end)

  it("wakes all who wait, in the order they came", function()
    run(function()
      local event, order = asyncio.Event(), {}
      local tasks = {}
      for i = 1, 3 do
        tasks[i] = asyncio.create_task(function()
          assert.is_true(await(event:wait()))
          order[#order + 1] = i
        end)
      end
      settle(2)
      assert.same({}, order)
      assert.is_truthy(tostring(event):find("waiters:3", 1, true))
      event:set()
      settle(1)
      assert.same({ 1, 2, 3 }, order)
      await(asyncio.gather(tasks))
    end)
  end)

  it("that is set does not make anybody wait", function()
    run(function()
      local event, others = asyncio.Event(), 0
      event:set()
      asyncio.create_task(function() others = others + 1 end)
      assert.is_true(await(event:wait()))
      assert.equal(0, others)
      settle(1)
    end)
  end)

  it("set and cleared at once still wakes those who waited", function()
    run(function()
      local event = asyncio.Event()
      local t = asyncio.create_task(function() return await(event:wait()) end)
      settle(1)
      event:set()
      event:clear()
      assert.is_true(await(t))
      assert.is_false(event:is_set())
    end)
  end)

  it("cleared makes the next ones wait again", function()
    run(function()
      local event = asyncio.Event()
      event:set()
      event:clear()
      local t = asyncio.create_task(function() return await(event:wait()) end)
      settle(3)
      assert.is_false(t:done())
      event:set()
      assert.is_true(await(t))
    end)
  end)

  it("may be set and cleared any number of times", function()
    local event = asyncio.Event()
    event:set()
    event:set()
    assert.is_true(event:is_set())
    event:clear()
    event:clear()
    assert.is_false(event:is_set())
  end)

  it("loses a waiter that is cancelled, and no other", function()
    run(function()
      local event, n = asyncio.Event(), 0
      local tasks = {}
      for i = 1, 5 do
        tasks[i] = asyncio.create_task(function()
          await(event:wait())
          n = n + 1
        end)
      end
      settle(1)
      tasks[2]:cancel()
      tasks[5]:cancel()
      settle(1)
      event:set()
      settle(2)
      assert.equal(3, n)
      assert.is_true(tasks[2]:cancelled())
    end)
  end)

  it("set and then the waiter cancelled before it ran: the cancel wins", function()
    run(function()
      local event = asyncio.Event()
      local t = asyncio.create_task(function() await(event:wait()) end)
      settle(1)
      event:set()
      t:cancel()
      settle(1)
      assert.is_true(t:cancelled())
    end)
  end)

  it("works from callbacks and across many rounds", function()
    run(function()
      local ping, pong, log = asyncio.Event(), asyncio.Event(), {}
      local t = asyncio.create_task(function()
        for i = 1, 3 do
          await(ping:wait())
          ping:clear()
          log[#log + 1] = "ping" .. i
          pong:set()
        end
      end)
      for i = 1, 3 do
        asyncio.get_running_loop():call_later(1, ping.set, ping)
        await(pong:wait())
        pong:clear()
        log[#log + 1] = "pong" .. i
      end
      await(t)
      assert.same({ "ping1", "pong1", "ping2", "pong2", "ping3", "pong3" }, log)
    end)
  end)

  it("whose wait is never awaited leaves nothing", function()
    run(function()
      local event = asyncio.Event()
      event:wait():close()
      event:set()
    end)
  end)

  it("is made without arguments", function()
    local e = helper.raises(asyncio.TypeError, asyncio.Event, { loop = 1 })
    assert.matches("Event%(%) got an unexpected keyword argument 'loop'$", e.message)
    helper.raises(asyncio.TypeError, asyncio.Event, 1)
    assert.is_false(asyncio.Event({}):is_set())
  end)
end)
