local helper = require "spec.helper"
local asyncio = require "asyncio"

local isinstance = asyncio.isinstance

local function now()
  return asyncio.get_running_loop():time()
end

local function run(f)
  return helper.run(async(f))
end

local fail_after = async(function(delay, class, message)
  await(asyncio.sleep(delay))
  error(class(message))
end)

--- The texts of the errors of a group, sorted.
local function texts(group)
  local list = {}
  for i, err in ipairs(group.exceptions) do list[i] = tostring(err) end
  table.sort(list)
  return list
end

--- Calls f, which must raise an ExceptionGroup; gives it.
local function group_of(f)
  local err = helper.raises(asyncio.ExceptionGroup, f)
  assert.equal("unhandled errors in a TaskGroup", err.message)
  return err
end

describe("TaskGroup", function()
  it("waits for its tasks as it is left", function()
    run(function()
      local t1, t2
      do
        local tg <close> = asyncio.TaskGroup()
        t1 = tg:create_task(async(function()
          await(asyncio.sleep(0.1))
          return 42
        end)())
        t2 = tg:create_task(async(function()
          await(asyncio.sleep(0.2))
          return 11
        end)())
      end
      assert.equal(42, t1:result())
      assert.equal(11, t2:result())
      assert.equal(0.2, now())
    end)
  end)

  it("goes on at once when its tasks are done or there were none", function()
    run(function()
      do
        local _ <close> = asyncio.TaskGroup()
      end
      local t
      do
        local tg <close> = asyncio.TaskGroup()
        t = tg:create_task(async(function() return 1 end)())
        await(t)
        await(asyncio.sleep(1))
      end
      assert.equal(1, t:result())
    end)
  end)

  it("cancels its tasks when the body fails and raises a group with the body's error", function()
    run(function()
      local t1, t2
      local group = group_of(function()
        local tg <close> = asyncio.TaskGroup()
        t1 = tg:create_task(asyncio.sleep(10))
        t2 = tg:create_task(asyncio.sleep(10))
        await(asyncio.sleep(0.1))
        error(asyncio.ValueError("body"))
      end)
      assert.same({ "ValueError: body" }, texts(group))
      assert.is_true(t1:cancelled())
      assert.is_true(t2:cancelled())
      assert.equal(0, asyncio.current_task():cancelling())
      assert.equal(0.1, now())
    end)
  end)

  it("puts a plain string that the body raised into the group", function()
    run(function()
      local group = group_of(function()
        local tg <close> = asyncio.TaskGroup()
        tg:create_task(asyncio.sleep(1))
        error("text", 0)
      end)
      assert.same({ "text" }, group.exceptions)
    end)
  end)

  it("cancels siblings and the body when a task fails", function()
    run(function()
      local sibling, cut
      local group = group_of(function()
        local tg <close> = asyncio.TaskGroup()
        tg:create_task(fail_after(0.1, asyncio.ValueError, "x"))
        sibling = tg:create_task(asyncio.sleep(10))
        local _, err = asyncio.catch(await, asyncio.sleep(20))
        cut = isinstance(err, asyncio.CancelledError)
        error(err, 0)
      end)
      assert.is_true(cut)
      assert.same({ "ValueError: x" }, texts(group))
      assert.is_true(sibling:cancelled())
      assert.equal(0, asyncio.current_task():cancelling())
      await(asyncio.sleep(1))
    end)
  end)

  it("cancels its tasks in the order in which they were made", function()
    run(function()
      local order = {}
      group_of(function()
        local tg <close> = asyncio.TaskGroup()
        for i = 1, 8 do
          tg:create_task(async(function()
            local _, err = asyncio.catch(await, asyncio.sleep(10))
            order[#order + 1] = i
            error(err, 0)
          end)())
        end
        tg:create_task(fail_after(0, asyncio.ValueError))
      end)
      assert.same({ 1, 2, 3, 4, 5, 6, 7, 8 }, order)
    end)
  end)

  it("collects errors that tasks raise while they are being cancelled", function()
    run(function()
      local group = group_of(function()
        local tg <close> = asyncio.TaskGroup()
        for i = 1, 3 do
          tg:create_task(async(function()
            asyncio.catch(await, asyncio.sleep(10))
            error(asyncio.TypeError("clean-up " .. i))
          end)())
        end
        tg:create_task(fail_after(0.1, asyncio.ValueError, "first"))
      end)
      assert.same(
        { "TypeError: clean-up 1", "TypeError: clean-up 2", "TypeError: clean-up 3", "ValueError: first" },
        texts(group)
      )
      assert.equal("ValueError: first", tostring(group.exceptions[1]))
    end)
  end)

  it("puts the body's own error beside those of the tasks", function()
    run(function()
      local group = group_of(function()
        local tg <close> = asyncio.TaskGroup()
        tg:create_task(fail_after(0.1, asyncio.ValueError, "task"))
        asyncio.catch(await, asyncio.sleep(10))
        error(asyncio.TypeError("body"))
      end)
      assert.same({ "TypeError: body", "ValueError: task" }, texts(group))
    end)
  end)

  it("ignores a task that was cancelled", function()
    run(function()
      local t1, t2
      do
        local tg <close> = asyncio.TaskGroup()
        t1 = tg:create_task(asyncio.sleep(10))
        t2 = tg:create_task(async(function()
          await(asyncio.sleep(1))
          return "fine"
        end)())
        await(asyncio.sleep(0.5))
        t1:cancel()
      end
      assert.is_true(t1:cancelled())
      assert.equal("fine", t2:result())
      assert.equal(1.0, now())
    end)
  end)

  it("ignores a task that raised CancelledError by itself", function()
    run(function()
      do
        local tg <close> = asyncio.TaskGroup()
        tg:create_task(async(function() error(asyncio.CancelledError()) end)())
        tg:create_task(asyncio.sleep(1))
      end
      assert.equal(1.0, now())
    end)
  end)

  it("cancels its tasks and passes the cancel on when its parent is cancelled in the body", function()
    run(function()
      local child
      local task = asyncio.create_task(async(function()
        local tg <close> = asyncio.TaskGroup()
        child = tg:create_task(asyncio.sleep(10))
        await(asyncio.sleep(20))
      end)())
      await(asyncio.sleep(0.1))
      task:cancel("outside")
      local _, err = asyncio.catch(await, task)
      assert.is_true(isinstance(err, asyncio.CancelledError))
      assert.equal("outside", err.message)
      assert.is_true(task:cancelled())
      assert.is_true(child:cancelled())
    end)
  end)

  it("cancels its tasks and passes the cancel on when its parent is cancelled at the exit", function()
    run(function()
      local child
      local task = asyncio.create_task(async(function()
        local tg <close> = asyncio.TaskGroup()
        child = tg:create_task(asyncio.sleep(10))
      end)())
      await(asyncio.sleep(0.1))
      assert.is_false(task:done())
      task:cancel()
      asyncio.catch(await, task)
      assert.is_true(task:cancelled())
      assert.is_true(child:cancelled())
      assert.equal(0.1, now())
    end)
  end)

  it("waits for the clean-up of its tasks however often its parent is cancelled", function()
    run(function()
      local cleaned = 0
      local task = asyncio.create_task(async(function()
        local tg <close> = asyncio.TaskGroup()
        for _ = 1, 2 do
          tg:create_task(async(function()
            asyncio.catch(await, asyncio.sleep(10))
            await(asyncio.sleep(1))
            cleaned = cleaned + 1
          end)())
        end
      end)())
      await(asyncio.sleep(0.1))
      task:cancel()
      for _ = 1, 3 do
        await(asyncio.sleep(0.1))
        assert.is_false(task:done())
        task:cancel()
      end
      asyncio.catch(await, task)
      assert.equal(2, cleaned)
      assert.is_true(task:cancelled())
      assert.equal(4, task:cancelling())
    end)
  end)

  it("raises the group and delivers the cancel again when errors and a cancel from outside come together", function()
    run(function()
      local group, cancelled_after, count
      local task = asyncio.create_task(async(function()
        group = group_of(function()
          local tg <close> = asyncio.TaskGroup()
          tg:create_task(async(function()
            asyncio.catch(await, asyncio.sleep(10))
            error(asyncio.ValueError("x"))
          end)())
        end)
        count = asyncio.current_task():cancelling()
        local ok = asyncio.catch(await, asyncio.sleep(1))
        cancelled_after = not ok
      end)())
      await(asyncio.sleep(0.1))
      task:cancel()
      await(task)
      assert.same({ "ValueError: x" }, texts(group))
      assert.equal(1, count)
      assert.is_true(cancelled_after)
    end)
  end)

  it("keeps the level of cancelling() of its parent", function()
    for _, outcome in ipairs { "ok", "error" } do
      run(function()
        local task = asyncio.create_task(async(function()
          asyncio.catch(await, asyncio.sleep(10))
          local before = asyncio.current_task():cancelling()
          pcall(function()
            local tg <close> = asyncio.TaskGroup()
            tg:create_task(async(function()
              if outcome == "error" then error(asyncio.ValueError()) end
            end)())
          end)
          local after = asyncio.current_task():cancelling()
          if outcome == "error" then -- the cancel is delivered again
            helper.raises(asyncio.CancelledError, await, asyncio.sleep(0))
          end
          return before, after
        end)())
        await(asyncio.sleep(0))
        task:cancel()
        local before, after = await(task)
        assert.equal(1, before)
        assert.equal(1, after)
      end)
    end
  end)

  it("nests: the error of an inner group is wrapped by the outer one", function()
    run(function()
      local group = group_of(function()
        local outer <close> = asyncio.TaskGroup()
        outer:create_task(async(function()
          local inner <close> = asyncio.TaskGroup()
          inner:create_task(fail_after(0.1, asyncio.ValueError, "deep"))
          inner:create_task(asyncio.sleep(5))
        end)())
        outer:create_task(asyncio.sleep(5))
      end)
      assert.equal(1, #group.exceptions)
      assert.is_true(isinstance(group.exceptions[1], asyncio.ExceptionGroup))
      assert.same({ "ValueError: deep" }, texts(group.exceptions[1]))
    end)
  end)

  it("nests in one task: when a task of the outer one fails, the inner one is cancelled", function()
    run(function()
      local inner_task
      local group = group_of(function()
        local outer <close> = asyncio.TaskGroup()
        outer:create_task(fail_after(0.1, asyncio.ValueError, "outer"))
        local inner <close> = asyncio.TaskGroup()
        inner_task = inner:create_task(asyncio.sleep(10))
      end)
      assert.same({ "ValueError: outer" }, texts(group))
      assert.is_true(inner_task:cancelled())
      assert.equal(0, asyncio.current_task():cancelling())
    end)
  end)

  it("nests in one task: both fail", function()
    run(function()
      local group = group_of(function()
        local outer <close> = asyncio.TaskGroup()
        outer:create_task(async(function()
          asyncio.catch(await, asyncio.sleep(10))
          error(asyncio.ValueError("outer"))
        end)())
        local inner <close> = asyncio.TaskGroup()
        inner:create_task(fail_after(0.1, asyncio.TypeError, "inner"))
      end)
      local kinds = {}
      for i, err in ipairs(group.exceptions) do kinds[i] = err.name end
      table.sort(kinds)
      assert.same({ "ExceptionGroup", "ValueError" }, kinds)
    end)
  end)

  it("lets SystemExit and KeyboardInterrupt of the body pass as they are", function()
    run(function()
      for _, class in ipairs { asyncio.KeyboardInterrupt, asyncio.SystemExit } do
        local child
        local raised = class("stop")
        local err = helper.raises(class, function()
          local tg <close> = asyncio.TaskGroup()
          child = tg:create_task(asyncio.sleep(10))
          await(asyncio.sleep(0))
          error(raised)
        end)
        assert.equal(raised, err)
        assert.is_true(child:cancelled())
      end
    end)
  end)

  it("lets SystemExit of the body pass even when a task fails too", function()
    run(function()
      local raised = asyncio.SystemExit("stop")
      local err = helper.raises(asyncio.SystemExit, function()
        local tg <close> = asyncio.TaskGroup()
        tg:create_task(async(function()
          asyncio.catch(await, asyncio.sleep(10))
          error(asyncio.ValueError("late"))
        end)())
        await(asyncio.sleep(0))
        error(raised)
      end)
      assert.equal(raised, err)
    end)
  end)

  it("takes new tasks from its tasks while it waits for them", function()
    run(function()
      local deep
      do
        local tg <close> = asyncio.TaskGroup()
        tg:create_task(async(function()
          await(asyncio.sleep(1))
          deep = tg:create_task(async(function()
            await(asyncio.sleep(1))
            return "deep"
          end)())
        end)())
      end
      assert.equal("deep", deep:result())
      assert.equal(2.0, now())
    end)
  end)

  it("takes no new task once it has failed", function()
    run(function()
      local group = group_of(function()
        local tg <close> = asyncio.TaskGroup()
        tg:create_task(fail_after(0, asyncio.ValueError, "x"))
        asyncio.catch(await, asyncio.sleep(1))
        local err = helper.raises(asyncio.RuntimeError, tg.create_task, tg, asyncio.sleep(1))
        assert.equal("TaskGroup <TaskGroup errors=1 cancelling> is shutting down", err.message)
      end)
      assert.equal(1, #group.exceptions)
    end)
  end)

  it("takes no new task once it has ended", function()
    run(function()
      local tg = asyncio.TaskGroup()
      do
        local _ <close> = tg
      end
      local err = helper.raises(asyncio.RuntimeError, tg.create_task, tg, asyncio.sleep(1))
      assert.equal("TaskGroup <TaskGroup entered> is finished", err.message)
    end)
  end)

  it("gives its tasks names and contexts", function()
    run(function()
      asyncio.context.set("who", "outer")
      local tg <close> = asyncio.TaskGroup()
      local t = tg:create_task(async(function() return asyncio.context.get("who") end)(), { name = "worker" })
      local u = tg:create_task(
        async(function() return asyncio.context.get("who") end)(),
        { context = { who = "given" } }
      )
      assert.equal("worker", t:get_name())
      assert.equal("outer", await(t))
      assert.equal("given", await(u))
      helper.raises("tasks", tg.create_task, tg, asyncio.sleep(0), { tasks = 1 })
    end)
  end)

  it("takes plain functions", function()
    run(function()
      local t
      do
        local tg <close> = asyncio.TaskGroup()
        t = tg:create_task(function()
          await(asyncio.sleep(1))
          return "plain"
        end)
      end
      assert.equal("plain", t:result())
    end)
  end)

  it("shows its state", function()
    run(function()
      local tg <close> = asyncio.TaskGroup()
      assert.equal("<TaskGroup entered>", tostring(tg))
      tg:create_task(asyncio.sleep(0))
      tg:create_task(asyncio.sleep(0))
      assert.equal("<TaskGroup tasks=2 entered>", tostring(tg))
    end)
  end)

  it("needs a running loop and a task", function()
    helper.raises(asyncio.RuntimeError, asyncio.TaskGroup)
    local loop = asyncio.new_event_loop()
    local ok, err
    loop:call_soon(function() ok, err = pcall(asyncio.TaskGroup) end)
    loop:call_soon(loop.stop, loop)
    loop:run_forever()
    loop:close()
    assert.is_false(ok)
    assert.matches("cannot determine the parent task", err.message)
  end)

  it("can be used once", function()
    run(function()
      local group = asyncio.TaskGroup()
      asyncio.with(group, function()
        helper.raises("has already been entered", asyncio.with, group, function() end)
        group:create_task(asyncio.sleep(1))
      end)
      helper.raises("has already been entered", asyncio.with, group, function() end)
      local other = asyncio.TaskGroup()
      do local _ <close> = other end
      helper.raises("has already been entered", asyncio.with, other, function() end)
    end)
  end)

  it("works in the function form", function()
    run(function()
      local t
      local value = asyncio.with(asyncio.TaskGroup(), function(tg)
        t = tg:create_task(async(function()
          await(asyncio.sleep(1))
          return 1
        end)())
        return "body"
      end)
      assert.equal("body", value)
      assert.equal(1, t:result())
      group_of(function()
        asyncio.with(asyncio.TaskGroup(), function(tg)
          tg:create_task(fail_after(1, asyncio.ValueError))
        end)
      end)
    end)
  end)

  it("takes eager tasks that fail before their first await", function()
    run(function()
      local group = group_of(function()
        local tg <close> = asyncio.TaskGroup()
        tg:create_task(async(function() error(asyncio.ValueError("eager")) end)(), { eager_start = true })
        await(asyncio.sleep(10))
      end)
      assert.same({ "ValueError: eager" }, texts(group))
    end)
  end)

  it("runs a thousand tasks to their end", function()
    run(function()
      local sum = 0
      do
        local tg <close> = asyncio.TaskGroup()
        for i = 1, 1000 do
          tg:create_task(async(function()
            await(asyncio.sleep(i / 1000))
            sum = sum + i
          end)())
        end
      end
      assert.equal(500500, sum)
    end)
  end)
end)
