--- tools/test.sh from outside: what it says at the end of what failed, and what it gives a second chance.

local helper = require "spec.helper"

-- Fails, as `how` has it, the first time it runs; then it passes.
local once = [[
local f = io.open(%q)
if not f then
  io.open(%q, "w"):close()
  %s
end
]]

describe("tools/test.sh", function()
  local build, specs

  -- A spec file; `body` stands in a spec named `name`.
  local function write(file, name, body)
    local f <close> = assert(io.open(specs .. "/" .. file .. "_spec.lua", "w"))
    f:write(("describe('a thing', function() it(%q, function()\n%s\nend) end)\n"):format(name, body))
  end

  local function fails_once(file, how)
    local mark = specs .. "/" .. file .. ".ran"
    write(file, "counts", once:format(mark, mark, how))
  end

  -- Runs all that was written. Returns the status and the lines from the closing block on.
  local function run(env)
    local variables = { SPEC_WRAP = "", SPEC_VERBOSE = "0", SPEC_RERUN = "", SPEC_STOCK = "0" }
    for name, value in pairs(env or {}) do variables[name] = value end
    local status, out, err = helper.sh(("tools/test.sh %s specs -- %s"):format(build, specs), { env = variables })
    assert.equal("", err)
    return status, out, out:match("\n\n(what failed:.*)$") or out:match("\n\n(flaky: .*)$")
  end

  before_each(function()
    build, specs = helper.tmpdir(), helper.tmpdir()
    local program = helper.moonloop:sub(1, 1) == "/" and helper.moonloop or helper.pwd() .. "/" .. helper.moonloop
    assert(os.execute(("ln -s %s %s/moonloop"):format(helper.quote(program), build)))
  end)

  it("ends with the count alone if all is well", function()
    write("a", "passes", "")
    local status, out, closing = run()
    assert.equal(0, status)
    assert.is_nil(closing)
    assert.truthy(out:find("\n\n%d+ s\n1 passed, 0 failed\n$"), out)
  end)

  it("names at the end what failed, with its message", function()
    write("a", "adds", "assert.equal(3, 1 + 1)")
    write("b", "passes", "")
    local status, _, closing = run()
    assert.equal(1, status)
    local lines = {}
    for line in closing:gmatch("[^\n]+") do lines[#lines + 1] = line end
    assert.equal("what failed:", lines[1])
    assert.equal("  " .. specs .. "/a_spec.lua:1: a thing adds", lines[2])
    assert.equal("      " .. specs .. "/a_spec.lua:2: Expected objects to be equal.", lines[3])
    assert.equal("1 passed, 1 failed", lines[#lines])
  end)

  it("runs once more what failed by an assertion, and tells of it", function()
    fails_once("a", "assert.equal('one', 'two')")
    write("b", "passes", "")
    local status, out, closing = run()
    assert.equal(0, status, out)
    assert.equal(1, closing:find("flaky: " .. specs .. "/a_spec.lua:1: a thing counts: ", 1, true), closing)
    assert.truthy(closing:find("Expected objects to be equal.", 1, true), closing)
    assert.truthy(closing:find("\n\n%d+ s, 1 flaky\n2 passed, 0 failed\n$"), closing)
    assert.truthy(out:find("once more: " .. specs .. "/a_spec.lua", 1, true), out)
  end)

  it("runs nothing again with SPEC_RERUN=0", function()
    fails_once("a", "error('no')")
    local status, _, closing = run { SPEC_RERUN = "0" }
    assert.equal(1, status)
    assert.truthy(closing:find("^what failed:\n.*: no\n.*\n0 passed, 1 failed\n$"), closing)
  end)

  it("gives no second chance to what crashed, was ended, leaked or spoke of a sanitizer", function()
    for how, text in pairs {
      ["os.exit(7)"] = "ended with status 7",
      ["os.execute('kill -USR1 $PPID')"] = "ended with status 138",
      ["LOOP = require('asyncio').new_event_loop(); LOOP:call_later(1, print)"] = "leak gate: ",
      ["error('ERROR: AddressSanitizer: heap-use-after-free')"] = "AddressSanitizer",
    } do
      fails_once("a", how)
      local status, out, closing = run()
      os.remove(specs .. "/a.ran")
      assert.equal(1, status, out)
      assert.falsy(out:find("once more", 1, true), out)
      assert.truthy(closing:find("^what failed:\n  ") and closing:find(text, 1, true), closing)
    end
  end)

  it("lets it stand if more than three files failed", function()
    for _, file in ipairs { "a", "b", "c", "d" } do fails_once(file, "error('no')") end
    local status, out, closing = run()
    assert.equal(1, status)
    assert.falsy(out:find("once more", 1, true), out)
    assert.truthy(closing:find("\n0 passed, 4 failed\n$"), closing)
  end)

  it("says that it failed twice if it did", function()
    write("a", "adds", "error('still no')")
    local status, out, closing = run()
    assert.equal(1, status)
    assert.truthy(out:find("once more: ", 1, true), out)
    assert.truthy(closing:find("^what failed:\n.*: still no\n.*\n0 passed, 1 failed\n$"), closing)
    assert.falsy(closing:find("flaky", 1, true), closing)
  end)
end)
