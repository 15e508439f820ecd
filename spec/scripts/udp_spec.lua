local helper = require "spec.helper"

describe("scripts: UDP:", function()
  it("udp_time_server.lua tells udp_time_client.lua the time", function()
    local _, log = helper.background(helper.moonloop .. " scripts/udp_time_server.lua 127.0.0.1 0")
    local port
    for _ = 1, 3000 * helper.slow do
      local f <close> = assert(io.open(log))
      port = f:read("a"):match("^listening on 127%.0%.0%.1:(%d+)\n")
      if port then break end
      os.execute("sleep 0.02")
    end
    local before = os.time()
    local status, out, err = helper.cli { "scripts/udp_time_client.lua", "127.0.0.1", assert(port, "no server") }
    assert.same({ 0, "" }, { status, err })
    local year, month, day, hour, min, sec = out:match("^(%d+)%-(%d+)%-(%d+) (%d+):(%d+):(%d+) UTC\n$")
    assert(year, out)
    assert.equal(os.date("!%Y-%m-%d", before):sub(1, 4), year)
    local told = os.time { year = year, month = month, day = day, hour = hour, min = min, sec = sec }
    local utc = os.time(os.date("!*t", before))
    assert(told >= utc - 1 and told <= utc + 60, out)
    -- python's idea of the protocol
    assert.equal("4\n", helper.python(([[
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(60)
s.sendto(b"", ("127.0.0.1", %s))
print(len(s.recv(100)))
]]):format(port)))
  end)

  it("udp_time_client.lua asks four times and gives up", function()
    local port = helper.unused_port()
    local status, out, err = helper.cli { "--virtual-time", "scripts/udp_time_client.lua", "127.0.0.1", tostring(port) }
    assert.equal(1, status)
    for try = 1, 4 do assert.matches(("try %d: "):format(try), out, 1, true) end
    assert.matches("receive from 127.0.0.1:%d+ failed: connection refused", out)
    assert.matches("no answer from 127.0.0.1:" .. port, err, 1, true)
  end)

  it("multicast.lua sends to a group", function()
    local status, out, err = helper.cli { "scripts/multicast.lua" }
    assert.same({ 0, "" }, { status, err })
    local lines = {}
    for line in out:gmatch("[^\n]+") do lines[#lines + 1] = line end
    table.sort(lines)
    assert.same({
      "member 1 got: all of you", "member 1 got: bye", "member 1 got: hello",
      "member 2 got: all of you", "member 2 got: bye", "member 2 got: hello",
      "member 3 got: all of you", "member 3 got: bye", "member 3 got: hello",
    }, lines)
  end)
end)
