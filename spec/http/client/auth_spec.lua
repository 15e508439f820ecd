local asyncio = require "asyncio"
local auth = require "http.client.auth"
local helper = require "spec.helper"
local url = require "url"

local BasicAuth = auth.BasicAuth

describe("BasicAuth", function()
  it("is what the header says", function()
    local a = BasicAuth("Aladdin", "open sesame") -- RFC 7617, 2
    assert.equal("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==", a:encode())
    assert.equal(a:encode(), a:authorize())
    assert.equal("Basic dGVzdDoxMjPCow==", BasicAuth("test", "123\u{a3}"):encode()) -- 2.1
    assert.equal("Basic dGVzdDoxMjOj", BasicAuth("test", "123\u{a3}", "latin1"):encode())
    assert.equal("Basic OmE6Yg==", BasicAuth("", "a:b"):encode())
    assert.equal("Basic dTo=", BasicAuth("u"):encode())
    assert.is_true(auth.is(a))
  end)

  it("is read from a header", function()
    for _, encoding in ipairs { "utf-8", "latin1" } do
      local a = BasicAuth("J\u{e4}s\u{f8}n", "a:b\u{a3}", encoding)
      assert.equal(a, BasicAuth.decode(a:encode(), encoding))
    end
    assert.equal("u", BasicAuth.decode("  basic \t dTpw ").login)
    assert.not_equal(BasicAuth("a", "b"), BasicAuth("a", "c"))
  end)

  it("says what is wrong with a header", function()
    local cases = {
      { "Basic", "parse" }, { "", "parse" }, { "Digest dTpw", "unknown authorization method Digest" }, { "Basic dTpw$", "base64" }, { "Basic dXA=", "invalid credentials" },
      { "Basic dTpw extra", "parse" },
    }
    for _, case in ipairs(cases) do
      local e = helper.raises(asyncio.ValueError, BasicAuth.decode, case[1])
      assert.truthy(e.message:find(case[2], 1, true), e.message)
    end
    helper.raises(asyncio.TypeError, BasicAuth.decode, nil)
  end)

  it("is made of a URL", function()
    local a = BasicAuth.from_url(url.URL("http://us%20er:p%3Aw@x/"))
    assert.same({ "us er", "p:w" }, { a.login, a.password })
    assert.same({ "", "p" }, { BasicAuth.from_url(url.URL("http://:p@x/")).login, BasicAuth.from_url(url.URL("http://:p@x/")).password })
    assert.is_nil(BasicAuth.from_url(url.URL("http://x/")))
    helper.raises(asyncio.TypeError, BasicAuth.from_url, "http://u:p@x/")
  end)

  it("refuses what cannot be sent", function()
    helper.raises(asyncio.TypeError, BasicAuth)
    helper.raises(asyncio.TypeError, BasicAuth, "u", 1)
    helper.raises(asyncio.ValueError, BasicAuth, "a:b", "c")
    helper.raises(asyncio.ValueError, BasicAuth, "u", "\u{20ac}", "latin1")
    helper.raises(asyncio.ValueError, BasicAuth, "u", "p", "koi9")
  end)

  it("never shows its password", function()
    assert.is_nil(tostring(BasicAuth("user", "secret")):find("secret", 1, true))
  end)
end)

describe("challenges", function()
  it("are read, many in one header too", function()
    assert.same({
      { scheme = "digest", params = { realm = "a, b", nonce = "n\"q", qop = "auth,auth-int" } },
      { scheme = "negotiate", params = {} },
      { scheme = "basic", params = { realm = "x" } },
    }, auth.challenges([[Digest realm="a, b", NONCE="n\"q" ,qop="auth,auth-int", realm="second", Negotiate dG9rZW4=, Basic realm=x]]))
    assert.same({ { scheme = "", params = { nextnonce = "abc", nc = "00000001" } } }, auth.challenges('nextnonce="abc", nc=00000001'))
    assert.same({ { scheme = "ntlm", params = {} } }, auth.challenges("NTLM"))
  end)

  it("end where they cannot be read", function()
    assert.same({ { scheme = "digest", params = { a = "1" } } }, auth.challenges('Digest a=1, b="open'))
    for _, text in ipairs { "", ",,,", '"', "=", "\0", ("a,"):rep(10) .. '"' } do assert.equal("table", type(auth.challenges(text))) end
    assert.equal(1, #auth.challenges("Basic " .. ("x"):rep(100000)))
  end)
end)
