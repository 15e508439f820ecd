local asyncio = require "asyncio"
local frames = require "spec.http.frames"
local helper = require "spec.helper"

local has, web = pcall(require, "http.web")
if not has or not pcall(require, "http.core") then return pending("built without HTTP") end
local testing = require "http.testing"
local wsclient = require "spec.http.wsclient"
local zlib = require("http.ws").deflate
local T = web.WSMsgType

--- Runs f(port, seen) while a server has handler(ws, request, seen) at /. What the loop's exception handler is told
--- is in seen.errors.
local function serve(options, handler, f, server_options)
  asyncio.run(async(function()
    local seen = { errors = {} }
    asyncio.get_running_loop():set_exception_handler(function(_, context) seen.errors[#seen.errors + 1] = context end)
    local app = web.Application()
    app:add_routes { web.get("/", async(function(request)
      local ws = web.WebSocketResponse(options)
      seen.ws = ws
      await(ws:prepare(request))
      handler(ws, request, seen)
      seen.done = true
      return ws
    end)) }
    app.on_shutdown:append(async(function() if seen.shutdown then seen.shutdown() end end))
    local server <close> = testing.TestServer(app, server_options)
    await(server:start_server())
    f(server.port, seen, server)
  end))
end

local function echo(ws)
  for msg in ws:messages() do
    if msg.type == T.TEXT then
      await(ws:send_str(msg.data))
    elseif msg.type == T.BINARY then
      await(ws:send_bytes(msg.data))
    end
  end
end

--- A long payload in short.
local function short(s) return #s <= 200 and s or ("%d bytes, %s..."):format(#s, s:sub(1, 10)) end

--- Reads frames from a bare connection until the one with that opcode, or the end: as spec.http.frames.list.
local function read_frames(reader, opcode)
  local list, bytes = {}, ""
  while true do
    local f, rest = frames.parse(bytes)
    if f then
      local payload = f.payload
      if f.opcode == 8 and #payload >= 2 then payload = (">I2"):unpack(payload) .. "" end
      list[#list + 1] = f.opcode .. ":" .. short(payload)
      bytes = rest
      if f.opcode == opcode then return list end
    else
      local data = await(reader:read(65536))
      if not data then return list end
      bytes = bytes .. data
    end
  end
end

--- What a server with an echo answers to these bytes on a bare socket.
local function answered(bytes, options, pieces)
  local got
  serve(options, echo, function(port)
    local status, _, reader, writer = wsclient.request(port, "/", { extra = not pieces and bytes or nil })
    assert.equal(101, status)
    for i = 1, pieces and #bytes or 0, pieces or 1 do
      writer:write(bytes:sub(i, i + pieces - 1))
      await(asyncio.sleep(0))
    end
    got = read_frames(reader)
    writer:close()
  end)
  return got
end

describe("web.WebSocketResponse", function()
  it("echoes text and bytes of every size, and closes as the client does", function()
    serve(nil, echo, function(port, seen)
      local ws <close> = wsclient.connect(port)
      for _, n in ipairs { 0, 1, 125, 126, 65535, 65536, 300000 } do
        await(ws:send_str(("t"):rep(n)))
        assert.equal(("t"):rep(n), await(ws:receive_str(10)))
        await(ws:send_bytes(("\xff"):rep(n)))
        assert.equal(("\xff"):rep(n), await(ws:receive_bytes(10)))
      end
      assert.equal(false, seen.ws.closed)
      assert.is_true(await(ws:close { code = 4000, message = "bye" }))
      assert.equal(4000, ws.conn:close_code())
      helper.turn()
      assert.is_true(seen.ws.closed)
      assert.equal(4000, seen.ws.close_code)
      assert.same({}, seen.errors)
    end)
  end)

  it("has JSON, pings, addresses, and fields", function()
    serve({ autoping = true }, function(ws, _, seen)
      seen.peer = ws:get_extra_info("peername")
      seen.value = await(ws:receive_json { timeout = 10, loads = function(s) return { s } end })
      await(ws:send_json(5, { dumps = function(v) return "[" .. v .. "]" end }))
      await(ws:ping("are you there?"))
      assert.equal("<WebSocketResponse open>", tostring(ws))
      helper.raises("a WebSocket sends messages", ws.write, ws, "x")
      seen.msg = await(ws:receive())
    end, function(port, seen)
      local ws <close> = wsclient.connect(port)
      await(ws:send_str("{}"))
      assert.equal("[5]", await(ws:receive_str(10)))
      await(ws:close())
      helper.turn(5)
      assert.same({ "{}" }, seen.value)
      assert.equal("127.0.0.1", seen.peer[1])
      assert.equal(T.CLOSE, seen.msg.type)
      assert.is_true(seen.done)
    end)
  end)

  it("agrees on a subprotocol, and sends headers and cookies of its own", function()
    serve({ protocols = { "v2", "v1" }, headers = { ["X-Own"] = "yes" } }, function(ws, request, seen)
      seen.protocol = ws.ws_protocol
      assert.equal("yes", request.headers["X-Asked"])
    end, function(port, seen)
      local _, headers, reader, writer = wsclient.request(port, "/",
        { headers = { ["Sec-WebSocket-Protocol"] = "v0, v1, v2", ["X-Asked"] = "yes" } })
      assert.equal("v2", headers["sec-websocket-protocol"])
      assert.equal("yes", headers["x-own"])
      assert.equal("v2", seen.protocol)
      assert.equal("8:1000", read_frames(reader, 8)[1])
      writer:close()
    end)
  end)

  it("refuses what is no request for one, and lets a handler answer that otherwise", function()
    asyncio.run(async(function()
      local app = web.Application()
      app:add_routes {
        web.get("/", async(function(request)
          local ws = web.WebSocketResponse()
          await(ws:prepare(request))
          return ws
        end)),
        web.get("/both", async(function(request)
          local ready = web.WebSocketResponse { protocols = { "p" } }:can_prepare(request)
          return web.Response { text = tostring(ready) }
        end)),
        web.post("/", async(function(request)
          await(web.WebSocketResponse():prepare(request))
        end)),
      }
      local server <close> = testing.TestServer(app)
      await(server:start_server())
      local function status(headers, path, method)
        local code, got, _, writer = wsclient.request(server.port, path or "/", { headers = headers, method = method })
        writer:close()
        return code, got
      end
      assert.equal(400, (status { Upgrade = false }))
      assert.equal(400, (status { Upgrade = "h2c" }))
      assert.equal(400, (status { Connection = "close" }))
      assert.equal(400, (status { ["Sec-WebSocket-Key"] = "short" }))
      assert.equal(400, (status { ["Sec-WebSocket-Key"] = false }))
      local code, headers = status { ["Sec-WebSocket-Version"] = "8" }
      assert.equal(426, code)
      assert.equal("13", headers["sec-websocket-version"])
      assert.equal(400, (status({ ["Content-Length"] = "0" }, "/", "POST")))
      assert.equal(200, (status({ Upgrade = false }, "/both")))
      assert.equal(200, (status({ ["Sec-WebSocket-Protocol"] = "p" }, "/both")))
      assert.equal(101, (status {}))
    end))
  end)

  it("checks its options", function()
    helper.raises("unexpected keyword argument 'heartbeet'", web.WebSocketResponse, { heartbeet = 1 })
    for name, bad in pairs {
      heartbeat = "x", autoclose = 1, autoping = "no", compress = 3, protocols = { "a b" }, timeout = true,
    } do
      helper.raises(asyncio.TypeError, web.WebSocketResponse, { [name] = bad })
    end
    for name, bad in pairs { timeout = -1, receive_timeout = 0 / 0, max_msg_size = -1, heartbeat = 0 } do
      helper.raises(asyncio.ValueError, web.WebSocketResponse, { [name] = bad })
    end
  end)

  it("wants to be prepared, once", function()
    serve(nil, function(ws, request)
      helper.raises("Already started", ws.can_prepare, ws, request)
      assert.equal(ws, await(ws:prepare(request)))
      local other = web.WebSocketResponse()
      helper.raises("Call .prepare() first", other.send_str, other, "x")
      helper.raises("Call .prepare() first", other.messages, other)
      assert.equal(false, other.closed)
      assert.is_nil(other.close_code)
    end, function(port, seen)
      local ws <close> = wsclient.connect(port)
      assert.equal(T.CLOSE, await(ws:receive(10)).type)
      assert.same({}, seen.errors)
    end)
  end)

  it("is closed when its handler returns", function()
    serve(nil, function() end, function(port)
      local ws <close> = wsclient.connect(port)
      local msg = await(ws:receive(10))
      assert.same({ T.CLOSE, 1000 }, { msg.type, msg.data })
      assert.equal(T.CLOSED, await(ws:receive(10)).type)
    end)
  end)

  it("is closed with 1011 when its handler fails, which is reported", function()
    serve(nil, function() error("broken") end, function(port, seen)
      local ws <close> = wsclient.connect(port)
      local msg = await(ws:receive(10))
      assert.same({ T.CLOSE, 1011 }, { msg.type, msg.data })
      assert.equal(1, #seen.errors)
      assert.is_truthy(tostring(seen.errors[1].exception):find("broken", 1, true))
    end)
  end)

  it("is closed with 1001 when its handler is cancelled", function()
    serve(nil, function(ws, _, seen)
      seen.task = asyncio.current_task()
      for _ in ws:messages() do end
    end, function(port, seen)
      local ws <close> = wsclient.connect(port)
      helper.turn(5)
      seen.task:cancel()
      local msg = await(ws:receive(10))
      assert.same({ T.CLOSE, 1001 }, { msg.type, msg.data })
      assert.is_nil(seen.done)
    end)
  end)

  it("leaves nothing behind with handler_cancellation when its handler never looks", function()
    serve(nil, function() await(asyncio.sleep(3600)) end, function(port) wsclient.connect(port).drop() end, { handler_cancellation = true })
  end)

  it("takes its handler along with handler_cancellation when the client just goes", function()
    local got
    local function handler(ws)
      local ok, err = asyncio.catch(function()
        for _ in ws:messages() do await(asyncio.sleep(3600)) end
        got = "goodbye"
        await(asyncio.sleep(0))
      end)
      if ok then return end
      got = asyncio.isinstance(err, asyncio.CancelledError)
      error(err, 0)
    end
    for how, expected in pairs { drop = true, close = "goodbye" } do
      serve(nil, handler, function(port, seen)
        local ws = wsclient.connect(port)
        if how == "drop" then
          await(ws:send_str("x"))
          helper.turn(3)
          ws.drop()
        else
          await(ws:close()) -- waited for by the handler, which goes on
        end
        helper.turn(5)
        assert.equal(expected, got)
        assert.equal(how == "close" or nil, seen.done)
        assert.same({}, seen.errors)
      end, { handler_cancellation = true })
    end
  end)

  it("is logged, and goes well with handler_cancellation", function()
    local lines = {}
    serve(nil, echo, function(port, seen)
      local ws <close> = wsclient.connect(port)
      await(ws:send_str("x"))
      assert.equal("x", await(ws:receive_str(10)))
      await(ws:close())
      helper.turn(5)
      assert.is_true(seen.done)
      assert.same({}, seen.errors)
      assert.equal(1, #lines)
      assert.is_truthy(lines[1]:find('"GET / HTTP/1.1" 101 ', 1, true))
    end, { access_log = function(line) lines[#lines + 1] = line end, handler_cancellation = true })
  end)

  it("ends its iteration when the peer just goes", function()
    for _, how in ipairs { "close", "abort" } do
      serve(nil, function(ws, _, seen)
        for msg in ws:messages() do seen.last = msg.data end
        seen.code = ws.close_code
        helper.raises(asyncio.OSError, await, ws:send_str("too late"))
      end, function(port, seen)
        local ws <close> = wsclient.connect(port)
        await(ws:send_str("last"))
        helper.eventually(function() return seen.last end)
        if how == "close" then ws.writer:close() else ws.writer.transport:abort() end
        helper.eventually(function() return seen.done end)
        assert.same({ "last", 1006, true }, { seen.last, seen.code, seen.done })
        assert.same({}, seen.errors)
      end)
    end
  end)

  it("takes messages that came with the request", function()
    assert.same({ "1:early", "1:bird", "8:1000" },
      answered(frames.text("early") .. frames.text("bird") .. frames.close(1000)))
  end)

  it("answers pings while its handler is busy", function()
    local free = asyncio.Event()
    serve(nil, function() await(free:wait()) end, function(port)
      local _, _, reader, writer = wsclient.request(port, "/")
      writer:write(frames.ping("busy?"))
      assert.same({ "10:busy?" }, read_frames(reader, 10))
      free:set()
      writer:close()
    end)
  end)

  it("is iterated over by asyncio.aiter, too", function()
    serve(nil, function(ws, _, seen)
      seen.got = {}
      for msg in asyncio.aiter(ws) do seen.got[#seen.got + 1] = msg.data end
    end, function(port, seen)
      local ws <close> = wsclient.connect(port)
      await(ws:send_str("a"))
      await(ws:send_str("b"))
      await(ws:close())
      helper.turn(5)
      assert.same({ "a", "b" }, seen.got)
    end)
  end)

  it("does not pile up pongs for a peer that pings and does not read", function()
    serve(nil, echo, function(port, seen)
      local _, _, reader, writer = wsclient.request(port, "/")
      writer.transport:pause_reading()
      local pings, sent = frames.ping(("p"):rep(125)):rep(1000), 0
      for _ = 1, 100 do -- 13 MB
        writer:write(pings)
        await(writer:drain())
        sent = sent + 1000
      end
      local pending = seen.ws._conn:writer().transport:get_write_buffer_size()
      assert.is_true(pending > 0 and pending < 200000, pending)
      writer:write(frames.ping("the last one"))
      writer.transport:resume_reading()
      local n, last, bytes = 0, nil, ""
      while last ~= "the last one" do
        local f, rest = frames.parse(bytes)
        if f then
          n, last, bytes = n + 1, f.payload, rest
        else
          bytes = bytes .. await(reader:read(1000))
        end
      end
      assert.is_true(n < sent)
      writer:close()
    end)
  end)

  it("sends from any number of tasks, each message in one piece", function()
    serve(nil, function(ws)
      local list = {}
      for i = 1, 50 do
        list[i] = async(function()
          for _ = 1, 10 do await(ws:send_str(("%02d"):format(i):rep(i * 50))) end
        end)()
      end
      await(asyncio.gather(table.unpack(list)))
    end, function(port)
      local ws <close> = wsclient.connect(port)
      local n = 0
      for msg in ws:messages() do
        local i = tonumber(msg.data:sub(1, 2))
        assert.equal(("%02d"):format(i):rep(i * 50), msg.data)
        n = n + 1
      end
      assert.equal(500, n)
    end)
  end)

  it("makes senders wait for a peer that does not read, and tells them when it goes", function()
    serve(nil, function(ws, _, seen)
      local data = ("x"):rep(100000)
      local ok, err = pcall(function()
        for i = 1, 1000 do
          seen.sent = i
          await(ws:send_bytes(data))
        end
      end)
      seen.ok, seen.err = ok, err
    end, function(port, seen)
      local _, _, reader, writer = wsclient.request(port, "/")
      await(reader:read(1))
      assert.is_true(helper.steady(function() return seen.sent end) < 500, "backpressure")
      writer.transport:abort()
      helper.eventually(function() return seen.done end)
      assert.is_false(seen.ok)
      assert.equal("ECONNRESET", seen.err.code)
    end)
  end)

  it("stops reading from a peer whose messages nobody takes", function()
    local go = asyncio.Event()
    serve(nil, function(ws, _, seen)
      await(go:wait())
      seen.n = 0
      for _ in ws:messages() do seen.n = seen.n + 1 end
    end, function(port, seen)
      local _, _, _, writer = wsclient.request(port, "/")
      local message = frames.binary(("x"):rep(50000))
      local task = asyncio.create_task(function()
        for _ = 1, 400 do
          writer:write(message)
          await(writer:drain())
        end
        writer:write(frames.close(1000))
      end)
      await(asyncio.sleep(0.1))
      assert.is_false(task:done())
      go:set()
      await(task)
      helper.eventually(function() return seen.done end)
      assert.equal(400, seen.n)
      writer:close()
    end)
  end)

  it("drops a peer that does not answer its heartbeat", function()
    serve({ heartbeat = 0.05 }, function(ws, _, seen)
      seen.msg = await(ws:receive())
      seen.code, seen.exception = ws.close_code, ws:exception()
    end, function(port, seen)
      local _, _, reader, writer = wsclient.request(port, "/")
      assert.same({ "9:" }, read_frames(reader))
      assert.equal(T.ERROR, seen.msg.type)
      assert.equal(1006, seen.code)
      assert.is_true(asyncio.isinstance(seen.exception, asyncio.TimeoutError))
      writer:close()
    end)
  end)

  it("keeps a peer that does", function()
    serve({ heartbeat = 0.02 }, echo, function(port)
      local ws <close> = wsclient.connect(port)
      helper.raises(asyncio.TimeoutError, await, ws:receive(0.2))
      await(ws:send_str("still here"))
      assert.equal("still here", await(ws:receive_str(10)))
      await(ws:close())
    end)
  end)

  it("tells a peer why it is refused, though that sends on and on", function()
    serve({ max_msg_size = 1000 }, echo, function(port)
      local _, _, reader, writer = wsclient.request(port, "/")
      writer:write(frames.binary(("x"):rep(1000)))
      assert.equal(1, #read_frames(reader, 2))
      writer:write(frames.binary(("x"):rep(1000000)))
      assert.same({ "8:1009" }, read_frames(reader))
      writer:close()
    end)
  end)

  it("outlives the time-outs of HTTP", function()
    serve(nil, echo, function(port)
      local ws <close> = wsclient.connect(port)
      await(asyncio.sleep(0.6))
      await(ws:send_str("still here"))
      assert.equal("still here", await(ws:receive_str(60 * helper.slow)))
      await(ws:close())
    end, { settings = { keepalive_timeout = 0.25, header_timeout = 0.25, body_timeout = 0.25, send_timeout = 0.25, lingering_time = 0.25 } })
  end)

  it("waits no longer than its time-out for a peer that does not answer a close", function()
    serve({ timeout = 0.05 }, function(ws, _, seen)
      seen.closed = await(ws:close())
      seen.code, seen.err = ws.close_code, ws:exception()
    end, function(port, seen)
      local _, _, reader, writer = wsclient.request(port, "/")
      assert.same({ "8:1000" }, read_frames(reader))
      helper.turn(5)
      assert.same({ true, 1006, 101 }, { seen.closed, seen.code, seen.ws.status })
      assert.is_true(asyncio.isinstance(seen.err, asyncio.TimeoutError))
      writer:close()
    end)
  end)

  it("tells a peer what it did wrong when that is received, at the end of the handler, or in time", function()
    local bad = frames.text("x") .. frames.frame(5)
    for how, handle in pairs {
      returns = function(ws) await(ws:receive()) end,
      closes = function(ws)
        await(ws:receive())
        assert.is_true(await(ws:close { code = 4000, message = "mine" }))
      end,
      fails = function(ws)
        await(ws:receive())
        ws:_fail()
      end,
      waits = function(ws, _, seen)
        assert.equal("x", await(ws:receive_str()))
        await(ws:send_str("still"))
        await(seen.told)
        helper.raises(asyncio.OSError, function() await(ws:send_str("too late")) end)
        local err = await(ws:receive())
        assert.same({ web.WSMsgType.ERROR, 1002 }, { err.type, err.data.code })
      end,
    } do
      serve({ timeout = how == "waits" and 0.05 or 30 }, handle, function(port, seen)
        seen.told = asyncio.get_running_loop():create_future()
        local _, _, reader, writer = wsclient.request(port, "/")
        writer:write(bad)
        local expected = how == "waits" and { "1:still", "8:1002" } or { "8:1002" }
        assert.same(expected, read_frames(reader), how)
        assert.equal(1002, seen.ws.close_code)
        seen.told:set_result(nil)
        writer:close()
      end)
    end
  end)

  it("closes with a scope", function()
    serve(nil, function(_, request, seen)
      local _ = request
      do
        local ws <close> = seen.ws
        await(ws:send_str("in"))
      end
      assert.is_true(seen.ws.closed)
    end, function(port)
      local ws <close> = wsclient.connect(port)
      assert.equal("in", await(ws:receive_str(10)))
      assert.equal(1000, await(ws:receive(10)).data)
    end)
  end)

  it("lets the server close while it is open", function()
    serve(nil, function(ws)
      for _ in ws:messages() do end
    end, function(port, seen, server)
      local ws <close> = wsclient.connect(port)
      helper.turn(5)
      function seen.shutdown() await(seen.ws:close { code = 1001, message = "Server shutdown" }) end
      local closing = asyncio.create_task(server:close())
      local msg = await(ws:receive(10))
      assert.same({ T.CLOSE, 1001, "Server shutdown" }, { msg.type, msg.data, msg.extra })
      await(closing)
    end)
  end)

  if zlib then
    it("compresses, if the client offers that", function()
      serve(nil, function(ws, _, seen)
        seen.compress = ws.compress
        echo(ws)
      end, function(port, seen)
        local offer = { headers = { ["Sec-WebSocket-Extensions"] = "permessage-deflate; client_max_window_bits=11" } }
        local ws <close> = wsclient.connect(port, "/", offer)
        assert.equal("permessage-deflate; client_max_window_bits=11", ws.headers["sec-websocket-extensions"])
        for i = 1, 5 do
          local data = ("compress me, "):rep(i * 1000)
          await(ws:send_str(data))
          assert.equal(data, await(ws:receive_str(10)))
        end
        assert.is_true(seen.compress)
        await(ws:close())
      end)
      serve({ compress = false }, function(ws, _, seen) seen.compress = ws.compress end, function(port, seen)
        local ws <close> = wsclient.connect(port, "/", { headers = { ["Sec-WebSocket-Extensions"] = "permessage-deflate" } })
        assert.is_nil(ws.headers["sec-websocket-extensions"])
        assert.is_false(seen.compress)
      end)
    end)
  end

  if helper.has_tls() then
    it("goes over TLS", function()
      local certs = require "spec.certs"
      serve(nil, function(ws, _, seen)
        seen.cipher = ws:get_extra_info("cipher")
        echo(ws)
      end, function(port, seen)
        local ws <close> = wsclient.connect(port, "/", { ssl = certs.client(), server_hostname = "localhost" })
        for _, n in ipairs { 1, 1000, 300000 } do
          await(ws:send_bytes(("s"):rep(n)))
          assert.equal(("s"):rep(n), await(ws:receive_bytes(10)))
        end
        assert.is_true(await(ws:close()))
        assert.is_truthy(seen.cipher)
      end, { ssl = certs.server() })
    end)
  end

  it("runs without a connection on a mocked request", function()
    helper.run(async(function()
      local request, exchange = testing.make_mocked_request("GET", "/", { headers = {
        Upgrade = "websocket", Connection = "Upgrade", ["Sec-WebSocket-Version"] = "13",
        ["Sec-WebSocket-Key"] = "dGhlIHNhbXBsZSBub25jZQ==",
      } })
      local ws = web.WebSocketResponse { heartbeat = 10 }
      await(ws:prepare(request))
      assert.equal(101, exchange.status)
      assert.equal("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", exchange:sent_header("Sec-WebSocket-Accept"))
      ws._conn:feed(frames.text("fed"))
      assert.equal("fed", await(ws:receive_str()))
      await(ws:send_str("collected"))
      assert.same({ "1:collected" }, frames.list(ws._conn:output()))
      assert.equal(T.ERROR, await(ws:receive()).type)
      assert.equal(1006, ws.close_code)
    end))
  end)
end)

-- What Autobahn's catalogue asks, on a real socket, in pieces of different sizes.
describe("RFC 6455 on a socket", function()
  local text, binary, more, ping = frames.text, frames.binary, frames.continuation, frames.ping
  local part, close = { fin = false }, frames.close(1000)
  local cases = {
    { "1.1.1 empty text", text("") .. close, { "1:", "8:1000" } },
    { "1.2.2 bytes", binary(("\xfe"):rep(125)) .. close, { "2:" .. ("\xfe"):rep(125), "8:1000" } },
    { "2.2 ping with payload", ping("Hello, world!") .. close, { "10:Hello, world!", "8:1000" } },
    { "2.5 ping of 126 bytes", ping(("\xfe"):rep(126)), { "8:1002" } },
    { "2.7 unsolicited pong", frames.pong("unsolicited") .. ping("p") .. close, { "10:p", "8:1000" } },
    { "2.10 ten pings", (ping("a") .. ping("b")):rep(5) .. close,
      { "10:a", "10:b", "10:a", "10:b", "10:a", "10:b", "10:a", "10:b", "10:a", "10:b", "8:1000" } },
    { "3.2 reserved bits after a text", text("small") .. text("small", { rsv = 2 }) .. ping(), { "1:small", "8:1002" } },
    { "3.6 reserved bits of bytes", binary("x", { rsv = 6 }), { "8:1002" } },
    { "4.1.3 reserved opcode", text("Hello") .. frames.frame(5) .. ping(), { "1:Hello", "8:1002" } },
    { "4.2.4 reserved control opcode", frames.frame(14, "x"), { "8:1002" } },
    { "5.1 fragmented ping", ping("f", part) .. more("g"), { "8:1002" } },
    { "5.3 two fragments", text("frag1", part) .. more("frag2") .. close, { "1:frag1frag2", "8:1000" } },
    { "5.6 ping between", text("frag1", part) .. ping("p") .. more("frag2") .. close, { "10:p", "1:frag1frag2", "8:1000" } },
    { "5.9 continuation of nothing", more("x") .. text("y"), { "8:1002" } },
    { "5.15 continuation after a message", text("a", part) .. more("b") .. more("c", part) .. text("d"), { "1:ab", "8:1002" } },
    { "5.18 text twice begun", text("a", part) .. text("b"), { "8:1002" } },
    { "5.19 pings among fragments", text("1", part) .. more("2", part) .. ping("x") .. more("3", part) .. more("4", part)
      .. ping("y") .. more("5") .. close, { "10:x", "10:y", "1:12345", "8:1000" } },
    { "6.2.3 text byte by byte", text("H", part) .. more("é", part) .. more("") .. close, { "1:Hé", "8:1000" } },
    { "6.3.1 invalid text", text("\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80\x65"), { "8:1007" } },
    { "6.4.1 fails fast", text("\xce\xba\xf4", part) .. more("\x90\x80\x80", part), { "8:1007" } },
    { "6.9 incomplete at the end", text("\xf4\x8f\xbf"), { "8:1007" } },
    { "7.1.2 two closes", close .. close, { "8:1000" } },
    { "7.1.3 ping after close", close .. ping("x"), { "8:1000" } },
    { "7.1.4 text after close", close .. text("x"), { "8:1000" } },
    { "7.3.1 empty close", frames.close(), { "8:" } },
    { "7.3.2 close of one byte", frames.frame(8, "a"), { "8:1002" } },
    { "7.3.5 longest reason", frames.close(1000, ("*"):rep(123)), { "8:1000" } },
    { "7.3.6 too long a reason", frames.close(1000, ("*"):rep(124)), { "8:1002" } },
    { "7.5.1 invalid reason", frames.close(1000, "\xed\xa0\x80"), { "8:1007" } },
    { "7.9.3 code 1005", frames.close(1005), { "8:1002" } },
    { "7.7.13 code 4999", frames.close(4999), { "8:4999" } },
    { "9.1.1 64 KiB", text(("*"):rep(65536)) .. close, { "1:65536 bytes, **********...", "8:1000" } },
    { "9.3.1 1 MiB in fragments", binary(("x"):rep(65536), part) .. more(("x"):rep(65536), part):rep(14)
      .. more(("x"):rep(65536)) .. close, { "2:1048576 bytes, xxxxxxxxxx...", "8:1000" } },
    { "no mask", text("x", { mask = false }), { "8:1002" } },
  }
  for _, case in ipairs(cases) do
    it(case[1], function()
      assert.same(case[3], answered(case[2]))
      if #case[2] < 300 and case[2]:sub(-#close) == close and not case[1]:find("^7") then assert.same(case[3], answered(case[2], nil, 1)) end
    end)
  end
end)
