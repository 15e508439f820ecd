local prints = require("spec.scripts.script").prints

describe("scripts: cancelling and timeouts:", function()
  it("cancel_task.lua cancels a task and waits for its end", function()
    prints("cancel_task", [[
Task started
Task was cancelled
]])
  end)

  it("shield.lua keeps a task from being cancelled", function()
    prints("shield", [[
false\tCancelledError
task cancelled:\tfalse
coro finished
result
]])
  end)

  it("wait_for_timeout.lua waits no longer than it is told", function()
    prints("wait_for_timeout", [[
Timeout!
Timeout!
]])
  end)
end)
