local asyncio = require "asyncio"
local helper = require "spec.helper"
local payload = require "http.client.payload"
local url = require "url"

if not pcall(require, "asyncio.digest") then return end

local digest = require "asyncio.digest"
local DigestAuth = require("http.client.digest").DigestAuth
local challenges = require("http.client.auth").challenges

local page = url.URL("http://www.example.org/dir/index.html")

--- The parameters of the answer to a challenge, whose cnonce is the given one.
local function answer(auth, challenge, opts)
  opts = opts or {}
  local ws = require "http.ws"
  local key = ws.key
  if opts.cnonce then ws.key = function() return opts.cnonce end end
  local target = opts.url or page
  local ok, value = pcall(function()
    if challenge then assert.is_true(auth:challenged(target, type(challenge) == "table" and challenge or { challenge }, opts.sent)) end
    return auth:authorize(opts.method or "GET", target, opts.body, opts.p)
  end)
  ws.key = key
  if not ok then error(value, 0) end
  return value and challenges(value)[1].params, value
end

describe("DigestAuth", function()
  it("says nothing before a challenge", function()
    assert.is_nil(DigestAuth("u", "p"):authorize("GET", page))
  end)

  it("answers as the RFCs' examples do", function()
    local cases = {
      { "Mufasa", "Circle of Life", [[Digest realm="http-auth@example.org", qop="auth, auth-int", algorithm=MD5, nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"]],
        "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ", "8ca523f5e9506fed4657c9700eebdbec" },
      { "Mufasa", "Circle of Life", [[Digest realm="http-auth@example.org", qop="auth, auth-int", algorithm=SHA-256, nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"]],
        "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1" },
      { "Mufasa", "Circle Of Life", [[Digest realm="testrealm@host.com", qop="auth,auth-int", nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093", opaque="5ccc069c403ebaf9f0171e9517f40e41"]], "0a4f113b", "6629fae49393a05397450978507c4ef1" },
      { "Mufasa", "CircleOfLife", [[Digest realm="testrealm@host.com", nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093", opaque="5ccc069c403ebaf9f0171e9517f40e41"]], nil, "1949323746fe6a43ef61f9606e7febea" },
    }
    for _, case in ipairs(cases) do
      local params = answer(DigestAuth(case[1], case[2]), case[3], { cnonce = case[4] })
      assert.equal(case[5], params.response)
      assert.same({ "/dir/index.html", case[1] }, { params.uri, params.username })
    end
  end)

  it("hashes the user if the server wants that (RFC 7616, 3.9.2, with its erratum)", function()
    local params = answer(DigestAuth("J\u{e4}s\u{f8}n Doe", "Secret, or not?"),
      [[Digest realm="api@example.org", qop="auth", algorithm=SHA-512-256, nonce="5TsQWLVdgBdmrQ0XsxbDODV+57QdFR34I9HAbC/RVvkK", opaque="HRPCssKJSGjCrkzDg8OhwpzCiGPChXYjwrI2QmXDnsOS", charset=UTF-8, userhash=true]],
      { cnonce = "NTg6RKcb9boFIAS3KrFK9BGeh+niz/sm", url = url.URL("http://api.example.org/doe.json") })
    assert.same({ "793263caabb707a56211940d90411ea4a575adeccb7e360aeb624ed06ece9b0b", "true" }, { params.username, params.userhash })
    -- the digest is of the name itself: RFC 7616, 3.4.2
    local h = digest.sha512_256
    assert.equal(h(h("J\u{e4}s\u{f8}n Doe:api@example.org:Secret, or not?")
      .. ":5TsQWLVdgBdmrQ0XsxbDODV+57QdFR34I9HAbC/RVvkK:00000001:NTg6RKcb9boFIAS3KrFK9BGeh+niz/sm:auth:" .. h("GET:/doe.json")), params.response)
  end)

  it("writes a name that is not ASCII in the extended form if the server knows UTF-8", function()
    local name = "J\u{e4}s\u{f8}n"
    local params = answer(DigestAuth(name, "p"), 'Digest realm="r", nonce="n", qop="auth", charset=UTF-8')
    assert.same({ "UTF-8''J%C3%A4s%C3%B8n" }, { params["username*"], params.username })
    assert.equal(name, answer(DigestAuth(name, "p"), 'Digest realm="r", nonce="n", qop="auth"').username)
  end)

  it("escapes what is quoted, and hashes what it stands for", function()
    local params, text = answer(DigestAuth('a"b\\', "p"), [[Digest realm="r\"\\", nonce="n"]])
    assert.same({ 'a"b\\', 'r"\\' }, { params.username, params.realm })
    assert.truthy(text:find([[username="a\"b\\", realm="r\"\\"]], 1, true))
    assert.equal(digest.md5(digest.md5('a"b\\:r"\\:p') .. ":n:" .. digest.md5("GET:/dir/index.html")), params.response)
  end)

  it("counts its answers to one nonce, each with a cnonce of its own", function()
    local auth = DigestAuth("u", "p")
    local seen = {}
    for i = 1, 20 do
      local params = answer(auth, i == 1 and 'Digest realm="r", nonce="n", qop="auth"' or nil)
      assert.equal(("%08x"):format(i), params.nc)
      assert.is_nil(seen[params.cnonce])
      seen[params.cnonce] = true
    end
  end)

  it("keeps the cnonce of a -sess", function()
    local auth = DigestAuth("u", "p")
    local first = answer(auth, 'Digest realm="r", nonce="n", qop="auth", algorithm=MD5-sess')
    local second = answer(auth)
    assert.same({ first.cnonce, "00000002", "MD5-sess" }, { second.cnonce, second.nc, second.algorithm })
    local a1 = digest.md5(digest.md5("u:r:p") .. ":n:" .. first.cnonce)
    assert.equal(digest.md5(a1 .. ":n:00000002:" .. first.cnonce .. ":auth:" .. digest.md5("GET:/dir/index.html")), second.response)
    for name, n in pairs { ["SHA-256-sess"] = 64, ["sha-512-256-SESS"] = 64, ["SHA-512-sess"] = 128, ["SHA-sess"] = 40 } do
      assert.equal(n, #answer(DigestAuth("u", "p"), ('Digest realm="r", nonce="n", algorithm=%s'):format(name)).response)
    end
  end)

  it("signs the body where only that is offered", function()
    local challenge = 'Digest realm="r", nonce="n", qop="auth-int"'
    local function expected(params, body)
      return digest.md5(digest.md5("u:r:p") .. ":n:00000001:" .. params.cnonce .. ":auth-int:" .. digest.md5("POST:/dir/index.html:" .. digest.md5(body)))
    end
    local params = answer(DigestAuth("u", "p"), challenge, { method = "POST", body = "hello" })
    assert.same({ "auth-int", expected(params, "hello") }, { params.qop, params.response })
    params = answer(DigestAuth("u", "p"), challenge, { method = "POST" })
    assert.equal(expected(params, ""), params.response)
    local p = payload.string("from a payload")
    params = answer(DigestAuth("u", "p"), challenge, { method = "POST", body = 14, p = p })
    assert.equal(expected(params, "from a payload"), params.response)
    local _, _, once = payload.of(function() return nil end)
    helper.raises(asyncio.ValueError, answer, DigestAuth("u", "p"), challenge, { method = "POST", body = true, p = once })
    assert.equal("auth", answer(DigestAuth("u", "p"), 'Digest realm="r", nonce="n", qop="auth-int, auth"').qop)
  end)

  it("takes the first challenge that it can answer", function()
    local auth = DigestAuth("u", "p")
    local params = answer(auth, { "Basic realm=x", 'Digest realm="r", nonce="1", algorithm=AES, Digest realm="r", nonce="2", qop="token", Digest realm="r", nonce="3", algorithm=SHA-256', 'Digest realm="r", nonce="4"' })
    assert.equal("3", params.nonce)
    for _, values in ipairs { {}, { "Basic realm=x" }, { "Digest realm=r" }, { "Digest nonce=n" }, { 'Digest realm=r, nonce=""' }, { "Digest realm=r, nonce=n, algorithm=MD4" }, { "" } } do
      assert.is_false(DigestAuth("u", "p"):challenged(page, values))
    end
  end)

  it("gives up when its answer was refused, but not for a nonce that is stale", function()
    local auth = DigestAuth("u", "p")
    local _, sent = answer(auth, 'Digest realm="r", nonce="1", qop="auth"')
    assert.is_false(auth:challenged(page, { 'Digest realm="r", nonce="2", qop="auth"' }, sent))
    assert.is_nil(auth:authorize("GET", page))
    _, sent = answer(auth, 'Digest realm="r", nonce="3", qop="auth"')
    assert.is_true(auth:challenged(page, { 'Digest realm="r", nonce="4", qop="auth", stale=TRUE' }, sent))
    assert.equal("4", answer(auth).nonce)
    _, sent = answer(auth)
    assert.is_true(auth:challenged(page, { 'Digest realm="r", nonce="5", qop="auth"' }, sent)) -- 4 was good for one
    assert.is_true(auth:challenged(page, { 'Digest realm="r", nonce="6"' }, "Basic dTpw"))
  end)

  it("answers beforehand where a challenge holds, and nowhere else", function()
    local auth = DigestAuth("u", "p")
    answer(auth, 'Digest realm="r", nonce="n", qop="auth"')
    local function goes(text) return auth:authorize("GET", url.URL(text)) ~= nil end
    assert.same({ true, false, false, false }, {
      goes "http://www.example.org/other", goes "https://www.example.org/", goes "http://www.example.org:81/", goes "http://example.org/" })
    auth = DigestAuth("u", "p")
    answer(auth, 'Digest realm="r", nonce="n", qop="auth", domain="/a http://www.example.org/b/ https://elsewhere.example/c"')
    assert.same({ true, true, true, true, false, false, false, true }, {
      goes "http://www.example.org/a", goes "http://www.example.org/a/x?y", goes "http://www.example.org/b/x", goes "http://www.example.org/b/",
      goes "http://www.example.org/ab", goes "http://www.example.org/", goes "https://elsewhere.example/c", goes "http://www.example.org/dir/index.html" })
  end)

  it("takes the nonce that comes next", function()
    local auth = DigestAuth("u", "p")
    auth:informed(page, 'nextnonce="x"')
    assert.is_nil(auth:authorize("GET", page))
    answer(auth, 'Digest realm="r", nonce="n", qop="auth"')
    for _, value in ipairs { "", "rspauth=x", 'nextnonce=""', "\0" } do auth:informed(page, value) end
    assert.equal("00000002", answer(auth).nc)
    auth:informed(page, 'qop=auth, nextnonce="next"')
    local params = answer(auth)
    assert.same({ "next", "00000001" }, { params.nonce, params.nc })
  end)

  it("forgets the oldest of very many origins", function()
    local auth = DigestAuth("u", "p")
    for i = 1, 150 do auth:challenged(url.URL(("http://h%d/"):format(i)), { "Digest realm=r, nonce=n" }) end
    assert.is_nil(auth:authorize("GET", url.URL "http://h1/"))
    assert.truthy(auth:authorize("GET", url.URL "http://h150/"))
  end)

  it("refuses what is none, and never shows its password", function()
    helper.raises(asyncio.TypeError, DigestAuth)
    helper.raises(asyncio.TypeError, DigestAuth, "u", {})
    helper.raises(asyncio.ValueError, DigestAuth, "a:b")
    helper.raises(asyncio.ValueError, DigestAuth, "a\nb")
    assert.is_nil(tostring(DigestAuth("user", "secret")):find("secret", 1, true))
    assert.is_true(require("http.client.auth").is(DigestAuth("u")))
  end)
end)
