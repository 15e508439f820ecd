local helper = require "spec.helper"
local terminal = require "spec.terminal"

describe("scripts: standard streams:", function()
  it("filter.lua copies the lines that match", function()
    local status, out, err = helper.sh("seq 30 | " .. helper.quote(helper.moonloop) .. " scripts/filter.lua '5$'")
    assert.same({ 0, "5: 5\n15: 15\n25: 25\n", "" }, { status, out, err })
  end)

  it("filter.lua ends quietly when nobody reads on", function()
    local _, out, err = helper.sh("seq 100000 | (" .. helper.quote(helper.moonloop)
      .. " scripts/filter.lua; echo $? >&2) | head -1")
    assert.same({ "1: 1\n", "141\n" }, { out, err })
  end)

  it("keys.lua shows keys and sizes, and leaves the terminal as it was", function()
    local out = terminal.run({ "scripts/keys.lua" }, {
      { "expect", "120 x 40; press keys, q to end" }, { "type", "a" }, { "expect", "a                61" },
      { "type", "\27[1;5C" }, { "expect", "ctrl-right       1b 5b 31 3b 35 43" }, { "resize", { 80, 24 } },
      { "expect", "now 80 x 24" }, { "type", "q" },
    })
    assert.truthy(out:find("q                71", 1, true), out)
    assert.truthy(out:find("[0 restored]", 1, true), out)
    local status, _, err = helper.sh(helper.quote(helper.moonloop) .. " scripts/keys.lua </dev/null")
    assert.same({ 1, "keys.lua: standard input is no terminal\n" }, { status, err })
  end)
end)
