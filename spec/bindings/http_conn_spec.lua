local asyncio = require "asyncio"
local core = require "http.core"
local helper = require "spec.helper"
local raw = require "spec.bindings.http_raw"

local get = "GET %s HTTP/1.1\r\nHost: a\r\n\r\n"

local function hello(x, _, path)
  return x:respond(200, nil, nil, path)
end

describe("an exchange", function()
  it("tells what the request's head says", function()
    local seen
    raw.serve(function(x, method, path)
      seen = {
        method, path, x:method(), x:target(), x:path(), x:query() or "none", x:version(), x:scheme(), x:authority(),
        x:header("accept"), x:header("X-Other") or "none", x:has_body(), x:content_length() or "none", x:keep_alive(),
        x:multiplexed(), x:peername().host, x:sockname().host, x:transport_info("peername").host, tostring(x),
      }
      return x:respond(200, nil, { "X-A", "1" }, "hello")
    end, function(peer)
      local answer = peer.talk("GET /a/b?c=d HTTP/1.1\r\nHost: example.org\r\nAccept:  text/html  \r\nConnection: close\r\n\r\n")
      assert.same({
        "GET", "/a/b", "GET", "/a/b?c=d", "/a/b", "c=d", "1.1", "http", "example.org", "text/html", "none", false, "none",
        false, false, "127.0.0.1", "127.0.0.1", "127.0.0.1", "<http.Exchange GET /a/b?c=d>",
      }, seen)
      assert.match("^HTTP/1.1 200 OK\r\nX%-A: 1\r\nContent%-Length: 5\r\nDate: %a%a%a, %d%d %a%a%a %d%d%d%d %d%d:%d%d:%d%d GMT\r\n" ..
        "Server: moonloop/[%d.]+\r\nConnection: close\r\n\r\nhello$", answer)
    end)
  end)

  it("takes targets of every form apart", function()
    local seen
    raw.serve(function(x, _, path)
      seen = { path, x:path(), x:query() or "none", x:authority() }
      return x:respond(200)
    end, function(peer)
      local function parts(line, host)
        peer.talk(line .. " HTTP/1.1\r\nHost: " .. (host or "h") .. "\r\n\r\n")
        return seen
      end
      assert.same({ "/", "/", "", "h" }, parts("GET /?"))
      assert.same({ "/a", "/a", "b?c", "h" }, parts("GET /a?b?c"))
      assert.same({ "/x", "/x", "none", "o.org:81" }, parts("GET http://o.org:81/x"))
      assert.same({ "/", "/", "none", "o.org" }, parts("GET http://o.org"))
      assert.same({ "/", "/", "q", "o.org" }, parts("GET HTTP://o.org?q"))
      assert.same({ "/a:b", "/a:b", "u=http://x/", "h" }, parts("GET /a:b?u=http://x/"))
      assert.same({ "//x/y", "//x/y", "none", "h" }, parts("GET //x/y"))
      assert.same({ "*", "*", "none", "h" }, parts("OPTIONS *"))
      assert.same({ "/a%20b", "/a%20b", "none", "h" }, parts("GET /a%20b"))
    end)
  end)

  it("can be asked, but not answered, when it is over", function()
    local kept
    raw.serve(function(x)
      kept = kept or x
      return x:respond(200, nil, nil, "a")
    end, function(peer)
      peer.talk(get:format("/one") .. get:format("/two"))
      assert.equal("/one", kept:path())
      assert.equal("a", kept:header("host"))
      assert.is_true(kept:started() and kept:finished() and kept:lost())
      assert.is_false(kept:keep_alive())
      assert.equal(0, kept:sent())
      kept:abort()
      helper.raises("respond(): the request is over", kept.respond, kept, 200)
      helper.raises("read(): the request is over", kept.read, kept)
      helper.raises("content(): the request is over", kept.content, kept)
      helper.raises("on_lost(): the request is over", kept.on_lost, kept, nil)
    end)
  end)
end)

describe("a connection", function()
  it("serves many requests", function()
    raw.serve(hello, function(peer)
      local reader, writer <close> = peer.connect()
      for i = 1, 20 do
        writer:write(get:format("/" .. i))
        local head = await(reader:readuntil("\r\n\r\n"))
        assert.is_nil(head:find("Connection"))
        assert.equal("/" .. i, await(reader:readexactly(#tostring(i) + 1)))
      end
      assert.equal(1, #peer.conns)
      assert.equal(1, peer.settings:connections())
    end)
  end)

  it("answers pipelined requests in order, one at a time", function()
    local running = 0
    raw.serve(function(x, _, path)
      running = running + 1
      assert.equal(1, running)
      await(asyncio.sleep(1))
      running = running - 1
      return x:respond(200, nil, nil, path)
    end, function(peer)
      local all = {}
      for i = 1, 50 do all[i] = get:format("/" .. i) end
      local answers = raw.responses(peer.talk(table.concat(all)))
      for i = 1, 50 do assert.equal("/" .. i, answers[i].body) end
    end)
  end)

  it("takes no more pipelined requests than it has to", function()
    local served = 0
    raw.serve(function(x)
      served = served + 1
      if served == 1 then await(asyncio.sleep(10)) end
      return x:respond(200)
    end, function(peer)
      local reader, writer <close> = peer.connect()
      local n = 15000
      writer:write(get:format("/"):rep(n))
      await(asyncio.sleep(5))
      assert.equal(1, served)
      writer:write_eof()
      local _, count = await(reader:read()):gsub("HTTP/1.1 200", "")
      assert.equal(n, count)
    end)
  end)

  it("reads bodies of all framings between pipelined requests", function()
    raw.serve(function(x)
      return x:respond(200, nil, nil, await(x:read()))
    end, function(peer)
      local text = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc" ..
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nde\r\n0\r\n\r\n" .. get:format("/") ..
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nf"
      for _, how in ipairs { "talk", "bytewise" } do
        local bodies = {}
        for i, r in ipairs(raw.responses(peer[how](text))) do bodies[i] = r.body end
        assert.same({ "abc", "de", "", "f" }, bodies)
      end
    end)
  end)

  it("reads past a body that nobody has asked for", function()
    raw.serve(hello, function(peer)
      local text = "POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n" .. ("x"):rep(100000) .. get:format("/b")
      local all = raw.responses(peer.talk(text))
      assert.same({ "/a", "/b" }, { all[1].body, all[2].body })
      text = "POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" .. ("5\r\nhello\r\n"):rep(1000) .. "0\r\n\r\n" .. get:format("/b")
      all = raw.responses(peer.talk(text))
      assert.same({ "/a", "/b" }, { all[1].body, all[2].body })
    end)
  end)

  it("does not read past a large one, and says so", function()
    raw.serve(hello, function(peer)
      local text = "POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n" .. ("x"):rep(1000)
      local all = raw.responses(peer.hold(text))
      assert.equal(1, #all)
      assert.equal("close", all[1].headers.connection)
      -- in chunks it is known later
      text = "POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" .. ("400\r\n" .. ("x"):rep(1024) .. "\r\n"):rep(400)
      assert.same({ 200 }, raw.statuses(peer.hold(text)))
    end)
  end)

  it("ends as HTTP/1.0 and Connection say", function()
    raw.serve(hello, function(peer)
      local function answer(head)
        local all = raw.responses(peer.hold(head))
        return #all, all[1].headers.connection
      end
      assert.same({ 1 }, { answer("GET / HTTP/1.0\r\n\r\n" .. get:format("/")) })
      assert.same({ 1 }, { answer("GET / HTTP/1.0\r\nConnection: close\r\n\r\n" .. get:format("/")) })
      assert.same({ 1, "close" }, { answer("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n") })
      assert.same({ 1, "close" }, { answer("GET / HTTP/1.1\r\nHost: a\r\nConnection: foo, Close\r\n\r\n") })
      assert.same({ 2, "keep-alive" }, { answer("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET / HTTP/1.0\r\n\r\n") })
    end)
  end)

  it("answers what came before something malformed", function()
    raw.serve(hello, function(peer)
      assert.same({ 200, 200, 400 }, raw.statuses(peer.hold(get:format("/") .. get:format("/") .. "\0rubbish\r\n\r\n" .. get:format("/"))))
    end)
  end)

  it("lets no answer be lost to bytes that nobody reads", function()
    raw.serve(hello, function(peer)
      for _ = 1, 20 do
        local reader, writer <close> = peer.connect()
        writer:write("rubbish\0\r\n\r\n" .. ("x"):rep(300000))
        assert.match("^HTTP/1.1 400", await(reader:read()))
      end
    end)
  end)

  it("goes on after its peer has ended its side", function()
    raw.serve(function(x)
      local at_first = x:lost()
      await(asyncio.sleep(1))
      assert.is_false(at_first)
      assert.is_true(x:lost())
      return x:respond(200, nil, nil, "late")
    end, function(peer)
      local all = raw.responses(peer.talk(get:format("/"), ""))
      assert.equal("late", all[1].body)
    end)
  end)

  it("is over when its peer has gone in the middle of a head", function()
    raw.serve(hello, function(peer)
      assert.equal("", peer.talk("GET / HT"))
      assert.equal("", peer.talk("\r\n\r\n"))
      assert.equal("", peer.talk(""))
      await(asyncio.sleep(1))
      assert.equal(3, peer.ended)
      assert.same({}, peer.bad)
    end)
  end)

  it("drops everything when it is aborted", function()
    raw.serve(function(x)
      x:start(200)
      x:abort()
      helper.raises("has gone", x.write, x, "more")
      x:abort()
    end, function(peer)
      local reader, writer <close> = peer.connect()
      writer:write(get:format("/"))
      local ok, text = pcall(await, reader:read())
      assert.is_true(not ok or not text:find("more"))
    end)
  end)

  it("says what it is", function()
    raw.serve(function(x) return x:respond(200) end, function(peer)
      local _, writer <close> = peer.connect()
      writer:write(get:format("/"))
      await(asyncio.sleep(1))
      local conn = peer.conns[1]
      assert.match("^<http.Connection idle peer=127.0.0.1:%d+ requests=1>$", tostring(conn))
      assert.is_false(conn:busy() or conn:is_closing())
      assert.equal("127.0.0.1", conn:peername().host)
      local ok, err = pcall(await, conn:next())
      assert.is_false(ok)
      assert.match("waits for the next request", tostring(err))
      conn:close()
      conn:close()
      assert.is_true(conn:is_closing())
      assert.is_nil(await(conn:next()))
      assert.match("closed", tostring(conn))
      helper.raises("is closed", conn.detach, conn)
    end)
  end)

  it("closes when its task is cancelled, or fails", function()
    helper.run(async(function()
      local loop = asyncio.get_running_loop()
      local told = {}
      loop:set_exception_handler(function(_, context) told[#told + 1] = tostring(context.exception) end)
      local task
      local server <close> = await(asyncio.start_server(async(function(conn)
        task = asyncio.current_task()
        for _, _, path in conn do
          if path == "/fail" then error("on purpose") end
        end
      end), "127.0.0.1", 0, { http = core.settings {} }))
      local _, port = server.sockets[1]:getsockname()
      local function talk(bytes)
        local reader, writer <close> = await(asyncio.open_connection("127.0.0.1", port))
        writer:write(bytes)
        await(asyncio.sleep(0.1))
        if bytes == "" then task:cancel() end
        return await(reader:read())
      end
      assert.equal("", talk(""))
      assert.equal("", talk(get:format("/fail")))
      assert.match("on purpose", told[1])
      assert.equal(1, #told)
    end))
  end)

  it("closes when it is collected", function()
    helper.run(async(function()
      local server <close> = await(asyncio.start_server(async(function() await(asyncio.sleep(0)) end), "127.0.0.1", 0,
        { http = core.settings {} }))
      local _, port = server.sockets[1]:getsockname()
      local reader, writer <close> = await(asyncio.open_connection("127.0.0.1", port))
      writer:write(get:format("/"))
      collectgarbage()
      assert.equal("", await(reader:read()))
    end))
  end)
end)

describe("a peer that takes its time", function()
  it("is closed when it is idle", function()
    raw.serve(hello, function(peer)
      local loop = asyncio.get_running_loop()
      local start = loop:time()
      assert.equal("", peer.hold(""))
      assert.is_true(math.abs(loop:time() - start - 60) < 1)
      start = loop:time()
      assert.same({ 200 }, raw.statuses(peer.hold(get:format("/"))))
      assert.is_true(math.abs(loop:time() - start - 75) < 1)
      assert.same({}, peer.bad)
    end)
  end)

  it("gets 408 for a head that does not come", function()
    raw.serve(hello, function(peer)
      local loop = asyncio.get_running_loop()
      local start = loop:time()
      assert.same({ 408 }, raw.statuses(peer.hold("GET / HTTP/1.1\r\n")))
      assert.is_true(math.abs(loop:time() - start - 60) < 1)
      assert.equal(408, peer.bad[1][1])
    end)
  end)

  it("gets 408 for a head that comes byte by byte, while others are served", function()
    raw.serve(hello, function(peer)
      local loop = asyncio.get_running_loop()
      local start = loop:time()
      local slow = asyncio.create_task(async(function()
        local reader, writer <close> = peer.connect()
        local feeding = asyncio.create_task(async(function()
          for i = 1, 1000 do
            writer:write("X")
            if i == 1 then writer:write("Y / HTTP/1.1\r\nA") end
            await(asyncio.sleep(1))
          end
        end))
        writer:write("")
        local text = await(reader:read())
        feeding:cancel()
        return text, loop:time() - start
      end))
      for _ = 1, 10 do
        assert.same({ 200 }, raw.statuses(peer.talk(get:format("/"))))
        await(asyncio.sleep(1))
      end
      local text, took = await(slow)
      assert.truthy(text:find("408") or text:find("501"))
      assert.is_true(took < 62)
    end)
  end)

  it("gets a time for each request of its own", function()
    raw.serve(hello, function(peer)
      local reader, writer <close> = peer.connect()
      for _ = 1, 5 do
        writer:write("GET / HTTP/1.1\r\n")
        await(asyncio.sleep(50))
        writer:write("Host: a\r\n\r\n")
        assert.match("200", await(reader:readuntil("\r\n\r\n")))
        await(reader:readexactly(1))
        await(asyncio.sleep(70))
      end
      assert.same({}, peer.bad)
    end)
  end)

  it("may take as long as it likes where times are off", function()
    raw.serve(hello, function(peer)
      local reader, writer <close> = peer.connect()
      await(asyncio.sleep(10000))
      writer:write("GET / HTTP/1.1\r\n")
      await(asyncio.sleep(10000))
      writer:write("Host: a\r\n\r\n")
      assert.match("200", await(reader:readuntil("\r\n\r\n")))
    end, { header_timeout = false, keepalive_timeout = false })
  end)

  it("is dropped when it does not read its answer", function()
    local took
    raw.serve(function(x)
      local loop = asyncio.get_running_loop()
      local start = loop:time()
      x:start(200)
      helper.raises("has gone", function()
        for _ = 1, 1000 do
          local drained = x:write(("x"):rep(100000))
          if drained then await(drained) end
        end
      end)
      took = loop:time() - start
    end, function(peer)
      local _, writer <close> = peer.connect()
      writer:write(get:format("/"))
      await(asyncio.sleep(200))
      assert.is_true(took > 59 and took < 130)
    end)
  end)
end)

describe("a connection that is idle for a while", function()
  local function serve(body, options)
    options = options or {}
    options.release_after = 1
    raw.serve(hello, body, options)
  end

  it("gives its task back, and gets another one with the next request", function()
    serve(function(peer)
      local reader, writer <close> = peer.connect()
      local function ask(bytes)
        writer:write(bytes or get:format("/a"))
        assert.match("200 OK", await(reader:readuntil("\r\n\r\n")))
        await(reader:readexactly(2))
      end
      for i = 1, 5 do
        ask()
        assert.equal(i, #peer.conns)
        assert.is_true(rawequal(peer.conns[1], peer.conns[i]))
        await(asyncio.sleep(2))
        assert.equal(i, peer.ended)
        collectgarbage()
      end
      assert.equal(1, peer.settings:connections())
      ask(get:format("/a") .. "GET /b HT")
      writer:write("TP/1.1\r\nHost: a\r\n\r\n")
      await(reader:readuntil("\r\n\r\n"))
      await(reader:readexactly(2))
    end)
  end)

  it("is closed when its time is over, or its peer goes", function()
    serve(function(peer)
      local loop = asyncio.get_running_loop()
      local start = loop:time()
      assert.same({ 200 }, raw.statuses(peer.hold(get:format("/a"))))
      assert.is_true(math.abs(loop:time() - start - 75) < 1)
      local reader, writer = peer.connect()
      writer:write(get:format("/a"))
      await(reader:readuntil("\r\n\r\n"))
      await(asyncio.sleep(2))
      writer:close()
      await(asyncio.sleep(2))
      assert.equal(0, peer.settings:connections())
      reader, writer = peer.connect()
      writer:write(get:format("/a"))
      await(reader:readuntil("\r\n\r\n"))
      await(asyncio.sleep(2))
      writer.transport:abort()
      await(asyncio.sleep(2))
      assert.equal(0, peer.settings:connections())
    end)
  end)

  it("gets 408 for a head that does not come", function()
    serve(function(peer)
      local reader, writer <close> = peer.connect()
      writer:write(get:format("/a"))
      await(reader:readuntil("\r\n\r\n"))
      await(asyncio.sleep(2))
      writer:write("GET / HT")
      await(asyncio.sleep(2))
      assert.match("408", await(reader:read()))
    end)
  end)

  it("is shut down, closed and asked like any other", function()
    serve(function(peer)
      local function idle()
        local reader, writer = peer.connect()
        writer:write(get:format("/a"))
        await(reader:readuntil("\r\n\r\n"))
        await(reader:readexactly(2))
        await(asyncio.sleep(2))
        return reader, writer, peer.conns[#peer.conns]
      end
      local reader, writer = idle()
      peer.settings:shutdown()
      assert.equal("", await(reader:read()))
      writer:close()
      local conn
      reader, writer, conn = idle()
      conn:close()
      assert.equal("", await(reader:read()))
      assert.is_nil(await(conn:next()))
      writer:close()
      reader, writer, conn = idle()
      writer:write(get:format("/b"))
      local x, _, path = await(conn:next())
      assert.equal("/b", path)
      x:respond(204)
      await(reader:readuntil("\r\n\r\n"))
      conn:close()
      writer:close()
      reader, writer = idle()
      peer.server:close()
      writer:write(get:format("/c"))
      assert.match("200 OK", await(reader:readuntil("\r\n\r\n")))
      writer:close()
    end)
  end)
end)

describe("shutting down", function()
  it("closes the idle ones, and the others after their answer", function()
    raw.serve(function(x)
      await(asyncio.sleep(10))
      return x:respond(200, nil, nil, "done")
    end, function(peer)
      local loop = asyncio.get_running_loop()
      local busy = asyncio.create_task(function() return peer.hold(get:format("/")) end)
      local idle = asyncio.create_task(function() return peer.hold("") end)
      await(asyncio.sleep(1))
      peer.settings:shutdown()
      local start = loop:time()
      assert.equal("", await(idle))
      assert.is_true(loop:time() - start < 1)
      local all = raw.responses((await(busy)))
      assert.equal("done", all[1].body)
      assert.equal("close", all[1].headers.connection)
      assert.is_true(loop:time() - start < 10)
      assert.equal(0, peer.settings:connections())
    end)
  end)

  it("lets a head that has begun come, and serves it", function()
    raw.serve(hello, function(peer)
      local reader, writer <close> = peer.connect()
      writer:write("GET / HTTP/1.1\r\n")
      await(asyncio.sleep(1))
      peer.conns[1]:shutdown()
      await(asyncio.sleep(1))
      writer:write("Host: a\r\n\r\n")
      local all = raw.responses(await(reader:read()))
      assert.equal("close", all[1].headers.connection)
    end)
  end)
end)

describe("a task that waits for its peer", function()
  it("is cancelled when the peer goes", function()
    local seen
    raw.serve(function(x)
      local task = asyncio.create_task(function()
        local ok, err = asyncio.catch(await, asyncio.sleep(1000))
        seen = { ok, tostring(err) }
      end)
      x:on_lost(task)
      pcall(await, task)
      return x:respond(200)
    end, function(peer)
      peer.talk(get:format("/"))
      assert.same({ false, "CancelledError: the peer has gone" }, seen)
    end)
  end)

  it("is left alone when the exchange is over before", function()
    local task
    raw.serve(function(x)
      task = asyncio.create_task(asyncio.sleep(10, "slept"))
      helper.raises("Task expected, got number", x.on_lost, x, 1)
      x:on_lost(task)
      return x:respond(200)
    end, function(peer)
      peer.talk(get:format("/"))
      assert.equal("slept", await(task))
    end)
  end)
end)

describe("an existing connection", function()
  it("is taken over with what its reader has", function()
    helper.run(async(function()
      local server <close> = await(asyncio.start_server(async(function(reader, writer)
        await(reader:readexactly(4))
        local conn = core.serve(reader, writer, core.settings {})
        for x, _, path in conn do x:respond(200, nil, nil, path) end
      end), "127.0.0.1", 0))
      local _, port = server.sockets[1]:getsockname()
      local reader, writer <close> = await(asyncio.open_connection("127.0.0.1", port))
      writer:write("abcd" .. get:format("/1") .. get:format("/2"))
      writer:write_eof()
      local all = raw.responses(await(reader:read()))
      assert.same({ "/1", "/2" }, { all[1].body, all[2].body })
      helper.raises("Settings", core.serve, reader, writer, 1)
    end))
  end)
end)

describe("another protocol", function()
  local ask = "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n"

  it("gets the connection with what has come already", function()
    raw.serve(function(x)
      local reader, writer = x:upgrade({ "Upgrade", "echo" })
      assert.is_true(x:started() and x:finished())
      helper.raises("has been started", x.respond, x, 200)
      while true do
        local line = await(reader:readline())
        if not line then break end
        writer:write(line:upper())
      end
      writer:close()
    end, function(peer)
      local text = peer.talk(ask .. "first\n", "second\n")
      assert.match("^HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: Upgrade\r\nDate: .-\r\n\r\nFIRST\nSECOND\n$", text)
      await(asyncio.sleep(1))
      assert.equal(1, peer.ended)
      assert.equal(0, peer.settings:connections())
    end)
  end)

  it("is not given to who has not asked for it", function()
    raw.serve(function(x)
      helper.raises("does not ask for another protocol", x.upgrade, x)
      return x:respond(200)
    end, function(peer)
      assert.same({ 200 }, raw.statuses(peer.talk(get:format("/"))))
    end)
  end)

  it("may be refused: requests go on", function()
    raw.serve(hello, function(peer)
      assert.same({ 200, 200 }, raw.statuses(peer.talk(ask .. get:format("/"))))
    end)
  end)
end)
