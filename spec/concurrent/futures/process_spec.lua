--- stdlib/concurrent/futures/process.lua, on stdlib/multiprocessing/crew.lua and child.lua: ProcessPoolExecutor.

local asyncio = require "asyncio"
local futures = require "concurrent.futures"
local helper = require "spec.helper"

local ProcessPoolExecutor = futures.ProcessPoolExecutor

local function run(f) return asyncio.run(async(f)) end
local function pid() return tonumber(io.open("/proc/self/stat"):read("a"):match("^%d+")) end

describe("ProcessPoolExecutor", function()
  setup(function() require("multiprocessing").set_executable(helper.moonloop) end)

  it("calls functions in other processes", function()
    run(function()
      local pool <close> = ProcessPoolExecutor(2)
      local k, floor = 5, math.floor
      local sum, list = await(pool:submit(function(x) return floor(x) + k, { x } end, 2.5))
      assert.same({ 7, { 2.5 } }, { sum, list })
      local other = await(pool:submit(pid))
      assert(other ~= pid())
      assert.equal(4.0, await(asyncio.get_running_loop():run_in_executor(pool, math.sqrt, 16)))
    end)
  end)

  it("lets a function run a loop there", function()
    run(function()
      local pool <close> = ProcessPoolExecutor(1)
      for _ = 1, 2 do
        assert.equal("x", await(pool:submit(function() return asyncio.run(asyncio.sleep(0.001, "x")) end)))
      end
    end)
  end)

  it("gives errors back with class, fields and traceback", function()
    run(function()
      local pool <close> = ProcessPoolExecutor(1)
      local Mine = asyncio.ValueError:extend("Mine")
      local err = helper.raises(Mine, await, pool:submit(function() error(Mine("m", { code = 3 })) end))
      assert.same({ "m", 3 }, { err.message, err.code })
      assert.matches("process_spec.lua:%d+: in function", err.traceback)
      helper.raises("process_spec.lua", await, pool:submit(function() error("plain") end))
      helper.raises(asyncio.TypeError, await, pool:submit(function() return coroutine.create(print) end))
      helper.raises("raised nil", await, pool:submit(function() error() end))
      assert.equal(1, await(pool:submit(math.abs, -1)))
    end)
  end)

  it("maps in order, in chunks if it is told to", function()
    run(function()
      local pool <close> = ProcessPoolExecutor(2)
      for _, chunksize in ipairs { 1, 2, 3, 10 } do
        local list = {}
        for a, b in pool:map(function(x, y) return x * 10, y end, { 1, 2, 3, 4, 5 }, { "a", "b", "c", "d", "e" },
          { chunksize = chunksize }) do
          list[#list + 1] = a .. b
        end
        assert.same({ "10a", "20b", "30c", "40d", "50e" }, list)
      end
    end)
  end)

  it("raises BrokenProcessPool for the calls of a worker that dies, and replaces it", function()
    run(function()
      local pool <close> = ProcessPoolExecutor(1)
      local dies = pool:submit(function() os.exit(3) end)
      local next_one = pool:submit(math.abs, -2)
      local err = helper.raises(futures.BrokenProcessPool, await, dies)
      assert.matches("worker process %d+ ended with status 3", err.message)
      assert.equal(2, await(next_one))
      err = helper.raises(futures.BrokenProcessPool, await, pool:submit(function()
        os.execute("kill -9 " .. io.open("/proc/self/stat"):read("a"):match("^%d+"))
        require("time").sleep(10)
      end))
      assert.matches("was killed by signal 9", err.message)
      assert.equal(3, await(pool:submit(math.abs, -3)))
    end)
  end)

  it("gives a worker no more than max_tasks_per_child calls", function()
    run(function()
      local pool <close> = ProcessPoolExecutor { max_workers = 1, max_tasks_per_child = 2 }
      local calls, seen = {}, {}
      for i = 1, 6 do calls[i] = pool:submit(pid) end
      for i, id in ipairs(await(asyncio.gather(calls))) do seen[i] = id end
      assert.equal(seen[1], seen[2])
      assert.equal(seen[3], seen[4])
      assert.equal(seen[5], seen[6])
      assert(seen[1] ~= seen[3] and seen[3] ~= seen[5])
    end)
  end)

  it("calls the initializer, and is broken when it fails", function()
    run(function()
      local pool <close> = ProcessPoolExecutor {
        max_workers = 1, initializer = function(x) setting = x end, initargs = { 7 }, -- luacheck: ignore
      }
      assert.equal(7, await(pool:submit(function() return setting end))) -- luacheck: ignore
    end)
    local status, _, err = helper.cli({ "-e", [[
      local asyncio, futures = require "asyncio", require "concurrent.futures"
      require("multiprocessing").set_executable(arg[1])
      asyncio.run(async(function()
        local pool <close> = futures.ProcessPoolExecutor { max_workers = 1, initializer = function() error("no start") end }
        local first, second = pool:submit(print), pool:submit(print)
        for _, f in ipairs { first, second } do
          local ok, e = pcall(await, f)
          assert(not ok and asyncio.isinstance(e, futures.BrokenProcessPool), tostring(e))
        end
        local ok, e = pcall(pool.submit, pool, print)
        assert(not ok and asyncio.isinstance(e, futures.BrokenProcessPool))
      end))]], helper.moonloop })
    assert.matches("Exception in initializer: .*no start", err)
    assert.equal(0, status)
  end)

  it("cancels what has not begun; what runs is dropped", function()
    run(function()
      local pool <close> = ProcessPoolExecutor(1)
      local running = pool:submit(function() require("time").sleep(0.05) end)
      local waiting, last = pool:submit(os.exit, 5), pool:submit(math.abs, -4)
      waiting:cancel()
      running:cancel()
      helper.raises(asyncio.CancelledError, await, running)
      assert.equal(4, await(last))
    end)
  end)

  it("is shut down once; no calls are taken then", function()
    run(function()
      local pool = ProcessPoolExecutor(1)
      local call = pool:submit(math.abs, -1)
      local ended = pool:shutdown()
      helper.raises(asyncio.RuntimeError, pool.submit, pool, print)
      await(ended)
      assert.equal(1, call:result())
      await(pool:shutdown())
      assert.is_nil(ProcessPoolExecutor(1):shutdown { wait = false })
    end)
  end)

  it("can be killed with all that it does", function()
    run(function()
      local pool = ProcessPoolExecutor(2)
      local calls = {}
      for i = 1, 3 do calls[i] = pool:submit(function() require("time").sleep(100) end) end
      while #pool:pids() < 2 do await(asyncio.sleep(0.001)) end
      await(pool:kill_workers())
      helper.raises(futures.BrokenProcessPool, await, calls[1])
      helper.raises(futures.BrokenProcessPool, await, calls[2])
      assert.is_true(calls[3]:cancelled())
    end)
  end)

  it("leaves no process behind when its loop is wound up", function()
    local child
    run(function()
      local pool = ProcessPoolExecutor(1)
      pool:submit(function() require("time").sleep(100) end)
      while #pool:pids() < 1 do await(asyncio.sleep(0.001)) end
      child = pool:pids()[1]
    end)
    assert.is_nil(io.open(("/proc/%d/stat"):format(child)))
  end)

  it("serves another loop when the first one is closed", function()
    local pool = ProcessPoolExecutor(1)
    for i = 1, 2 do
      run(function() assert.equal(i, await(pool:submit(math.abs, -i))) end)
    end
  end)

  it("tells when its program cannot be started", function()
    local mp = require "multiprocessing"
    mp.set_executable("/no/such/moonloop")
    run(function()
      local pool <close> = ProcessPoolExecutor(1)
      local err = helper.raises(asyncio.OSError, await, pool:submit(print))
      assert.equal("ENOENT", err.code)
    end)
    mp.set_executable(helper.moonloop)
    helper.raises(asyncio.TypeError, mp.set_executable, 5)
  end)

  it("checks its arguments", function()
    helper.raises(asyncio.ValueError, ProcessPoolExecutor, 0)
    helper.raises(asyncio.ValueError, ProcessPoolExecutor, { max_tasks_per_child = 0 })
    helper.raises(asyncio.TypeError, ProcessPoolExecutor, { initializer = 1 })
    helper.raises(asyncio.TypeError, ProcessPoolExecutor, { workers = 1 })
    run(function()
      local pool <close> = ProcessPoolExecutor(1)
      helper.raises(asyncio.TypeError, pool.submit, pool, 5)
      helper.raises(asyncio.TypeError, pool.submit, pool, async(function() end))
      local file = io.stdout
      local err = helper.raises(asyncio.TypeError, pool.submit, pool, function() return file end)
      assert.matches("%.lua:%d+: submit: cannot copy upvalue 'file' %(userdata%)", err.message)
    end)
  end)
end)
