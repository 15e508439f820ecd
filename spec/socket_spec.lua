local asyncio = require "asyncio"
local helper = require "spec.helper"
local socket = require "socket"

local function run(f)
  return asyncio.run(async(f)())
end

local function new(family, type)
  local s = socket.socket(family, type)
  helper.finally(s.close, s)
  return s
end

describe("socket.create_server and create_connection", function()
  it("listen on an address and connect to it by name", function()
    run(function()
      local s <close> = await(socket.create_server("127.0.0.1", 0, { backlog = 5 }))
      local port = s:getsockname().port
      local c <close> = await(socket.create_connection("localhost", port, { family = "inet", timeout = 5 }))
      local d, address = await(s:accept())
      helper.finally(d.close, d)
      assert.equal(c:getsockname().port, address.port)
      await(d:sendall("x"))
      assert.equal("x", await(c:recv(1)))
      local e <close> = await(socket.create_connection("127.0.0.1", port, { source_address = { "127.0.0.2", 0 } }))
      assert.equal("127.0.0.2", e:getsockname().host)
      local f <close> = await(s:accept())
      assert.truthy(f)
    end)
  end)

  it("serve both families on one socket", function()
    if not socket.has_ipv6() then return end
    run(function()
      local s <close> = await(socket.create_server("", 0, { dualstack_ipv6 = true }))
      local port = s:getsockname().port
      local c <close> = await(socket.create_connection("127.0.0.1", port))
      local d, address = await(s:accept())
      helper.finally(d.close, d)
      assert.truthy(c and d)
      assert.equal("::ffff:127.0.0.1", address.host)
    end)
  end)

  it("raise what went wrong and leave nothing open", function()
    run(function()
      local s <close> = await(socket.create_server("127.0.0.1", 0))
      local port = s:getsockname().port
      local e = helper.raises(asyncio.OSError, await, socket.create_server("127.0.0.1", port))
      assert.equal("EADDRINUSE", e.code)
      local refused = helper.unused_port()
      e = helper.raises(asyncio.OSError, await, socket.create_connection("127.0.0.1", refused))
      assert.same({ "ECONNREFUSED", "127.0.0.1", refused }, { e.code, e.host, e.port })
      helper.raises("unexpected keyword argument 'time'", socket.create_connection, "x", 1, { time = 1 })
      helper.raises("options must be a table, got a number", socket.create_server, "x", 1, 5)
    end)
  end)

  it("give up after the timeout, or when cancelled", function()
    run(function()
      local s = new()
      s:bind("127.0.0.1", 0)
      s:listen(0)
      local port = s:getsockname().port
      local open = {}
      for _ = 1, 5 do -- fill the backlog
        local c = new()
        open[#open + 1] = asyncio.create_task(c:connect("127.0.0.1", port))
        await(asyncio.sleep(0))
        await(asyncio.sleep(0))
      end
      helper.raises(asyncio.TimeoutError, await, socket.create_connection("127.0.0.1", port, { timeout = 0.005 }))
      local task = asyncio.create_task(socket.create_connection("127.0.0.1", port))
      await(asyncio.sleep(0.001))
      task:cancel()
      helper.raises(asyncio.CancelledError, await, task)
      for _, t in ipairs(open) do t:cancel() end
      await(asyncio.wait(open))
    end)
  end)
end)

describe("Socket:connect", function()
  it("looks names up in the socket's family", function()
    run(function()
      local s <close> = await(socket.create_server("127.0.0.1", 0))
      local loop = asyncio.get_running_loop()
      loop:set_resolver(function(host) return host == "chat.example" and { "::1", "127.0.0.1" } or {} end)
      local c = new()
      await(c:connect("chat.example", s:getsockname().port))
      assert.equal("127.0.0.1", c:getpeername().host)
      helper.raises(asyncio.OSError, await, new():connect("nobody.example", 80))
      loop:set_resolver(nil)
    end)
  end)
end)

describe("Socket:set and get", function()
  it("know options by name", function()
    local s = new()
    assert.equal(s, s:set { nodelay = true, reuseaddr = true, reuseport = true, ttl = 33, linger = 7, user_timeout = 5000,
      keepalive = { idle = 11, interval = 12, count = 3 }, cork = false })
    assert.is_true(s:get("nodelay"))
    assert.is_true(s:get("reuseaddr"))
    assert.is_true(s:get("reuseport"))
    assert.is_false(s:get("cork"))
    assert.equal(33, s:get("ttl"))
    assert.equal(7, s:get("linger"))
    assert.equal(5000, s:get("user_timeout"))
    assert.same({ idle = 11, interval = 12, count = 3 }, s:get("keepalive"))
    s:set { keepalive = false, linger = false }
    assert.is_false(s:get("keepalive"))
    assert.is_false(s:get("linger"))
    s:set { rcvbuf = 20000, sndbuf = 20000 }
    assert.is_true(s:get("rcvbuf") >= 20000 and s:get("sndbuf") >= 20000)
    assert.equal(1, s:getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
    assert.equal(8, #s:getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8))
    local six = socket.has_ipv6() and new("inet6", "dgram")
    if six then
      six:set { v6only = true, ttl = 9, multicast_ttl = 3, multicast_loop = false, multicast_if = "lo" }
      assert.same({ true, 9, 3, false, socket.if_nametoindex("lo") }, { six:get("v6only"), six:get("ttl"),
        six:get("multicast_ttl"), six:get("multicast_loop"), six:get("multicast_if") })
    end
  end)

  it("say what they do not know", function()
    local s = new()
    helper.raises("unknown socket option 'delay' (known: broadcast, cork, keepalive,", s.set, s, { delay = true })
    helper.raises("unknown socket option 'delay'", s.get, s, "delay")
    helper.raises("socket option 'nodelay' must be a boolean, got a number", s.set, s, { nodelay = 1 })
    helper.raises("socket option 'ttl' must be a number, got a boolean", s.set, s, { ttl = true })
    helper.raises("unexpected keyword argument 'often'", s.set, s, { keepalive = { often = 1 } })
    helper.raises("a table of options was expected, got nil", s.set, s)
    assert.equal("EINVAL", helper.raises(asyncio.OSError, s.set, s, { ttl = 1000 }).code)
    assert.equal("ENODEV", helper.raises(asyncio.OSError, socket.if_nametoindex, "nope").code)
    helper.raises("sockets never block here", s.setblocking, s, true)
    s:setblocking(false)
    assert.is_false(s:getblocking())
    s:close()
    assert.equal("EBADF", helper.raises(asyncio.OSError, s.set, s, { nodelay = true }).code)
  end)
end)

describe("module socket", function()
  it("has the constants and the addresses' bytes", function()
    assert.same({ "inet", "stream", 6, 0 }, { socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, socket.SHUT_RD })
    assert.equal("\127\0\0\1", socket.inet_pton("inet", "127.0.0.1"))
    assert.equal("::1", socket.inet_ntop("inet6", ("\0"):rep(15) .. "\1"))
    assert.equal("EINVAL", helper.raises(asyncio.OSError, socket.inet_pton, "inet", "x").code)
    helper.raises("4 bytes of 'inet'", socket.inet_ntop, "inet", "x")
    assert.equal((helper.python("import socket; print(socket.gethostname())"):gsub("\n", "")), socket.gethostname())
  end)

  it("forwards look-ups to the loop", function()
    run(function()
      local infos = await(socket.getaddrinfo("127.0.0.1", 80, { type = "dgram" }))
      assert.same({ "inet", "dgram" }, { infos[1].family, infos[1].type })
      local s <close> = socket.socket(infos[1].family, infos[1].type, infos[1].proto)
      assert.equal("dgram", s.type)
      assert.equal("80", select(2, await(socket.getnameinfo({ "127.0.0.1", 80 }, 3))))
    end)
  end)

  it("takes over descriptors that were inherited, and a service manager's", function()
    local program = helper.tmpfile([[
import os, socket, sys
a = socket.socket(); a.bind(("127.0.0.1", 0)); a.listen()
b = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); b.bind(("127.0.0.1", 0))
os.dup2(a.fileno(), 20); os.dup2(b.fileno(), 21)
os.dup2(20, 3); os.dup2(21, 4)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="2", LISTEN_FDNAMES="web:")
os.execv(sys.argv[1], sys.argv[1:])
]], ".py")
    local script = helper.tmpfile([[
local socket = require "socket"
local sockets, names = socket.listen_fds()
assert(socket.listen_fds() == sockets)
for i, s in ipairs(sockets) do print(names[i], s:fileno(), s.family, s.type, s:get_inheritable()) end
local same = socket.fromfd(3)
print(same:getsockname().port == sockets[1]:getsockname().port, same:fileno() > 4)
for _, s in ipairs { same, table.unpack(sockets) } do s:close() end
]], ".lua")
    local status, out, err = helper.sh(("exec python3 %s %s %s"):format(program, helper.moonloop, script))
    assert.same({ 0, "web\t3\tinet\tstream\tfalse\nunknown\t4\tinet\tdgram\tfalse\ntrue\ttrue\n", "" }, { status, out, err })
    status, out = helper.sh(("LISTEN_PID=1 LISTEN_FDS=2 exec %s -e 'print(#require(\"socket\").listen_fds())'")
      :format(helper.moonloop))
    assert.same({ 0, "0\n" }, { status, out })
  end)

  it("talks to Python's sockets", function()
    local port = helper.unused_port()
    helper.background(("python3 %s %d"):format(helper.tmpfile([[
import socket, sys
s = socket.create_server(("127.0.0.1", int(sys.argv[1])))
while True:
    c, _ = s.accept()
    while data := c.recv(65536): c.sendall(data.upper())
    c.close()
]], ".py"), port))
    helper.wait_port(port)
    run(function()
      local c <close> = await(socket.create_connection("127.0.0.1", port))
      await(c:sendall("hello"))
      assert.equal("HELLO", await(c:recv(100)))
      c:shutdown("wr")
      assert.is_nil(await(c:recv(100)))
    end)
  end)

  it("passes a socket on to a child process", function()
    run(function()
      local a, b = socket.socketpair()
      helper.finally(a.close, a)
      helper.finally(b.close, b)
      assert.is_false(b:get_inheritable())
      b:set_inheritable(true)
      assert.is_true(b:get_inheritable())
      os.execute(("printf child >&%d"):format(b:fileno()))
      assert.equal("child", await(a:recv(10)))
    end)
  end)
end)
