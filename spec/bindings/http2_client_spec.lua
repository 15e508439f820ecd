-- Clients of HTTP/2: against servers of our own, and against peers that do frame by frame what they are told.
local helper = require "spec.helper"
local asyncio = require "asyncio"
local client = require "http.client.core"

if not client.Connection2 then return end -- built without nghttp2

local h2 = require "spec.http.http2peer"
local peers = require "spec.http.peers"

local HOST = { "Host", "localhost" }

--- A connection to that port.
local function connect(port, settings)
  local known = { http2 = true }
  for k, v in pairs(settings or {}) do known[k] = v end
  local r, w = await(asyncio.open_connection("127.0.0.1", port))
  return client.connection(r, w, client.settings(known))
end

--- Runs f(conn, server) with a connection to the application of spec.http.peers.
local function with_server(f, settings)
  peers.serve(function(server)
    local conn <close> = connect(server.port, settings)
    f(conn, server)
  end)
end

--- Runs f(conn, log) with a connection to a peer that does act(peer), in a task. log.free: how often on_free was called.
--- opts: virtual time, settings of ours, peer_settings.
local function with_peer(act, f, opts)
  opts = opts or {}
  local log = { free = 0 }
  local settings = {
    on_free = function(conn, dropped) log.free, log.conn, log.dropped = log.free + 1, conn, dropped end,
  }
  for k, v in pairs(opts.settings or {}) do settings[k] = v end
  asyncio.run(async(function()
    local server <close> = await(asyncio.start_server(async(function(r, w)
      local peer = h2.accept(r, w, opts.peer_settings)
      log.peer = peer
      local ok, e = pcall(act, peer, log)
      if not ok then log.error = e end
      peer:close()
    end), "127.0.0.1", 0))
    local _ <close> = asyncio.timeout(60 * helper.slow)
    local conn <close> = connect(server.sockets[1].port, settings)
    f(conn, log)
    conn:close()
    server:close()
    helper.turn(20)
    if log.error then error(log.error, 0) end
    log.conn = nil
  end)(), { clock = opts.virtual and "virtual" or nil })
end

--- The error that f raises.
local function raised(f, ...)
  local ok, e = pcall(f, ...)
  if ok then error("nothing was raised", 2) end
  return e
end

--- Its class and what it says.
local function said(e) return e.name .. ": " .. e.message:gsub("^spec/[%w_/]+%.lua:%d+: ", "") end

local function wait_for(f)
  while not f() do await(asyncio.sleep(0.005)) end
end

local function get(conn, target, headers)
  local x = conn:request("GET", target, headers or HOST)
  local status = await(x:response())
  return status, await(x:read()), x
end

describe("a request of HTTP/2", function()
  it("is answered", function()
    with_server(function(conn)
      local status, body, x = get(conn, "/")
      assert.same({ 200, "hello", true, "2.0", "OK" }, { status, body, x:over(), x:version(), x:reason() })
      assert.equal("text/plain; charset=utf-8", x:header "Content-Type")
      assert.equal("5", x:headers()["content-length"])
      assert.same({ 5, true, true }, { x:content_length(), x:has_body(), x:multiplexed() })
    end)
  end)

  it("runs beside others on one connection", function()
    with_server(function(conn)
      local xs = {}
      for i = 1, 50 do xs[i] = conn:request("GET", "/digits/" .. i * 1000, HOST) end
      for i = 50, 1, -1 do
        assert.equal(200, await(xs[i]:response()))
        assert.equal(i * 1000, #await(xs[i]:read()))
      end
    end)
  end)

  it("sends a body: at once, of known length, of unknown length", function()
    with_server(function(conn)
      local big = peers.digits(3000000)
      local function echo(body, send)
        local x = conn:request("POST", "/echo", HOST, body)
        if send then send(x) end
        assert.equal(200, await(x:response()))
        return await(x:read())
      end
      assert.equal("", echo(nil))
      assert.equal("", echo(""))
      assert.equal("abc", echo("abc"))
      assert.is_true(big == echo(big))
      local function parts(x)
        for i = 1, #big, 70000 do
          local drain = x:write(big:sub(i, i + 69999))
          if drain then await(drain) end
        end
        x:finish()
      end
      assert.is_true(big == echo(#big, parts))
      assert.is_true(big == echo(true, parts))
    end)
  end)
end)

describe("a file as a body of HTTP/2", function()
  it("is sent", function()
    require "http.client.sendfile"
    local fs = require "fs"
    with_server(function(conn)
      local path = os.tmpname()
      local f = assert(io.open(path, "w"))
      f:write(peers.digits(300000))
      f:close()
      do
        local file <close> = await(fs.open(path, "r"))
        local x = conn:request("POST", "/echo", HOST, 299990)
        local asked = {}
        local counting = { pread = function(_, n, at)
          asked[#asked + 1] = n
          return file:pread(n, at)
        end }
        assert.equal(299990, await(x:sendfile(counting, 10, 299990)))
        assert.same({ 299990 }, asked) -- each read is a way to a thread and back
        x:finish()
        assert.equal(200, await(x:response()))
        assert.is_true(peers.digits(300000):sub(11) == await(x:read()))
      end
      os.remove(path)
    end)
  end)
end)

describe("a response of HTTP/2", function()
  it("is read as a stream, with backpressure", function()
    with_server(function(conn)
      local x = conn:request("GET", "/digits/5000000", HOST)
      assert.equal(200, await(x:response()))
      local content, n = x:content(), 0
      assert.equal(content, x:content())
      helper.turn(50)
      for data in function() return await(content:read(100000)) end do n = n + #data end
      assert.equal(5000000, n)
      assert.is_true(x:over())
    end)
  end)
end)

describe("what comes before and after a response of HTTP/2:", function()
  it("1xx are passed over", function()
    with_peer(function(peer)
      local id = peer:asked()
      peer:head(id, 103, { "link", "</a>" }, true)
      peer:head(id, 102, nil, true)
      peer:head(id, 200, { "x-a", "b" }, true)
      peer:data(id, "body")
      peer:next()
    end, function(conn)
      local status, body, x = get(conn, "/")
      assert.same({ 200, "body", "b" }, { status, body, x:header "x-a" })
      assert.is_nil(x:trailers())
    end)
  end)

  it("100 lets a body be sent", function()
    with_peer(function(peer)
      local id, whole = peer:asked()
      assert.is_false(whole)
      peer:head(id, 100, nil, true)
      assert.equal("the body", peer:expect("DATA", id).payload)
      peer:head(id, 201)
      peer:head(peer:asked(), 417)
      peer:next()
    end, function(conn)
      local x = conn:request("PUT", "/", { "Host", "a", "Expect", "100-continue" }, 8)
      assert.is_true(await(x:continued()))
      x:write("the body")
      x:finish()
      assert.equal(201, await(x:response()))
      x = conn:request("PUT", "/", { "Host", "a", "Expect", "100-continue" }, 8)
      assert.is_false(await(x:continued()))
      assert.equal(417, await(x:response()))
      x:abort()
    end)
  end)

  it("trailers", function()
    with_peer(function(peer)
      local id = peer:asked()
      peer:head(id, 200, nil, true)
      peer:data(id, "body", true)
      peer:head(id, nil, { "x-sum", "17" })
      peer:next()
    end, function(conn)
      local x = conn:request("GET", "/", HOST)
      await(x:response())
      assert.equal("body", await(x:read()))
      assert.equal("17", x:trailers()["X-Sum"])
    end)
  end)

  it("no body: HEAD, 204, 304", function()
    with_peer(function(peer)
      for _, status in ipairs { 200, 204, 304 } do
        peer:head(peer:asked(), status, status ~= 204 and { "content-length", "5" })
      end
      peer:next()
    end, function(conn)
      for _, t in ipairs { { "HEAD", 200 }, { "GET", 204 }, { "GET", 304 } } do
        local x = conn:request(t[1], "/", HOST)
        assert.equal(t[2], await(x:response()))
        assert.is_false(x:has_body())
        assert.equal("", await(x:read()))
      end
    end)
  end)
end)

describe("a server of HTTP/2 that", function()
  it("resets a stream fails that request alone", function()
    with_peer(function(peer)
      local one, two, three, four = peer:asked(), peer:asked(), peer:asked(), peer:asked()
      peer:send("RST_STREAM", 0, one, string.pack(">I4", h2.errors.INTERNAL_ERROR))
      peer:send("RST_STREAM", 0, two, string.pack(">I4", h2.errors.REFUSED_STREAM))
      peer:head(three, 200, nil, true)
      peer:data(three, "some", true)
      peer:send("RST_STREAM", 0, three, string.pack(">I4", h2.errors.CANCEL))
      peer:head(four, 200)
      peer:next()
    end, function(conn)
      local one, two = conn:request("GET", "/", HOST), conn:request("POST", "/", HOST, "data")
      local three, four = conn:request("GET", "/", HOST), conn:request("GET", "/", HOST)
      local e = raised(await, one:response())
      assert.equal("Disconnected: the server reset the stream without an answer: INTERNAL_ERROR", said(e))
      assert.same({ true, "INTERNAL_ERROR" }, { e.began, e.code, e.retry })
      e = raised(await, two:response())
      assert.equal("Disconnected: the server has not looked at the request: REFUSED_STREAM", said(e))
      assert.same({ false, "REFUSED_STREAM", true }, { e.began, e.code, e.retry })
      assert.equal(200, await(three:response()))
      e = raised(await, three:read())
      assert.equal("PayloadError: the response is incomplete: the server reset the stream after 4 bytes: CANCEL", said(e))
      assert.equal("CANCEL", e.code)
      assert.equal(200, await(four:response()))
      assert.is_false(conn:is_closing())
    end)
  end)

  it("says GOAWAY answers what it has taken", function()
    with_peer(function(peer)
      local one, two = peer:asked(), peer:asked()
      peer:send("GOAWAY", 0, 0, string.pack(">I4I4", one, 0))
      peer:head(one, 200, nil, true)
      peer:data(one, "last")
      peer:next()
      assert.equal(3, two)
    end, function(conn)
      local one, two = conn:request("GET", "/", HOST), conn:request("POST", "/", HOST, "x")
      local e = raised(await, two:response())
      assert.same({ "REFUSED_STREAM", true, false }, { e.code, e.retry, e.began })
      assert.equal("Disconnected: the server ends the connection, and has not looked at the request: NO_ERROR", said(e))
      assert.same({ 0, true }, { conn:free(), conn:is_closing() })
      assert.equal(200, await(one:response()))
      assert.equal("last", await(one:read()))
      e = raised(conn.request, conn, "GET", "/", HOST)
      assert.same({ "Disconnected: the connection takes no more requests", true, false }, { said(e), e.retry, e.began })
    end)
  end)

  it("closes the connection has not seen what has not been sent, nor what GOAWAY leaves out", function()
    for _, goaway in ipairs { false, true } do
      with_peer(function(peer)
        peer:head(peer:asked(), 200)
        local one = peer:asked()
        if goaway then peer:send("GOAWAY", 0, 0, string.pack(">I4I4", one, 0)) end
      end, function(conn)
        get(conn, "/") -- the limit is known from here on: one at a time
        local one, waiting = conn:request("GET", "/", HOST), conn:request("POST", "/", HOST, "x")
        local e = raised(await, waiting:response())
        assert.same({ true, false, goaway }, { e.retry, e.began, e.served }, said(e))
        e = raised(await, one:response())
        assert.same({ nil, false }, { e.retry, e.began }, said(e))
      end, { peer_settings = { [3] = 1 } })
    end
  end)

  it("closes the connection fails what is under way", function()
    with_peer(function(peer)
      local one = peer:asked()
      peer:asked()
      peer:head(one, 200, nil, true)
      peer:data(one, "12345", true)
    end, function(conn)
      local one, two = conn:request("GET", "/", HOST), conn:request("GET", "/", HOST)
      local e = raised(await, two:response())
      assert.same({ "Disconnected: the server closed the connection without an answer", false },
        { said(e), e.began, e.retry })
      assert.equal(200, await(one:response()))
      e = raised(await, one:read())
      assert.equal("PayloadError: the response is incomplete: the connection ended after 5 bytes", said(e))
      local again = raised(function() return await(one:content():read()) end)
      assert.equal("PayloadError", again.name)
      assert.is_true(conn:is_closing())
    end)
  end)

  it("ends the connection for a reason is quoted", function()
    with_peer(function(peer)
      peer:asked()
      peer:send("GOAWAY", 0, 0, string.pack(">I4I4", 1, h2.errors.ENHANCE_YOUR_CALM))
    end, function(conn)
      local e = raised(await, conn:request("GET", "/", HOST):response())
      assert.equal("Disconnected: the server ended the connection: ENHANCE_YOUR_CALM", said(e))
    end)
  end)

  it("sends less or more than it said is told of", function()
    for _, body in ipairs { "1234", "123456" } do
      with_peer(function(peer)
        local id = peer:asked()
        peer:head(id, 200, { "content-length", "5" }, true)
        peer:data(id, body)
        assert.equal("PROTOCOL_ERROR", peer:expect("RST_STREAM").error)
        peer:head(peer:asked(), 200)
        peer:next()
      end, function(conn)
        local x = conn:request("GET", "/", HOST)
        assert.equal(200, await(x:response()))
        local e = raised(await, x:read())
        assert.equal("PayloadError: the response is malformed: PROTOCOL_ERROR", said(e))
        assert.equal(200, (get(conn, "/")))
      end)
    end
  end)

  it("answers with nonsense is told of, and the connection lives on", function()
    local heads = {
      { nil, { "x-a", "b" } }, { 200, { "X-Upper", "b" } }, { 99 }, { 200, { "connection", "close" } },
      { 200, { "x-a", "b\nc" } }, { 200, { ":path", "/" } }, { 200, { "content-length", "x" } },
    }
    with_peer(function(peer)
      for _, head in ipairs(heads) do
        peer:head(peer:asked(), head[1], head[2])
        peer:expect("RST_STREAM")
      end
      peer:head(peer:asked(), 200)
      peer:next()
    end, function(conn)
      for _ in ipairs(heads) do
        local e = raised(await, conn:request("GET", "/", HOST):response())
        assert.equal("BadResponse: the response is malformed: PROTOCOL_ERROR", said(e))
        assert.equal("the response is malformed: PROTOCOL_ERROR", e.why)
      end
      assert.equal(200, (get(conn, "/")))
    end)
  end)

  it("answers with too large a head is told of", function()
    with_peer(function(peer)
      peer:head(peer:asked(), 200, { "x-a", ("a"):rep(2000) })
      peer:expect("RST_STREAM")
      local many = {}
      for i = 1, 40 do many[#many + 1], many[#many + 2] = "x-" .. i, "1" end
      peer:head(peer:asked(), 200, many)
      peer:expect("RST_STREAM")
      peer:head(peer:asked(), 200, { "x-a", ("a"):rep(700) })
      peer:next()
    end, function(conn)
      for _ = 1, 2 do
        assert.equal("BadResponse: the response's head is too large",
          said(raised(await, conn:request("GET", "/", HOST):response())))
      end
      assert.equal(200, (get(conn, "/")))
    end, { settings = { max_head = 1000, max_headers = 30 } })
  end)

  it("breaks the protocol loses the connection", function()
    local acts = {
      function(peer) peer:send("DATA", 0, 0, "x") end,
      function(peer) peer:send("PUSH_PROMISE", h2.END_HEADERS, 1, "\0\0\0\2" .. h2.block(h2.request("GET", "/"))) end,
      function(peer) peer:send("HEADERS", h2.END_HEADERS, 1, "\xff\xff\xff\xff\xff\xff\xff") end,
      function(peer) peer:send("SETTINGS", 0, 0, "abc") end,
      function(peer) peer:raw("HTTP/1.1 400 Bad Request\r\n\r\n") end,
      function(peer) peer:send("WINDOW_UPDATE", 0, 0, "\0\0\0\0") end,
    }
    for i, act in ipairs(acts) do
      with_peer(function(peer)
        peer:asked()
        peer:expect("SETTINGS")
        act(peer)
        peer:ending()
      end, function(conn)
        local e = raised(await, conn:request("GET", "/", HOST):response())
        assert.equal(i .. " BadResponse", i .. " " .. e.name)
        assert.is_true(conn:is_closing())
      end)
    end
  end)

  it("speaks HTTP/1 is told of", function()
    asyncio.run(async(function()
      local server <close> = await(asyncio.start_server(async(function(_, w)
        w:write("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
        await(asyncio.sleep(0.05))
        w:close()
      end), "127.0.0.1", 0))
      local conn <close> = connect(server.sockets[1].port)
      local e = raised(await, conn:request("GET", "/", HOST):response())
      assert.equal("BadResponse: the response is malformed: this is not HTTP/2", said(e))
    end)())
  end)

  it("makes work for nothing is told to calm down", function()
    local floods = {
      function(peer) peer:send("PING", 0, 0, "12345678") end,
      function(peer) peer:send("SETTINGS", 0, 0, "") end,
      function(peer, id) peer:head(id, 103, nil, true) end,
      function(peer, id) peer:send("WINDOW_UPDATE", 0, id, "\0\0\0\1") end,
    }
    for _, flood in ipairs(floods) do
      local ending
      with_peer(function(peer)
        local id = peer:asked()
        for _ = 1, 3000 do flood(peer, id) end
        ending = peer:ending()
      end, function(conn)
        local e = raised(await, conn:request("GET", "/", HOST):response())
        assert.equal("BadResponse", e.name)
        wait_for(function() return ending end)
      end)
      assert.equal("ENHANCE_YOUR_CALM", ending)
    end
  end)

  it("has answered before the whole request came needs no more of it", function()
    with_peer(function(peer)
      local id = peer:asked()
      peer:expect("DATA", id)
      peer:head(id, 413, nil, true)
      peer:data(id, "too much")
      peer:send("RST_STREAM", 0, id, string.pack(">I4", 0))
      peer:head(peer:asked(), 200)
      peer:next()
    end, function(conn)
      local x = conn:request("POST", "/", HOST, true)
      x:write("part")
      assert.equal(413, await(x:response()))
      assert.equal("too much", await(x:read()))
      wait_for(function() return x:over() end)
      for _ = 1, 10 do assert.is_nil(x:write(("x"):rep(100000))) end
      assert.is_nil(x:finish())
      assert.equal(200, (get(conn, "/")))
    end)
  end)
end)

describe("flow control of HTTP/2", function()
  it("lets no more go than the server wants", function()
    with_peer(function(peer, log)
      local id = peer:asked()
      local n = 0
      while n < 1000 do n = n + #peer:expect("DATA", id).payload end
      assert.equal(1000, n)
      helper.turn(20)
      log.held = true
      wait_for(function() return log.go end)
      peer:send("WINDOW_UPDATE", 0, id, string.pack(">I4", 1 << 20))
      peer:send("WINDOW_UPDATE", 0, 0, string.pack(">I4", 1 << 20))
      while n < 200000 do n = n + #peer:expect("DATA", id).payload end
      peer:head(id, 200)
      peer:next()
    end, function(conn, log)
      local x = conn:request("POST", "/", HOST, 200000)
      helper.turn(20)
      local drain = x:write(("x"):rep(100000))
      assert.truthy(drain)
      local waiting = asyncio.create_task(drain)
      wait_for(function() return log.held end)
      assert.is_false(waiting:done())
      log.go = true
      await(waiting)
      await(x:write(("x"):rep(100000)) or asyncio.sleep(0))
      x:finish()
      assert.equal(200, await(x:response()))
    end, { peer_settings = { [4] = 1000 } })
  end)

  it("asks for no more than is read", function()
    local sent, updates = 0, 0
    with_peer(function(peer, log)
      local id = peer:asked()
      peer:head(id, 200, nil, true)
      for _ = 1, 64 do
        peer:data(id, ("x"):rep(16384), true)
        sent = sent + 16384
      end
      log.full = true
      updates = string.unpack(">I4", peer:expect("WINDOW_UPDATE", id).payload)
      peer:data(id, "end")
      peer:next()
    end, function(conn, log)
      local x = conn:request("GET", "/", HOST)
      await(x:response())
      local content = x:content()
      wait_for(function() return log.full end)
      helper.turn(50)
      assert.equal(0, updates)
      await(content:readexactly(700000))
      wait_for(function() return updates > 0 end)
      assert.equal(sent + 3, 700000 + #await(content:read()))
    end)
  end)

  it("may be told of each frame, twice", function()
    local total = 24 << 20
    with_peer(function(peer)
      local id, n = peer:asked(), 0
      while n < total do
        local size = #peer:expect("DATA", id).payload
        n = n + size
        local more = string.pack(">I4", size)
        peer:raw(h2.frame("WINDOW_UPDATE", 0, id, more) .. h2.frame("WINDOW_UPDATE", 0, 0, more))
      end
      peer:head(id, 200)
      peer:next()
    end, function(conn)
      local x = conn:request("POST", "/", HOST, ("x"):rep(total))
      assert.equal(200, await(x:response()))
    end)
  end)

  it("fails who waits to write when the stream is reset", function()
    with_peer(function(peer)
      local id = peer:asked()
      helper.turn(20)
      peer:send("RST_STREAM", 0, id, string.pack(">I4", h2.errors.INTERNAL_ERROR))
      peer:next()
    end, function(conn)
      local x = conn:request("POST", "/", HOST, true)
      helper.turn(20)
      await(x:write(("x"):rep(100000)) or asyncio.sleep(0))
      assert.equal("Disconnected", raised(x.write, x, "more").name)
      assert.equal("Disconnected", raised(await, x:response()).name)
    end, { peer_settings = { [4] = 0 } })
  end)
end)

describe("a connection of HTTP/2", function()
  it("has as much room as the server says, and tells when there is some again", function()
    with_peer(function(peer, log)
      local one, two = peer:asked(), peer:asked()
      wait_for(function() return log.go end)
      peer:head(one, 200)
      peer:head(two, 200)
      peer:head(peer:asked(), 204)
      peer:next()
    end, function(conn, log)
      wait_for(function() return conn:free() == 2 end)
      local one = conn:request("GET", "/", HOST)
      assert.equal(1, conn:free())
      local two = conn:request("GET", "/", HOST)
      assert.equal(0, conn:free())
      local three = conn:request("GET", "/", HOST) -- waits
      assert.equal(0, log.free)
      log.go = true
      await(one:response())
      await(two:response())
      assert.equal(204, await(three:response()))
      helper.turn(5)
      assert.same({ 1, conn, 2 }, { log.free, log.conn, conn:free() })
    end, { peer_settings = { [3] = 2 } })
  end)

  it("that was full tells also of its end", function()
    with_peer(function(peer) peer:asked() end, function(conn, log)
      wait_for(function() return conn:free() == 1 end)
      local x = conn:request("GET", "/", HOST)
      assert.equal(0, conn:free())
      raised(await, x:response())
      helper.turn(5)
      assert.same({ 1, true, 0 }, { log.free, conn:is_closing(), conn:free() })
    end, { peer_settings = { [3] = 1 } })
  end)

  it("says goodbye when it is closed, once", function()
    local ending
    with_peer(function(peer)
      peer:asked()
      ending = peer:ending()
    end, function(conn)
      local x = conn:request("GET", "/", HOST)
      helper.turn(10)
      local waiting = asyncio.create_task(x:response())
      helper.turn(2)
      conn:close()
      conn:close()
      local e = raised(await, waiting)
      assert.equal("RuntimeError: the connection was closed", said(e))
      assert.same({ true, 0 }, { conn:is_closing(), conn:free() })
      assert.matches("closed", tostring(conn))
      assert.equal("Disconnected", raised(conn.request, conn, "GET", "/", HOST).name)
      x:abort()
      x:discard()
      wait_for(function() return ending end)
    end)
    assert.equal("NO_ERROR", ending)
  end)

  it("that is idle ends after keepalive_timeout, and so it does when the server ends it", function()
    local ending
    with_peer(function(peer) ending = peer:ending() end, function(conn)
      await(asyncio.sleep(14))
      assert.is_false(conn:is_closing())
      await(asyncio.sleep(2))
      assert.is_true(conn:is_closing())
      wait_for(function() return ending end)
    end, { virtual = true })
    assert.equal("NO_ERROR", ending)
    with_peer(function() end, function(conn) wait_for(function() return conn:is_closing() end) end)
  end)

  it("that nobody has is closed", function()
    local ending
    with_peer(function(peer) ending = peer:ending() end, function(conn)
      connect(conn:peername().port)
      helper.turn(5)
      collectgarbage()
      collectgarbage()
      wait_for(function() return ending end)
    end)
    assert.equal("NO_ERROR", ending)
  end)
end)

describe("a request of HTTP/2 that takes too long", function()
  it("fails alone, and the connection has to show that it lives", function()
    for _, kind in ipairs { "total", "read" } do
      with_peer(function(peer, log)
        local one, two = peer:asked(), peer:asked()
        local seen = {}
        repeat
          local f = peer:next()
          if f.flags & h2.ACK == 0 then seen[f.type] = f end
        until seen.PING and seen.RST_STREAM
        assert.same({ one, "CANCEL" }, { seen.RST_STREAM.id, seen.RST_STREAM.error })
        log.pinged:set()
        await(log.go:wait())
        peer:send("PING", h2.ACK, 0, ("\0"):rep(8))
        peer:head(two, 200)
        peer:next()
      end, function(conn, log)
        log.pinged, log.go = asyncio.Event(), asyncio.Event()
        local x, other = conn:request("GET", "/", HOST), conn:request("GET", "/", HOST)
        if kind == "total" then
          x:deadline(asyncio.get_running_loop():time() + 5)
        else
          x:deadline(nil, 5)
        end
        local e = raised(await, x:response())
        assert.same({ "TimeoutError", kind }, { e.name, e.kind })
        assert.is_true(asyncio.isinstance(e, asyncio.TimeoutError))
        assert.same({ 0, false }, { conn:free(), conn:is_closing() })
        await(log.pinged:wait())
        log.go:set()
        assert.equal(200, await(other:response()))
        assert.equal(100, conn:free())
      end, { virtual = true, peer_settings = { [3] = 100 } })
    end
  end)

  it("and is cancelled over and over does not keep a dead connection", function()
    with_peer(function(peer)
      while peer:next() do end -- answers nothing
    end, function(conn)
      local n = 0
      while not conn:is_closing() and n < 100 do
        n = n + 1
        local ok, x = pcall(conn.request, conn, "GET", "/", HOST)
        if ok then
          raised(await, asyncio.wait_for(x:response(), 0.4))
          x:abort()
        end
      end
      assert.is_true(n > 2 and n < 40)
    end, { virtual = true })
  end)

  it("fails in time while others begin", function()
    with_peer(function(peer)
      while peer:asked() do end
    end, function(conn)
      local loop = asyncio.get_running_loop()
      local x = conn:request("GET", "/", HOST)
      x:deadline(loop:time() + 0.02)
      local waiting, others = asyncio.create_task(x:response()), {}
      while not waiting:done() and #others < 5000 do
        others[#others + 1] = conn:request("GET", "/", HOST)
        others[#others]:deadline(loop:time() + 100)
        local now = os.clock()
        while os.clock() - now < 0.001 do end -- the loop is busy: timers are seen late
        await(asyncio.sleep(0))
        others[#others]:abort()
      end
      assert.equal("TimeoutError", raised(await, waiting).name)
      assert.is_true(#others < 5000)
    end)
  end)

  it("takes the connection with it if that has died", function()
    with_peer(function(peer)
      while peer:next() do end -- answers nothing
    end, function(conn)
      local x, other = conn:request("GET", "/", HOST), conn:request("GET", "/", HOST)
      x:deadline(nil, 5)
      assert.equal("TimeoutError", raised(await, x:response()).name)
      local e = raised(await, other:response())
      assert.equal("Disconnected: the server does not answer any more", said(e))
      assert.is_true(conn:is_closing())
    end, { virtual = true })
  end)

  it("fails in the middle of its body too", function()
    with_peer(function(peer)
      local id = peer:asked()
      peer:head(id, 200, nil, true)
      for _ = 1, 3 do
        await(asyncio.sleep(4))
        peer:data(id, "x", true)
      end
      peer:expect("RST_STREAM")
    end, function(conn)
      local x = conn:request("GET", "/", HOST)
      x:deadline(nil, 5)
      assert.equal(200, await(x:response()))
      assert.equal("xxx", await(x:content():readexactly(3)))
      local e = raised(function() return await(x:content():read(1)) end)
      assert.same({ "TimeoutError", "read" }, { e.name, e.kind })
    end, { virtual = true })
  end)
end)

describe("who gives up a request of HTTP/2", function()
  local function reset_by(give_up)
    local error
    with_peer(function(peer)
      local id = peer:asked()
      peer:head(id, 200, nil, true)
      peer:data(id, "some", true)
      error = peer:expect("RST_STREAM", id).error
      peer:head(peer:asked(), 204)
      peer:next()
    end, function(conn, log)
      give_up(conn, log)
      wait_for(function() return error end)
      assert.equal(log.dropped and 1 or 0, log.free)
      assert.equal(204, (get(conn, "/")))
    end)
    assert.equal("CANCEL", error)
  end

  it("resets its stream: abort, discard, a cancelled wait and abort, none that has it", function()
    for _, how in ipairs { "abort", "discard" } do
      reset_by(function(conn)
        local x = conn:request("GET", "/", HOST)
        await(x:response())
        x[how](x)
        x[how](x)
        raised(await, x:read())
      end)
    end
    reset_by(function(conn)
      local x = conn:request("GET", "/", HOST)
      await(x:response())
      local task = asyncio.create_task(x:read())
      helper.turn(10)
      task:cancel()
      asyncio.catch(await, task)
      x:abort()
    end)
    reset_by(function(conn, log)
      await(conn:request("GET", "/", HOST):response())
      for _ = 1, 3 do
        helper.turn(3)
        collectgarbage()
      end
      assert.same({ 1, 1, conn }, { log.free, log.dropped, log.conn })
    end)
  end)

  it("may do so again and again, if some are answered", function()
    with_server(function(conn)
      for _ = 1, 1150 do -- nghttp2 would stand some 1,000
        local gone = conn:request("POST", "/echo", HOST, 5)
        local xs = { conn:request("GET", "/", HOST), conn:request("GET", "/", HOST) }
        for _, x in ipairs(xs) do assert.equal(200, await(x:response())) end
        gone:abort()
      end
      assert.is_false(conn:is_closing())
    end)
  end)

  it("is told of if nobody knows of its end: a response that was dropped", function()
    with_peer(function(peer)
      for _ = 1, 3 do peer:head(peer:asked(), 200) end
      peer:next()
    end, function(conn, log)
      local x = conn:request("GET", "/", HOST)
      await(x:response())
      assert.is_true(x:over())
      x = conn:request("GET", "/", HOST)
      await(x:response())
      await(x:read())
      x = conn:request("GET", "/", HOST)
      await(x:response())
      assert.is_nil(log.dropped)
      x = nil -- luacheck: ignore
      for _ = 1, 3 do
        helper.turn(3)
        collectgarbage()
      end
      assert.same({ 1, 1 }, { log.free, log.dropped })
    end)
  end)

  it("keeps it as long as the body is read as a stream", function()
    with_peer(function(peer)
      local id = peer:asked()
      peer:head(id, 200, nil, true)
      helper.turn(30)
      peer:data(id, "body")
      peer:next()
    end, function(conn)
      local content = (function()
        local x = conn:request("GET", "/", HOST)
        await(x:response())
        return x:content()
      end)()
      collectgarbage()
      collectgarbage()
      assert.equal("body", await(content:read()))
    end)
  end)
end)

describe("what is said to a connection of HTTP/2 in a wrong way", function()
  it("is refused at the call", function()
    with_server(function(conn)
      local function says(pattern, ...)
        local e = raised(conn.request, conn, ...)
        assert.matches(pattern, said(e))
      end
      says("TypeError: request: the method must be a string, got nil")
      says("ValueError: request: 'G ET' is no method", "G ET", "/")
      says("TypeError: request: the target must be a string, got table", "GET", {})
      says("ValueError: request: '' is no target", "GET", "")
      says("ValueError: request: 'http://a/' is no target", "GET", "http://a/")
      says("is no target", "GET", "/a b")
      says("is no target", "GET", "/a\r\nb")
      says("ValueError: request: '?a%-b c' is no name of a header", "GET", "/", { "a-b c", "d" })
      says("ValueError: request: the value of a has a line break", "GET", "/", { "a", "b\r\nc: d" })
      says("ValueError: request: Transfer%-Encoding is set", "GET", "/", { "Transfer-Encoding", "chunked" })
      says("headers must be name, value", "GET", "/", { "a" })
      says("TypeError: request: the body must be", "PUT", "/", HOST, {})
      says("TypeError: request: the body must be", "PUT", "/", HOST, -1)
      says("TypeError: request: the body must be", "PUT", "/", HOST, 1.5)
      says("ValueError: request: Content%-Length tells of 5 bytes, the body has 3", "PUT", "/", { "content-length", "5" }, "abc")
      says("ValueError: request: Content%-Length must be one number", "PUT", "/", { "content-length", "x" }, "abc")
      says("ValueError: request: the head has more than", "GET", "/", { "a", ("x"):rep(70000) })
      assert.equal(0, conn:requests())
      local x = conn:request("POST", "/echo", HOST, 3)
      assert.matches("ValueError: write: 1 bytes more than the request's length", said(raised(x.write, x, "abcd")))
      assert.matches("TypeError: write: data must be a string", said(raised(x.write, x, 1)))
      assert.matches("header%(%): there is no response yet", said(raised(x.header, x, "a")))
      assert.matches("status%(%): there is no response yet", said(raised(x.status, x)))
      assert.matches("upgrade%(%): HTTP/2 has no upgrade", said(raised(x.upgrade, x)))
      x:write("abc")
      x:finish()
      assert.matches("write%(%): the request has ended", said(raised(x.write, x, "d")))
      assert.matches("finish%(%): the request has ended", said(raised(x.finish, x)))
      assert.equal(200, await(x:response()))
      assert.equal(200, await(x:response()))
      local first = asyncio.create_task(x:read())
      assert.equal("abc", await(first))
      x = conn:request("POST", "/echo", HOST, 3)
      assert.matches("finish%(%): the request lacks 3 of its bytes", said(raised(x.finish, x)))
      raised(await, x:response())
      raised(conn.request, {}, "GET", "/")
      raised(x.response, conn)
    end)
  end)

  it("does not reach the server: what is only of HTTP/1", function()
    with_server(function(conn)
      local _, body = get(conn, "/about", {
        "Host", "example.com:99", "Connection", "keep-alive, X", "Keep-Alive", "1", "TE", "gzip", "Upgrade", "h2c",
        "User-Agent", "spec", "Proxy-Connection", "close", "Cookie", "a=b",
      })
      local about = require("json").decode(body)
      assert.same({ "2.0", "spec", "b" }, { about.version, about.agent, about.cookies.a })
    end)
  end)
end)
