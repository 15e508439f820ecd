local helper = require "spec.helper"
local asyncio = require "asyncio"

local function run(f)
  return asyncio.run(async(f)())
end

--- A protocol that notes what is called, in `log`.
local function recorder(log, name, more)
  local P = {}
  function P:connection_made(transport)
    self.transport = transport
    log[#log + 1] = name .. " made"
  end
  function P:data_received(data)
    log[#log + 1] = name .. " data " .. data
  end
  function P:eof_received()
    log[#log + 1] = name .. " eof"
  end
  function P:connection_lost(e)
    log[#log + 1] = name .. " lost " .. tostring(e and e.code)
    if self.done then self.done:set_result(true) end
  end
  for k, v in pairs(more or {}) do P[k] = v end
  P.__index = P
  return function()
    local self = setmetatable({}, P)
    P.last = self
    self.done = asyncio.get_running_loop():create_future()
    return self
  end, P
end

describe("create_connection and create_server", function()
  it("call a protocol's methods in order", function()
    run(function()
      local loop, log = asyncio.get_running_loop(), {}
      local echo, Echo = recorder(log, "server", {
        data_received = function(self, data)
          log[#log + 1] = "server data " .. data
          self.transport:write("re: " .. data)
        end,
      })
      local server = await(loop:create_server(echo, "127.0.0.1", 0))
      local transport, protocol = await(loop:create_connection((recorder(log, "client")), "127.0.0.1",
        server.sockets[1].port))
      assert.equal(protocol, transport:get_protocol())
      assert.equal(transport, protocol.transport)
      transport:write("hi")
      while #log < 4 do await(asyncio.sleep(0.001)) end
      transport:close()
      assert.is_true(transport:is_closing())
      await(protocol.done)
      await(Echo.last.done)
      table.sort(log)
      assert.same({
        "client data re: hi", "client lost nil", "client made", "server data hi", "server eof", "server lost nil",
        "server made",
      }, log)
      server:close()
      await(server:wait_closed())
    end)
  end)

  it("keep the connection when eof_received gives true", function()
    run(function()
      local loop, log = asyncio.get_running_loop(), {}
      local factory, P = recorder(log, "server", { eof_received = function() return true end })
      local server = await(loop:create_server(factory, "127.0.0.1", 0))
      local r, w = await(asyncio.open_connection("127.0.0.1", server.sockets[1].port))
      w:write_eof()
      helper.settle()
      P.last.transport:write("late")
      P.last.transport:close()
      assert.equal("late", await(r:read()))
      w:close()
      server:close()
      await(server:wait_closed())
      assert.same({ "server made", "server lost nil" }, log)
    end)
  end)

  it("tell the loop of an error in data_received, and abort", function()
    run(function()
      local loop, told = asyncio.get_running_loop(), {}
      loop:set_exception_handler(function(_, context) told[#told + 1] = context end)
      local factory = recorder({}, "server", { data_received = function() error(asyncio.ValueError("no")) end })
      local server = await(loop:create_server(factory, "127.0.0.1", 0))
      local r, w = await(asyncio.open_connection("127.0.0.1", server.sockets[1].port))
      w:write("x")
      pcall(await, r:read())
      assert.equal("Fatal error: protocol.data_received() call failed.", told[1].message)
      assert.equal("no", told[1].exception.message)
      assert.is_true(told[1].transport:is_closing())
      w:close()
      server:close()
      await(server:wait_closed())
    end)
  end)

  it("hear in connection_lost which error of theirs has ended the connection", function()
    run(function()
      local loop = asyncio.get_running_loop()
      loop:set_exception_handler(function() end)
      for _, method in ipairs { "data_received", "eof_received" } do
        local lost, mine = loop:create_future(), asyncio.ValueError(method)
        local server <close> = await(loop:create_server(function()
          return { [method] = function() error(mine) end, connection_lost = function(_, err) lost:set_result(err) end }
        end, "127.0.0.1", 0))
        local _, w <close> = await(asyncio.open_connection("127.0.0.1", server.sockets[1].port))
        w:write("x")
        w:write_eof()
        assert.equal(mine, await(lost))
      end
    end)
  end)

  it("go on after errors in the other methods", function()
    run(function()
      local loop, told = asyncio.get_running_loop(), {}
      loop:set_exception_handler(function(_, context) told[#told + 1] = context.message end)
      local factory = recorder({}, "server", {
        connection_made = function(_, transport)
          transport:write("made")
          error("one")
        end,
        connection_lost = function() error("two") end,
      })
      local server = await(loop:create_server(factory, "127.0.0.1", 0))
      local r, w = await(asyncio.open_connection("127.0.0.1", server.sockets[1].port))
      assert.equal("made", await(r:read(4)))
      w:close()
      server:close()
      await(server:wait_closed())
      assert.same({ "protocol.connection_made() failed", "protocol.connection_lost() failed" }, told)
    end)
  end)

  it("pause and resume writing at the marks", function()
    run(function()
      local loop, log = asyncio.get_running_loop(), {}
      local factory, P = recorder(log, "server", {
        pause_writing = function() log[#log + 1] = "pause" end,
        resume_writing = function() log[#log + 1] = "resume" end,
      })
      local server = await(loop:create_server(factory, "127.0.0.1", 0))
      local r, w = await(asyncio.open_connection("127.0.0.1", server.sockets[1].port))
      helper.settle()
      local transport = P.last.transport
      assert.same({ 16384, 65536 }, { transport:get_write_buffer_limits() })
      transport:set_write_buffer_limits { high = 1000 }
      assert.same({ 250, 1000 }, { transport:get_write_buffer_limits() })
      transport:set_write_buffer_limits { low = 100 }
      assert.same({ 100, 400 }, { transport:get_write_buffer_limits() })
      transport:set_write_buffer_limits(500, 50)
      assert.same({ 50, 500 }, { transport:get_write_buffer_limits() })
      helper.raises(asyncio.ValueError, transport.set_write_buffer_limits, transport, { high = 1, low = 2 })
      helper.raises(asyncio.ValueError, transport.set_write_buffer_limits, transport, { low = -1 })
      helper.raises(asyncio.TypeError, transport.set_write_buffer_limits, transport, { high = "x" })
      local n = 0
      repeat
        transport:write(("x"):rep(65536))
        n = n + 65536
      until log[#log] == "pause"
      transport:write(("x"):rep(65536))
      assert.is_true(transport:get_write_buffer_size() > 500)
      assert.equal(n + 65536, #await(r:readexactly(n + 65536)))
      await(asyncio.sleep(0.01))
      assert.same({ "server made", "pause", "resume" }, log)
      transport:abort()
      w:close()
      server:close()
      await(server:wait_closed())
    end)
  end)

  it("hold data back while reading is paused", function()
    run(function()
      local loop, log = asyncio.get_running_loop(), {}
      local factory, P = recorder(log, "server", {
        data_received = function(self, data)
          log[#log + 1] = data
          self.transport:pause_reading()
        end,
      })
      local server = await(loop:create_server(factory, "127.0.0.1", 0))
      local _, w = await(asyncio.open_connection("127.0.0.1", server.sockets[1].port))
      for _, word in ipairs { "one", "two" } do
        w:write(word)
        helper.settle()
      end
      w:close()
      helper.settle()
      assert.same({ "server made", "one" }, log)
      P.last.transport:resume_reading()
      helper.settle()
      assert.same({ "server made", "one", "two" }, log)
      P.last.transport:resume_reading()
      await(P.last.done)
      assert.same({ "server made", "one", "two", "server eof", "server lost nil" }, log)
      server:close()
      await(server:wait_closed())
    end)
  end)

  it("report a reset to connection_lost", function()
    run(function()
      local loop, log = asyncio.get_running_loop(), {}
      local factory, P = recorder(log, "server")
      local server = await(loop:create_server(factory, "127.0.0.1", 0))
      local _, w = await(asyncio.open_connection("127.0.0.1", server.sockets[1].port))
      helper.settle()
      w:get_extra_info("socket"):setsockopt("SO_LINGER", 0)
      w.transport:abort()
      await(P.last.done)
      assert.same({ "server made", "server lost ECONNRESET" }, log)
      server:close()
      await(server:wait_closed())
    end)
  end)

  it("work with another protocol after set_protocol", function()
    run(function()
      local loop, log = asyncio.get_running_loop(), {}
      local factory, P = recorder(log, "first")
      local server = await(loop:create_server(factory, "127.0.0.1", 0))
      local _, w = await(asyncio.open_connection("127.0.0.1", server.sockets[1].port))
      helper.settle()
      local second = recorder(log, "second")()
      P.last.transport:set_protocol(second)
      w:write("x")
      w:close()
      await(second.done)
      assert.same({ "first made", "second data x", "second eof", "second lost nil" }, log)
      server:close()
      await(server:wait_closed())
    end)
  end)

  it("refuse a factory that makes no protocol", function()
    run(function()
      local loop, told = asyncio.get_running_loop(), {}
      loop:set_exception_handler(function(_, context) told[#told + 1] = context end)
      local server = await(loop:create_server(function() return 5 end, "127.0.0.1", 0))
      helper.raises(asyncio.TypeError, function()
        return await(loop:create_connection(function() end, "127.0.0.1", server.sockets[1].port))
      end)
      helper.settle()
      assert.equal("Error on transport creation for incoming connection", told[1].message)
      assert.matches("protocol_factory must give a table", told[1].exception.message, 1, true)
      server:close()
      await(server:wait_closed())
      helper.raises(asyncio.TypeError, loop.create_server, loop, nil, "127.0.0.1", 0)
      helper.raises(asyncio.ValueError, loop.create_connection, loop, print)
    end)
  end)

  it("exist for unix sockets", function()
    run(function()
      local loop, log, path = asyncio.get_running_loop(), {}, helper.tmpdir() .. "/socket"
      local factory, P = recorder(log, "server")
      local server = await(loop:create_unix_server(factory, path))
      local transport = await(loop:create_unix_connection((recorder(log, "client")), path))
      transport:writelines { "a", "b" }
      transport:close()
      await(asyncio.sleep(0.01))
      await(P.last.done)
      assert.is_true(#log == 6, table.concat(log, ", "))
      server:close()
      await(server:wait_closed())
    end)
  end)
end)

describe("StreamReaderProtocol", function()
  it("feeds a reader", function()
    run(function()
      local loop = asyncio.get_running_loop()
      local server = await(asyncio.start_server(function(_, w)
        w:write("one\ntwo\n")
        w:close()
      end, "127.0.0.1", 0))
      local reader = asyncio.StreamReader()
      local transport = await(loop:create_connection(function()
        return asyncio.StreamReaderProtocol(reader)
      end, "127.0.0.1", server.sockets[1].port))
      local writer = asyncio.StreamWriter(transport, nil, reader)
      assert.equal("one\n", await(reader:readline()))
      assert.equal("two\n", await(reader:read()))
      writer:close()
      await(writer:wait_closed())
      server:close()
      await(server:wait_closed())
    end)
  end)
end)

describe("pipes", function()
  it("are read", function()
    run(function()
      local file <close> = assert(io.popen("echo one; sleep 0.05; echo two"))
      local reader = asyncio.StreamReader { limit = 1 }
      local transport = await(asyncio.get_running_loop():connect_read_pipe(function()
        return asyncio.StreamReaderProtocol(reader)
      end, file))
      assert.equal("one\ntwo\n", await(reader:read()))
      transport:close()
    end)
  end)

  it("are written", function()
    run(function()
      local path = helper.tmpfile()
      local file <close> = assert(io.popen("cat >" .. path, "w"))
      local made
      local transport = await(asyncio.get_running_loop():connect_write_pipe(function()
        return { connection_made = function(_, t) made = t end }
      end, file))
      assert.equal(transport, made)
      transport:write("to the pipe")
      transport:close()
      await(asyncio.sleep(0.01))
      file:close()
      local f <close> = io.open(path)
      assert.equal("to the pipe", f:read("a"))
    end)
  end)

  it("that are written to are lost when their reader goes", function()
    run(function()
      local loop = asyncio.get_running_loop()
      local function connect(pipe)
        local lost = loop:create_future()
        return lost, await(loop:connect_write_pipe(function()
          return { connection_lost = function(_, err) lost:set_result(err or "no error") end }
        end, pipe))
      end
      local a, b = require("socket").socketpair()
      local lost, transport = connect(a)
      await(b:send("nobody reads this"))
      await(asyncio.sleep(0.005))
      assert.is_false(lost:done())
      b:close()
      assert.equal("no error", await(lost))
      assert.is_true(transport:is_closing())
      transport:write("x")
      a:close()
      local file <close> = assert(io.popen("exec sleep 0.02", "w"))
      lost, transport = connect(file)
      transport:write(("x"):rep(1000000))
      assert.equal("EPIPE", await(lost).code)
    end)
  end)

  it("are no files", function()
    run(function()
      local loop = asyncio.get_running_loop()
      local f <close> = io.open(helper.tmpfile("x"))
      local e = helper.raises(asyncio.ValueError, await, loop:connect_read_pipe(function() return {} end, f))
      assert.matches("Pipe transport is for pipes/sockets only.", e.message, 1, true)
      helper.raises(asyncio.OSError, await, loop:connect_read_pipe(function() return {} end, 999))
      helper.raises(asyncio.TypeError, await, loop:connect_read_pipe(function() return {} end, {}))
      local null <close> = io.open("/dev/null")
      e = helper.raises(asyncio.OSError, await, loop:connect_read_pipe(function() return {} end, null))
      assert.equal("EPERM", e.code)
      helper.raises(asyncio.OSError, await, loop:connect_write_pipe(function() return {} end, null))
    end)
  end)
end)
