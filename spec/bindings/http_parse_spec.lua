local raw = require "spec.bindings.http_raw"

--- A handler that tells what it got, and reads the body.
local function tell(x, method)
  local body = await(x:read(100000))
  return x:respond(200, nil, { "Content-Type", "text/plain" }, ("%s %s [%s]"):format(method, x:target(), body))
end

-- name, the bytes, the status; with a body: what the response says. Each is sent in one piece, and byte by byte.
local catalogue = {
  { "a request without headers in 1.0", "GET / HTTP/1.0\r\n\r\n", 200, "GET / []" },
  { "empty lines before the request", "\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 200, "GET / []" },
  { "a query", "GET /a?b=c&d HTTP/1.1\r\nHost: a\r\n\r\n", 200, "GET /a?b=c&d []" },
  { "every method", "PROPFIND / HTTP/1.1\r\nHost: a\r\n\r\n", 200, "PROPFIND / []" },
  { "M-SEARCH", "M-SEARCH * HTTP/1.1\r\nHost: a\r\n\r\n", 200, "M-SEARCH * []" },
  { "OPTIONS *", "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", 200, "OPTIONS * []" },
  { "a whole URL", "GET http://h.org:80/x?y HTTP/1.1\r\nHost: a\r\n\r\n", 200, "GET http://h.org:80/x?y []" },
  { "an empty Host", "GET / HTTP/1.1\r\nHost:\r\n\r\n", 200 },
  { "an IPv6 Host", "GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", 200 },
  { "a header without a value", "GET / HTTP/1.1\r\nHost: a\r\nX-Empty:\r\nX-Other:  \r\n\r\n", 200 },
  { "bytes over 127 in a value", "GET / HTTP/1.1\r\nHost: a\r\nX: \xc3\xa9\r\n\r\n", 200 },
  { "a body with its length", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello", 200, "POST / [hello]" },
  { "a body of no bytes", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", 200, "POST / []" },
  { "a GET with a body", "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab", 200, "GET / [ab]" },
  { "chunks", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n", 200, "POST / [hello world]" },
  { "chunks with extensions", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n5;a=b;c=\"d\"\r\nhello\r\n0;x\r\n\r\n", 200, "POST / [hello]" },
  { "chunks with trailers", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nA: b\r\nC: d\r\n\r\n", 200, "POST / [hi]" },
  { "sizes of chunks in either case", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\na\r\n0123456789\r\nA\r\n0123456789\r\n00\r\n\r\n", 200,
    "POST / [01234567890123456789]" },
  { "an upgrade nobody asked about", "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n\r\n", 200, "GET / []" },
  { "CONNECT", "CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n", 200, "CONNECT a:443 []" },
  { "Expect in 1.0", "POST / HTTP/1.0\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nab", 200, "POST / [ab]" },

  { "no request at all", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400 },
  { "a request line of one word", "GET\r\n\r\n", 400 },
  { "a request of 0.9", "GET /\r\n\r\n", { 400, 505 } },
  { "an unknown method", "BREW /pot HTTP/1.1\r\nHost: a\r\n\r\n", 501 },
  { "a method in small letters", "get / HTTP/1.1\r\nHost: a\r\n\r\n", 501 },
  { "a method of RTSP", "PLAY / RTSP/1.0\r\nHost: a\r\n\r\n", { 400, 501, 505 } },
  { "two spaces before the target", "GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400 },
  { "two spaces before the version", "GET /  HTTP/1.1\r\nHost: a\r\n\r\n", 400 },
  { "a tab before the target", "GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", 400 },
  { "a space behind the version", "GET / HTTP/1.1 \r\nHost: a\r\n\r\n", { 400, 505 } },
  { "HTTP/1.2", "GET / HTTP/1.2\r\nHost: a\r\n\r\n", 505 },
  { "HTTP/2.0 in a request line", "GET / HTTP/2.0\r\nHost: a\r\n\r\n", { 400, 505 } },
  { "HTTP/9.9", "GET / HTTP/9.9\r\nHost: a\r\n\r\n", 505 },
  { "a version of two digits", "GET / HTTP/1.11\r\nHost: a\r\n\r\n", { 400, 505 } },
  { "another protocol", "GET / HTTQ/1.1\r\nHost: a\r\n\r\n", 400 },
  { "a target without a slash", "GET a HTTP/1.1\r\nHost: a\r\n\r\n", 400 },
  { "bytes over 127 in the target", "GET /\xc3\xa9 HTTP/1.1\r\nHost: a\r\n\r\n", 400 },
  { "NUL in the target", "GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n", 400 },
  { "a lone LF behind the request line", "GET / HTTP/1.1\nHost: a\r\n\r\n", 400 },
  { "a lone LF behind a header", "GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n", 400 },
  { "a lone LF at the end of the head", "GET / HTTP/1.1\r\nHost: a\r\n\n", 400 },
  { "a lone CR in a value", "GET / HTTP/1.1\r\nHost: a\r\nX: y\rZ: w\r\n\r\n", 400 },
  { "a lone CR in the request line", "GET / HTTP/1.1\rHost: a\r\n\r\n", { 400, 505 } },
  { "NUL in a value", "GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n", 400 },
  { "a folded header", "GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n z\r\n\r\n", 400 },
  { "a fold before the value", "GET / HTTP/1.1\r\nHost: a\r\nX:\r\n z\r\n\r\n", 400 },
  { "a fold with nothing in it", "GET / HTTP/1.1\r\nHost: a\r\nX:\r\n \r\n\r\n", 400 },
  { "a fold of blanks at the end of a value", "GET / HTTP/1.1\r\nX: y\r\n \r\nHost: a\r\n\r\n", 400 },
  { "a folded Transfer-Encoding", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n", 400 },
  { "blanks around a value", "GET / HTTP/1.1\r\nX:\t y z \t\r\nHost: a \r\n\r\n", 200 },
  { "a first header that begins with a space", "GET / HTTP/1.1\r\n Host: a\r\n\r\n", 400 },
  { "a space before the colon", "GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400 },
  { "a space in a name", "GET / HTTP/1.1\r\nHost: a\r\nX Y: z\r\n\r\n", 400 },
  { "a header without a colon", "GET / HTTP/1.1\r\nHost: a\r\nX\r\n\r\n", 400 },
  { "a header without a name", "GET / HTTP/1.1\r\nHost: a\r\n: z\r\n\r\n", 400 },
  { "a name with bytes over 127", "GET / HTTP/1.1\r\nHost: a\r\nX\xe9: z\r\n\r\n", 400 },
  { "no Host in 1.1", "GET / HTTP/1.1\r\nX: y\r\n\r\n", 400 },
  { "two Hosts", "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400 },
  { "two Hosts in 1.0", "GET / HTTP/1.0\r\nHost: a\r\nhost: b\r\n\r\n", 400 },
  { "a Host with a path", "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400 },
  { "a Host with a space", "GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400 },
  { "both lengths", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400 },
  { "both lengths, the other way", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", 400 },
  { "two lengths", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello", 400 },
  { "one length twice", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello", 400 },
  { "a list of lengths", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 5\r\n\r\nhello", 400 },
  { "a length with a sign", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\nhello", 400 },
  { "a negative length", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -5\r\n\r\nhello", 400 },
  { "a length in hex", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x5\r\n\r\nhello", 400 },
  { "an empty length", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\nhello", 400 },
  { "a length of two words", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1 2\r\n\r\nhello", 400 },
  { "a length that does not fit", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999999\r\n\r\nhello", 400 },
  { "the longest length of 64 bits", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551615\r\n\r\n0\r\n\r\n", 400 },
  { "a length of more than 63 bits", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9223372036854775808\r\n\r\nhello", 400 },
  { "an unknown coding", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", { 400, 501 } },
  { "chunked and another coding", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501 },
  { "chunked before another coding", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", { 400, 501 } },
  { "chunked twice", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", { 400, 501 } },
  { "chunked in a list with a tab", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\tchunked\r\n\r\n0\r\n\r\n", 200, "POST / []" },
  { "a coding with a vertical tab", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n", { 400, 501 } },
  { "chunks in 1.0", "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400 },
  { "Expect of something else", "GET / HTTP/1.1\r\nHost: a\r\nExpect: tea\r\n\r\n", 417 },
  { "the preface of HTTP/2, broken", "PRI * HTTP/2.0\r\n\r\nSX\r\n\r\n", { 400, 505 } },

  { "a size of a chunk that is none", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nz\r\n\r\n", 400 },
  { "a size of a chunk with 0x", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n", 400 },
  { "a negative size", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n\r\n", 400 },
  { "a size that does not fit", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n10000000000000000\r\nx", 400 },
  { "an empty size", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\r\nhello\r\n0\r\n\r\n", 400 },
  { "a space before a size", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n 5\r\nhello\r\n0\r\n\r\n", 400 },
  { "a chunk longer than its size", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhello\r\n0\r\n\r\n", 400 },
  { "a chunk with a lone LF behind its size", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n", 400 },
  { "a chunk with a lone LF behind it", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\n0\r\n\r\n", 400 },
  { "a lone LF in an extension", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5;a\nb\r\nhello\r\n0\r\n\r\n", 400 },
  { "a lone CR in an extension", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5;a\rb\r\nhello\r\n0\r\n\r\n", 400 },
  { "chunks that end with lone LFs", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\n\n", 400 },
  { "a trailer with a space before the colon", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nA : b\r\n\r\n", 400 },
}

local core = require "http.core"

--- As an application does: what the body's reading raises is answered with its status.
local function careful(x, method)
  local ok, result = pcall(tell, x, method)
  if ok then return result end
  assert(result.status, tostring(result))
  return x:respond(result.status, nil, nil, result.message)
end

local function fits(status, wanted)
  if type(wanted) ~= "table" then return status == wanted end
  for _, s in ipairs(wanted) do
    if s == status then return true end
  end
  return false
end

local function check(case, text)
  local name, _, status, says = table.unpack(case)
  local all = raw.responses(text)
  assert.equal(1, #all, name .. ": " .. text)
  assert.is_true(fits(all[1].status, status), ("%s: %d: %s"):format(name, all[1].status, all[1].body))
  if says then assert.equal(says, all[1].body, name) end
  if status ~= 200 then
    assert.equal("close", all[1].headers.connection, name)
    assert.truthy(#all[1].body > 0, name)
  end
end

describe("bytes of a request", function()
  it("get the right answer, or the right error, in one piece", function()
    raw.serve(careful, function(peer)
      for _, case in ipairs(catalogue) do check(case, peer.talk(case[2])) end
      assert.truthy(#peer.bad > 40)
      for _, told in ipairs(peer.bad) do assert.equal("127.0.0.1", told[3]) end
    end)
  end)

  it("get the same byte by byte", function()
    raw.serve(careful, function(peer)
      for _, case in ipairs(catalogue) do check(case, peer.bytewise(case[2])) end
    end)
  end)

  it("get the same split anywhere", function()
    raw.serve(careful, function(peer)
      for i, case in ipairs(catalogue) do
        local cut = 1 + i * 7 % #case[2]
        check(case, peer.talk(case[2]:sub(1, cut), case[2]:sub(cut + 1)))
      end
    end)
  end)
end)

describe("limits", function()
  it("of the head: 431", function()
    raw.serve(careful, function(peer)
      local head = "GET / HTTP/1.1\r\nHost: a\r\nX: %s\r\n\r\n"
      local fit = 16384 - #head + 2
      assert.same({ 200 }, raw.statuses(peer.talk(head:format(("x"):rep(fit)))))
      assert.same({ 431 }, raw.statuses(peer.talk(head:format(("x"):rep(fit + 1)))))
      assert.same({ 431 }, raw.statuses(peer.hold("GET / HTTP/1.1\r\n" .. ("X: y\r\n"):rep(100), ("y"):rep(9000), ("z"):rep(9000))))
      assert.same({ 431 }, raw.statuses(peer.hold("GET / HTTP/1.1\r\n" .. ("X: y\r\n"):rep(129))))
      assert.equal("127.0.0.1", peer.bad[1][3])
    end)
  end)

  it("of the target: 414", function()
    raw.serve(careful, function(peer)
      local head = "GET /%s HTTP/1.1\r\nHost: a\r\n\r\n"
      assert.same({ 200 }, raw.statuses(peer.talk(head:format(("x"):rep(8189)))))
      assert.same({ 414 }, raw.statuses(peer.talk(head:format(("x"):rep(8190)))))
      assert.same({ 414 }, raw.statuses(peer.hold("GET /" .. ("x"):rep(5000), ("x"):rep(5000))))
    end)
  end)

  it("of what comes with chunks: 431", function()
    raw.serve(careful, function(peer)
      local head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
      assert.same({ 431 }, raw.statuses(peer.hold(head .. "5;" .. ("x"):rep(20000) .. "\r\nhello\r\n0\r\n\r\n")))
      assert.same({ 431 }, raw.statuses(peer.hold(head .. ("1;abcdefghijklmnop\r\nx\r\n"):rep(2000) .. "0\r\n\r\n")))
      assert.same({ 431 }, raw.statuses(peer.hold(head .. "0\r\n" .. ("A: bcdefghijklmnop\r\n"):rep(2000) .. "\r\n")))
    end)
  end)

  it("can be set", function()
    raw.serve(careful, function(peer)
      assert.same({ 431 }, raw.statuses(peer.talk("GET / HTTP/1.1\r\nHost: a\r\nA: b\r\nC: d\r\n\r\n")))
      assert.same({ 414 }, raw.statuses(peer.talk("GET /0123456789 HTTP/1.1\r\nHost: a\r\n\r\n")))
    end, { max_headers = 2, max_line = 10 })
    assert.has_error(function() core.settings { max_head = "much" } end)
    assert.has_error(function() core.settings { keepalive = 1 } end)
    assert.has_error(function() core.settings { body_timeout = -1 } end)
    assert.has_error(function() core.settings { server = "a\r\nb" } end)
    assert.has_error(function() core.settings { on_bad = 1 } end)
  end)
end)
