local prints = require("spec.scripts.script").prints

describe("scripts: synchronisation:", function()
  it("lock_shared_state.lua keeps others from a shared state", function()
    prints("lock_shared_state", [[
balance: 60
]])
  end)
end)
