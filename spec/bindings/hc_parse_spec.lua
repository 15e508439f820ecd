local core = require "http.client.core"
local hc = require "spec.bindings.hc_raw"
local helper = require "spec.helper"

local function head(lines, body) return table.concat(lines, "\r\n") .. "\r\n\r\n" .. (body or "") end

describe("a response", function()
  it("ends where RFC 9112 says", function()
    local one = "HTTP/1.1 200 OK"
    assert.same({ 200, "abc", true, 0 }, { hc.get(head({ one }, "abc")) })
    assert.same({ 200, "abc", true, 1 }, { hc.get(head({ one, "Content-Length: 3" }, "abc")) })
    assert.same({ 200, "", true, 1 }, { hc.get(head({ one, "Content-Length: 0" })) })
    assert.same({ 200, "abcde", true, 1 },
      { hc.get(head({ one, "Transfer-Encoding: chunked" }, "3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n")) })
    assert.same({ 200, "abc", true, 0 },
      { hc.get(head({ one, "Transfer-Encoding: identity" }, "abc")) })
    for _, status in ipairs{ 204, 304 } do
      assert.same({ status, "", true, 1 }, { hc.get(head{ ("HTTP/1.1 %d X"):format(status) }) })
      assert.same({ status, "", true, 1 }, { hc.get(head{ ("HTTP/1.1 %d X"):format(status), "Content-Length: 7" }) })
    end
    assert.same({ 200, "", true, 1 }, { hc.get(head{ one, "Content-Length: 7" }, nil, "HEAD") })
    assert.same({ 200, "", true, 1 }, { hc.get(head{ one, "Transfer-Encoding: chunked" }, nil, "HEAD") })
    assert.same({ 200, "", true, 1 }, { hc.get(head{ one }, nil, "HEAD") })
  end)

  it("that does not come in full is an error", function()
    local one = "HTTP/1.1 200 OK"
    assert.match("^Disconnected: the server closed the connection without an answer$", (hc.get("")))
    assert.match("^Disconnected: .* in the middle of its answer$", (hc.get("HTTP/1.1 200")))
    assert.match("^Disconnected: .* in the middle of its answer$", (hc.get(one .. "\r\nA: b\r\n")))
    assert.match("^PayloadError: .*3 of 4 bytes have come", (hc.get(head({ one, "Content-Length: 4" }, "abc"))))
    assert.match("^PayloadError: .*after 3 bytes", (hc.get(head({ one, "Transfer-Encoding: chunked" }, "5\r\nabc"))))
    assert.match("^PayloadError: .*after 3 bytes", (hc.get(head({ one, "Transfer-Encoding: chunked" }, "3\r\nabc\r\n"))))
    assert.match("^PayloadError: .*after 3 bytes",
      (hc.get(head({ one, "Transfer-Encoding: chunked" }, "3\r\nabc\r\n0\r\n"))))
  end)

  it("is refused when it is not clear where it ends", function()
    local one = "HTTP/1.1 200 OK"
    local function why(...) return (hc.get(head({ one, ... }, "3\r\nabc\r\n0\r\n\r\n"))) end
    for _, pair in ipairs{
      { "Content%-Length", "Content-Length: 3", "Content-Length: 4" }, { "Content%-Length", "Content-Length: 3", "Content-Length: 3" },
      { "Content%-Length", "Content-Length: 3, 3" },
      { "Content%-Length", "Content-Length: -3" }, { "Content%-Length", "Content-Length: +3" },
      { "Content%-Length", "Content-Length: 99999999999999999999" }, { "Content%-Length", "Content-Length: 0x3" },
      { "Content%-Length", "Transfer-Encoding: chunked", "Content-Length: 3" },
      { "Content%-Length", "Content-Length: 3", "Transfer-Encoding: chunked" },
      { "Transfer%-Encoding is not supported", "Transfer-Encoding: gzip" },
      { "Transfer%-Encoding is not supported", "Transfer-Encoding: gzip, chunked" },
      { "Transfer%-Encoding", "Transfer-Encoding: chunked", "Transfer-Encoding: chunked" },
      { "Transfer%-Encoding is not supported", "Transfer-Encoding: xchunked" },
    } do
      local text = why(pair[2], pair[3])
      assert.match("^BadResponse: ", text)
      assert.match(pair[1], text)
    end
  end)

  it("with malformed chunks is an error", function()
    local function chunks(body)
      return (select(1, hc.get(head({ "HTTP/1.1 200 OK", "Transfer-Encoding: chunked" }, body))))
    end
    for _, body in ipairs{ "x\r\n", "\r\n", "-3\r\nabc\r\n", "3\r\nabcd\r\n0\r\n\r\n", "3\r\nabc0\r\n\r\n", "1000000000000000\r\n",
      "3\rabc", "0\r\nA b\r\n\r\n", "0x3\r\nabc\r\n", "3;\0\r\nabc\r\n", "g\r\n" } do
      assert.match("^PayloadError: ", chunks(body))
    end
  end)

  it("may be written by servers that take it easy", function()
    assert.same({ 200, "abc", true, 1 }, { hc.get("HTTP/1.1 200 OK\nContent-Length: 3\n\nabc") })
    assert.same({ 200, "abc", true, 1 },
      { hc.get("HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n3  \r\nabc\r\n00\r\n\r\n") })
    assert.same({ 200, "abc", true, 1 }, { hc.get("HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n3\nabc\n0\nT: r\n\n") })
    assert.same({ 200, "abc", true, 1 }, { hc.get("\r\nHTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc") })
    hc.answers({ "HTTP/1.1 200\r\nX-Folded: a\r\n b\r\n\tc\r\nEmpty:\r\nS:  x \t\r\nContent-Length: 0\r\n\r\n" }, function(peer)
      local x = peer.connect():request("GET", "/", { "Host", "h" })
      assert.equal(200, await(x:response()))
      assert.equal("", x:reason())
      assert.match("^a +b%s+c$", x:header("x-folded"))
      assert.equal("", x:header("empty"))
      assert.equal("x", x:header("s"))
    end)
  end)

  it("is refused when it is none", function()
    for _, bytes in ipairs{ "hello\r\n\r\n", "HTTP/2.0 200 OK\r\n\r\n", "HTTP/1.1 20 OK\r\n\r\n", "HTTP/1.1 2000 OK\r\n\r\n",
      "HTTP/1.1 099 OK\r\n\r\n", "HTTP/1.1 abc\r\n\r\n", "HTTP/9.9 200 OK\r\n\r\n", "GET / HTTP/1.1\r\n\r\n", "\0\1\2\3",
      "HTTP/1.1 200 OK\r\nA b: c\r\n\r\n", "HTTP/1.1 200 OK\r\n: c\r\n\r\n", "HTTP/1.1 200 OK\r\nA\r\n\r\n",
      "HTTP/1.1 200 OK\r\nA: \0\r\n\r\n", "SSH-2.0-OpenSSH_9.2\r\n", "ICY 200 OK\r\n\r\n" } do
      assert.match("^BadResponse: ", (hc.get(bytes)))
    end
  end)

  it("has limits", function()
    local big = ("x"):rep(9000)
    assert.match("^BadResponse: a header is too long", (hc.get(head{ "HTTP/1.1 200 OK", "A: " .. big })))
    assert.match("^BadResponse: the response's reason is too long", (hc.get(head{ "HTTP/1.1 200 " .. big })))
    local many = {}
    for i = 1, 300 do many[i] = "A: b" end
    assert.match("^BadResponse: the response has too many headers", (hc.get(head{ "HTTP/1.1 200 OK", table.unpack(many) })))
    many = {}
    for i = 1, 20 do many[i] = "A: " .. ("x"):rep(4000) end
    assert.match("^BadResponse: the response's head is too large", (hc.get(head{ "HTTP/1.1 200 OK", table.unpack(many) })))
    assert.equal(200, (hc.get(head{ "HTTP/1.1 200 OK", "A: " .. big, "Content-Length: 0" }, { max_field = 9000 })))
    assert.match("^BadResponse: there is no end", (hc.get(("HTTP/1.1 102 Processing\r\n\r\n"):rep(1001) .. hc.ok)))
    assert.equal(200, (hc.get(("HTTP/1.1 102 Processing\r\n\r\n"):rep(1000) .. hc.ok)))
    assert.match("^PayloadError: the body has too much beside it",
      (hc.get(head({ "HTTP/1.1 200 OK", "Transfer-Encoding: chunked" }, "3;" .. ("x"):rep(70000) .. "\r\nabc\r\n0\r\n\r\n"))))
  end)

  it("is the same in whatever pieces it comes", function()
    local all = "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 Good\r\nX-A: 1\r\nTransfer-Encoding: chunked\r\n\r\n" ..
      "3\r\nabc\r\n10;a=b\r\n0123456789abcdef\r\n0\r\nT: r\r\nU:  s \r\n\r\n"
    for cut = 1, #all - 1 do
      hc.answers({ { all:sub(1, cut), all:sub(cut + 1) }, open = true }, function(peer)
        local conn = peer.connect()
        local x = conn:request("GET", "/", { "Host", "h" })
        assert.equal(200, await(x:response()))
        assert.same({ "Good", "1", "chunked", 2 }, { x:reason(), x:header("x-a"), x:headers()["Transfer-Encoding"], #x:headers() })
        assert.equal("abc0123456789abcdef", await(x:read()))
        assert.same({ "T", "r", "U", "s" }, x:trailers():array())
        assert.equal(1, conn:free())
      end)
    end
    local pieces = { open = true }
    for i = 1, #all do pieces[i] = all:sub(i, i) end
    hc.answers({ pieces, open = true }, function(peer)
      local x = peer.connect():request("GET", "/", { "Host", "h" })
      assert.equal(200, await(x:response()))
      assert.equal("abc0123456789abcdef", await(x:read()))
      assert.same({ "T", "r", "U", "s" }, x:trailers():array())
      assert.equal(x:trailers(), x:trailers())
    end)
  end)

  it("has no trailers but what came behind its chunks", function()
    hc.answers({ hc.ok, head({ "HTTP/1.1 200 OK", "Transfer-Encoding: chunked" }, "1\r\nx\r\n0\r\n\r\n"), open = true }, function(peer)
      local conn = peer.connect()
      for _, body in ipairs{ "hello", "x" } do
        local x = conn:request("GET", "/", { "Host", "h" })
        await(x:response())
        assert.is_nil(x:trailers())
        assert.equal(body, await(x:read()))
        assert.is_nil(x:trailers())
      end
    end)
  end)

  it("says what it is only when it is there", function()
    hc.answers({ hc.ok, open = true }, function(peer)
      local x = peer.connect():request("GET", "/", { "Host", "h" })
      for _, name in ipairs{ "status", "reason", "version", "headers", "content_length", "has_body", "header" } do
        helper.raises("the response is not there yet", x[name], x, "a")
      end
      assert.equal("<http.client.Exchange>", tostring(x))
      assert.equal(200, await(x:response()))
      assert.same({ 200, "OK", "1.1", 5, true, "5" },
        { x:status(), x:reason(), x:version(), x:content_length(), x:has_body(), x:header("Content-LENGTH") })
      assert.is_nil(x:header("none"))
      assert.equal("<http.client.Exchange 200>", tostring(x))
      assert.equal("5", x:headers():get("content-length"))
      helper.raises("a name was expected", x.header, x, 1)
    end)
  end)

  it("reports why in fields", function()
    hc.answers({ "nonsense\r\n\r\n" }, function(peer)
      local x = peer.connect():request("GET", "/", { "Host", "h" })
      local e = helper.raises(core.BadResponse, function() await(x:response()) end)
      assert.equal("this is no HTTP response", e.why)
      e = helper.raises(core.BadResponse, function() await(x:read()) end)
      assert.equal("this is no HTTP response", e.why)
    end)
    hc.answers({ "" }, function(peer)
      local x = peer.connect():request("GET", "/", { "Host", "h" })
      assert.is_false(helper.raises(core.Disconnected, function() await(x:response()) end).began)
    end)
  end)
end)
