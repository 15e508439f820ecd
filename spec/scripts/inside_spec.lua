local prints = require("spec.scripts.script").prints

describe("scripts: how it works inside:", function()
  it("mini_loop.lua runs tasks in a loop of its own", function()
    prints("mini_loop", [[
Hello Foo
Hello Bar
]])
  end)

  it("mini_task.lua runs a generator as a task", function()
    prints("mini_task", [[
Hello Bar
Hello Foo
]])
  end)
end)
