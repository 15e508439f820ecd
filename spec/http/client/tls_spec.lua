--- TLS of the HTTP client: who is trusted, the option ssl and its misuse, sessions that are taken up again, protocols.

if not require("spec.helper").has_tls() then return end

local asyncio = require "asyncio"
local certs = require "spec.certs"
local helper = require "spec.helper"
local http = require "http"
local ssl = require "ssl"

local catch, isinstance = asyncio.catch, asyncio.isinstance

--- A server that answers with whether the session was taken up again, the protocol agreed on and the client's name.
local function serve(context, f, protocols)
  context = context or certs.server()
  context:set_alpn_protocols(protocols or { "http/1.1" })
  asyncio.run(function()
    asyncio.get_running_loop():set_exception_handler(function() end)
    local server <close> = await(asyncio.start_server(async(function(reader, writer)
      catch(function()
        while true do
          await(reader:readuntil("\r\n\r\n"))
          local object = writer:get_extra_info("ssl_object")
          local peer = object:getpeercert()
          local text = ("%s %s %s"):format(object.session_reused, object:selected_alpn_protocol(),
            peer and peer.subject and peer.subject[#peer.subject][1][2])
          writer:write(("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s"):format(#text, text))
        end
      end)
      writer:close()
    end), "127.0.0.1", 0, { ssl = context }))
    f("https://localhost:" .. server.sockets[1].port .. "/", server)
  end)
end

local function session_with(opts) return http.ClientSession { connector = http.TCPConnector(opts or {}) } end

local function get(session, url, opts)
  local resp <close> = await(session:get(url, opts))
  return await(resp:text())
end

local function refused(class, session, url, opts)
  local ok, err = catch(get, session, url, opts)
  assert.is_false(ok)
  assert.is_true(isinstance(err, class), tostring(err))
  return err
end

local function sha256(name)
  local pipe <close> = assert(io.popen(("openssl x509 -in %s -noout -fingerprint -sha256"):format(certs.path(name))))
  return (pipe:read("a"):match("=([%x:]+)"))
end

describe("https", function()
  it("verifies by default, and says what is wrong", function()
    serve(nil, function(url)
      local session <close> = session_with()
      local e = refused(http.ClientConnectorCertificateError, session, url)
      assert.truthy(tostring(e):find("GET " .. url .. ": Cannot connect to host localhost", 1, true), tostring(e))
      assert.truthy(e.reason:find("CERTIFICATE_VERIFY_FAILED", 1, true))
      assert.is_true(isinstance(e.os_error, ssl.SSLCertVerificationError))
      assert.is_true(isinstance(e, http.ClientSSLError) and isinstance(e, http.ClientConnectorError))
    end)
  end)

  it("does not trust certificates that are expired, self-signed or another's", function()
    for name, text in pairs { expired = "expired", selfsigned = "self", other = "Hostname mismatch" } do
      serve(certs.server(name), function(url)
        local session <close> = session_with { ssl = certs.client() }
        local e = refused(http.ClientConnectorCertificateError, session, url)
        assert.truthy(e.reason:find(text, 1, true), e.reason)
        assert.equal("false http/1.1 nil", get(session, url, { ssl = false }))
        -- what was agreed on without verifying is no good to those who verify
        refused(http.ClientConnectorCertificateError, session, url)
      end)
    end
  end)

  it("trusts a CA of one's own, by session, connector and request", function()
    serve(nil, function(url)
      for _, make in ipairs {
        function() return session_with { ssl = certs.client() } end,
        function() return http.ClientSession { ssl = certs.client() } end,
      } do
        local session <close> = make()
        assert.equal("false http/1.1 nil", get(session, url))
      end
      local session <close> = http.ClientSession()
      assert.equal("false http/1.1 nil", get(session, url, { ssl = certs.client() }))
      refused(http.ClientConnectorCertificateError, session, url)
    end)
  end)

  it("asks for server_hostname", function()
    serve(certs.server("other"), function(url)
      local session <close> = session_with { ssl = certs.client() }
      refused(http.ClientConnectorCertificateError, session, url)
      assert.equal("false http/1.1 nil", get(session, url, { server_hostname = "other.test" }))
    end)
  end)

  it("shows a client's certificate", function()
    local context = certs.server()
    context.verify_mode = ssl.CERT_REQUIRED
    context:load_verify_locations(certs.path("root.pem"))
    context:load_verify_locations(certs.path("inter.pem"))
    serve(context, function(url)
      local client = certs.client()
      client:load_cert_chain(certs.path("client.pem"), certs.path("client.key"))
      local session <close> = session_with { ssl = client }
      assert.equal("false http/1.1 client", get(session, url))
      refused(http.ClientError, session, url, { ssl = certs.client() })
    end)
  end)

  it("pins a fingerprint", function()
    serve(nil, function(url)
      local session <close> = session_with()
      local right = sha256("good.pem")
      assert.equal("false http/1.1 nil", get(session, url, { ssl = http.Fingerprint(right) }))
      local e = refused(http.ServerFingerprintMismatch, session, url, { ssl = http.Fingerprint(("\1"):rep(32)) })
      assert.equal(("01"):rep(32), e.expected)
      assert.equal(right:gsub(":", ""):lower(), e.got)
      assert.equal("localhost", e.host)
      -- also where a session is taken up again
      local again <close> = session_with { force_close = true }
      for i = 1, 2 do
        assert.equal(("%s http/1.1 nil"):format(i > 1), get(again, url, { ssl = http.Fingerprint(right) }))
      end
    end)
  end)

  it("takes sessions up again on new connections", function()
    serve(nil, function(url)
      for _, version in ipairs { "TLSv1_2", "TLSv1_3" } do
        local context = certs.client()
        context.maximum_version = ssl.TLSVersion[version]
        local session <close> = session_with { force_close = true, ssl = context }
        for i = 1, 10 do assert.equal(("%s http/1.1 nil"):format(i > 1), get(session, url)) end
      end
    end)
  end)

  it("speaks to servers of HTTP on the same port as of no TLS", function()
    asyncio.run(function()
      local server <close> = await(asyncio.start_server(async(function(reader, writer)
        await(reader:read(100))
        writer:write("HTTP/1.1 400 Bad Request\r\n\r\n")
        writer:close()
      end), "127.0.0.1", 0))
      local session <close> = session_with()
      local e = refused(http.ClientConnectorSSLError, session, "https://127.0.0.1:" .. server.sockets[1].port)
      assert.truthy(e.reason:find("WRONG_VERSION_NUMBER", 1, true), e.reason)
      assert.is_false(isinstance(e, http.ClientConnectorCertificateError))
    end)
  end)

  it("ends when the server does in the handshake, or is too slow", function()
    helper.run(function()
      local server <close> = await(asyncio.start_server(async(function(reader, writer)
        await(reader:read(100))
        writer:close()
      end), "127.0.0.1", 0))
      local session <close> = session_with()
      local e = refused(http.ClientConnectorError, session, "https://127.0.0.1:" .. server.sockets[1].port)
      assert.truthy(e.code == "ECONNRESET" or e.code == "EPIPE", tostring(e))
      local slow <close> = await(asyncio.start_server(async(function(reader, writer)
        catch(function()
          await(reader:read(10000))
          await(asyncio.sleep(1000))
        end)
        writer:close()
      end), "127.0.0.1", 0))
      e = refused(http.ConnectionTimeoutError, session, "https://127.0.0.1:" .. slow.sockets[1].port,
        { timeout = http.ClientTimeout { sock_connect = 3 } })
      assert.truthy(tostring(e):find("3 s (sock_connect)", 1, true), tostring(e))
      e = refused(asyncio.TimeoutError, session, "https://127.0.0.1:" .. slow.sockets[1].port,
        { timeout = http.ClientTimeout { total = 2 } })
      assert.truthy(tostring(e):find("total", 1, true), tostring(e))
    end)
  end)

  it("agrees on a protocol that the context has", function()
    serve(nil, function(url)
      local client = certs.client()
      client:set_alpn_protocols { "spec" }
      local session <close> = session_with { ssl = client }
      assert.equal("false spec nil", get(session, url))
    end, { "spec", "http/1.1" })
  end)
end)

describe("the option ssl", function()
  it("is checked at the call", function()
    asyncio.run(function()
      local session <close> = http.ClientSession()
      for _, value in ipairs { 5, "yes", {}, print } do
        local e = helper.raises(asyncio.TypeError, function() return session:get("https://a/", { ssl = value }) end)
        assert.truthy(tostring(e):find("ssl should be an SSLContext, a Fingerprint or a boolean", 1, true), tostring(e))
      end
      helper.raises("context for servers", function() return session:get("https://a/", { ssl = certs.server() }) end)
      helper.raises("server_hostname", function() return session:get("https://a/", { server_hostname = "" }) end)
    end)
  end)

  it("may be a fingerprint of 32 bytes, in hexadecimal too", function()
    local bytes = ("\171"):rep(32)
    local a, b = http.Fingerprint(bytes), http.Fingerprint(("AB:"):rep(32):sub(1, -2))
    assert.equal(a, b)
    assert.equal(a, http.Fingerprint(("ab"):rep(32)))
    assert.equal("<Fingerprint " .. ("ab"):rep(32) .. ">", tostring(a))
    assert.equal(bytes, a.fingerprint)
    helper.raises("md5 and sha1 are insecure", http.Fingerprint, ("x"):rep(20))
    helper.raises("md5 and sha1 are insecure", http.Fingerprint, ("ab"):rep(16) .. ":" .. ("cd"):rep(4))
    helper.raises("has 32 bytes, got 5", http.Fingerprint, "abcde")
    helper.raises(asyncio.TypeError, http.Fingerprint, 5)
    helper.raises(asyncio.TypeError, http.Fingerprint)
  end)
end)
