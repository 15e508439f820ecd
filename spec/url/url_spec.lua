local asyncio = require "asyncio"
local helper = require "spec.helper"
local url = require "url"

local URL = url.URL

describe("URL", function()
  it("is taken apart", function()
    local u = URL("HTTPS://us%45r:p%40ss@Example.ORG:8443/a%20b/c.tar.gz?x=1&y=a+b&x=%26#fr%C3%A9")
    assert.equal("https", u.scheme)
    assert.same({ "usEr", "p@ss", "usEr", "p%40ss" }, { u.user, u.password, u.raw_user, u.raw_password })
    assert.same({ "example.org", 8443, 8443 }, { u.host, u.port, u.explicit_port })
    assert.same({ "/a b/c.tar.gz", "/a%20b/c.tar.gz" }, { u.path, u.raw_path })
    assert.same({ "x=1&y=a b&x=&", "x=1&y=a+b&x=%26" }, { u.query_string, u.raw_query_string })
    assert.same({ "1", "&" }, u.query:getall("x"))
    assert.equal("a b", u.query.y)
    assert.same({ "fr\xC3\xA9", "fr%C3%A9" }, { u.fragment, u.raw_fragment })
    assert.equal("/a%20b/c.tar.gz?x=1&y=a+b&x=%26", u.path_qs)
    assert.same({ "/", "a b", "c.tar.gz" }, u.parts)
    assert.same({ "c.tar.gz", ".gz" }, { u.name, u.suffix })
    assert.equal("https://usEr:p%40ss@example.org:8443/a%20b", tostring(u.parent))
    assert.equal("usEr:p%40ss@example.org:8443", u.raw_authority)
    assert.is_true(u:is_absolute())
    assert.is_false(u:is_default_port())
    assert.is_nil(u.nothing)
    assert.equal("https://example.org:8443", tostring(u:origin()):gsub("/$", ""))
    assert.equal("/a%20b/c.tar.gz?x=1&y=a+b&x=%26#fr%C3%A9", tostring(u:relative()))
  end)

  it("knows what isn't there", function()
    local u = URL("a/b")
    assert.same({ nil, nil, nil, nil, "a/b", "", "" }, { u.scheme, u.host, u.port, u.user, u.path, u.query_string, u.fragment })
    assert.is_false(u:is_absolute())
    assert.equal(0, #u.query)
    assert.equal(80, URL("http://a").port)
    assert.is_nil(URL("http://a").explicit_port)
    assert.is_true(URL("http://a").is_default_port(URL("http://a:80")))
    assert.equal("/", URL("http://a").path)
    assert.equal("", URL("").path)
    assert.is_nil(URL("foo://a").port)
  end)

  local texts = {
    -- what goes in, what comes out (nil: the same)
    { "http://a/" }, { "http://a", "http://a/" }, { "http://a:80/", "http://a/" }, { "https://a:80/" }, { "http://a:/", "http://a/" }, { "HTTP://A.b/C", "http://a.b/C" },
    { "//a/b" }, { "/a" }, { "a" }, { "" }, { "?a" }, { "#a" }, { "a?b#c" }, { "./a:b" }, { "http://a?b", "http://a/?b" }, { "http://a#b", "http://a/#b" }, { "http://a/?" }, { "http://a/#" },
    { "http://a/b/../c/./d", "http://a/c/d" }, { "http://a/../..", "http://a/" }, { "http://a/b/..", "http://a/" }, { "http://a/b/.", "http://a/b/" }, { "http://a//b//", nil }, { "http://a/%2e%2E/b", "http://a/b" },
    { "http://a/...", nil }, { "../a", nil }, { "http://a/b c\xC3\xA9", "http://a/b%20c%C3%A9" }, { "http://a/%7e%41%2f%c3%a9", "http://a/~A%2F%C3%A9" }, { "http://a/%zz%4%", "http://a/%25zz%254%25" }, { "http://a/%%41", "http://a/%25A" },
    { 'http://a/<>"{}|\\^`', "http://a/%3C%3E%22%7B%7D%7C%5C%5E%60" }, { "http://a/!$&'()*+,;=:@" }, { "http://a/?!$&'()*+,;=:@/?" }, { 'http://a/?"#?"', "http://a/?%22#?%22" }, { "http://a/?a=b%26c" },
    { "http://u@a/" }, { "http://u:@a/" }, { "http://:p@a/" }, { "http://@a/", "http://a/" }, { "http://a@b@c/", "http://a%40b@c/" }, { "http://u:p:q@a/", "http://u:p%3Aq@a/" }, { "http://u/@a/" },
    { "http://[::1]/" }, { "http://[::1]:8080/" }, { "http://[FE80::1%25Eth0]/", "http://[fe80::1%25Eth0]/" }, { "http://u@[::FFFF:1.2.3.4]:80/", "http://u@[::ffff:1.2.3.4]/" }, { "http://127.0.0.1:65535/" },
    { "mailto:a@b.org" }, { "urn:isbn:123" }, { "data:text/plain,x%20y" }, { "file:///etc/x" }, { "ws://a:80/", "ws://a/" }, { "wss://a:443/", "wss://a/" }, { "x+y.z-1://a" .. "/" },
    { "http://xn--bcher-kva.example/" }, { "http://a_b~c/" },
  }
  for _, case in ipairs(texts) do
    it("writes '" .. case[1] .. "'", function()
      local u = URL(case[1])
      assert.equal(case[2] or case[1], tostring(u))
      assert.equal(u, URL(tostring(u)))
    end)
  end

  local bad = {
    "http://", "http:///a", "http:a", "http:/a", "https://:80/", "http://?", "http://a:x/", "http://a:65536/", "http://a:-1/", "http://a:1:2/", "http://a:99999999999/", "http://[::1/", "http://[::1]x/", "http://[g]/", "http://[]/", "http://[1.2]/",
    "http://a b/", "http://a\\b/", "http://good.org\\@evil.org/", "http://a%00b/", "http://a<b/", "http://a\r\nb/", "http://a/\n", "http://a/\0", "\thttp://a/", "1http://a/", "ht tp://a/", ":a", "http://" .. ("a"):rep(256) .. "/", "http://a|b/", "http://a\127/",
    "http://::1/", "://a",
  }
  for _, text in ipairs(bad) do
    it("refuses " .. ("%q"):format(text:sub(1, 40)), function() helper.raises(asyncio.ValueError, URL, text) end)
  end

  it("refuses what is no text", function()
    helper.raises(asyncio.TypeError, URL, nil)
    helper.raises(asyncio.TypeError, URL, 1)
    helper.raises(asyncio.TypeError, URL, {})
    helper.raises(asyncio.TypeError, url.join, "http://a", 1)
    local u = URL("http://a")
    assert.equal(u, URL(u))
    helper.raises(asyncio.TypeError, function() u.host = "b" end)
  end)

  it("compares, and goes with strings", function()
    assert.equal(URL("http://A:80"), URL("http://a/"))
    assert.not_equal(URL("http://a/"), URL("http://a/b"))
    assert.is_true(URL("http://a/") < URL("http://b/"))
    assert.equal("<http://a/>", "<" .. URL("http://a") .. ">")
    assert.equal('["http://a/"]', require("json").encode { URL("http://a") })
  end)

  it("gives others like it", function()
    local u = URL("http://u:p@a:81/b/c.txt?x=1&y=2#f")
    local cases = {
      { u:with_scheme("HTTPS"), "https://u:p@a:81/b/c.txt?x=1&y=2#f" }, { u:with_user("v@"), "http://v%40:p@a:81/b/c.txt?x=1&y=2#f" }, { u:with_user(nil), "http://a:81/b/c.txt?x=1&y=2#f" },
      { u:with_password("q:/"), "http://u:q%3A%2F@a:81/b/c.txt?x=1&y=2#f" }, { u:with_password(nil), "http://u@a:81/b/c.txt?x=1&y=2#f" }, { u:with_host("B.c"), "http://u:p@b.c:81/b/c.txt?x=1&y=2#f" },
      { u:with_host("::1"), "http://u:p@[::1]:81/b/c.txt?x=1&y=2#f" }, { u:with_port(nil), "http://u:p@a/b/c.txt?x=1&y=2#f" }, { u:with_port(80), "http://u:p@a/b/c.txt?x=1&y=2#f" },
      { u:with_path("/x y/%/../z?"), "http://u:p@a:81/x%20y/z%3F" }, { u:with_path("x"), "http://u:p@a:81/x" }, { u:with_query("a=b c"), "http://u:p@a:81/b/c.txt?a=b%20c#f" }, { u:with_query(nil), "http://u:p@a:81/b/c.txt#f" },
      { u:with_query { b = { 1, true }, a = "& +" }, "http://u:p@a:81/b/c.txt?a=%26+%2B&b=1&b=true#f" }, { u:with_query {}, "http://u:p@a:81/b/c.txt#f" }, { u:extend_query { x = "3" }, "http://u:p@a:81/b/c.txt?x=1&y=2&x=3#f" },
      { u:update_query { x = "3" }, "http://u:p@a:81/b/c.txt?y=2&x=3#f" }, { u % "z=1", "http://u:p@a:81/b/c.txt?x=1&y=2&z=1#f" }, { u:without_query_params("x", "z"), "http://u:p@a:81/b/c.txt?y=2#f" },
      { u:with_fragment("g h%"), "http://u:p@a:81/b/c.txt?x=1&y=2#g%20h%25" }, { u:with_fragment(nil), "http://u:p@a:81/b/c.txt?x=1&y=2" }, { u:with_name("d%.e"), "http://u:p@a:81/b/d%25.e" },
      { u:with_suffix(".gz"), "http://u:p@a:81/b/c.gz" }, { u:with_suffix(""), "http://u:p@a:81/b/c" }, { u / "d", "http://u:p@a:81/b/c.txt/d" }, { u / "d e" / "../f", "http://u:p@a:81/b/c.txt/f" },
      { u:joinpath("x/", "y?"), "http://u:p@a:81/b/c.txt/x/y%3F" }, { URL("http://a") / "b", "http://a/b" }, { URL("") / "b", "b" }, { URL("a") / "b", "a/b" }, { u.parent.parent.parent, "http://u:p@a:81/" },
      { URL("http://a/b").parent.parent, "http://a/" }, { URL("a").parent, "" },
    }
    for i, case in ipairs(cases) do assert.same({ i, case[2] }, { i, tostring(case[1]) }) end
    assert.equal("http://u:p@a:81/b/c.txt?x=1&y=2#f", tostring(u))
    assert.equal(2, #u.query)
  end)

  it("refuses parts that are none", function()
    local u, r = URL("http://a/b"), URL("b")
    local V, T = asyncio.ValueError, asyncio.TypeError
    for _, name in ipairs { "with_scheme", "with_user", "with_password", "with_host" } do
      helper.raises(V, r[name], r, "x")
      helper.raises(T, u[name], u, 1)
    end
    helper.raises(V, u.with_scheme, u, "1 x")
    helper.raises(V, u.with_host, u, "")
    helper.raises(V, u.with_host, u, "a/b")
    helper.raises(V, u.with_host, u, "a\r\n")
    for _, port in ipairs { -1, 65536, 1.5, "80" } do helper.raises(V, u.with_port, u, port) end
    helper.raises(V, r.with_port, r, 1)
    helper.raises(T, u.with_path, u, nil)
    helper.raises(T, u.with_query, u, 1)
    helper.raises(T, u.with_query, u, { a = {} , b = print })
    helper.raises(T, u.extend_query, u, nil)
    for _, name in ipairs { "a/b", ".", ".." } do helper.raises(V, u.with_name, u, name) end
    for _, suffix in ipairs { "x", ".", ".a/b" } do helper.raises(V, u.with_suffix, u, suffix) end
    helper.raises(V, function() return u / "/x" end)
    helper.raises(T, function() return u / 1 end)
    helper.raises(V, r.origin, r)
    helper.raises(V, r.relative, r)
  end)

  it("is built of parts", function()
    assert.equal("http://u:p%40@a:81/x%20y?b=1#f", tostring(URL.build { scheme = "http", user = "u", password = "p@", host = "A", port = 81, path = "/x y", query = { b = 1 }, fragment = "f" }))
    assert.equal("/x?a", tostring(URL.build { path = "/x", query = "a" }))
    helper.raises(asyncio.ValueError, URL.build, { scheme = "http" })
    helper.raises(asyncio.ValueError, URL.build, { port = 1 })
    helper.raises(asyncio.TypeError, URL.build, { hots = "a" })
  end)

  it("is readable", function()
    assert.equal("http://\xC3\xA9@a/b c\xC3\xA9%2F%25%3F?q=\xE2\x82\xAC%26+#x y",
      (URL("http://%C3%A9@a/b%20c%C3%A9%2F%25%3F?q=%E2%82%AC%26+#x%20y"):human_repr():gsub("b%%20c", "b c"):gsub("x%%20y", "x y")))
    assert.equal("http://a/%FF%0A", URL("http://a/%FF%0A"):human_repr())
  end)
end)

describe("a host in another script", function()
  local has_idna = pcall(require, "url.idna")

  it("is sent in its IDNA form and read as it was written", function()
    if not has_idna then return end
    local cases = {
      { "http://b\u{fc}cher.example/x", "xn--bcher-kva.example", "b\u{fc}cher.example" }, { "http://B\u{dc}CHER.example", "xn--bcher-kva.example", "b\u{fc}cher.example" },
      { "http://bu\u{308}cher.example", "xn--bcher-kva.example", "b\u{fc}cher.example" }, { "http://b%C3%BCcher.example", "xn--bcher-kva.example", "b\u{fc}cher.example" },
      { "http://fa\u{df}.de", "xn--fa-hia.de", "fa\u{df}.de" }, { "http://\u{442}\u{435}\u{441}\u{442}.\u{440}\u{444}", "xn--e1aybc.xn--p1ai", "\u{442}\u{435}\u{441}\u{442}.\u{440}\u{444}" },
      { "http://\u{ff45}xample\u{3002}com", "example.com", "example.com" }, { "http://xn--bcher-kva.example", "xn--bcher-kva.example", "b\u{fc}cher.example" },
      { "http://my_\u{fc}.example", "xn--my_-joa.example", "my_\u{fc}.example" },
      { "http://xn--zzzzzz--9.example", "xn--zzzzzz--9.example", "xn--zzzzzz--9.example" }, { "http://a.example", "a.example", "a.example" },
    }
    for _, case in ipairs(cases) do
      local u = URL(case[1])
      assert.same(case, { case[1], u.raw_host, u.host })
    end
  end)

  it("is in ASCII in all that is sent", function()
    if not has_idna then return helper.raises("IDNA form (xn--...)", URL, "http://b\u{fc}cher.example/") end
    local u = URL("http://user@b\u{fc}cher.example:81/\u{fc}?\u{fc}#\u{fc}")
    assert.equal("http://user@xn--bcher-kva.example:81/%C3%BC?%C3%BC#%C3%BC", tostring(u))
    assert.same({ "user@xn--bcher-kva.example:81", "user@b\u{fc}cher.example:81" }, { u.raw_authority, u.authority })
    assert.equal("http://user@b\u{fc}cher.example:81/\u{fc}?\u{fc}#\u{fc}", u:human_repr())
    assert.equal("http://xn--bcher-kva.example/a", url.join("http://x/", "//b\u{fc}cher.example/a"))
    assert.equal("http://xn--bcher-kva.example/", tostring(URL("http://x/"):with_host("b\u{fc}cher.example")))
  end)

  it("is refused when it is none, or would be another URL", function()
    local bad = {
      "\u{2100}.example", "a\u{ff0f}b.example", "a\u{ff20}b", "a\u{ff1a}80", "\u{fc}\u{ff05}41", "\xFF\xFE.example", "\u{fc}%00.example", "\u{fc}%0a.example", "\u{fc}..example",
      "\u{200d}.example", ("\u{fc}"):rep(64) .. ".example", ("\u{fc}"):rep(2000), "\u{fc}%2fx.example", "%C3%BC%40x.example",
    }
    for _, host in ipairs(bad) do helper.raises(asyncio.ValueError, URL, "http://" .. host .. "/") end
  end)

  it("stays as it is if it would be read back as another name", function()
    -- a dotless i, a slash and a word that is plain ASCII, coded by hand
    for _, host in ipairs { "xn--a-ecp.ru", "xn--a.b", "xn--abc-.de" } do
      local u = URL("http://" .. host .. "/")
      assert.equal(u.raw_host, URL(u:human_repr()).raw_host)
    end
  end)
end)

describe("url.join", function()
  -- RFC 3986, 5.4
  local base = "http://a/b/c/d;p?q"
  local cases = {
    { "g:h", "g:h" }, { "g", "http://a/b/c/g" }, { "./g", "http://a/b/c/g" }, { "g/", "http://a/b/c/g/" }, { "/g", "http://a/g" }, { "//g", "http://g/" }, { "?y", "http://a/b/c/d;p?y" }, { "g?y", "http://a/b/c/g?y" },
    { "#s", "http://a/b/c/d;p?q#s" }, { "g#s", "http://a/b/c/g#s" }, { "g?y#s", "http://a/b/c/g?y#s" }, { ";x", "http://a/b/c/;x" }, { "g;x", "http://a/b/c/g;x" }, { "g;x?y#s", "http://a/b/c/g;x?y#s" }, { "", "http://a/b/c/d;p?q" },
    { ".", "http://a/b/c/" }, { "./", "http://a/b/c/" }, { "..", "http://a/b/" }, { "../", "http://a/b/" }, { "../g", "http://a/b/g" }, { "../..", "http://a/" }, { "../../", "http://a/" }, { "../../g", "http://a/g" },
    { "../../../g", "http://a/g" }, { "../../../../g", "http://a/g" }, { "/./g", "http://a/g" }, { "/../g", "http://a/g" }, { "g.", "http://a/b/c/g." }, { ".g", "http://a/b/c/.g" }, { "g..", "http://a/b/c/g.." }, { "..g", "http://a/b/c/..g" },
    { "./../g", "http://a/b/g" }, { "./g/.", "http://a/b/c/g/" }, { "g/./h", "http://a/b/c/g/h" }, { "g/../h", "http://a/b/c/h" }, { "g;x=1/./y", "http://a/b/c/g;x=1/y" }, { "g;x=1/../y", "http://a/b/c/y" },
    { "g?y/./x", "http://a/b/c/g?y/./x" }, { "g?y/../x", "http://a/b/c/g?y/../x" }, { "g#s/./x", "http://a/b/c/g#s/./x" }, { "g#s/../x", "http://a/b/c/g#s/../x" },
    { "https://x/y", "https://x/y" }, { "//u@x:81", "http://u@x:81/" }, { "a b", "http://a/b/c/a%20b" },
  }
  for _, case in ipairs(cases) do
    it("finds '" .. case[1] .. "'", function() assert.equal(case[2], url.join(base, case[1])) end)
  end

  it("takes URLs", function()
    assert.equal("http://a/c", url.join(URL("http://a/b"), URL("c")))
    assert.equal(URL("http://a/c"), URL("http://a/b"):join("c"))
    assert.equal("b/d", url.join("b/c", "d"))
    assert.equal("http://a/b", url.join("http://a", "b"))
    helper.raises(asyncio.ValueError, url.join, "http://a", "http:b")
    helper.raises(asyncio.ValueError, url.join, "b", "http:c")
  end)
end)

describe("URLs that are encoded already", function()
  it("stay as they are written", function()
    local text = "http://Host:80/%30/../a//b?x=%41&y=a+b#%42"
    assert.equal("http://host/%30/../a//b?x=%41&y=a+b#%42", tostring(URL(text, { encoded = true })))
    assert.equal("http://host/a//b?x=A&y=a+b#B", tostring(URL(text)))
    assert.equal("/%7e", url.parse("http://h/%7e", { encoded = true }).raw_path)
    assert.equal("http://h/", tostring(URL("http://h", { encoded = true })))
  end)

  it("cannot have what a request's line cannot", function()
    for _, path in ipairs { "a b", "caf\u{e9}", "a\r\nb" } do
      helper.raises(asyncio.ValueError, URL, "http://h/" .. path, { encoded = true })
    end
    helper.raises("unexpected keyword argument 'encode'", URL, "http://h/", { encode = true })
  end)
end)
