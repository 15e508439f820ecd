--- ssl: contexts and their rules, which are Python's.

local asyncio = require "asyncio"
local certs = require "spec.certs"
local helper = require "spec.helper"

if not helper.has_tls() then
  describe("a build without TLS", function()
    it("says so", function()
      helper.raises("module ssl: this build has no TLS", require, "ssl")
      helper.raises("open_connection() with ssl: this build has no TLS", asyncio.open_connection, "x", 1, { ssl = true })
      local server = asyncio.start_server
      helper.raises("start_server() with ssl: this build has no TLS", server, print, "x", 1, { ssl = {} })
    end)
  end)
  return
end

local ssl = require "ssl"

local path = certs.path

describe("ssl.create_default_context", function()
  it("verifies servers by default", function()
    local context = ssl.create_default_context()
    assert.equal(ssl.PROTOCOL_TLS_CLIENT, context.protocol)
    assert.equal(ssl.CERT_REQUIRED, context.verify_mode)
    assert.is_true(context.check_hostname)
    assert.equal(ssl.TLSVersion.TLSv1_2, context.minimum_version)
    assert.equal(ssl.TLSVersion.MAXIMUM_SUPPORTED, context.maximum_version)
    local strict = ssl.VERIFY_X509_PARTIAL_CHAIN | ssl.VERIFY_X509_STRICT | ssl.VERIFY_X509_TRUSTED_FIRST
    assert.equal(strict, context.verify_flags)
  end)

  it("asks clients for nothing when it is a server's", function()
    local context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    assert.equal(ssl.PROTOCOL_TLS_SERVER, context.protocol)
    assert.equal(ssl.CERT_NONE, context.verify_mode)
    assert.is_false(context.check_hostname)
  end)

  it("trusts what it is given instead of the system", function()
    for _, where in ipairs { { cafile = path "root.pem" }, { cadata = io.open(path "root.pem"):read("a") } } do
      local context = ssl.create_default_context(where)
      assert.same({ x509 = 1, crl = 0, x509_ca = 1 }, context:cert_store_stats())
      assert.equal("Root", context:get_ca_certs()[1].subject[2][1][2])
      assert.equal(1, #context:get_ca_certs(true))
      context:load_verify_locations { cadata = context:get_ca_certs(true)[1] } -- DER
      assert.equal(1, context:cert_store_stats().x509)
    end
    assert.same({ x509 = 1, crl = 2, x509_ca = 1 },
      ssl.create_default_context({ cafile = path "trust-crl.pem" }):cert_store_stats())
  end)

  it("says what is wrong", function()
    helper.raises("a Purpose was expected, got a string", ssl.create_default_context, "x")
    helper.raises("unexpected keyword argument 'ca'", ssl.create_default_context, { ca = 1 })
    local e = helper.raises(asyncio.OSError, ssl.create_default_context, { cafile = "/nowhere.pem" })
    assert.same({ "ENOENT", "load_verify_locations '/nowhere.pem' failed: no such file or directory" }, { e.code, e.message })
    e = helper.raises(ssl.SSLError, ssl.create_default_context, { cadata = "rubbish" })
    assert.truthy(e.reason)
    helper.raises(ssl.SSLError, ssl.create_default_context, { cadata = "" })
    helper.raises(ssl.SSLError, ssl.create_default_context, { cafile = path "good.key" })
  end)
end)

describe("SSLContext", function()
  it("is made for one side", function()
    helper.raises(asyncio.ValueError, ssl.SSLContext)
    helper.raises(asyncio.ValueError, ssl.SSLContext, 2)
    assert.equal("<SSLContext client>", tostring(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)))
    assert.is_true(asyncio.isinstance(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext))
  end)

  it("keeps check_hostname and verify_mode in step", function()
    local context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    local e = helper.raises(asyncio.ValueError, function() context.verify_mode = ssl.CERT_NONE end)
    assert.truthy(e.message:find("Cannot set verify_mode to CERT_NONE when check_hostname is enabled.", 1, true))
    context.check_hostname = false
    context.verify_mode = ssl.CERT_NONE
    assert.equal(ssl.CERT_NONE, context.verify_mode)
    context.check_hostname = true
    assert.equal(ssl.CERT_REQUIRED, context.verify_mode)
    context.verify_mode = ssl.CERT_OPTIONAL
    assert.equal(ssl.CERT_OPTIONAL, context.verify_mode)
    helper.raises(asyncio.ValueError, function() context.verify_mode = 3 end)
    helper.raises("verify_mode: an integer was expected, got a string", function() context.verify_mode = "x" end)
  end)

  it("has versions", function()
    local context, v = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), ssl.TLSVersion
    context.minimum_version = v.TLSv1_3
    assert.equal(v.TLSv1_3, context.minimum_version)
    context.minimum_version = v.MINIMUM_SUPPORTED
    assert.equal(v.MINIMUM_SUPPORTED, context.minimum_version)
    context.maximum_version = v.TLSv1_2
    assert.equal(v.TLSv1_2, context.maximum_version)
    context.maximum_version = v.MAXIMUM_SUPPORTED
    assert.equal(v.MAXIMUM_SUPPORTED, context.maximum_version)
    helper.raises(asyncio.ValueError, function() context.minimum_version = 7 end)
    helper.raises(asyncio.ValueError, function() context.minimum_version = 0x300 end)
    helper.raises(asyncio.TypeError, function() context.minimum_version = "1.2" end)
  end)

  it("has flags and options", function()
    local context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.verify_flags = ssl.VERIFY_CRL_CHECK_CHAIN
    assert.equal(ssl.VERIFY_CRL_CHECK_CHAIN, context.verify_flags)
    context.verify_flags = 0
    assert.equal(0, context.verify_flags)
    assert.equal(0, context.options & ssl.OP_IGNORE_UNEXPECTED_EOF)
    assert.equal(ssl.OP_NO_COMPRESSION, context.options & ssl.OP_NO_COMPRESSION)
    context.options = context.options | ssl.OP_NO_TICKET
    assert.equal(ssl.OP_NO_TICKET, context.options & ssl.OP_NO_TICKET)
    context.options = context.options & ~ssl.OP_NO_TICKET
    assert.equal(0, context.options & ssl.OP_NO_TICKET)
    assert.equal(2, context.num_tickets)
    context.num_tickets = 0
    assert.equal(0, context.num_tickets)
    assert.is_true(context.hostname_checks_common_name)
    context.hostname_checks_common_name = false
    assert.is_false(context.hostname_checks_common_name)
    helper.raises(asyncio.ValueError, function() context.options = -1 end)
    helper.raises(asyncio.ValueError, function() ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).num_tickets = 1 end)
  end)

  it("has no other fields", function()
    local context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    assert.is_nil(context.nonsense)
    helper.raises("SSLContext has no attribute 'verify'", function() context.verify = 1 end)
    helper.raises(asyncio.TypeError, context.get_ciphers)
    helper.raises(asyncio.TypeError, context.get_ciphers, {})
  end)

  it("loads certificates and keys", function()
    local context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context:load_cert_chain(path "good.pem", path "good.key")
    context:load_cert_chain(path "both.pem")
    context:load_cert_chain(path "good.pem", path "encrypted.key", "secret")
    local asked = 0
    context:load_cert_chain(path "good.pem", path "encrypted.key", function()
      asked = asked + 1
      return "secret"
    end)
    assert.equal(1, asked)
    context:load_cert_chain(path "good.pem", path "good.key", function() error("not asked for") end)
  end)

  it("says which file it could not load, and why", function()
    local context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    local load = context.load_cert_chain
    local e = helper.raises(asyncio.OSError, load, context, "/nowhere.pem")
    assert.same({ "ENOENT", "load_cert_chain '/nowhere.pem' failed: no such file or directory" }, { e.code, e.message })
    e = helper.raises(asyncio.OSError, load, context, path "good.pem", "/nowhere.key")
    assert.same({ "ENOENT", "load_cert_chain '/nowhere.key' failed: no such file or directory" }, { e.code, e.message })
    e = helper.raises(ssl.SSLError, load, context, path "good.pem", path "other.key")
    assert.same({ "KEY_VALUES_MISMATCH", "X509" }, { e.reason, e.library:sub(1, 4) })
    e = helper.raises(ssl.SSLError, load, context, path "good.pem")
    assert.equal("NO_START_LINE", e.reason)
    helper.raises(ssl.SSLError, load, context, helper.tmpfile("rubbish"))
    helper.raises(asyncio.TypeError, load, context)
    helper.raises(asyncio.TypeError, load, context, 7)
    helper.raises("zero byte", load, context, "a\0b")
  end)

  it("never asks for a password on a terminal", function()
    local context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    local load, cert, key = context.load_cert_chain, path "good.pem", path "encrypted.key"
    helper.raises("the key is encrypted and no password was given", load, context, cert, key)
    local e = helper.raises(ssl.SSLError, load, context, cert, key, "wrong")
    assert.is_nil(tostring(e):find("wrong", 1, true))
    helper.raises("boom", load, context, cert, key, function() error("boom", 0) end)
    helper.raises("the password must be a string, got nil", load, context, cert, key, function() end)
    helper.raises("longer than", load, context, cert, key, ("x"):rep(5000))
    helper.raises(asyncio.TypeError, load, context, cert, key, 7)
  end)

  it("chooses ciphers, curves and protocols", function()
    local context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context:set_ciphers("ECDHE-RSA-AES128-GCM-SHA256")
    local names = {}
    for _, cipher in ipairs(context:get_ciphers()) do names[cipher.name] = cipher end
    assert.same({ 128, 128, "TLSv1.2", true }, {
      names["ECDHE-RSA-AES128-GCM-SHA256"].strength_bits, names["ECDHE-RSA-AES128-GCM-SHA256"].alg_bits,
      names["ECDHE-RSA-AES128-GCM-SHA256"].protocol, names["ECDHE-RSA-AES128-GCM-SHA256"].aead,
    })
    assert.is_nil(names["ECDHE-RSA-AES256-GCM-SHA384"])
    local e = helper.raises(ssl.SSLError, context.set_ciphers, context, "NONE-SUCH")
    assert.equal("NO_CIPHER_MATCH", e.reason)
    context:set_ecdh_curve("prime256v1")
    helper.raises(asyncio.ValueError, context.set_ecdh_curve, context, "none-such")
    context:set_alpn_protocols { "h2", "http/1.1" }
    context:set_alpn_protocols {}
    helper.raises(asyncio.ValueError, context.set_alpn_protocols, context, { "" })
    helper.raises(asyncio.TypeError, context.set_alpn_protocols, context, { 1 })
    helper.raises(asyncio.TypeError, context.set_alpn_protocols, context, "h2")
    helper.raises(asyncio.TypeError, function() context.sni_callback = 1 end)
  end)

  it("is collected with all it has", function()
    for _ = 1, 50 do
      local context = certs.server()
      context:set_alpn_protocols { "h2" }
      context.sni_callback = function() return context end
    end
    collectgarbage()
  end)
end)

describe("ssl", function()
  it("has errors under OSError", function()
    assert.is_true(asyncio.isinstance(ssl.SSLError("x"), asyncio.OSError))
    for _, name in ipairs { "SSLEOFError", "SSLZeroReturnError", "SSLCertVerificationError" } do
      assert.is_true(asyncio.isinstance(ssl[name]("x"), ssl.SSLError))
      assert.equal(name .. ": x", tostring(ssl[name]("x")))
    end
    assert.truthy(ssl.OPENSSL_VERSION:find("^OpenSSL 3"))
  end)

  it("makes PEM of DER", function()
    local der = ssl.create_default_context({ cafile = path "root.pem" }):get_ca_certs(true)[1]
    local pem = ssl.DER_cert_to_PEM_cert(der)
    assert.equal(io.open(path "root.pem"):read("a"), pem)
  end)
end)
