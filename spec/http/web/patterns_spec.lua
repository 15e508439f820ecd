local asyncio = require "asyncio"
local helper = require "spec.helper"
local patterns = require "http.web.patterns"

describe("the path of a route", function()
  it("is plain without parameters", function()
    assert.equal("/users/all", patterns.parse("/users/all").plain)
    assert.equal("", patterns.parse("").plain)
  end)

  it("has parameters between braces", function()
    local p = patterns.parse("/users/{name}/{id:%d+}.json")
    assert.same({ "name", "id" }, p.names)
    assert.same({ "jane", "12" }, { ("/users/jane/12.json"):match(p.pattern) })
    assert.is_nil(("/users/jane/12Xjson"):match(p.pattern))
    assert.is_nil(("/users//12.json"):match(p.pattern))
    assert.is_nil(("/users/a/b/12.json"):match(p.pattern))
  end)

  it("takes what is special in Lua's patterns as it stands", function()
    local p = patterns.parse("/a.b-c+(d)%20$/{x}")
    assert.equal("1", ("/a.b-c+(d) $/1"):match(p.pattern))
    assert.is_nil(("/aXb-c+(d) $/1"):match(p.pattern))
  end)

  it("matches slashes where a parameter's pattern does", function()
    assert.equal("a/b/c", ("/files/a/b/c"):match(patterns.parse("/files/{tail:.*}").pattern))
  end)

  it("may have braces within a parameter's pattern", function()
    local p = patterns.parse("/x/{y:[{}]+}")
    assert.equal("{}", ("/x/{}"):match(p.pattern))
  end)

  it("is decoded, but for %2F and %25", function()
    assert.equal("/a b/%2F%25", patterns.normalise("/a%20b/%2f%25"))
    assert.equal("/%zz%", patterns.normalise("/%zz%"))
    assert.equal("a/b%", patterns.decode("a%2Fb%25"))
    assert.equal("%2F", patterns.decode("%252F"))
    assert.equal("/straße", patterns.parse("/stra%C3%9Fe").plain)
  end)

  it("is refused when it cannot be understood, with why", function()
    for path, why in pairs {
      ["users"] = "must begin with /",
      ["/{"] = "a '{' is not closed",
      ["/{a"] = "a '{' is not closed",
      ["/}"] = "a '}' without '{'",
      ["/{}"] = "{} is no parameter",
      ["/{1a}"] = "{1a} is no parameter",
      ["/{a-b}"] = "{a-b} is no parameter",
      ["/{a:}"] = "{a:} is no parameter",
      ["/{a}/{a}"] = 'two parameters "a"',
      ["/{a:[x}"] = "lacks a ']'",
      ["/{a:%}"] = "ends with '%'",
      ["/{a:(x)}"] = "a capture of its own",
      ["/{a:%1}"] = "refers to a capture",
      ["/{a:%bx}"] = "lacks the two characters",
      ["/{a:%fx}"] = "lacks '['",
    } do
      local err = helper.raises(asyncio.ValueError, patterns.parse, path)
      assert(tostring(err):find(why, 1, true), path .. ": " .. tostring(err))
    end
    helper.raises(asyncio.TypeError, patterns.parse, 1)
  end)

  it("takes every pattern that Lua takes", function()
    for _, p in ipairs { "%a+", "[^/]*", "[]x]+", "[^]]", "%b[]", "%f[%w]%w+", "[%]]", "a-", "..?", "[a-z%-]+", "%%" } do
      assert.is_nil(patterns.fault(p), p)
      assert(pcall(string.find, "xx", p), p)
    end
  end)

  it("is encoded as it is sent", function()
    assert.equal("/a%20b/%C3%BC?", patterns.encode("/a b/ü", true) .. "?")
    assert.equal("a%2Fb", patterns.encode("a/b"))
  end)
end)
