--- TLS inside TLS: a connection through a proxy that is spoken to over TLS itself.

if not require("spec.helper").has_tls() then return end

local asyncio = require "asyncio"
local certs = require "spec.certs"
local helper = require "spec.helper"
local peer = require "spec.tlspeer"
local ssl = require "ssl"

local catch = asyncio.catch

--- A server over TLS whose connections become TLS inside TLS behind a first line; then what comes is sent back.
local function serve(inner)
  return peer.serve(async(function(reader, writer)
    catch(function()
      local first = await(reader:readline())
      writer:write("GO\n")
      await(writer:start_tls(inner or certs.server("other")))
      if first ~= "TLS THEN END\n" then await(peer.echo(reader, writer)) end
    end)
    writer:close()
  end))
end

local function open(port, line, opts)
  local reader, writer = peer.open(port)
  writer:write(line or "TLS\n")
  assert.equal("GO\n", await(reader:readline()))
  local ok, err = catch(await, writer:start_tls(opts and opts.context or certs.client(),
    { server_hostname = opts and opts.name or "other.test" }))
  if ok then return reader, writer end
  writer:close()
  error(err, 0)
end

describe("TLS inside TLS", function()
  it("carries bytes both ways, in pieces of all sizes", function()
    asyncio.run(function()
      local _server <close>, port = serve()
      local reader, writer = open(port)
      assert.equal("other.test", writer:get_extra_info("peercert").subject[1][1][2])
      writer:write("hello\n")
      assert.equal("hello\n", await(reader:readline()))
      for _, size in ipairs { 1, 1000, 16384, 16385, 70000, 300000 } do
        local text = ("0123456789abcdef"):rep(size // 16 + 1):sub(1, size)
        writer:write(text)
        assert.equal(text, await(reader:readexactly(size)))
      end
      writer:writelines { "a", ("b"):rep(40000), "", "c" }
      assert.equal("a" .. ("b"):rep(40000) .. "c", await(reader:readexactly(40002)))
      writer:close()
      await(writer:wait_closed())
    end)
  end)

  it("has backpressure", function()
    asyncio.run(function()
      local _server <close>, port = serve()
      local reader, writer = open(port)
      local block, total = ("x"):rep(100000), 0
      local sender = asyncio.create_task(async(function()
        for _ = 1, 50 do
          writer:write(block)
          await(writer:drain())
        end
      end)())
      while total < 50 * #block do total = total + #await(reader:read(30000)) end
      assert.equal(50 * #block, total)
      await(sender)
      writer:close()
      await(writer:wait_closed())
    end)
  end)

  it("ends cleanly from either side", function()
    asyncio.run(function()
      local _server <close>, port = serve()
      local reader, writer = open(port, "TLS THEN END\n")
      assert.equal("", await(reader:read()))
      writer:close()
      await(writer:wait_closed())
      reader, writer = open(port)
      writer:write("last")
      writer:write_eof()
      assert.equal("last", await(reader:read()))
      writer:close()
      await(writer:wait_closed())
    end)
  end)

  it("verifies the inner certificate too", function()
    asyncio.run(function()
      local _server <close>, port = serve()
      local e = helper.raises(ssl.SSLCertVerificationError, open, port, nil, { name = "localhost" })
      assert.truthy(e.message:find("'localhost'", 1, true), e.message)
    end)
  end)

  it("can be cancelled in its handshake, and aborted", function()
    asyncio.run(function()
      asyncio.get_running_loop():set_exception_handler(function() end)
      local _server <close>, port = serve()
      for rounds = 0, 8 do
        local task = asyncio.create_task(async(function()
          local _, writer = open(port)
          writer:get_extra_info("ssl_object")
          writer:close()
        end)())
        for _ = 1, rounds do await(asyncio.sleep(0.001)) end
        task:cancel()
        catch(await, task)
      end
      collectgarbage()
    end)
  end)

  it("is not to be had three times over", function()
    asyncio.run(function()
      local _server <close>, port = serve()
      local reader, writer = open(port)
      helper.raises("no third layer", function() await(writer:start_tls(certs.client(), { server_hostname = "x" })) end)
      writer:write("still\n")
      assert.equal("still\n", await(reader:readline()))
      writer:close()
      await(writer:wait_closed())
    end)
  end)
end)
