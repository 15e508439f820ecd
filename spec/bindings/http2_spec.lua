local helper = require "spec.helper"
local asyncio = require "asyncio"
local core = require "http.core"

if not core.Exchange2 then return end -- built without nghttp2

local h2 = require "spec.http.http2peer"

--- Runs f(port, log, server) with a server whose exchanges go to `handler`, each in a task.
--- log.bad: what on_bad was told; log.conns: connections; log.errors: of handlers.
--- In real time, unless settings.virtual.
local function serve(handler, f, settings)
  local clock = settings and settings.virtual and "virtual" or nil
  local log = { bad = {}, conns = {}, errors = {} }
  local known = { on_bad = function(status, why) log.bad[#log.bad + 1] = ("%d %s"):format(status, why) end }
  for k, v in pairs(settings or {}) do
    if k ~= "virtual" then known[k] = v end
  end
  local set = core.settings(known)
  local one = async(function(x)
    local ok, e = pcall(handler, x)
    if not ok then log.errors[#log.errors + 1] = e end
  end)
  asyncio.run(async(function()
    local server <close> = await(asyncio.start_server(async(function(conn)
      log.conns[#log.conns + 1] = conn
      for x in conn do asyncio.create_task(one(x)) end
      log.over = (log.over or 0) + 1
    end), "127.0.0.1", 0, { http = set }))
    local _ <close> = asyncio.timeout(60 * helper.slow)
    f(server.sockets[1].port, log, set)
    server:close()
    set:shutdown()
    for _, conn in ipairs(log.conns) do conn:close() end
    helper.turn(10)
    log.conns = {}
  end)(), { clock = clock })
end

--- Waits until f() says so.
local function wait_for(f)
  while not f() do await(asyncio.sleep(0.005)) end
end

local function hello(x) x:respond(200, nil, { "Content-Type", "text/plain" }, "hello " .. x:path()) end

--- What stays open, until the handler may go on.
local function gate()
  local event = asyncio.Event()
  return function(x)
    await(event:wait())
    if not x:lost() then x:respond(200, nil, nil, "late") end
  end, event
end

describe("an HTTP/2 request", function()
  it("is answered", function()
    serve(hello, function(port)
      local p <close> = h2.connect(port)
      p:request(1, "GET", "/a")
      local status, body = p:response(1)
      assert.same({ 200, "hello /a" }, { status, body })
    end)
  end)

  it("may come together with others, which are served at the same time", function()
    local order = {}
    serve(function(x)
      if x:path() == "/slow" then await(asyncio.sleep(0.05)) end
      order[#order + 1] = x:path()
      hello(x)
    end, function(port)
      local p <close> = h2.connect(port)
      p:request(1, "GET", "/slow")
      p:request(3, "GET", "/b")
      p:request(5, "GET", "/c")
      assert.equal(200, (p:response(1)))
    end)
    assert.same({ "/b", "/c", "/slow" }, order)
  end)

  it("says what an exchange of HTTP/1 says", function()
    local said
    serve(function(x)
      said = {
        x:method(), x:target(), x:path(), x:query(), x:version(), x:scheme(), x:authority(), x:header("X-One"),
        x:header("nothing") or "-", x:headers()["x-one"], x:has_body(), x:multiplexed(), x:peername().host,
        x:sockname().host, x:started(), x:finished(), x:lost(), x:keep_alive(), tostring(x),
        x:headers():getall("x-one")[2], x:content_length(),
      }
      x:respond(204)
      said[#said + 1] = x:started()
      said[#said + 1] = x:finished()
    end, function(port)
      local p <close> = h2.connect(port)
      p:request(1, "GET", "/p%20q?a=b&c", { "x-one", "1", "x-one", "2" })
      assert.equal(204, (p:response(1)))
    end)
    assert.same({
      "GET", "/p%20q?a=b&c", "/p%20q", "a=b&c", "2.0", "http", "example.com", "1", "-", "1", false, true, "127.0.0.1",
      "127.0.0.1", false, false, false, true, "<http.Exchange GET /p%20q?a=b&c HTTP/2>", "2", 0, true, true,
    }, said)
  end)

  it("has one Cookie, and Host from :authority", function()
    local said
    serve(function(x)
      said = { x:header("cookie"), x:header("host"), #x:headers():getall("cookie"), #x:headers() }
      hello(x)
    end, function(port)
      local p <close> = h2.connect(port)
      p:request(1, "GET", "/", { "cookie", "a=1", "x", "y", "cookie", "b=2", "cookie", "c=3" })
      p:response(1)
    end)
    assert.same({ "a=1; b=2; c=3", "example.com", 1, 3 }, said)
  end)

  it("may come byte by byte", function()
    serve(hello, function(port)
      local p <close> = h2.connect(port, nil, true)
      local s = h2.PREFACE .. h2.frame("SETTINGS", 0, 0) .. h2.frame("HEADERS", 5, 1, h2.block(h2.request("GET", "/x")))
      for c in s:gmatch(".") do
        p:raw(c)
        helper.turn(1)
      end
      assert.equal(200, (p:response(1)))
    end)
  end)

  it("may have its head in several frames, padded, with a priority", function()
    serve(hello, function(port)
      local p <close> = h2.connect(port)
      local block = h2.block(h2.request("GET", "/parts", { "x", ("y"):rep(100) }))
      p:send("HEADERS", h2.END_STREAM | h2.PADDED | h2.PRIORITY, 1,
        "\3" .. string.pack(">I4B", 0, 15) .. block:sub(1, 20) .. "\0\0\0")
      p:send("CONTINUATION", 0, 1, block:sub(21, 40))
      p:send("CONTINUATION", h2.END_HEADERS, 1, block:sub(41))
      local status, body = p:response(1)
      assert.same({ 200, "hello /parts" }, { status, body })
    end)
  end)
end)

describe("the body of an HTTP/2 request", function()
  it("is read as a whole", function()
    serve(function(x) x:respond(200, nil, nil, await(x:read()):reverse()) end, function(port)
      local p <close> = h2.connect(port)
      p:request(1, "POST", "/", nil, true)
      p:data(1, "abc", true)
      p:data(1, "", true)
      p:data(1, "def")
      local _, body = p:response(1)
      assert.equal("fedcba", body)
      p:request(3, "POST", "/", nil, true)
      p:data(3, "")
      _, body = p:response(3)
      assert.equal("", body)
    end)
  end)

  it("is refused above a limit: as soon as that is known", function()
    local seen = {}
    serve(function(x)
      local ok, e = pcall(function() return await(x:read(10)) end)
      seen[#seen + 1] = { ok, e.name, e.status }
      x:respond(413, nil, nil, "no")
    end, function(port)
      local p <close> = h2.connect(port)
      p:request(1, "POST", "/", { "content-length", "11" }, true)
      assert.equal(413, (p:response(1)))
      p:request(3, "POST", "/", nil, true)
      p:data(3, "0123456789", true)
      p:data(3, "0", true)
      assert.equal(413, (p:response(3)))
    end)
    assert.same({ { false, "PayloadTooLarge", 413 }, { false, "PayloadTooLarge", 413 } }, seen)
  end)

  it("is a stream, which holds a fast peer back", function()
    local total, size = 0, 3 * 1024 * 1024
    serve(function(x)
      local content = x:content()
      assert.is_true(rawequal(content, x:content()))
      await(asyncio.sleep(0.05))
      while true do
        local data = await(content:read(50000))
        if not data then break end
        total = total + #data
      end
      x:respond(200, nil, nil, tostring(total))
    end, function(port)
      local p <close> = h2.connect(port)
      p:request(1, "POST", "/", nil, true)
      -- as much as the window lets through: no more is asked for before the handler reads
      local window, sent = 65535, 0
      local conn_window = 65535
      while sent < size do
        local n = math.min(16384, window, conn_window, size - sent)
        if n > 0 then
          p:data(1, ("x"):rep(n), sent + n < size)
          sent, window, conn_window = sent + n, window - n, conn_window - n
        else
          local f = assert(p:next())
          if f.type == "WINDOW_UPDATE" then
            local more = string.unpack(">I4", f.payload)
            if f.id == 0 then conn_window = conn_window + more else window = window + more end
          elseif f.type == "SETTINGS" and f.flags == 0 then
            p:send("SETTINGS", h2.ACK, 0)
            for id, v in f.payload:gmatch("(..)(....)") do
              if string.unpack(">I2", id) == 4 then window = window + string.unpack(">I4", v) - 65535 end
            end
          end
        end
      end
      local _, body = p:response(1)
      assert.equal(tostring(size), body)
    end)
  end)

  it("gives lines, and more than a window to readexactly", function()
    local got
    serve(function(x)
      local c = x:content()
      local line = await(c:readline())
      got = { line, #await(c:readexactly(400000)), await(c:read()) }
      x:respond(200)
    end, function(port)
      local p <close> = h2.connect(port)
      p:request(1, "POST", "/", nil, true)
      p:data(1, "first\n", true)
      p:expect("WINDOW_UPDATE")
      for _ = 1, 25 do p:data(1, ("z"):rep(16000), true) end
      p:data(1, "rest")
      assert.equal(200, (p:response(1)))
    end)
    assert.same({ "first\n", 400000, "rest" }, got)
  end)

  it("is asked for by 100 Continue when it is waited for", function()
    serve(function(x) x:respond(200, nil, nil, await(x:read())) end, function(port)
      local p <close> = h2.connect(port)
      p:request(1, "POST", "/", { "expect", "100-continue" }, true)
      assert.equal(100, p:expect("HEADERS", 1).status)
      p:data(1, "now")
      local status, body = p:response(1)
      assert.same({ 200, "now" }, { status, body })
    end)
  end)

  it("that nobody reads is not waited for: the stream is reset without an error", function()
    serve(hello, function(port)
      local p <close> = h2.connect(port)
      p:request(1, "POST", "/", nil, true)
      assert.is_truthy(p:expect("DATA", 1))
      assert.equal("NO_ERROR", p:expect("RST_STREAM", 1).error)
      p:request(3, "GET", "/b")
      assert.equal(200, (p:response(3)))
    end, { lingering_time = 0.05 })
  end)

  it("raises when the peer resets the stream, or goes", function()
    local seen = {}
    serve(function(x)
      local ok, e = pcall(function() return await(x:read()) end)
      seen[#seen + 1] = tostring(e)
      seen[#seen + 1] = ok or e.code
      seen[#seen + 1] = x:lost()
      x:respond(200) -- nobody gets it
    end, function(port)
      do
        local p <close> = h2.connect(port)
        p:request(1, "POST", "/", nil, true)
        helper.settle()
        p:send("RST_STREAM", 0, 1, string.pack(">I4", 8))
        p:request(3, "POST", "/", nil, true)
        helper.settle()
      end
      wait_for(function() return #seen == 6 end)
    end)
    assert.equal(6, #seen)
    assert.same({ "ECONNRESET", true, "ECONNRESET", true }, { seen[2], seen[3], seen[5], seen[6] })
    assert.truthy(seen[1]:find("the peer has gone", 1, true))
  end)

  it("that stops coming raises in time", function()
    local seen = {}
    serve(function(x)
      local ok, e
      if x:path() == "/read" then
        ok, e = pcall(function() return await(x:read()) end)
      else
        ok, e = pcall(function() return await(x:content():read()) end)
      end
      seen[#seen + 1] = ok or e.name
      x:respond(408)
    end, function(port)
      local p <close> = h2.connect(port)
      p:request(1, "POST", "/read", nil, true)
      p:request(3, "POST", "/content", nil, true)
      p:data(1, "a", true)
      assert.equal("?", tostring((p:response(1))):match("408") and "?" or "no")
      assert.is_truthy(p:expect("HEADERS", 3))
    end, { body_timeout = 0.2 })
    table.sort(seen)
    assert.same({ "RequestTimeout", "RequestTimeout" }, seen)
  end)
end)

describe("an HTTP/2 response", function()
  it("leaves out what belongs to connections of HTTP/1", function()
    serve(function(x)
      x:respond(200, "Fine", {
        "Connection", "close", "Keep-Alive", "5", "Upgrade", "x", "Proxy-Connection", "y", "X-Kept", "z",
      }, "a")
    end, function(port)
      local p <close> = h2.connect(port)
      p:request(1, "GET", "/")
      local status, body = p:response(1)
      assert.same({ 200, "a" }, { status, body })
    end)
  end)

  it("refuses bad headers, statuses and lengths at the call", function()
    local errors = {}
    serve(function(x)
      local function try(...)
        local args = table.pack(...)
        local e = helper.raises(core.BadRequest and asyncio.Exception or "", function()
          x:respond(table.unpack(args, 1, args.n))
        end)
        errors[#errors + 1] = e.name
      end
      try(200, nil, { "a b", "c" })
      try(200, nil, { "", "c" })
      try(200, nil, { "a", "b\r\nc: d" })
      try(200, nil, { "a", "b\0" })
      try(200, nil, { "a" })
      try(200, nil, { "content-length", "5" }, "four")
      try(200, nil, { "content-length", "x" }, "four")
      try(200, nil, { "transfer-encoding", "chunked" })
      try(99)
      try(1000)
      try(200, nil, { 1, 2 })
      try(200, nil, 5)
      try(200, nil, nil, {})
      x:respond(200, nil, nil, "still")
      helper.raises("has been started", x.respond, x, 200)
      helper.raises("has been started", x.start, x, 200)
      helper.raises("has ended", x.write, x, "a")
      helper.raises("no upgrade", x.upgrade, x)
    end, function(port, log)
      local p <close> = h2.connect(port)
      p:request(1, "GET", "/")
      local status, body = p:response(1)
      assert.same({ 200, "still" }, { status, body })
      assert.same({}, log.errors)
    end)
    local V, T = "ValueError", "TypeError"
    assert.same({ V, V, V, V, V, V, V, V, V, V, T, T, T }, errors)
  end)

  it("has no body for HEAD, 204 and 304", function()
    serve(function(x)
      local status = tonumber(x:path():sub(2))
      x:respond(status, nil, nil, status == 200 and "body" or nil)
    end, function(port)
      local p <close> = h2.connect(port)
      p:request(1, "HEAD", "/200")
      p:request(3, "GET", "/204")
      p:request(5, "GET", "/304")
      for i, status in ipairs { 200, 204, 304 } do
        local f = p:expect("HEADERS", 2 * i - 1)
        assert.same({ status, 5 }, { f.status, f.flags })
      end
    end)
  end)

  it("is streamed, with trailers", function()
    serve(function(x)
      assert.is_nil(x:start(200, nil, { "X-A", "b" }))
      assert.is_true(x:started())
      for i = 1, 3 do
        assert.is_nil(x:write("part " .. i .. ";"))
        await(asyncio.sleep(0.02))
      end
      assert.is_false(x:finished())
      x:finish({ "X-Sum", "3" })
      assert.is_true(x:finished())
      assert.equal(21, x:sent())
    end, function(port, log)
      local p <close> = h2.connect(port)
      p:request(1, "GET", "/")
      local status, body = p:response(1)
      assert.same({ 200, "part 1;part 2;part 3;" }, { status, body })
      assert.same({}, log.errors)
    end)
  end)

  it("keeps to the length that it has told", function()
    local errors = {}
    serve(function(x)
      x:start(200, nil, nil, 5)
      x:write("abc")
      errors[#errors + 1] = helper.raises("more than the response's length", x.write, x, "def").name
      errors[#errors + 1] = helper.raises("lacks 2 of its bytes", x.finish, x).name
    end, function(port)
      local p <close> = h2.connect(port)
      p:request(1, "GET", "/")
      local _, why = p:response(1)
      assert.equal("INTERNAL_ERROR", why)
    end)
    assert.same({ "ValueError", "RuntimeError" }, errors)
  end)

  it("waits for a peer whose window is small", function()
    local waited, size = 0, 300000
    serve(function(x)
      x:start(200)
      for i = 1, 30 do
        local w = x:write(string.char(96 + i % 26 + 1):rep(10000))
        if w then
          waited = waited + 1
          await(w)
        end
      end
      x:finish()
    end, function(port, log)
      local p <close> = h2.connect(port, { [4] = 1000 })
      p:request(1, "GET", "/")
      local n = 0
      while n < size do
        local f = p:expect("DATA", 1)
        n = n + #f.payload
        if #f.payload > 0 then
          p:send("WINDOW_UPDATE", 0, 1, string.pack(">I4", 50 * #f.payload))
          p:send("WINDOW_UPDATE", 0, 0, string.pack(">I4", #f.payload))
        end
      end
      assert.equal(size, n)
      assert.same({}, log.errors)
    end)
    assert.is_true(waited > 1)
  end)

  it("of a large string comes whole", function()
    local big = {}
    for i = 1, 100000 do big[i] = ("%08d"):format(i) end
    big = table.concat(big)
    serve(function(x)
      local w = x:respond(200, nil, nil, big)
      assert(w)
      await(w)
    end, function(port, log)
      local p <close> = h2.connect(port, { [4] = 0x7fffffff })
      p:send("WINDOW_UPDATE", 0, 0, string.pack(">I4", 0x7fff0000))
      p:request(1, "GET", "/")
      p:request(3, "GET", "/")
      local parts = {}
      local ended = 0
      while ended < 2 do
        local f = p:next()
        if f.type == "DATA" then
          parts[f.id] = (parts[f.id] or "") .. f.payload
          if f.flags & 1 ~= 0 then ended = ended + 1 end
        end
      end
      assert.is_true(parts[1] == big and parts[3] == big)
      assert.same({}, log.errors)
    end)
  end)

  it("may be preceded by others", function()
    serve(function(x)
      x:inform(103, { "Link", "</a.css>; rel=preload" })
      helper.raises("100 or 102 to 199", x.inform, x, 101)
      helper.raises("100 or 102 to 199", x.inform, x, 200)
      x:respond(200)
    end, function(port, log)
      local p <close> = h2.connect(port)
      p:request(1, "GET", "/")
      assert.equal(103, p:expect("HEADERS", 1).status)
      assert.equal(200, p:expect("HEADERS", 1).status)
      assert.same({}, log.errors)
    end)
  end)

  it("that nobody gives resets its stream", function()
    serve(function() end, function(port)
      local p <close> = h2.connect(port)
      p:request(1, "GET", "/")
      p:request(3, "GET", "/") -- the loop over the connection has the last one
      local collect = asyncio.create_task(async(function()
        while true do
          await(asyncio.sleep(0.01))
          collectgarbage()
        end
      end)())
      assert.equal("INTERNAL_ERROR", p:expect("RST_STREAM", 1).error)
      collect:cancel()
    end)
  end)

  it("may be broken off", function()
    serve(function(x)
      x:start(200)
      x:write("a")
      x:abort()
      helper.raises("has ended", x.write, x, "b")
    end, function(port, log)
      local p <close> = h2.connect(port)
      p:request(1, "GET", "/")
      local _, why = p:response(1)
      assert.equal("CANCEL", why)
      assert.same({}, log.errors)
    end)
  end)

  it("to a peer that does not read is given up in time", function()
    local errors = {}
    serve(function(x)
      x:start(200)
      local ok, e = pcall(function()
        for _ = 1, 100 do
          local w = x:write(("x"):rep(10000))
          if w then await(w) end
        end
      end)
      errors[#errors + 1] = ok or e.code
    end, function(port)
      local p <close> = h2.connect(port, { [4] = 0 })
      p:request(1, "GET", "/")
      assert.equal("CANCEL", p:expect("RST_STREAM", 1).error)
    end, { send_timeout = 0.2 })
    assert.same({ "ECONNRESET" }, errors)
  end)
end)

describe("when the peer of an exchange goes", function()
  it("its task is cancelled, if it asked for that", function()
    local seen = {}
    serve(function(x)
      x:on_lost(asyncio.current_task())
      local ok, e = asyncio.catch(function() await(asyncio.sleep(1000)) end)
      seen[#seen + 1] = ok or e.name .. ": " .. e.message
      seen[#seen + 1] = x:lost()
    end, function(port)
      local p <close> = h2.connect(port)
      p:request(1, "GET", "/")
      p:request(3, "GET", "/")
      helper.settle()
      p:send("RST_STREAM", 0, 1, string.pack(">I4", 8))
      helper.settle()
      p:close()
      wait_for(function() return #seen == 4 end)
    end)
    assert.same({ "CancelledError: the peer has gone", true, "CancelledError: the peer has gone", true }, seen)
  end)

  it("writing raises, and answering does nothing", function()
    local seen = {}
    serve(function(x)
      if x:path() == "/w" then x:start(200) end
      wait_for(function() return x:lost() end)
      seen[#seen + 1] = x:lost()
      if x:path() == "/w" then
        seen[#seen + 1] = helper.raises(asyncio.OSError, x.write, x, "a").code
      else
        assert.is_nil(x:respond(200, nil, nil, ("a"):rep(100000)))
        seen[#seen + 1] = x:finished()
      end
    end, function(port, log)
      do
        local p <close> = h2.connect(port)
        p:request(1, "GET", "/w")
        helper.settle()
      end
      wait_for(function() return #seen == 2 end)
      do
        local p <close> = h2.connect(port)
        p:request(1, "GET", "/r")
        helper.settle()
      end
      wait_for(function() return #seen == 4 end)
      assert.same({}, log.errors)
    end)
    assert.same({ true, "ECONNRESET", true, true }, seen)
  end)
end)

describe("a malformed HTTP/2 request", function()
  --- What becomes of a request with these fields; then another one is served.
  local function try(fields, open)
    local how
    serve(hello, function(port)
      local p <close> = h2.connect(port)
      p:send("HEADERS", h2.END_HEADERS | (open and 0 or h2.END_STREAM), 1, h2.block(fields))
      if open then open(p) end
      local status, why = p:response(1)
      how = status or why
      p:request(3, "GET", "/b")
      assert.equal(200, (p:response(3)))
    end)
    return how
  end

  it("resets its stream, and no other", function()
    local P = "PROTOCOL_ERROR"
    local function more(...) return h2.request("GET", "/", { ... }) end
    assert.equal(P, try { ":method", "GET", ":path", "/", ":authority", "a" }) -- no :scheme
    assert.equal(P, try { ":method", "GET", ":scheme", "http", ":authority", "a" })
    assert.equal(P, try { ":scheme", "http", ":path", "/", ":authority", "a" })
    assert.equal(P, try { ":method", "GET", ":scheme", "http", ":path", "/", ":path", "/2", ":authority", "a" })
    assert.equal(P, try { ":method", "GET", ":scheme", "http", ":path", "", ":authority", "a" })
    assert.equal(P, try { ":method", "GET", ":scheme", "http", ":path", "/" }) -- for nobody
    assert.equal(P, try(more(":status", "200")))
    assert.equal(P, try(more(":unknown", "x")))
    assert.equal(P, try(more("a", "b", ":path", "/late")))
    assert.equal(P, try(more("Upper", "x")))
    assert.equal(P, try(more("connection", "close")))
    assert.equal(P, try(more("keep-alive", "5")))
    assert.equal(P, try(more("transfer-encoding", "chunked")))
    assert.equal(P, try(more("upgrade", "x")))
    assert.equal(P, try(more("te", "gzip")))
    assert.equal(P, try(more("content-length", "x")))
    assert.equal(P, try(more("content-length", "1", "content-length", "2")))
    assert.equal(200, try(more("te", "trailers")))
  end)

  it("has a body of another length than it says", function()
    local post = h2.request("POST", "/", { "content-length", "5" })
    assert.equal("PROTOCOL_ERROR", try(post))
    local seen = {}
    serve(function(x)
      local ok, e = pcall(function() return await(x:read()) end)
      seen[#seen + 1] = ok or e.code
    end, function(port)
      local p <close> = h2.connect(port)
      for id, data in pairs { [1] = "four", [3] = "sixsix" } do
        p:send("HEADERS", h2.END_HEADERS, id, h2.block(post))
        helper.settle()
        p:data(id, data)
        assert.equal("PROTOCOL_ERROR", p:expect("RST_STREAM", id).error)
      end
    end)
    assert.same({ "ECONNRESET", "ECONNRESET" }, seen)
  end)

  it("is answered where HTTP/1 answers, and told of", function()
    local told
    serve(hello, function(port, log)
      local p <close> = h2.connect(port)
      p:request(1, "GET", "/" .. ("a"):rep(3000))
      p:request(3, "GET", "/", { "x", ("y"):rep(5000) })
      p:request(5, "GET", "/", { "host", "other.example" })
      p:send("HEADERS", 5, 7, h2.block { ":method", "CONNECT", ":authority", "a:1" })
      local many = {}
      for i = 1, 11 do
        many[2 * i - 1] = "x" .. i
        many[2 * i] = "y"
      end
      p:request(9, "GET", "/", many)
      p:request(11, "HEAD", "/", { "x", ("y"):rep(5000) })
      local statuses = {}
      while not statuses[11] do
        local f = assert(p:expect("HEADERS"))
        statuses[f.id] = f.status
        if f.id == 11 then assert.equal(h2.END_STREAM, f.flags & h2.END_STREAM) end
      end
      assert.same({ [1] = 414, [3] = 431, [5] = 400, [7] = 501, [9] = 431, [11] = 431 }, statuses)
      p:send("HEADERS", 5, 21, h2.block { ":method", "GET", ":scheme", "http", ":path", "/", ":authority", "user@a" })
      p:send("HEADERS", 5, 23, h2.block { ":method", "GET", ":scheme", "http", ":path", "/\xc3\xa9", ":authority", "a" })
      p:request(25, "GET", "/", { "expect", "tea" })
      statuses = {}
      while not statuses[25] do
        local f = assert(p:expect("HEADERS"))
        statuses[f.id] = f.status
      end
      assert.same({ [21] = 400, [23] = 400, [25] = 417 }, statuses)
      p:request(27, "GET", "/fine#x?y", { "host", "example.com" })
      assert.same({ 200, "hello /fine" }, { p:response(27) })
      p:request(29, "GET", "/fine", { "host", "example.com" })
      local status, body = p:response(29)
      assert.same({ 200, "hello /fine" }, { status, body })
      told = log.bad
    end, { max_line = 2000, max_head = 4096, max_headers = 10 })
    assert.same({
      "414 the request's target is too long", "431 the request's head is too large", "400 Host and :authority differ",
      "501 CONNECT is not served here", "431 the request's head is too large", "431 the request's head is too large",
      "400 Host is malformed", "400 the request's path is malformed", "417 Expect asks for something unknown",
    }, told)
  end)
end)

describe("a connection that breaks HTTP/2's rules", function()
  --- The error of the GOAWAY that f(peer) brings.
  local function try(f, handler)
    local how
    serve(handler or hello, function(port, log)
      local p <close> = h2.connect(port)
      f(p)
      how = p:ending()
      assert.truthy(log.bad[1] and log.bad[1]:find("^400 %a+"))
    end)
    return how
  end

  it("is closed, with the reason", function()
    local u32 = function(n) return string.pack(">I4", n) end
    assert.equal("PROTOCOL_ERROR", try(function(p) p:send("DATA", 0, 0, "x") end))
    assert.equal("PROTOCOL_ERROR", try(function(p) p:request(2, "GET", "/") end))
    assert.equal("PROTOCOL_ERROR", try(function(p) p:send("WINDOW_UPDATE", 0, 0, u32(0)) end))
    assert.equal("FLOW_CONTROL_ERROR", try(function(p) p:send("WINDOW_UPDATE", 0, 0, u32(0x7fffffff)) end))
    assert.equal("FRAME_SIZE_ERROR", try(function(p) p:send("PING", 0, 0, "short") end))
    assert.equal("FRAME_SIZE_ERROR", try(function(p) p:send("SETTINGS", 0, 0, "short") end))
    assert.equal("FRAME_SIZE_ERROR", try(function(p) p:send("DATA", 0, 1, ("x"):rep(16385)) end))
    assert.equal("PROTOCOL_ERROR", try(function(p) p:send("CONTINUATION", 4, 1, "x") end))
    assert.equal("PROTOCOL_ERROR", try(function(p) p:send("PUSH_PROMISE", 4, 1, u32(2)) end))
    assert.equal("PROTOCOL_ERROR", try(function(p) p:send("RST_STREAM", 0, 1, u32(8)) end)) -- idle
    assert.equal("COMPRESSION_ERROR", try(function(p) p:send("HEADERS", 5, 1, "\xff\xff\xff\xff\xff") end))
    assert.equal("PROTOCOL_ERROR", try(function(p)
      p:send("HEADERS", 0, 1, "")
      p:send("PING", 0, 0, "12345678")
    end))
    assert.equal("PROTOCOL_ERROR", try(function(p) p:send("SETTINGS", 0, 0, string.pack(">I2I4", 2, 5)) end))
    local handler, event = gate()
    assert.equal("FLOW_CONTROL_ERROR", try(function(p)
      p:expect("SETTINGS")
      for id = 1, 9, 2 do
        p:request(id, "POST", "/", nil, true)
        for _ = 1, 15 do p:data(id, ("x"):rep(16384), true) end
      end
      event:set()
    end, handler))
  end)

  it("is closed for a head on a stream that was ended, or passed over", function()
    local function after(send)
      return try(function(p)
        for _, id in ipairs { 1, 5 } do
          p:request(id, "GET", "/")
          assert.equal(200, (p:response(id)))
        end
        send(p)
      end)
    end
    assert.equal("STREAM_CLOSED", after(function(p) p:request(5, "GET", "/") end))
    assert.equal("STREAM_CLOSED", after(function(p) p:request(1, "GET", "/") end))
    assert.equal("PROTOCOL_ERROR", after(function(p) p:request(3, "GET", "/") end))
    assert.equal("STREAM_CLOSED", after(function(p)
      p:request(7, "POST", "/", nil, true)
      p:send("RST_STREAM", 0, 7, string.pack(">I4", 8))
      p:request(7, "GET", "/")
    end))
    assert.equal("STREAM_CLOSED", after(function(p)
      p:request(5 + 126, "GET", "/")
      assert.equal(200, (p:response(131)))
      p:request(5, "GET", "/")
    end))
    assert.equal("PROTOCOL_ERROR", after(function(p) p:send("PRIORITY", 0, 0, "\0\0\0\1\xff") end))
  end)

  it("goes on when what was too old to be known, or was on its way, comes late", function()
    serve(function(x)
      x:respond(200, nil, nil, "early")
    end, function(port)
      local p <close> = h2.connect(port)
      p:request(1, "POST", "/", nil, true)
      assert.equal(200, (p:response(1))) -- and then it is reset, without an error
      p:send("HEADERS", 5, 1, h2.block { "x-trailer", "1" })
      p:request(401, "GET", "/")
      assert.equal(200, (p:response(401)))
      p:request(3, "GET", "/") -- skipped, long ago
      p:request(403, "GET", "/")
      assert.equal(200, (p:response(403)))
    end, { lingering_time = 0 })
  end)

  it("is closed for a false preface", function()
    serve(hello, function(port)
      local p <close> = h2.connect(port, nil, true)
      p:raw("PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n")
      assert.equal("EOF", p:ending())
    end)
  end)

  it("is closed if nothing follows the preface, or a head does not end", function()
    serve(hello, function(port)
      local p <close> = h2.connect(port, nil, true)
      p:raw(h2.PREFACE)
      assert.is_truthy(p:ending())
      local q <close> = h2.connect(port)
      q:request(1, "GET", "/a")
      assert.equal(200, (q:response(1)))
      q:send("HEADERS", 0, 3, h2.block(h2.request("GET", "/")):sub(1, 10))
      q:ending()
    end, { header_timeout = 0.3 })
  end)

  it("is closed when it is idle", function()
    serve(hello, function(port, log)
      local p <close> = h2.connect(port)
      p:request(1, "GET", "/a")
      assert.equal(200, (p:response(1)))
      local since = asyncio.get_running_loop():time()
      assert.equal("NO_ERROR", p:ending())
      assert.is_true(asyncio.get_running_loop():time() - since > 0.39)
      p:close()
      wait_for(function() return log.over == 1 end)
    end, { keepalive_timeout = 0.4 })
  end)
end)

describe("a flood", function()
  --- The error that ends it; then the server still serves others.
  local function flood(one, count, settings, handler)
    local how
    serve(handler or hello, function(port, log)
      local p <close> = h2.connect(port, settings)
      local parts = {}
      for i = 1, count do
        parts[#parts + 1] = one(i)
        if i % 100 == 0 then
          p:raw(table.concat(parts))
          parts = {}
          helper.turn(1)
        end
      end
      p:raw(table.concat(parts))
      how = p:ending()
      assert.truthy(log.bad[#log.bad]:find(how == "ENHANCE_YOUR_CALM" and "429 too much work for nothing" or "^400"))
      local q <close> = h2.connect(port)
      q:request(1, "GET", "/after")
      assert.equal(200, (q:response(1)))
    end)
    return how
  end
  local u32 = function(n) return string.pack(">I4", n) end
  local get = h2.block(h2.request("GET", "/"))

  it("of resets is ended", function()
    local served = 0
    local how = flood(function(i)
      return h2.frame("HEADERS", 5, 2 * i - 1, get) .. h2.frame("RST_STREAM", 0, 2 * i - 1, u32(8))
    end, 2000, nil, function(x)
      served = served + 1
      hello(x)
    end)
    assert.equal("ENHANCE_YOUR_CALM", how)
    assert.is_true(served < 300)
  end)

  it("of resets that the server is made to send is ended", function()
    assert.equal("ENHANCE_YOUR_CALM", flood(function(i)
      return h2.frame("HEADERS", 4, 2 * i - 1, get) .. h2.frame("WINDOW_UPDATE", 0, 2 * i - 1, u32(0x7fffffff))
    end, 2000))
  end)

  it("of malformed requests is ended", function()
    local bad = h2.block(h2.request("GET", "/", { "connection", "close" }))
    assert.equal("ENHANCE_YOUR_CALM", flood(function(i) return h2.frame("HEADERS", 5, 2 * i - 1, bad) end, 2000))
  end)

  it("of settings, pings, empty frames, priorities or windows is ended", function()
    local calm = "ENHANCE_YOUR_CALM"
    assert.equal(calm, flood(function() return h2.frame("SETTINGS", 0, 0, string.pack(">I2I4", 4, 1000)) end, 3000))
    assert.equal(calm, flood(function() return h2.frame("PING", 0, 0, "12345678") end, 3000))
    assert.equal(calm, flood(function(i) return h2.frame("PRIORITY", 0, 2 * i + 1, u32(0) .. "\0") end, 3000))
    assert.equal(calm, flood(function() return h2.frame("WINDOW_UPDATE", 0, 0, u32(1)) end, 3000))
    assert.equal(calm, flood(function(i)
      if i == 1 then return h2.frame("HEADERS", 4, 1, get) end
      return h2.frame("DATA", 0, 1, "")
    end, 3000, nil, function(x)
      await(x:read())
      hello(x)
    end))
  end)

  it("of continuations is ended", function()
    local how = flood(function(i)
      if i == 1 then return h2.frame("HEADERS", 1, 1, get) end
      return h2.frame("CONTINUATION", 0, 1, "")
    end, 2000)
    assert.is_truthy(how == "ENHANCE_YOUR_CALM" or how == "INTERNAL_ERROR" or how == "PROTOCOL_ERROR", how)
  end)

  it("of headers that swell by compression is refused", function()
    serve(hello, function(port)
      local p <close> = h2.connect(port)
      -- one entry of 4000 bytes in the table, then referred to by one byte each
      local block = h2.block(h2.request("GET", "/")) .. "\x40" .. h2.int(0, 7, 1) .. "x" .. h2.int(0, 7, 4000) .. ("y"):rep(4000)
      p:send("HEADERS", 5, 1, block .. ("\xbe"):rep(8000))
      local status, why = p:response(1)
      assert.is_truthy(status == 431 or why == "INTERNAL_ERROR", why)
      p:request(3, "GET", "/b")
      assert.equal(200, (p:response(3)))
    end)
  end)

  it("of requests is served a number at a time", function()
    local most, now = 0, 0
    serve(function(x)
      now = now + 1
      most = math.max(most, now)
      await(asyncio.sleep(0.1))
      now = now - 1
      hello(x)
    end, function(port)
      local p <close> = h2.connect(port) -- settings that were not acknowledged bind nobody
      for i = 1, 300 do p:request(2 * i - 1, "GET", "/") end
      local refused, answered = 0, 0
      while refused + answered < 300 do
        local f = assert(p:next())
        if f.type == "RST_STREAM" then
          assert.equal("REFUSED_STREAM", f.error)
          refused = refused + 1
        elseif f.type == "DATA" and f.flags & 1 == 1 then
          answered = answered + 1
        end
      end
      assert.is_true(answered >= 128)
    end)
    assert.equal(128, most)
  end)

  it("of requests whose handlers go on when they are reset does not make more and more of them", function()
    local handler, event = gate()
    local running = 0
    serve(function(x)
      running = running + 1
      handler(x)
    end, function(port)
      local p <close> = h2.connect(port)
      for i = 1, 160 do
        p:request(2 * i - 1, "GET", "/")
        helper.turn(2)
        p:send("RST_STREAM", 0, 2 * i - 1, u32(8))
      end
      helper.settle()
      assert.is_true(running <= 128)
      event:set()
      helper.turn(5)
      p:close()
    end)
  end)
end)

describe("the end of an HTTP/2 connection", function()
  it("comes at once where nothing is served", function()
    serve(hello, function(port, _, set)
      local p <close> = h2.connect(port)
      p:request(1, "GET", "/")
      assert.equal(200, (p:response(1)))
      set:shutdown()
      assert.equal("NO_ERROR", p:ending())
    end)
  end)

  it("waits for what is being served, and for what was on its way", function()
    local handler, event = gate()
    serve(handler, function(port, log, set)
      local p <close> = h2.connect(port)
      p:request(1, "GET", "/")
      helper.settle()
      assert.equal(1, set:connections())
      set:shutdown()
      local f, ping
      repeat
        f = p:next()
        if f.type == "PING" then ping = f.payload end
      until f.type == "GOAWAY"
      assert.same({ 0x7fffffff, "NO_ERROR" }, { f.last, f.error })
      p:request(3, "GET", "/")
      if ping then p:send("PING", h2.ACK, 0, ping) end
      f = p:expect("GOAWAY")
      assert.same({ 3, "NO_ERROR" }, { f.last, f.error })
      p:request(5, "GET", "/") -- not heard any more
      event:set()
      assert.equal(200, (p:response(1)))
      assert.equal("EOF", p:ending())
      p:close()
      wait_for(function() return log.over == 1 end)
      assert.equal(0, set:connections())
    end)
  end)

  it("does not wait for ever for a peer that answers nothing", function()
    local handler, event = gate()
    serve(handler, function(port, _, set)
      local p <close> = h2.connect(port)
      p:request(1, "GET", "/")
      helper.settle()
      set:shutdown()
      event:set()
      wait_for(function() return set:connections() == 0 end)
    end)
  end)

  it("is close() in the middle of anything", function()
    local handler, event = gate()
    local lost = {}
    serve(function(x)
      handler(x)
      lost[#lost + 1] = x:lost()
    end, function(port, log)
      local p <close> = h2.connect(port)
      p:request(1, "GET", "/")
      helper.settle()
      assert.is_true(log.conns[1]:busy())
      helper.raises("HTTP/2", log.conns[1].detach, log.conns[1])
      log.conns[1]:close()
      log.conns[1]:close()
      assert.is_true(log.conns[1]:is_closing())
      helper.turn()
      assert.equal(1, log.over)
      event:set()
      helper.turn()
      assert.equal("EOF", p:ending())
    end)
    assert.same({ true }, lost)
  end)

  it("leaves exchanges and readers that can be asked", function()
    local kept, reader
    serve(function(x)
      kept, reader = x, x:content()
      await(asyncio.sleep(1))
    end, function(port)
      local p <close> = h2.connect(port)
      p:request(1, "POST", "/kept", nil, true)
      p:data(1, "some", true)
      helper.settle()
    end)
    collectgarbage()
    assert.equal("/kept", kept:path())
    assert.equal("http", kept:scheme())
    assert.is_true(kept:lost())
    assert.equal("127.0.0.1", kept:peername().host)
    assert.is_nil(kept:respond(200, nil, nil, "x"))
    kept = nil -- luacheck: ignore
    collectgarbage()
    collectgarbage()
    assert.equal("some", reader:exception() and "some")
  end)

  it("is that of next(), which may be cancelled", function()
    local ends = {}
    helper.run(async(function()
      local server <close> = await(asyncio.start_server(async(function(conn)
        local x = await(conn:next())
        x:respond(200)
        ends[1] = pcall(function() await(asyncio.wait_for(conn:next(), 1)) end)
        x = await(conn:next())
        x:respond(200)
        ends[2] = await(conn:next()) == nil
        ends[3] = await(conn:next()) == nil
      end), "127.0.0.1", 0, { http = core.settings {} }))
      local p <close> = h2.connect(server.sockets[1].port)
      p:request(1, "GET", "/")
      p:response(1)
      await(asyncio.sleep(2))
      p:request(3, "GET", "/")
      p:response(3)
      p:close()
      await(asyncio.sleep(0.05))
    end))
    assert.same({ false, true, true }, ends)
  end)

  it("may be that of its loop or of its engine", function()
    local code = [[
      local asyncio = require "asyncio"
      local core = require "http.core"
      local h2 = require "spec.http.http2peer"
      local kept = {}
      asyncio.run(async(function()
        local server = await(asyncio.start_server(async(function(conn)
          kept[#kept + 1] = conn
          for x in conn do
            kept[#kept + 1] = x
            asyncio.create_task(async(function()
              x:start(200)
              x:write(("a"):rep(60000))
              x:on_lost(asyncio.current_task())
              await(x:content():read())
            end)())
          end
        end), "127.0.0.1", 0, { http = core.settings {} }))
        local p = h2.connect(server.sockets[1].port)
        p:request(1, "POST", "/", nil, true)
        p:request(3, "POST", "/", nil, true)
        p:expect("HEADERS", 3)
        if arg and arg[1] == "exit" then os.exit(true, true) end
      end)())
      print(#kept, pcall(kept[2].respond, kept[2], 200))
    ]]
    local name = os.tmpname()
    local f <close> = assert(io.open(name, "w"))
    f:write(code)
    f:close()
    helper.finally(os.remove, name)
    local status, out, err = helper.cli { name }
    assert.same({ 0, "" }, { status, err })
    assert.truthy(out:find("^3"))
    status, out = helper.cli { name, "exit" }
    assert.same({ 0, "" }, { status, out })
  end)
end)
