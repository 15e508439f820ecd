local helper = require "spec.helper"
local asyncio = require "asyncio"

local function run(f)
  return helper.run(async(f))
end

describe("run_coroutine_threadsafe", function()
  it("runs a coroutine in a loop and gives its outcome", function()
    run(function()
      local loop = asyncio.get_running_loop()
      assert.equal("x", await(asyncio.run_coroutine_threadsafe(asyncio.sleep(1, "x"), loop)))
      helper.raises(
        asyncio.ValueError,
        await,
        asyncio.run_coroutine_threadsafe(async(function() error(asyncio.ValueError()) end)(), loop)
      )
    end)
  end)

  it("can be called before the loop runs", function()
    local loop = asyncio.new_event_loop { clock = "virtual" }
    local future = asyncio.run_coroutine_threadsafe(asyncio.sleep(1, "x"), loop)
    assert.equal("x", loop:run_until_complete(future))
    loop:close()
  end)

  it("cancels the task when the future is cancelled", function()
    run(function()
      local cancelled
      local future = asyncio.run_coroutine_threadsafe(async(function()
        local _, err = asyncio.catch(await, asyncio.sleep(10))
        cancelled = true
        error(err, 0)
      end)(), asyncio.get_running_loop())
      await(asyncio.sleep(1))
      future:cancel()
      await(asyncio.sleep(1))
      assert.is_true(cancelled)
    end)
  end)

  it("never starts what was cancelled at once", function()
    run(function()
      local loop, started = asyncio.get_running_loop(), nil
      local future = asyncio.run_coroutine_threadsafe(async(function() started = true end)(), loop)
      future:cancel()
      await(asyncio.sleep(1))
      assert.is_nil(started)
    end)
  end)

  it("refuses what is no coroutine", function()
    run(function()
      local err = helper.raises(asyncio.TypeError, asyncio.run_coroutine_threadsafe, 5, asyncio.get_running_loop())
      assert.matches("A coroutine object is required", err.message)
      local coroutine = asyncio.sleep(0)
      err = helper.raises(asyncio.TypeError, asyncio.run_coroutine_threadsafe, coroutine)
      assert.matches("expects a loop, not nil", err.message)
      coroutine:close()
    end)
  end)
end)

describe("wrap_future", function()
  it("gives the future itself", function()
    run(function()
      local future = asyncio.get_running_loop():create_future()
      assert.equal(future, asyncio.wrap_future(future))
      helper.raises(asyncio.TypeError, asyncio.wrap_future, 5)
    end)
  end)
end)
