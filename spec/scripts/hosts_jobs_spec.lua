local helper = require "spec.helper"
local host = require "spec.scripts.host"

describe("scripts/hosts/jobs", function()
  it("prints what threads have made of files", function()
    local a, b = helper.tmpfile("123456789"), helper.tmpfile(("x"):rep(100000))
    local status, out, err = helper.sh(("%s -t 2 scripts/hosts/jobs.lua %s %s"):format(host.build "jobs", a, b))
    assert.same({ 0, "" }, { status, err })
    assert.equal(helper.python(([[
import zlib
for p in "%s", "%s":
    d = open(p, "rb").read()
    print("%%08x %%8d %%8d %%s" %% (zlib.crc32(d), len(d), len(zlib.compress(d)), p))
]]):format(a, b)), out)
  end)

  it("answers each job when it is done, not in order", function()
    host.talk(host.build "jobs" .. " -t 2", [[
port = expect(r"port (\d+)\n")[1]
a = connect(port)
a.say("slow nap 2\nquick crc32 123456789\nbad nap -1\nwhat sing\n")
a.expect("quick cbf43926\n")
a.expect("slow awake\n")
a.say("x deflate " + "y" * 1000 + "\nbad nap -1\nwhat sing\n")
a.expect(r"x 1000 -> \d+ bytes\n")
a.close()
p.send_signal(signal.SIGINT)
expect("2 threads\n")
assert status() == 130
]])
  end)

  it("drops the jobs of who hangs up, running ones too", function()
    local _, err = host.talk(host.build "jobs" .. " -t 2", [[
port = expect(r"port (\d+)\n")[1]
a, b = connect(port), connect(port)
a.say("1 nap 3600\n2 nap 3600\n3 nap 3600\n4 crc32 x\n")
b.say("s stats\n")
b.expect("s 0 done, 0 dropped")
a.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
a.close()
while True:
    b.say("s stats\n")
    seen = b.expect(r"s (\d) done, (\d) dropped, \d waiting")
    if int(seen[1]) + int(seen[2]) == 4: break
    time.sleep(0.01)
assert int(seen[2]) >= 3 # a thread whose nap was dropped may take the last one before it is dropped, too
b.say("5 crc32 x\n")
b.expect("5 8cdc1683\n")
p.send_signal(signal.SIGTERM)
assert status() == 130
]])
    assert.equal("", err)
  end)

  it("ends at once in the middle of jobs, with none left behind", function()
    host.talk(host.build "jobs" .. " -t 3", [[
port = expect(r"port (\d+)\n")[1]
a = connect(port)
for i in range(50): a.say("%d nap 3600\n%d deflate %s\n" % (i, i, "z" * 1000))
time.sleep(0.05)
p.send_signal(signal.SIGTERM)
expect("3 threads\n")
assert status() == 130
]])
  end)

  it("gives a script's error as its own", function()
    local status, out, err = helper.sh(host.build "jobs" .. " scripts/hosts/jobs.lua /no/such/file")
    assert.same({ 1, "" }, { status, out })
    assert.truthy(err:find("no such file or directory", 1, true), err)
    assert.equal(2, (helper.sh(host.build "jobs" .. " -t 0")))
  end)
end)
