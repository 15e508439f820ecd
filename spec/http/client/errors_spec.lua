local asyncio = require "asyncio"
local core = require "asyncio.core"
local errors = require "http.client.errors"
local http = require "http"

local isinstance = asyncio.isinstance

describe("http.client.errors", function()
  it("is aiohttp's tree", function()
    local is = {
      ContentTypeError = { "ClientResponseError", "ClientError" },
      ClientConnectorDNSError = { "ClientConnectorError", "ClientOSError", "ClientConnectionError", "ClientError" },
      ConnectionTimeoutError = { "ServerTimeoutError", "ServerConnectionError", "ClientConnectionError" },
      NonHttpUrlRedirectClientError = { "NonHttpUrlClientError", "InvalidURL", "RedirectClientError" },
      ClientConnectorCertificateError = { "ClientSSLError", "ClientConnectorError" },
    }
    for name, bases in pairs(is) do
      for _, base in ipairs(bases) do assert.is_true(isinstance(http[name] "x", http[base]), name .. " " .. base) end
    end
    assert.is_false(isinstance(http.ClientPayloadError "x", http.ClientConnectionError))
    assert.is_false(isinstance(http.ServerTimeoutError "x", http.ClientOSError))
  end)

  it("is asyncio's errors, too", function()
    assert.is_true(isinstance(http.ServerTimeoutError "x", asyncio.TimeoutError))
    assert.is_true(isinstance(http.SocketTimeoutError "x", asyncio.OSError))
    assert.is_true(isinstance(http.ClientConnectorError "x", asyncio.OSError))
    assert.is_true(isinstance(http.InvalidURL "x", asyncio.ValueError))
    assert.is_true(isinstance(http.InvalidURL "x", { asyncio.ValueError }))
    assert.is_false(isinstance(http.ClientError "x", asyncio.OSError))
  end)

  it("names method, URL and reason, and no password", function()
    local asked = { method = "GET", url = "http://user:secret@example.org/a?b=c" }
    local e = errors.make(http.ServerDisconnectedError, asked, "Server disconnected")
    assert.equal("ServerDisconnectedError: GET http://example.org/a?b=c: Server disconnected", tostring(e))
    assert.same({ "GET", "http://example.org/a?b=c" }, { e.method, e.url })
    local broken = errors.make(http.InvalidURL, { method = "GET", url = "http://h/\r\nX: y" }, "none")
    assert.equal("InvalidURL: GET http://h/%0D%0AX: y: none", tostring(broken))
    e = errors.make(http.ContentTypeError, asked, "no JSON", { status = 200 })
    assert.equal("no JSON", e.message)
    assert.equal("ContentTypeError: GET http://example.org/a?b=c: 200, no JSON", tostring(e))
    assert.equal("ClientResponseError: gone", tostring(http.ClientResponseError "gone"))
  end)

  it("tells deadlines apart", function()
    local asked = { method = "PUT", url = "http://h/" }
    local total = errors.timeout("total", asked, 300)
    assert.equal("TimeoutError: PUT http://h/: timeout of 300 s for the whole request (total)", tostring(total))
    assert.is_false(isinstance(total, http.ClientError))
    assert.is_true(isinstance(errors.timeout("sock_read", asked, 1), http.SocketTimeoutError))
    assert.is_true(isinstance(errors.timeout("connect", asked), http.ConnectionTimeoutError))
  end)

  it("translates what comes from below", function()
    local asked = { method = "GET", url = "http://h/" }
    local refused = core.OSError("write failed", { code = "EPIPE", errno = 32 })
    local e = errors.translate(refused, asked)
    assert.is_true(isinstance(e, http.ClientConnectionResetError))
    assert.same({ "EPIPE", 32, "GET http://h/: write failed" }, { e.code, e.errno, e.message })
    assert.equal(refused, e.cause)
    assert.is_true(isinstance(errors.translate(refused, asked, true), http.ClientPayloadError))
    for _, other in ipairs { core.CancelledError "x", core.ValueError "x", core.TimeoutError "x", "text", 5 } do
      assert.equal(other, errors.translate(other, asked))
    end
    assert.is_nil(errors.translate(nil, asked))
    local plain = errors.translate(http.ClientPayloadError "short", asked)
    assert.equal("ClientPayloadError: GET http://h/: short", tostring(plain))
    assert.equal(plain, errors.translate(plain, { method = "PUT", url = "http://other/" }))
  end)
end)
