--- TLS connections between our two sides: handshakes, who is trusted, what is told of them, and every way to end.

if not require("spec.helper").has_tls() then return end

local asyncio = require "asyncio"
local certs = require "spec.certs"
local helper = require "spec.helper"
local peer = require "spec.tlspeer"
local ssl = require "ssl"

local run = asyncio.run
local path = certs.path

local echo, open = peer.echo, peer.open

local function serve(cb, context, opts)
  opts = opts or {}
  opts.ssl = context
  return peer.serve(cb, opts)
end

local function close(writer)
  writer:close()
  await(writer:wait_closed())
end

local function refused(port, opts)
  local e = helper.raises(asyncio.OSError, open, port, opts)
  return e
end

describe("a TLS connection", function()
  it("carries bytes both ways", function()
    run(function()
      local _server <close>, port = serve()
      local r, w = open(port)
      w:write("hello\n")
      assert.equal("hello\n", await(r:readline()))
      w:writelines { "a", ("b"):rep(20000), "", "c" }
      assert.equal("a" .. ("b"):rep(20000) .. "c", await(r:readexactly(20002)))
      local big = ("0123456789"):rep(100000)
      w:write(big)
      assert.equal(big, await(r:readexactly(#big)))
      close(w)
    end)
  end)

  it("speaks TLS 1.2 and 1.3", function()
    run(function()
      local _server <close>, port = serve()
      for _, name in ipairs { "TLSv1.2", "TLSv1.3" } do
        local context = certs.client()
        context.maximum_version = ssl.TLSVersion[name:gsub("%.", "_")]
        local r, w = open(port, { ssl = context })
        local object = w:get_extra_info("ssl_object")
        assert.equal(name, object:version())
        assert.equal(name, w:get_extra_info("cipher")[2])
        assert.equal(#object:cipher()[1] > 5 and 3, #object:cipher())
        w:write("x")
        assert.equal("x", await(r:read(10)))
        close(w)
      end
      local old = certs.client()
      old.minimum_version = ssl.TLSVersion.TLSv1
      old.maximum_version = ssl.TLSVersion.TLSv1_1
      assert.is_true(asyncio.isinstance(refused(port, { ssl = old }), ssl.SSLError))
    end)
  end)

  it("works over unix sockets", function()
    run(function()
      local file = helper.tmpdir() .. "/s"
      local _server <close> = await(asyncio.start_unix_server(echo, file, { ssl = certs.server() }))
      local r, w = await(asyncio.open_unix_connection(file, { ssl = certs.client(), server_hostname = "localhost" }))
      w:write("unix")
      assert.equal("unix", await(r:read(10)))
      close(w)
      helper.raises("You must set server_hostname", asyncio.open_unix_connection, file, { ssl = true })
    end)
  end)

  it("tells of the peer's certificate as Python does", function()
    run(function()
      local _server <close>, port = serve()
      local _, w = open(port)
      local cert = w:get_extra_info("peercert")
      assert.same({ { { "organizationName", "Spec" } }, { { "commonName", "localhost" } } }, cert.subject)
      assert.same({ { { "organizationName", "Spec" } }, { { "commonName", "Intermediate" } } }, cert.issuer)
      assert.same({ { "DNS", "localhost" }, { "DNS", "*.wild.test" }, { "IP Address", "127.0.0.1" }, { "IP Address", "::1" } },
        cert.subjectAltName)
      assert.same({ 3, "0A" }, { cert.version, cert.serialNumber })
      assert.truthy(cert.notBefore:find("^%u%l%l [ %d]%d %d%d:%d%d:%d%d %d%d%d%d GMT$"))
      local object = w:get_extra_info("ssl_object")
      local der = object:getpeercert(true)
      assert.equal(der, object:get_verified_chain()[1])
      assert.equal(3, #object:get_verified_chain())
      assert.equal(2, #object:get_unverified_chain())
      assert.equal(io.open(path "good.pem"):read("a"):match("^.-END CERTIFICATE%-%-%-%-%-\n"), ssl.DER_cert_to_PEM_cert(der))
      close(w)
      -- it outlives the connection
      assert.equal("localhost", object:getpeercert().subject[2][1][2])
      assert.equal("localhost", object.server_hostname)
      assert.equal(object, w:get_extra_info("ssl_object"))
      helper.raises("during the handshake alone", function() object.context = certs.client() end)
    end)
  end)

  it("has extra information, and none without TLS", function()
    run(function()
      local _server <close>, port = serve()
      local context = certs.client()
      local _, w = open(port, { ssl = context })
      local object = w:get_extra_info("ssl_object")
      assert.equal(context, w:get_extra_info("sslcontext"))
      assert.equal(context, object.context)
      assert.is_false(object.server_side)
      assert.is_nil(w:get_extra_info("compression"))
      assert.is_nil(w:get_extra_info("alpn"))
      assert.is_nil(object:shared_ciphers())
      assert.is_nil(object.nonsense)
      assert.equal(0, object:pending())
      assert.equal("<SSLObject client TLSv1.3>", tostring(object))
      assert.equal(port, w:get_extra_info("peername").port)
      assert.equal("table", type(w:get_extra_info("socket")))
      helper.raises("cannot be set", function() object.x = 1 end)
      helper.raises("SSLContext", function() object.context = 1 end)
      helper.raises(asyncio.ValueError, object.get_channel_binding, object, "other")
      close(w)
      local plain <close> = await(asyncio.start_server(echo, "127.0.0.1", 0))
      local _, p = await(asyncio.open_connection("127.0.0.1", plain.sockets[1].port))
      assert.is_nil(p:get_extra_info("ssl_object"))
      assert.equal(7, p:get_extra_info("peercert", 7))
      close(p)
    end)
  end)

  it("agrees on a protocol (ALPN)", function()
    run(function()
      local context, seen = certs.server(), nil
      context:set_alpn_protocols { "h2", "http/1.1" }
      local _server <close>, port = serve(async(function(_, w)
        seen = w:get_extra_info("alpn")
        w:close()
      end), context)
      for _, case in ipairs { { { "http/1.1", "h2" }, "h2" }, { { "http/1.1" }, "http/1.1" }, { { "other" } }, { {} } } do
        local client = certs.client()
        client:set_alpn_protocols(case[1])
        local r, w = open(port, { ssl = client })
        assert.equal(case[2], w:get_extra_info("alpn"))
        assert.equal(case[2], w:get_extra_info("ssl_object"):selected_alpn_protocol())
        await(r:read())
        assert.equal(case[2], seen)
        close(w)
      end
    end)
  end)

  it("has the same channel binding on both sides", function()
    run(function()
      local binding, ciphers
      local _server <close>, port = serve(async(function(_, w)
        local object = w:get_extra_info("ssl_object")
        binding, ciphers = object:get_channel_binding("tls-unique"), object:shared_ciphers()
        w:close()
      end))
      local context = certs.client()
      context.maximum_version = ssl.TLSVersion.TLSv1_2
      local r, w = open(port, { ssl = context })
      await(r:read())
      assert.equal(12, #binding)
      assert.equal(binding, w:get_extra_info("ssl_object"):get_channel_binding("tls-unique"))
      assert.equal(3, #ciphers[1])
      close(w)
    end)
  end)

  it("takes a session up again", function()
    run(function()
      local context = certs.server()
      local _server <close>, port = serve(nil, context)
      for _, version in ipairs { "TLSv1_2", "TLSv1_3" } do
        local client = certs.client()
        client.maximum_version = ssl.TLSVersion[version]
        local session
        for i = 1, 3 do
          local r, w = open(port, { ssl = client, session = session })
          w:write("x")
          assert.equal("x", await(r:read(1)))
          local object = w:get_extra_info("ssl_object")
          assert.equal(i > 1, object.session_reused)
          session = object.session
          assert.is_true(session.has_ticket)
          assert.is_true(session.timeout > 0 and session.time > 0 and #session.id > 0)
          close(w)
        end
      end
      assert.is_true(context:session_stats().hits >= 4)
      helper.raises("session must be an SSLSession", open, port, { session = 1 })
    end)
  end)
end)

describe("a TLS client", function()
  local function serves(name, f)
    run(function()
      local _server <close>, port = serve(nil, certs.server(name))
      f(port)
    end)
  end

  local function unverified(port, opts, code, text)
    local e = refused(port, opts)
    assert.is_true(asyncio.isinstance(e, ssl.SSLCertVerificationError), tostring(e))
    assert.same({ code, "CERTIFICATE_VERIFY_FAILED", "CERTIFICATE_VERIFY_FAILED" }, { e.verify_code, e.code, e.reason })
    assert.equal(("TLS handshake with 127.0.0.1:%d failed: [SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: %s")
      :format(port, text), e.message)
    assert.equal(text, e.verify_message)
  end

  it("refuses who is not trusted", function()
    serves("good", function(port)
      unverified(port, { ssl = ssl.create_default_context() }, 20, "unable to get local issuer certificate")
      unverified(port, { ssl = true }, 20, "unable to get local issuer certificate")
    end)
    serves("selfsigned", function(port)
      unverified(port, {}, 18, "self-signed certificate")
    end)
  end)

  it("refuses an incomplete chain", function()
    run(function()
      local context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
      local f = io.open(path "good.pem")
      context:load_cert_chain(helper.tmpfile(f:read("a"):match("^.-END CERTIFICATE%-%-%-%-%-\n")), path "good.key")
      f:close()
      local _server <close>, port = serve(nil, context)
      unverified(port, {}, 20, "unable to get local issuer certificate")
      local trusting = certs.client()
      trusting:load_verify_locations(path "inter-alone.pem")
      local _, w = open(port, { ssl = trusting })
      close(w)
    end)
  end)

  it("refuses an expired certificate", function()
    serves("expired", function(port) unverified(port, {}, 10, "certificate has expired") end)
  end)

  it("refuses the certificate of another host", function()
    serves("other", function(port)
      unverified(port, {}, 62, "Hostname mismatch, certificate is not valid for 'localhost'.")
      unverified(port, { server_hostname = "127.0.0.1" }, 64,
        "IP address mismatch, certificate is not valid for '127.0.0.1'.")
      local _, w = open(port, { server_hostname = "other.test" })
      close(w)
      local careless = certs.client()
      careless.check_hostname = false
      _, w = open(port, { ssl = careless })
      close(w)
    end)
  end)

  it("knows wildcards and IP addresses", function()
    serves("good", function(port)
      for _, name in ipairs { "a.wild.test", "127.0.0.1", "::1", "LOCALHOST" } do
        local _, w = open(port, { server_hostname = name })
        close(w)
      end
      unverified(port, { server_hostname = "a.b.wild.test" }, 62,
        "Hostname mismatch, certificate is not valid for 'a.b.wild.test'.")
      unverified(port, { server_hostname = "127.0.0.2" }, 64,
        "IP address mismatch, certificate is not valid for '127.0.0.2'.")
    end)
  end)

  it("refuses a revoked certificate, if it has the lists", function()
    local function context()
      local c = ssl.create_default_context({ cafile = path "trust-crl.pem" })
      c.verify_flags = c.verify_flags | ssl.VERIFY_CRL_CHECK_CHAIN
      return c
    end
    serves("revoked", function(port)
      unverified(port, { ssl = context() }, 23, "certificate revoked")
      local _, w = open(port) -- without lists nobody knows
      close(w)
    end)
    serves("good", function(port)
      local _, w = open(port, { ssl = context() })
      close(w)
      local none = certs.client()
      none.verify_flags = none.verify_flags | ssl.VERIFY_CRL_CHECK_LEAF
      unverified(port, { ssl = none }, 3, "unable to get certificate CRL")
    end)
  end)

  it("takes anybody with CERT_NONE, and says no more of him", function()
    serves("selfsigned", function(port)
      local context = certs.client()
      context.check_hostname = false
      context.verify_mode = ssl.CERT_NONE
      local _, w = open(port, { ssl = context })
      assert.same({}, w:get_extra_info("peercert"))
      assert.equal("string", type(w:get_extra_info("ssl_object"):getpeercert(true)))
      close(w)
    end)
  end)

  it("says what it expected", function()
    local connect = asyncio.open_connection
    for _, case in ipairs {
      { asyncio.TypeError, "ssl must be an SSLContext or true, got a string", { ssl = "yes" } },
      { asyncio.TypeError, "server_hostname must be a string, got a number", { ssl = true, server_hostname = 1 } },
      { asyncio.ValueError, "start with a leading dot", { ssl = true, server_hostname = ".x" } },
      { asyncio.ValueError, "zero byte", { ssl = true, server_hostname = "a\0" } },
      { asyncio.ValueError, "ssl_handshake_timeout should be a positive number, got 0",
        { ssl = true, ssl_handshake_timeout = 0 } },
      { asyncio.TypeError, "ssl_shutdown_timeout must be a number", { ssl = true, ssl_shutdown_timeout = "1" } },
      { asyncio.ValueError, "ssl_handshake_timeout is only meaningful with ssl", { ssl_handshake_timeout = 1 } },
      { asyncio.ValueError, "session is only meaningful with ssl", { session = 1 } },
      { asyncio.ValueError, "check_hostname requires server_hostname", { ssl = certs.client(), server_hostname = "" } },
    } do
      local e = helper.raises(case[1], function() local _ = connect("127.0.0.1", 1, case[3]) end)
      assert.truthy(e.message:find(case[2], 1, true), e.message)
      assert.truthy(e.message:find("^spec/"), e.message)
    end
    helper.raises("ssl must be an SSLContext, got a boolean", asyncio.start_server, echo, nil, 0, { ssl = true })
    helper.raises("server_hostname is only meaningful for a client", asyncio.start_server, echo, nil, 0,
      { ssl = certs.server(), server_hostname = "x" })
  end)
end)

describe("a TLS server", function()
  it("asks for certificates", function()
    run(function()
      local context, seen = certs.server(), nil
      context.verify_mode = ssl.CERT_REQUIRED
      context:load_verify_locations(path "root.pem")
      local _server <close>, port = serve(async(function(r, w)
        seen = w:get_extra_info("peercert")
        assert.equal(3, #w:get_extra_info("ssl_object"):get_verified_chain())
        assert.equal(2, #w:get_extra_info("ssl_object"):get_unverified_chain())
        await(echo(r, w))
      end), context)
      local client = certs.client()
      client:load_cert_chain(path "client.pem", path "client.key")
      local r, w = open(port, { ssl = client })
      w:write("x")
      assert.equal("x", await(r:read(1)))
      assert.equal("client", seen.subject[2][1][2])
      assert.same({ { "email", "client@spec.test" } }, seen.subjectAltName)
      close(w)
      for _, version in ipairs { "TLSv1_2", "TLSv1_3" } do -- TLS 1.3 tells a client when it reads
        client = certs.client()
        client.maximum_version = ssl.TLSVersion[version]
        local e = helper.raises(ssl.SSLError, function()
          r = open(port, { ssl = client })
          await(r:read(1))
        end)
        assert.truthy(e.reason:find("ALERT"), e.reason)
      end
    end)
  end)

  it("chooses a certificate by the name that is asked for", function()
    run(function()
      local context, other, seen = certs.server(), certs.server("other"), {}
      context.sni_callback = function(object, name, ctx)
        seen[#seen + 1] = { name, ctx == context, object.server_side, object:version() }
        if name == "other.test" then object.context = other end
        if name == "a.wild.test" then return ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME end
      end
      local _server <close>, port = serve(async(function(_, w)
        seen[#seen + 1] = w:get_extra_info("sslcontext")
        w:close()
      end), context)
      local r, w = open(port)
      await(r:read())
      close(w)
      r, w = open(port, { server_hostname = "other.test" })
      await(r:read())
      close(w)
      assert.same({ { "localhost", true, true }, context, { "other.test", true, true }, other }, seen)
      local e = refused(port, { server_hostname = "a.wild.test" })
      assert.equal("TLSV1_UNRECOGNIZED_NAME", e.reason)
      seen = {}
      w = select(2, open(port, { server_hostname = "127.0.0.1" })) -- an address is no name
      assert.same({ { nil, true, true } }, { seen[1] })
      close(w)
      context.sni_callback = nil
      r, w = open(port)
      await(r:read())
      close(w)
    end)
  end)

  it("survives an SNI callback that fails", function()
    run(function()
      local context, told = certs.server(), {}
      asyncio.get_running_loop():set_exception_handler(function(_, c) told[#told + 1] = c.message end)
      local _server <close>, port = serve(nil, context)
      for _, f in ipairs {
        function() error("boom") end, function() return "x" end,
        function() await(asyncio.sleep(0)) end,
      } do
        context:set_servername_callback(f)
        refused(port)
      end
      assert.same({ "sni_callback failed", "sni_callback failed", "sni_callback failed" }, told)
      context:set_servername_callback(nil)
      local _, w = open(port)
      close(w)
    end)
  end)

  it("survives handshakes that fail, and is quiet about them", function()
    run(function()
      local told = {}
      asyncio.get_running_loop():set_exception_handler(function(_, c) told[#told + 1] = c.message end)
      local _server <close>, port = serve()
      for _, bytes in ipairs {
        "GET / HTTP/1.1\r\n\r\n", "", "\x16\x03\x01\xff\xff" .. ("x"):rep(70000), "\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00",
        "\x80\x2e\x01\x00\x02", "\x15\x03\x01\x00\x02\x02\x28", ("\0"):rep(100),
      } do
        local r, w = await(asyncio.open_connection("127.0.0.1", port))
        w:write(bytes)
        w:write_eof()
        asyncio.catch(await, r:read())
        w:close()
        asyncio.catch(await, w:wait_closed())
      end
      refused(port, { ssl = ssl.create_default_context() })
      assert.same({}, told)
      local r, w = open(port)
      w:write("still here")
      assert.equal("still here", await(r:readexactly(10)))
      close(w)
    end)
  end)

  it("says in debug mode why a handshake failed", function()
    local script = helper.tmpfile(([[
      package.path = "./?.lua;" .. package.path
      local asyncio, ssl, certs = require "asyncio", require "ssl", require "spec.certs"
      asyncio.run(function()
        local server <close> = await(asyncio.start_server(print, "127.0.0.1", 0, { ssl = certs.server() }))
        local r, w = await(asyncio.open_connection("127.0.0.1", server.sockets[1].port))
        w:write("GET / HTTP/1.1\r\n\r\n")
        await(r:read())
        w:close()
      end, { debug = %s })]]):format("true"), ".lua")
    local status, out, err = helper.cli({ script })
    assert.same({ 0, "" }, { status, out })
    assert.truthy(err:find("SSLError: TLS handshake with 127.0.0.1:%d+ failed: %[SSL: HTTP_REQUEST%] http request"), err)
  end)

  it("has protocols too", function()
    run(function()
      local loop, log, done = asyncio.get_running_loop(), {}, asyncio.Event()
      local server <close> = await(loop:create_server(function()
        return {
          connection_made = function(self, transport)
            self.transport = transport
            log[#log + 1] = "made " .. transport:get_extra_info("ssl_object"):version()
          end,
          data_received = function(self, data)
            log[#log + 1] = data
            self.transport:write(data:upper())
          end,
          eof_received = function() log[#log + 1] = "eof" end,
          connection_lost = function(_, e)
            log[#log + 1] = "lost " .. tostring(e)
            done:set()
          end,
        }
      end, "127.0.0.1", 0, { ssl = certs.server() }))
      local got, lost = loop:create_future(), loop:create_future()
      local transport = await(loop:create_connection(function()
        return {
          connection_made = function(_, t) t:write("hello") end,
          data_received = function(_, data) got:set_result(data) end,
          connection_lost = function(_, e) lost:set_result(tostring(e)) end,
        }
      end, "127.0.0.1", server.sockets[1].port, { ssl = certs.client(), server_hostname = "localhost" }))
      assert.equal("HELLO", await(got))
      assert.equal("TLSv1.3", transport:get_extra_info("ssl_object"):version())
      transport:close()
      assert.equal("nil", await(lost))
      await(done:wait())
      assert.same({ "made TLSv1.3", "hello", "eof", "lost nil" }, log)
    end)
  end)

  it("tells a factory's error and goes on", function()
    run(function()
      local loop, told, n = asyncio.get_running_loop(), {}, 0
      loop:set_exception_handler(function(_, c) told[#told + 1] = c.message end)
      local server <close> = await(loop:create_server(function()
        n = n + 1
        if n == 1 then error("no protocol") end
        return {}
      end, "127.0.0.1", 0, { ssl = certs.server() }))
      local r, w = open(server.sockets[1].port)
      asyncio.catch(await, r:read())
      w:close()
      asyncio.catch(await, w:wait_closed())
      assert.same({ "Error on transport creation for incoming connection" }, told)
      w = select(2, open(server.sockets[1].port))
      w:close()
      await(w:wait_closed())
      assert.equal(2, n)
    end)
  end)

  it("waits for its connections, also those that shake hands", function()
    run(function()
      local server, port = serve()
      local _, raw = await(asyncio.open_connection("127.0.0.1", port))
      local r, w = open(port)
      server:close()
      local waiting = asyncio.create_task(server:wait_closed())
      w:write("x")
      assert.equal("x", await(r:read(1)))
      assert.is_false(waiting:done())
      server:abort_clients()
      await(waiting)
      raw:close()
      asyncio.catch(await, r:read())
      w:close()
      asyncio.catch(await, w:wait_closed())
    end)
  end)
end)
