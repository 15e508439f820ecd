local helper = require "spec.helper"
local asyncio = require "asyncio"

local function run(f)
  return helper.run(async(f))
end

describe("guard", function()
  it("releases a lock on every way out", function()
    run(function()
      local lock = asyncio.Lock()
      do
        local _ <close> = await(lock:guard())
        assert.is_true(lock:locked())
      end
      assert.is_false(lock:locked())
      pcall(function()
        local _ <close> = await(lock:guard())
        error("x")
      end)
      assert.is_false(lock:locked())
      for i = 1, 2 do
        local _ <close> = await(lock:guard())
        if i == 1 then break end
      end
      assert.is_false(lock:locked())
    end)
  end)

  it("releases once", function()
    run(function()
      local lock = asyncio.Lock()
      local guard <close> = await(lock:guard())
      guard:close()
      assert.is_false(lock:locked())
      await(lock:acquire())
      guard:close()
      assert.is_true(lock:locked())
      lock:release()
    end)
  end)

  it("keeps the order of those that wait", function()
    run(function()
      local lock, log = asyncio.Lock(), {}
      local work = async(function(i)
        local _ <close> = await(lock:guard())
        await(asyncio.sleep(1))
        log[#log + 1] = i
      end)
      await(asyncio.gather(work(1), work(2), work(3)))
      assert.same({ 1, 2, 3 }, log)
      assert.equal(3.0, asyncio.get_running_loop():time())
    end)
  end)

  it("releases nothing when it is cancelled while it waits", function()
    run(function()
      local lock = asyncio.Lock()
      local holder <close> = await(lock:guard())
      local task = asyncio.create_task(async(function()
        local _ <close> = await(lock:guard())
      end)())
      await(asyncio.sleep(0))
      task:cancel()
      asyncio.catch(await, task)
      assert.is_true(lock:locked())
      holder:close()
      assert.is_false(lock:locked())
    end)
  end)

  it("counts in semaphores", function()
    run(function()
      for _, class in ipairs { "Semaphore", "BoundedSemaphore" } do
        local semaphore, inside, most = asyncio[class](2), 0, 0
        local work = async(function()
          local _ <close> = await(semaphore:guard())
          inside = inside + 1
          most = math.max(most, inside)
          await(asyncio.sleep(1))
          inside = inside - 1
        end)
        await(asyncio.gather(work(), work(), work(), work()))
        assert.equal(2, most)
        asyncio.with(semaphore, function() end)
        assert.is_false(semaphore:locked())
      end
    end)
  end)
end)
