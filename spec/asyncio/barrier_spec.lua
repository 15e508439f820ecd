local helper = require "spec.helper"
local asyncio = require "asyncio"

local function run(f)
  return helper.run(async(f))
end

local function settle()
  for _ = 1, 10 do await(asyncio.sleep(0)) end
end

--- n tasks that wait at the barrier; results[i] is its number or the name of its error.
local function arrive(barrier, n, results)
  local tasks = {}
  for i = 1, n do
    tasks[i] = asyncio.create_task(async(function()
      local ok, value = asyncio.catch(await, barrier:wait())
      results[#results + 1] = ok and value or value.name
      if not ok then error(value, 0) end
      return value
    end)())
  end
  settle()
  return tasks
end

describe("Barrier", function()
  it("lets its tasks go on together, with numbers from 0", function()
    run(function()
      local barrier, results = asyncio.Barrier(3), {}
      arrive(barrier, 2, results)
      assert.equal(2, barrier.n_waiting)
      assert.same({}, results)
      local last = await(barrier:wait())
      settle()
      assert.equal(2, last)
      table.sort(results)
      assert.same({ 0, 1 }, results)
      assert.equal(0, barrier.n_waiting)
      assert.is_false(barrier.broken)
    end)
  end)

  it("does not wait for one task", function()
    run(function()
      local barrier = asyncio.Barrier(1)
      for _ = 1, 3 do assert.equal(0, await(barrier:wait())) end
    end)
  end)

  it("serves one round after the other", function()
    run(function()
      local barrier, results = asyncio.Barrier(2), {}
      arrive(barrier, 6, results)
      table.sort(results)
      assert.same({ 0, 0, 0, 1, 1, 1 }, results)
    end)
  end)

  it("keeps who is too many for the next round", function()
    run(function()
      local barrier, results = asyncio.Barrier(2), {}
      local tasks = arrive(barrier, 3, results)
      assert.equal(2, #results)
      assert.equal(1, barrier.n_waiting)
      await(barrier:wait())
      settle()
      for _, task in ipairs(tasks) do assert.is_true(task:done()) end
    end)
  end)

  it("is not broken by one cancelled waiter", function()
    run(function()
      local barrier, results = asyncio.Barrier(3), {}
      local tasks = arrive(barrier, 2, results)
      tasks[1]:cancel()
      settle()
      assert.equal(1, barrier.n_waiting)
      assert.is_false(barrier.broken)
      arrive(barrier, 2, results)
      assert.equal(4, #results)
      assert.is_false(barrier.broken)
    end)
  end)

  it("raises BrokenBarrierError in who waits when it is reset, and is whole again", function()
    run(function()
      local barrier, results = asyncio.Barrier(3), {}
      local tasks = arrive(barrier, 2, results)
      await(barrier:reset())
      settle()
      assert.same({ "BrokenBarrierError", "BrokenBarrierError" }, results)
      assert.equal("BrokenBarrierError: Abort or reset of barrier", tostring(tasks[1]:exception()))
      tasks[2]:exception()
      assert.is_false(barrier.broken)
      results = {}
      arrive(barrier, 3, results)
      table.sort(results)
      assert.same({ 0, 1, 2 }, results)
    end)
  end)

  it("stays broken once aborted, until it is reset", function()
    run(function()
      local barrier, results = asyncio.Barrier(3), {}
      local tasks = arrive(barrier, 2, results)
      await(barrier:abort())
      settle()
      assert.same({ "BrokenBarrierError", "BrokenBarrierError" }, results)
      for _, task in ipairs(tasks) do task:exception() end
      assert.is_true(barrier.broken)
      assert.equal(0, barrier.n_waiting)
      local err = helper.raises(asyncio.BrokenBarrierError, await, barrier:wait())
      assert.equal("Barrier aborted", err.message)
      await(barrier:reset())
      assert.is_false(barrier.broken)
      results = {}
      arrive(barrier, 3, results)
      assert.equal(3, #results)
    end)
  end)

  it("can be reset when nobody waits", function()
    run(function()
      local barrier = asyncio.Barrier(2)
      await(barrier:reset())
      assert.is_false(barrier.broken)
      assert.equal(0, barrier.n_waiting)
    end)
  end)

  it("makes newcomers wait while it is reset", function()
    run(function()
      local barrier, results = asyncio.Barrier(2), {}
      local tasks = arrive(barrier, 1, results)
      local reset = asyncio.create_task(barrier:reset())
      local late = asyncio.create_task(barrier:wait())
      settle()
      assert.is_true(reset:done())
      assert.equal("BrokenBarrierError", tasks[1]:exception().name)
      assert.is_false(late:done())
      assert.equal(1, barrier.n_waiting)
      await(barrier:wait())
      await(late)
    end)
  end)

  it("works as a manager that gives the number", function()
    run(function()
      local barrier, indices = asyncio.Barrier(3), {}
      local enter = async(function()
        asyncio.with(barrier, function(index) indices[#indices + 1] = index end)
      end)
      await(asyncio.gather(enter(), enter(), enter()))
      table.sort(indices)
      assert.same({ 0, 1, 2 }, indices)
    end)
  end)

  it("shows its state", function()
    run(function()
      local barrier = asyncio.Barrier(2)
      assert.equal("<Barrier [filling, waiters:0/2]>", tostring(barrier))
      assert.equal(2, barrier.parties)
      await(barrier:abort())
      assert.equal("<Barrier [broken]>", tostring(barrier))
    end)
  end)

  it("takes its number as a keyword", function()
    assert.equal(2, asyncio.Barrier({ parties = 2 }).parties)
    helper.raises("partis", asyncio.Barrier, { partis = 2 })
  end)

  it("refuses a wrong number of parties", function()
    local err = helper.raises(asyncio.ValueError, asyncio.Barrier, 0)
    assert.matches("parties must be >= 1", err.message)
    helper.raises(asyncio.TypeError, asyncio.Barrier, "2")
    helper.raises(asyncio.TypeError, asyncio.Barrier)
  end)
end)
