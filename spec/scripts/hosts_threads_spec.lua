local helper = require "spec.helper"
local host = require "spec.scripts.host"

describe("scripts/hosts/threads", function()
  it("serves from engines in threads, which share the host's store", function()
    local _, err = host.talk(host.build "threads" .. " -t 4", [[
port = expect(r"127.0.0.1:(\d+), 4 threads\n")[1]
clients = [connect(port) for i in range(24)]
for c in clients: c.say("add n 1\n" * 50 + "info\n")
for c in clients: c.seen_by = c.expect(r"\+thread (\d) of 4")[1]
assert len({c.seen_by for c in clients}) > 1, "one thread has served them all"
a = clients[0]
a.say("get n\nset key two words\r\nget key\ndel key\nget key\nset k\nadd n x\nsing\nquit\n")
a.expect(r"\+1200\n\+ok\n\+two words\n\+ok\n-none\n-set KEY VALUE\n-add KEY N\n-commands are")
a.rest()
for c in clients[1:]:  # who leaves without a word
    c.say("info\n")
    c.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    c.close()
b = connect(port)
b.say("get n\n")
b.expect(r"\+1200")
p.send_signal(signal.SIGTERM)
expect("1 keys at the end\n")
assert status() == 0
]])
    assert.equal("", err)
  end)

  it("ends in all threads when the script of one fails", function()
    local script = helper.tmpfile([[
local _, number = server.info()
if number == 1 then error "thread 1 has had enough" end
await(server.stopping())
]], ".lua")
    local status, _, err = helper.sh(host.build "threads" .. " -t 3 " .. script)
    assert.equal(1, status)
    assert.truthy(err:find("thread 1 has had enough", 1, true), err)
  end)

  it("says what is wrong with its options", function()
    local status, _, err = helper.sh(host.build "threads" .. " -t 65")
    assert.same({ 2, "usage: threads [-t THREADS (1 to 64)] [-p PORT] [SCRIPT]\n" }, { status, err })
  end)
end)
