local asyncio = require "asyncio"
local helper = require "spec.helper"
local testing = require "http.testing"
local web = require "http.web"

-- Sends a response on a mocked exchange.
local function send(response, method)
  local request, x = testing.make_mocked_request(method or "GET", "/")
  helper.run(function() await(async(response._send)(response, request, x)) end)
  return x
end

describe("Response", function()
  it("is empty by default", function()
    local x = send(web.Response())
    assert.same({ 200, {}, "" }, { x.status, x.sent_headers, x.body })
    local response = web.Response()
    assert.same({ nil, nil, 0 }, { response.body, response.text, response.content_length })
    response.text = ""
    assert.same({ "", "text/plain" }, { response.text, response.content_type })
    assert.same({ "", "" }, { web.Response({ body = "" }).body, web.Response({ text = "" }).text })
  end)

  it("has a text", function()
    local response = web.Response { text = "hällo" }
    assert.same({ "text/plain", "utf-8", 6, "hällo", 200, "OK" }, {
      response.content_type, response.charset, response.content_length, response.text, response.status, response.reason })
    local x = send(response)
    assert.same({ "Content-Type", "text/plain; charset=utf-8" }, x.sent_headers)
    assert.equal("hällo", x.body)
  end)

  it("has a body", function()
    local response = web.Response { body = "\0\1", status = 201 }
    assert.same({ "application/octet-stream", nil, 201, "Created" }, {
      response.content_type, response.charset, response.status, response.reason })
    assert.equal("\0\1", send(response).body)
  end)

  it("has a type, by content_type and charset or by a header", function()
    assert.equal("text/html; charset=utf-8", send(web.Response { text = "x", content_type = "text/html" }):sent_header("Content-Type"))
    assert.equal("text/html; charset=latin-1", send(web.Response { text = "x", content_type = "text/html", charset = "latin-1" }):sent_header("Content-Type"))
    assert.equal("image/png", send(web.Response { body = "x", content_type = "image/png" }):sent_header("Content-Type"))
    assert.equal("text/x", send(web.Response { text = "x", headers = { ["content-type"] = "text/x" } }):sent_header("Content-Type"))
    helper.raises("both a Content-Type header and content_type", web.Response, { text = "x", content_type = "a/b", headers = { ["Content-Type"] = "c/d" } })
    helper.raises("charset must not be in content_type", web.Response, { text = "x", content_type = "text/html; charset=x" })
    helper.raises("charset must not be in content_type", web.Response, { text = "x", content_type = "text/html; charset=x", charset = "y" })
  end)

  it("refuses what it cannot have, at the call", function()
    helper.raises("body and text were both given", web.Response, { text = "", body = "" })
    helper.raises("text: a string was expected, got a number", web.Response, { text = 1 })
    helper.raises("iterator of strings was expected, got a table", web.Response, { body = {} })
    helper.raises("unexpected keyword argument 'txt'", web.Response, { txt = "" })
    helper.raises("a status of three digits was expected, got 20", web.Response, { status = 20 })
    helper.raises("a status of three digits was expected, got a string", web.Response, { status = "200" })
    helper.raises("headers: a table was expected, got a string", web.Response, { headers = "X: y" })
    helper.raises("a table of keyword arguments was expected, got a string", web.Response, "text")
    helper.raises("reason: a line of text", web.Response, { reason = "a\nb" })
    local _, err = pcall(function() web.Response { status = 2 } end)
    assert(tostring(err):find("response_spec.lua:%d+: Response: a status"), tostring(err))
  end)

  it("has headers, several of a name too", function()
    local response = web.Response { headers = { ["X-A"] = "1" } }
    response.headers:add("X-B", "2")
    response.headers:add("x-b", "3")
    assert.same({ "2", "3" }, response.headers:getall("X-B"))
    local x = send(response)
    assert.equal("1", x:sent_header("X-A"))
    assert.equal("2", x:sent_header("X-B"))
  end)

  it("does not change the headers it was made with", function()
    local given = { ["X-A"] = "1" }
    local a, b = web.Response { headers = given }, web.Response { headers = given }
    a.headers["X-A"] = "2"
    assert.equal("1", b.headers["X-A"])
    assert.equal("1", given["X-A"])
  end)

  it("can be changed until it is sent", function()
    local response = web.Response()
    response.text = "new"
    response.content_type = "text/css"
    response:set_status(404, "Gone fishing")
    response.headers["X-A"] = "1"
    local x = send(response)
    assert.same({ 404, "Gone fishing", "new", "text/css; charset=utf-8", "1" }, {
      x.status, x.reason, x.body, x:sent_header("Content-Type"), x:sent_header("X-A") })
    response.charset = nil
    assert.equal("text/css", response.headers["Content-Type"])
    response.body = "b"
    assert.equal("b", response.text)
    helper.raises("iterator of strings was expected, got a number", function() response.body = 1 end)
    helper.raises("that of its body", function() response.content_length = 1 end)
    helper.raises(asyncio.ValueError, response.set_status, response, 7)
  end)

  it("has dates and entity tags", function()
    local response = web.Response()
    response.last_modified = 784111777
    assert.equal("Sun, 06 Nov 1994 08:49:37 GMT", response.headers["Last-Modified"])
    assert.equal(784111777, response.last_modified)
    response.etag = "abc"
    assert.equal('"abc"', response.headers["ETag"])
    response.etag = { value = "x", is_weak = true }
    assert.same({ value = "x", is_weak = true }, response.etag)
    response.etag = "*"
    assert.same({ "*", { value = "*", is_weak = false } }, { response.headers["ETag"], response.etag })
    response.etag = nil
    assert.is_nil(response.headers["ETag"])
    response.headers["ETag"] = '"a b"'
    assert.is_nil(response.etag)
    helper.raises(asyncio.ValueError, function() response.etag = 'a"b' end)
  end)

  it("sets cookies, each name once", function()
    local response = web.Response { text = "x" }
    response:set_cookie("a", "1")
    response:set_cookie("b", "2", { max_age = 10, httponly = true, path = "/x", samesite = "Lax", secure = true })
    response:set_cookie("a", "3")
    response:del_cookie("c", { domain = "example.com" })
    assert.same({ a = "3", b = "2", c = "" }, response.cookies)
    local lines, x = {}, send(response)
    for i = 1, #x.sent_headers, 2 do
      if x.sent_headers[i] == "Set-Cookie" then lines[#lines + 1] = x.sent_headers[i + 1] end
    end
    assert.same({
      "a=3; Path=/",
      "b=2; HttpOnly; Max-Age=10; Path=/x; SameSite=Lax; Secure",
      "c=; Domain=example.com; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Max-Age=0; Path=/",
    }, lines)
    helper.raises(asyncio.ValueError, response.set_cookie, response, "a b", "1")
    helper.raises(asyncio.ValueError, response.set_cookie, response, "a", "1\r\n")
    helper.raises("unexpected keyword argument 'maxage'", response.set_cookie, response, "a", "1", { maxage = 1 })
  end)

  it("closes the connection when told so", function()
    local response = web.Response { text = "x" }
    response:force_close()
    local x = send(response)
    assert.is_false(x:keep_alive())
    assert.is_false(response.keep_alive)
  end)

  it("has no body for HEAD", function()
    assert.equal("", send(web.Response { text = "x" }, "HEAD").body)
  end)

  it("may be sent again and again", function()
    local response = web.Response { text = "x" }
    assert.equal("x", send(response).body)
    assert.equal("x", send(response).body)
  end)

  it("may be prepared by the handler", function()
    local request, x = testing.make_mocked_request("GET", "/")
    local response = web.Response { text = "abc" }
    helper.run(function()
      await(response:prepare(request))
      assert.is_true(response.prepared)
      assert.equal(3, x.length)
      await(async(response._send)(response, request, x))
    end)
    assert.equal("abc", x.body)
  end)

  it("keeps what a script puts into it", function()
    local response = web.Response()
    response.mine = 1
    response["other key"] = 2
    assert.same({ 1, 2 }, { response.mine, response["other key"] })
  end)
end)

describe("the body of a Response", function()
  local function body_of(source, opts, method)
    opts = opts or {}
    opts.body = source
    return send(web.Response(opts), method)
  end

  it("may be an iterator, a coroutine or a stream", function()
    local n = 0
    local x = body_of(function()
      n = n + 1
      return n < 4 and "part" .. n or nil
    end)
    assert.same({ "part1part2part3", "application/octet-stream", nil }, { x.body, x:sent_header("Content-Type"), x:sent_header("Content-Length") })
    x = body_of(coroutine.create(function()
      await(asyncio.sleep(1))
      coroutine.yield("ab")
      coroutine.yield("c")
    end), { headers = { ["Content-Length"] = "3" }, content_type = "text/plain" })
    assert.same({ "abc", "text/plain", "3" }, { x.body, x:sent_header("Content-Type"), x:sent_header("Content-Length") })
    local reader = asyncio.StreamReader()
    reader:feed_data("fed")
    reader:feed_eof()
    assert.equal("fed", body_of(reader).body)
  end)

  it("may be a file, which is closed then", function()
    local name = helper.tmpfile("some content", "x.json")
    local fs = require "fs"
    for _, method in ipairs { "GET", "HEAD" } do
      local file = await(fs.open(name, "rb"))
      local x = body_of(file, nil, method)
      assert.same({ method == "GET" and "some content" or "", "12" }, { x.body, x:sent_header("Content-Length") })
      assert.equal(('attachment; filename="%s"'):format(name:match("[^/]*$")), x:sent_header("Content-Disposition"))
      assert.is_true(file.closed)
    end
    local file = await(fs.open(name, "rb"))
    local response = web.Response { body = file }
    assert.equal(file, response.body)
    response.body = "text instead"
    assert.same({ "text instead", 12 }, { response.body, response.content_length })
    await(file:close())
  end)

  it("is compressed on its way, and none for statuses without one", function()
    local response = web.Response { body = coroutine.wrap(function() coroutine.yield(("x"):rep(1000)) end) }
    response:enable_compression("gzip")
    local x = send(response)
    assert.equal("gzip", x:sent_header("Content-Encoding"))
    assert.equal(("x"):rep(1000), require("zlib").decompress(x.body, 31))
    for _, status in ipairs { 204, 304 } do
      x = body_of(function() error "nobody asks" end, { status = status })
      assert.same({ status, "", nil }, { x.status, x.body, x:sent_header("Content-Type") })
      assert.is_nil(send(web.Response { body = "ab", status = status }):sent_header("Content-Type"))
    end
  end)

  it("that fails, or gives what is no string, breaks the response off", function()
    for _, bad in ipairs { function() error("broken", 0) end, function() return 12 end } do
      local app, seen = web.Application(), nil
      app.router:add_get("/", function() return web.Response { body = bad } end)
      helper.run(function()
        asyncio.get_running_loop():set_exception_handler(function(_, context) seen = context.exception end)
        local x = await(testing.answer(app, require("http.mock").exchange("GET", "/")))
        assert.is_true(x.aborted)
      end)
      assert.truthy(tostring(seen):find("broken", 1, true) or tostring(seen):find("is made of strings, got a number", 1, true))
    end
  end)
end)

describe("json_response", function()
  it("has JSON as its text", function()
    local response = web.json_response { a = { 1, 2 } }
    assert.equal('{"a":[1,2]}', (response.text:gsub("%s", "")))
    assert.equal("application/json", response.content_type)
    assert.equal("utf-8", response.charset)
    response = web.json_response({ 1 }, { status = 201, headers = { X = "y" }, dumps = function() return "!" end })
    assert.same({ 201, "!", "y" }, { response.status, response.text, response.headers["x"] })
    assert.equal("[]", web.json_response(nil, { text = "[]" }).text)
    helper.raises("only one of data, text and body", web.json_response, {}, { text = "x" })
    helper.raises("unexpected keyword argument", web.json_response, {}, { foo = 1 })
    helper.raises("a table of keyword arguments", web.json_response, {}, 5)
  end)
end)

describe("StreamResponse", function()
  local function stream(f, method, opts)
    local request, x = testing.make_mocked_request(method or "GET", "/")
    local response = web.StreamResponse(opts)
    helper.run(function() f(response, request, x) end)
    return x, response
  end

  it("is written piece by piece", function()
    local x, response = stream(function(response, request)
      assert.is_false(response.prepared)
      await(response:prepare(request))
      await(response:write("a"))
      await(response:write(""))
      await(response:write("bc"))
      await(response:write_eof("d"))
      await(response:write_eof())
    end)
    assert.equal("abcd", x.body)
    assert.is_nil(x.length)
    assert.equal(4, response.body_length)
    assert.equal("application/octet-stream", x:sent_header("Content-Type"))
  end)

  it("has a length if it is told one, unless chunked", function()
    local x = stream(function(response, request)
      response.content_length = 2
      await(response:prepare(request))
      await(response:write_eof("ab"))
    end)
    assert.equal("2", x:sent_header("Content-Length"))
    x = stream(function(response, request)
      response:enable_chunked_encoding()
      assert.is_true(response.chunked)
      helper.raises("chunked encoding is enabled", function() response.content_length = 2 end)
      await(response:prepare(request))
    end)
    assert.is_nil(x:sent_header("Content-Length"))
    local response = web.StreamResponse { headers = { ["Content-Length"] = "7" } }
    assert.same({ 7, false }, { response.content_length, response.chunked })
    helper.raises("content_length is set", response.enable_chunked_encoding, response)
    response.content_length = nil
    assert.is_nil(response.headers["Content-Length"])
    response:enable_chunked_encoding()
    helper.raises("HTTP/1.0 knows no chunked encoding", function()
      await(response:prepare((testing.make_mocked_request("GET", "/", { version = "1.0" }))))
    end)
  end)

  it("keeps its status once that is sent", function()
    stream(function(response, request)
      response:set_status(201)
      await(response:prepare(request))
      helper.raises("set_status: the status has been sent", response.set_status, response, 400)
    end)
  end)

  it("has status, headers and cookies", function()
    local x = stream(function(response, request)
      response.content_type = "text/event-stream"
      response:set_cookie("a", "b")
      await(response:prepare(request))
    end, "GET", { status = 202, headers = { ["X-A"] = "1" }, reason = "Why not" })
    assert.same({ 202, "Why not", "1", "text/event-stream", "a=b; Path=/" }, {
      x.status, x.reason, x:sent_header("x-a"), x:sent_header("content-type"), x:sent_header("set-cookie") })
  end)

  it("says what was done in the wrong order", function()
    stream(function(response, request)
      helper.raises("has not been prepared", function() await(response:write("x")) end)
      helper.raises("has not been prepared", function() await(response:write_eof()) end)
      await(response:prepare(request))
      await(response:prepare(request)) -- a second time does nothing
      helper.raises("a string was expected, got a number", function() await(response:write(1)) end)
      local other = testing.make_mocked_request("GET", "/")
      helper.raises("was prepared for another request", function() await(response:prepare(other)) end)
      await(response:write_eof())
      helper.raises("write_eof was called before", function() await(response:write("x")) end)
    end)
    helper.raises(asyncio.ValueError, function() web.StreamResponse().content_length = -1 end)
    helper.raises("unexpected keyword argument 'text'", web.StreamResponse, { text = "" })
    helper.raises(asyncio.ValueError, web.StreamResponse().enable_compression, web.StreamResponse(), "zip")
  end)

  it("can be derived from", function()
    local Count = web.StreamResponse:extend("Count")
    function Count:prepare(request)
      self.headers["X-Count"] = "1"
      return web.StreamResponse.prepare(self, request)
    end
    local request, x = testing.make_mocked_request("GET", "/")
    helper.run(function() await(Count { status = 203 }:prepare(request)) end)
    assert.same({ 203, "1" }, { x.status, x:sent_header("X-Count") })
  end)
end)
