local asyncio = require "asyncio"
local helper = require "spec.helper"
local http = require "http"
local peer = require "spec.http.client.peer"
local web = require "http.web"

local answer = peer.answer
local isinstance = asyncio.isinstance

local function text(session, url, opts)
  local resp <close> = await(session:get(url, opts))
  return await(resp:text()), resp
end

-- What a request arrived as.
local echo = async(function(request)
  local headers = {}
  for name, value in pairs(request.headers) do headers[name] = value end
  return web.json_response {
    method = request.method, path = request.path_qs, headers = headers, body = await(request:text()),
  }
end)

local function echoed(session, method, url, opts)
  local resp <close> = await(session:request(method, url, opts))
  return await(resp:json())
end

describe("ClientSession", function()
  it("gets", function()
    peer.serve({ web.get("/", function() return web.Response { text = "hello" } end) }, nil, function(session, url)
      for _ = 1, 3 do
        local resp <close> = await(session:get(url "/"))
        assert.equal(200, resp.status)
        assert.equal("hello", await(resp:text()))
        assert.equal("hello", await(resp:read()))
      end
    end)
  end)

  it("has a method for each verb", function()
    peer.serve({ web.route("*", "/", echo) }, nil, function(session, url)
      for _, name in ipairs { "get", "post", "put", "patch", "delete", "options" } do
        local resp <close> = await(session[name](session, url "/"))
        assert.equal(name:upper(), await(resp:json()).method)
        assert.equal(name:upper(), resp.method)
      end
      local resp <close> = await(session:head(url "/"))
      assert.equal("", await(resp:read()))
      assert.equal(200, resp.status)
      assert.equal("PROPFIND", echoed(session, "propfind", url "/").method)
    end)
  end)

  it("sends what aiohttp sends by itself", function()
    peer.raw(function() return answer(200, {}, "") end, nil, function(session, url, log)
      text(session, url "/a?b=c#d")
      text(session, url "/a?b=c#d")
      local port = url(""):match("%d+$")
      local expected = ("GET /a?b=c HTTP/1.1\r\nHost: 127.0.0.1:%s\r\nAccept: */*\r\nAccept-Encoding: gzip, deflate, br\r\n"
        .. "User-Agent: moonloop/%s\r\n\r\n"):format(port, require("http.core").software:match("/(.*)"))
      assert.equal(expected, log[1].text)
      assert.equal(expected, log[2].text)
      local resp <close> = await(session:post(url "/"))
      assert.equal("0", log[3].headers["content-length"])
      assert.equal("application/octet-stream", log[3].headers["content-type"])
      assert.equal(200, resp.status)
    end)
  end)

  it("merges its headers with the request's", function()
    local opts = { headers = { ["X-One"] = "1", ["X-Two"] = "2" }, skip_auto_headers = { "accept" } }
    peer.raw(function() return answer(200, {}, "") end, opts, function(session, url, log)
      text(session, url "/", { headers = { ["x-two"] = "two", ["User-Agent"] = "me", Host = "other.example" } })
      assert.same({ "1", "two", "me", "other.example" },
        { log[1].headers["x-one"], log[1].headers["x-two"], log[1].headers["user-agent"], log[1].headers.host })
      assert.is_nil(log[1].headers.accept)
      text(session, url "/", { headers = { { "X-Two", "a" }, { "X-Two", "b" } }, skip_auto_headers = { "User-Agent" } })
      assert(log[2].text:find("X-Two: a\r\nX-Two: b\r\n", 1, true))
      assert.is_nil(log[2].headers["user-agent"])
      text(session, url "/")
      assert.equal("2", log[3].headers["x-two"])
      session.headers["X-Two"] = "new"
      text(session, url "/")
      assert.equal("new", log[4].headers["x-two"])
    end)
  end)

  it("adds params to the query", function()
    peer.raw(function() return answer(200, {}, "") end, nil, function(session, url, log)
      text(session, url "/p", { params = { q = "a b&c" } })
      text(session, url "/p?x=1", { params = { { "y", "2" }, { "y", "3" } } })
      text(session, url "/p?x=1", { params = "z=9" })
      text(session, url "/p", { params = { n = 5 } })
      local lines = {}
      for i, request in ipairs(log) do lines[i] = request.line:match("%S+ (%S+)") end
      assert.same({ "/p?q=a+b%26c", "/p?x=1&y=2&y=3", "/p?x=1&z=9", "/p?n=5" }, lines)
    end)
  end)

  it("sends JSON and data", function()
    peer.serve({ web.route("*", "/", echo) }, nil, function(session, url)
      local seen = echoed(session, "POST", url "/", { json = { a = { 1, 2 } } })
      assert.same({ '{"a":[1,2]}', "application/json" }, { seen.body, seen.headers["Content-Type"] })
      seen = echoed(session, "POST", url "/", { json = { a = { 1, 2 } } })
      assert.equal("application/json", seen.headers["Content-Type"])
      seen = echoed(session, "PUT", url "/", { data = "text" })
      assert.same({ "text", "text/plain; charset=utf-8" }, { seen.body, seen.headers["Content-Type"] })
      seen = echoed(session, "POST", url "/", { data = { name = "value & more" } })
      assert.same({ "name=value+%26+more", "application/x-www-form-urlencoded" },
        { seen.body, (seen.headers["Content-Type"]:match("^[^;]*")) })
      seen = echoed(session, "POST", url "/", { data = "x", headers = { ["Content-Type"] = "a/b" } })
      assert.equal("a/b", seen.headers["Content-Type"])
      local parts = { "one ", "two ", "three" }
      seen = echoed(session, "POST", url "/", { data = function() return table.remove(parts, 1) end })
      assert.equal("one two three", seen.body)
      assert.equal("chunked", seen.headers["Transfer-Encoding"])
      seen = echoed(session, "POST", url "/", { data = "abc", chunked = true })
      assert.same({ "abc", "chunked" }, { seen.body, seen.headers["Transfer-Encoding"] })
      seen = echoed(session, "POST", url "/", { data = "abc", headers = { ["Transfer-Encoding"] = "chunked" } })
      assert.same({ "abc", "chunked" }, { seen.body, seen.headers["Transfer-Encoding"] })
      seen = echoed(session, "POST", url "/", { data = "abc", headers = { ["Content-Length"] = "3" } })
      assert.same({ "abc", "3" }, { seen.body, seen.headers["Content-Length"] })
      seen = echoed(session, "POST", url "/", { data = "abc", expect100 = true })
      assert.same({ "abc", "100-continue" }, { seen.body, seen.headers.Expect })
    end)
  end)

  it("keeps what a URL means, and no more than it may", function()
    local session <close> = http.ClientSession()
    local first = session:_entry("GET", "http://h/first")
    assert.equal(first, session:_entry("POST", "http://h/first"))
    for i = 1, 3000 do session:_entry("GET", "http://h/" .. i) end
    local n = 0
    for _, list in ipairs { session._urls, session._old_urls } do
      for _ in pairs(list) do n = n + 1 end
    end
    assert(n <= 1024, n)
    local function place(opts) return require("http.client.request").make(session, "GET", "https://h/", opts).entry.place end
    assert.equal(place { ssl = false }, place { ssl = false })
    assert.equal(place { proxy = "http://p:1" }, place { proxy = "http://p:1" })
    assert(place { ssl = false }.key ~= place {}.key)
    assert(place { proxy = "http://p:1" }.key ~= place { proxy = "http://p:2" }.key)
    assert(place { proxy = false }.key == place {}.key)
    peer.raw(function() return answer(200, {}, "") end, nil, function(own, url)
      for i = 1, 5 do
        local resp <close> = await(own:post(url "/", { data = http.FormData { name = tostring(i) }, headers = nil }))
        await(resp:read())
        local form = http.FormData()
        form:add_field("file", "content", { filename = "x.txt" })
        local posted <close> = await(own:post(url "/", { data = form }))
        await(posted:read())
      end
      local kinds = 0
      for _ in pairs(own:_entry("POST", url "/").typed or {}) do kinds = kinds + 1 end
      assert(kinds <= 1, kinds)
    end)
  end)

  it("takes its URLs relative to base_url", function()
    asyncio.run(async(function()
      local server <close> = await(asyncio.start_server(async(function(reader, writer)
        local _ <close> = writer
        local line = await(reader:readline())
        writer:write(answer(200, { "Connection: close" }, line:match("%S+ (%S+)")))
        await(writer:drain())
      end), "127.0.0.1", 0))
      local base = ("http://127.0.0.1:%d"):format(select(2, server.sockets[1]:getsockname()))
      local session <close> = http.ClientSession { base_url = base }
      assert.equal("/x?y", (text(session, "/x?y")))
      assert.equal("/x", (text(session, base .. "/x")))
      local deep <close> = http.ClientSession { base_url = base .. "/api/v1/" }
      assert.equal("/api/v1/users", (text(deep, "users")))
      assert.equal("/users", (text(deep, "/users")))
      assert.equal(base .. "/api/v1/", tostring(deep.base_url))
    end))
    helper.raises("base_url: its path must end with a slash", http.ClientSession, { base_url = "http://h/api" })
    helper.raises("base_url: an absolute URL", http.ClientSession, { base_url = "/api/" })
  end)

  it("refuses at the call what cannot be", function()
    local session <close> = http.ClientSession()
    local url = "http://localhost/"
    local function refuses(class, message, ...)
      local e = helper.raises(class, session.get, session, ...)
      assert(tostring(e):find(message, 1, true), tostring(e))
    end
    refuses(http.InvalidUrlClientError, "has no scheme", "localhost/x")
    refuses(http.InvalidURL, "GET http://a b/: not a URL", "http://a b/")
    refuses(http.InvalidUrlClientError, "no host", "http:///x")
    refuses(http.NonHttpUrlClientError, "GET ftp://x/: the scheme is 'ftp'", "ftp://x/")
    refuses(http.NonHttpUrlClientError, "the scheme is 'ws'", "ws://x/")
    refuses(asyncio.TypeError, "url: a string or URL was expected, got nil", nil)
    refuses(asyncio.TypeError, "unexpected keyword argument 'param'", url, { param = {} })
    refuses(asyncio.TypeError, "a table of keyword arguments was expected", url, 5)
    refuses(asyncio.ValueError, "the value of X has a line break", url, { headers = { X = "a\r\nEvil: 1" } })
    refuses(asyncio.ValueError, "is no name of a header", url, { headers = { ["X y"] = "a" } })
    refuses(asyncio.TypeError, "headers: a table or Headers", url, { headers = "X: y" })
    refuses(asyncio.TypeError, "params: ", url, { params = 5 })
    refuses(asyncio.ValueError, "Content-Length is 4, the body has 3", url, { data = "abc", headers = { ["Content-Length"] = "4" } })
    refuses(asyncio.ValueError, "Transfer-Encoding: 'chunked' was expected", url, { headers = { ["Transfer-Encoding"] = "gzip" } })
    refuses(asyncio.ValueError, "chunked cannot be set", url, { chunked = true, data = "x", headers = { ["Content-Length"] = "1" } })
    refuses(asyncio.ValueError, "chunked cannot be set", url,
      { chunked = true, data = "x", headers = { ["Transfer-Encoding"] = "chunked" } })
    refuses(asyncio.TypeError, "cookies: ", url, { cookies = 5 })
    refuses(asyncio.ValueError, "cookies: ", url, { cookies = { ["a b"] = "c" } })
    refuses(asyncio.ValueError, "data and json", url, { data = "x", json = {} })
    refuses(asyncio.TypeError, "json: ", url, { json = { f = print } })
    refuses(asyncio.TypeError, "timeout: a ClientTimeout", url, { timeout = "5" })
    refuses(asyncio.ValueError, "timeout.total: 0 or more", url, { timeout = -1 })
    refuses(asyncio.TypeError, "timeout", url, { timeout = { all = 5 } })
    refuses(asyncio.TypeError, "auth: a BasicAuth", url, { auth = "me" })
    refuses(asyncio.TypeError, "allow_redirects: a boolean was expected", url, { allow_redirects = "no" })
    refuses(asyncio.TypeError, "raise_for_status: a boolean or a function", url, { raise_for_status = 1 })
    refuses(asyncio.ValueError, "max_redirects: 0 or more", url, { max_redirects = -1 })
    refuses(asyncio.ValueError, "compress: ", url, { data = "x", compress = "zip" })
    helper.raises("method: ", session.request, session, "GE T", url)
    helper.raises("CONNECT asks proxies for a tunnel", session.request, session, "connect", url)
    helper.raises("method: a string", session.request, session, 5, url)
    helper.raises("called with '.' instead of ':'", session.get, url)
    local e = helper.raises(asyncio.TypeError, function() session:get(url, { param = {} }) end)
    assert(tostring(e):find("session_spec.lua:%d+: "), tostring(e))
  end)

  it("refuses options that it does not know, and values that cannot be", function()
    helper.raises("unexpected keyword argument 'header'", http.ClientSession, { header = {} })
    helper.raises("headers: ", http.ClientSession, { headers = 5 })
    helper.raises("timeout: ", http.ClientSession, { timeout = "5" })
    helper.raises("max_headers: a positive number", http.ClientSession, { max_headers = 0 })
    helper.raises("trust_env: a boolean", http.ClientSession, { trust_env = 1 })
    helper.raises("connector: a TCPConnector", http.ClientSession, { connector = 5 })
    helper.raises("connector's, which was given", http.ClientSession, { connector = http.TCPConnector(), limit = 5 })
    helper.raises("cookie_jar: ", http.ClientSession, { cookie_jar = 5 })
    helper.raises("trace_configs[1]: ", http.ClientSession, { trace_configs = { 5 } })
  end)

  it("may be derived from", function()
    local Mine = http.ClientSession:extend("Mine")
    function Mine:get(url, opts) return http.ClientSession.get(self, url .. "/mine", opts) end
    local Deeper = Mine:extend("Deeper")
    peer.raw(function(request) return answer(200, {}, request.line:match("%S+ (%S+)")) end, nil, function(_, url)
      local session
      do
        local closing <close> = Deeper { headers = { A = "b" } }
        session = closing
        assert.equal("/x/mine", (text(session, url "/x")))
        assert.equal("b", session.headers.A)
      end
      assert.is_true(session.closed)
    end)
  end)

  it("is closed once and for all", function()
    asyncio.run(async(function()
      local session = http.ClientSession()
      assert.is_false(session.closed)
      await(session:close())
      await(session:close())
      assert.is_true(session.closed)
      local e = helper.raises(asyncio.RuntimeError, session.get, session, "http://localhost/")
      assert(tostring(e):find("Session is closed"))
    end))
  end)

  it("is closed with its connector, and has none when it is closed", function()
    asyncio.run(async(function()
      local session = http.ClientSession()
      await(session.connector:close())
      assert.is_true(session.closed)
      helper.raises("Session is closed", session.get, session, "http://127.0.0.1/")
      await(session:close())
      assert.is_nil(session.connector)
    end))
  end)

  it("that is closed ends what is under way", function()
    peer.raw(function(request, writer)
      if request.line:find("/part") then writer:write("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc") end
      await(asyncio.sleep(0.05))
    end, nil, function(_, url)
      local session = http.ClientSession()
      local waiting = asyncio.create_task(session:get(url "/"))
      local resp = await(session:get(url "/part"))
      local reading = asyncio.create_task(resp:read())
      await(asyncio.sleep(0.01))
      await(session:close())
      for _, task in ipairs { waiting, reading } do
        local e = helper.raises(http.ClientConnectionError, function() await(task) end)
        assert(tostring(e):find("GET " .. url "/", 1, true) and tostring(e):find("Connection closed"), tostring(e))
      end
    end)
  end)

  it("is warned of when it is never closed", function()
    local status, _, err = helper.cli({ "-e", "require('http').ClientSession()" })
    assert.equal(0, status)
    assert(err:find("ResourceWarning: Unclosed client session made at", 1, true), err)
  end)

  it("keeps and sends cookies", function()
    local n = 0
    peer.raw(function()
      n = n + 1
      return answer(200, n == 1 and { "Set-Cookie: a=b; Path=/", "Set-Cookie: c=d" } or {}, "")
    end, { cookie_jar = http.CookieJar { unsafe = true } }, function(session, url, log)
      local _, resp = text(session, url "/")
      assert.equal("b", resp.cookies.a.value)
      text(session, url "/")
      assert(log[2].headers.cookie == "a=b; c=d" or log[2].headers.cookie == "c=d; a=b", log[2].headers.cookie)
      text(session, url "/", { cookies = { e = "f" } })
      assert(log[3].headers.cookie:find("e=f", 1, true))
    end)
  end)

  it("raises for statuses when it is told to", function()
    peer.serve({ web.get("/gone", function() return web.Response { status = 410, text = "x" } end) },
      { raise_for_status = true }, function(session, url)
      for _ = 1, 2 do -- by the long way, then by the short one
        local e = helper.raises(http.ClientResponseError, function() await(session:get(url "/gone")) end)
        assert.same({ 410, "Gone", "GET", url "/gone" }, { e.status, e.message, e.method, e.url })
        assert.equal("GET", e.request_info.method)
        assert.equal(("ClientResponseError: GET %s: 410, Gone"):format(url "/gone"), tostring(e))
      end
      local resp <close> = await(session:get(url "/gone", { raise_for_status = false }))
      assert.is_false(resp.ok)
      local e = helper.raises("told", function()
        await(session:get(url "/gone", { raise_for_status = async(function(r) error("told " .. r.status, 0) end) }))
      end)
      assert.equal("told 410", e)
    end)
  end)
end)

describe("http.request", function()
  it("makes a request on a connection of its own", function()
    peer.raw(function() return answer(200, {}, "hello") end, nil, function(_, url, log)
      for _ = 1, 2 do
        local resp <close> = await(http.request("GET", url "/"))
        assert.equal("hello", await(resp:text()))
      end
      assert.same({ 1, 2 }, { log[1].connection, log[2].connection })
      local e = helper.raises(asyncio.TypeError, http.request, "GET", url "/", { no = 1 })
      assert(tostring(e):find("'no'"))
      assert.is_true(isinstance(select(2, pcall(http.request, "GET", "x")), http.InvalidURL))
    end)
  end)

  it("has limits of a response's head, which a request may have of its own", function()
    local long = ("x"):rep(9000)
    peer.serve({
      web.get("/", function() return web.Response { text = "ok", headers = { ["X-Long"] = long } } end),
      web.get("/short", function() return web.Response { text = "ok", headers = { ["X-A"] = "1", ["X-B"] = "2" } } end),
      web.get("/to", function() return web.Response { status = 302, headers = { Location = "/" } } end),
    }, nil, function(session, url)
      local function long_one(path, opts)
        local resp <close> = await(session:get(url(path), opts))
        return #resp.headers["X-Long"]
      end
      helper.raises(http.ClientResponseError, long_one, "/")
      assert.equal(9000, long_one("/", { max_field_size = 10000 }))
      assert.equal(9000, long_one("/to", { max_field_size = 10000 }))
      helper.raises(http.ClientResponseError, long_one, "/") -- on a connection of others
      assert.equal("ok", text(session, url "/short", { max_headers = 10 }))
      helper.raises(http.ClientResponseError, text, session, url "/short", { max_headers = 3 })
      assert.equal("ok", text(session, url "/short", { read_bufsize = 1 }))
      helper.raises(asyncio.ValueError, session.get, session, url "/", { max_line_size = 0 })
      helper.raises(asyncio.TypeError, session.get, session, url "/", { read_bufsize = "64K" })
    end)
  end)
end)
