-- HTTPS with other people's TLS: openssl s_server in each way that a handshake can fail; and servers that speak none.
local asyncio = require "asyncio"
local helper = require "spec.helper"

local has, http = pcall(require, "http")
if not has or not pcall(require, "http.client.core") then return pending("built without HTTP") end
if not helper.has_tls() then return pending("built without TLS") end
local certs = require "spec.certs"
local ssl = require "ssl"

--- Runs f(session, url) while `openssl s_server -www` runs with these arguments.
local function with_openssl(name, arguments, f)
  asyncio.run(async(function()
    local words = { "s_server", "-accept", "127.0.0.1:0", "-www", "-cert", certs.path(name .. ".pem"), "-key",
      certs.path(name .. ".key"), "-cert_chain", certs.path(name .. ".pem") }
    for _, word in ipairs(arguments) do words[#words + 1] = word end
    words[#words + 1] = { stdout = asyncio.PIPE, stderr = asyncio.subprocess.DEVNULL, stdin = asyncio.PIPE }
    local server <close> = await(asyncio.create_subprocess_exec("openssl", table.unpack(words)))
    local _ <close> = asyncio.timeout(60 * helper.slow)
    local port
    for line in server.stdout:lines() do
      port = line:match("^ACCEPT 127%.0%.0%.1:(%d+)")
      if port then break end
    end
    do
      local session <close> = http.ClientSession()
      f(session, ("https://127.0.0.1:%s/"):format(port))
    end
    server:kill()
    await(server:wait())
  end))
end

--- Runs f(session, url) against a server that does to each connection what it likes.
local function with_stranger(treat, f)
  asyncio.run(async(function()
    local server <close> = await(asyncio.start_server(function(reader, writer)
      local _ <close> = writer
      treat(reader, writer)
    end, "127.0.0.1", 0))
    local _ <close> = asyncio.timeout(60 * helper.slow)
    local session <close> = http.ClientSession()
    f(session, ("https://127.0.0.1:%d/"):format(server.sockets[1]:getsockname()[2]))
  end))
end

local function ask(session, url, opts)
  local resp <close> = await(session:get(url, opts))
  return resp.status, await(resp:text())
end

--- The error of a request: of the class, with method and URL, and with that reason.
local function refused(class, reason, session, url, opts)
  local e = helper.raises(class, ask, session, url, opts)
  local told = tostring(e)
  assert(told:find("GET " .. url, 1, true), told)
  assert(told:lower():find(reason, 1, true), told)
  assert(asyncio.isinstance(e, http.ClientConnectionError))
  assert(asyncio.isinstance(e, http.ClientError))
  return e
end

describe("HTTPS and OpenSSL's server", function()
  it("agree when the certificate is good", function()
    with_openssl("good", {}, function(session, url)
      local status, text = ask(session, url, { ssl = certs.client() })
      assert.equal(200, status)
      assert(text:find("Protocol", 1, true))
      assert.equal(200, (ask(session, url, { ssl = false })))
      assert.equal(200, (ask(session, url, { ssl = certs.client(), server_hostname = "a.wild.test" })))
    end)
  end)

  it("do not: an authority that nobody trusts", function()
    with_openssl("good", {}, function(session, url)
      refused(http.ClientConnectorCertificateError, "unable to get local issuer certificate", session, url)
    end)
  end)

  it("do not: another host's certificate", function()
    with_openssl("other", {}, function(session, url)
      refused(http.ClientConnectorCertificateError, "mismatch", session, url, { ssl = certs.client() })
      assert.equal(200, (ask(session, url, { ssl = certs.client(), server_hostname = "other.test" })))
    end)
  end)

  it("do not: expired, signed by itself, without its chain", function()
    local kinds = { expired = "expired", selfsigned = "self%-signed" }
    for name, reason in pairs(kinds) do
      with_openssl(name, {}, function(session, url)
        local e = refused(http.ClientConnectorCertificateError, reason:gsub("%%", ""), session, url,
          { ssl = certs.client(), server_hostname = "localhost" })
        assert(asyncio.isinstance(e, http.ClientSSLError))
        assert.equal(200, (ask(session, url, { ssl = false })))
      end)
    end
  end)

  it("do not: revoked", function()
    with_openssl("revoked", {}, function(session, url)
      local context = ssl.create_default_context({ cafile = certs.path("trust-crl.pem") })
      context.verify_flags = ssl.VERIFY_CRL_CHECK_CHAIN
      refused(http.ClientConnectorCertificateError, "revoked", session, url,
        { ssl = context, server_hostname = "localhost" })
    end)
  end)

  it("do not: a version that is too old", function()
    with_openssl("good", { "-tls1_2" }, function(session, url)
      local context = certs.client()
      context.minimum_version = ssl.TLSVersion.TLSv1_3
      refused(http.ClientConnectorSSLError, "version", session, url, { ssl = context })
      assert.equal(200, (ask(session, url, { ssl = certs.client() })))
    end)
  end)

  it("do not: no cipher in common", function()
    with_openssl("good", { "-tls1_2", "-cipher", "ECDHE-ECDSA-AES256-GCM-SHA384" }, function(session, url)
      local context = certs.client()
      context.maximum_version = ssl.TLSVersion.TLSv1_2
      context:set_ciphers("ECDHE-ECDSA-AES128-GCM-SHA256")
      refused(http.ClientConnectorSSLError, "handshake failure", session, url, { ssl = context })
    end)
  end)

  it("do not: a certificate of ours is asked for, and there is none", function()
    local wants = { "-Verify", "2", "-verify_return_error", "-CAfile", certs.path("root.pem") }
    with_openssl("good", wants, function(session, url)
      -- with TLS 1.3 the server says so when we have begun to speak
      helper.raises(http.ClientError, ask, session, url, { ssl = certs.client() })
      local older = certs.client()
      older.maximum_version = ssl.TLSVersion.TLSv1_2
      refused(http.ClientConnectorSSLError, "handshake failure", session, url, { ssl = older })
      local own = certs.client()
      own:load_cert_chain(certs.path("client.pem"), certs.path("client.key"))
      assert.equal(200, (ask(session, url, { ssl = own })))
    end)
  end)

  it("agree on a fingerprint, and on no other", function()
    with_openssl("selfsigned", {}, function(session, url)
      local _, printed = helper.sh("openssl x509 -noout -fingerprint -sha256 -in " .. certs.path("selfsigned.pem"))
      local digest = printed:match("=([%x:]+)")
      assert.equal(200, (ask(session, url, { ssl = http.Fingerprint(digest) })))
      local e = helper.raises(http.ServerFingerprintMismatch, ask, session, url,
        { ssl = http.Fingerprint(("\1"):rep(32)) })
      assert(tostring(e):find("GET " .. url, 1, true), tostring(e))
    end)
  end)
end)

describe("HTTPS and a server that speaks no TLS", function()
  it("ends with an error that says so", function()
    with_stranger(function(reader, writer)
      await(reader:read(100))
      writer:write("HTTP/1.0 400 Bad Request\r\n\r\n")
    end, function(session, url)
      refused(http.ClientConnectorSSLError, "wrong version number", session, url)
    end)
  end)

  it("ends with an error when it closes, at once or in the middle", function()
    for _, n in ipairs { 0, 1 } do
      with_stranger(function(reader) if n > 0 then await(reader:read(n)) end end, function(session, url)
        local e = helper.raises(http.ClientConnectorError, ask, session, url)
        assert(tostring(e):find("GET " .. url, 1, true), tostring(e))
      end)
    end
  end)

  it("ends in time when it says nothing", function()
    with_stranger(function(reader) await(reader:read()) end, function(session, url)
      local e = helper.raises(asyncio.TimeoutError, ask, session, url, { timeout = { total = 0.05 } })
      assert(tostring(e):find("GET " .. url, 1, true), tostring(e))
      e = helper.raises(http.ServerTimeoutError, ask, session, url, { timeout = { connect = 0.05 } })
      assert(tostring(e):find("GET " .. url, 1, true), tostring(e))
      helper.raises(http.ConnectionTimeoutError, ask, session, url, { timeout = { sock_connect = 0.05 } })
    end)
  end)

  it("is told from HTTP asked of a server that speaks TLS", function()
    with_openssl("good", {}, function(session, url)
      helper.raises(http.ClientError, ask, session, (url:gsub("https", "http")))
    end)
  end)
end)
