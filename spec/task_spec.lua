--- task: spawn, defer, delay, wait and cancel, as Roblox documents them.

local helper = require "spec.helper"
local asyncio = require "asyncio"
local task = require "task"

local function run(f, opts) return helper.run(async(f), opts) end
local function time() return asyncio.get_running_loop():time() end
local frame = 1 / 60
local function near(expected, got) assert.near(expected, got, 1e-9) end

describe("task.spawn", function()
  it("runs at once until it waits for the first time", function()
    run(function()
      local log = {}
      local thread = task.spawn(function(...)
        log[#log + 1] = table.concat({ ... }, " ")
        task.wait()
        log[#log + 1] = "later"
      end, 1, "two")
      log[#log + 1] = "spawned"
      assert.equal("thread", type(thread))
      task.wait()
      task.wait()
      assert.same({ "1 two", "spawned", "later" }, log)
      assert.equal("dead", coroutine.status(thread))
    end)
  end)

  it("passes nils, and nests", function()
    run(function()
      local got, order = nil, {}
      task.spawn(function(...)
        got = table.pack(...)
        task.spawn(function() order[#order + 1] = "inner" end)
        order[#order + 1] = "outer"
      end, nil, 2, nil)
      assert.equal(3, got.n)
      assert.same({ "inner", "outer" }, order)
    end)
  end)

  it("resumes a thread that yields, again and again", function()
    run(function()
      local got = {}
      local thread = task.spawn(function(...)
        local args = table.pack(...)
        while args.n > 0 do
          got[#got + 1] = table.concat({ table.unpack(args) }, ",")
          args = table.pack(coroutine.yield())
        end
      end, "a")
      assert.equal("suspended", coroutine.status(thread))
      assert.equal(thread, task.spawn(thread, "b", "c"))
      task.defer(thread, "d")
      task.wait()
      task.delay(1, thread, "e")
      task.wait(2)
      task.spawn(thread)
      assert.same({ "a", "b,c", "d", "e" }, got)
      assert.equal("dead", coroutine.status(thread))
    end)
  end)

  it("lets a thread hand itself to others: the idiom with coroutine.running", function()
    run(function()
      local got
      task.spawn(function()
        local me = coroutine.running()
        task.delay(2, function() task.spawn(me, "answer") end)
        got = coroutine.yield()
      end)
      task.wait(1)
      assert.is_nil(got)
      task.wait(1.1)
      assert.equal("answer", got)
    end)
  end)

  it("takes coroutine functions and coroutines, and lets threads await", function()
    run(function()
      local log = {}
      local f = async(function(x)
        await(asyncio.sleep(1))
        log[#log + 1] = x
      end)
      task.spawn(f, "function")
      task.spawn(f "coroutine")
      task.spawn(function()
        local q = asyncio.Queue()
        task.delay(0.5, function() q:put_nowait "queue" end)
        log[#log + 1] = await(q:get())
      end)
      task.wait(2)
      assert.same({ "queue", "function", "coroutine" }, log)
    end)
  end)

  it("reports errors as those of any task, with where they were raised", function()
    local told = {}
    run(function()
      asyncio.get_running_loop():set_exception_handler(function(_, context) told[#told + 1] = context end)
      local function raises() error "boom" end
      task.spawn(function() raises() end)
      task.delay(1, error, { "an object" })
      task.spawn(function()
        task.wait()
        raises()
      end)
      task.wait(2)
      collectgarbage()
    end)
    assert.equal(3, #told)
    local booms = 0
    for _, context in ipairs(told) do
      if tostring(context.exception):find "boom" then
        booms = booms + 1
        assert(context.traceback:find("in upvalue 'raises'", 1, true), context.traceback)
      end
    end
    assert.equal(2, booms)
  end)

  it("works outside of tasks: the loop takes a turn", function()
    local log = {}
    local thread = task.spawn(function(x)
      log[#log + 1] = x
      task.wait(0.001)
      log[#log + 1] = "waited"
    end, "at once")
    assert.same({ "at once" }, log)
    task.wait(0.05)
    assert.same({ "at once", "waited" }, log)
    assert.equal("dead", coroutine.status(thread))
  end)

  it("refuses what it cannot run", function()
    run(function()
      for _, bad in ipairs { 1, "f", {}, true } do helper.raises(asyncio.TypeError, task.spawn, bad) end
      local e = helper.raises(asyncio.TypeError, function() task.defer() end)
      assert(e.message:find("spec/task_spec.lua:%d+: task.defer: a function or a thread was expected, got nil"), e.message)
      local dead = task.spawn(function() end)
      helper.raises("it is dead", task.spawn, dead)
      local waits = task.spawn(task.wait)
      helper.raises("it waits", task.spawn, waits)
      local deferred = task.defer(function() end)
      helper.raises("resumed already", task.spawn, deferred)
      helper.raises("it is running", task.spawn, coroutine.running())
      task.wait()
    end)
  end)
end)

describe("task.defer", function()
  it("runs when all that is ready now has run, in order", function()
    run(function()
      local log = {}
      asyncio.create_task(function() log[#log + 1] = "ready" end)
      task.defer(function(x) log[#log + 1] = x end, "first")
      task.defer(function() log[#log + 1] = "second" end)
      log[#log + 1] = "now"
      await(asyncio.sleep(0))
      assert.same({ "now", "ready", "first", "second" }, log)
    end)
  end)
end)

describe("task.wait", function()
  it("gives the time that has passed", function()
    run(function()
      near(1, task.wait(1))
      near(0.5, task.wait(0.5))
      assert(task.wait(0.1) >= 0.1)
    end)
  end)

  it("is a frame at least", function()
    run(function()
      task.wait()
      near(frame, task.wait())
      near(frame, task.wait(0))
      near(frame, task.wait(-1))
      assert(task.wait(0.001) >= 0.001)
      local start, n = time(), select(2, await(asyncio.next_frame()))
      task.wait(0.001)
      assert(select(2, await(asyncio.next_frame())) > n + 1)
      assert(time() > start)
    end)
  end)

  it("waits for the loop's time, slow or paused", function()
    run(function()
      local loop, done = asyncio.get_running_loop(), false
      task.spawn(function()
        task.wait(0.05)
        done = true
      end)
      loop:set_time_scale(0)
      for _ = 1, 20 do assert.equal(0, task.wait()) end
      assert(not done)
      loop:set_time_scale(1)
      task.wait(0.1)
      assert(done)
    end)
  end)

  it("refuses what is no time", function()
    run(function()
      helper.raises(asyncio.TypeError, task.wait, "1")
      helper.raises(asyncio.TypeError, task.wait, 0 / 0)
    end)
  end)
end)

describe("task.delay", function()
  it("runs after that time, with arguments", function()
    run(function()
      local got
      local start = time()
      task.delay(3, function(...) got = { time() - start, ... } end, "a", "b")
      task.wait(2.9)
      assert.is_nil(got)
      task.wait(0.2)
      near(3, got[1])
      assert.same({ "a", "b" }, { got[2], got[3] })
    end)
  end)

  it("of nothing is the next frame", function()
    run(function()
      task.wait()
      local at, start = nil, time()
      task.delay(0, function() at = time() end)
      task.wait()
      task.wait()
      near(start + frame, at)
    end)
  end)

  it("refuses what is no time", function()
    run(function()
      helper.raises(asyncio.TypeError, task.delay, "soon", print)
      helper.raises(asyncio.TypeError, task.delay, 0 / 0, print)
      helper.raises(asyncio.TypeError, task.delay, 1)
    end)
  end)
end)

describe("task.cancel", function()
  it("ends what waits, and closes its variables", function()
    run(function()
      local closed, after = false, false
      local thread = task.spawn(function()
        local _ <close> = setmetatable({}, { __close = function()
          await(asyncio.sleep(0))
          closed = true
        end })
        task.wait(100)
        after = true
      end)
      task.cancel(thread)
      task.cancel(thread)
      local start = time()
      for _ = 1, 4 do await(asyncio.sleep(0)) end
      assert.equal(start, time())
      assert.same({ true, false, "dead" }, { closed, after, coroutine.status(thread) })
      task.cancel(thread) -- it has ended
    end)
  end)

  it("ends what has not begun, or has yielded", function()
    run(function()
      local log = {}
      local function f(x) log[#log + 1] = x end
      local deferred, delayed, created = task.defer(f, 1), task.delay(1, f, 2), coroutine.create(f)
      local yielded = task.spawn(function()
        local _ <close> = setmetatable({}, { __close = function() f "closed" end })
        coroutine.yield()
        f "never"
      end)
      for _, thread in ipairs { deferred, delayed, created, yielded } do
        task.cancel(thread)
        assert.equal("dead", coroutine.status(thread))
      end
      task.wait(2)
      assert.same({ "closed" }, log)
    end)
  end)

  it("does not end what runs", function()
    run(function()
      local e
      task.spawn(function() e = select(2, pcall(task.cancel, coroutine.running())) end)
      assert(asyncio.isinstance(e, asyncio.RuntimeError))
      local outer
      outer = task.spawn(function()
        outer = coroutine.running()
        coroutine.wrap(function() e = select(2, pcall(task.cancel, outer)) end)()
      end)
      assert(tostring(e):find("is running", 1, true))
      helper.raises(asyncio.TypeError, task.cancel, "thread")
      helper.raises(asyncio.TypeError, task.cancel)
    end)
  end)

  it("leaves nothing behind when the loop is closed with threads in it", function()
    local closed = 0
    run(function()
      for _ = 1, 3 do
        task.spawn(function()
          local _ <close> = setmetatable({}, { __close = function() closed = closed + 1 end })
          task.wait(1e6)
        end)
      end
      task.delay(1e6, print)
      task.spawn(coroutine.yield)
    end)
    assert.equal(3, closed)
  end)
end)

describe("task.synchronize and desynchronize", function()
  it("do nothing", function()
    assert.equal(0, select("#", task.synchronize()))
    assert.equal(0, select("#", task.desynchronize()))
  end)
end)
