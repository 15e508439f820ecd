--- loop:create_datagram_endpoint with protocol tables, and what opening an endpoint takes.

local helper = require "spec.helper"
local asyncio = require "asyncio"

local function run(f) return asyncio.run(async(f)()) end

--- A protocol that notes its calls in `log`, after those of `more`.
local function recorder(more)
  local p = { log = {}, data = asyncio.Queue(), lost = asyncio.get_running_loop():create_future() }
  for _, name in ipairs { "connection_made", "datagram_received", "error_received", "pause_writing", "resume_writing",
    "connection_lost" } do
    p[name] = function(self, ...)
      self.log[#self.log + 1] = name
      if more and more[name] then more[name](self, ...) end
      if name == "connection_made" then self.transport = ... end
      if name == "datagram_received" then self.data:put_nowait { ... } end
      if name == "connection_lost" then self.lost:set_result(select("#", ...) == 1 and (...) == nil) end
      if name == "error_received" then self.error = ... end
    end
  end
  return p
end

local function create(opts, more)
  local loop = asyncio.get_running_loop()
  return await(loop:create_datagram_endpoint(function() return recorder(more) end, opts))
end

local LOCAL = { local_addr = { "127.0.0.1", 0 } }

describe("create_datagram_endpoint", function()
  it("calls the protocol in order", function()
    run(function()
      local st, server = create(LOCAL)
      assert.same({ "connection_made" }, server.log)
      assert.equal(st, server.transport)
      assert.equal(server, st:get_protocol())
      local ct, client = create { remote_addr = st:get_extra_info("sockname") }
      ct:sendto("hello")
      local data, addr = table.unpack(await(server.data:get()))
      assert.same({ "hello", ct:get_extra_info("sockname") }, { data, addr })
      st:sendto("back", addr)
      assert.equal("back", await(client.data:get())[1])
      ct:close()
      assert.equal(true, ct:is_closing())
      assert.equal(true, await(client.lost))
      assert.same({ "connection_made", "datagram_received", "connection_lost" }, client.log)
      st:abort()
      assert.equal(true, await(server.lost))
    end)
  end)

  it("gives many datagrams in order, and stops at close", function()
    run(function()
      local st, server = create(LOCAL, {
        datagram_received = function(self, data) if data == "25" then self.transport:close() end end,
      })
      local ct = create { remote_addr = st:get_extra_info("sockname") }
      for i = 1, 40 do ct:sendto(tostring(i)) end
      await(server.lost)
      assert.equal(25, server.data:qsize())
      for i = 1, 25 do assert.equal(tostring(i), server.data:get_nowait()[1]) end
      ct:close()
    end)
  end)

  it("tells error_received of ICMP errors and of datagrams that are too long, and goes on", function()
    run(function()
      local port = helper.unused_port()
      local ct, client = create { remote_addr = { "127.0.0.1", port } }
      ct:sendto("nobody")
      helper.eventually(function() return client.error end)
      assert.equal("ECONNREFUSED", client.error.code)
      ct:sendto(("x"):rep(65508))
      assert.equal("EMSGSIZE", client.error.code)
      assert.equal(false, ct:is_closing())
      local st, server = create { local_addr = { "127.0.0.1", port } }
      ct:sendto("now")
      assert.equal("now", await(server.data:get())[1])
      st:close()
      ct:close()
      await(asyncio.gather(server.lost, client.lost))
    end)
  end)

  it("reports what a method raises, and goes on", function()
    run(function()
      local loop, reports = asyncio.get_running_loop(), {}
      loop:set_exception_handler(function(_, context) reports[#reports + 1] = context end)
      local st, server = create(LOCAL, {
        datagram_received = function(_, data) if data == "bad" then error("oops", 0) end end,
      })
      local ct = create { remote_addr = st:get_extra_info("sockname") }
      ct:sendto("bad")
      ct:sendto("good")
      assert.equal("good", await(server.data:get())[1])
      assert.equal(1, #reports)
      assert.equal("protocol.datagram_received() failed", reports[1].message)
      assert.same({ "oops", st, server }, { reports[1].exception, reports[1].transport, reports[1].protocol })
      st:close()
      ct:close()
    end)
  end)

  it("needs no method of a protocol", function()
    run(function()
      local loop = asyncio.get_running_loop()
      local transport = await(loop:create_datagram_endpoint(function() return {} end, LOCAL))
      transport:sendto("to itself", transport:get_extra_info("sockname"))
      helper.settle()
      transport:close()
      await(asyncio.sleep(0))
    end)
  end)

  it("closes the socket when the factory fails", function()
    run(function()
      local loop = asyncio.get_running_loop()
      helper.raises("no", await, loop:create_datagram_endpoint(function() error("no") end, LOCAL))
      local e = helper.raises(asyncio.TypeError, await, loop:create_datagram_endpoint(function() return 5 end, LOCAL))
      assert.matches("protocol_factory must give a table, got a number", e.message, 1, true)
      helper.raises(asyncio.TypeError, loop.create_datagram_endpoint, loop, 5, LOCAL)
    end)
  end)

  it("is cancelled in any round", function()
    run(function()
      for rounds = 0, 4 do
        local task = asyncio.create_task(function() return create { local_addr = { "localhost", 0 } } end)
        for _ = 1, rounds do await(asyncio.sleep(0)) end
        task:cancel()
        local ok, transport = asyncio.catch(await, task)
        if ok then transport:close() end
      end
    end)
  end)

  it("closes with its scope, and drops what is sent later", function()
    run(function()
      local transport, protocol
      do
        local t <close> = create(LOCAL)
        transport, protocol = t, t:get_protocol()
      end
      await(protocol.lost)
      for _ = 1, 3 do transport:sendto("x", { "127.0.0.1", 9 }) end
      transport:close()
      transport:abort()
      assert.matches("^<DatagramTransport closed", tostring(transport))
    end)
  end)

  it("keeps an open transport alive, and lets go of a closed one", function()
    run(function()
      local seen = setmetatable({}, { __mode = "k" })
      local function make()
        local t = create(LOCAL)
        seen[t] = true
        return t:get_extra_info("sockname")
      end
      local addr = make()
      collectgarbage()
      collectgarbage()
      local t = assert(next(seen))
      t:sendto("still there", addr)
      assert.equal("still there", await(t:get_protocol().data:get())[1])
      t:close()
      await(t:get_protocol().lost)
    end)
  end)

  it("says what was expected", function()
    run(function()
      local transport = create(LOCAL)
      for _, case in ipairs {
        { asyncio.TypeError, "sendto: a string was expected, got nil" },
        { asyncio.ValueError, "sendto: an address {ip, port} is needed", "x" },
        { asyncio.TypeError, "sendto: an address {ip, port} was expected, got number", "x", 5 },
      } do
        local e = helper.raises(case[1], function() transport:sendto(case[3], case[4]) end)
        assert.matches(case[2], e.message, 1, true)
      end
      transport:close()
    end)
  end)
end)

describe("opening a datagram socket", function()
  it("looks names up, and takes the first family that both ends have", function()
    run(function()
      local loop = asyncio.get_running_loop()
      loop:set_resolver(function(host)
        return host == "both.test" and { "::1", "127.0.0.1" } or { "127.0.0.1" }
      end)
      local ep <close> = await(asyncio.open_datagram {
        local_addr = { "both.test", 0 }, remote_addr = { "four.test", 9 },
      })
      assert.equal("127.0.0.1", ep:get_extra_info("sockname").host)
      assert.equal("127.0.0.1", ep:get_extra_info("peername").host)
      local e = helper.raises(asyncio.ValueError, await,
        asyncio.open_datagram { local_addr = { "::1", 0 }, remote_addr = { "four.test", 9 } })
      assert.equal("can not get address information", e.message)
      e = helper.raises(asyncio.OSError, await, asyncio.open_datagram {
        local_addr = { "four.test", 0 }, family = "inet6",
      })
      assert.matches("empty list", e.message)
    end)
  end)

  it("names the address that cannot be bound", function()
    run(function()
      local ep <close> = await(asyncio.open_datagram(LOCAL))
      local addr = ep:get_extra_info("sockname")
      local e = helper.raises(asyncio.OSError, await, asyncio.open_datagram { local_addr = addr })
      assert.equal(("bind to 127.0.0.1:%d failed: address already in use"):format(addr.port), e.message)
      assert.same({ "EADDRINUSE", "127.0.0.1", addr.port }, { e.code, e.host, e.port })
      e = helper.raises(asyncio.OSError, await, asyncio.open_datagram { local_addr = { "192.0.2.1", 5 } })
      assert.equal("EADDRNOTAVAIL", e.code)
    end)
  end)

  it("shares a port with reuse_port", function()
    run(function()
      local one <close> = await(asyncio.open_datagram { local_addr = { "127.0.0.1", 0 }, reuse_port = true })
      local two <close> = await(asyncio.open_datagram {
        local_addr = one:get_extra_info("sockname"), reuse_port = true,
      })
      assert.same(one:get_extra_info("sockname"), two:get_extra_info("sockname"))
    end)
  end)

  it("does not connect with allow_broadcast, but sends there", function()
    run(function()
      local server <close> = await(asyncio.open_datagram(LOCAL))
      local ep <close> = await(asyncio.open_datagram {
        remote_addr = server:get_extra_info("sockname"), allow_broadcast = true,
      })
      assert.equal(nil, ep:get_extra_info("peername"))
      ep:send("there")
      assert.equal("there", (await(server:recv())))
      helper.raises(asyncio.ValueError, ep.send, ep, "x", { "127.0.0.9", 9 })
    end)
  end)

  it("is bound by its first datagram when only the family is given", function()
    run(function()
      local server <close> = await(asyncio.open_datagram(LOCAL))
      local ep <close> = await(asyncio.open_datagram { family = "inet" })
      ep:send("x", server:get_extra_info("sockname"))
      local _, addr = await(server:recv())
      assert.equal(ep:get_extra_info("sockname").port, addr.port)
      local six <close> = await(asyncio.open_datagram { family = "inet6" })
      assert.equal("::", six:get_extra_info("sockname").host)
    end)
  end)

  it("refuses what is no datagram socket", function()
    run(function()
      local e = helper.raises(asyncio.ValueError, asyncio.open_datagram, { sock = 5, reuse_port = true })
      assert.matches("socket modifier keyword arguments can not be used when sock is specified (reuse_port)", e.message,
        1, true)
      helper.raises(asyncio.TypeError, asyncio.open_datagram, { sock = "x" })
      helper.raises(asyncio.TypeError, asyncio.open_datagram, { sock = -1 })
      local file <close> = assert(io.open(helper.tmpfile()))
      assert(file)
      e = helper.raises(asyncio.OSError, await, asyncio.open_datagram { sock = 999999 })
      assert.equal("EBADF", e.code)
      assert.matches("open of a datagram socket failed: ", e.message, 1, true)
    end)
  end)

  it("says which options are wrong", function()
    run(function()
      for _, case in ipairs {
        { asyncio.ValueError, "unexpected address family" },
        { asyncio.ValueError, "unexpected address family", {} },
        { asyncio.TypeError, "options must be a table, got a number", 5 },
        { asyncio.TypeError, "unexpected keyword argument 'port'", { port = 5 } },
        { asyncio.TypeError, "local_addr must be {host, port}, got a string", { local_addr = "127.0.0.1" } },
        { asyncio.TypeError, "host must be a string, got a number", { local_addr = { 5, 5 } } },
        { asyncio.ValueError, "port must be 0-65535, got 65536", { remote_addr = { "127.0.0.1", 65536 } } },
        { asyncio.ValueError, "family must be", { family = "unix" } },
        { asyncio.ValueError, "drop must be 'oldest' or 'newest', got 'all'", { family = "inet", drop = "all" } },
        { asyncio.ValueError, "queue must be a positive integer, got 0", { family = "inet", queue = 0 } },
        { asyncio.ValueError, "queue_bytes must be a positive integer", { family = "inet", queue_bytes = "x" } },
      } do
        local e = helper.raises(case[1], function() asyncio.open_datagram(case[3]) end)
        assert.matches(case[2], e.message, 1, true)
        assert.matches("datagrams_spec.lua:%d+: ", e.message)
      end
    end)
  end)
end)

--- Runs a script with the two ends of a socketpair as its arguments. UDP over the loopback never waits: what is sent
--- is received, or dropped, at once. A unix socket waits when the other end's queue is full.
local function with_socketpair(script)
  local path = helper.tmpfile(script)
  local status, out, err = helper.sh("exec python3 -", ([[
import os, socket
a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
for s in (a, b):
    os.set_inheritable(s.fileno(), True)
os.execv(%q, [%q, %q, str(a.fileno()), str(b.fileno())])
]]):format(helper.moonloop, helper.moonloop, path))
  assert.equal("", err)
  assert.equal(0, status)
  return out
end

describe("a socket that is there", function()
  it("is taken over; what does not fit waits, is counted, drained and sent in order", function()
    assert.equal([[
dropped
drained true
in order true
closed
]], with_socketpair [[
      local asyncio = require "asyncio"
      asyncio.run(async(function()
        local a = await(asyncio.open_datagram { sock = math.tointeger(tonumber(arg[1])) })
        local socket = { detach = function() return math.tointeger(tonumber(arg[2])) end } -- as socket objects have it
        local b = await(asyncio.open_datagram { sock = socket, queue = 100000 })
        a:set_write_buffer_limits { high = 20000, low = 1000 }
        local sent = 0
        while a:send(("%d "):format(sent + 1) .. ("x"):rep(1000)) do sent = sent + 1 end
        local _, dropped = a:dropped()
        print(dropped == 1 and a:get_write_buffer_size() > 19000 and "dropped")
        local cancelled = asyncio.create_task(a:drain())
        await(asyncio.sleep(0))
        cancelled:cancel()
        await(a:drain())
        print("drained " .. tostring(a:get_write_buffer_size() <= 1000))
        local ordered = true
        for i = 1, sent do ordered = ordered and (await(b:recv())):match("^%d+") == tostring(i) end
        print("in order " .. tostring(ordered))
        while a:send(("x"):rep(1000)) do end
        a:close() -- what waits is sent first
        await(a:wait_closed())
        b:close()
        await(b:wait_closed())
        print("closed")
      end))
    ]])
  end)

  it("pauses and resumes a protocol", function()
    assert.equal([[
pause_writing
resume_writing
connection_lost
]], with_socketpair [[
      local asyncio = require "asyncio"
      asyncio.run(async(function()
        local loop = asyncio.get_running_loop()
        local resumed, lost = loop:create_future(), loop:create_future()
        local protocol = {
          pause_writing = function(self) self.paused = true print("pause_writing") end,
          resume_writing = function() print("resume_writing") resumed:set_result(true) end,
          connection_lost = function() print("connection_lost") lost:set_result(true) end,
        }
        local transport = await(loop:create_datagram_endpoint(function() return protocol end,
          { sock = math.tointeger(tonumber(arg[1])) }))
        transport:set_write_buffer_limits { high = 20000 }
        while not protocol.paused do transport:sendto(("x"):rep(1000)) end
        for _ = 1, 10 do transport:sendto(("x"):rep(1000)) end
        local b <close> = await(asyncio.open_datagram { sock = math.tointeger(tonumber(arg[2])) })
        await(resumed)
        transport:close()
        await(lost)
      end))
    ]])
  end)

  it("drops what waits on abort, and when its loop closes", function()
    assert.equal("true\ntrue\n", with_socketpair [[
      local asyncio = require "asyncio"
      local loop = asyncio.new_event_loop()
      loop:run_until_complete(async(function()
        local b = await(asyncio.open_datagram { sock = math.tointeger(tonumber(arg[2])) })
        while b:send(("x"):rep(1000)) do end
        print(b:get_write_buffer_size() > 0)
        b:abort()
        await(b:wait_closed())
        A = await(asyncio.open_datagram { sock = math.tointeger(tonumber(arg[1])) })
        pcall(function() while A:send(("x"):rep(1000)) do end end)
      end)())
      loop:close()
      print(A:is_closing())
    ]])
  end)
end)
