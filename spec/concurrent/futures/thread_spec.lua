--- stdlib/concurrent/futures: ThreadPoolExecutor, and what all executors have.

local asyncio = require "asyncio"
local futures = require "concurrent.futures"
local helper = require "spec.helper"
local time = require "time"

local ThreadPoolExecutor = futures.ThreadPoolExecutor

local function run(f) return asyncio.run(async(f)) end

describe("ThreadPoolExecutor", function()
  it("gives futures that can be awaited, gathered and called back", function()
    run(function()
      local pool <close> = ThreadPoolExecutor(2)
      local future = pool:submit(math.max, 1, 3, 2)
      local called
      future:add_done_callback(function(f) called = f:result() end)
      assert.equal(3, await(future))
      await(asyncio.sleep(0))
      assert.equal(3, called)
      local all = await(asyncio.gather(pool:submit(math.abs, -1), pool:submit(math.abs, -2)))
      assert.same({ 1, 2 }, { all[1], all[2] })
    end)
  end)

  it("makes threads as they are needed, and no more than max_workers", function()
    run(function()
      local pool <close> = ThreadPoolExecutor { max_workers = 3 }
      assert.equal(0, (pool.pool:count()))
      await(pool:submit(math.abs, 1))
      assert.equal(1, (pool.pool:count()))
      local calls = {}
      local path, open = helper.latch()
      for i = 1, 10 do calls[i] = pool:submit(helper.held, path) end
      assert.equal(3, (pool.pool:count()))
      open()
      await(asyncio.gather(calls))
      assert.equal(3, pool.max_workers)
    end)
  end)

  it("keeps a worker's globals from call to call", function()
    run(function()
      local pool <close> = ThreadPoolExecutor(1)
      await(pool:submit(function() counter = 1 end)) -- luacheck: ignore
      assert.equal(2, await(pool:submit(function() return counter + 1 end))) -- luacheck: ignore
      assert.is_nil(rawget(_G, "counter"))
    end)
  end)

  it("checks what it is made with", function()
    for _, wrong in ipairs { 0, -1 } do helper.raises(asyncio.ValueError, ThreadPoolExecutor, wrong) end
    helper.raises(asyncio.TypeError, ThreadPoolExecutor, "2")
    helper.raises(asyncio.TypeError, ThreadPoolExecutor, { max_workers = 1.5 })
    helper.raises(asyncio.TypeError, ThreadPoolExecutor, { initializer = 5 })
    helper.raises(asyncio.TypeError, ThreadPoolExecutor, { initargs = 5 })
    helper.raises(asyncio.TypeError, ThreadPoolExecutor, { thread_name_prefix = 5 })
    helper.raises(asyncio.ValueError, ThreadPoolExecutor, { memory_limit = -1 })
    local err = helper.raises(asyncio.TypeError, ThreadPoolExecutor, { max_worker = 1 })
    assert.matches("unexpected keyword argument 'max_worker'", err.message)
    local file = io.stdout
    err = helper.raises(asyncio.TypeError, ThreadPoolExecutor, { initializer = function() return file end })
    assert.matches("initializer: cannot copy upvalue 'file'", err.message)
  end)

  it("calls the initializer once in each worker", function()
    run(function()
      local pool <close> = ThreadPoolExecutor {
        max_workers = 2,
        initializer = function(a, b) setting = a + b end, -- luacheck: ignore
        initargs = { 1, 2 },
      }
      for _ = 1, 5 do assert.equal(3, await(pool:submit(function() return setting end))) end -- luacheck: ignore
    end)
  end)

  it("is broken when an initializer fails", function()
    local status, _, err = helper.cli({ "-e", [[
      local asyncio, futures = require "asyncio", require "concurrent.futures"
      asyncio.run(async(function()
        local path = os.tmpname()
        local pool <close> = futures.ThreadPoolExecutor { max_workers = 1, initializer = function()
          while os.rename(path, path) do require("time").sleep(0.005) end
          error("no start")
        end }
        local first, second = pool:submit(print), pool:submit(print)
        os.remove(path)
        for _, f in ipairs { first, second } do
          local ok, e = pcall(await, f)
          assert(not ok and asyncio.isinstance(e, futures.BrokenThreadPool), tostring(e))
        end
        local ok, e = pcall(pool.submit, pool, print)
        assert(not ok and asyncio.isinstance(e, futures.BrokenThreadPool))
        assert(asyncio.isinstance(e, futures.BrokenExecutor) and asyncio.isinstance(e, asyncio.RuntimeError))
      end))]] })
    assert.matches("Exception in initializer: .*no start", err)
    assert.equal(0, status)
  end)

  it("is shut down by its block, after its calls", function()
    run(function()
      local futures_of = {}
      do
        local pool <close> = ThreadPoolExecutor(2)
        for i = 1, 6 do futures_of[i] = pool:submit(function(x)
          require("time").sleep(0.005)
          return x
        end, i) end
      end
      for i = 1, 6 do assert.equal(i, futures_of[i]:result()) end
    end)
  end)

  it("takes no calls after shutdown, and can be shut down again", function()
    run(function()
      local pool = ThreadPoolExecutor(1)
      local last = pool:submit(time.sleep, 0.01)
      local ended = pool:shutdown()
      local err = helper.raises(asyncio.RuntimeError, pool.submit, pool, print)
      assert.matches("cannot schedule new futures after shutdown", err.message)
      await(ended)
      assert.is_true(last:done())
      assert.equal(0, (pool.pool:count()))
      await(pool:shutdown())
      assert.is_nil(pool:shutdown { wait = false })
      helper.raises(asyncio.TypeError, pool.shutdown, pool, { now = true })
    end)
  end)

  it("cancels what waits when it is told to", function()
    run(function()
      local pool = ThreadPoolExecutor(1)
      local calls = {}
      local path, open = helper.latch()
      for i = 1, 5 do calls[i] = pool:submit(helper.held, path) end
      while select(3, pool.pool:count()) == 5 do await(asyncio.sleep(0.001)) end
      local ended = pool:shutdown { cancel_futures = true }
      open()
      await(ended)
      await(asyncio.sleep(0))
      assert.is_false(calls[1]:cancelled())
      for i = 2, 5 do assert.is_true(calls[i]:cancelled()) end
    end)
  end)

  it("can be forgotten: its calls end, then its threads", function()
    run(function()
      local future = ThreadPoolExecutor(1):submit(function()
        require("time").sleep(0.02)
        return "done"
      end)
      collectgarbage()
      collectgarbage()
      assert.equal("done", await(future))
    end)
  end)

  it("serves several loops, one after the other", function()
    local pool = ThreadPoolExecutor(1)
    for i = 1, 3 do
      run(function() assert.equal(i, await(pool:submit(math.abs, -i))) end)
    end
    await(pool:shutdown())
  end)

  it("takes a thousand calls at once", function()
    run(function()
      local pool <close> = ThreadPoolExecutor(4)
      local calls = {}
      for i = 1, 1000 do calls[i] = pool:submit(function(x) return x * 2 end, i) end
      local results = await(asyncio.gather(calls))
      for i = 1, 1000 do assert.equal(i * 2, results[i]) end
    end)
  end)
end)

describe("executor:map", function()
  it("gives the results in order, whatever takes longest", function()
    run(function()
      local pool <close> = ThreadPoolExecutor(3)
      local results = {}
      for r in pool:map(function(x)
        require("time").sleep(0.01 * (4 - x))
        return x * x
      end, { 1, 2, 3 }) do
        results[#results + 1] = r
      end
      assert.same({ 1, 4, 9 }, results)
    end)
  end)

  it("takes several arrays and iterators, until one ends", function()
    run(function()
      local pool <close> = ThreadPoolExecutor(2)
      local results = {}
      for a, b in pool:map(function(x, y) return x .. y, x end, { 1, 2, 3 }, ("a,b"):gmatch("%a")) do
        results[#results + 1] = a .. b
      end
      assert.same({ "1a1", "2b2" }, results)
      for _ in pool:map(print, {}) do error("nothing to do") end
    end)
  end)

  it("gives false for nil, which would end the loop", function()
    run(function()
      local pool <close> = ThreadPoolExecutor(1)
      local n = 0
      for r in pool:map(function(x) if x == 1 then return 1 end end, { 1, 2, 3 }) do
        n = n + 1
        assert.equal(n == 1 and 1 or false, r)
      end
      assert.equal(3, n)
    end)
  end)

  it("raises an error where its result would be, and cancels the rest", function()
    run(function()
      local pool <close> = ThreadPoolExecutor(1)
      local seen = {}
      local function f(x)
        if x == 2 then error("two") end
        require("time").sleep(0.001)
        return x
      end
      helper.raises("two", function()
        for r in pool:map(f, { 1, 2, 3, 4 }) do seen[#seen + 1] = r end
      end)
      assert.same({ 1 }, seen)
    end)
  end)

  it("keeps to a timeout", function()
    run(function()
      local pool <close> = ThreadPoolExecutor(1)
      local path, open = helper.latch()
      helper.raises(asyncio.TimeoutError, function()
        for _ in pool:map(helper.held, { path }, { timeout = 0.05 }) do end -- luacheck: ignore
      end)
      open()
    end)
  end)

  it("cancels what is left when it is broken off", function()
    run(function()
      local pool <close> = ThreadPoolExecutor(1)
      local file, paths = helper.tmpfile(), {}
      for i = 1, 50 do paths[i] = file end
      local function note(path)
        local f <close> = assert(io.open(path, "a"))
        f:write("x")
        require("time").sleep(0.02)
      end
      for _ in pool:map(note, paths) do break end -- luacheck: ignore
      await(pool:shutdown())
      local f <close> = assert(io.open(file))
      assert(#f:read("a") < 50)
    end)
  end)

  it("checks its arguments", function()
    run(function()
      local pool <close> = ThreadPoolExecutor(1)
      helper.raises(asyncio.TypeError, pool.map, pool, print)
      helper.raises(asyncio.TypeError, pool.map, pool, print, 5)
      helper.raises(asyncio.TypeError, pool.map, pool, print, { 1 }, { timeout = "x" })
      helper.raises(asyncio.TypeError, pool.map, pool, print, { 1 }, { chunk = 1 })
      helper.raises(asyncio.ValueError, pool.map, pool, print, { 1 }, { chunksize = 0 })
    end)
  end)
end)

describe("an engine that closes", function()
  it("has no pools for finalizers that come last", function()
    local status, out, err = helper.cli({ "-e", [[
      local pool
      last = setmetatable({}, { __gc = function() -- marked before the executors' own
        for _, f in ipairs { "submit", "shutdown" } do print(select(2, pcall(pool[f], pool, f == "submit" and print or nil))) end
        print(select(2, pcall(require("concurrent.futures").ThreadPoolExecutor, 1)))
      end })
      pool = require("concurrent.futures").ThreadPoolExecutor(1)
      await(pool:submit(math.abs, 1))]] })
    assert.same({ 0, "" }, { status, err })
    assert.equal(3, select(2, out:gsub("engine is closing", "")))
  end)

  it("interrupts what still computes in its threads, and waits for them", function()
    local start = time.monotonic()
    local status, out, err = helper.cli({ "-e", [[
      local asyncio, futures = require "asyncio", require "concurrent.futures"
      local pool = futures.ThreadPoolExecutor(3)
      for i = 1, 10 do pool:submit(function() while true do pcall(function() while true do end end) end end) end
      error("enough", 0)]] })
    assert.equal(1, status)
    assert.equal("", out)
    assert.matches("enough", err)
    assert(time.monotonic() - start < 10 * helper.slow)
  end)
end)
