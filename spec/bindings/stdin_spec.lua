--- asyncio.stdin: whatever standard input is, and only when it is asked for.

local helper = require "spec.helper"
local terminal = require "spec.terminal"

--- Runs code whose standard input is what the shell's `before` and `after` make of it.
local function run(code, before, after)
  local program = 'local asyncio = require "asyncio" ' .. code
  return helper.sh(("%s %s -e %s %s"):format(before or "", helper.quote(helper.moonloop), helper.quote(program),
    after or ""))
end

local count = [[local n, lines = 0, {}
  for line in asyncio.stdin:lines() do n = n + 1 lines[n] = line end
  print(n, lines[1], lines[n], asyncio.stdin:at_eof())]]

describe("asyncio.stdin", function()
  it("reads a pipe", function()
    assert.same({ 0, "1000\t1\t1000\ttrue\n", "" }, { run(count, "seq 1000 |") })
  end)

  it("reads a file", function()
    local list = {}
    for i = 1, 50000 do list[i] = "line " .. i end
    local path = helper.tmpfile(table.concat(list, "\n"))
    assert.same({ 0, "50000\tline 1\tline 50000\ttrue\n", "" }, { run(count, "", "<" .. path) })
  end)

  it("reads /dev/null, and an empty pipe", function()
    local none = { 0, "0\tnil\tnil\ttrue\n", "" }
    assert.same(none, { run(count, "", "</dev/null") })
    assert.same(none, { run(count, "true |") })
  end)

  it("reads a socket", function()
    local status, out = helper.sh("exec python3 " .. helper.tmpfile([=[
import socket, subprocess, sys
a, b = socket.socketpair()
p = subprocess.Popen([sys.argv[1], "-e", sys.argv[2]], stdin=b, stdout=b)
b.close()
a.sendall(b"one\ntwo\n" * 10000)
a.shutdown(socket.SHUT_WR)
print(a.makefile().read(), p.wait())
]=], ".py") .. (" %s %s"):format(helper.moonloop, helper.quote('local asyncio = require "asyncio" ' .. count)))
    assert.equal("20000\tone\ttwo\ttrue\n 0\n", out)
    assert.equal(0, status)
  end)

  it("reads a FIFO", function()
    local fifo = helper.tmpdir() .. "/fifo"
    assert.equal(0, (helper.sh("mkfifo " .. fifo)))
    assert.same({ 0, "3\t1\t3\ttrue\n", "" }, { run(count, "seq 3 >" .. fifo .. " &", "<" .. fifo) })
    assert.same({ 0, "0\tnil\tnil\ttrue\n", "" }, { run(count, "true >" .. fifo .. " &", "<" .. fifo) })
  end)

  it("reads binary data, in all the ways of a StreamReader", function()
    local bytes = {}
    for i = 0, 255 do bytes[#bytes + 1] = string.char(i) end
    local path = helper.tmpfile(table.concat(bytes))
    local code = [[local i = asyncio.stdin
      print(("%q"):format(await(i:readexactly(3))), #await(i:readline()), #await(i:readuntil("\255")), await(i:read(1)))
      print(("%q"):format(await(i:read())))]]
    assert.same({ 0, '"\\0\\1\\2"\t8\t245\tnil\n""\n', "" }, { run(code, "", "<" .. path) })
    assert.same({ 0, '"\\0\\1\\2"\t8\t245\tnil\n""\n', "" }, { run(code, "cat " .. path .. " |") })
  end)

  it("refuses a line over the limit and goes on behind it", function()
    local code = [[print(pcall(await, asyncio.stdin:readline()))
      local rest -- of the long line comes as one by itself, if it was not there yet
      repeat rest = await(asyncio.stdin:readline()) until not rest or not rest:find("^\0*\n$")
      print(rest)]]
    local status, out = run(code, "(head -c 70000 /dev/zero; echo; sleep 0.2; echo next) |")
    assert.equal(0, status)
    assert.truthy(out:find("^false\tValueError: Separator is [^\n]*\nnext\n\n$"), out)
  end)

  it("keeps no loop alive while nobody waits for it", function()
    local fifo = helper.tmpdir() .. "/fifo" -- never at its end
    assert.same({ 0, "over\n", "" }, { run([[local i = asyncio.stdin
      print(pcall(await, asyncio.wait_for(i:readline(), 0.01)) and "got" or "over")]],
      ("mkfifo %s; exec 3<>%s;"):format(fifo, fifo), "<&3") })
  end)

  it("keeps the loop alive while a task waits for it", function()
    local code = [[asyncio.create_task(async(function() print(await(asyncio.stdin:readline())) end)())]]
    assert.same({ 0, "late\n\n", "" }, { run(code, "(sleep 0.2; echo late) |") })
  end)

  it("loses nothing to a cancelled read", function()
    local code = [[local n, all = 0, {}
      while true do
        local ok, data = pcall(await, asyncio.wait_for(asyncio.stdin:readexactly(4), 0.02))
        if ok then all[#all + 1] = data n = 0 else
          if not asyncio.isinstance(data, asyncio.TimeoutError) then break end
          n = n + 1
          if n == 3000 then break end
        end
      end
      print(table.concat(all, ","))]]
    local status, out = run(code, "(printf ab; sleep 0.1; printf cdef; sleep 0.1; printf gh) |")
    assert.equal("abcd,efgh\n", out)
    assert.equal(0, status)
  end)

  it("lets one task read at a time", function()
    local code = [[asyncio.run(async(function()
      local first = asyncio.create_task(asyncio.stdin:readline())
      await(asyncio.sleep(0))
      print(pcall(await, asyncio.stdin:read(1)))
      io.open("%s", "w"):close()
      print(await(first))
    end))]]
    local path = helper.latch()
    local status, out = run(code:format(path), ("(%s; echo x) |"):format(helper.until_open(path)))
    assert.equal("false\tRuntimeError: read() called while another coroutine is already waiting for incoming data\nx\n\n",
      out)
    assert.equal(0, status)
  end)

  it("is the same stream in every loop", function()
    local code = [[local stdin = asyncio.stdin
      local line = async(function() return await(asyncio.stdin:readline()) end)
      io.write(await(stdin:readline()), asyncio.run(line), asyncio.run(line), await(stdin:readline()))
      print(stdin == asyncio.stdin, asyncio.run(line))]]
    for _, feed in ipairs { "seq 4 |", "(for i in 1 2 3 4; do echo $i; sleep 0.03; done) |" } do
      assert.same({ 0, "1\n2\n3\n4\ntrue\tnil\n", "" }, { run(code, feed) })
    end
    local path = helper.tmpfile("1\n2\n3\n4\n")
    assert.same({ 0, "1\n2\n3\n4\ntrue\tnil\n", "" }, { run(code, "", "<" .. path) })
  end)

  it("leaves to others what it was not asked for", function()
    local status, out = run([[local i = asyncio.stdin os.execute("head -c 2") print(await(i:readline()))]],
      "(printf ab; sleep 0.1; echo cd) |")
    assert.equal("abcd\n\n", out)
    assert.equal(0, status)
  end)

  it("takes what io.read has read ahead", function()
    local code = [[print(io.read()) print(await(asyncio.stdin:readline()), #await(asyncio.stdin:read()))]]
    assert.same({ 0, "1\n2\n\t48890\n", "" }, { run(code, "seq 10000 |") })
    local path = helper.tmpfile(select(2, helper.sh("seq 10000")))
    assert.same({ 0, "1\n2\n\t48890\n", "" }, { run(code, "", "<" .. path) })
  end)

  it("does not read on while the script is busy with something else", function()
    local status, out = helper.sh("exec python3 " .. helper.tmpfile([=[
import os, subprocess, sys
code = '''local asyncio = require "asyncio"
print(await(asyncio.stdin:readline()))
io.stdout:flush()
await(asyncio.sleep(0.2))'''
p = subprocess.Popen([sys.argv[1], "-e", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
n = p.stdin.fileno()
os.write(n, b"x\n")
p.stdout.readline()
os.set_blocking(n, False)
total = 0
while True:
    try:
        total += os.write(n, b"y" * 65536)
    except BlockingIOError:
        break
print(total <= 65536 + 65536 + 4096)
p.kill()
]=], ".py") .. " " .. helper.moonloop)
    assert.equal("True\n", out)
    assert.equal(0, status)
  end)

  it("says what is wrong with it", function()
    local code = [[for i = 1, 2 do
      local ok, e = pcall(await, asyncio.stdin:read(1))
      print(ok, e, e.code) end]]
    local line = "false\tOSError: read from <stdin> failed: illegal operation on a directory\tEISDIR\n"
    assert.same({ 0, line .. line, "" }, { run(code, "", "</tmp") })
    line = "false\tOSError: read from <stdin> failed: bad file descriptor\tEBADF\n"
    assert.same({ 0, line .. line, "" }, { run(code, "", "<&-") })
  end)

  it("reads on after Ctrl-D in a terminal", function()
    local out = terminal.run({ "-e", [[local asyncio = require "asyncio"
      print("ready")
      for line in asyncio.stdin:lines() do print("first", line) end
      print("again", asyncio.stdin:at_eof())
      print("second", await(asyncio.stdin:readline()))
      print("all", ("%q"):format(await(asyncio.stdin:read())))]] }, {
      { "expect", "ready" }, { "type", "one\n" }, { "expect", "first\tone" }, { "type", "\4" },
      { "expect", "again\ttrue" }, { "type", "two\n" }, { "expect", "second\ttwo" }, { "type", "abc\n\4" },
    })
    assert.truthy(out:find('all\t"abc\\\n"\n[0 restored]', 1, true), out)
  end)

  it("ends with the terminal", function()
    local _, out = helper.sh("exec python3 " .. helper.tmpfile([=[
import os, pty, subprocess, sys
master, slave = pty.openpty()
p = subprocess.Popen([sys.argv[1], "-e", sys.argv[2]], stdin=slave, stdout=subprocess.PIPE)
os.close(slave)
os.write(master, b"line\n")
p.stdout.readline()
os.close(master)
print(p.stdout.read(), p.wait())
]=], ".py") .. (" %s %s"):format(helper.moonloop, helper.quote([[local asyncio = require "asyncio"
      print(await(asyncio.stdin:readline())) io.stdout:flush() print(await(asyncio.stdin:readline()))]])))
    assert.equal("b'\\nnil\\n' 0\n", out)
  end)
end)

describe("the standard descriptors", function()
  it("are never made non-blocking for others who have them", function()
    local _, out = helper.sh("exec python3 " .. helper.tmpfile([=[
import fcntl, os, pty, socket, subprocess, sys
code = '''local asyncio = require "asyncio"
asyncio.stdout:write("got " .. await(asyncio.stdin:readline()))
await(asyncio.stdout:drain())
await(asyncio.stdin:readline())'''
def check(name, stdin, feed, result, stdout, user=None):
    if os.getuid() != 0:
        user = None
    def blocking():
        return not any(fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_NONBLOCK for fd in (stdin, stdout))
    p = subprocess.Popen([sys.argv[1], "-e", code], stdin=stdin, stdout=stdout, stderr=subprocess.STDOUT, user=user)
    os.write(feed, b"hello\n")
    got = b""
    while b"got hello" not in got:
        got += os.read(result, 100)
    during = blocking()
    os.write(feed, b"\n")
    print(name, p.wait(), during, blocking())
r, w = os.pipe(); r2, w2 = os.pipe()
check("pipe", r, w, r2, w2)
m, s = pty.openpty()
check("terminal", s, m, m, s)
a, b = socket.socketpair()
check("socket", a.fileno(), b.fileno(), b.fileno(), a.fileno())
# pipes that cannot be opened again: another user's
r, w = os.pipe(); r2, w2 = os.pipe()
os.fchmod(r, 0); os.fchmod(w2, 0)
check("foreign pipe", r, w, r2, w2, 65534)
m, s = pty.openpty()
os.fchmod(s, 0o600)
check("foreign terminal", s, m, m, s, 65534)
]=], ".py") .. " " .. helper.moonloop)
    assert.equal(([[
pipe 0 True True
terminal 0 True True
socket 0 True True
foreign pipe 0 True True
foreign terminal 0 True True
]]), out)
  end)
end)
