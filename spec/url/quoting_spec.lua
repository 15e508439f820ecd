local asyncio = require "asyncio"
local helper = require "spec.helper"
local multidict = require "http.multidict"
local url = require "url"

describe("url.quote", function()
  it("escapes what is not plain", function()
    assert.equal("a/b%20c%3F%26%3D%25%2B", url.quote("a/b c?&=%+"))
    assert.equal("a%2Fb", url.quote("a/b", ""))
    assert.equal("%C3%A9%00%FF", url.quote("\xC3\xA9\0\xFF"))
    assert.equal("AZaz09_.-~", url.quote("AZaz09_.-~", ""))
    assert.equal("^]%-[a%2Fb", url.quote("^]%-[a/b", "^]%-["))
    assert.equal("", url.quote(""))
  end)

  it("has a form for query strings", function()
    assert.equal("a+b%2Bc%2F", url.quote_plus("a b+c/"))
    assert.equal("a+b%2Bc/", url.quote_plus("a b+c/", "/"))
  end)

  it("refuses what is no string", function()
    helper.raises(asyncio.TypeError, url.quote, 1)
    helper.raises(asyncio.TypeError, url.quote, "a", 1)
    helper.raises(asyncio.TypeError, url.quote_plus, nil)
    helper.raises(asyncio.TypeError, url.unquote, {})
    helper.raises(asyncio.TypeError, url.parse_qsl, nil)
    local e = helper.raises(asyncio.TypeError, function() return (url.quote(nil)) end)
    assert.truthy(e.message:find("quoting_spec.lua:", 1, true))
  end)
end)

describe("url.unquote", function()
  it("undoes escapes, in either case", function()
    assert.equal("a b\xC3\xA9/", url.unquote("a%20b%c3%A9%2f"))
    assert.equal("a+b", url.unquote("a+b"))
    assert.equal("a b+", url.unquote_plus("a+b%2B"))
  end)

  it("leaves alone what is none", function()
    assert.equal("%", url.unquote("%"))
    assert.equal("%4", url.unquote("%4"))
    assert.equal("%zz%A", url.unquote("%zz%25%41"))
    assert.equal("%25", url.unquote("%2525"))
  end)

  it("is the other way of quote for all bytes", function()
    local all = {}
    for i = 0, 255 do all[i + 1] = string.char(i) end
    all = table.concat(all)
    assert.equal(all, url.unquote(url.quote(all)))
    assert.equal(all, url.unquote_plus(url.quote_plus(all)))
  end)
end)

describe("url.parse_qsl", function()
  local cases = {
    { "", {} }, { "&", {} }, { "&&", {} }, { "=", { "", "" } }, { "=a", { "", "a" } }, { "a", { "a", "" } }, { "a=", { "a", "" } },
    { "&a=b", { "a", "b" } }, { "a=a+b&b=b+c", { "a", "a b", "b", "b c" } }, { "a=1&a=2", { "a", "1", "a", "2" } },
    { "a=1;b=2", { "a", "1;b=2" } }, { "a=b=c&d", { "a", "b=c", "d", "" } }, { "%61=%26%3D", { "a", "&=" } },
    { "a&b=c", { "a", "", "b", "c" } }, { "a=\xFF%FF", { "a", "\xFF\xFF" } },
  }
  for _, case in ipairs(cases) do
    it("reads '" .. case[1] .. "'", function() assert.same(case[2], url.parse_qsl(case[1])) end)
  end

  it("counts", function()
    assert.equal(4, #url.parse_qsl("a&b", 2))
    helper.raises(asyncio.ValueError, url.parse_qsl, "a&b&c", 2)
  end)

  it("gives a MultiDict as parse_qs", function()
    assert.equal(multidict.MultiDict { { "a", "1" }, { "b", "" }, { "a", "2" } }, url.parse_qs("a=1&b&a=2"))
  end)
end)

describe("url.urlencode", function()
  it("writes fields in order", function()
    assert.equal("a=1&b=x+y&b=%26&c=true&d=1.5", url.urlencode { c = true, a = 1, d = 1.5, b = { "x y", "&" } })
    assert.equal("b=1&a=2&b=3", url.urlencode { { "b", "1" }, { "a", 2 }, { "b", "3" } })
    assert.equal("x=%C3%A9&x=", url.urlencode(url.parse_qs("x=%c3%a9&x")))
    assert.equal("", url.urlencode {})
    assert.equal("a=/", url.urlencode({ a = "/" }, "/"))
  end)

  it("refuses what has no text", function()
    helper.raises(asyncio.TypeError, url.urlencode, { a = print })
    helper.raises(asyncio.TypeError, url.urlencode, { [1.5] = "a" })
    helper.raises(asyncio.TypeError, url.urlencode, "a=b")
    for _, n in ipairs { math.huge, -math.huge, 0 / 0 } do helper.raises(asyncio.ValueError, url.urlencode, { a = n }) end
  end)
end)
