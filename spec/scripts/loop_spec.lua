local helper = require "spec.helper"
local prints = require("spec.scripts.script").prints

describe("scripts: the loop, tasks and futures:", function()
  it("run_until_complete.lua runs until a coroutine or a future is done", function()
    prints("run_until_complete", [[
Waiting 3
Done
Waiting 3
Done
]])
  end)

  it("run_forever.lua ends when nothing is left to do", function()
    prints("run_forever", [[
Waiting 3
Done
nothing is left to do
]])
  end)

  it("run_forever_and_stop.lua stops for all when the first says so, and goes on", function()
    prints("run_forever_and_stop", [[
Waiting 3
Done
stopped
Waiting 1
Waiting 3
Done
stopped, with the second coroutine not done
Done
stopped
]])
  end)

  it("gather_then_stop.lua stops when all are done", function()
    prints("gather_then_stop", [[
Waiting 1
Waiting 3
Done
Done
stopped
]])
  end)

  it("closed_loop.lua does not run again once closed", function()
    prints("closed_loop", [[
Waiting 1
Done
Waiting 3
Done
false\tRuntimeError: Event loop is closed
]])
  end)

  it("done_callback.lua calls back", function()
    prints("done_callback", [[
Waiting 3
Done
]])
  end)

  it("callback_with_result.lua calls back with the task", function()
    prints("callback_with_result", [[
8
]])
  end)

  it("timer.lua calls back after 3 seconds", function()
    prints("timer", [[
Done
Done
]])
  end)

  it("task_states.lua shows pending, then finished", function()
    prints("task_states", [[
<Task pending name='Task-1' coro=<do_some_work() defined at scripts/task_states.lua:9>>
Waiting: \t2
<Task finished name='Task-1' coro=<do_some_work() defined at scripts/task_states.lua:9> result=nil>
TIME: \tSECONDS
]], {
      normalise = function(out) return (out:gsub("TIME: \t%d%S*", "TIME: \tSECONDS")) end,
    })
  end)

  it("future_methods.lua shows what a future can do", function()
    prints("future_methods", [[
done:\tfalse
its loop:\ttrue
false\tInvalidStateError: scripts/future_methods.lua:12: Result is not set.
removed:\t1
callback:\tthe result
awaited:\tthe result
done, cancelled, exception:\ttrue\tfalse\tnil
false\tInvalidStateError: scripts/future_methods.lua:23: invalid state: the future is already done
exception:\tValueError: went wrong
false\tValueError: went wrong
cancel:\ttrue
cancelled:\ttrue
false\tCancelledError
]])
  end)

  it("loop_methods.lua shows what a loop can do", function()
    prints("loop_methods", [[
current:\ttrue
running, closed:\tfalse\tfalse
0.0 call_soon
0.0 call_soon_threadsafe
running, closed:\ttrue\tfalse
running loop:\ttrue
0.1 call_at
0.2 call_later
running, closed:\tfalse\ttrue
]])
  end)

  it("background_task.lua runs a task beside main", function()
    prints("background_task", [[
2222222\t1.0\tresponse
11111111111\t2.0
]])
  end)

  it("multi_hello.lua runs a hundred coroutines", function()
    local lines = {}
    for i = 0, 99 do lines[#lines + 1] = ("hello %d **********Task-%d"):format(i % 10, i + 1) end
    for i = 0, 99 do lines[#lines + 1] = ("end: %d"):format(i % 10) end
    prints("multi_hello", table.concat(lines, "\n") .. "\n")
  end)

  it("blocking_sleep.lua blocks, then waits together", function()
    local status, out, err = helper.cli({ "--virtual-time", "-e", [[
      local loop = require("asyncio").get_event_loop()
      local start = loop:time()
      dofile "scripts/blocking_sleep.lua"
      print(loop:time() - start)]] })
    assert.same({ 0, "" }, { status, err })
    local times = {}
    for line in out:gmatch("[^\n]+") do times[#times + 1] = tonumber(line) end
    assert.equal(7, #times)
    assert.is_true(times[2] - times[1] > 0.09)
    assert.is_true(times[3] - times[2] > 0.09)
    assert.is_true(times[7] > 0.09 and times[7] < 0.11) -- of the loop's time: once, for all three
  end)
end)
