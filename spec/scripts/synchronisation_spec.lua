local prints = require("spec.scripts.script").prints

describe("scripts: synchronisation:", function()
  it("lock.lua makes tasks go one by one", function()
    prints("lock", [[
response\tok
response\tok
response\tok
0, 1, 2
took: 3.000
]])
  end)

  it("lock_shared_state.lua keeps others from a shared state", function()
    prints("lock_shared_state", [[
balance: 60
]])
  end)

  it("event.lua wakes all who wait", function()
    prints("event", [[
response\t0.988
1.00 small waiter got its event
1.00 small waiter got its event
response\t0.333
1.01 big waiter got its event
1.01 big waiter got its event
response\t0.419
took: 1.02
]])
  end)

  it("condition.lua wakes two at a time", function()
    prints("condition", [[
response\t0.588
1.00 waiter[0] has waited
1.00 waiter[1] has waited
response\t0.339
1.01 waiter[2] has waited
response\t0.265
took: 1.02
]])
  end)

  it("semaphore.lua lets two work at the same time", function()
    prints("semaphore", [[
1.00 worker[0] response 0.213
1.00 worker[1] response 0.759
2.00 worker[2] response 0.828
took: 2.00
]])
  end)
end)
