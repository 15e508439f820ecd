local asyncio = require "asyncio"
local helper = require "spec.helper"
local web = require "http.web"

describe("HTTP errors", function()
  it("of a method have it in capitals", function()
    assert.equal("GET", web.HTTPMethodNotAllowed("get", { "POST" }).method)
  end)

  it("are a tree of error classes", function()
    local err = web.HTTPNotFound()
    for _, class in ipairs { web.HTTPNotFound, web.HTTPClientError, web.HTTPError, web.HTTPException, asyncio.Exception } do
      assert(asyncio.isinstance(err, class), class.name)
    end
    assert.is_false(asyncio.isinstance(err, web.HTTPServerError))
    assert(asyncio.isinstance(web.HTTPFound("/"), web.HTTPRedirection))
    assert(asyncio.isinstance(web.HTTPFound("/"), web.HTTPMove))
    assert(asyncio.isinstance(web.HTTPOk(), web.HTTPSuccessful))
    assert.equal("HTTPNotFound: Not Found", tostring(err))
  end)

  it("have the status, the phrase and a text that says both", function()
    local phrases = require("http.status").phrases
    local n = 0
    for name, class in pairs(require "http.web.errors") do
      assert.equal(class, web[name])
      local status = class.status_code
      if status then
        n = n + 1
        local err = asyncio.isinstance(setmetatable({}, class), web.HTTPMove) and class("/x") or class()
        assert.equal(status, err.status, name)
        assert.equal(phrases[status], err.reason, name)
        local empty = status == 204 or status == 205 or status == 304
        assert.equal(not empty and ("%d: %s"):format(status, err.reason) or nil, err.text, name)
        assert.equal(err.text, err.body, name)
      end
    end
    assert.equal(51, n)
  end)

  it("take what responses take", function()
    local err = web.HTTPForbidden { text = "no", headers = { ["X-A"] = "1" }, reason = "Never" }
    assert.equal("no", err.text)
    assert.equal("Never", err.reason)
    assert.equal("1", err.headers["x-a"])
    assert.equal("text/plain", err.content_type)
    err = web.HTTPBadRequest { body = "{}", content_type = "application/json" }
    assert.equal("application/json", err.content_type)
    assert.equal("{}", err.body)
    err.text = "other"
    assert.equal("other", err.text)
    err.headers["X-B"] = "2"
    err:set_cookie("a", "b")
    assert.same({ a = "b" }, err.cookies)
    helper.raises("unexpected keyword argument 'txt'", web.HTTPNotFound, { txt = "" })
    helper.raises("its status is 404", web.HTTPNotFound, { status = 200 })
    helper.raises("a table of keyword arguments", web.HTTPNotFound, "x")
    helper.raises("has no status", web.HTTPClientError)
  end)

  it("that lead elsewhere need a location", function()
    local err = web.HTTPSeeOther("/a b?x=ü")
    assert.equal("/a%20b?x=%C3%BC", err.headers["Location"])
    assert.equal("/a b?x=ü", err.location)
    assert.equal("/y", web.HTTPFound { location = "/y", text = "z" }.headers["Location"])
    helper.raises("a location was expected", web.HTTPFound)
    helper.raises("a location was expected", web.HTTPFound, "")
    helper.raises("a location was expected, got a number", web.HTTPFound, 1)
    helper.raises("a control character", web.HTTPFound, "/a\r\nX: y")
  end)

  it("of a method name those that are allowed", function()
    local err = web.HTTPMethodNotAllowed("PUT", { "POST", "GET" })
    assert.equal("GET,POST", err.headers["Allow"])
    assert.same({ "PUT", { "GET", "POST" } }, { err.method, err.allowed_methods })
  end)

  it("of a body that is too large say how large it may be", function()
    assert.equal("Maximum request body size 10 exceeded, actual body size 11", web.HTTPRequestEntityTooLarge(10, 11).text)
    assert.equal("x", web.HTTPRequestEntityTooLarge(10, 11, { text = "x" }).text)
    assert.equal("413: Content Too Large", web.HTTPRequestEntityTooLarge().text)
  end)

  it("of what the law forbids have a link", function()
    assert.equal('<http://example.com/>; rel="blocked-by"', web.HTTPUnavailableForLegalReasons("http://example.com/").headers["Link"])
  end)

  it("can be derived from by scripts", function()
    local Teapot = web.HTTPClientError:extend("Teapot")
    Teapot.status_code = 418
    local err = Teapot { text = "short and stout" }
    assert.equal(418, err.status)
    assert.equal("short and stout", err.text)
    assert(asyncio.isinstance(err, web.HTTPClientError))
    local Special = web.HTTPNotFound:extend("Special")
    assert.equal("404: Not Found", Special().text)
  end)
end)
