local helper = require "spec.helper"
local asyncio = require "asyncio"

local function run(f)
  return asyncio.run(async(f)())
end

--- A connected pair: client reader, writer, server reader, writer. `server` is closed with them.
local function pair(opts, server_opts)
  local accepted = asyncio.get_running_loop():create_future()
  local server = await(asyncio.start_server(function(r, w)
    accepted:set_result { r, w }
    await(w:wait_closed())
  end, "127.0.0.1", 0, server_opts))
  local r, w = await(asyncio.open_connection("127.0.0.1", server.sockets[1].port, opts))
  local other = await(accepted)
  server:close()
  return r, w, other[1], other[2], server
end

local function finish(server, ...)
  for _, w in ipairs { ... } do
    w:close()
    pcall(await, w:wait_closed())
  end
  await(asyncio.wait_for(server:wait_closed(), 60 * helper.slow))
end

--- Writes until the kernel takes no more.
local function fill(w)
  local n = 0
  repeat
    w:write(("x"):rep(100000))
    n = n + 100000
  until w.transport:get_write_buffer_size() > 0
  return n
end

--- Connects to a python3 that runs `code` with `conn`, an accepted socket.
local function python_peer(code)
  local port = helper.unused_port()
  helper.background("python3 -c " .. helper.quote(([[
import socket, struct, sys, time
s = socket.create_server(("127.0.0.1", %d))
conn, _ = s.accept()
%s]]):format(port, code)))
  for _ = 1, 3000 * helper.slow do
    local ok, r, w = pcall(function() return await(asyncio.open_connection("127.0.0.1", port)) end)
    if ok then return r, w, port end
    await(asyncio.sleep(0.02))
  end
  error("the peer did not start")
end

describe("StreamWriter", function()
  it("writes strings and arrays of strings", function()
    run(function()
      local _, w, r, w2, server = pair()
      w:write("one ")
      w:writelines { "two ", "", "three" }
      w:write("")
      w:write_eof()
      assert.equal("one two three", await(r:read()))
      finish(server, w, w2)
    end)
  end)

  it("sends more in one writelines than one system call takes", function()
    run(function()
      local _, w, r, w2, server = pair()
      local lines = {}
      for i = 1, 3000 do lines[i] = ("%d "):format(i) end
      w:writelines(lines)
      w:write_eof()
      assert.equal(table.concat(lines), await(r:read()))
      finish(server, w, w2)
    end)
  end)

  it("refuses what is no string", function()
    run(function()
      local _, w, _, w2, server = pair()
      local e = helper.raises(asyncio.TypeError, w.write, w, {})
      assert.matches("data must be a string, got table", e.message, 1, true)
      helper.raises(asyncio.TypeError, w.write, w)
      helper.raises(asyncio.TypeError, w.write, w, 5)
      helper.raises(asyncio.TypeError, w.writelines, w, "x")
      assert.matches("item 2", helper.raises(asyncio.TypeError, w.writelines, w, { "x", 5 }).message, 1, true)
      finish(server, w, w2)
    end)
  end)

  it("ends its side alone", function()
    run(function()
      local r, w, r2, w2, server = pair()
      assert.is_true(w:can_write_eof())
      w:write("question")
      w:write_eof()
      w:write_eof()
      assert.equal("question", await(r2:read()))
      assert.is_true(r2:at_eof())
      local e = helper.raises(asyncio.RuntimeError, w.write, w, "more")
      assert.matches("Cannot call write() after write_eof()", e.message, 1, true)
      w2:write("answer")
      w2:close()
      assert.equal("answer", await(r:read()))
      finish(server, w, w2)
    end)
  end)

  it("ends its side after what is buffered", function()
    run(function()
      local _, w, r2, w2, server = pair()
      local n = fill(w)
      w:write_eof()
      assert.equal(n, #await(r2:read()))
      finish(server, w, w2)
    end)
  end)

  it("flushes at close", function()
    run(function()
      local _, w, r2, w2, server = pair()
      local n = fill(w)
      assert.is_false(w:is_closing())
      w:close()
      assert.is_true(w:is_closing())
      local waiter = asyncio.create_task(w:wait_closed())
      await(asyncio.sleep(0.01))
      assert.is_false(waiter:done())
      assert.equal(n, #await(r2:read()))
      await(waiter)
      await(w:wait_closed())
      finish(server, w, w2)
    end)
  end)

  it("drops what is buffered when it is aborted", function()
    run(function()
      local r, w, r2, w2, server = pair()
      local n = fill(w)
      local reading = asyncio.create_task(r:read(1))
      w.transport:abort()
      await(w:wait_closed())
      assert.is_nil(await(reading))
      assert.is_true(#await(r2:read()) < n)
      finish(server, w, w2)
    end)
  end)

  it("gives the reader its end when it is closed", function()
    run(function()
      local r, w, _, w2, server = pair()
      w:close()
      await(w:wait_closed())
      assert.is_true(r:at_eof())
      assert.equal("", await(r:read()))
      finish(server, w, w2)
    end)
  end)

  it("wakes everyone who waits in it when it is closed", function()
    run(function()
      local r, w, _, w2, server = pair()
      local tasks = {
        asyncio.create_task(r:read(1)), asyncio.create_task(w:wait_closed()), asyncio.create_task(w:wait_closed()),
      }
      await(asyncio.sleep(0.01))
      w:close()
      await(asyncio.wait_for(asyncio.gather(tasks), 60 * helper.slow))
      finish(server, w, w2)
    end)
  end)

  it("is closed by <close>, what it wrote is sent", function()
    run(function()
      local _, w, r2, w2, server = pair()
      do
        local writer <close> = w
        writer:write("last words")
      end
      assert.is_true(w:is_closing())
      assert.equal("last words", await(r2:read()))
      finish(server, w2)
    end)
  end)

  it("closes twice", function()
    run(function()
      local _, w, _, w2, server = pair()
      w:close()
      w:close()
      finish(server, w, w2)
    end)
  end)

  it("has writes after the end dropped, and warns of the fifth", function()
    local port = helper.unused_port()
    local status, _, err = helper.cli({ "-e", ([[
      local asyncio = require "asyncio"
      local s = await(asyncio.start_server(function(r, w) w:close() end, "127.0.0.1", %d))
      local r, w = await(asyncio.open_connection("127.0.0.1", %d))
      w:close()
      for i = 1, 4 do w:write("x") end
      io.stderr:write("now\n")
      w:write("x")
      w:write("x")
      await(w:wait_closed())
      s:close()]]):format(port, port) })
    assert.equal(0, status)
    assert.equal("now\nsocket.send() raised exception.\nsocket.send() raised exception.\n", err)
  end)

  it("names both ends", function()
    run(function()
      local _, w, _, w2, server = pair()
      local here, there = w:get_extra_info("sockname"), w:get_extra_info("peername")
      assert.equal("127.0.0.1", here[1])
      assert.equal(here.port, w2:get_extra_info("peername")[2])
      assert.equal(there.port, w2:get_extra_info("sockname").port)
      assert.equal("127.0.0.1:" .. there.port, tostring(there))
      assert.equal("x", w:get_extra_info("cipher", "x"))
      assert.is_nil(w:get_extra_info("sslcontext"))
      local socket = w:get_extra_info("socket")
      assert.equal(socket, w:get_extra_info("socket"))
      assert.equal(here.port, select(2, socket:getsockname()))
      assert.is_true(socket:fileno() > 2)
      assert.equal(1, socket:getsockopt("TCP_NODELAY"))
      socket:setsockopt("SO_KEEPALIVE", true)
      assert.equal(1, socket:getsockopt("SO_KEEPALIVE"))
      finish(server, w, w2)
      assert.equal("127.0.0.1", w:get_extra_info("peername").host)
      assert.equal(-1, socket:fileno())
    end)
  end)

  it("has one transport", function()
    run(function()
      local _, w, _, w2, server = pair()
      assert.equal(w.transport, w.transport)
      assert.is_nil(w.nothing)
      assert.matches("^<StreamWriter open peer=127.0.0.1:%d+ bufsize=0>$", tostring(w))
      finish(server, w, w2)
      assert.matches("^<Transport closed", tostring(w.transport))
    end)
  end)

  it("that is dropped while open is closed, with a warning", function()
    local status, out, err = helper.cli({ "-e", [[
      local asyncio = require "asyncio"
      asyncio.run(async(function()
        local got = asyncio.get_running_loop():create_future()
        local s = await(asyncio.start_server(function(r, w)
          got:set_result(await(r:read()))
          w:close()
        end, "127.0.0.1", 0))
        do
          local r, w = await(asyncio.open_connection("127.0.0.1", s.sockets[1].port))
          w:write("hi")
        end
        collectgarbage() collectgarbage()
        print(await(got))
        s:close()
        await(s:wait_closed())
      end)())]] })
    assert.equal(0, status)
    assert.equal("hi\n", out)
    assert.matches("^ResourceWarning: unclosed <StreamWriter peer=127.0.0.1:%d+>", err)
  end)
end)

describe("the addresses of a connection over IPv6", function()
  it("are known on both sides, and when it is closed", function()
    if not helper.ipv6() then return end
    run(function()
      local there
      local server = await(asyncio.start_server(function(r, w)
        there = w
        await(r:read())
        w:close()
      end, "::1", 0))
      local port = server.sockets[1].port
      local r, w = await(asyncio.open_connection("::1", port))
      local here = w:get_extra_info("sockname")
      assert.equal("::1", here.host)
      assert.equal("[::1]:" .. port, tostring(w:get_extra_info("peername")))
      w:write_eof()
      await(r:read())
      server:close()
      finish(server, w, there)
      for _, side in ipairs { { w, "sockname", "peername" }, { there, "peername", "sockname" } } do
        assert.equal(here.port, side[1]:get_extra_info(side[2]).port)
        assert.equal("[::1]:" .. port, tostring(side[1]:get_extra_info(side[3])))
        assert.matches("peer=%[::1%]:%d+", tostring(side[1]))
      end
    end)
  end)
end)

describe("StreamWriter:drain", function()
  it("returns at once below the high-water mark", function()
    run(function()
      local _, w, _, w2, server = pair()
      local turns = 0
      local task = asyncio.create_task(async(function()
        while true do
          turns = turns + 1
          await(asyncio.sleep(0))
        end
      end)())
      w:write("x")
      await(w:drain())
      await(w:drain())
      assert.equal(0, turns)
      task:cancel()
      finish(server, w, w2)
    end)
  end)

  it("waits above it, for several tasks at once", function()
    run(function()
      local _, w, r2, w2, server = pair()
      fill(w)
      fill(w)
      local tasks = {}
      for i = 1, 10 do tasks[i] = asyncio.create_task(w:drain()) end
      await(asyncio.sleep(0.01))
      for i = 1, 10 do assert.is_false(tasks[i]:done()) end
      tasks[3]:cancel()
      local reading = asyncio.create_task(r2:read())
      for i = 1, 10 do
        if i ~= 3 then await(asyncio.wait_for(tasks[i], 60 * helper.slow)) end
      end
      assert.is_true(tasks[3]:cancelled())
      assert.is_true(w.transport:get_write_buffer_size() <= 16384)
      w:close()
      await(reading)
      finish(server, w, w2)
    end)
  end)

  it("raises when the connection was closed here", function()
    run(function()
      local _, w, _, w2, server = pair()
      w:close()
      w:write("data")
      local e = helper.raises(asyncio.OSError, await, w:drain())
      assert.equal("ECONNRESET", e.code)
      assert.equal("Connection lost", e.message)
      finish(server, w, w2)
    end)
  end)

  it("reports a peer that is gone", function()
    run(function()
      local _, w = python_peer("conn.close()")
      local e = helper.raises(asyncio.OSError, function()
        for _ = 1, 100000 do
          w:write("foo\n")
          await(w:drain())
        end
      end)
      assert.is_true(e.code == "ECONNRESET" or e.code == "EPIPE", e.code)
      w:close()
      pcall(await, w:wait_closed())
    end)
  end)
end)

describe("a reset by the peer", function()
  local reset = [[
conn.recv(1)
conn.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
conn.close()
]]

  it("is raised by reads, with the peer's name, by drain and wait_closed", function()
    run(function()
      local r, w, port = python_peer(reset)
      w:write("x")
      local e = helper.raises(asyncio.OSError, await, r:read(10))
      assert.equal("ECONNRESET", e.code)
      assert.equal(("read from 127.0.0.1:%d failed: connection reset by peer"):format(port), e.message)
      assert.equal("127.0.0.1", e.host)
      assert.equal(port, e.port)
      assert.equal("ECONNRESET", helper.raises(asyncio.OSError, await, r:readline()).code)
      assert.equal("ECONNRESET", r:exception().code)
      helper.raises(asyncio.OSError, await, w:drain())
      await(asyncio.sleep(0))
      assert.equal(r:exception(), helper.raises(asyncio.OSError, await, w:wait_closed()))
      assert.is_true(w:is_closing())
    end)
  end)

  it("wakes the tasks that wait", function()
    run(function()
      for _, call in ipairs { { "readline" }, { "read" }, { "readexactly", 5 }, { "readuntil", "x" } } do
        local r, w = python_peer(reset)
        local reading = asyncio.create_task(r[call[1]](r, call[2]))
        local closed = asyncio.create_task(w:wait_closed())
        await(asyncio.sleep(0))
        w:write("x")
        assert.equal("ECONNRESET", helper.raises(asyncio.OSError, await, reading).code)
        assert.equal("ECONNRESET", helper.raises(asyncio.OSError, await, closed).code)
      end
    end)
  end)
end)

describe("backpressure", function()
  it("stops reading at twice the limit and goes on below it", function()
    run(function()
      local r, w, _, w2, server = pair { limit = 4096 }
      local sent = 0
      for _ = 1, 3 do
        w2:write(("a"):rep(4096))
        sent = sent + 4096
      end
      assert.is_true(helper.eventually(function() return not w.transport:is_reading() end))
      sent = sent + fill(w2)
      w2:close()
      local got = 0
      while true do
        local data = await(r:read(1000))
        if not data then break end
        got = got + #data
      end
      assert.equal(sent, got)
      finish(server, w, w2)
    end)
  end)

  it("does not keep readexactly from more than the limit", function()
    run(function()
      local r, w, _, w2, server = pair { limit = 100 }
      w2:write(("b"):rep(1000000))
      await(asyncio.sleep(0.05))
      assert.equal(1000000, #await(asyncio.wait_for(r:readexactly(1000000), 60 * helper.slow)))
      finish(server, w, w2)
    end)
  end)

  it("is pause_reading and resume_reading for scripts", function()
    run(function()
      local r, w, _, w2, server = pair()
      local transport = w.transport
      assert.is_true(transport:is_reading())
      transport:pause_reading()
      transport:pause_reading()
      assert.is_false(transport:is_reading())
      w2:write("later")
      local reading = asyncio.create_task(r:read(10))
      await(asyncio.sleep(0.02))
      assert.is_false(reading:done())
      transport:resume_reading()
      transport:resume_reading()
      assert.equal("later", await(reading))
      finish(server, w, w2)
    end)
  end)
end)

describe("cancelling", function()
  it("a read loses nothing that comes", function()
    run(function()
      local r, w, _, w2, server = pair()
      local got = {}
      for i = 1, 200 do
        local task = asyncio.create_task(r:read(100))
        await(asyncio.sleep(0))
        w2:write(i .. " ")
        if i % 3 == 0 then await(asyncio.sleep(0)) end
        task:cancel()
        local ok, data = asyncio.catch(await, task)
        if ok then got[#got + 1] = data end
      end
      w2:close()
      got[#got + 1] = await(r:read())
      local expected = {}
      for i = 1, 200 do expected[i] = i .. " " end
      assert.equal(table.concat(expected), table.concat(got))
      finish(server, w, w2)
    end)
  end)

  it("wait_closed leaves the connection alone", function()
    run(function()
      local r, w, _, w2, server = pair()
      local task = asyncio.create_task(w:wait_closed())
      await(asyncio.sleep(0))
      task:cancel()
      helper.raises(asyncio.CancelledError, await, task)
      w2:write("still here")
      assert.equal("still here", await(r:read(100)))
      finish(server, w, w2)
    end)
  end)
end)

describe("many connections", function()
  it("open, talk and close, and leave nothing", function()
    run(function()
      local before = helper.stats()
      local server = await(asyncio.start_server(function(r, w)
        w:write(await(r:readline()))
        w:close()
        await(w:wait_closed())
      end, "127.0.0.1", 0, { backlog = 200 }))
      local talk = async(function(i)
        local r, w = await(asyncio.open_connection("127.0.0.1", server.sockets[1].port))
        w:write(("hello %d\n"):format(i))
        assert.equal(("hello %d\n"):format(i), await(r:readline()))
        assert.is_nil(await(r:readline()))
        w:close()
        await(w:wait_closed())
      end)
      for batch = 1, 10 do
        local all = {}
        for i = 1, 100 do all[i] = talk(batch * 100 + i) end
        await(asyncio.gather(all))
      end
      server:close()
      await(server:wait_closed())
      await(asyncio.sleep(0))
      local after = helper.stats()
      if before then
        for name, n in pairs(before) do
          if name ~= "bytes" then assert.is_true(after[name] <= n, name .. ": " .. n .. ", " .. after[name]) end
        end
      end
    end)
  end)

  it("send random bytes in random pieces through small and large buffers", function()
    run(function()
      math.randomseed(7)
      local function bytes(n)
        local t = {}
        for i = 1, n do t[i] = string.char(math.random(0, 255)) end
        return table.concat(t)
      end
      for _, limit in ipairs { 1, 10, 1000, 65536 } do
        local r, w, r2, w2, server = pair({ limit = limit }, { limit = limit })
        local data = bytes(math.random(1, 200000))
        local send = async(function(writer)
          local i = 1
          while i <= #data do
            local n = math.random(1, math.random(1, 50000))
            writer:write(data:sub(i, i + n - 1))
            i = i + n
            if math.random(3) == 1 then await(writer:drain()) end
          end
          writer:write_eof()
        end)
        local receive = async(function(reader)
          local got, size = {}, 0
          while size < #data do
            local n = math.random(1, math.random(1, 100000))
            local piece
            if math.random(2) == 1 then
              piece = await(reader:read(n))
            else
              piece = await(reader:readexactly(math.min(n, #data - size)))
            end
            got[#got + 1], size = piece, size + #piece
          end
          assert.is_nil(await(reader:read(1)))
          return table.concat(got)
        end)
        local a, b = table.unpack(await(asyncio.gather(receive(r), receive(r2), send(w), send(w2))))
        assert.is_true(a == data and b == data)
        finish(server, w, w2)
      end
    end)
  end)
end)

describe("a StreamWriter that was collected", function()
  it("is refused by its methods: finalizers of scripts may still have it", function()
    local status, out = helper.cli({ "-e", [[
      local asyncio = require "asyncio"
      asyncio.run(async(function()
        local server <close> = await(asyncio.start_server(function(_, w) w:close() end, "127.0.0.1", 0))
        local holder = setmetatable({}, { __gc = function(self)
          for _, name in ipairs { "write", "drain", "close", "is_closing", "get_extra_info" } do
            local ok, e = pcall(self.writer[name], self.writer, "x")
            print(ok, (tostring(e):find("expected, got", 1, true)) ~= nil)
          end
        end })
        holder.writer = select(2, await(asyncio.open_connection("127.0.0.1", server.sockets[1].port)))
        holder = nil
        collectgarbage() collectgarbage()
        await(asyncio.sleep(0))
      end))
    ]] })
    assert.equal(0, status)
    assert.equal(("false\ttrue\n"):rep(5), out)
  end)
end)
