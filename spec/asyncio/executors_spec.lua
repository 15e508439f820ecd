--- stdlib/asyncio/executors.lua: run_in_executor, the default executor, to_thread.

local asyncio = require "asyncio"
local futures = require "concurrent.futures"
local helper = require "spec.helper"
local time = require "time"

local function run(f) return asyncio.run(async(f)) end

describe("run_in_executor", function()
  it("calls a function in a thread and gives its values", function()
    run(function()
      local loop = asyncio.get_running_loop()
      local future = loop:run_in_executor(nil, function(a, b) return a + b, a, { b } end, 1, 2)
      assert(asyncio.isfuture(future))
      local sum, a, list = await(future)
      assert.same({ 3, 1, { 2 } }, { sum, a, list })
      assert.equal(0, select("#", await(loop:run_in_executor(nil, function() end))) - 1)
    end)
  end)

  it("lets the loop run meanwhile", function()
    run(function()
      local loop, ticks = asyncio.get_running_loop(), 0
      local ticker = asyncio.create_task(async(function()
        while true do
          await(asyncio.sleep(0))
          ticks = ticks + 1
        end
      end)())
      local path, open = helper.latch()
      local call = loop:run_in_executor(nil, helper.held, path)
      while ticks < 3 do await(asyncio.sleep(0)) end
      assert.is_false(call:done())
      open()
      await(call)
      ticker:cancel()
    end)
  end)

  it("runs several at the same time", function()
    run(function()
      local loop, calls, dir = asyncio.get_running_loop(), {}, helper.tmpdir()
      local function meet(name, other) -- each waits until the other one is there
        io.open(dir .. "/" .. name, "w"):close()
        local file
        repeat
          require("time").sleep(0.001)
          file = io.open(dir .. "/" .. other)
        until file
        file:close()
        return name
      end
      for i, names in ipairs { { "a", "b" }, { "b", "a" } } do
        calls[i] = loop:run_in_executor(nil, meet, names[1], names[2])
      end
      assert.equal("b", await(asyncio.gather(calls))[2])
    end)
  end)

  it("raises the function's error, with its traceback", function()
    run(function()
      local loop = asyncio.get_running_loop()
      local err = helper.raises(asyncio.ValueError, await, loop:run_in_executor(nil, function()
        error(require("asyncio").ValueError("bad", { code = 5 }))
      end))
      assert.same({ "bad", 5 }, { err.message, err.code })
      assert.matches("executors_spec.lua:%d+: in function", err.traceback)
      local ok, text = pcall(await, loop:run_in_executor(nil, function() error("plain") end))
      assert.is_false(ok)
      assert.matches("executors_spec.lua:%d+: plain", text)
      assert.matches("executors_spec.lua:%d+: in function", require("asyncio.core").traceback(text))
      ok, text = pcall(await, loop:run_in_executor(nil, function() error({ code = 7 }) end))
      assert.same({ false, 7 }, { ok, text.code })
      helper.raises("raised nil", await, loop:run_in_executor(nil, function() error() end))
      helper.raises("a message", await, loop:run_in_executor(nil, function()
        error(setmetatable({ thread = coroutine.create(print) }, { __tostring = function() return "a message" end }))
      end))
    end)
  end)

  it("gives each call its own arguments and results, of whatever kind, however fast they come", function()
    run(function()
      local loop, offset = asyncio.get_running_loop(), 0
      local function same(...) return ... end
      local function add(x) return x + offset end
      local values = { 0, 127, 128, -1, math.maxinteger, math.mininteger, 0.5, -0.0, 1 / 0, true, false, "", "short",
        ("s"):rep(63), ("s"):rep(64), ("s"):rep(1000), { 1, { 2 } }, math.pi }
      for _ = 1, 20 do
        local calls, nils = {}, {}
        for i, v in ipairs(values) do calls[i] = loop:run_in_executor(nil, same, v) end
        for i = 1, 20 do nils[i] = loop:run_in_executor(nil, same, nil, i) end
        local results = await(asyncio.gather(calls))
        for i, v in ipairs(values) do
          assert.same(v, results[i])
          assert.equal(math.type(v), math.type(results[i]))
        end
        for i = 1, 20 do
          local none, n = await(nils[i])
          assert.equal(nil, none)
          assert.equal(i, n)
        end
        offset = offset + 1 -- an upvalue that changes is sent as it is
        assert.equal(offset + 1, await(loop:run_in_executor(nil, add, 1)))
      end
      local boom = loop:run_in_executor(nil, function(x) error({ code = x }) end, 3)
      local ok, e = pcall(await, boom)
      assert(not ok and e.code == 3)
    end)
  end)

  it("is not held up by a call that blocks among quick ones", function()
    run(function()
      local loop, path = asyncio.get_running_loop(), os.tmpname()
      assert(os.remove(path))
      local function same(x) return x end
      local function block(name)
        while not io.open(name) do os.execute("sleep 0.01") end
        return "unblocked"
      end
      for _ = 1, 5 do -- so many that they are known to be quick
        local calls = {}
        for i = 1, 100 do calls[i] = loop:run_in_executor(nil, same, i) end
        await(asyncio.gather(calls))
      end
      local calls = {}
      for i = 1, 10 do calls[i] = loop:run_in_executor(nil, same, i) end
      local blocked = { loop:run_in_executor(nil, block, path), loop:run_in_executor(nil, block, path) }
      for i = 11, 30 do calls[i] = loop:run_in_executor(nil, same, i) end
      assert.equal(30, #await(asyncio.gather(calls)))
      assert(not blocked[1]:done() and not blocked[2]:done())
      assert(io.open(path, "w")):close()
      assert.equal("unblocked", await(blocked[1]))
      assert.equal("unblocked", await(blocked[2]))
      os.remove(path)
    end)
  end)

  it("forgets calls that are cancelled before they are queued", function()
    run(function()
      local loop = asyncio.get_running_loop()
      local function same(x) return x end
      for _ = 1, 10 do
        local calls = {}
        for i = 1, 100 do calls[i] = loop:run_in_executor(nil, same, i) end
        for i = 2, 100, 2 do calls[i]:cancel() end
        for i = 1, 100, 2 do assert.equal(i, await(calls[i])) end
        for i = 2, 100, 2 do assert(calls[i]:cancelled()) end
      end
    end)
  end)

  it("refuses what is no function, and coroutines", function()
    run(function()
      local loop = asyncio.get_running_loop()
      local err = helper.raises(asyncio.TypeError, loop.run_in_executor, loop, nil, 5)
      assert.matches("run_in_executor: a function was expected, got number", err.message)
      err = helper.raises(asyncio.TypeError, loop.run_in_executor, loop, nil, async(function() end))
      assert.matches("coroutines cannot be used with run_in_executor%(%)", err.message)
      local coroutine = asyncio.sleep(0)
      helper.raises(asyncio.TypeError, loop.run_in_executor, loop, nil, coroutine)
      coroutine:close()
      helper.raises(asyncio.TypeError, loop.run_in_executor, loop, {}, print)
      helper.raises(asyncio.TypeError, loop.run_in_executor, loop, "pool", print)
    end)
  end)

  it("gives CancelledError at once to who awaits a call that runs; its result is dropped", function()
    run(function()
      local loop = asyncio.get_running_loop()
      local path, open = helper.latch()
      local future = loop:run_in_executor(nil, helper.held, path)
      local task = asyncio.create_task(async(function() await(future) end)())
      await(asyncio.sleep(0.02))
      task:cancel()
      helper.raises(asyncio.CancelledError, await, task)
      assert.is_true(future:cancelled())
      assert.equal(1, await(loop:run_in_executor(nil, function() return 1 end)))
      open()
    end)
  end)

  it("never starts what was cancelled before it began", function()
    local file = helper.tmpfile()
    run(function()
      local loop = asyncio.get_running_loop()
      loop:set_default_executor(futures.ThreadPoolExecutor(1))
      local function touch(path)
        local f <close> = assert(io.open(path, "a"))
        f:write("x")
      end
      local path, open = helper.latch()
      local busy = loop:run_in_executor(nil, helper.held, path)
      local first, second = loop:run_in_executor(nil, touch, file), loop:run_in_executor(nil, touch, file)
      first:cancel()
      open()
      await(second)
      await(busy)
      assert.is_true(first:cancelled())
    end)
    local f <close> = assert(io.open(file))
    assert.equal("x", f:read("a"))
  end)

  it("times out like anything that is awaited", function()
    run(function()
      local loop = asyncio.get_running_loop()
      local path, open = helper.latch()
      helper.raises(asyncio.TimeoutError, await, asyncio.wait_for(loop:run_in_executor(nil, helper.held, path), 0.01))
      open()
    end)
  end)

  it("makes virtual time wait for the threads", function()
    helper.run(async(function()
      local loop = asyncio.get_running_loop()
      local done = {}
      local function note(name) return function() done[#done + 1] = name end end
      loop:run_in_executor(nil, time.sleep, 0.05):add_done_callback(note("thread"))
      loop:call_later(3600, note("timer"))
      await(asyncio.sleep(3601))
      assert.same({ "thread", "timer" }, done)
    end))
  end)

  it("works where no task runs", function()
    local loop = asyncio.new_event_loop()
    local future = loop:run_in_executor(nil, math.sqrt, 9)
    assert.equal(3.0, loop:run_until_complete(future))
    loop:close()
    helper.raises(asyncio.RuntimeError, loop.run_in_executor, loop, nil, print)
  end)

  it("lets workers await and run loops of their own", function()
    run(function()
      local loop = asyncio.get_running_loop()
      assert.equal("x", await(loop:run_in_executor(nil, function()
        return asyncio.run(asyncio.sleep(0.001, "x"))
      end)))
      assert.equal("y", await(loop:run_in_executor(nil, function() return await(asyncio.sleep(0.001, "y")) end)))
      assert.equal("z", await(loop:run_in_executor(nil, function()
        return asyncio.run(async(function() return await(asyncio.to_thread(function() return "z" end)) end))
      end)))
    end)
  end)

  it("keeps the program alive when a worker calls os.exit or wants all memory", function()
    run(function()
      local loop = asyncio.get_running_loop()
      local err = helper.raises(asyncio.RuntimeError, await, loop:run_in_executor(nil, os.exit, 3))
      assert.matches("os.exit%(%) in a worker thread", err.message)
      local pool <close> = futures.ThreadPoolExecutor { max_workers = 1, memory_limit = 20000000 }
      helper.raises("not enough memory", await, loop:run_in_executor(pool, function()
        local t = {}
        for i = 1, 1e9 do t[i] = ("x"):rep(100000) .. i end
        return #t
      end))
      assert.equal(1, await(loop:run_in_executor(pool, function() return 1 end)))
    end)
  end)
end)

describe("the default executor", function()
  it("is shut down by asyncio.run, which waits for its calls", function()
    local file = helper.tmpfile()
    run(function()
      asyncio.get_running_loop():run_in_executor(nil, function(path)
        require("time").sleep(0.05)
        local f <close> = assert(io.open(path, "w"))
        f:write("done")
      end, file)
    end)
    local f <close> = assert(io.open(file))
    assert.equal("done", f:read("a"))
  end)

  it("takes no calls once it was shut down", function()
    run(function()
      local loop = asyncio.get_running_loop()
      await(loop:run_in_executor(nil, math.sqrt, 4))
      await(loop:shutdown_default_executor())
      await(loop:shutdown_default_executor(1))
      local err = helper.raises(asyncio.RuntimeError, loop.run_in_executor, loop, nil, math.sqrt, 4)
      assert.matches("Executor shutdown has been called", err.message)
      helper.raises(asyncio.TypeError, await, loop:shutdown_default_executor("x"))
    end)
  end)

  it("can be set", function()
    run(function()
      local loop = asyncio.get_running_loop()
      local pool = futures.ThreadPoolExecutor(1)
      loop:set_default_executor(pool)
      await(loop:run_in_executor(nil, function() state_of_worker = 5 end)) -- luacheck: ignore
      assert.equal(5, await(loop:run_in_executor(pool, function() return state_of_worker end))) -- luacheck: ignore
      helper.raises(asyncio.TypeError, loop.set_default_executor, loop, nil)
      helper.raises(asyncio.TypeError, loop.set_default_executor, loop, {})
    end)
  end)

  it("goes with its loop when that is closed with calls under way", function()
    local loop = asyncio.new_event_loop()
    local running = loop:run_in_executor(nil, time.sleep, 0.05)
    for _ = 1, 50 do loop:run_in_executor(nil, time.sleep, 0.01) end
    loop:close()
    assert.is_false(running:done())
  end)
end)

describe("to_thread", function()
  it("is a coroutine: nothing is called before it is awaited", function()
    run(function()
      local coroutine = asyncio.to_thread(error, "never")
      assert.is_true(asyncio.iscoroutine(coroutine))
      assert.is_true(asyncio.iscoroutinefunction(asyncio.to_thread))
      coroutine:close()
      assert.same({ 3, 4 }, { await(asyncio.to_thread(function(a, b) return a, b end, 3, 4)) })
      local both = await(asyncio.gather(asyncio.to_thread(math.sqrt, 4), asyncio.to_thread(math.sqrt, 9)))
      assert.same({ 2.0, 3.0 }, { both[1], both[2] })
    end)
  end)

  it("refuses at the call what is no function", function()
    local e = helper.raises(asyncio.TypeError, function() return (asyncio.to_thread(5)) end)
    assert.matches("executors_spec.lua:%d+: to_thread: a function was expected, got a number$", e.message)
  end)

  it("copies the context, as far as that can be copied", function()
    run(function()
      asyncio.context.set("user", "ann")
      asyncio.context.set("connection", io.stdout)
      local function get(key) return asyncio.context.get(key) end
      assert.equal("ann", await(asyncio.to_thread(get, "user")))
      assert.is_nil((await(asyncio.to_thread(get, "connection"))))
      await(asyncio.to_thread(function() asyncio.context.set("user", "bob") end))
      assert.equal("ann", asyncio.context.get("user"))
      asyncio.context.set("user", nil)
      for _ = 1, 10 do assert.is_nil((await(asyncio.to_thread(get, "user")))) end
    end)
  end)
end)
