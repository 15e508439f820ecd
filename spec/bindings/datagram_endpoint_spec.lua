local helper = require "spec.helper"
local asyncio = require "asyncio"

local opened = {}

--- asyncio.run; what `open` has opened is closed at the end.
local function run(f, how)
  return (how or asyncio.run)(async(function()
    opened = {}
    local result = table.pack(pcall(f))
    for _, ep in ipairs(opened) do
      ep:close()
      await(ep:wait_closed())
    end
    if not result[1] then error(result[2], 0) end
  end)())
end

local function open(opts)
  local ep = await(asyncio.open_datagram(opts))
  opened[#opened + 1] = ep
  return ep
end

--- Two endpoints on the loopback: one that is bound, one that is connected to it.
local function pair(opts)
  local all = { local_addr = { "127.0.0.1", 0 } }
  for k, v in pairs(opts or {}) do all[k] = v end
  local a = open(all)
  return a, open { remote_addr = a:get_extra_info("sockname") }
end

--- Lets what was sent on the loopback come in.
local function settle()
  for _ = 1, 3 do await(asyncio.sleep(0.001)) end
end

describe("a datagram endpoint", function()
  it("sends and receives, with addresses", function()
    run(function()
      local server, client = pair()
      assert.equal(true, client:send("hello"))
      local data, addr = await(server:recv())
      assert.equal("hello", data)
      assert.same(client:get_extra_info("sockname"), addr)
      assert.equal("127.0.0.1", addr.host)
      server:send("back", addr)
      server:send("again", { addr[1], addr[2] })
      data, addr = await(client:recv())
      assert.equal("back", data)
      assert.equal(tostring(server:get_extra_info("sockname")), tostring(addr))
      assert.equal("again", (await(client:recv())))
    end)
  end)

  it("keeps datagrams apart: empty ones, binary ones, the largest", function()
    run(function()
      local server, client = pair()
      local largest = ("\0\255"):rep(65507 // 2) .. "x"
      for _, data in ipairs { "", "\0", "a\nb", largest, "" } do
        client:send(data)
        assert.equal(data, (await(server:recv())))
      end
    end)
  end)

  it("gives the same address table for the same sender while somebody holds it", function()
    run(function()
      local server, one = pair()
      local two <close> = open { remote_addr = server:get_extra_info("sockname") }
      local seen, n = {}, 0
      for i = 1, 40 do
        local from = i % 2 == 0 and one or two
        from:send("x")
        local _, addr = await(server:recv())
        if not seen[addr] then
          seen[addr], n = true, n + 1
        end
        if i == 20 then collectgarbage() end
      end
      assert.equal(2, n)
    end)
  end)

  it("speaks IPv6", function()
    if not helper.ipv6() then return end
    run(function()
      local server <close> = open { local_addr = { "::1", 0 } }
      local client <close> = open { remote_addr = server:get_extra_info("sockname") }
      client:send("six")
      local data, addr = await(server:recv())
      assert.same({ "six", "::1" }, { data, addr.host })
      server:send("back", addr)
      assert.equal("back", (await(client:recv())))
      assert.matches("name=%[::1%]:%d+", tostring(server))
    end)
  end)

  it("gives what has come in order, many at a time", function()
    run(function()
      local server, client = pair()
      for round = 1, 30 do
        for i = 1, 40 do client:send(round .. ":" .. i) end
        for i = 1, 40 do assert.equal(round .. ":" .. i, (await(server:recv()))) end
      end
    end)
  end)

  it("does not suspend a task while datagrams are there", function()
    run(function()
      local server, client = pair()
      for i = 1, 20 do client:send("d" .. i) end
      helper.settle()
      assert(server:qsize() > 0)
      local order = {}
      asyncio.get_running_loop():call_soon(table.insert, order, "round")
      for _ = 1, server:qsize() do order[#order + 1] = await(server:recv()) end
      assert.equal("d1", order[1])
      for _, what in ipairs(order) do assert.not_equal("round", what) end
    end)
  end)

  it("is iterated until it is closed", function()
    run(function()
      local server, client = pair()
      local got = {}
      local task = asyncio.create_task(function()
        for data, addr in server:datagrams() do got[#got + 1] = data .. addr.host end
        for data in asyncio.aiter(server) do got[#got + 1] = data end
        return "ended"
      end)
      client:send("a")
      client:send("b")
      settle()
      server:close()
      assert.equal("ended", await(task))
      assert.same({ "a127.0.0.1", "b127.0.0.1" }, got)
      assert.equal(nil, await(server:recv()))
      assert.equal(0, select("#", server:recv_nowait()))
    end)
  end)

  it("takes one without waiting, if there is one", function()
    run(function()
      local server, client = pair()
      assert.equal(0, select("#", server:recv_nowait()))
      client:send("now")
      assert.equal("now", (server:recv_nowait())) -- loopback: it is there
      assert.equal(0, select("#", server:recv_nowait()))
    end)
  end)

  it("gives each waiting task one, first come first served", function()
    run(function()
      local server, client = pair()
      local order, tasks = {}, {}
      for i = 1, 5 do
        tasks[i] = asyncio.create_task(function()
          local data = await(server:recv())
          order[#order + 1] = i .. data
        end)
      end
      await(asyncio.sleep(0))
      for i = 1, 5 do client:send(string.char(96 + i)) end
      await(asyncio.gather(table.unpack(tasks)))
      assert.same({ "1a", "2b", "3c", "4d", "5e" }, order)
    end)
  end)

  it("loses no datagram to a cancel, whenever it comes", function()
    run(function()
      local server, client = pair()
      local got, sent = 0, 0
      for rounds = 0, 60 do
        local a = asyncio.create_task(server:recv())
        local b = asyncio.create_task(server:recv())
        await(asyncio.sleep(0))
        for _ = 1, 1 + rounds % 3 do
          client:send("x")
          sent = sent + 1
        end
        for _ = 1, rounds % 5 do await(asyncio.sleep(0)) end
        a:cancel()
        if rounds % 2 == 0 then b:cancel() end
        for _, task in ipairs { a, b } do
          if task == b and rounds % 2 == 1 then
            -- there may be none for it
            pcall(await, asyncio.wait_for(task, 0.02))
            if task:done() and not task:cancelled() then got = got + 1 end
          elseif asyncio.catch(await, task) then
            got = got + 1
          end
        end
      end
      settle()
      while server:recv_nowait() do got = got + 1 end
      assert.equal(sent, got)
    end)
  end)

  it("can be waited for with a time limit", function()
    run(function()
      local server = open { local_addr = { "127.0.0.1", 0 } }
      helper.raises(asyncio.TimeoutError, await, asyncio.wait_for(server:recv(), 3600))
      local task = asyncio.create_task(server:recv())
      local _, pending = await(asyncio.wait({ task }, { timeout = 3600 }))
      assert.same({ task }, pending)
      task:cancel()
      helper.raises(asyncio.CancelledError, await, task)
    end, helper.run)
  end)

  it("drops the oldest of a full queue, and counts", function()
    run(function()
      local server, client = pair { queue = 3 }
      for i = 1, 10 do client:send("d" .. i) end
      settle()
      assert.equal(3, server:qsize())
      assert.same({ 7, 0 }, { server:dropped() })
      for i = 8, 10 do assert.equal("d" .. i, (await(server:recv()))) end
    end)
  end)

  it("drops the newest if asked to", function()
    run(function()
      local server, client = pair { queue = 3, drop = "newest" }
      for i = 1, 10 do client:send("d" .. i) end
      settle()
      assert.equal(7, (server:dropped()))
      for i = 1, 3 do assert.equal("d" .. i, (await(server:recv()))) end
    end)
  end)

  it("bounds the bytes that wait too", function()
    run(function()
      local server, client = pair { queue_bytes = 1000 }
      for i = 1, 10 do client:send(tostring(i):rep(400)) end
      client:send(("x"):rep(2000)) -- more than all of the queue
      settle()
      assert(server:qsize() <= 2)
      assert.equal(11, server:qsize() + (server:dropped()))
    end)
  end)

  it("tells an ICMP error to whoever receives, and goes on", function()
    run(function()
      local port = helper.unused_port()
      local client <close> = open { remote_addr = { "127.0.0.1", port } }
      client:send("nobody")
      local e = helper.raises(asyncio.OSError, await, client:recv())
      assert.equal("ECONNREFUSED", e.code)
      assert.equal(("receive from 127.0.0.1:%d failed: connection refused"):format(port), e.message)
      assert.same({ "127.0.0.1", port }, { e.host, e.port })
      -- a second one arrives while another datagram is sent
      client:send("nobody")
      local server <close> = open { local_addr = { "127.0.0.1", port } }
      client:send("somebody")
      local data, addr = await(server:recv())
      assert.equal("somebody", data)
      server:send("back", addr)
      e = helper.raises(asyncio.OSError, await, client:recv())
      assert.equal("ECONNREFUSED", e.code)
      assert.equal("back", (await(client:recv())))
    end)
  end)

  it("raises what sending meets at once", function()
    run(function()
      local server, client = pair()
      local e = helper.raises(asyncio.OSError, client.send, client, ("x"):rep(65508))
      assert.equal("EMSGSIZE", e.code)
      assert.matches("^send to 127.0.0.1:%d+ failed: message too long$", e.message)
      e = helper.raises(asyncio.OSError, server.send, server, "x", { "255.255.255.255", 9 })
      assert.equal("EACCES", e.code)
      e = helper.raises(asyncio.OSError, server.send, server, "x", { "::1", 9 })
      assert.matches("send to %[::1%]:9 failed", e.message)
      client:send("fine")
      assert.equal("fine", (await(server:recv())))
    end)
  end)

  it("says what was expected", function()
    run(function()
      local server, client = pair()
      for _, case in ipairs {
        { asyncio.TypeError, "send: a string was expected, got nil" },
        { asyncio.TypeError, "send: a string was expected, got number", 5 },
        { asyncio.ValueError, "an address {ip, port} is needed: the socket is not connected", "x" },
        { asyncio.TypeError, "an address {ip, port} was expected, got string", "x", "127.0.0.1:5" },
        { asyncio.TypeError, "an address {ip, port} was expected, got {string, nil}", "x", { "127.0.0.1" } },
        { asyncio.TypeError, "an address {ip, port} was expected, got {nil, nil}", "x", {} },
        { asyncio.ValueError, "port must be 0-65535, got 70000", "x", { "127.0.0.1", 70000 } },
        { asyncio.ValueError, "'localhost' is not an IP address", "x", { "localhost", 7 } },
      } do
        local e = helper.raises(case[1], function() server:send(case[3], case[4]) end)
        assert.matches(case[2], e.message, 1, true)
        assert.matches("datagram_endpoint_spec.lua:%d+: ", e.message)
      end
      local e = helper.raises(asyncio.ValueError, client.send, client, "x", { "127.0.0.9", 9 })
      assert.matches("Invalid address: must be nil or 127.0.0.1:", e.message, 1, true)
      assert.equal(true, client:send("x", client:get_extra_info("peername")))
      assert.equal(false, pcall(server.recv))
      assert.equal(false, pcall(server.send, io.stdout, "x"))
    end)
  end)

  it("takes calls after close", function()
    run(function()
      local server, client = pair()
      client:close()
      client:close()
      assert.equal(true, client:is_closing())
      local e = helper.raises(asyncio.OSError, client.send, client, "x")
      assert.equal("EBADF", e.code)
      await(client:drain())
      await(client:wait_closed())
      await(client:wait_closed())
      client:abort()
      for _, f in ipairs { "set_ttl", "set_multicast_ttl" } do
        helper.raises(asyncio.OSError, client[f], client, 5)
      end
      helper.raises(asyncio.OSError, client.join_group, client, "239.1.1.1")
      assert.equal(-1, client:fileno())
      assert.matches("<DatagramEndpoint closed", tostring(client))
      local waiting = asyncio.create_task(server:recv())
      await(asyncio.sleep(0))
      server:abort()
      assert.equal(nil, await(waiting))
      await(server:wait_closed())
    end)
  end)

  it("warns when it is collected open, and closes itself", function()
    local _, out, err = helper.cli({ "-e", [[
      local asyncio = require "asyncio"
      asyncio.run(async(function()
        await(asyncio.open_datagram { local_addr = { "127.0.0.1", 0 } })
        collectgarbage() collectgarbage()
        await(asyncio.sleep(0))
      end))
      print(require("asyncio.core").stats().handles)
    ]] })
    assert.matches("ResourceWarning: unclosed <DatagramEndpoint name=127.0.0.1:%d+>: call close%(%)", err)
    assert.equal("0\n", out)
  end)

  it("is refused by its methods once it was collected: finalizers of scripts may still have it", function()
    local status, out = helper.cli({ "-e", [[
      local asyncio = require "asyncio"
      asyncio.run(async(function()
        local holder = setmetatable({}, { __gc = function(self)
          for _, name in ipairs { "send", "recv", "recv_nowait", "close", "fileno", "drain" } do
            local ok, e = pcall(self.ep[name], self.ep, "x", { "127.0.0.1", 9 })
            print(ok, (tostring(e):find("expected, got", 1, true)) ~= nil)
          end
        end })
        holder.ep = await(asyncio.open_datagram { local_addr = { "127.0.0.1", 0 } })
        holder = nil
        collectgarbage() collectgarbage()
        await(asyncio.sleep(0))
      end))
    ]] })
    assert.equal(0, status)
    assert.equal(("false\ttrue\n"):rep(6), out)
  end)

  it("may be open and waited for when its loop closes", function()
    local status, out = helper.cli({ "-e", [[
      local asyncio = require "asyncio"
      local loop = asyncio.new_event_loop()
      local ep
      loop:create_task(function()
        ep = await(asyncio.open_datagram { local_addr = { "127.0.0.1", 0 } })
        await(ep:recv())
      end)
      loop:call_later(0.05, loop.stop, loop)
      loop:run_forever()
      loop:close()
      print(ep:is_closing(), pcall(ep.send, ep, "x", { "127.0.0.1", 9 }))
      ep:close()
      print(pcall(asyncio.run, async(function() return await(ep:recv()) end)()))
    ]] })
    assert.equal(0, status)
    assert.matches("^true\tfalse\t.*EBADF?", out:gsub("bad file descriptor", "EBADF"))
    assert.matches("\ntrue\tnil\n$", out)
  end)

  it("is not received from on another loop", function()
    local loop = asyncio.new_event_loop()
    local ep = loop:run_until_complete(asyncio.open_datagram { local_addr = { "127.0.0.1", 0 } })
    run(function()
      helper.raises("the endpoint belongs to a different loop", await, ep:recv())
    end)
    loop:run_until_complete(async(function()
      ep:close()
      await(ep:wait_closed())
    end)())
    loop:close()
  end)

  it("has the options of UDP", function()
    run(function()
      local ep <close> = open { local_addr = { "127.0.0.1", 0 } }
      ep:set_ttl(5)
      ep:set_multicast_ttl(0)
      ep:set_multicast_loopback(true)
      ep:set_broadcast(true)
      for _, bad in ipairs { 0, 256, "x", 1.5 } do
        helper.raises(asyncio.ValueError, ep.set_ttl, ep, bad)
      end
      local low, high = ep:get_write_buffer_limits()
      assert.same({ 16384, 65536 }, { low, high })
      ep:set_write_buffer_limits { high = 100, low = 10 }
      assert.same({ 10, 100 }, { ep:get_write_buffer_limits() })
      helper.raises(asyncio.ValueError, ep.set_write_buffer_limits, ep, 1, 2)
      assert.equal(0, ep:get_write_buffer_size())
      assert.equal("default", ep:get_extra_info("peername", "default"))
      assert(ep:fileno() > 2)
    end)
  end)

  it("joins and leaves groups", function()
    run(function()
      local group = "239.255.77.7"
      local member <close> = open { local_addr = { group, 0 } }
      local port = member:get_extra_info("sockname").port
      member:join_group(group, { interface = "lo" })
      local sender <close> = open { local_addr = { "127.0.0.1", 0 } }
      sender:set_multicast_interface("127.0.0.1")
      sender:set_multicast_loopback(true)
      sender:send("to all", { group, port })
      assert.equal("to all", (await(asyncio.wait_for(member:recv(), 60 * helper.slow))))
      local e = helper.raises(asyncio.OSError, member.join_group, member, group, { interface = "127.0.0.1" })
      assert.equal("EADDRINUSE", e.code)
      assert.matches("join_group " .. group .. " failed", e.message, 1, true)
      member:leave_group(group, { interface = "lo" })
      e = helper.raises(asyncio.OSError, member.leave_group, member, group, { interface = "lo" })
      assert.equal("EADDRNOTAVAIL", e.code)
      for _, case in ipairs {
        { asyncio.ValueError, "'x' is not an IP address", "x" },
        { asyncio.TypeError, "the address of a group was expected", 5 },
        { asyncio.ValueError, "there is no interface 'nosuch0'", group, { interface = "nosuch0" } },
        { asyncio.TypeError, "unexpected keyword argument 'iface'", group, { iface = "lo" } },
      } do
        e = helper.raises(case[1], member.join_group, member, case[3], case[4])
        assert.matches(case[2], e.message, 1, true)
      end
    end)
  end)

  it("collects garbage in between and stays whole", function()
    run(function()
      local server, client = pair()
      local task = asyncio.create_task(function()
        for data, addr in server:datagrams() do
          collectgarbage()
          server:send(data, addr)
        end
      end)
      for i = 1, 20 do
        client:send("x" .. i)
        collectgarbage()
        assert.equal("x" .. i, (await(client:recv())))
      end
      server:close()
      await(task)
    end)
  end)
end)
