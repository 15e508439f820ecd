local helper = require "spec.helper"
local host = require "spec.scripts.host"

describe("scripts/hosts/glib", function()
  it("runs a quiz in GLib's loop: lines, and timeouts of the script", function()
    host.talk(host.build "glib", [[
expect("How many legs")
say("8\n")
expect("yes\n")
expect("What keyword")
expect("too late: await\n")
expect("What is 6")
p.stdin.close()
assert rest().endswith("nobody there\n1 of 3 right\n")
assert status() == 0
]], { env = { QUIZ_SECONDS = 2 * helper.slow } })
  end)

  it("cancels the script when it is asked to end; its clean-up runs", function()
    local _, err = host.talk(host.build "glib", [[
expect("How many legs")
p.send_signal(signal.SIGTERM)
assert rest().endswith("0 of 3 right\n")
assert status() == 1
]], { env = { QUIZ_SECONDS = 30 } })
    assert.truthy(err:find("CancelledError: the program is asked to end", 1, true), err)
  end)

  it("ticks by GLib's clock while the script sleeps", function()
    local script = helper.tmpfile([[
local asyncio = require "asyncio"
while quiz.seconds() == 0 do await(asyncio.sleep(0.05)) end
print("ticked")
]], ".lua")
    assert.same({ 0, "ticked\n", "" }, { helper.sh(host.build "glib" .. " " .. script) })
  end)

  it("says what is wrong with its options and its script", function()
    local program = host.build "glib"
    assert.same({ 2, "", "usage: glib [SCRIPT]\n" }, { helper.sh(program .. " -x") })
    local status, _, err = helper.sh(program .. " " .. helper.tmpfile("x x", ".lua"))
    assert.equal(1, status)
    assert.truthy(err:find("syntax error", 1, true), err)
  end)
end)
