local asyncio = require "asyncio"
local helper = require "spec.helper"
local testing = require "http.testing"
local web = require "http.web"

local function make(method, path, opts) return testing.make_mocked_request(method, path, opts) end

local function raises_http(class, f, ...)
  return helper.raises(class, f, ...)
end

describe("Request", function()
  it("has the request line", function()
    local r = make("POST", "/a%20b/c?x=1&y=%20z&x=2")
    assert.same({ "POST", "/a b/c", "/a%20b/c?x=1&y=%20z&x=2", "1.1", "http" },
      { r.method, r.path, r.path_qs, r.version, r.scheme })
    assert.equal("x=1&y= z&x=2", r.query_string)
    assert.equal("x=1&y=%20z&x=2", r.raw_query_string)
    assert.equal("1", r.query.x)
    assert.same({ "1", "2" }, r.query:getall("x"))
    assert.equal(" z", r.query.y)
    assert.is_nil(r.query.z)
    assert.equal("/a%20b/c?x=1&y=%20z&x=2", r.raw_path)
    assert.equal("<Request POST /a%20b/c?x=1&y=%20z&x=2 >", tostring(r))
    assert.is_false(r.secure)
    assert.equal("", make("GET", "/").query_string)
    assert.equal(0, #make("GET", "/").query)
  end)

  it("knows the host and the peer", function()
    local r = make("GET", "/", { headers = { Host = "example.com:8080" } })
    assert.equal("example.com:8080", r.host)
    assert.equal("127.0.0.1", r.remote)
    assert.same({ "127.0.0.1", 50000 }, r:get_extra_info("peername"))
    assert.equal("none", r:get_extra_info("nothing", "none"))
    assert.equal("none", r.transport:get_extra_info("nothing", "none"))
    assert.is_nil(make("GET", "/", { peername = false }).remote)
  end)

  it("has headers and what follows from them", function()
    local r = make("GET", "/", { headers = {
      { "Content-Type", 'Text/HTML; Charset="UTF-8"' }, { "X-A", "1" }, { "X-A", "2" }, { "Cookie", "a=1; b=2" },
      { "If-Modified-Since", "Sun, 06 Nov 1994 08:49:37 GMT" }, { "If-None-Match", '"x", W/"y"' }, { "If-Match", "*" },
      { "If-Unmodified-Since", "nonsense" },
    } })
    assert.equal("text/html", r.content_type)
    assert.equal("utf-8", r.charset)
    assert.equal("1", r.headers["x-a"])
    assert.same({ "1", "2" }, r.headers:getall("X-A"))
    assert.same({ a = "1", b = "2" }, r.cookies)
    assert.equal(784111777, r.if_modified_since)
    assert.is_nil(r.if_unmodified_since)
    assert.same({ { value = "x", is_weak = false }, { value = "y", is_weak = true } }, r.if_none_match)
    assert.same({ { value = "*", is_weak = false } }, r.if_match)
    r = make("GET", "/")
    assert.same({ "application/octet-stream", nil, nil, nil }, { r.content_type, r.charset, r.content_length, r.if_none_match })
    assert.same({}, r.cookies)
  end)

  it("reads Forwarded", function()
    local r = make("GET", "/", { headers = {
      { "Forwarded", 'for="[2001:db8::1]:80";proto=https, For=192.0.2.43' }, { "Forwarded", 'by=_x;host="a,b;c"' },
    } })
    assert.same({ { ["for"] = "[2001:db8::1]:80", proto = "https" }, { ["for"] = "192.0.2.43" }, { by = "_x", host = "a,b;c" } }, r.forwarded)
  end)

  it("sees what is appended to a malformed Forwarded", function()
    local function forwarded(...)
      local headers = {}
      for _, line in ipairs { ... } do headers[#headers + 1] = { "Forwarded", line } end
      return make("GET", "/", { headers = headers }).forwarded
    end
    assert.same({ { ["for"] = "_injected" }, { ["for"] = "_real" } }, forwarded 'for=_injected;by=", for=_real')
    assert.same({ {}, { ["for"] = "_real" } }, forwarded "very bad syntax, for=_real")
    assert.same({ { ["for"] = "_1", by = "_2" }, {}, {}, { ["for"] = "_3" } }, forwarded("for=_1;by=_2", "bad value", "", "for=_3"))
    assert.same({ { ["for"] = "a", proto = "https" } }, forwarded ";For=a;;PROTO=https;;;")
    assert.same({ { by = "a" } }, forwarded "BY=a PROTO=https")
    assert.same({ { by = "a", some = 'other, "value"' } }, forwarded [[BY=a;SOME="other, \"value\""]])
    assert.same({ { ["for"] = "1.2.3.4:80" }, { ["for"] = "[::1]:80" } }, forwarded 'for=1.2.3.4:80, for="[::1]:80"')
    assert.same({ { ["for"] = ("\\"):rep(5000) } }, forwarded('for="' .. ("\\\\"):rep(5000) .. '"'))
  end)

  it("has entity tags up to what is none", function()
    local function tags(value)
      local list = {}
      for _, tag in ipairs(make("GET", "/", { headers = { ["If-Match"] = value } }).if_match) do
        list[#list + 1] = (tag.is_weak and "W/" or "") .. tag.value
      end
      return list
    end
    assert.same({ "67ab43", "W/54ed21", "7892,dd" }, tags '"67ab43", W/"54ed21", "7892,dd"')
    assert.same({ "a", "b" }, tags '"a", "b",garbage"c"')
    assert.same({ "ascii" }, tags '"ascii", "not a tag", "ascii"')
    assert.same({ "*" }, tags "*")
  end)

  it("has a range, and its headers as they came", function()
    local function range(value)
      local r = make("GET", "/", { headers = { Range = value } }).http_range
      return { r.start or false, r.stop or false }
    end
    assert.same({ false, false }, range(nil))
    assert.same({ 0, 500 }, range "bytes=0-499")
    assert.same({ 500, false }, range "bytes=500-")
    assert.same({ -500, false }, range "bytes=-500")
    for _, bad in ipairs { "bytes=-", "bytes=5-3", "lines=1-2", "bytes=1-2,4-5" } do helper.raises(asyncio.ValueError, range, bad) end
    local raw = make("GET", "/", { headers = { { "X-HEADER", "a" }, { "x-header", "b" }, { "Host", "h" } } }).raw_headers
    assert.same({ { "X-HEADER", "a" }, { "x-header", "b" }, { "Host", "h" } }, raw)
  end)

  it("gives its content in pieces", function()
    helper.run(function()
      local function content() return make("POST", "/", { body = "abcde" }).content end
      local pieces = {}
      for piece in content():iter_chunked(2) do pieces[#pieces + 1] = piece end
      assert.same({ "ab", "cd", "e" }, pieces)
      for piece in content():iter_any() do pieces[#pieces + 1] = piece end
      for piece, whole in content():iter_chunks() do pieces[#pieces + 1] = piece .. tostring(whole) end
      assert.same({ "ab", "cd", "e", "abcde", "abcdetrue" }, pieces)
      local c = content()
      assert.same({ "abcde", nil }, { await(c:readany()), await(c:readany()) })
      helper.raises("1 byte or more", c.iter_chunked, c, 0)
      local coded = make("POST", "/", { body = require("zlib").compress("abc", { wbits = 31 }), headers = { ["Content-Encoding"] = "gzip" } })
      assert.equal("abc", await(coded.content:readany()))
    end)
  end)

  it("has what the path's parameters match", function()
    local app = web.Application()
    local f = function() end
    app.router:add_get("/{name}/{route}", f)
    local r = make("GET", "/x/y", { app = app })
    assert.equal("x", r.match_info.name)
    assert.equal("y", r.match_info.route)
    assert.equal("x", r.match_info:get("name", "Anonymous"))
    assert.equal("Anonymous", r.match_info:get("other", "Anonymous"))
    assert.equal(f, r.match_info.handler)
    local names = {}
    for name in pairs(r.match_info) do names[#names + 1] = name end
    assert.equal(2, #names)
    r = make("GET", "/", { match_info = { id = "7" } })
    assert.equal("7", r.match_info.id)
    r = make("GET", "/nowhere")
    assert.is_nil(r.match_info.id)
    assert.is_true(r.match_info.route.system)
  end)

  it("keeps what a script puts into it, but not over its own", function()
    local r = make("GET", "/")
    r["user"] = "jane"
    r.n = 1
    assert.same({ "jane", 1 }, { r.user, r.n })
    helper.raises("Request.path cannot be set", function() r.path = "/x" end)
    helper.raises("Request.json cannot be set", function() r.json = "/x" end)
    helper.raises("requests are made by the server", web.Request)
  end)

  it("looks for state in its application, then in those above", function()
    local app, sub = web.Application(), web.Application()
    app.db, app.name, sub.name = "db", "app", "sub"
    local key = web.AppKey("key")
    app[key] = 1
    sub.router:add_get("/", function() end)
    app:add_subapp("/sub", sub)
    local r = make("GET", "/sub/", { app = app })
    assert.equal(sub, r.app)
    assert.same({ "db", "sub", 1, nil }, { r.config_dict.db, r.config_dict.name, r.config_dict[key], r.config_dict.none })
  end)

  it("reads its body once", function()
    local r = make("POST", "/", { body = "h\xe9llo", headers = { ["Content-Type"] = "text/plain; charset=ISO-8859-1" } })
    assert.is_true(r.body_exists)
    assert.equal(5, r.content_length)
    helper.run(function()
      assert.equal("h\xe9llo", await(r:read()))
      assert.equal("h\xe9llo", await(r:read()))
      assert.equal("héllo", await(r:text()))
    end)
    local ru = make("POST", "/", { body = "\xE4", headers = { ["Content-Type"] = "text/plain; charset=cp1251" } })
    assert.equal("\u{434}", await(ru:text()))
    r = make("POST", "/", { body = "x", headers = { ["Content-Type"] = "text/plain; charset=klingon" } })
    helper.run(function() raises_http(web.HTTPUnsupportedMediaType, function() await(r:text()) end) end)
    r = make("GET", "/")
    assert.is_false(r.body_exists)
    helper.run(function() assert.equal("", await(r:read())) end)
  end)

  it("gives its body as a stream", function()
    local r = make("POST", "/", { body = "a\nb\n" })
    helper.run(function()
      assert.equal("a\n", await(r.content:readline()))
      assert.equal("b\n", await(r.content:read()))
    end)
    r = make("POST", "/", { body = ("x"):rep(100) })
    helper.run(function()
      await(r:release())
      assert.equal("", await(r:read()))
    end)
  end)

  it("refuses a body that is larger than the application allows", function()
    local app = web.Application { client_max_size = 4 }
    local r = make("POST", "/", { body = "12345", app = app })
    helper.run(function()
      local err = raises_http(web.HTTPRequestEntityTooLarge, function() await(r:read()) end)
      assert(err.text:find("Maximum request body size 4 exceeded", 1, true))
    end)
    r = make("POST", "/", { body = "12345", app = web.Application { client_max_size = 0 } })
    helper.run(function() assert.equal("12345", await(r:read())) end)
    r = make("POST", "/", { body = "12345", app = app }):clone { client_max_size = 10 }
    helper.run(function() assert.equal("12345", await(r:read())) end)
  end)

  it("decodes JSON, and says where it is none", function()
    helper.run(function()
      assert.same({ a = 1 }, await(make("POST", "/", { body = '{"a": 1}' }):json()))
      assert.equal("!", await(make("POST", "/", { body = "x" }):json { loads = function() return "!" end }))
      local err = raises_http(web.HTTPBadRequest, function() await(make("POST", "/", { body = "{" }):json()) end)
      assert(err.text:find("the body is not JSON", 1, true))
      assert(err.cause)
      helper.raises("unexpected keyword argument", function() await(make("POST", "/", { body = "1" }):json { x = 1 }) end)
    end)
  end)

  it("reads forms", function()
    local form = { headers = { ["Content-Type"] = "application/x-www-form-urlencoded" }, body = "a=1&b=x+y%21&a=2" }
    helper.run(function()
      local r = make("POST", "/", form)
      local post = await(r:post())
      assert.same({ "1", "x y!" }, { post.a, post.b })
      assert.same({ "1", "2" }, post:getall("a"))
      assert.equal(post, await(r:post()))
      assert.equal(0, #await(make("GET", "/", form):post()))
      assert.equal(0, #await(make("POST", "/", { body = "{}", headers = { ["Content-Type"] = "application/json" } }):post()))
      assert.equal(0, #await(make("POST", "/"):post()))
      r = make("POST", "/", form)
      await(r:read())
      assert.equal("1", (await(r:post())).a)
    end)
  end)

  local parts = table.concat({
    "--xx", 'Content-Disposition: form-data; name="a"', "", "1",
    "--xx", 'Content-Disposition: form-data; name="f"; filename="x.txt"', "Content-Type: text/plain", "", "file\r\ntext",
    "--xx--", "" }, "\r\n")
  local multipart = { body = parts, headers = { ["Content-Type"] = "multipart/form-data; boundary=xx" } }

  it("reads forms in other character sets", function()
    helper.run(function()
      local function post(charset)
        local headers = { ["Content-Type"] = "application/x-www-form-urlencoded; charset=" .. charset }
        return await(make("POST", "/", { body = "a=%E4&%e4=x", headers = headers }):post())
      end
      assert.same({ "ä", "x" }, { post("ISO-8859-1").a, post("latin1")["ä"] })
      assert.equal("д", post("windows-1251").a)
      helper.raises(web.HTTPUnsupportedMediaType, post, "klingon")
    end)
  end)

  it("reads multipart forms, with files", function()
    helper.run(function()
      for _, first in ipairs { false, true } do
        local r = make("POST", "/", multipart)
        if first then await(r:read()) end
        local post = await(r:post())
        assert.equal("1", post.a)
        assert.equal("x.txt", post.f.filename)
        assert.equal("file\r\ntext", await(post.f:read()))
        await(post.f:close())
      end
    end)
  end)

  it("closes a form's files when it has been answered", function()
    local app, file = web.Application(), nil
    app.router:add_post("/{how}", async(function(request)
      file = (await(request:post())).f
      assert.equal("file\r\ntext", await(file:read()))
      if request.match_info.how == "fail" then error(web.HTTPConflict()) end
      return web.Response()
    end))
    helper.run(function()
      for how, status in pairs { well = 200, fail = 409 } do
        local x = require("http.mock").exchange("POST", "/" .. how, multipart)
        await(testing.answer(app, x))
        assert.equal(status, x.status)
        assert.is_false(pcall(await, file:read()))
      end
    end)
  end)

  it("reads the parts of a multipart body one after the other", function()
    helper.run(function()
      local reader, names = await(make("POST", "/", multipart):multipart()), {}
      for part in reader:parts() do names[#names + 1] = part.name .. "=" .. await(part:text()) end
      assert.same({ "a=1", "f=file\r\ntext" }, names)
      helper.raises(asyncio.ValueError, function() await(make("POST", "/", { body = "x" }):multipart()) end)
    end)
  end)

  it("refuses malformed forms with 400 and large ones with 413", function()
    local opts = { body = "--yy\r\nnonsense", headers = { ["Content-Type"] = "multipart/form-data; boundary=xx" } }
    helper.run(function()
      raises_http(web.HTTPBadRequest, function() await(make("POST", "/", opts):post()) end)
      opts.headers = { ["Content-Type"] = "multipart/form-data" }
      raises_http(web.HTTPBadRequest, function() await(make("POST", "/", opts):post()) end)
      raises_http(web.HTTPRequestEntityTooLarge, function()
        await(make("POST", "/", { body = "a=" .. ("x"):rep(100), app = web.Application { client_max_size = 10 },
          headers = { ["Content-Type"] = "application/x-www-form-urlencoded" } }):post())
      end)
      raises_http(web.HTTPRequestEntityTooLarge, function()
        await(make("POST", "/", { body = parts, app = web.Application { client_max_size = 10 },
          headers = multipart.headers }):post())
      end)
      raises_http(web.HTTPBadRequest, function()
        await(make("POST", "/", { body = ("a=1&"):rep(2000), headers = { ["Content-Type"] = "application/x-www-form-urlencoded" } }):post())
      end)
    end)
  end)

  it("has a URL", function()
    local r = make("GET", "/a%20b?x=1", { headers = { Host = "example.com:81" } })
    assert.equal("http://example.com:81/a%20b?x=1", tostring(r.url))
    assert.equal("/a%20b?x=1", tostring(r.rel_url))
    assert.equal("/a b", r.url.path)
    assert.equal("example.com", r.url.host)
    assert.equal("1", r.url.query.x)
    r = make("GET", "http://other/x?y", { headers = { Host = "h" } })
    assert.same({ "http://other/x?y", "/x?y", "other", "/x" }, { tostring(r.url), tostring(r.rel_url), r.host, r.path })
    r = make("GET", "HTTPS://other/x?y", { headers = { Host = "h" } })
    assert.same({ "https", true, "https://other/x?y" }, { r.scheme, r.secure, tostring(r.url) })
    local copy = r:clone { scheme = "http", host = "third" }
    assert.same({ "http", "http://third/x?y" }, { copy.scheme, tostring(copy.url) })
    r = make("GET", "//evil/x", { headers = { Host = "h" } })
    assert.same({ "//evil/x", "h" }, { r.rel_url.path, r.url.host })
    assert.is_nil(r.rel_url.host)
  end)

  it("can be cloned with something replaced", function()
    local r = make("GET", "/a?x=1", { headers = { Cookie = "a=1" } })
    assert.same({ "/a", "1", "1" }, { r.path, r.query.x, r.cookies.a })
    local copy = r:clone { method = "POST", rel_url = "/b%20c?y=2", headers = { ["X-A"] = "1" }, host = "h", scheme = "https", remote = "::1" }
    assert.same({ "POST", "/b c", "2", nil, "1", "h", "https", "::1", true },
      { copy.method, copy.path, copy.query.y, copy.query.x, copy.headers["x-a"], copy.host, copy.scheme, copy.remote, copy.secure })
    assert.same({}, copy.cookies)
    assert.same({ "GET", "/a" }, { r.method, r.path })
    helper.raises("unexpected keyword argument 'path'", r.clone, r, { path = "/" })
    assert.equal(r.match_info, copy.match_info)
    r = make("POST", "/", { body = "data" })
    helper.run(function() await(r:read()) end)
    helper.raises("the request's content has been read", r.clone, r)
  end)
end)

describe("make_mocked_request", function()
  it("takes a stream for its body, and a limit", function()
    helper.run(function()
      local function stream(text)
        local reader = asyncio.StreamReader()
        reader:feed_data(text)
        reader:feed_eof()
        return reader
      end
      local r = make("POST", "/", { payload = stream("a=1&b=2"), sslcontext = true, headers = { ["Content-Type"] = "application/x-www-form-urlencoded" } })
      assert.same({ true, "https", "2" }, { r.body_exists, r.scheme, await(r:post()).b })
      assert.equal("12345", await(make("POST", "/", { payload = stream("12345"), client_max_size = 5 }):read()))
      r = make("POST", "/", { payload = stream("123456"), client_max_size = 5 })
      helper.raises(web.HTTPRequestEntityTooLarge, function() await(r:read()) end)
      assert.equal(6, #await(make("POST", "/", { payload = stream("123456"), client_max_size = 0 }):read()))
    end)
  end)

  it("refuses what it does not know", function()
    helper.raises("a method and a path were expected", testing.make_mocked_request, "GET")
    helper.raises("unexpected keyword argument 'hdrs'", testing.make_mocked_request, "GET", "/", { hdrs = 1 })
    helper.raises(asyncio.TypeError, testing.make_mocked_request, 1, "/")
  end)
end)
