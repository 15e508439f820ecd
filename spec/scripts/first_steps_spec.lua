local prints = require("spec.scripts.script").prints

describe("scripts: first steps:", function()
  it("hello_world.lua says Hello, and World a second later", function()
    prints("hello_world", [[
Hello
World
Hello
World
]])
  end)

  it("hello_main.lua runs main to its end", function()
    prints("hello_main", [[
Hello ...
... World!
]])
  end)

  it("my_coroutine.lua gives a result to the one that awaits", function()
    prints("my_coroutine", [[
Done
Done
]])
  end)

  it("create_task.lua runs two tasks at the same time", function()
    prints("create_task", [[
Hello
Hello
World
World
]])
  end)

  it("run_from_sync.lua runs a coroutine from a plain function", function()
    prints("run_from_sync", [[
Done
]])
  end)

  it("sleep.lua sleeps for a second", function()
    prints("sleep", [[
slept for 1.0 s
a result to give afterwards
]])
  end)

  it("sleep_zero.lua lets others have their turn", function()
    prints("sleep_zero", [[
Suspending a
fn b
Resuming a
]])
  end)

  it("sleep_in_sequence_and_together.lua sleeps one after the other, then together", function()
    prints("sleep_in_sequence_and_together", [[
started at HH:MM:SS
hello
world
finished at HH:MM:SS
started at HH:MM:SS
hello
world
finished at HH:MM:SS
]], {
      normalise = function(out) return (out:gsub("%d%d:%d%d:%d%d", "HH:MM:SS")) end,
    })
  end)

  it("compute_and_print_sum.lua hands work to another coroutine", function()
    prints("compute_and_print_sum", [[
Compute 1 + 2 ...
Compute 3 + 4 ...
1 + 2 = 3
3 + 4 = 7
]])
  end)

  it("is_coroutine.lua tells coroutines and coroutine functions, and warns of the one never awaited", function()
    prints("is_coroutine", [[
true
true
]], {
      warnings = [[
warning: coroutine 'do_some_work' (scripts/is_coroutine.lua:6) was never awaited
]],
    })
  end)

  it("awaitable_object.lua awaits an object that has __await", function()
    prints("awaitable_object", [[
resolved
resolved\tresolved
]])
  end)

  it("measure_time.lua takes hardly any time", function()
    prints("measure_time", [[
Waiting: \t2
TIME: \tSECONDS
]], {
      normalise = function(out) return (out:gsub("TIME: \t%d%S*", "TIME: \tSECONDS")) end,
    })
  end)

  it("common_mistakes.lua shows what the engine says to mistakes", function()
    prints("common_mistakes", [[
work() did nothing
ticks while blocked: 0
went on after cancel()
RuntimeError: asyncio.run() cannot be called from a running event loop: await the coroutine instead
]], {
      warnings = [[
warning: coroutine 'work' (scripts/common_mistakes.lua:7) was never awaited
]],
    })
  end)
end)
