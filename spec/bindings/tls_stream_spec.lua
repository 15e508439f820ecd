--- TLS as a filter of streams: ends of every kind, backpressure, cancelling, start_tls, records in odd pieces.

if not require("spec.helper").has_tls() then return end

local asyncio = require "asyncio"
local certs = require "spec.certs"
local helper = require "spec.helper"
local peer = require "spec.tlspeer"
local ssl = require "ssl"

local run, catch = asyncio.run, asyncio.catch

local echo, serve, options, open = peer.echo, peer.serve, peer.options, peer.open

local function plain(port)
  return await(asyncio.open_connection("127.0.0.1", port))
end

local function finish(writer)
  writer:close()
  catch(await, writer:wait_closed())
end

--- A plain server in front of the port. pass(data, writer, side) hands on what came from "client" or "server".
local function proxy(port, pass)
  local server = await(asyncio.start_server(async(function(r, w)
    local sr, sw = plain(port)
    local function copy(from, to, side)
      return async(function()
        catch(function()
          while true do
            local data = await(from:read(65536))
            if not data then break end
            pass(data, to, side)
            await(to:drain())
          end
        end)
        catch(to.write_eof, to)
      end)()
    end
    await(asyncio.gather(copy(r, sw, "client"), copy(sr, w, "server")))
    w:close()
    sw:close()
  end), "127.0.0.1", 0))
  return server, server.sockets[1].port
end

describe("the end of a TLS connection", function()
  it("is close_notify, answered by the peer's", function()
    run(function()
      local _server <close>, port = serve()
      local _, w = open(port)
      w:close()
      assert.is_true(w:is_closing())
      await(w:wait_closed())
      await(w:wait_closed())
    end)
  end)

  it("is seen as the end by the peer", function()
    run(function()
      local got = asyncio.get_running_loop():create_future()
      local _server <close>, port = serve(async(function(r, w)
        got:set_result({ await(r:read()), r:at_eof() })
        w:close()
      end))
      local _, w = open(port)
      w:write("last words")
      w:close()
      await(w:wait_closed())
      assert.same({ "last words", true }, await(got))
    end)
  end)

  it("may be one side's alone", function()
    run(function()
      local _server <close>, port = serve(async(function(r, w)
        local all = await(r:read())
        w:write(("x"):rep(300000) .. all)
        w:close()
      end))
      local r, w = open(port)
      assert.is_true(w:can_write_eof())
      w:write("question")
      w:write_eof()
      helper.raises("after write_eof", w.write, w, "more")
      local answer = await(r:read())
      assert.equal(300008, #answer)
      assert.equal("question", answer:sub(-8))
      assert.is_nil(await(r:read(1)))
      finish(w)
    end)
  end)

  it("is not waited for longer than the shutdown timeout", function()
    run(function()
      local release = asyncio.Event()
      local _server <close>, port = serve(async(function(_, w)
        await(release:wait())
        w:close()
      end))
      local _, w = open(port, { ssl_shutdown_timeout = 0.05 })
      w:close()
      local e = helper.raises(asyncio.TimeoutError, function() await(w:wait_closed()) end)
      assert.truthy(e.message:find("SSL shutdown timed out", 1, true), e.message)
      release:set()
    end)
  end)

  it("drops what still comes", function()
    run(function()
      local ended = asyncio.Event()
      local _server <close>, port = serve(async(function(_, w)
        catch(function()
          for _ = 1, 1000 do
            w:write(("x"):rep(65536))
            await(w:drain())
          end
        end)
        w:close()
        ended:set()
      end))
      local r, w = open(port)
      assert.equal(1, #await(r:readexactly(1)))
      w:close()
      catch(await, w:wait_closed())
      await(ended:wait())
      await(asyncio.sleep(0.001))
    end)
  end)

  it("is an error when the peer just went", function()
    run(function()
      for _, how in ipairs { "read", "all", "line", "exactly", "lenient" } do
        local _server <close>, port = serve(async(function(_, w)
          w:write("half a mess")
          helper.settle()
          w.transport:abort()
        end))
        local context = certs.client()
        if how == "lenient" then context.options = context.options | ssl.OP_IGNORE_UNEXPECTED_EOF end
        local r, w = open(port, { ssl = context })
        if how == "lenient" then
          assert.equal("half a mess", await(r:read()))
          assert.is_nil(await(r:read(1)))
        elseif how == "exactly" then
          local e = helper.raises(asyncio.IncompleteReadError, function() await(r:readexactly(100)) end)
          assert.equal("half a mess", e.partial)
        else
          if how == "read" then assert.equal("half a mess", await(r:read(100))) end
          if how == "line" then assert.equal("half a mess", await(r:readline())) end
          local e = helper.raises(ssl.SSLEOFError, function()
            if how == "line" then await(r:readline()) end
            await(r:read(how ~= "all" and 100 or nil))
          end)
          assert.truthy(e.message:find("read from 127.0.0.1:%d+ failed: .*EOF occurred in violation of protocol"), e.message)
          if how == "all" then assert.equal("half a mess", e.partial) end
        end
        finish(w)
      end
    end)
  end)

  it("is told to a protocol, after the bytes", function()
    run(function()
      local _server <close>, port = serve(async(function(_, w)
        w:write("some")
        helper.settle()
        w.transport:abort()
      end))
      local loop, log = asyncio.get_running_loop(), {}
      local lost = loop:create_future()
      await(loop:create_connection(function()
        return {
          data_received = function(_, data) log[#log + 1] = data end,
          eof_received = function() log[#log + 1] = "eof" end,
          connection_lost = function(_, e) lost:set_result(e) end,
        }
      end, "127.0.0.1", port, options()))
      assert.is_true(asyncio.isinstance(await(lost), ssl.SSLEOFError))
      assert.same({ "some" }, log)
    end)
  end)

  it("leaves writing possible", function()
    run(function()
      local got = asyncio.get_running_loop():create_future()
      local _server <close>, port = serve(async(function(r, w)
        local ok, e = catch(await, r:read())
        assert(not ok and e.partial == "x")
        w:write("answer")
        w:close()
        got:set_result(true)
      end))
      local cut = false
      local _front <close>, fport = proxy(port, function(data, to, side) -- swallows our close_notify
        if cut and side == "client" then return to:write_eof() end
        to:write(data)
      end)
      local r, w = open(fport)
      w:write("x")
      helper.settle()
      cut = true
      w:write_eof()
      assert.equal("answer", await(r:read()))
      assert.is_true(await(got))
      finish(w)
    end)
  end)

  it("is idempotent", function()
    run(function()
      local _server <close>, port = serve()
      local r, w = open(port)
      for _ = 1, 3 do w:close() end
      w:write("dropped")
      w:write_eof()
      await(w:wait_closed())
      w:close()
      w:write("dropped")
      w.transport:abort()
      assert.is_nil(await(r:read(1)))
    end)
  end)
end)

describe("a TLS handshake", function()
  it("takes no longer than its timeout", function()
    run(function()
      local silent <close> = await(asyncio.start_server(async(function(r, w)
        await(r:read())
        w:close()
      end), "127.0.0.1", 0))
      local e = helper.raises(asyncio.OSError, function()
        open(silent.sockets[1].port, { ssl_handshake_timeout = 0.05 })
      end)
      assert.equal("ECONNABORTED", e.code)
      assert.truthy(e.message:find("SSL handshake is taking longer than 0.05 seconds: aborting the connection", 1, true))
      local _server <close>, port = serve(nil, { ssl_handshake_timeout = 0.05 })
      local r, w = plain(port)
      assert.is_nil(await(r:read(1)))
      finish(w)
    end)
  end)

  it("fails when the peer goes, or resets", function()
    run(function()
      for _, how in ipairs { "close", "reset" } do
        local server <close> = await(asyncio.start_server(async(function(r, w)
          await(r:read(1))
          if how == "reset" then w:get_extra_info("socket"):setsockopt("SO_LINGER", 0) end
          w:close()
        end), "127.0.0.1", 0))
        local e = helper.raises(asyncio.OSError, open, server.sockets[1].port)
        assert.equal("ECONNRESET", e.code)
        assert.truthy(e.message:find("^TLS handshake with 127.0.0.1:%d+ failed: "), e.message)
      end
    end)
  end)

  it("fails when the peer speaks something else", function()
    run(function()
      local server <close> = await(asyncio.start_server(async(function(_, w)
        w:write("220 hello, I speak no TLS\r\n")
        w:close()
      end), "127.0.0.1", 0))
      local e = helper.raises(ssl.SSLError, open, server.sockets[1].port)
      assert.equal("WRONG_VERSION_NUMBER", e.code)
    end)
  end)

  it("can be cancelled at each stage", function()
    run(function()
      local server <close>, port = serve()
      local hold, held
      local front <close>, fport = proxy(port, function(data, to)
        held = held + 1
        if held > hold then return end
        to:write(data)
      end)
      for stage = 0, 3 do
        hold, held = stage, 0
        local task = asyncio.create_task(asyncio.open_connection("127.0.0.1", fport,
          options { ssl_shutdown_timeout = 0.02 })) -- the proxy swallows our close_notify too
        while held <= stage and not task:done() do await(asyncio.sleep(0.001)) end
        if task:done() then
          finish(select(2, await(task)))
        else
          task:cancel()
          helper.raises(asyncio.CancelledError, await, task)
        end
      end
      -- in each of its first rounds
      for rounds = 0, 12 do
        local task = asyncio.create_task(asyncio.open_connection("127.0.0.1", port, options()))
        for _ = 1, rounds do await(asyncio.sleep(0)) end
        task:cancel()
        local ok, _, w = catch(await, task)
        if ok then finish(w) end
      end
      front:abort_clients()
      server:abort_clients()
    end)
  end)

  it("ends when the transport is aborted, or the loop closed", function()
    run(function()
      local silent <close> = await(asyncio.start_server(async(function(r, w)
        await(r:read())
        w:close()
      end), "127.0.0.1", 0))
      local _, w = plain(silent.sockets[1].port)
      local task = asyncio.create_task(w:start_tls(certs.client(), { server_hostname = "localhost" }))
      helper.settle()
      helper.raises("during the TLS handshake: await start_tls() first", w.write, w, "x")
      helper.raises("during the TLS handshake", w.write_eof, w)
      w.transport:abort()
      helper.raises(asyncio.OSError, await, task)
      _, w = plain(silent.sockets[1].port)
      task = asyncio.create_task(w:start_tls(certs.client(), { server_hostname = "localhost" }))
      helper.settle()
      w:close()
      helper.raises(asyncio.OSError, await, task)
    end)
    local status, _, err = helper.cli({ helper.tmpfile([[
      package.path = "./?.lua;" .. package.path
      local asyncio, certs = require "asyncio", require "spec.certs"
      local loop = asyncio.new_event_loop()
      loop:run_until_complete(async(function()
        local server = await(asyncio.start_server(print, "127.0.0.1", 0, { ssl = certs.server() }))
        local port = server.sockets[1].port
        await(asyncio.open_connection("127.0.0.1", port))
        asyncio.create_task(asyncio.open_connection("127.0.0.1", port, { ssl = certs.client(), server_hostname = "localhost" }))
        local r, w = await(asyncio.open_connection("127.0.0.1", port, { ssl = certs.client(), server_hostname = "localhost" }))
        w:write(("x"):rep(1000000))
        asyncio.create_task(r:read())
        await(asyncio.sleep(0.005))
        w:close()
      end)())
      loop:close()
      collectgarbage()
    ]], ".lua") })
    assert.equal(0, status, err)
  end)
end)

describe("TLS streams", function()
  it("hold a fast writer back", function()
    run(function()
      local reading, total = asyncio.Event(), 0
      local _server <close>, port = serve(async(function(r, w)
        await(reading:wait())
        while true do
          local data = await(r:read(65536))
          if not data then break end
          total = total + #data
        end
        w:close()
      end))
      local _, w = open(port)
      local sent, most, block = 0, 0, ("x"):rep(16384)
      local writing = asyncio.create_task(async(function()
        while sent < 30e6 do
          w:write(block)
          sent = sent + #block
          most = math.max(most, w.transport:get_write_buffer_size())
          await(w:drain())
        end
        w:close()
        await(w:wait_closed())
      end)())
      assert.is_true(helper.steady(function() return sent end) < 30e6) -- drain waits: nothing grows any more
      assert.is_true(most < 64 * 1024 + 2 * 17000, most)
      reading:set()
      await(writing)
      assert.equal(sent, total)
    end)
  end)

  it("hold a fast peer back", function()
    run(function()
      local block, sent = ("x"):rep(16384), 0
      local _server <close>, port = serve(async(function(_, w)
        while sent < 30e6 do
          w:write(block)
          sent = sent + #block
          await(w:drain())
        end
        w:close()
      end))
      local r, w = open(port)
      assert.is_true(helper.steady(function() return sent end) < 30e6)
      collectgarbage()
      local buffered = tonumber(tostring(r):match("(%d+) bytes"))
      assert.is_true(buffered <= 3 * 65536 + 17000, buffered)
      local total = 0
      while true do
        local data = await(r:read(100000))
        if not data then break end
        total = total + #data
      end
      assert.equal(sent, total)
      finish(w)
    end)
  end)

  it("pause and resume reading for protocols", function()
    run(function()
      local _server <close>, port = serve(async(function(_, w)
        w:write(("x"):rep(200000))
        await(w:drain())
        w:close()
      end))
      local loop, n = asyncio.get_running_loop(), 0
      local lost = loop:create_future()
      local transport = await(loop:create_connection(function()
        return {
          data_received = function(self, data)
            n = n + #data
            self.transport:pause_reading()
            loop:call_later(0.001, function() self.transport:resume_reading() end)
          end,
          connection_made = function(self, t) self.transport = t end,
          connection_lost = function() lost:set_result(true) end,
        }
      end, "127.0.0.1", port, options()))
      await(lost)
      assert.equal(200000, n)
      transport:close()
    end)
  end)

  it("can be cancelled in reads, drains and closes", function()
    run(function()
      local _server <close>, port = serve(async(function(r, w)
        await(asyncio.sleep(0.05))
        while await(r:read(65536)) do end
        w:close()
      end))
      local r, w = open(port)
      for _, what in ipairs { "read", "readline", "readexactly" } do
        local task = asyncio.create_task(r[what](r, 10))
        await(asyncio.sleep(0))
        task:cancel()
        helper.raises(asyncio.CancelledError, await, task)
      end
      w:write(("x"):rep(8000000))
      local task = asyncio.create_task(w:drain())
      await(asyncio.sleep(0))
      task:cancel()
      helper.raises(asyncio.CancelledError, await, task)
      w:close()
      task = asyncio.create_task(w:wait_closed())
      await(asyncio.sleep(0))
      task:cancel()
      helper.raises(asyncio.CancelledError, await, task)
      await(w:wait_closed())
    end)
  end)

  it("survive the collector at any time", function()
    run(function()
      collectgarbage("generational")
      local _server <close>, port = serve()
      for i = 1, 5 do
        local task = asyncio.create_task(asyncio.open_connection("127.0.0.1", port, options()))
        while not task:done() do
          collectgarbage()
          await(asyncio.sleep(0))
        end
        local r, w = await(task)
        task = nil -- luacheck: ignore
        collectgarbage()
        w:write(("x"):rep(100000 * i))
        collectgarbage()
        assert.equal(100000 * i, #await(r:readexactly(100000 * i)))
        local object = w:get_extra_info("ssl_object")
        local context = object.context
        finish(w)
        r, w = nil, nil -- luacheck: ignore
        collectgarbage()
        assert.equal("localhost", object:getpeercert().subject[2][1][2])
        assert.equal(context, object.context)
      end
      collectgarbage("incremental")
    end)
  end)

  it("belong to their loop", function()
    local other, w = asyncio.new_event_loop(), nil
    other:run_until_complete(async(function()
      local server = await(asyncio.start_server(echo, "127.0.0.1", 0))
      w = select(2, plain(server.sockets[1].port))
      server:close()
    end)())
    run(function()
      helper.raises(asyncio.RuntimeError, function()
        await(w:start_tls(certs.client(), { server_hostname = "localhost" }))
      end)
    end)
    other:run_until_complete(async(function()
      w.transport:abort()
      await(asyncio.sleep(0.01))
    end)())
    other:close()
    helper.raises(asyncio.OSError, function()
      await(w:start_tls(certs.client(), { server_hostname = "localhost" }))
    end)
  end)

  it("say that they were left open", function()
    local status, _, err = helper.cli({ helper.tmpfile([[
      package.path = "./?.lua;" .. package.path
      local asyncio, certs = require "asyncio", require "spec.certs"
      asyncio.run(async(function()
        local server <close> = await(asyncio.start_server(function(r, w) await(r:read()) w:close() end, "127.0.0.1", 0,
          { ssl = certs.server() }))
        local opts = { ssl = certs.client(), server_hostname = "localhost" }
        await(asyncio.open_connection("127.0.0.1", server.sockets[1].port, opts))
        for _ = 1, 3 do
          collectgarbage()
          await(asyncio.sleep(0.01))
        end
      end))
    ]], ".lua") })
    assert.equal(0, status)
    assert.truthy(err:find("ResourceWarning: unclosed <StreamWriter", 1, true), err)
  end)

  it("take records in pieces of any size", function()
    run(function()
      local _server <close>, port = serve()
      local size
      local _front <close>, fport = proxy(port, function(data, to)
        for i = 1, #data, size do
          to:write(data:sub(i, i + size - 1))
          if i % 7 == 1 then await(asyncio.sleep(0)) end
        end
      end)
      for _, n in ipairs { 1, 2, 3, 5, 6, 17, 100, 1000, 16389 } do
        size = n
        local text = ("0123456789"):rep(n < 6 and 30 or 4000)
        local r, w = open(fport)
        w:write(text)
        assert.equal(text, await(r:readexactly(#text)))
        w:write("end")
        w:write_eof()
        assert.equal("end", await(r:read()))
        finish(w)
      end
    end)
  end)

  it("end when a record is altered", function()
    run(function()
      local _server <close>, port = serve(async(function(r, w)
        catch(await, r:read())
        w:close()
      end))
      local shook = false
      local _front <close>, fport = proxy(port, function(data, to, side)
        if shook and side == "client" then data = data:sub(1, -2) .. string.char(data:byte(-1) ~ 1) end
        to:write(data)
      end)
      local r, w = open(fport)
      shook = true
      w:write("hello")
      local e = helper.raises(ssl.SSLError, function()
        await(r:read(1))
      end)
      assert.truthy(e.reason:find("BAD_RECORD_MAC"), e.message)
      finish(w)
    end)
  end)
end)

describe("start_tls", function()
  local function upgrading(f, opts)
    run(function()
      local context = certs.server()
      local server <close> = await(asyncio.start_server(async(function(r, w)
        while true do
          local line = await(r:readline())
          if line == "STARTTLS\n" then
            w:write("GO\n")
            local ok = catch(await, w:start_tls(context, opts))
            if not ok then return end
          elseif line then
            w:write((w:get_extra_info("ssl_object") and "secret " or "plain ") .. line)
          else
            break
          end
        end
        w:close()
      end), "127.0.0.1", 0))
      f(server.sockets[1].port)
    end)
  end

  it("upgrades streams on both sides", function()
    upgrading(function(port)
      local r, w = plain(port)
      w:write("one\n")
      assert.equal("plain one\n", await(r:readline()))
      assert.is_nil(w:get_extra_info("ssl_object"))
      w:write("STARTTLS\n")
      assert.equal("GO\n", await(r:readline()))
      await(w:start_tls(certs.client(), { server_hostname = "localhost" }))
      assert.equal("TLSv1.3", w:get_extra_info("ssl_object"):version())
      w:write("two\n")
      assert.equal("secret two\n", await(r:readline()))
      w:close()
      await(w:wait_closed())
      helper.raises(asyncio.OSError, function()
        await(w:start_tls(certs.client(), { server_hostname = "localhost" }))
      end)
    end)
  end)

  it("takes nothing for secret that was sent before", function()
    upgrading(function(port)
      local r, w = plain(port)
      w:write("STARTTLS\nINJECTED\n")
      assert.equal("GO\n", await(r:readline()))
      helper.raises(asyncio.OSError, function()
        await(w:start_tls(certs.client(), { server_hostname = "localhost" }))
      end)
    end)
  end)

  it("takes a handshake that has come already", function()
    run(function()
      local context = certs.server()
      local server <close> = await(asyncio.start_server(async(function(r, w)
        await(r:readexactly(1))
        helper.settle() -- the client's hello is in the reader now
        await(w:start_tls(context))
        w:write(await(r:readline()))
        w:close()
      end), "127.0.0.1", 0))
      local r, w = plain(server.sockets[1].port)
      w:write("!")
      await(w:start_tls(certs.client(), { server_hostname = "localhost" }))
      w:write("line\n")
      assert.equal("line\n", await(r:readline()))
      finish(w)
    end)
  end)

  it("says what it expected", function()
    upgrading(function(port)
      local _, w = plain(port)
      helper.raises("sslcontext is expected to be an SSLContext, got a boolean", w.start_tls, w, true)
      helper.raises("check_hostname requires server_hostname", w.start_tls, w, certs.client())
      helper.raises("unexpected keyword argument 'x'", w.start_tls, w, certs.client(), { x = 1 })
      local loop = asyncio.get_running_loop()
      helper.raises("a transport was expected, got nil", loop.start_tls, loop)
      helper.raises("a protocol (a table) was expected", loop.start_tls, loop, w.transport, 1)
      finish(w)
    end)
  end)

  it("upgrades transports", function()
    upgrading(function(port)
      local loop = asyncio.get_running_loop()
      local go, answer, lost = loop:create_future(), loop:create_future(), loop:create_future()
      local transport = await(loop:create_connection(function()
        return { data_received = function(_, data) go:set_result(data) end }
      end, "127.0.0.1", port))
      transport:write("STARTTLS\n")
      assert.equal("GO\n", await(go))
      local secure = await(loop:start_tls(transport, {
        data_received = function(_, data) answer:set_result(data) end,
        connection_lost = function() lost:set_result(true) end,
      }, certs.client(), { server_hostname = "localhost" }))
      secure:write("three\n")
      assert.equal("secret three\n", await(answer))
      assert.equal("localhost", secure:get_extra_info("peercert").subject[2][1][2])
      secure:close()
      await(lost)
    end)
  end)

  it("can be cancelled", function()
    upgrading(function(port)
      asyncio.get_running_loop():set_exception_handler(function() end) -- resets
      for rounds = 0, 6 do
        local r, w = plain(port)
        w:write("STARTTLS\n")
        await(r:readline())
        local task = asyncio.create_task(w:start_tls(certs.client(), { server_hostname = "localhost" }))
        for _ = 1, rounds do await(asyncio.sleep(0)) end
        task:cancel()
        catch(await, task)
        finish(w)
      end
    end)
  end)
end)
