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

  it("cancel_all_on_ctrl_c.lua cancels all tasks and ends by itself", function()
    local status, out, err = script.interrupt("cancel_all_on_ctrl_c", "3, press Ctrl-C")
    assert.equal([[
waiting for 1, press Ctrl-C
waiting for 2, press Ctrl-C
waiting for 3, press Ctrl-C
cleaned up 1
cleaned up 2
cleaned up 3
all tasks cancelled
]], out)
    assert.equal("", err)
    assert.equal(0, status)
  end)

  it("cancel_each_on_ctrl_c.lua cancels each task and ends by itself", function()
    local status, out, err = script.interrupt("cancel_each_on_ctrl_c", "3, press Ctrl-C")
    assert.equal([[
waiting for 1, press Ctrl-C
waiting for 2, press Ctrl-C
waiting for 3, press Ctrl-C
true
true
true
true
cleaned up 1
cleaned up 2
cleaned up 3
]], out)
    assert.equal("", err)
    assert.equal(0, status)
  end)

  it("run_forever.lua runs until Ctrl-C, with status 130", function()
    local status, out, err = script.interrupt("run_forever", "Waiting")
    assert.equal("Waiting 3\n", out)
    assert.equal("KeyboardInterrupt\n", err)
    assert.equal(130, status)
  end)
end)
