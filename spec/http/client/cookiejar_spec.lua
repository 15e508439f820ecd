local asyncio = require "asyncio"
local cookiejar = require "http.client.cookiejar"
local fs = require "fs"
local helper = require "spec.helper"
local url = require "url"

local await = asyncio.await
local CookieJar = cookiejar.CookieJar

--- A jar whose clock stands still until it is set: jar.now.
local function new(opts)
  local jar = CookieJar(opts)
  jar.now = 1e9
  jar._time = function() return jar.now end
  return jar
end

local function set(jar, where, ...)
  jar:update_from(url.URL(where), { ... })
  return jar
end

local function header(jar, where, more) return jar:cookie_header(url.URL(where), more) end

--- The header for `where` after each of the Set-Cookie values came from `from`.
local function after(from, values, where, opts)
  local jar = new(opts)
  set(jar, from, table.unpack(type(values) == "table" and values or { values }))
  return header(jar, where or from)
end

describe("a cookie's domain", function()
  it("is the host alone when none is named", function()
    assert.equal("a=1", after("http://example.com/", "a=1"))
    assert.equal("a=1", after("http://example.com/", "a=1", "http://EXAMPLE.com:8080/x"))
    assert.is_nil(after("http://example.com/", "a=1", "http://www.example.com/"))
    assert.is_nil(after("http://www.example.com/", "a=1", "http://example.com/"))
    assert.equal("a=1", after("http://example.com/", "a=1; Domain=", "http://example.com/"))
    assert.is_nil(after("http://example.com/", "a=1; Domain=example.com; Domain=", "http://www.example.com/"))
  end)

  it("covers what is below it when it is named", function()
    for _, domain in ipairs { "example.com", ".example.com", "EXAMPLE.com" } do
      local value = "a=1; Domain=" .. domain
      assert.equal("a=1", after("http://www.example.com/", value, "http://example.com/"))
      assert.equal("a=1", after("http://example.com/", value, "http://a.b.example.com/"))
      assert.is_nil(after("http://example.com/", value, "http://badexample.com/"))
      assert.is_nil(after("http://example.com/", value, "http://example.com.evil.org/"))
    end
  end)

  it("is one that the host is in", function()
    for _, domain in ipairs { "other.com", "www.example.com", "xample.com", "com", ".com", "example.com.", "..example.com", "exa mple.com", "example.com/x", "1.2.3.4", "*", "\u{fc}" } do
      assert.is_nil(after("http://example.com/", "a=1; Domain=" .. domain), domain)
    end
  end)

  it("is no public suffix", function()
    if not pcall(require, "http.psl") then return end
    for _, case in ipairs { { "http://shop.co.uk/", "co.uk" }, { "http://me.github.io/", "github.io" }, { "http://a.b.kawasaki.jp/", "b.kawasaki.jp" }, { "http://x.local/", "local" } } do
      assert.is_nil(after(case[1], "a=1; Domain=" .. case[2]), case[2])
    end
    assert.equal("a=1", after("http://www.shop.co.uk/", "a=1; Domain=shop.co.uk", "http://shop.co.uk/"))
    -- but a suffix may have cookies itself, for itself
    assert.equal("a=1", after("http://github.io/", "a=1; Domain=github.io"))
    assert.is_nil(after("http://github.io/", "a=1; Domain=github.io", "http://me.github.io/"))
    assert.equal("a=1", after("http://localhost/", "a=1; Domain=localhost"))
  end)

  it("may be written in any script", function()
    if not pcall(require, "url.idna") then return end
    assert.equal("a=1", after("http://www.b\u{fc}cher.example/", "a=1; Domain=B\u{fc}cher.example", "http://xn--bcher-kva.example/"))
    assert.equal("a=1", after("http://www.xn--bcher-kva.example/", "a=1; Domain=xn--bcher-kva.example", "http://b\u{fc}cher.example/"))
  end)

  it("may end with the root's point in a URL", function()
    assert.equal("a=1", after("http://example.com./", "a=1; Domain=example.com", "http://example.com/"))
  end)

  it("is no address, unless that is said to be safe", function()
    for _, host in ipairs { "127.0.0.1", "[::1]", "10.1", "1" } do
      local page = "http://" .. host .. "/"
      assert.is_nil(after(page, "a=1"))
      assert.equal("a=1", after(page, "a=1", nil, { unsafe = true }))
    end
    assert.equal("a=1", after("http://127.0.0.1/", "a=1; Domain=127.0.0.1", nil, { unsafe = true }))
    assert.is_nil(after("http://127.0.0.1/", "a=1; Domain=0.0.1", nil, { unsafe = true }))
    assert.is_nil(after("http://127.0.0.1/", "a=1; Domain=.1", "http://9.9.9.1/", { unsafe = true }))
  end)
end)

describe("a cookie's path", function()
  it("is the folder of the page when none is named", function()
    for _, case in ipairs { { "/a/b", "/a/b", true }, { "/a/b", "/a", true }, { "/a/b", "/a/c/d", true }, { "/a/b", "/ab", false }, { "/a/b", "/", false }, { "/a", "/x", true }, { "/", "/x", true },
      { "/a/", "/a/x", true }, { "/a/", "/a", true }, { "/a/", "/b", false } } do
      assert.equal(case[3] and "n=1" or nil, after("http://h.org" .. case[1], "n=1", "http://h.org" .. case[2]), case[1] .. " " .. case[2])
    end
  end)

  it("holds for itself and what is below it", function()
    for _, case in ipairs { { "/a", "/a", true }, { "/a", "/a/b", true }, { "/a", "/ab", false }, { "/a/", "/a/b", true }, { "/a/", "/a", false }, { "/", "/x/y", true }, { "x", "/page", true }, { "", "/page", true },
      { "/A", "/a", false } } do
      assert.equal(case[3] and "n=1" or nil, after("http://h.org/page", "n=1; Path=" .. case[1], "http://h.org" .. case[2]), case[1] .. " " .. case[2])
    end
  end)

  it("puts the longer ones first, then the older ones", function()
    local jar = set(new(), "http://h.org/a/b/c", "r=1; Path=/", "x=1; Path=/a", "y=1; Path=/a/b", "z=1; Path=/a/b", "r=2; Path=/a")
    assert.equal("y=1; z=1; x=1; r=2; r=1", header(jar, "http://h.org/a/b"))
    set(jar, "http://h.org/", "y=9; Path=/a/b") -- the successor keeps its place
    assert.equal("y=9; z=1; x=1; r=2; r=1", header(jar, "http://h.org/a/b"))
    assert.same({ r = "2", x = "1", y = "9", z = "1" }, jar:filter_cookies("http://h.org/a/b"))
  end)
end)

describe("a cookie's life", function()
  it("ends when it says", function()
    local jar = set(new(), "http://h.org/", "a=1; Max-Age=10", "b=1; Expires=Sun, 09 Sep 2001 01:46:45 GMT", "c=1", "d=1; Max-Age=20; Expires=Thu, 01 Jan 1970 00:00:00 GMT", "e=1; Expires=nonsense")
    assert.equal("a=1; b=1; c=1; d=1; e=1", header(jar, "http://h.org/"))
    jar.now = jar.now + 5
    assert.equal("a=1; c=1; d=1; e=1", header(jar, "http://h.org/"))
    jar.now = jar.now + 5
    assert.equal("c=1; d=1; e=1", header(jar, "http://h.org/"))
    jar.now = jar.now + 1e12
    assert.equal("c=1; e=1", header(jar, "http://h.org/"))
    assert.equal(2, #jar)
  end)

  it("ends at once for what is over", function()
    for _, value in ipairs { "a=2; Max-Age=0", "a=2; Max-Age=-5", "a=; Expires=Thu, 01 Jan 1970 00:00:00 GMT" } do
      local jar = set(new(), "http://h.org/", "a=1", value)
      assert.is_nil(header(jar, "http://h.org/"))
      assert.equal(0, #jar)
    end
    assert.equal("a=1", header(set(new(), "http://h.org/", "a=1", "a=2; Path=/x; Max-Age=0"), "http://h.org/"))
    assert.equal("a=1", after("http://h.org/", "a=1; Max-Age=99999999999999999999999"))
  end)
end)

describe("a secure cookie", function()
  it("comes from and goes to secure pages alone", function()
    assert.is_nil(after("http://h.org/", "a=1; Secure"))
    assert.equal("a=1", after("https://h.org/", "a=1; Secure"))
    assert.equal("a=1", after("https://h.org/", "a=1; Secure", "wss://h.org/"))
    assert.is_nil(after("https://h.org/", "a=1; Secure", "http://h.org/"))
    assert.equal("a=1", after("https://h.org/", "a=1", "http://h.org/"))
  end)

  it("is not hidden or deleted by an insecure page", function()
    local jar = set(new(), "https://h.org/", "a=1; Secure; Domain=h.org")
    for _, value in ipairs { "a=2", "a=2; Domain=h.org", "a=; Max-Age=0; Domain=h.org" } do set(jar, "http://h.org/", value) end
    set(jar, "http://www.h.org/", "a=2", "a=2; Domain=h.org")
    assert.equal("a=1", header(jar, "https://h.org/"))
    assert.is_nil(header(jar, "http://h.org/"))
    jar = set(new(), "https://h.org/x/", "a=1; Secure; Path=/x")
    set(jar, "http://h.org/", "a=2") -- another path: nothing is hidden
    assert.equal("a=2", header(jar, "http://h.org/x"))
    set(jar, "https://h.org/", "a=; Max-Age=0; Path=/x")
    set(jar, "http://h.org/x/", "a=3; Path=/x")
    assert.equal("a=3; a=2", header(jar, "http://h.org/x"))
  end)

  it("goes to origins that are said to be as good", function()
    for _, origin in ipairs { "http://h.org:8080", url.URL("http://h.org:8080/x"), { "http://x", "http://h.org:8080" } } do
      local jar = new { treat_as_secure_origin = origin }
      set(jar, "http://h.org:8080/", "a=1; Secure")
      assert.equal("a=1", header(jar, "http://h.org:8080/"))
      assert.is_nil(header(jar, "http://h.org/"))
    end
  end)
end)

describe("prefixes of names", function()
  it("keep what they promise", function()
    local page = "https://www.h.org/x/y"
    for _, case in ipairs {
      { "__Secure-a=1; Secure", true }, { "__Secure-a=1", false }, { "__SECURE-a=1", false }, { "__Host-a=1; Secure; Path=/", true }, { "__Host-a=1; Secure", false }, { "__Host-a=1; Path=/", false },
      { "__Host-a=1; Secure; Path=/; Domain=h.org", false }, { "__Host-a=1; Secure; Path=/; Domain=www.h.org", false }, { "__host-a=1; Path=/", false }, { "__Host-a=1; Secure; Path=/x", false }, { "__Hosta=1", true },
    } do
      assert.equal(case[2], after(page, case[1]) ~= nil, case[1])
    end
    assert.is_nil(after("https://h.org/", "__Host-a=1; Secure", "https://h.org/"))
    assert.is_nil(after("http://h.org/", "__Secure-a=1; Secure"))
  end)
end)

describe("a cookie's value", function()
  it("goes back as it came", function()
    for _, text in ipairs { "a=b=c", 'a="x y"', 'a="x\\073y"', "a=", "a=\u{fc}", "a=x,y", "a=b c", "a={x}", 'a="b', "a[1]=2", "a=\xFF" } do assert.equal(text, after("http://h.org/", text)) end
  end)

  it("ends with a semicolon, quoted or not (RFC 6265bis, 5.6)", function()
    assert.equal('a="b', after("http://h.org/", 'a="b;c"; Path=/'))
  end)

  it("is passed over if it is none", function()
    for _, text in ipairs { "", "a", ";", "=x", "a\0=1", "a=\r\nb", "a=1\0", ("a"):rep(5000) .. "=1" } do assert.is_nil(after("http://h.org/", text)) end
  end)
end)

describe("a jar", function()
  it("keeps not more than it should, and drops the oldest", function()
    local jar = new()
    for i = 1, 300 do set(jar, "http://h.org/", ("n%d=1"):format(i)) end
    assert.equal(180, #jar)
    assert.truthy(header(jar, "http://h.org/"):find("^n121=1; .*n300=1$"))
    set(jar, "https://s.org/", "old=1; Secure")
    for i = 1, 300 do set(jar, "https://s.org/", ("n%d=1"):format(i)) end
    assert.truthy(header(jar, "https://s.org/"):find("^old=1; n122=1"))
    jar = new()
    for i = 1, 10050 do set(jar, ("http://h%d.org/"):format(i), i == 5 and "gone=1; Max-Age=1" or "a=1") end
    assert.truthy(#jar <= 10000 and #jar > 8000, #jar)
    assert.equal("a=1", header(jar, "http://h10050.org/"))
    assert.is_nil(header(jar, "http://h1.org/"))
  end)

  it("drops what has expired before anything else", function()
    local jar = set(new(), "http://h.org/", "old=1")
    for i = 1, 179 do set(jar, "http://h.org/", ("n%d=1; Max-Age=5"):format(i)) end
    jar.now = jar.now + 10
    set(jar, "http://h.org/", "fresh=1")
    assert.equal("old=1; fresh=1", header(jar, "http://h.org/"))
  end)

  it("gives copies in order", function()
    local jar = set(new(), "https://h.org/x", "b=1; Domain=h.org; Path=/p; Max-Age=5; Secure; HttpOnly; SameSite=lax; Partitioned", 'a="2 3"')
    local list = {}
    for name, cookie in pairs(jar) do
      list[#list + 1] = { name, cookie }
      cookie.value = "changed"
    end
    assert.same({
      { "b", { name = "b", value = "changed", coded_value = "1", domain = "h.org", path = "/p", expires = 1e9 + 5, secure = true, httponly = true, samesite = "Lax", partitioned = true, host_only = false } },
      { "a", { name = "a", value = "changed", coded_value = '"2 3"', domain = "h.org", path = "/", host_only = true } },
    }, list)
    assert.equal("2 3", jar:filter_cookies("https://h.org/").a)
    assert.equal("CookieJar(2 cookies)", tostring(jar))
  end)

  it("is cleared in whole, by a function, and by domain", function()
    local function filled()
      local jar = set(new(), "http://www.h.org/", "a=1", "b=1; Domain=h.org")
      return set(jar, "http://other.org/", "c=1")
    end
    local jar = filled()
    jar:clear()
    assert.same({ 0, nil }, { #jar, header(jar, "http://www.h.org/") })
    jar = filled()
    jar:clear(function(cookie) return cookie.name == "a" end)
    assert.equal("b=1", header(jar, "http://www.h.org/"))
    jar = filled()
    jar:clear_domain("www.h.org")
    assert.equal("b=1", header(jar, "http://www.h.org/"))
    jar:clear_domain(".H.org")
    assert.same({ nil, "c=1" }, { header(jar, "http://www.h.org/"), header(jar, "http://other.org/") })
    helper.raises(asyncio.TypeError, jar.clear, jar, "h.org")
    helper.raises(asyncio.TypeError, jar.clear_domain, jar)
  end)

  it("gives each URL its own header, also when it has given it before", function()
    local jar, u = new(), url.URL("http://h.org/")
    assert.is_nil(jar:cookie_header(u))
    set(jar, "http://h.org/", "a=1; Max-Age=5")
    for _ = 1, 2 do assert.equal("a=1", jar:cookie_header(u)) end
    set(jar, "http://h.org/", "b=1")
    for _ = 1, 2 do assert.equal("a=1; b=1", jar:cookie_header(u)) end
    jar.now = jar.now + 5
    for _ = 1, 2 do assert.equal("b=1", jar:cookie_header(u)) end
    jar:clear()
    assert.is_nil(jar:cookie_header(u))
    set(jar, "http://h.org/", "c=1")
    assert.equal("c=1", jar:cookie_header(u))
    jar:clear(function() return true end)
    set(jar, "http://other.org/", "d=1")
    assert.is_nil(jar:cookie_header(u))
  end)
end)

describe("cookies that a user gives", function()
  it("go everywhere without a URL", function()
    local jar = new()
    jar:update_cookies { a = "1", b = "x;y", c = 2 }
    for _, where in ipairs { "http://h.org/", "https://other.example/x", "http://127.0.0.1/" } do assert.equal('a=1; b="x\\073y"; c=2', header(jar, where)) end
    jar:update_cookies({ { "d", "4" } }, "http://h.org/x/y")
    jar:update_cookies(require("http.multidict").MultiDict { a = "9" })
    assert.equal('d=4; a=9; b="x\\073y"; c=2', header(jar, "http://h.org/x/"))
    assert.equal('a=9; b="x\\073y"; c=2', header(jar, "http://www.h.org/x/"))
  end)

  it("may be tables with attributes", function()
    local jar = new()
    jar:update_cookies { a = { value = "1", domain = ".h.org", path = "/p", max_age = 5, secure = true } }
    assert.same({ "a=1", nil, nil }, { header(jar, "https://www.h.org/p/q"), header(jar, "http://www.h.org/p"), header(jar, "https://h.org/") })
    jar:update_cookies { { name = "b", value = "2", expires = "Sun, 09 Sep 2001 01:46:50 GMT" } }
    jar.now = jar.now + 9
    assert.equal("b=2", header(jar, "https://www.h.org/p"))
    jar.now = jar.now + 1
    assert.is_nil(header(jar, "https://www.h.org/p"))
    -- as a response's
    local set_cookie = require("http.cookies").parse_set_cookie("a[b]=\"x\"; Path=/")
    jar:update_cookies({ set_cookie }, "http://h.org/")
    assert.equal('a[b]="x"', header(jar, "http://h.org/"))
  end)

  it("are refused if they would be something else", function()
    local jar = new()
    for _, bad in ipairs { { ["a b"] = "1" }, { [""] = "1" }, { a = "x\r\ny" }, { ["a;b"] = "1" }, { a = { value = "1", path = "/;x" } }, { a = { value = "1", domain = "x\r\n" } }, { a = { value = "\1", coded_value = "\1" } } } do
      helper.raises(asyncio.ValueError, jar.update_cookies, jar, bad)
    end
    for _, bad in ipairs { { a = true }, { a = {} }, { "a=1" }, { { "a" } }, { [1] = { 1, 2 } }, { a = { value = "1", max_age = "5" } }, { a = { value = "1", path = 5 } } } do
      helper.raises(asyncio.TypeError, jar.update_cookies, jar, bad)
    end
    helper.raises(asyncio.TypeError, jar.update_cookies, jar, "a=1")
    helper.raises(asyncio.TypeError, jar.update_cookies, jar, { a = "1" }, 5)
    helper.raises(asyncio.TypeError, jar.filter_cookies, jar, 1)
    assert.equal(0, #jar)
  end)

  it("for every host are those of no URL", function()
    local jar = set(new(), "http://h.org/", "a=1")
    jar:update_cookies { b = "2", c = { value = "3", max_age = 0 } }
    assert.same({ b = "2" }, jar:filter_cookies())
    assert.same({ b = "2" }, jar:filter_cookies "/")
  end)

  it("of one request count before the jar's", function()
    local jar = set(new(), "http://h.org/a/b", "a=1", "b=1", "a=2; Path=/")
    assert.equal("b=1; a=mine; c=x", header(jar, "http://h.org/a/", { a = "mine", c = "x" }))
    assert.equal("a=1; b=1; a=2", header(jar, "http://h.org/a/"))
    assert.equal("z=1", header(new(), "http://h.org/", { z = "1" }))
    assert.is_nil(header(new(), "http://h.org/", {}))
    local e = helper.raises(asyncio.ValueError, function() header(jar, "http://h.org/", { a = "x\ny" }) end)
    assert.truthy(e.message:find("^%S*cookiejar_spec.lua:%d+: cookies: the value of 'a' has control characters"), e.message)
  end)

  it("are quoted, or not", function()
    local jar = new { quote_cookie = false }
    jar:update_cookies { a = "x y,z", b = '"' }
    assert.equal('a=x y,z; b="', header(jar, "http://h.org/"))
    helper.raises(asyncio.ValueError, jar.update_cookies, jar, { a = "1; b=2" })
    helper.raises(asyncio.ValueError, header, jar, "http://h.org/", { a = "1; b=2" })
    jar = new()
    jar:update_cookies { a = "1; b=2" }
    assert.equal('a="1\\073 b=2"', header(jar, "http://h.org/"))
    assert.equal("1; b=2", require("http.cookies").parse(header(jar, "http://h.org/")).a)
  end)
end)

describe("a file of cookies", function()
  local function filled()
    local jar = set(new(), "https://h.org/x/", "a=\xFF\1\u{fc}", 'b="1 2"; Domain=h.org; Max-Age=10; HttpOnly; Secure; SameSite=None', "\xFE=2", "tab\t=a\tb")
    set(jar, "http://t.org/x;y=1/z", "semicolon=1")
    jar:update_cookies { everywhere = "y" }
    return jar
  end

  it("is read as it was written", function()
    local path = helper.tmpfile()
    local jar = filled()
    await(jar:save(path))
    assert.equal(tonumber("600", 8), await(fs.stat(path)).mode & tonumber("777", 8))
    local other = set(new(), "http://gone.org/", "gone=1")
    await(other:load(path))
    assert.equal(header(jar, "https://h.org/x/"), header(other, "https://h.org/x/"))
    local function all(of)
      local list = {}
      for _, cookie in pairs(of) do list[#list + 1] = cookie end
      return list
    end
    assert.same(all(jar), all(other))
    assert.is_nil(header(other, "http://gone.org/"):find("gone"))
    jar.now = jar.now + 20
    await(jar:save(path))
    await(other:load(path))
    assert.equal(#jar, #other)
  end)

  it("changes nothing if it is none", function()
    local path, jar = helper.tmpfile(), filled()
    local before = header(jar, "https://h.org/x/")
    local head = '{"format":"moonloop cookies","version":1,"cookies":['
    local cookie = '{"name":"a","value":"1","coded_value":"1","domain":"h","path":"/"'
    for _, text in ipairs {
      "", "not JSON", "[]", "{}", "null", '{"format":"moonloop cookies","version":2,"cookies":[]}', head .. "5]}", head .. "{}]}", head .. cookie .. ',"secure":"yes"}]}', head .. cookie .. ',"expires":"x"}]}',
      head .. cookie:gsub('"coded_value":"1"', '"coded_value":"1\\r\\nX: y"') .. "}]}", head .. cookie:gsub('"coded_value":"1"', '"coded_value":"1; b=2"') .. "}]}", head .. cookie:gsub('"a"', '""') .. "}]}",
      head .. cookie:gsub('"a"', '{"hex":"0"}') .. "}]}", head .. cookie:gsub('"a"', '"a=b"') .. "}]}", head .. cookie:gsub('"/"', '"x"') .. "}]}", head .. cookie .. "}," .. "null]}",
    } do
      local f <close> = assert(io.open(path, "w"))
      f:write(text)
      f:close()
      local e = helper.raises(asyncio.ValueError, await, jar:load(path))
      assert.truthy(e.message:find(path, 1, true))
      assert.equal(before, header(jar, "https://h.org/x/"))
    end
    assert.equal("ENOENT", helper.raises(asyncio.OSError, await, jar:load(path .. ".none")).code)
    assert.equal("ENOENT", helper.raises(asyncio.OSError, await, jar:save("/no/such/folder/x")).code)
    helper.raises(asyncio.TypeError, jar.load, jar)
    helper.raises(asyncio.TypeError, jar.save, jar, 5)
  end)
end)

describe("other jars", function()
  it("keep nothing", function()
    local jar = cookiejar.DummyCookieJar()
    set(jar, "http://h.org/", "a=1")
    jar:update_cookies { a = "1" }
    assert.same({ 0, nil, "b=2", {} }, { #jar, header(jar, "http://h.org/"), header(jar, "http://h.org/", { b = "2" }), jar:filter_cookies("http://h.org/") })
    for _ in pairs(jar) do error("a cookie") end
    jar:clear()
    jar:clear_domain("h.org")
  end)

  it("are written by scripts", function()
    local Mine = cookiejar.AbstractCookieJar:extend("Mine")
    function Mine:init(first) self.seen = { first } end
    function Mine:filter_cookies(u) return { host = u.host, ["semi"] = "a;b" } end -- luacheck: ignore self
    function Mine:update_cookies(list, u)
      for _, cookie in ipairs(list) do self.seen[#self.seen + 1] = u.host .. " " .. cookie.name .. " " .. cookie.value end
    end
    local jar = Mine("x")
    set(jar, "http://h.org/", "a=1; Path=/", "none")
    assert.same({ "x", "h.org a 1" }, jar.seen)
    assert.equal('host=h.org; semi="a\\073b"', header(jar, "http://h.org/"))
    assert.equal('semi="a\\073b"; host=mine', header(jar, "http://h.org/", { host = "mine" }))
    assert.is_true(cookiejar.is(jar))
    assert.is_false(cookiejar.is({}))
    local Empty = cookiejar.AbstractCookieJar:extend("Empty")
    helper.raises(asyncio.RuntimeError, header, Empty(), "http://h.org/")
    helper.raises(asyncio.TypeError, cookiejar.AbstractCookieJar.extend, cookiejar.AbstractCookieJar)
  end)

  it("refuse options that there are not", function()
    helper.raises(asyncio.TypeError, CookieJar, { save = true })
    helper.raises(asyncio.TypeError, CookieJar, { treat_as_secure_origin = 5 })
    helper.raises(asyncio.ValueError, CookieJar, { treat_as_secure_origin = "http://" })
  end)
end)
