local helper = require "spec.helper"
local asyncio = require "asyncio"

local function run(f)
  return helper.run(async(f))
end

describe("Queue:items", function()
  it("gives items as they come, until the queue is shut down and empty", function()
    for _, class in ipairs { "Queue", "PriorityQueue", "LifoQueue" } do
      run(function()
        local queue, seen = asyncio[class](), {}
        local consumer = asyncio.create_task(async(function()
          for item in queue:items() do seen[#seen + 1] = item end
          return "end"
        end)())
        for i = 1, 3 do
          await(asyncio.sleep(1))
          await(queue:put(i))
        end
        await(asyncio.sleep(1))
        queue:put_nowait(4)
        queue:shutdown()
        assert.equal("end", await(consumer))
        assert.same({ 1, 2, 3, 4 }, seen)
      end)
    end
  end)

  it("is shared by several tasks", function()
    run(function()
      local queue, sum = asyncio.Queue(2), 0
      local consume = async(function()
        for item in queue:items() do
          await(asyncio.sleep(0.1))
          sum = sum + item
        end
      end)
      local consumers = asyncio.gather(consume(), consume(), consume())
      for i = 1, 100 do await(queue:put(i)) end
      queue:shutdown()
      await(consumers)
      assert.equal(5050, sum)
    end)
  end)

  it("gives false as an item", function()
    run(function()
      local queue, seen = asyncio.Queue(), {}
      queue:put_nowait(false)
      queue:put_nowait(1)
      queue:shutdown()
      for item in queue:items() do seen[#seen + 1] = item end
      assert.same({ false, 1 }, seen)
    end)
  end)

  it("passes a cancel on", function()
    run(function()
      local queue = asyncio.Queue()
      local task = asyncio.create_task(async(function()
        for _ in queue:items() do error("never") end
      end)())
      await(asyncio.sleep(1))
      task:cancel()
      asyncio.catch(await, task)
      assert.is_true(task:cancelled())
    end)
  end)
end)
