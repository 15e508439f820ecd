local asyncio = require "asyncio"
local frames = require "spec.http.frames"
local helper = require "spec.helper"

local has, http = pcall(require, "http")
if not has or not pcall(require, "http.client.core") then return pending("built without HTTP") end
local testing = require "http.testing"
local web = require "http.web"
local websocket = require "http.websocket"
local T = http.WSMsgType

--- An application with an echo at /ws (`seen` takes what its handler knows), one that closes, one that says nothing.
local function application(seen)
  local app = web.Application()
  app:add_routes {
    web.get("/ws", async(function(request)
      local ws = web.WebSocketResponse { protocols = { "chat", "echo" } }
      await(ws:prepare(request))
      seen.headers, seen.protocol, seen.compress = request.headers, ws.ws_protocol, ws.compress
      seen.query = request.query
      for msg in ws:messages() do
        if msg.type == T.TEXT then
          await(ws:send_str(msg.data .. "/answer"))
        elseif msg.type == T.BINARY then
          await(ws:send_bytes(msg.data))
        end
      end
      seen.code, seen.error = ws.close_code, ws:exception()
      return ws
    end)),
    web.get("/closes", async(function(request)
      local ws = web.WebSocketResponse()
      await(ws:prepare(request))
      await(ws:close { code = 4321, message = "schön war's" })
      return ws
    end)),
    web.get("/deaf", async(function(request) -- answers nothing by itself
      local ws = web.WebSocketResponse { autoping = false, autoclose = false }
      await(ws:prepare(request))
      seen.task = asyncio.current_task()
      await(asyncio.sleep(1e6))
      return ws
    end)),
    web.get("/moved", async(function() return web.HTTPFound("/ws?moved=1") end)),
    web.get("/plain", async(function() return web.Response { text = "no WebSocket" } end)),
    web.get("/error", async(function() return web.Response { status = 503 } end)),
    web.get("/secret", async(function(request)
      if request.headers.Authorization ~= http.BasicAuth("user", "pw"):encode() then return web.HTTPUnauthorized() end
      local ws = web.WebSocketResponse()
      await(ws:prepare(request))
      await(ws:send_str("come in"))
      return ws
    end)),
  }
  return app
end

--- Runs f(client, seen) with a TestClient of that application; of real time.
local function with_client(f, opts)
  asyncio.run(async(function()
    local seen = {}
    local client <close> = testing.TestClient(testing.TestServer(application(seen), { handler_cancellation = true }), opts)
    await(client:start_server())
    local _ <close> = asyncio.timeout(60 * helper.slow)
    f(client, seen)
  end))
end

--- Runs f(session, url, requests) against a server that answers each request by answer(head, key, writer, reader).
local function with_server(answer, f, opts)
  asyncio.run(async(function()
    local heads = {}
    local server <close> = await(asyncio.start_server(async(function(reader, writer)
      local _ <close> = writer
      local head = await(reader:readuntil("\r\n\r\n"))
      heads[#heads + 1] = head
      answer(head, head:match("Sec%-WebSocket%-Key: ([^\r\n]+)"), writer, reader)
    end), "127.0.0.1", 0))
    local url = ("ws://127.0.0.1:%d/ws"):format(server.sockets[1]:getsockname()[2])
    local session <close> = http.ClientSession(opts)
    local _ <close> = asyncio.timeout(60 * helper.slow)
    f(session, url, heads)
  end))
end

local function accept(key, more)
  return "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
    .. websocket.accept_key(key) .. "\r\n" .. (more or "") .. "\r\n"
end

describe("session:ws_connect", function()
  it("opens a WebSocket and talks: text, bytes, JSON, pings", function()
    with_client(function(client, seen)
      local ws = await(client:ws_connect("/ws"))
      assert(tostring(ws):find("^<ClientWebSocketResponse http.* open>$"), tostring(ws))
      assert.is_false(ws.closed)
      assert.is_nil(ws.close_code)
      await(ws:send_str("ask"))
      assert.equal("ask/answer", await(ws:receive_str()))
      await(ws:send_bytes("\0\1\255"))
      assert.equal("\0\1\255", await(ws:receive_bytes()))
      await(ws:send_json({ 1, 2 }, { dumps = function() return "[1]" end }))
      assert.equal("[1]/answer", await(ws:receive_str()))
      await(ws:ping("hello"))
      local msg = await(ws:send_str("\"x\""))
      assert.is_nil(msg)
      msg = await(ws:receive())
      assert.equal(T.TEXT, msg.type)
      assert.is_true(await(ws:close()))
      assert.is_true(ws.closed)
      assert.equal(1000, ws.close_code)
      assert.is_false(await(ws:close()))
      assert.equal(1000, seen.code)
      assert.equal(101, ws.response.status)
      assert.is_nil(ws.protocol)
      assert.equal("nobody", ws:get_extra_info("no such thing", "nobody"))
    end)
  end)

  it("iterates over messages until the server closes, whose code and reason it has", function()
    with_client(function(client)
      local ws <close> = await(client:ws_connect("/closes"))
      local msg = await(ws:receive())
      assert.same({ T.CLOSE, 4321, "schön war's" }, { msg.type, msg.data, msg.extra })
      assert.equal(T.CLOSED, await(ws:receive()).type)
      assert.equal(4321, ws.close_code)
      local again <close> = await(client:ws_connect("/closes"))
      for _ in again:messages() do error("there is no message") end
      assert.is_true(again.closed)
      helper.raises(asyncio.OSError, await, again:send_str("too late"))
    end)
  end)

  it("sends what a handshake has, and what it was given: headers, origin, protocols, query, cookies", function()
    with_client(function(client, seen)
      client.session.cookie_jar:update_cookies({ a = "b" })
      local ws <close> = await(client:ws_connect("/ws", {
        headers = { ["X-Own"] = "1" }, origin = "http://here", protocols = { "echo", "chat" }, params = { q = "a b" },
      }))
      assert.equal("chat", ws.protocol)
      assert.equal("chat", seen.protocol)
      local h = seen.headers
      assert.same({ "websocket", "Upgrade", "13", "1", "http://here", "echo, chat", "a=b" }, {
        h.Upgrade, h.Connection, h["Sec-WebSocket-Version"], h["X-Own"], h.Origin, h["Sec-WebSocket-Protocol"], h.Cookie,
      })
      assert.equal(24, #h["Sec-WebSocket-Key"])
      assert.is_nil(h["Sec-WebSocket-Extensions"])
      assert.equal("a b", seen.query.q)
      assert.is_false(ws.compress)
    end)
  end)

  it("has a key of its own for each handshake", function()
    local keys = {}
    with_server(function(_, key, writer)
      keys[#keys + 1] = key
      writer:write(accept(key))
    end, function(session, url)
      for _ = 1, 3 do await(session:ws_connect(url, { timeout = 0.1 })) end
    end)
    assert(keys[1] ~= keys[2] and keys[2] ~= keys[3] and keys[1] ~= keys[3])
  end)

  it("compresses when asked to", function()
    if not require("http.ws").deflate then return pending("built without zlib") end
    with_client(function(client, seen)
      for _, bits in ipairs { true, 15, 9 } do
        local ws <close> = await(client:ws_connect("/ws", { compress = bits }))
        assert.equal(bits == 9 and 9 or 15, ws.compress)
        assert.is_true(seen.compress)
        assert.is_false(ws.client_notakeover)
        for _ = 1, 3 do
          await(ws:send_str(("x"):rep(5000)))
          assert.equal(("x"):rep(5000) .. "/answer", await(ws:receive_str()))
        end
      end
    end)
  end)

  it("follows redirects, and says where it came to", function()
    with_client(function(client, seen)
      local ws <close> = await(client:ws_connect("/moved"))
      assert.equal("1", seen.query.moved)
      assert.equal(1, #ws.response.history)
      await(ws:send_str("a"))
      assert.equal("a/answer", await(ws:receive_str()))
    end)
  end)

  it("gives credentials", function()
    with_client(function(client)
      local ws <close> = await(client:ws_connect("/secret", { auth = http.BasicAuth("user", "pw") }))
      assert.equal("come in", await(ws:receive_str()))
      local e = helper.raises(http.WSServerHandshakeError, await, client:ws_connect("/secret"))
      assert.equal(401, e.status)
    end)
  end)

  it("refuses what is no handshake's answer, and the connection is not used again", function()
    with_client(function(client)
      for path, status in pairs { ["/plain"] = 200, ["/error"] = 503, ["/none"] = 404 } do
        local e = helper.raises(http.WSServerHandshakeError, await, client:ws_connect(path))
        assert.equal(status, e.status)
        assert.equal("Invalid response status", e.message)
        assert(tostring(e):find("GET " .. client:make_url(path), 1, true), tostring(e))
        assert.equal("GET", e.request_info.method)
        assert.same({}, e.history)
      end
      local resp <close> = await(client:get("/plain"))
      assert.equal("no WebSocket", await(resp:text()))
    end, { raise_for_status = true })
  end)

  it("refuses answers that RFC 6455 refuses", function()
    local answers = {
      ["Invalid upgrade header"] = function(key) return accept(key):gsub("Upgrade: websocket", "Upgrade: h2c") end,
      ["Invalid connection header"] = function(key) return accept(key):gsub("Connection: Upgrade", "Connection: close") end,
      ["Invalid challenge response"] = function() return accept("dGhlIHNhbXBsZSBub25jZQ==") end,
      ["the server chose an extension that was not offered: x-y"] = function(key)
        return accept(key, "Sec-WebSocket-Extensions: x-y\r\n")
      end,
    }
    for message, make in pairs(answers) do
      with_server(function(_, key, writer) writer:write((make(key))) end, function(session, url)
        local e = helper.raises(http.WSServerHandshakeError, await, session:ws_connect(url))
        assert.equal(message, e.message)
        assert.equal(101, e.status)
      end)
    end
  end)

  it("takes an answer whatever its case, and with other tokens", function()
    with_server(function(_, key, writer)
      local answer = accept(key, "Sec-WebSocket-Protocol: other\r\n"):gsub("Connection: Upgrade", "connection: keep-alive, upgrade")
      writer:write((answer:gsub("Upgrade: websocket", "UPGRADE: WebSocket")))
    end, function(session, url)
      local ws = await(session:ws_connect(url, { protocols = { "chat" }, timeout = 0.01 }))
      assert.is_nil(ws.protocol) -- the server's was not offered
    end)
  end)

  it("keeps what comes with the handshake's answer", function()
    with_server(function(_, key, writer, reader)
      writer:write(accept(key) .. frames.text("early", { mask = false }) .. frames.close(1000, "", { mask = false }))
      await(reader:read(1))
    end, function(session, url)
      local ws <close> = await(session:ws_connect(url))
      assert.equal("early", await(ws:receive_str()))
      assert.equal(T.CLOSE, await(ws:receive()).type)
    end)
  end)

  it("is told of a server that goes away", function()
    with_server(function(_, key, writer) writer:write(accept(key)) end, function(session, url)
      local ws = await(session:ws_connect(url))
      assert.equal(T.CLOSED, await(ws:receive()).type)
      assert.equal(1006, ws.close_code)
      assert.is_true(ws.closed)
    end)
    with_server(function() end, function(session, url)
      helper.raises(http.ServerDisconnectedError, await, session:ws_connect(url))
    end)
  end)

  it("sends frames by their type, and knows nothing of a connection that was closed", function()
    with_client(function(client)
      local ws = await(client:ws_connect("/ws", { autoping = false }))
      assert.truthy(ws:get_extra_info "peername")
      for _, kind in ipairs { T.TEXT, T.BINARY } do
        await(ws:send_frame("x", kind))
        local msg = await(ws:receive())
        assert.same({ kind, kind == T.TEXT and "x/answer" or "x" }, { msg.type, msg.data })
      end
      await(ws:send_frame("", T.PING))
      assert.equal(T.PONG, await(ws:receive()).type)
      await(ws:send_frame("", T.PONG))
      helper.raises("send_frame: TEXT, BINARY, PING or PONG", ws.send_frame, ws, "", T.CLOSE)
      await(ws:close())
      assert.same({ nil, 1 }, { ws:get_extra_info "peername", ws:get_extra_info("peername", 1) })
    end)
  end)

  it("ends a server that breaks the protocol, with a code", function()
    with_server(function(_, key, writer, reader)
      writer:write(accept(key) .. frames.text("masked"))
      await(reader:read())
    end, function(session, url)
      local ws = await(session:ws_connect(url, { timeout = 0.05 }))
      local msg = await(ws:receive())
      assert.equal(T.ERROR, msg.type)
      assert.equal(1002, msg.data.code)
      assert.equal(msg.data, ws:exception())
      assert.equal(1002, ws.close_code)
    end)
  end)

  it("limits messages", function()
    with_client(function(client)
      local ws <close> = await(client:ws_connect("/ws", { max_msg_size = 100, timeout = 1 }))
      await(ws:send_str(("x"):rep(200)))
      local msg = await(ws:receive())
      assert.same({ T.ERROR, 1009 }, { msg.type, msg.data.code })
    end)
  end)
end)

describe("a client's WebSocket and time", function()
  it("waits for a message as long as it is told", function()
    with_client(function(client)
      local ws = await(client:ws_connect("/deaf", { timeout = http.ClientWSTimeout { ws_receive = 0.01, ws_close = 0.02 } }))
      helper.raises(asyncio.TimeoutError, await, ws:receive())
      helper.raises(asyncio.TimeoutError, await, ws:receive(0.001))
      assert.is_true(await(ws:close()))
      assert.equal(1006, ws.close_code)
      assert.equal("TimeoutError: close(): no answer within 0.02 seconds", tostring(ws:exception()))
      local other <close> = await(client:ws_connect("/deaf", { receive_timeout = 0.01, timeout = 0.02 }))
      helper.raises(asyncio.TimeoutError, await, other:receive())
    end)
  end)

  it("finds a dead server by its heartbeat", function()
    with_client(function(client)
      local ws <close> = await(client:ws_connect("/deaf", { heartbeat = 0.02 }))
      local msg = await(ws:receive())
      assert.equal(T.ERROR, msg.type)
      assert(asyncio.isinstance(msg.data, asyncio.TimeoutError))
      assert.equal(1006, ws.close_code)
    end)
  end)

  it("does not wait for the handshake longer than the session's timeout", function()
    with_server(function(_, _, _, reader) await(reader:read()) end, function(session, url)
      local e = helper.raises(asyncio.TimeoutError, await, session:ws_connect(url))
      assert(tostring(e):find(url:gsub("^ws", "http"), 1, true) or tostring(e):find(url, 1, true), tostring(e))
    end, { timeout = http.ClientTimeout { total = 0.05 } })
  end)
end)

describe("a client's WebSocket and its session", function()
  it("counts against the connector's limit until it has ended", function()
    with_client(function(client)
      local ws = await(client:ws_connect("/ws"))
      local waiting = asyncio.create_task(client:get("/plain"))
      helper.raises(asyncio.TimeoutError, await, asyncio.wait_for(asyncio.shield(waiting), 0.02))
      await(ws:close())
      local resp <close> = await(waiting)
      assert.equal(200, resp.status)
    end, { connector = http.TCPConnector { limit = 1 } })
  end)

  it("gives its place back when it is dropped without a word", function()
    with_client(function(client)
      do await(client.session:ws_connect(client:make_url("/ws"))) end
      collectgarbage()
      collectgarbage()
      local resp <close> = await(client:get("/plain"))
      assert.equal(200, resp.status)
    end, { connector = http.TCPConnector { limit = 1 } })
  end)

  it("ends with its session", function()
    with_client(function(client)
      local ws = await(client:ws_connect("/ws"))
      await(client.session:close())
      assert.is_true(ws.closed)
      assert.equal(1006, ws.close_code)
      assert.equal(T.CLOSED, await(ws:receive()).type)
    end)
  end)

  it("is left behind cleanly by a task that is cancelled", function()
    with_client(function(client, seen)
      local opened
      local task = asyncio.create_task(async(function()
        local ws <close> = await(client:ws_connect("/ws"))
        await(ws:send_str("x"))
        opened = true
        while true do await(ws:receive()) end
      end))
      while not opened do await(asyncio.sleep(0.001)) end
      task:cancel()
      assert.is_false((asyncio.catch(await, task)))
      assert.is_true(task:cancelled())
      while not seen.code do await(asyncio.sleep(0.001)) end
      assert.equal(1001, seen.code)
    end)
  end)

  it("is not opened by a session that is closed meanwhile, nor by a closed one", function()
    with_server(function(_, _, _, reader) await(reader:read()) end, function(session, url, heads)
      local task = asyncio.create_task(session:ws_connect(url))
      while #heads == 0 do await(asyncio.sleep(0.001)) end
      await(session:close())
      helper.raises(http.ClientConnectionError, await, task)
      helper.raises("Session is closed", session.ws_connect, session, url)
    end)
  end)

  it("can be cancelled during the handshake", function()
    with_server(function(_, _, _, reader) await(reader:read()) end, function(session, url, heads)
      local task = asyncio.create_task(session:ws_connect(url))
      while #heads == 0 do await(asyncio.sleep(0.001)) end
      task:cancel()
      assert.is_false((asyncio.catch(await, task)))
      assert.is_true(task:cancelled())
    end)
  end)
end)

describe("ws_connect by way of a proxy", function()
  local proxies = require "spec.http.client.proxies"

  local function talks(client, opts)
    local ws <close> = await(client:ws_connect("/ws", opts))
    await(ws:send_str("from far"))
    assert.equal("from far/answer", await(ws:receive_str()))
    assert.is_true(await(ws:close()))
  end

  it("asks one of HTTP for a tunnel, with credentials", function()
    with_client(function(client)
      local proxy <close>, port, seen = proxies.http()
      local url = ("http://user:pw@127.0.0.1:%d"):format(port or proxy.sockets[1]:getsockname()[2])
      talks(client, { proxy = url })
      assert.equal(("CONNECT 127.0.0.1:%d HTTP/1.1"):format(client.port), seen[1][1])
      local text = table.concat(seen[1], "\n")
      assert(text:find("Proxy-Authorization: " .. http.BasicAuth("user", "pw"):encode(), 1, true), text)
      assert.is_nil(text:find("Sec-WebSocket", 1, true))
    end)
  end)

  it("is told when the proxy refuses", function()
    with_client(function(client)
      local proxy <close>, port = proxies.http { answer = function(_, writer)
        writer:write("HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
        return true
      end }
      local url = "http://127.0.0.1:" .. (port or proxy.sockets[1]:getsockname()[2])
      local e = helper.raises(http.ClientHttpProxyError, await, client:ws_connect("/ws", { proxy = url }))
      assert.equal(407, e.status)
    end)
  end)
end)

describe("ws_connect's arguments", function()
  it("are checked at the call", function()
    asyncio.run(async(function()
      local session <close> = http.ClientSession()
      local url = "ws://127.0.0.1:1/"
      for expected, opts in pairs {
        ["got an unexpected keyword argument 'nonsense'"] = { nonsense = 1 },
        ["protocols: an array of names was expected, got a string"] = { protocols = "chat" },
        ["protocols: an array of names"] = { protocols = { "a b" } },
        ["compress: the window must have 9 to 15 bits, not 8"] = { compress = 8 },
        ["compress: a boolean, or 9 to 15, was expected, got a string"] = { compress = "yes" },
        ["heartbeat: a number of seconds above 0 was expected, got 0"] = { heartbeat = 0 },
        ["max_msg_size: a number of bytes (0 or more) was expected, got 1.5"] = { max_msg_size = 1.5 },
        ["max_msg_size: a number of bytes was expected, got a string"] = { max_msg_size = "4M" },
        ["autoping: a boolean was expected, got a number"] = { autoping = 1 },
        ["timeout: a number of seconds was expected, got a string"] = { timeout = "1" },
        ["ws_close: 0 or more seconds were expected"] = { timeout = { ws_close = -1 } },
        ["headers: a table or Headers was expected, got a string"] = { headers = "X: y" },
        ["origin: a string was expected, got a number"] = { origin = 1 },
        ["auth: a BasicAuth or DigestAuth was expected, got a string"] = { auth = "user:pw" },
      } do
        helper.raises(expected, session.ws_connect, session, url, opts)
      end
      helper.raises(asyncio.ValueError, session.ws_connect, session, url, { headers = { ["X-A"] = "a\r\nB: c" } })
      helper.raises(http.NonHttpUrlClientError, session.ws_connect, session, "ftp://127.0.0.1/")
      helper.raises(http.InvalidURL, session.ws_connect, session, "ws://")
      helper.raises(asyncio.TypeError, http.ClientWebSocketResponse)
      helper.raises("unexpected keyword", http.ClientWSTimeout, { total = 1 })
    end))
  end)
end)

describe("over TLS, ws_connect", function()
  it("verifies, and speaks", function()
    if not helper.has_tls() then return pending("built without TLS") end
    local dir = helper.tmpdir()
    assert(helper.sh("sh scripts/make_certificate.sh " .. helper.quote(dir)) == 0)
    local ssl = require "ssl"
    local context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context:load_cert_chain(dir .. "/cert.pem", dir .. "/key.pem")
    asyncio.run(async(function()
      local seen = {}
      local client <close> = testing.TestClient(testing.TestServer(application(seen), { ssl = context }))
      await(client:start_server())
      local trusting = ssl.create_default_context { cafile = dir .. "/cert.pem" }
      local url = client:make_url("/ws"):gsub("^https", "wss")
      helper.raises(http.ClientConnectorCertificateError, await, client.session:ws_connect(url))
      for _, how in ipairs { trusting, false } do
        local ws <close> = await(client.session:ws_connect(url, { ssl = how }))
        await(ws:send_str("over TLS"))
        assert.equal("over TLS/answer", await(ws:receive_str()))
        assert(ws:get_extra_info("ssl_object"))
      end
    end))
  end)
end)
