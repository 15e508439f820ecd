--- stdlib/multiprocessing/process.lua: Process and Worker.

local asyncio = require "asyncio"
local helper = require "spec.helper"
local mp = require "multiprocessing"

local function run(f) return asyncio.run(async(f)) end

local put = async(function(path, text)
  await(asyncio.sleep(0.001))
  local f <close> = assert(io.open(path, "w"))
  f:write(text)
end)

local double = async(function(x)
  await(asyncio.sleep(0.001))
  return x * 2, "second"
end)

describe("Process", function()
  setup(function() mp.set_executable(helper.moonloop) end)

  it("runs a coroutine function in a process of its own when it is awaited", function()
    local path = helper.tmpfile()
    run(function()
      local p = mp.Process { target = put, args = { path, "written" } }
      assert.same({ nil, nil, false }, { p.pid, p.exitcode, p:is_alive() })
      await(p)
      assert.same({ 0, false }, { p.exitcode, p:is_alive() })
      assert.matches("^<Process name='Process%-%d+' stopped exitcode=0>$", tostring(p))
    end)
    local f <close> = assert(io.open(path))
    assert.equal("written", f:read("a"))
  end)

  it("can be started first and joined later", function()
    run(function()
      local path, open = helper.latch()
      local p = mp.Process { target = helper.held, args = { path }, name = "sleeper" }
      p:start()
      assert.is_true(p:is_alive())
      await(p:started())
      assert(math.type(p.pid) == "integer")
      assert.equal("<Process name='sleeper' started>", tostring(p))
      helper.raises(asyncio.RuntimeError, p.start, p)
      await(p:join(0))
      assert.is_true(p:is_alive())
      open()
      await(p:join())
      assert.is_false(p:is_alive())
      await(p:join())
    end)
  end)

  it("is terminated and killed", function()
    run(function()
      for name, code in pairs { terminate = -15, kill = -9 } do
        local p = mp.Process { target = asyncio.sleep, args = { 100 } }
        p:start()
        await(p:started())
        p[name](p)
        await(p:join())
        assert.equal(code, p.exitcode)
      end
      local p = mp.Process { target = asyncio.sleep, args = { 100 } }
      p:start()
      p:kill() -- before it has begun
      await(p:join())
      assert.equal(-9, p.exitcode)
    end)
  end)

  it("tells an error itself and ends with status 1", function()
    local status, _, err = helper.cli({ "-e", [[
      local asyncio, mp = require "asyncio", require "multiprocessing"
      mp.set_executable(arg[1])
      asyncio.run(async(function()
        local p = mp.Process { target = async(function() error("wrong") end), name = "P" }
        await(p)
        assert(p.exitcode == 1, p.exitcode)
      end))]], helper.moonloop })
    assert.equal(0, status, err)
    assert.matches("^P: .*wrong\nstack traceback:", err)
  end)

  it("is ended by its block", function()
    run(function()
      local p = mp.Process { target = asyncio.sleep, args = { 100 } }
      do
        local _ <close> = p
        p:start()
      end
      assert.is_false(p:is_alive())
    end)
  end)

  it("says what has kept it from starting", function()
    mp.set_executable("/no/such/command")
    local reports = {}
    run(function()
      asyncio.get_running_loop():set_exception_handler(function(_, context) reports[#reports + 1] = context.exception end)
      local p = mp.Process { target = asyncio.sleep, args = { 0 } }
      p:start()
      local err = helper.raises(asyncio.OSError, await, p:started())
      assert.equal("ENOENT", err.code)
      await(p:join())
      assert.same({ nil, nil, false }, { p.pid, p.exitcode, p:is_alive() })
      assert.same({}, reports)
      p = mp.Process { target = asyncio.sleep, args = { 0 } }
      helper.raises(asyncio.OSError, await, p)
      p = mp.Process { target = asyncio.sleep, args = { 0 } }
      p:start()
      await(p:join()) -- nobody asks
    end)
    collectgarbage()
    mp.set_executable(helper.moonloop)
    assert.equal(1, #reports)
    assert.equal("ENOENT", reports[1].code)
  end)

  it("outlives a cancelled join", function()
    run(function()
      local path, open = helper.latch()
      local p = mp.Process { target = helper.held, args = { path } }
      p:start()
      helper.raises(asyncio.TimeoutError, await, asyncio.wait_for(p:join(), 0.001))
      open()
      await(p:join())
      assert.equal(0, p.exitcode)
    end)
  end)

  it("checks its arguments", function()
    helper.raises(asyncio.TypeError, mp.Process)
    helper.raises(asyncio.TypeError, mp.Process, {})
    helper.raises(asyncio.TypeError, mp.Process, { target = print, args = 5 })
    helper.raises(asyncio.TypeError, mp.Process, { target = print, arg = {} })
    local p = mp.Process { target = print, args = { coroutine.create(print) } }
    helper.raises(asyncio.ValueError, p.terminate, p)
    run(function()
      local err = helper.raises(asyncio.TypeError, p.start, p)
      assert.matches("argument 2 %(thread%)", err.message)
      helper.raises(asyncio.ValueError, await, p:join())
    end)
  end)
end)

describe("Worker", function()
  it("gives its target's values, or raises its error", function()
    run(function()
      assert.same({ 14, "second" }, { await(mp.Worker { target = double, args = { 7 } }) })
      assert.equal(3, await(mp.Worker { target = math.max, args = { 1, 3 } }))
      local worker = mp.Worker { target = async(function() error(asyncio.ValueError("bad")) end) }
      local err = helper.raises(asyncio.ValueError, await, worker)
      assert.matches("process_spec.lua:%d+: in function", err.traceback)
      assert.equal(0, worker.exitcode)
    end)
  end)

  it("can be gathered", function()
    run(function()
      local a, b = mp.Worker { target = double, args = { 1 } }, mp.Worker { target = double, args = { 2 } }
      local results = await(asyncio.gather(a, b))
      assert.same({ 2, 4 }, { results[1], results[2] })
    end)
  end)
end)
