--- stdlib/multiprocessing/pool.lua: processes that run many coroutines each.

local asyncio = require "asyncio"
local futures = require "concurrent.futures"
local helper = require "spec.helper"
local mp = require "multiprocessing"

local function run(f) return asyncio.run(async(f)) end

local square = async(function(x)
  await(asyncio.sleep(0.001))
  return x * x
end)

local function pid() return tonumber(io.open("/proc/self/stat"):read("a"):match("^%d+")) end

describe("Pool", function()
  setup(function() mp.set_executable(helper.moonloop) end)

  it("maps coroutine functions and plain ones over processes", function()
    run(function()
      local pool <close> = mp.Pool(2)
      assert.same({ 1, 4, 9, 16, n = 4 }, await(pool:map(square, { 1, 2, 3, 4 })))
      assert.same({ 2, 3, n = 2 }, await(pool:map(function(x) return x + 1 end, { 1, 2 })))
      assert.same({ 3, 7, n = 2 }, await(pool:starmap(async(function(a, b) return a + b end), { { 1, 2 }, { 3, 4 } })))
      assert.equal(81, await(pool:apply(square, { 9 })))
      assert.same({ n = 0 }, await(pool:map(square, {})))
    end)
  end)

  it("gives results one by one, in order", function()
    run(function()
      local pool <close> = mp.Pool(1)
      local list = {}
      for r in pool:map(square, { 1, 2, 3 }):each() do list[#list + 1] = r end
      for r in asyncio.aiter(pool:map(square, { 4, 5 })) do list[#list + 1] = r end
      assert.same({ 1, 4, 9, 16, 25 }, list)
    end)
  end)

  it("runs childconcurrency coroutines at the same time in a process", function()
    run(function()
      local pool <close> = mp.Pool { processes = 1, childconcurrency = 3 }
      local meet = async(function(n)
        arrived = (arrived or 0) + 1 -- luacheck: ignore
        while arrived < n do await(asyncio.sleep(0.001)) end -- luacheck: ignore
        return arrived -- luacheck: ignore
      end)
      local together = await(pool:map(meet, { 3, 3, 3 }))
      assert.equal(3, together[1])
    end)
  end)

  it("renews a process after maxtasksperchild", function()
    run(function()
      local pool <close> = mp.Pool { processes = 1, childconcurrency = 1, maxtasksperchild = 1 }
      local ids = await(pool:map(pid, { 1, 2 }))
      assert(ids[1] ~= ids[2])
    end)
  end)

  it("passes errors back with their traceback, and goes on", function()
    run(function()
      local pool <close> = mp.Pool { processes = 1 }
      local err = helper.raises(asyncio.ValueError, await, pool:map(async(function(x)
        if x == 2 then error(asyncio.ValueError("two")) end
        return x
      end), { 1, 2, 3 }))
      assert.matches("pool_spec.lua:%d+: in ", err.traceback)
      assert.equal(4, await(pool:apply(square, { 2 })))
    end)
  end)

  it("calls initializer and exception_handler in the process", function()
    local path = helper.tmpfile()
    run(function()
      local pool <close> = mp.Pool {
        processes = 1,
        initializer = function(p) file = p end, -- luacheck: ignore
        initargs = { path },
        exception_handler = function(err)
          local f <close> = assert(io.open(file, "w")) -- luacheck: ignore
          f:write("seen: " .. tostring(err))
        end,
      }
      helper.raises("odd", await, pool:apply(function() error("odd", 0) end))
    end)
    local f <close> = assert(io.open(path))
    assert.equal("seen: odd", f:read("a"))
  end)

  it("fails what a process had when it dies, and replaces it", function()
    run(function()
      local pool <close> = mp.Pool { processes = 1 }
      helper.raises(futures.BrokenProcessPool, await, pool:apply(os.exit, { 2 }))
      assert.equal(9, await(pool:apply(square, { 3 })))
    end)
  end)

  it("is closed, or terminated, then joined", function()
    run(function()
      local pool = mp.Pool(1)
      local result = pool:map(square, { 2 })
      helper.raises(asyncio.RuntimeError, await, pool:join())
      pool:close()
      pool:close()
      helper.raises(asyncio.RuntimeError, pool.apply, pool, square, { 1 })
      await(pool:join())
      assert.equal(4, await(result)[1])
      pool = mp.Pool { processes = 1, childconcurrency = 1 }
      result = pool:map(asyncio.sleep, { 100, 100 })
      await(asyncio.sleep(0.01))
      pool:terminate()
      await(pool:join())
      helper.raises(asyncio.BaseException, await, result)
      assert.is_true(result.futures[2]:cancelled())
    end)
  end)

  it("checks its arguments", function()
    helper.raises(asyncio.ValueError, mp.Pool, 0)
    helper.raises(asyncio.ValueError, mp.Pool, { childconcurrency = 0 })
    helper.raises(asyncio.TypeError, mp.Pool, { exception_handler = 5 })
    helper.raises(asyncio.TypeError, mp.Pool, { tasks = 5 })
    run(function()
      local pool <close> = mp.Pool(1)
      helper.raises(asyncio.TypeError, pool.apply, pool, square, 5)
      helper.raises(asyncio.TypeError, pool.apply, pool, 5)
      helper.raises(asyncio.TypeError, pool.starmap, pool, square, { 1 })
      helper.raises(asyncio.TypeError, pool.map, pool, square, 5)
    end)
  end)
end)
