-- What scripts may get wrong: each is told at the call, with the argument and the script's own line.

local asyncio = require "asyncio"
local helper = require "spec.helper"
local http = require "http"

local await = await

local HERE = "misuse_spec%.lua:%d+: "

-- Each of `calls` raises an error of the class, with the text, that begins with this file's name.
local function all_raise(class, calls)
  for _, case in ipairs(calls) do
    local text, f = case[1], case[2]
    local ok, err = pcall(f)
    assert.is_false(ok, "nothing was raised: " .. text)
    local got = tostring(err)
    assert.is_true(asyncio.isinstance(err, asyncio[class]), got)
    assert.truthy(got:find(text, 1, true), ("%q is not in %q"):format(text, got))
    assert.truthy(got:find(HERE), "names another line: " .. got)
  end
end

describe("Misuse of the client", function()
  it("is told by what makes a session", function()
    local function session(opts) return function() http.ClientSession(opts) end end
    all_raise("TypeError", {
      { "base_url: URL: a URL or string was expected, got a number", session { base_url = 1 } },
      { "ClientSession: ssl should be an SSLContext", session { ssl = 1 } },
      { "ClientSession: proxy: URL: a URL or string was expected, got a boolean", session { proxy = true } },
      { "ClientSession: proxy_auth must be a BasicAuth or DigestAuth, got a string", session { proxy_auth = "me:secret" } },
      { "ClientSession() got an unexpected keyword argument 'proxies'", session { proxies = {} } },
    })
    all_raise("ValueError", {
      { "proxy must be a URL of http", session { proxy = "localhost" } },
      { "TCPConnector: limit must be an integer of at least 0", session { limit = -1 } },
      { "TCPConnector: http2 must be a boolean or 'prior', got \"x\"", session { http2 = "x" } },
    })
  end)

  it("is told by what makes a connector", function()
    local function tcp(opts) return function() http.TCPConnector(opts) end end
    all_raise("TypeError", {
      { "force_close must be a boolean, got a number", tcp { force_close = 1 } },
      { "use_dns_cache must be a boolean, got a string", tcp { use_dns_cache = "no" } },
      { "enable_cleanup_closed must be a boolean", tcp { enable_cleanup_closed = 0 } },
      { "resolver must have a method resolve", tcp { resolver = 1 } },
      { "UnixConnector: path must be a string, got nil", function() http.UnixConnector() end },
    })
    all_raise("ValueError", {
      { "family must be 'unspec', 'inet' or 'inet6', got a boolean", tcp { family = false } },
      { "local_addr must be an IP address or {address, port}, got \"host\"", tcp { local_addr = "host" } },
      { "ttl_dns_cache must be a number of seconds", tcp { ttl_dns_cache = -1 } },
    })
  end)

  it("is told by the call of a request", function()
    local session <close> = http.ClientSession()
    local function get(opts) return function() local _ = session:get("http://h.test/", opts) end end
    all_raise("TypeError", {
      { "params: url.urlencode: {name, value} was expected at 1", get { params = { { "a" } } } },
      { "params: url.urlencode: the value of \"a\" must be a value or a list", get { params = { a = { b = 1 } } } },
      { "FormData: the value of \"a\" must be a value or a list of them, got a table with the key b",
        get { data = { a = { "1", b = 1 } } } },
      { "proxy_auth must be a BasicAuth or DigestAuth, got a number", get { proxy_auth = 1 } },
      { "proxy_headers: a table or Headers was expected, got a string", get { proxy_headers = "x" } },
      { "proxy_headers: a table or Headers", get { proxy = "http://p.test", proxy_headers = 1 } },
      { "compress: 'gzip', 'deflate', 'br' or a boolean was expected, got a number", get { compress = 1 } },
      { ": cookies: a table of cookies was expected, got a number", get { cookies = 1 } },
      { "ws_connect: url: a string or URL was expected, got nil", function() local _ = session:ws_connect() end },
      { "ws_connect: url: a string", function() local _ = session:ws_connect(1, { params = { a = "b" } }) end },
    })
    all_raise("ValueError", {
      { "params: url.urlencode: the value of 'a' is no number that could be sent", get { params = { a = 0 / 0 } } },
      { "got \"zip\"", get { compress = "zip" } },
    })
    helper.raises("ws, wss, http and https can be requested", session.ws_connect, session, "ftp://h.test/")
    for _, url in ipairs { "localhost:8080/a", "127.0.0.1:8080/a" } do
      assert.truthy(asyncio.isinstance(helper.raises("is 'http://' missing?", session.get, session, url), http.InvalidURL))
    end
  end)

  it("is told by forms, writers, jars and traces", function()
    local jar, trace = http.CookieJar(), http.TraceConfig()
    all_raise("TypeError", {
      { "FormData: a table or MultiDict was expected, got a number", function() local _ = http.FormData(1) end },
      { "a table or MultiDict was expected, got nil", function() http.MultipartWriter():append_form() end },
      { "CookieJar() got an unexpected keyword argument 'safe'", function() http.CookieJar { safe = true } end },
      { "CookieJar: unsafe: a boolean was expected, got a number", function() http.CookieJar { unsafe = 1 } end },
      { "quote_cookie: a boolean was expected", function() http.CookieJar { quote_cookie = "no" } end },
      { "clear: a function was expected, got a string", function() jar:clear("x") end },
      { "append: a function was expected, got a table", function() trace.on_request_start:append {} end },
      { "trace_config_ctx_factory: a function", function() http.TraceConfig { trace_config_ctx_factory = 1 } end },
    })
    assert.has_no.errors(function()
      trace.on_request_start:append(async(function() await(asyncio.sleep(0)) end))
      trace.on_request_end:append(setmetatable({}, { __call = function() end }))
    end)
  end)

  it("is told by a response", function()
    local web, testing = require "http.web", require "http.testing"
    local app = web.Application()
    app:add_routes { web.get("/", function() return web.json_response { 1 } end) }
    local client <close> = testing.TestClient(testing.TestServer(app))
    await(client:start_server())
    local resp <close> = await(client:get("/"))
    all_raise("TypeError", {
      { "json: loads: a function was expected, got a string", function() local _ = resp:json { loads = "x" } end },
      { "json: content_type: a string or false", function() local _ = resp:json { content_type = true } end },
      { "json: encoding: a string was expected", function() local _ = resp:json { encoding = 1 } end },
      { "text() got an unexpected keyword argument 'error'", function() local _ = resp:text { error = "x" } end },
      { "text: a ClientResponse was expected (called with '.' instead of ':'?), got nil", function() local _ = resp.text() end },
      { "json: a ClientResponse was expected", function() local _ = resp.json() end },
      { "raise_for_status: a ClientResponse was expected", function() local _ = resp.raise_for_status() end },
      { "close: a ClientResponse was expected", function() local _ = resp.close() end },
      { "release: a ClientResponse was expected", function() local _ = resp.release() end },
      { "close: a ClientSession was expected", function() local _ = client.session.close() end },
    })
    helper.raises("read: a ClientResponse was expected (called with '.' instead of ':'?)", await, resp.read())
    helper.raises("read: a response's content was expected (called with '.'", await, resp.content.read())
    assert.same({ 1 }, await(resp:json()))
  end)
end)
