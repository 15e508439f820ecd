local helper = require "spec.helper"
local asyncio = require "asyncio"

describe("create_eager_task_factory", function()
  it("gives a factory whose tasks start at once", function()
    helper.run(async(function()
      local loop = asyncio.get_running_loop()
      local made = 0
      loop:set_task_factory(asyncio.create_eager_task_factory(function(coroutine, opts)
        made = made + 1
        return asyncio.Task(coroutine, opts)
      end))
      local task = asyncio.create_task(async(function() return 4 end)(), { name = "four" })
      assert.is_true(task:done())
      assert.equal("four", task:get_name())
      assert.equal(4, await(task))
      loop:set_task_factory(asyncio.create_eager_task_factory(asyncio.Task))
      assert.is_true(asyncio.create_task(function() end):done())
      assert.equal(1, made)
    end))
  end)

  it("refuses what cannot be called", function()
    helper.raises(asyncio.TypeError, asyncio.create_eager_task_factory, 5)
  end)
end)
