local helper = require "spec.helper"
local host = require "spec.scripts.host"

describe("scripts/hosts/agents (C++)", function()
  it("gives scripts functions of C++, and their exceptions as errors", function()
    local status, out, err = helper.sh(host.build "agents")
    assert.same({ 0, "" }, { status, err })
    assert.truthy(out:find("^trader1: [%d.]+ and %d+ pieces, %d+ orders refused\n"), out)
    assert.truthy(out:find("trader5: failed: RuntimeError: market.order: trader5 cannot pay 1000\n", 1, true), out)
    assert.truthy(out:find("\nprice [%d.]+\n$"), out)
  end)

  it("gives C++ the errors of scripts as exceptions", function()
    local program = host.build "agents"
    local script = helper.tmpfile([[
local asyncio = require "asyncio"
local ok, e = pcall(market.order, "x", "y")
assert(not ok and asyncio.isinstance(e, asyncio.ValueError), tostring(e))
assert(tostring(e):find "argument 2 is missing, or of another type", tostring(e))
ok, e = pcall(market.account, "nobody")
assert(tostring(e):find "there is no trader nobody", tostring(e))
ok, e = pcall(await, oracle.ask(10))
assert(tostring(e):find "does not speak of such prices", tostring(e))
for i = 1, 7 do ok, e = pcall(await, oracle.ask(100 + i)) end
assert(tostring(e):find "the host has forgotten it", tostring(e))
error "that is all"
]], ".lua")
    local status, _, err = helper.sh(program .. " " .. script)
    assert.equal(1, status)
    assert.truthy(err:find("agents: ", 1, true) and err:find(":11: that is all\nstack traceback:", 1, true), err)
    status, _, err = helper.sh(program .. " /no/such.lua")
    assert.same({ 1, "agents: cannot open '/no/such.lua': No such file or directory\n\n" }, { status, err })
  end)
end)
