local asyncio = require "asyncio"
local cookies = require "http.cookies"
local helper = require "spec.helper"

describe("cookies.parse", function()
  local cases = {
    { "", {} },
    { "a=1", { a = "1" } },
    { "a=1; b=2", { a = "1", b = "2" } },
    { "a=1;b=2 ;  c = 3", { a = "1", b = "2", c = "3" } },
    { "a=", { a = "" } },
    { "a=1; a=2", { a = "2" } },
    { "a=b=c==", { a = "b=c==" } },
    { "lone; a=1; ; ;;b=2;", { a = "1", b = "2" } },
    { "=x; a=1", { a = "1" } },
    { "b ad=x; a=1; b[ad]=2; c\"=3", { a = "1" } },
    { "path=/x; secure; expires=now", { path = "/x", expires = "now" } },
    { 'a="quoted"; b="with \\"escapes\\" and \\054 octal \\073"', { a = "quoted", b = 'with "escapes" and , octal ;' } },
    { 'a="; b=2; c="', { a = '"', b = "2", c = '"' } },
    { 'a=""; b="\\"; c="\\\\"', { a = "", b = "\\", c = "\\" } },
    { 'json={"a": 1, "b": [2]}', { json = '{"a": 1, "b": [2]}' } },
    { "utf8=\xC3\xA9; x=%20y", { utf8 = "\xC3\xA9", x = "%20y" } },
    { "__Host-id=1; $Version=1; a.b-c_d=2", { ["__Host-id"] = "1", ["$Version"] = "1", ["a.b-c_d"] = "2" } },
  }
  for _, case in ipairs(cases) do
    it("reads " .. case[1], function() assert.same(case[2], cookies.parse(case[1])) end)
  end

  it("takes no header for no cookies", function()
    assert.same({}, cookies.parse(nil))
    helper.raises(asyncio.TypeError, cookies.parse, 1)
  end)

  it("takes time in proportion to the header, whatever is in it", function()
    for _, piece in ipairs { " ", ";", "=", '"', "a=\"x;", "a ", "\\", '"\\' } do
      cookies.parse("a" .. piece:rep(100000 // #piece) .. "b")
      cookies.parse('a="' .. piece:rep(100000 // #piece) .. '"')
      cookies.parse_set_cookie("a=1" .. piece:rep(100000 // #piece) .. "b")
    end
  end)
end)

describe("cookies.serialize", function()
  it("writes what needs no quotes as it is", function()
    assert.equal("a=1", cookies.serialize("a", "1"))
    assert.equal("a=", cookies.serialize("a", ""))
    assert.equal("a=b64/+==", cookies.serialize("a", "b64/+=="))
    assert.equal("a=[x]{y}:<z>?", cookies.serialize("a", "[x]{y}:<z>?"))
  end)

  it("quotes the rest", function()
    assert.equal('a="x y"', cookies.serialize("a", "x y"))
    assert.equal('a="\\054\\073\\"\\\\"', cookies.serialize("a", ',;"\\'))
    assert.equal('a="\\303\\251"', cookies.serialize("a", "\xC3\xA9"))
  end)

  it("writes attributes", function()
    assert.equal("a=1; Domain=x.org; Expires=Thu, 01 Jan 1970 00:00:00 GMT; HttpOnly; Max-Age=0; Partitioned; "
      .. "Path=/p; SameSite=Strict; Secure; Version=1",
      cookies.serialize("a", "1", {
        domain = "x.org", expires = 0, httponly = true, max_age = 0, partitioned = true, path = "/p",
        samesite = "strict", secure = true, version = 1,
      }))
    assert.equal("a=1; Path=/", cookies.serialize("a", "1", { path = "/", secure = false, httponly = false }))
    assert.equal("a=1; Expires=Wed, 21 Oct 2015 07:28:00 GMT", cookies.serialize("a", "1", { expires = 1445412480.5 }))
    assert.equal("a=1; Expires=never; Max-Age=-1", cookies.serialize("a", "1", { expires = "never", max_age = -1.0 }))
  end)

  it("refuses what would be read as something else", function()
    for _, name in ipairs { "", "a b", "a=b", "a;b", "a\r\nb", "\xC3\xA9", '"a"', "a,b" } do
      helper.raises(asyncio.ValueError, cookies.serialize, name, "x")
    end
    for _, value in ipairs { "a\nb", "a\rb", "a\0b", "\t", "\127" } do
      helper.raises(asyncio.ValueError, cookies.serialize, "x", value)
    end
    helper.raises(asyncio.TypeError, cookies.serialize, 1, "x")
    helper.raises(asyncio.TypeError, cookies.serialize, "x", 1)
    local function with(key, value) return cookies.serialize, "x", "y", { [key] = value } end
    helper.raises(asyncio.ValueError, with("path", "/;secure"))
    helper.raises(asyncio.ValueError, with("domain", "x\r\n"))
    helper.raises(asyncio.TypeError, with("domain", 1))
    helper.raises(asyncio.ValueError, with("samesite", "lux"))
    helper.raises(asyncio.ValueError, with("samesite", true))
    helper.raises(asyncio.TypeError, with("max_age", 1.5))
    helper.raises(asyncio.TypeError, with("max_age", "1"))
    helper.raises(asyncio.ValueError, with("expires", 0 / 0))
    helper.raises(asyncio.ValueError, with("expires", 1e300))
    helper.raises(asyncio.TypeError, with("expires", true))
    local e = helper.raises(asyncio.TypeError, function() return (cookies.serialize("x", "y", { http_only = true })) end)
    assert.truthy(e.message:find("http_only", 1, true))
    assert.truthy(e.message:find("cookies_spec.lua:", 1, true))
    e = helper.raises(asyncio.ValueError, function() return (cookies.serialize("x y", "y")) end)
    assert.truthy(e.message:find("cookies_spec.lua:", 1, true))
  end)

  it("is undone by parse", function()
    for _, value in ipairs { "", "a", "a b", '"', '""', '"x"', "\\", "\\101", ";,;", "\xFF\x80", "a=b; c=d" } do
      assert.same({ x = value }, cookies.parse((cookies.serialize("x", value))))
      assert.equal(value, cookies.parse_set_cookie(cookies.serialize("x", value, { path = "/" })).value)
    end
  end)
end)

describe("cookies.parse_set_cookie", function()
  it("reads attributes", function()
    assert.same({
      name = "id", value = "a3fWa", coded_value = "a3fWa", expires = 1445412480, max_age = 60, domain = "example.org", path = "/x",
      secure = true, httponly = true, samesite = "Lax", partitioned = true,
    }, cookies.parse_set_cookie("id=a3fWa; Expires=Wed, 21 Oct 2015 07:28:00 GMT; MAX-AGE=60;domain=.Example.org ; "
      .. "Path=/x; Secure; HttpOnly; SameSite=lax; Partitioned; Unknown=1; ; x"))
  end)

  local cases = {
    { "a=1", { name = "a", value = "1", coded_value = "1" } },
    { " a = 1 ; ", { name = "a", value = "1", coded_value = "1" } },
    { 'a="x\\054y"', { name = "a", value = "x,y", coded_value = '"x\\054y"' } },
    { "a=b=c; path=relative", { name = "a", value = "b=c", coded_value = "b=c" } },
    { "a=1; path=/x; path=", { name = "a", value = "1", coded_value = "1" } },
    { "a=1; domain=", { name = "a", value = "1", coded_value = "1" } },
    { "a=1; max-age=x; expires=x; samesite=x", { name = "a", value = "1", coded_value = "1" } },
    { "a=1; max-age=99999999999999999999", { name = "a", value = "1", coded_value = "1", max_age = math.maxinteger } },
    { "a=1; max-age=-99999999999999999999", { name = "a", value = "1", coded_value = "1", max_age = 0 } },
    { "a", nil }, { "", nil }, { "=1", nil }, { "; a=1", nil }, { "a=\0", nil }, { "a=1\r\nb: c", nil },
    { "a=" .. ("x"):rep(4096), nil },
  }
  for _, case in ipairs(cases) do
    it("reads " .. ("%q"):format(case[1]:sub(1, 60)), function()
      assert.same(case[2], cookies.parse_set_cookie(case[1]))
    end)
  end
end)

describe("cookies.parse_date", function()
  local t = 784111777
  local cases = {
    { "Sun, 06 Nov 1994 08:49:37 GMT", t }, { "Sunday, 06-Nov-94 08:49:37 GMT", t }, { "Sun Nov  6 08:49:37 1994", t },
    { "6 nov 94 8:49:37", t }, { "nov 6 94 8:49:37 junk", t }, { "Nov-6-1994;08:49:37", t },
    { "Thu, 29 Feb 2024 00:00:00 GMT", 1709164800 }, { "01 Jan 1970 00:00:00", 0 }, { "31 Dec 1969 23:59:59", -1 },
    { "1 Jan 00 00:00:00", 946684800 }, { "1 Jan 9999 00:00:00", 253370764800 },
    { "29 Feb 2023 00:00:00", nil }, { "31 Apr 2024 00:00:00", nil }, { "1 Jan 1600 00:00:00", nil },
    { "1 Jan 2024 24:00:00", nil }, { "1 Jan 2024 00:60:00", nil }, { "1 Jan 2024", nil }, { "00:00:00 2024", nil },
    { "94 nov 6 8:49:37", nil }, { "", nil }, { "tomorrow", nil }, { "0 Jan 2024 00:00:00", nil },
  }
  for _, case in ipairs(cases) do
    it("reads " .. case[1], function() assert.equal(case[2], cookies.parse_date(case[1])) end)
  end
end)
