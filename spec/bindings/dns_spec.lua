local helper = require "spec.helper"
local asyncio = require "asyncio"

local function with_loop(f)
  helper.run(function() f(asyncio.get_running_loop()) end)
end

describe("getaddrinfo", function()
  it("gives an entry for each type unless one is asked for", function()
    with_loop(function(loop)
      local types = {}
      for _, info in ipairs(await(loop:getaddrinfo("127.0.0.1", 80))) do types[info.type] = info.proto end
      assert.same({ stream = 6, dgram = 17, raw = 0 }, types)
      local infos = await(loop:getaddrinfo("127.0.0.1", 53, { type = "dgram" }))
      assert.same({ 1, "dgram", 17 }, { #infos, infos[1].type, infos[1].proto })
      infos = await(loop:getaddrinfo("localhost", 53, { proto = "tcp" }))
      for _, info in ipairs(infos) do assert.equal("stream", info.type) end
    end)
  end)

  it("takes flags by name, and gives the canonical name if asked", function()
    with_loop(function(loop)
      local infos = await(loop:getaddrinfo("127.0.0.1", 80, { type = "stream", flags = "canonname" }))
      assert.equal("127.0.0.1", infos[1].canonname)
      assert.equal("", await(loop:getaddrinfo("127.0.0.1", 80, { type = "stream" }))[1].canonname)
      infos = await(loop:getaddrinfo(nil, 80, { type = "stream", family = "inet", flags = { "passive" } }))
      assert.equal("0.0.0.0", infos[1].address.host)
      infos = await(loop:getaddrinfo(nil, 80, { type = "stream", family = "inet" }))
      assert.equal("127.0.0.1", infos[1].address.host)
      local e = helper.raises(asyncio.OSError, await,
        loop:getaddrinfo("localhost", 80, { flags = { "numerichost", "numericserv" } }))
      assert.equal("EAI_NONAME", e.code)
    end)
  end)

  it("says what was expected", function()
    with_loop(function(loop)
      for _, case in ipairs {
        { { type = "x" }, "type must be 'stream', 'dgram' or 'raw', got 'x'" },
        { { family = "x" }, "family must be 'unspec', 'inet' or 'inet6', got 'x'" },
        { { proto = "x" }, "proto must be 'tcp', 'udp' or an integer, got 'x'" },
        { { flags = "x" }, "flags must be names as 'passive', or an integer, got 'x'" },
        { { flags = { "passive", "x" } }, "unknown flag 'x'" },
        { { flags = true }, "flags must be" },
      } do
        local e = helper.raises(asyncio.ValueError, loop.getaddrinfo, loop, "localhost", 80, case[1])
        assert.matches(case[2], e.message, 1, true)
      end
    end)
  end)

  it("answers names that can be none with what is wrong with them", function()
    with_loop(function(loop)
      for name, why in pairs {
        [("a"):rep(64) .. ".test"] = "a label is longer than 63 bytes",
        [("abcdefg."):rep(40)] = "the name is longer than 253 bytes",
        ["a..test"] = "a label is empty",
        [".test"] = "a label is empty",
        ["."] = "a label is empty",
      } do
        local e = helper.raises(asyncio.OSError, await, loop:getaddrinfo(name, 80))
        assert.equal("EAI_NONAME", e.code)
        assert.equal(name, e.host)
        assert.matches("^resolve .* failed: ", e.message)
        assert.matches(why, e.message, 1, true)
      end
      local e = helper.raises(asyncio.OSError, await, loop:getaddrinfo("a\n\27b", 80, { flags = "numerichost" }))
      assert.matches("resolve a\\x0a\\x1bb failed", e.message, 1, true)
      helper.raises(asyncio.ValueError, loop.getaddrinfo, loop, "a\0b", 80)
    end)
  end)

  it("answers anything that is called a name with addresses or an error", function()
    local bytes = { "a", "-", ".", " ", "\n", "%", ":", "[", "]", "/", "\1", "\127", "\128", "\255", "é", "ß", "日本", "xn--",
      "_", "0x7f", "127", "1.2", ("b"):rep(63) }
    math.randomseed(7)
    with_loop(function(loop)
      for _ = 1, 400 do
        local parts = {}
        for i = 1, math.random(1, 12) do parts[i] = bytes[math.random(#bytes)] end
        local name = table.concat(parts)
        -- never asks the network
        local ok, e = pcall(await, loop:getaddrinfo(name, 80, { flags = "numerichost" }))
        if not ok then
          assert(asyncio.isinstance(e, asyncio.OSError), tostring(e))
          assert.matches("^resolve ", e.message)
          assert(not e.message:find("%c"), "control characters in a message")
        end
      end
    end)
  end)

  it("is cancelled whenever, and closed with the loop", function()
    with_loop(function(loop)
      for rounds = 0, 3 do
        local task = asyncio.create_task(loop:getaddrinfo("localhost", 80))
        for _ = 1, rounds do await(asyncio.sleep(0)) end
        task:cancel()
        asyncio.catch(await, task)
      end
    end)
    local status, out = helper.cli({ "-e", [[
      local asyncio = require "asyncio"
      local loop = asyncio.new_event_loop()
      loop:create_task(loop:getaddrinfo("localhost", 80))
      loop:call_soon(loop.stop, loop)
      loop:run_forever()
      loop:close()
      print("closed")
    ]] })
    assert.same({ 0, "closed\n" }, { status, out })
  end)
end)

describe("getnameinfo", function()
  it("takes flags by name", function()
    with_loop(function(loop)
      local host, service = await(loop:getnameinfo({ "127.0.0.1", 80 }, { "numerichost", "numericserv" }))
      assert.same({ "127.0.0.1", "80" }, { host, service })
      host, service = await(loop:getnameinfo({ "::1", 443 }, "numerichost"))
      assert.same({ "::1", "https" }, { host, service })
      local info = await(loop:getaddrinfo("127.0.0.1", 9, { type = "stream" }))[1]
      assert.equal("9", select(2, await(loop:getnameinfo(info.address, "numericserv"))))
      helper.raises(asyncio.ValueError, loop.getnameinfo, loop, { "127.0.0.1", 80 }, "canonname")
      helper.raises(asyncio.TypeError, loop.getnameinfo, loop, { "127.0.0.1", {} })
    end)
  end)

  it("raises for a host name: it takes addresses", function()
    with_loop(function(loop)
      local e = helper.raises(asyncio.OSError, await, loop:getnameinfo { "localhost", 80 })
      assert.equal("EAI_NONAME", e.code)
    end)
  end)
end)

describe("a loop's resolver", function()
  it("gives addresses in place of the system, as texts, pairs or entries", function()
    with_loop(function(loop)
      loop:set_resolver(function(host, port, opts)
        assert.same({ "a.test", 80, "stream" }, { host, port, opts.type })
        return { "10.0.0.1", { "::1", 81 }, { family = "inet", type = "stream", address = { "10.0.0.3", 9 } } }
      end)
      local infos = await(loop:getaddrinfo("a.test", 80, { type = "stream" }))
      local list = {}
      for i, info in ipairs(infos) do list[i] = ("%s %s %s"):format(info.family, info.address[1], info.address[2]) end
      assert.same({ "inet 10.0.0.1 80", "inet6 ::1 81", "inet 10.0.0.3 9" }, list)
      infos = await(loop:getaddrinfo("a.test", 80, { type = "stream", family = "inet6" }))
      assert.equal(1, #infos)
    end)
  end)

  it("may be a coroutine function, is not asked for IP addresses, and is taken off with nil", function()
    with_loop(function(loop)
      local asked = {}
      loop:set_resolver(async(function(host)
        await(asyncio.sleep(1))
        asked[#asked + 1] = host
        return { "127.0.0.9" }
      end))
      assert.equal("127.0.0.9", await(loop:getaddrinfo("a.test", 1))[1].address.host)
      assert.equal("127.0.0.8", await(loop:getaddrinfo("127.0.0.8", 1))[1].address.host)
      assert.same({ "a.test" }, asked)
      loop:set_resolver(nil)
      helper.raises(asyncio.OSError, await, loop:getaddrinfo("a.test", 1, { flags = "numerichost" }))
    end)
  end)

  it("passes its errors on, and is told what it must give", function()
    with_loop(function(loop)
      loop:set_resolver(function() error(asyncio.OSError("no such name")) end)
      helper.raises("no such name", await, asyncio.open_connection("a.test", 1))
      for _, bad in ipairs { 5, "127.0.0.1", { 5 }, { "b.test" }, { {} } } do
        loop:set_resolver(function() return bad end)
        helper.raises("a resolver must give an array of IP addresses", await, asyncio.open_connection("a.test", 1))
      end
      loop:set_resolver(function() return {} end)
      helper.raises("empty list", await, asyncio.open_connection("a.test", 1))
      helper.raises(asyncio.TypeError, loop.set_resolver, loop, 5)
    end)
  end)
end)
