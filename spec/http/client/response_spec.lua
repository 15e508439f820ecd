local asyncio = require "asyncio"
local helper = require "spec.helper"
local http = require "http"
local peer = require "spec.http.client.peer"
local web = require "http.web"

local answer = peer.answer

-- One answer, and f(resp, session, log).
local function with(bytes, f, opts, request_opts)
  return peer.raw(function(_, writer)
    writer:write(bytes)
  end, opts, function(session, url, log)
    local resp <close> = await(session:get(url "/dir/page?q=1#frag", request_opts))
    return f(resp, session, log)
  end)
end

describe("ClientResponse", function()
  it("tells what the server said", function()
    with(answer(203, { "Content-Type: text/HTML; charset=UTF-8", "X-A: 1", "x-a: 2",
      "Content-Disposition: attachment; filename*=UTF-8''na%C3%AFve.txt",
      'Link: </next>; rel="next"; title="a, b", <http://other/>; rel=up' }, "body"), function(resp)
      assert.same({ 203, "Whatever", "1.1", true, "GET" }, { resp.status, resp.reason, resp.version, resp.ok, resp.method })
      assert.same({ "text/html", "utf-8", 4 }, { resp.content_type, resp.charset, resp.content_length })
      assert.equal("1", resp.headers["x-A"])
      assert.same({ "1", "2" }, resp.headers:getall("X-A"))
      assert.same({ "X-A", "1" }, resp.raw_headers[2])
      assert.same({ "attachment", "naïve.txt" }, { resp.content_disposition.type, resp.content_disposition.filename })
      local origin = tostring(resp.url):match("^http://[^/]*")
      assert.equal(origin .. "/dir/page?q=1", tostring(resp.url))
      assert.equal(origin .. "/dir/page?q=1#frag", tostring(resp.real_url))
      assert.equal("127.0.0.1", resp.host)
      assert.equal(origin .. "/next", tostring(resp.links.next:get("url")))
      assert.equal("a, b", resp.links.next:get("title"))
      assert.equal("http://other/", tostring(resp.links.up:get("url")))
      assert.same({}, resp.history)
      assert.equal("GET", resp.request_info.method)
      assert.truthy(tostring(resp.request_info):find("^<RequestInfo GET http://127%.0%.0%.1:%d+/"))
      assert.equal("*/*", resp.request_info.headers.Accept)
      assert.equal(("<ClientResponse(%s) [203 Whatever]>"):format(origin .. "/dir/page?q=1"), tostring(resp))
      assert.equal("body", await(resp:text()))
    end)
  end)

  it("has defaults for what the server did not say", function()
    with("HTTP/1.1 200 \r\n\r\nto the end", function(resp)
      assert.same({ "application/octet-stream", "" }, { resp.content_type, resp.reason })
      assert.is_nil(resp.charset)
      assert.is_nil(resp.content_length)
      assert.is_nil(resp.content_disposition)
      assert.equal(0, #resp.links)
      assert.same({}, resp.cookies)
      assert.equal("to the end", await(resp:text()))
    end)
  end)

  it("decodes text and JSON", function()
    with(answer(200, { "Content-Type: text/plain; charset=iso-8859-1" }, "na\xEFve"), function(resp)
      assert.equal("naïve", await(resp:text()))
      assert.equal("na\xEFve", await(resp:read()))
      assert.equal("na\xEFve", await(resp:text("utf-8")))
      assert.equal("na\u{FFFD}ve", await(resp:text { encoding = "utf-8", errors = "replace" }))
      assert.equal("nave", await(resp:text("utf-8", "ignore")))
      helper.raises("the body is not UTF-8: byte 3", function() await(resp:text("utf-8", "strict")) end)
      helper.raises("the encoding \"klingon\" is not known", function() await(resp:text("klingon")) end)
      helper.raises("errors: 'strict', 'replace'", resp.text, resp, nil, "loud")
    end)
    with(answer(200, { "Content-Type: application/problem+json" }, '{"a": [1, null]}'), function(resp)
      assert.equal(1, await(resp:json()).a[1])
    end)
    with(answer(200, { "Content-Type: application/json" }, "  "), function(resp) assert.is_nil(await(resp:json())) end)
  end)

  it("asks for the character set that the server does not tell", function()
    local asked = 0
    local opts = { fallback_charset_resolver = function(resp, body)
      asked = asked + 1
      assert.same({ 200, "na\xEFve" }, { resp.status, body })
      return "latin-1"
    end }
    with(answer(200, { "Content-Type: text/plain" }, "na\xEFve"), function(resp)
      helper.raises("the body has to be read first", resp.get_encoding, resp)
      assert.equal("naïve", await(resp:text()))
    end, opts)
    with(answer(200, { "Content-Type: text/plain; charset=utf-8" }, "naïve"), function(resp)
      assert.equal("naïve", await(resp:text()))
    end, opts)
    assert.equal(1, asked)
    with(answer(200, {}, "x"), function(resp)
      helper.raises("a string was expected of it, got nil", function() await(resp:text()) end)
    end, { fallback_charset_resolver = function() end })
    helper.raises("fallback_charset_resolver: a function", http.ClientSession, { fallback_charset_resolver = 5 })
    helper.raises("json_serialize: a function", http.ClientSession, { json_serialize = {} })
  end)

  it("says why it is no JSON", function()
    with(answer(200, { "Content-Type: text/html" }, "<p>"), function(resp)
      local e = helper.raises(http.ContentTypeError, function() await(resp:json()) end)
      assert.equal("Attempt to decode JSON with unexpected mimetype: text/html", e.message)
      assert(tostring(e):find("^ContentTypeError: GET http://127.0.0.1:%d+/dir/page%?q=1: 200, Attempt"), tostring(e))
      assert.same({ 200, "text/html" }, { e.status, e.headers["Content-Type"] })
      e = helper.raises(asyncio.ValueError, function() await(resp:json { content_type = false }) end)
      assert(tostring(e):find("^ValueError: GET http://.-: the body is not JSON: "), tostring(e))
      assert.equal("<p>!", await(resp:json { content_type = "text/html", loads = function(s) return s .. "!" end }))
      helper.raises("unexpected keyword argument 'type'", resp.json, resp, { type = "x" })
    end)
  end)

  it("streams", function()
    local body = ("0123456789"):rep(1000) .. "\nlast line"
    with(answer(200, {}, body), function(resp)
      assert.equal("01234", await(resp.content:read(5)))
      assert.equal("56789", await(resp.content:readexactly(5)))
      assert.equal(9991, #await(resp.content:readuntil("\n")))
      assert.is_false(resp.content:at_eof())
      assert.equal("last line", await(resp.content:readline()))
      assert.is_nil(await(resp.content:read(5)))
      assert.is_true(resp.content:at_eof())
      assert.is_true(resp.closed)
    end)
    with(answer(200, {}, body), function(resp)
      local sizes = {}
      for piece in resp.content:iter_chunked(4000) do sizes[#sizes + 1] = #piece end
      assert.same({ 4000, 4000, #body - 8000 }, sizes)
    end)
    with(answer(200, {}, body), function(resp)
      local lines = {}
      for line in resp.content:lines() do lines[#lines + 1] = #line end
      assert.same({ 10000, 9 }, lines)
    end)
    with(answer(200, {}, body), function(resp)
      local all = {}
      for piece in resp.content:iter_any() do all[#all + 1] = piece end
      assert.equal(body, table.concat(all))
      assert.equal("", await(resp:read()))
    end)
    with(answer(200, {}, body), function(resp)
      assert.equal(#body, #await(resp:read()))
      assert.equal(body, await(resp.content:read()))
      helper.raises("1 byte or more", resp.content.iter_chunked, resp.content, 0)
      helper.raises("a number of bytes", resp.content.read, resp.content, "x")
    end)
  end)

  it("goes on after a read that was given up", function()
    peer.raw(function(_, writer)
      writer:write("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nabc")
      await(asyncio.sleep(5))
      return "def"
    end, nil, function(session, url)
      local resp <close> = await(session:get(url "/"))
      assert.equal("abc", await(resp.content:read(3)))
      helper.raises(asyncio.TimeoutError, function() await(asyncio.wait_for(resp.content:read(3), 1)) end)
      helper.raises(asyncio.IncompleteReadError, function() await(resp.content:readexactly(10)) end)
      assert.is_true(resp.content:at_eof())
    end, { clock = "virtual" })
  end)

  it("undoes codings, unless it is told not to", function()
    local zlib = require "zlib"
    local packed = zlib.compress("squeezed", { wbits = 31 })
    local bytes = answer(200, { "Content-Encoding: gzip" }, packed)
    with(bytes, function(resp)
      assert.equal("squeezed", await(resp:text()))
      assert.equal(#packed, resp.content_length)
    end)
    with(bytes, function(resp)
      assert.equal("squee", await(resp.content:read(5)))
      assert.equal("zed", await(resp:read()))
    end)
    with(bytes, function(resp) assert.equal(packed, await(resp:read())) end, { auto_decompress = false })
    with(bytes, function(resp) assert.equal(packed, await(resp:read())) end, nil, { auto_decompress = false })
    with(answer(200, { "Content-Encoding: rot13" }, "xyz"), function(resp) assert.equal("xyz", await(resp:read())) end)
    with(answer(200, { "Content-Encoding: gzip" }, "xyz"), function(resp)
      local e = helper.raises(http.ClientPayloadError, function() await(resp:read()) end)
      assert(tostring(e):find("GET http://.*: the body is not gzip"), tostring(e))
    end)
    with(answer(200, { "Content-Encoding: gzip" }, packed:sub(1, -5)), function(resp)
      helper.raises(http.ClientPayloadError, function() for _ in resp.content:iter_any() do end end)
    end)
  end)

  it("keeps to max_body_size, coded or decoded", function()
    local bomb = require("zlib").compress(("0"):rep(1000000), { wbits = 31 })
    local coded = answer(200, { "Content-Encoding: gzip" }, bomb)
    for _, bytes in ipairs { coded, answer(200, {}, ("0"):rep(5000)), "HTTP/1.1 200 OK\r\n\r\n" .. ("0"):rep(5000) } do
      with(bytes, function(resp)
        local e = helper.raises(http.ClientPayloadError, function() await(resp:read()) end)
        assert(tostring(e):find("4000 bytes", 1, true), tostring(e))
        assert.equal(4000, e.limit)
        assert.is_true(resp.closed)
      end, { max_body_size = 4000 })
      with(bytes, function(resp)
        helper.raises(http.ClientPayloadError, function() for _ in resp.content:iter_any() do end end)
      end, nil, { max_body_size = 4000 })
    end
  end)

  it("hands out no connection that the server has reset meanwhile", function()
    local gone
    peer.raw(function(_, writer)
      writer:write("HTTP/1.1 101 Switching\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\n")
      writer:get_extra_info("socket"):setsockopt("SO_LINGER", 0)
      writer.transport:abort()
      gone:set_result(true)
    end, { limit = 1 }, function(session, url)
      for _ = 1, 2 do -- the place in the pool is given back
        gone = asyncio.get_running_loop():create_future()
        local resp = await(session:get(url "/", { timeout = 30, headers = { Upgrade = "echo", Connection = "Upgrade" } }))
        await(gone)
        for _ = 1, 10 do await(asyncio.sleep(0)) end
        local err = helper.raises(http.ClientError, resp.upgrade, resp)
        assert.same({ "GET", url "/" }, { err.method, err.url })
      end
    end)
  end)

  it("hands out the connection of another protocol that was asked for", function()
    local function switch(request, writer, _, _, reader)
      if request.line:find "/no " then return answer(200, {}, "not here") end
      writer:write("HTTP/1.1 101 Switching\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\nhello ")
      while true do
        local data = await(reader:read(100))
        if not data then return end
        writer:write(data)
      end
    end
    peer.raw(switch, { limit = 1 }, function(session, url)
      local asking = { headers = { Upgrade = "echo", Connection = "Upgrade" } }
      for _, get in ipairs { "get", "post" } do
        local resp <close> = await(session[get](session, url "/", asking))
        assert.same({ 101, "", false, "echo" }, { resp.status, await(resp:read()), resp.closed, resp.headers.Upgrade })
        local reader, writer = resp:upgrade()
        local _ <close> = writer
        writer:write("you")
        assert.equal("hello you", await(reader:readexactly(9)))
        assert.is_true(resp.closed)
        helper.raises("the server has not switched protocols, or the response was closed", resp.upgrade, resp)
      end
      for _, close in ipairs { "close", "release" } do -- with a connection that nobody wants
        local resp = await(session:get(url "/", asking))
        resp[close](resp)
        assert.is_true(resp.closed)
      end
      do
        local refused <close> = await(session:get(url "/no", asking))
        assert.same({ 200, "not here" }, { refused.status, await(refused:text()) })
        helper.raises("the server has not switched protocols", refused.upgrade, refused)
      end
      helper.raises(http.ClientResponseError, function() await(session:get(url "/")) end) -- nobody asked
      await(async(function() assert.equal(101, await(session:get(url "/", asking)).status) end)()) -- dropped
      local other <close> = await(session:get(url "/no", { timeout = 5 }))
      assert.equal(200, other.status)
    end)
  end)

  it("without a length is empty, if it is not to be read to the end of the connection", function()
    peer.raw(function(_, writer)
      writer:write("HTTP/1.1 200 OK\r\n\r\nendless")
      await(asyncio.sleep(0.01))
      return "..."
    end, nil, function(session, url)
      local resp <close> = await(session:get(url "/", { read_until_eof = false }))
      assert.equal("", await(resp:read()))
      assert.is_true(resp.closed)
    end)
    with(answer(200, {}, "body"), function(resp) assert.equal("body", await(resp:read())) end, nil, { read_until_eof = false })
  end)

  it("fails when its body is cut off", function()
    for _, bytes in ipairs {
      "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort",
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nshort\r\n",
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nshort\r\n0\r\n\r\n",
    } do
      with(bytes, function(resp)
        local e = helper.raises(http.ClientPayloadError, function() await(resp:read()) end)
        assert(tostring(e):find("^ClientPayloadError: GET http://.*/dir/page%?q=1: "), tostring(e))
      end)
      with(bytes, function(resp)
        helper.raises(http.ClientPayloadError, function() for _ in resp.content:iter_any() do end end)
      end)
    end
  end)

  it("can be read when its status was raised", function()
    peer.serve({ web.get("/", async(function(request)
      local reply = web.StreamResponse { status = 404 }
      await(reply:prepare(request))
      await(asyncio.sleep(0.01))
      await(reply:write "why")
      return reply
    end)) }, { limit = 1 }, function(session, url)
      for _ = 1, 2 do
        local resp <close> = await(session:get(url "/"))
        helper.raises(http.ClientResponseError, resp.raise_for_status, resp)
        assert.equal("why", await(resp:text()))
        helper.raises(http.ClientResponseError, function() await(session:get(url "/", { raise_for_status = true })) end)
      end
    end)
  end)

  it("cannot be read after it was closed", function()
    with(answer(200, {}, ("x"):rep(1000000)), function(resp)
      resp:close()
      assert.is_true(resp.closed)
      local e = helper.raises(http.ClientConnectionError, function() await(resp:read()) end)
      assert(tostring(e):find("Connection closed"), tostring(e))
      helper.raises(http.ClientConnectionError, function() await(resp.content:read(5)) end)
      resp:close()
      resp:release()
    end)
  end)

  it("is read by one task at a time, and may be closed meanwhile", function()
    peer.raw(function(_, writer)
      writer:write("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nabc")
      await(asyncio.sleep(0.02))
      return "def"
    end, nil, function(session, url)
      local resp <close> = await(session:get(url "/"))
      local first = asyncio.create_task(resp:read())
      await(asyncio.sleep(0.005))
      helper.raises("while another task", function() await(resp:read()) end)
      assert.equal("abcdef", await(first))
      for _, how in ipairs { "close", "release" } do
        for _, read in ipairs { function(r) return await(r:read()) end, function(r) return await(r.content:read()) end } do
          local other = await(session:get(url "/"))
          local task = asyncio.create_task(function() return read(other) end)
          await(asyncio.sleep(0))
          other[how](other)
          local e = helper.raises(http.ClientConnectionError, function() await(task) end)
          assert(tostring(e):find("Connection closed"), tostring(e))
        end
      end
    end)
  end)

  it("gives its connection back when it has been read, or let go with little left", function()
    peer.serve({ web.get("/{n}", function(request)
      return web.Response { text = ("x"):rep(tonumber(request.match_info.n)) }
    end) }, nil, function(session, url)
      local function port(resp) return resp.headers["X"] end
      for _, n in ipairs { 5, 100000, 20 } do
        local resp <close> = await(session:get(url("/" .. n)))
        assert.equal(n, #await(resp:read()))
        assert.is_true(resp.closed)
        assert.is_nil(port(resp))
      end
      for _ = 1, 20 do
        local resp <close> = await(session:get(url "/200000")) -- not read
        assert.equal(200, resp.status)
      end
      for _ = 1, 5 do
        local resp <close> = await(session:get(url "/20000000"))
        assert.equal(200, resp.status)
      end
      local resp <close> = await(session:get(url "/7"))
      assert.equal("xxxxxxx", await(resp:text()))
    end)
  end)

  it("of HTTP/2 gives its stream back when it is let go", function()
    if not require("http.core").Exchange2 then return pending("built without HTTP/2") end
    for _, how in ipairs { "close", "release" } do
      peer.serve({ web.get("/", function() return web.Response { text = ("x"):rep(300000) } end) },
        { http2 = "prior" }, function(session, url)
        for _ = 1, 3 do
          local resp = await(session:get(url "/"))
          assert.equal("2.0", resp.version)
          resp[how](resp)
          assert(tostring(session.connector):find("acquired=0", 1, true), tostring(session.connector))
        end
      end)
    end
  end)

  it("gives its place back when it is malformed and nobody looks", function()
    for _, early in ipairs { true, false } do
      peer.raw(function(_, writer)
        writer:write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nzz")
        await(asyncio.sleep(0.05))
      end, { limit = 1, timeout = 30 * helper.slow }, function(session, url)
        for _ = 1, 3 do
          assert.equal(200, await(session:get(url "/")).status)
          if early then collectgarbage() end
        end
      end)
    end
  end)

  it("does not give back a connection that is another's by now", function()
    local send = asyncio.Event()
    peer.raw(function(request, writer)
      if request.line:find("/first", 1, true) then
        writer:write("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
        await(send:wait())
        return "first"
      end
      await(asyncio.sleep(0.02))
      return answer(200, {}, "second")
    end, { limit = 1 }, function(session, url, log)
      for _, finish in ipairs { "close", "release", "text" } do
        send:clear()
        local first = await(session:get(url "/first"))
        assert.equal("", await(first.content:read(0)) or "")
        local second = asyncio.create_task(session:get(url "/second"))
        send:set() -- the body comes, and nobody looks
        local before = #log
        while #log == before do await(asyncio.sleep(0.001)) end
        assert.is_true(first.closed)
        local result = first[finish](first)
        if finish == "text" then assert.equal("first", await(result)) end
        local resp <close> = await(second)
        assert.equal("second", await(resp:text()))
      end
      assert.equal(6, #log)
    end)
  end)

  it("is no trouble when nobody closes it", function()
    peer.serve({ web.get("/", function() return web.Response { text = ("x"):rep(300000) } end) },
      { limit = 2 }, function(session, url)
      for _ = 1, 6 do
        assert.equal(200, await(session:get(url "/")).status)
        collectgarbage()
        collectgarbage()
      end
    end)
  end)
end)
