local script = require "spec.scripts.script"

describe("scripts: Ctrl-C:", function()
  it("ctrl_c.lua cleans up, awaiting, and ends with status 130", function()
    local status, out, err = script.interrupt("ctrl_c", "press Ctrl-C")
    assert.equal([[
waiting, press Ctrl-C
first cleaned up
second cleaned up
]], out)
    assert.equal("KeyboardInterrupt\n", err)
    assert.equal(130, status)
  end)

  it("run_forever.lua ends at Ctrl-C too, with status 130", function()
    local status, out, err = script.interrupt("run_forever", "Waiting")
    assert.equal("Waiting 3\n", out)
    assert.equal("KeyboardInterrupt\n", err)
    assert.equal(130, status)
  end)
end)
