--- Requests by way of proxies: of HTTP in the clear, CONNECT, SOCKS; proxies over TLS; and every way they fail.

local asyncio = require "asyncio"
local helper = require "spec.helper"
local http = require "http"
local proxies = require "spec.http.client.proxies"

local catch, isinstance = asyncio.catch, asyncio.isinstance
local has_tls = helper.has_tls()
local certs = has_tls and require "spec.certs"

--- A server that answers each request with its line and its Host header.
local function serve(opts)
  return proxies.origin(opts, function(head)
    return " " .. (head:match("\r\nHost: ([^\r]*)") or "") .. (head:find("Proxy-", 1, true) and " LEAK" or "")
  end)
end

local function get(session, url, opts)
  local resp <close> = await(session:get(url, opts))
  return await(resp:text()), resp
end

local function refused(class, session, url, opts)
  local ok, err = catch(get, session, url, opts)
  assert.is_false(ok)
  assert.is_true(isinstance(err, class), tostring(err))
  assert.truthy(tostring(err):find("GET http", 1, true), tostring(err))
  return err
end

-- What a proxy of HTTP answers until it is given an answer to its challenge; `fresh`: for how many requests a nonce is.
local function wants_digest(user, password, fresh)
  local hash, nonce, uses, answers = require("asyncio.digest").md5, 0, 0, {}
  return function(lines, writer)
    local method, target = lines[1]:match "^(%S+) (%S+)"
    local given
    for _, line in ipairs(lines) do given = line:match "^Proxy%-Authorization: (.*)$" or given end
    local p = given and require("http.client.auth").challenges(given)[1].params or {}
    local expected = hash(("%s:%s:%s:%s:auth:%s"):format(hash(user .. ":here:" .. password), p.nonce, p.nc, p.cnonce,
      hash(method .. ":" .. target)))
    answers[#answers + 1] = given and p.nc .. (p.response == expected and p.uri == target and "" or " wrong") or "none"
    if p.response == expected and p.nonce == "n" .. nonce and uses < fresh then
      uses = uses + 1
      return false
    end
    local stale = p.response == expected and ", stale=true" or ""
    nonce, uses = nonce + 1, 0
    writer:write(("HTTP/1.1 407 Who?\r\nProxy-Authenticate: Digest realm=\"here\", qop=\"auth\", nonce=\"n%d\"%s\r\n"
      .. "Content-Length: 0\r\nConnection: close\r\n\r\n"):format(nonce, stale))
    return true
  end, answers
end

describe("a proxy that wants Digest", function()
  if not pcall(require, "asyncio.digest") then return end

  it("is answered for requests in the clear, and for tunnels", function()
    asyncio.run(function()
      for _, opts in ipairs { {}, { method = "DELETE" }, { tunnel = true } } do
        local origin <close>, port = serve()
        local answer, answers = wants_digest("user", "pass", 2)
        local _proxy <close>, proxy_port = proxies.http { answer = answer }
        local session <close> = http.ClientSession {
          proxy = "http://127.0.0.1:" .. proxy_port, proxy_auth = http.DigestAuth("user", "pass"),
          connector = opts.tunnel and http.TCPConnector { force_close = true } or nil,
        }
        for _ = 1, 3 do
          if opts.tunnel then
            local ok, err = catch(await, session:ws_connect("ws://127.0.0.1:" .. port)) -- by CONNECT
            assert.is_false(ok)
            assert.equal(200, err.status)
          else
            local resp <close> = await(session:request(opts.method or "GET", "http://example.test/a?b=1"))
            assert.equal(200, resp.status)
          end
        end
        assert.same({ "none", "00000001", "00000002", "00000003", "00000001" }, answers)
        origin:close()
      end
    end)
  end)

  it("that does not take the answer is not asked for ever", function()
    asyncio.run(function()
      local answer, answers = wants_digest("user", "other", 2)
      local _proxy <close>, port = proxies.http { answer = answer }
      local opts = { proxy = "http://127.0.0.1:" .. port, proxy_auth = http.DigestAuth("user", "pass") }
      local session <close> = http.ClientSession()
      local resp <close> = await(session:get("http://example.test/", opts))
      assert.equal(407, resp.status)
      local err = refused(http.ClientHttpProxyError, session, "https://example.test/", opts)
      assert.equal(407, err.status)
      assert.same({ "none", "00000001 wrong", "none", "00000001 wrong" }, answers)
      local always, all = wants_digest("user", "pass", 0) -- stale again and again
      local _endless <close>, another = proxies.http { answer = always }
      opts = { proxy = "http://127.0.0.1:" .. another, proxy_auth = http.DigestAuth("user", "pass") }
      assert.equal(407, refused(http.ClientHttpProxyError, session, "https://example.test/", opts).status)
      local last <close> = await(session:get("http://example.test/", opts))
      assert.equal(407, last.status)
      assert.is_true(#all <= 6)
      local socks = { proxy = "socks5://127.0.0.1:1", proxy_auth = http.DigestAuth("user", "pass") }
      helper.raises("proxy_auth for a SOCKS proxy must be a BasicAuth", session.get, session, "http://h/", socks)
    end)
  end)
end)

describe("a proxy of HTTP", function()
  it("gets the whole URL, and keeps its connection", function()
    asyncio.run(function()
      local _proxy <close>, port, seen = proxies.http()
      local session <close> = http.ClientSession()
      local opts = { proxy = "http://127.0.0.1:" .. port }
      assert.equal("GET http://example.test/a?b=1", get(session, "http://example.test/a?b=1#frag", opts))
      assert.equal("GET http://example.test:81/", get(session, "http://example.test:81", opts))
      assert.equal("example.test", table.concat(seen[1], "\n"):match("Host: ([^\n]*)"))
      assert.is_nil(table.concat(seen[1], "\n"):find("Proxy-Authorization", 1, true))
    end)
  end)

  it("is told who asks: from its URL, or proxy_auth, and proxy_headers", function()
    asyncio.run(function()
      local _proxy <close>, port, seen = proxies.http()
      local session <close> = http.ClientSession()
      get(session, "http://example.test/", { proxy = ("http://user:p%%20w@127.0.0.1:%d"):format(port) })
      get(session, "http://example.test/", { proxy = "http://127.0.0.1:" .. port, proxy_auth = http.BasicAuth("a", "b"),
        proxy_headers = { ["X-Via"] = "spec" } })
      assert.truthy(table.concat(seen[1], "\n"):find("Proxy-Authorization: Basic dXNlcjpwIHc=", 1, true))
      local second = table.concat(seen[2], "\n")
      assert.truthy(second:find("Proxy-Authorization: Basic YTpi", 1, true) and second:find("X-Via: spec", 1, true))
    end)
  end)

  it("is misused at the call", function()
    asyncio.run(function()
      local session <close> = http.ClientSession()
      for _, row in ipairs {
        { "proxy must be a URL", { proxy = "ftp://host" } }, { "proxy must be a URL", { proxy = "host:80" } },
        { "proxy", { proxy = 5 } }, { "proxy_auth must be a BasicAuth", { proxy = "http://h", proxy_auth = "a:b" } },
        { "proxy_headers", { proxy = "http://h", proxy_headers = { ["X"] = "a\r\nb" } } },
        { "proxy_headers are for proxies of HTTP", { proxy = "socks5://h", proxy_headers = { X = "1" } } },
      } do
        local e = helper.raises(row[1], function() return session:get("http://example.test/", row[2]) end)
        assert.is_true(isinstance(e, asyncio.ValueError) or isinstance(e, asyncio.TypeError), tostring(e))
      end
    end)
  end)

  it("that is not there, or nobody knows, is named", function()
    asyncio.run(function()
      local session <close> = http.ClientSession()
      local e = refused(http.ClientProxyConnectionError, session, "http://example.test/",
        { proxy = "http://127.0.0.1:" .. helper.unused_port() })
      assert.equal("ECONNREFUSED", e.code)
      assert.truthy(e.message:find("Cannot connect to proxy 127.0.0.1", 1, true), e.message)
      e = refused(http.ClientConnectorDNSError, session, "http://example.test/", { proxy = "http://proxy.invalid:80" })
      assert.truthy(e.message:find("proxy.invalid", 1, true))
    end)
  end)

  it("that says nothing sensible fails the request", function()
    asyncio.run(function()
      local session <close> = http.ClientSession()
      local _proxy <close>, port = proxies.http { answer = function(_, writer)
        writer:write("SOCKS?\r\n\r\n")
        return true
      end }
      refused(http.ClientError, session, "http://example.test/", { proxy = "http://127.0.0.1:" .. port })
    end)
  end)
end)

describe("CONNECT", function()
  if not has_tls then return end

  local function session_for(opts)
    opts = opts or {}
    opts.ssl = opts.ssl == nil and certs.client() or opts.ssl
    return http.ClientSession { connector = http.TCPConnector(opts) }
  end

  it("leads to a server over TLS, which does not see what the proxy is told", function()
    asyncio.run(function()
      local _server <close>, port = serve { ssl = certs.server() }
      local _proxy <close>, pport, seen = proxies.http()
      local session <close> = session_for()
      local url = ("https://localhost:%d/x"):format(port)
      local opts = { proxy = "http://u:p@127.0.0.1:" .. pport, proxy_headers = { ["X-A"] = "b" } }
      for _ = 1, 3 do assert.equal("GET /x HTTP/1.1 localhost:" .. port, get(session, url, opts)) end
      assert.equal(1, #seen) -- the tunnel is kept
      assert.equal(("CONNECT localhost:%d HTTP/1.1"):format(port), seen[1][1])
      local text = table.concat(seen[1], "\n")
      assert.truthy(text:find("Host: localhost:" .. port, 1, true))
      assert.truthy(text:find("Proxy-Authorization: Basic dTpw", 1, true) and text:find("X-A: b", 1, true))
    end)
  end)

  it("takes any 2xx, whatever it says of a body (RFC 9110, 9.3.6)", function()
    asyncio.run(function()
      local _server <close>, port = serve { ssl = certs.server() }
      for _, text in ipairs {
        "HTTP/1.0 200 OK\r\n\r\n", "HTTP/1.1 204 Fine\r\nX: y\r\n\r\n", "HTTP/1.1 200\r\nContent-Length: 5\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
      } do
        local _proxy <close>, pport = proxies.http { established = text }
        local session <close> = session_for()
        assert.equal("GET / HTTP/1.1 localhost:" .. port, get(session, ("https://localhost:%d/"):format(port),
          { proxy = "http://127.0.0.1:" .. pport }))
      end
    end)
  end)

  it("goes by way of a proxy over TLS too", function()
    asyncio.run(function()
      local _server <close>, port = serve { ssl = certs.server() }
      local _proxy <close>, pport, seen = proxies.http { ssl = certs.server() }
      local session <close> = session_for()
      for _ = 1, 2 do
        assert.equal("GET / HTTP/1.1 localhost:" .. port, get(session, ("https://localhost:%d/"):format(port),
          { proxy = "https://localhost:" .. pport }))
      end
      assert.equal(1, #seen)
      assert.equal("GET http://example.test/", get(session, "http://example.test/", { proxy = "https://localhost:" .. pport }))
    end)
  end)

  it("that is refused tells of the proxy's answer", function()
    asyncio.run(function()
      local session <close> = session_for()
      for _, status in ipairs { "407 Proxy Authentication Required", "403 Forbidden", "502 Bad Gateway" } do
        local _proxy <close>, port = proxies.http { answer = function(_, writer)
          writer:write(("HTTP/1.1 %s\r\nProxy-Authenticate: Basic realm=x\r\nContent-Length: 2\r\n\r\nno"):format(status))
          return true
        end }
        local e = refused(http.ClientHttpProxyError, session, "https://localhost:1/", { proxy = "http://127.0.0.1:" .. port })
        assert.equal(status, e.status .. " " .. e.message)
        assert.equal("Basic realm=x", e.headers["Proxy-Authenticate"])
      end
    end)
  end)

  it("that gets no answer, or no HTTP, is an error of the proxy's", function()
    asyncio.run(function()
      local session <close> = session_for()
      for _, text in ipairs { "", "HTTP/1.1 20", "bogus\r\n\r\n", "HTTP/1.1 999999 x\r\n\r\n" } do
        local _proxy <close>, port = proxies.http { answer = function(_, writer)
          writer:write(text)
          return true
        end }
        local e = refused(http.ClientProxyConnectionError, session, "https://localhost:1/",
          { proxy = "http://127.0.0.1:" .. port })
        assert.equal(port, e.port)
      end
    end)
  end)

  it("ends in time if the proxy says nothing", function()
    helper.run(function()
      local session <close> = session_for()
      local _proxy <close>, port = proxies.http { answer = function() await(asyncio.sleep(3600)) end }
      local loop = asyncio.get_running_loop()
      local start = loop:time()
      local e = refused(http.ConnectionTimeoutError, session, "https://localhost:1/",
        { proxy = "http://127.0.0.1:" .. port, timeout = http.ClientTimeout { sock_connect = 5 } })
      assert.truthy(tostring(e):find("sock_connect", 1, true))
      assert.is_true(loop:time() - start < 60)
    end)
  end)

  it("verifies the server behind the proxy, and the proxy", function()
    asyncio.run(function()
      local _server <close>, port = serve { ssl = certs.server("other") }
      local _proxy <close>, pport = proxies.http { ssl = certs.server() }
      local session <close> = session_for()
      local url = ("https://localhost:%d/"):format(port)
      local e = refused(http.ClientConnectorCertificateError, session, url, { proxy = "https://localhost:" .. pport })
      assert.truthy(e.message:find("'localhost'", 1, true), e.message)
      refused(http.ClientConnectorCertificateError, session, url,
        { proxy = "https://localhost:" .. pport, ssl = require("ssl").create_default_context() })
      refused(http.ClientConnectorSSLError, session, url, { proxy = "https://127.0.0.1:" .. port, ssl = (function()
        local context = certs.client()
        context.maximum_version = require("ssl").TLSVersion.TLSv1_2
        context:set_ciphers("DHE-RSA-AES256-GCM-SHA384")
        return context
      end)() })
    end)
  end)
end)

--- A connector for which every name has these addresses.
local function answering(addresses, ssl)
  local resolver = { resolve = async(function(_, _, port)
    local found = {}
    for i, address in ipairs(addresses) do found[i] = { host = address, port = port } end
    return found
  end) }
  return http.TCPConnector { resolver = resolver, ssl = ssl }
end

describe("a SOCKS proxy", function()
  it("of version 5 gets an address with socks5 and the name with socks5h", function()
    asyncio.run(function()
      local _server <close>, port = serve()
      local _proxy <close>, pport, seen = proxies.socks { resolve = { ["some.test"] = "127.0.0.1" } }
      local session <close> = http.ClientSession { connector = answering { "127.0.0.1" } }
      local url = ("http://known.test:%d/y"):format(port)
      assert.equal(("GET /y HTTP/1.1 known.test:%d"):format(port), get(session, url, { proxy = "socks5://127.0.0.1:" .. pport }))
      assert.equal("127.0.0.1", seen[1].host)
      assert.equal(port, seen[1].port)
      assert.equal("\0", seen[1].methods)
      get(session, ("http://some.test:%d/y"):format(port), { proxy = "socks5h://127.0.0.1:" .. pport })
      assert.equal("some.test", seen[2].host)
      for _ = 1, 2 do get(session, ("http://some.test:%d/y"):format(port), { proxy = "socks5h://127.0.0.1:" .. pport }) end
      assert.equal(2, #seen)
    end)
  end)

  it("is given one address of a name after the other until it reaches one", function()
    asyncio.run(function()
      local _server <close>, port = serve()
      local _proxy <close>, pport, seen = proxies.socks()
      local session <close> = http.ClientSession { connector = answering { "::1", "127.0.0.2", "127.0.0.3", "127.0.0.1" } }
      local url = ("http://known.test:%d/"):format(port)
      for scheme, tried in pairs { socks4 = { "127.0.0.2", "127.0.0.3", "127.0.0.1" },
        socks5 = { "::1", "127.0.0.2", "127.0.0.3", "127.0.0.1" } } do
        local said, resp = get(session, url, { proxy = ("%s://127.0.0.1:%d"):format(scheme, pport) })
        assert.equal(("GET / HTTP/1.1 known.test:%d"):format(port), said)
        assert.equal(200, resp.status)
        local hosts = {}
        for i, note in ipairs(seen) do hosts[i], seen[i] = note.host, nil end
        assert.same(tried, hosts)
      end
      local nowhere <close> = http.ClientSession { connector = answering { "127.0.0.2", "127.0.0.3" } }
      local e = refused(http.ClientProxyConnectionError, nowhere, url, { proxy = "socks5://127.0.0.1:" .. pport })
      assert.equal("ECONNREFUSED", e.code)
      assert.equal(2, #seen)
      -- what is wrong with the proxy itself is not asked twice
      local _wants <close>, wport, asked = proxies.socks { user = "me", password = "secret" }
      refused(http.ClientProxyConnectionError, nowhere, url, { proxy = "socks5://127.0.0.1:" .. wport })
      assert.equal(1, #asked)
    end)
  end)

  it("of version 5 may want a user, and has addresses of every kind", function()
    asyncio.run(function()
      local _server <close>, port = serve()
      local url = ("http://127.0.0.1:%d/"):format(port)
      for _, bound in ipairs { "\1\1\2\3\4\0\1", "\3\4host\0\1", "\4" .. ("\0"):rep(16) .. "\0\1" } do
        local _proxy <close>, pport, seen = proxies.socks { user = "me", password = "se:cret", bound = bound }
        local session <close> = http.ClientSession()
        assert.equal("GET / HTTP/1.1 127.0.0.1:" .. port, get(session, url,
          { proxy = ("socks5://me:se%%3acret@127.0.0.1:%d"):format(pport) }))
        assert.same({ "me", "se:cret" }, { seen[1].user, seen[1].password })
        local e = refused(http.ClientProxyConnectionError, session, url, { proxy = "socks5://127.0.0.1:" .. pport })
        assert.truthy(e.message:find("no way to log in", 1, true) or e.message:find("wants a user", 1, true)
          or e.message:find("SOCKS 5", 1, true), e.message)
        e = refused(http.ClientProxyConnectionError, session, url,
          { proxy = "socks5://127.0.0.1:" .. pport, proxy_auth = http.BasicAuth("me", "wrong") })
        assert.truthy(e.message:find("did not accept", 1, true), e.message)
        assert.is_nil(e.message:find("wrong", 1, true))
      end
    end)
  end)

  it("of version 4 gets an address, with 4a the name", function()
    asyncio.run(function()
      local _server <close>, port = serve()
      local _proxy <close>, pport, seen = proxies.socks { resolve = { ["some.test"] = "127.0.0.1" } }
      local session <close> = http.ClientSession()
      get(session, ("http://localhost:%d/"):format(port), { proxy = "socks4://joe@127.0.0.1:" .. pport })
      get(session, ("http://some.test:%d/"):format(port), { proxy = "socks4a://127.0.0.1:" .. pport })
      assert.same({ 4, "127.0.0.1", "joe" }, { seen[1].version, seen[1].host, seen[1].user })
      assert.same({ 4, "some.test", "" }, { seen[2].version, seen[2].host, seen[2].user })
      local e = refused(http.ClientProxyConnectionError, session, "http://[::1]:80/", { proxy = "socks4://127.0.0.1:" .. pport })
      assert.truthy(e.message:find("knows no IPv6", 1, true), e.message)
    end)
  end)

  it("that refuses says why", function()
    asyncio.run(function()
      local session <close> = http.ClientSession()
      for status, text in pairs { [1] = "general SOCKS server failure", [2] = "not allowed", [5] = "connection refused", [77] = "code 77" } do
        local _proxy <close>, pport = proxies.socks { status = status }
        local e = refused(http.ClientProxyConnectionError, session, "http://127.0.0.1:9/", { proxy = "socks5://127.0.0.1:" .. pport })
        assert.truthy(e.message:find(text, 1, true), e.message)
      end
      for status, text in pairs { [91] = "rejected or failed", [93] = "different users", [44] = "code 44" } do
        local _proxy <close>, pport = proxies.socks { status = status }
        local e = refused(http.ClientProxyConnectionError, session, "http://127.0.0.1:9/", { proxy = "socks4://127.0.0.1:" .. pport })
        assert.truthy(e.message:find(text, 1, true), e.message)
      end
    end)
  end)

  it("that is none, or goes away, is an error and leaves nothing", function()
    asyncio.run(function()
      local session <close> = http.ClientSession()
      for _, say in ipairs { "", "\5", "\4\0\0\0\0\0\0\0", "HTTP/1.1 400 Bad Request\r\n\r\n", "\5\0\5\0\0\9", "\5\0\5\0\0\3" } do
        for _, scheme in ipairs { "socks4", "socks5", "socks5h" } do
          local _proxy <close>, pport = proxies.socks { say = say }
          refused(http.ClientProxyConnectionError, session, "http://127.0.0.1:9/",
            { proxy = ("%s://127.0.0.1:%d"):format(scheme, pport) })
        end
      end
    end)
  end)

  it("leads to servers over TLS", function()
    if not has_tls then return end
    asyncio.run(function()
      local _server <close>, port = serve { ssl = certs.server() }
      local _proxy <close>, pport = proxies.socks { resolve = { ["localhost"] = "127.0.0.1" } }
      local session <close> = http.ClientSession { connector = answering({ "127.0.0.1" }, certs.client()) }
      for _, scheme in ipairs { "socks4", "socks4a", "socks5", "socks5h" } do
        assert.equal("GET / HTTP/1.1 localhost:" .. port, get(session, ("https://localhost:%d/"):format(port),
          { proxy = ("%s://127.0.0.1:%d"):format(scheme, pport) }))
      end
    end)
  end)
end)

describe("a request by way of a proxy", function()
  it("can be cancelled at each step", function()
    asyncio.run(function()
      asyncio.get_running_loop():set_exception_handler(function() end)
      local _server <close>, port = serve(has_tls and { ssl = certs.server() } or nil)
      local _web <close>, wport = proxies.http()
      local _socks <close>, sport = proxies.socks()
      local connector = http.TCPConnector { ssl = has_tls and certs.client() or nil, force_close = true }
      local session <close> = http.ClientSession { connector = connector }
      local url = (has_tls and "https" or "http") .. "://127.0.0.1:" .. port
      for rounds = 0, 24 do
        for _, proxy in ipairs { "http://127.0.0.1:" .. wport, "socks5://127.0.0.1:" .. sport } do
          local task = asyncio.create_task(async(get)(session, url, { proxy = proxy }))
          for _ = 1, rounds do await(asyncio.sleep(0)) end
          task:cancel()
          catch(await, task)
        end
      end
      assert.equal("<TCPConnector acquired=0 limit=100>", tostring(connector))
      assert.truthy(get(session, url, { proxy = "http://127.0.0.1:" .. wport }))
    end)
  end)
end)
