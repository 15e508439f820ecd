local helper = require "spec.helper"
local host = require "spec.scripts.host"

describe("scripts/hosts/poll", function()
  it("serves console, clients and timers from one poll(2)", function()
    local _, err = host.talk(host.build "poll", [[
port = expect(r"port (\d+)\n")[1]
a, b = connect(port), connect(port)
expect("guest1 is here\n")
expect("guest2 is here\n")
b.expect("guest2 is here\n")
a.say("/name ann\r\nhel")
b.expect("guest1 is ann now\n")
a.say("lo\n/remind 0.05 the tea\n/who\n")
b.expect("<ann> hello\n")
a.expect("0 console\n1 ann\n2 guest2\n")
a.expect("remember: the tea\n")
b.say("/kick 1\n/nonsense\n")
b.expect("only the console may\n")
b.expect("what is /nonsense?")
say("/kick 1\n")
a.rest()
b.expect("ann is gone\n")
b.say("/bye\n")
b.expect("bye\n")
assert b.rest() == ""
expect("guest2 is gone\n")
say("/bye\n")
assert status() == 0
]])
    assert.equal("", err)
  end)

  it("drops a client whose line has no end", function()
    host.talk(host.build "poll", [[
port = expect(r"port (\d+)\n")[1]
a = connect(port)
a.expect("guest1 is here\n")
a.say("x" * 5000)
expect("guest1 is gone\n")
p.send_signal(signal.SIGTERM)
assert status() == 0
]])
  end)

  it("says what is wrong with its options, its port and its script", function()
    local program = host.build "poll"
    assert.same({ 2, "", "usage: poll [-p PORT] [SCRIPT]\n" }, { helper.sh(program .. " -p x") })
    local port = helper.unused_port()
    helper.background("python3 -m http.server --bind 127.0.0.1 " .. port)
    helper.wait_port(port)
    local status, _, err = helper.sh(program .. " -p " .. port)
    assert.same({ 1, ("poll: cannot listen on port %d: Address already in use\n"):format(port) }, { status, err })
    status, _, err = helper.sh(program .. " /no/such.lua")
    assert.same({ 1, "poll: /no/such.lua: cannot open '/no/such.lua': No such file or directory\n" }, { status, err })
    status, _, err = helper.sh(program .. " " .. helper.tmpfile("local x = nil + 1", ".lua"))
    assert.equal(1, status)
    assert.truthy(err:find("attempt to perform arithmetic on a nil value", 1, true), err)
  end)
end)
