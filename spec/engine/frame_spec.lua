--- asyncio.next_frame, and how fast a loop's time goes.

local helper = require "spec.helper"
local asyncio = require "asyncio"

local function run(f, opts) return helper.run(async(f), opts) end
local function near(expected, got) assert.near(expected, got, 1e-9) end
local next_frame = asyncio.next_frame
local function time() return asyncio.get_running_loop():time() end

describe("next_frame", function()
  it("awaits to the seconds since the last frame and the frame's number", function()
    run(function()
      local dt, n = await(next_frame())
      near(1 / 60, dt)
      assert.equal("integer", math.type(n))
      local start = time()
      for i = 1, 3 do
        local d, k = await(next_frame())
        assert.equal(1 / 60, d)
        assert.equal(n + i, k)
      end
      near(3 / 60, time() - start)
    end)
  end)

  it("resumes everybody in one frame, in the order they began to wait", function()
    run(function()
      local log = {}
      local function entity(name)
        return asyncio.create_task(function()
          for _ = 1, 3 do
            local _, n = await(next_frame())
            log[#log + 1] = name .. n
          end
        end)
      end
      await(asyncio.gather(entity "a", entity "b", entity "c"))
      local first = tonumber(log[1]:sub(2))
      local expected = {}
      for n = first, first + 2 do
        for _, name in ipairs { "a", "b", "c" } do expected[#expected + 1] = name .. n end
      end
      assert.same(expected, log)
    end)
  end)

  it("is one object that may be awaited over and over, and allocates nothing", function()
    run(function()
      local frame = next_frame()
      assert.equal(frame, next_frame())
      await(frame)
      await(frame)
      assert(asyncio.iscoroutine(frame))
      frame:close() -- is of no consequence
      collectgarbage()
      collectgarbage "stop"
      local function taken(frames)
        local before = collectgarbage "count"
        for _ = 1, frames do await(next_frame()) end
        return collectgarbage "count" - before
      end
      taken(1)
      assert.equal(taken(10), taken(1000))
      collectgarbage "restart"
    end)
  end)

  it("may be given to create_task, gather, wait_for, shield and wait", function()
    run(function()
      local t = asyncio.create_task(next_frame())
      near(1 / 60, (await(t)))
      local r = await(asyncio.gather(next_frame(), next_frame()))
      assert.equal(2, r.n)
      near(1 / 60, r[2])
      near(1 / 60, (await(asyncio.wait_for(next_frame(), 1))))
      near(1 / 60, (await(asyncio.shield(next_frame()))))
      local done = await(asyncio.wait({ asyncio.ensure_future(next_frame()) }))
      assert.equal(1, #done)
    end)
  end)

  it("is over in time, or times out", function()
    run(function()
      local start = time()
      helper.raises(asyncio.TimeoutError, function() await(asyncio.wait_for(next_frame(), 0.001)) end)
      near(0.001, time() - start)
      helper.raises(asyncio.TimeoutError, function()
        local _ <close> = asyncio.timeout(0.002)
        await(next_frame())
      end)
    end)
  end)

  it("is cancelled at once, whichever the stage", function()
    run(function()
      local function waits() return await(next_frame()) end
      local t = asyncio.create_task(waits) -- before its first step
      t:cancel "early"
      helper.raises(asyncio.CancelledError, await, t)

      t = asyncio.create_task(waits) -- while it waits
      await(asyncio.sleep(0))
      local start = time()
      t:cancel "parked"
      local e = helper.raises(asyncio.CancelledError, await, t)
      assert.equal("parked", e.message)
      assert.equal(start, time())

      local other -- when the frame has come, but its turn has not
      local first = asyncio.create_task(function()
        await(next_frame())
        other:cancel "woken"
      end)
      other = asyncio.create_task(waits)
      e = helper.raises(asyncio.CancelledError, await, other)
      assert.equal("woken", e.message)
      await(first)

      t = asyncio.create_task(function() -- before it awaits
        asyncio.current_task():cancel "running"
        return await(next_frame())
      end)
      start = time()
      e = helper.raises(asyncio.CancelledError, await, t)
      assert.equal("running", e.message)
      assert.equal(start, time())
    end)
  end)

  it("may be awaited again in the clean-up of a cancelled task, and the others are where they were", function()
    run(function()
      local log = {}
      local function waits(name)
        return asyncio.create_task(function()
          local ok = asyncio.catch(function() await(next_frame()) end)
          if not ok then await(next_frame()) end
          log[#log + 1] = name
        end)
      end
      local a, b, c = waits "a", waits "b", waits "c"
      await(asyncio.sleep(0))
      b:cancel()
      b:cancel "twice"
      await(asyncio.wait { a, b, c })
      assert.same({ "a", "c", "b" }, log)
    end)
  end)

  it("is what a task says that it waits for", function()
    run(function()
      local t = asyncio.create_task(function() await(next_frame()) end)
      await(asyncio.sleep(0))
      assert(tostring(t):find("wait_for=<next_frame>", 1, true), tostring(t))
      await(t)
    end)
  end)

  it("works in coroutines of the script and deep in awaits", function()
    run(function()
      local gen = coroutine.wrap(function()
        for _ = 1, 2 do coroutine.yield((await(next_frame()))) end
      end)
      near(1 / 60, gen())
      near(1 / 60, gen())
      local function deep(n)
        if n == 0 then return await(next_frame()) end
        return await(async(deep)(n - 1))
      end
      near(1 / 60, (deep(300)))
    end)
  end)

  it("cannot be awaited where Lua cannot suspend, or in a critical section", function()
    run(function()
      helper.raises("cannot await here", function()
        table.sort({ 3, 2, 1 }, function(a, b)
          await(next_frame())
          return a < b
        end)
      end)
      helper.raises("critical", asyncio.critical, function() await(next_frame()) end)
    end)
  end)

  it("may be awaited outside of tasks", function()
    local loop <close> = asyncio.new_event_loop { clock = "virtual" }
    near(1 / 60, (loop:run_until_complete(next_frame())))
  end)

  it("is waited for by tasks that a closing loop destroys", function()
    local loop = asyncio.new_event_loop { clock = "virtual" }
    local said, closed = {}, false
    loop:set_exception_handler(function(_, context) said[#said + 1] = context.message end)
    loop:create_task(function()
      local _ <close> = setmetatable({}, { __close = function() closed = true end })
      await(next_frame())
    end)
    loop:call_soon(loop.stop, loop)
    loop:run_forever()
    loop:close()
    assert.same({ "Task was destroyed but it is pending!" }, said)
    assert(closed)
    helper.run(function() await(next_frame()) end) -- the shared object is as good as new
  end)

  it("counts frames that nobody waits for", function()
    run(function()
      await(next_frame())
      await(asyncio.sleep(1.0001))
      near(1 / 60, (await(next_frame())))
    end)
  end)

  it("comes after the timers of its time", function()
    run(function()
      local log = {}
      asyncio.get_running_loop():set_frame_rate(10)
      asyncio.get_running_loop():call_later(0.1, function() log[#log + 1] = "timer" end)
      await(next_frame())
      log[#log + 1] = "frame"
      assert.same({ "timer", "frame" }, log)
    end)
  end)

  it("comes in real time, too", function()
    asyncio.run(function()
      asyncio.get_running_loop():set_frame_rate(200)
      local start = time()
      for _ = 1, 5 do await(next_frame()) end
      assert(time() - start > 4 / 200)
    end)
  end)

  it("leaves the order to the shuffling seed, as all that is ready", function()
    local function order(seed)
      local log = {}
      run(function()
        local tasks = {}
        for i = 1, 20 do
          tasks[i] = asyncio.create_task(function()
            await(next_frame())
            log[#log + 1] = i
          end)
        end
        await(asyncio.gather(tasks))
      end, { shuffle = seed })
      return table.concat(log, " ")
    end
    assert.equal(order(7), order(7))
    assert.not_equal(order(7), order(8))
  end)
end)

describe("set_frame_rate", function()
  it("says how many frames a second there are", function()
    run(function()
      local loop = asyncio.get_running_loop()
      assert.near(60, loop:get_frame_rate(), 1e-9)
      loop:set_frame_rate(30)
      near(1 / 30, (await(next_frame())))
      loop:set_frame_rate(math.huge)
      local start = time()
      for _ = 1, 10 do await(next_frame()) end
      assert.equal(start, time())
    end)
  end)

  it("refuses what is no rate", function()
    run(function()
      local loop = asyncio.get_running_loop()
      for _, bad in ipairs { 0, -1, 0 / 0 } do helper.raises(asyncio.ValueError, loop.set_frame_rate, loop, bad) end
      helper.raises("number expected", loop.set_frame_rate, loop, "fast")
      helper.raises("number expected", loop.set_frame_rate, loop)
    end)
  end)
end)

describe("set_time_scale", function()
  it("makes time go slower, faster, and as before, without a jump", function()
    run(function()
      local loop = asyncio.get_running_loop()
      assert.equal(1, loop:get_time_scale())
      await(asyncio.sleep(1))
      local start = time()
      loop:set_time_scale(0.5)
      assert.equal(start, time())
      assert.equal(0.5, loop:get_time_scale())
      near(1 / 120, (await(next_frame()))) -- sixty frames a second of the clock
      near(start + 1 / 120, time())
      await(asyncio.sleep(10))
      near(start + 10 + 1 / 120, time())
      loop:set_time_scale(1)
      start = time()
      await(asyncio.sleep(1))
      near(start + 1, time())
    end)
  end)

  it("paused: frames come, timers do not", function()
    run(function()
      local loop, woken = asyncio.get_running_loop(), false
      local t = asyncio.create_task(function()
        await(asyncio.sleep(0.05))
        woken = true
      end)
      await(next_frame())
      loop:set_time_scale(0)
      local start = time()
      for _ = 1, 30 do assert.equal(0, (await(next_frame()))) end
      assert.equal(start, time())
      assert(not woken)
      loop:set_time_scale(1)
      await(t)
      assert.near(start + 0.05 - 1 / 60, time(), 1e-6)
    end)
  end)

  it("paused with nothing but timers left is a deadlock, which is told", function()
    local e = helper.raises(asyncio.RuntimeError, run, function()
      asyncio.get_running_loop():set_time_scale(0)
      await(asyncio.sleep(1))
    end)
    assert(tostring(e):find("deadlock", 1, true))
  end)

  it("refuses what is no scale", function()
    run(function()
      local loop = asyncio.get_running_loop()
      for _, bad in ipairs { -1, 0 / 0, math.huge } do
        helper.raises(asyncio.ValueError, loop.set_time_scale, loop, bad)
      end
      helper.raises("number expected", loop.set_time_scale, loop, {})
    end)
  end)

  it("refuses a closed loop", function()
    local loop = asyncio.new_event_loop()
    loop:close()
    helper.raises(asyncio.RuntimeError, loop.set_time_scale, loop, 1)
    helper.raises(asyncio.RuntimeError, loop.set_frame_rate, loop, 1)
  end)
end)
