local helper = require "spec.helper"
local asyncio = require "asyncio"

local isinstance = asyncio.isinstance

describe("run", function()
  it("gives all values of main", function()
    local a, b, c = asyncio.run(async(function() return 1, nil, 3 end)())
    assert.same({ 1, nil, 3 }, { a, b, c })
  end)

  it("raises the error of main, the same object", function()
    local raised = asyncio.ValueError("x")
    local _, err = pcall(asyncio.run, async(function() error(raised) end)())
    assert.equal(raised, err)
    local t = {}
    _, err = pcall(asyncio.run, function() error(t) end)
    assert.equal(t, err)
    _, err = pcall(asyncio.run, function() error("text", 0) end)
    assert.equal("text", err)
  end)

  it("takes a plain function and a coroutine function", function()
    assert.equal(1, asyncio.run(function() return 1 end))
    assert.equal(2, asyncio.run(async(function() return 2 end)))
  end)

  it("takes anything that can be awaited", function()
    local object = setmetatable({}, {
      __await = async(function()
        await(asyncio.sleep(0))
        return "object"
      end),
    })
    assert.equal("object", asyncio.run(object))
  end)

  it("refuses the rest", function()
    local err = helper.raises(asyncio.ValueError, asyncio.run, 5)
    assert.matches("a coroutine was expected, got a number", err.message)
    err = helper.raises(asyncio.TypeError, asyncio.run, function() end, { debgu = true })
    assert.matches("debgu", err.message)
  end)

  it("cannot be called from a running loop", function()
    local err = asyncio.run(async(function()
      return helper.raises(asyncio.RuntimeError, asyncio.run, asyncio.sleep(0))
    end)())
    assert.equal(
      "asyncio.run() cannot be called from a running event loop: await the coroutine instead",
      err.message
    )
  end)

  it("cancels the tasks that are left and waits for their clean-up", function()
    local log = {}
    helper.run(async(function()
      for i = 1, 3 do
        asyncio.create_task(async(function()
          local _ <close> = setmetatable({}, {
            __close = function()
              await(asyncio.sleep(1))
              log[#log + 1] = i
            end,
          })
          await(asyncio.sleep(100))
        end)())
      end
      await(asyncio.sleep(0))
    end)())
    assert.same({ 1, 2, 3 }, log)
  end)

  it("reports the errors of the tasks that are left", function()
    local contexts = {}
    helper.run(async(function()
      asyncio.get_running_loop():set_exception_handler(function(_, context) contexts[#contexts + 1] = context end)
      asyncio.create_task(async(function()
        asyncio.catch(await, asyncio.sleep(100))
        error(asyncio.ValueError("clean-up"))
      end)())
      await(asyncio.sleep(0))
    end)())
    assert.equal(1, #contexts)
    assert.equal("unhandled exception during asyncio.run() shutdown", contexts[1].message)
    assert.equal("ValueError: clean-up", tostring(contexts[1].exception))
    assert.is_true(asyncio.isfuture(contexts[1].task))
  end)

  it("cancels what is left when main fails, and raises main's error", function()
    local cleaned
    helper.raises(asyncio.ValueError, helper.run, async(function()
      asyncio.create_task(async(function()
        local _ <close> = setmetatable({}, { __close = function() cleaned = true end })
        await(asyncio.sleep(100))
      end)())
      await(asyncio.sleep(0))
      error(asyncio.ValueError("main"))
    end)())
    assert.is_true(cleaned)
  end)

  it("calls what is ready when main ends, and what that makes ready, for as many rounds as CPython", function()
    local seen = {}
    asyncio.run(async(function()
      local loop = asyncio.get_running_loop()
      local function chain(n)
        seen[#seen + 1] = n
        loop:call_soon(chain, n + 1)
      end
      loop:call_soon(chain, 1)
      asyncio.current_task():add_done_callback(function() loop:call_soon(table.insert, seen, "after main") end)
    end)())
    -- One round as main ends, two for each coroutine that CPython's run runs before it closes the loop.
    assert.same({ 1, 2, "after main", 3, 4, 5 }, seen)
  end)

  it("closes its loop", function()
    local loop
    asyncio.run(async(function() loop = asyncio.get_running_loop() end)())
    assert.is_true(loop:is_closed())
  end)

  it("uses the loop of loop_factory", function()
    local made
    local running = asyncio.run(async(function() return asyncio.get_running_loop() end)(), {
      loop_factory = function()
        made = asyncio.new_event_loop { clock = "virtual" }
        return made
      end,
    })
    assert.equal(made, running)
    assert.is_true(made:is_closed())
  end)

  it("sets the debug mode", function()
    for _, debug in ipairs { true, false } do
      local got = asyncio.run(async(function() return asyncio.get_running_loop():get_debug() end)(), { debug = debug })
      assert.equal(debug, got)
    end
  end)

  it("raises CancelledError when main cancels itself", function()
    local err = helper.raises(asyncio.CancelledError, asyncio.run, async(function()
      asyncio.current_task():cancel("self")
      await(asyncio.sleep(0))
    end)())
    assert.equal("self", err.message)
  end)

  it("can be called again and again", function()
    for i = 1, 50 do assert.equal(i, asyncio.run(async(function() return i end)())) end
  end)

  it("jumps from timer to timer with the virtual clock", function()
    local elapsed = asyncio.run(async(function()
      local loop = asyncio.get_running_loop()
      local start = loop:time()
      await(asyncio.sleep(86400))
      return loop:time() - start
    end)(), { clock = "virtual" })
    assert.equal(86400.0, elapsed)
  end)
end)

describe("Ctrl-C", function()
  -- The script calls ready() when it may be interrupted.
  local function interrupt(script)
    local ready = helper.latch()
    local file = helper.tmpfile(("local function ready() io.open(%q, 'w'):close() end\n"):format(ready) .. script)
    return helper.sh(("%s %s & p=$!; until [ -e %s ] || ! kill -0 $p; do sleep 0.01; done; kill -INT $p; wait $p")
      :format(helper.program(), helper.quote(file), ready))
  end

  it("cancels main first, so that clean-up runs, and becomes KeyboardInterrupt", function()
    local status, out = interrupt([[
      local asyncio = require "asyncio"
      local ok, err = asyncio.catch(asyncio.run, async(function()
        local _ <close> = setmetatable({}, { __close = function() await(asyncio.sleep(0.01)) print("clean") end })
        ready()
        await(asyncio.sleep(60))
      end)())
      print(ok, err.name)
    ]])
    assert.equal("clean\nfalse\tKeyboardInterrupt\n", out)
    assert.equal(0, status)
  end)

  it("is over when main handles it and goes on", function()
    local _, out = interrupt([[
      local asyncio = require "asyncio"
      print(asyncio.run(async(function()
        ready()
        local ok, err = asyncio.catch(await, asyncio.sleep(60))
        return err.name, asyncio.current_task():cancelling()
      end)()))
    ]])
    assert.equal("CancelledError\t1\n", out)
  end)

  it("stays a CancelledError when somebody else has cancelled main too", function()
    local _, out = interrupt([[
      local asyncio = require "asyncio"
      local ok, err = asyncio.catch(asyncio.run, async(function()
        ready()
        local _, e = asyncio.catch(await, asyncio.sleep(60))
        asyncio.current_task():cancel()
        error(e, 0)
      end)())
      print(err.name)
    ]])
    assert.equal("CancelledError\n", out)
  end)
end)

describe("Runner", function()
  it("runs several coroutines in one loop", function()
    local runner <close> = asyncio.Runner()
    local get = async(function() return asyncio.get_running_loop() end)
    local a, b = runner:run(get()), runner:run(get())
    assert.equal(a, b)
    assert.equal(a, runner:get_loop())
  end)

  it("closes its loop and is then closed", function()
    local runner = asyncio.Runner()
    local loop = runner:get_loop()
    runner:close()
    runner:close()
    assert.is_true(loop:is_closed())
    local err = helper.raises(asyncio.RuntimeError, runner.get_loop, runner)
    assert.equal("Runner is closed", err.message)
    helper.raises(asyncio.RuntimeError, runner.run, runner, function() end)
  end)

  it("cancels what is left when it is closed, not before", function()
    local task, after_run
    do
      local runner <close> = asyncio.Runner { clock = "virtual" }
      runner:run(async(function() task = asyncio.create_task(asyncio.sleep(100)) end)())
      after_run = task:done()
    end
    assert.is_false(after_run)
    assert.is_true(task:cancelled())
  end)

  it("is refused inside a running loop", function()
    local runner <close> = asyncio.Runner()
    local err = runner:run(async(function()
      return helper.raises(asyncio.RuntimeError, runner.run, runner, function() end)
    end)())
    assert.equal("Runner.run() cannot be called from a running event loop", err.message)
  end)

  it("refuses unknown options", function()
    helper.raises("debgu", asyncio.Runner, { debgu = true })
  end)

  it("leaves in a context that is given what main has set in it", function()
    local runner <close> = asyncio.Runner { clock = "virtual" }
    local given = asyncio.context.copy()
    runner:run(async(function() asyncio.context.set("k", 5) end)(), { context = given })
    assert.equal(5, given.k)
    assert.is_nil(runner:run(async(function() return asyncio.context.get("k") end)()))
  end)

  it("gives a context to its main task", function()
    local runner <close> = asyncio.Runner()
    local get = async(function() return asyncio.context.get("x") end)
    assert.equal(5, runner:run(get(), { context = { x = 5 } }))
  end)

  it("raises errors and can be used on", function()
    local runner <close> = asyncio.Runner()
    local err = helper.raises(asyncio.CancelledError, runner.run, runner, async(function()
      error(asyncio.CancelledError("x"))
    end)())
    assert.is_true(isinstance(err, asyncio.CancelledError))
    assert.equal(1, runner:run(function() return 1 end))
  end)

  it("keeps what its runs set in their context", function()
    local runner <close> = asyncio.Runner { clock = "virtual" }
    local context = asyncio.context
    runner:run(async(function() context.set("kept", 1) end)())
    assert.equal(1, runner:run(async(function()
      assert.equal(1, asyncio.current_task():get_context().kept)
      return context.get("kept")
    end)()))
    runner:run(async(function() context.set("kept", 2) end)(), { context = {} })
    assert.equal(1, runner:run(async(function() return context.get("kept") end)()))
    assert.is_nil(context.get("kept"))
  end)
end)
