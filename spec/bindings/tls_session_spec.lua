--- Caches of TLS sessions: what connections to one server leave for the next ones.

if not require("spec.helper").has_tls() then return end

local asyncio = require "asyncio"
local certs = require "spec.certs"
local secure = require "asyncio.secure"
local ssl = require "ssl"
local tls = require "asyncio.tls"

local function serve(context)
  local server = await(asyncio.start_server(async(function(reader, writer)
    asyncio.catch(function()
      writer:write(await(reader:readline()) or "")
      await(reader:read())
    end)
    writer:close()
  end), "127.0.0.1", 0, { ssl = context or certs.server() }))
  return server, server.sockets[1].port
end

--- One connection: was a session taken up again?
local function visit(port, context, cache, more)
  local reader, writer = await(asyncio.open_connection("127.0.0.1", port))
  local set = { context = context, name = "localhost", cache = cache, handshake = 10.0, shutdown = 0.0, server = false }
  for k, v in pairs(more or {}) do set[k] = v end
  secure.handshake(writer, set)
  writer:write("x\n")
  assert.equal("x\n", await(reader:readline()))
  local object = writer:get_extra_info("ssl_object")
  local reused, alpn = object.session_reused, object:selected_alpn_protocol()
  writer:close()
  await(writer:wait_closed())
  return reused, alpn
end

describe("a cache of TLS sessions", function()
  it("is filled by each connection and spares the next one's handshake", function()
    asyncio.run(function()
      for _, version in ipairs { ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3 } do
        local server <close>, port = serve()
        local context, cache = certs.client(), tls.new_cache()
        context.maximum_version = version
        assert.equal(0, #cache)
        for i = 1, 12 do assert.equal(i > 1, (visit(port, context, cache))) end
        assert.is_true(#cache >= 1 and #cache <= 8)
        server:close()
      end
    end)
  end)

  it("gives no session made without verification to a context that verifies", function()
    asyncio.run(function()
      local _server <close>, port = serve()
      local context, cache = certs.client(), tls.new_cache()
      context.check_hostname = false
      context.verify_mode = ssl.CERT_NONE
      assert.is_false((visit(port, context, cache)))
      assert.is_true((visit(port, context, cache)))
      context.verify_mode = ssl.CERT_REQUIRED
      assert.is_false((visit(port, context, cache)))
      assert.is_true((visit(port, context, cache)))
      context.check_hostname = true
      assert.is_false((visit(port, context, cache)))
      assert.is_true((visit(port, context, cache)))
    end)
  end)

  it("lets a server that has forgotten a session go through a whole handshake", function()
    asyncio.run(function()
      local context, cache = certs.client(), tls.new_cache()
      for _ = 1, 2 do -- each has a key for tickets of its own
        local server <close>, port = serve()
        assert.is_false((visit(port, context, cache)))
        assert.is_true((visit(port, context, cache)))
        server:close()
      end
    end)
  end)

  it("may be gone before its connection", function()
    asyncio.run(function()
      local _server <close>, port = serve()
      local reader, writer = await(asyncio.open_connection("127.0.0.1", port))
      secure.handshake(writer, { context = certs.client(), name = "localhost", cache = tls.new_cache(),
        handshake = 10.0, shutdown = 1.0, server = false })
      collectgarbage()
      collectgarbage()
      writer:write("x\n")
      assert.equal("x\n", await(reader:readline()))
      writer:close()
    end)
  end)

  it("is nothing else", function()
    asyncio.run(function()
      local _server <close>, port = serve()
      for _, value in ipairs { 1, "x", {} } do
        local _, writer = await(asyncio.open_connection("127.0.0.1", port))
        assert.is_false((asyncio.catch(secure.handshake, writer, { context = certs.client(), name = "localhost",
          cache = value, handshake = 10.0, shutdown = 0.0, server = false })))
        writer:close()
      end
    end)
  end)
end)

describe("ALPN of one connection", function()
  it("is offered in place of the context's, if that has none", function()
    asyncio.run(function()
      local context = certs.server()
      context:set_alpn_protocols { "two", "one" }
      local _server <close>, port = serve(context)
      local client = certs.client()
      assert.is_nil(select(2, visit(port, client)))
      assert.equal("one", select(2, visit(port, client, nil, { alpn = "\3one" })))
      assert.equal("two", select(2, visit(port, client, nil, { alpn = "\3one\3two" })))
      client:set_alpn_protocols { "one" }
      assert.equal("one", select(2, visit(port, client, nil, { alpn = "\3two" })))
    end)
  end)
end)
