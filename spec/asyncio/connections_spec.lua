local helper = require "spec.helper"
local asyncio = require "asyncio"

local function run(f)
  return asyncio.run(async(f)())
end

local function refuses(host, port, opts)
  return helper.raises(asyncio.OSError, await, asyncio.open_connection(host, port, opts))
end

describe("open_connection", function()
  it("names the address that refused", function()
    run(function()
      local port = helper.unused_port()
      local e = refuses("127.0.0.1", port)
      assert.equal(("connect to 127.0.0.1:%d failed: connection refused"):format(port), e.message)
      assert.equal("ECONNREFUSED", e.code)
      assert.equal("127.0.0.1", e.host)
      assert.equal(port, e.port)
      e = refuses("::1", port)
      assert.matches("^connect to %[::1%]:%d+ failed: ", e.message)
    end)
  end)

  it("lists every address of a name", function()
    run(function()
      local port = helper.unused_port()
      local e = refuses("localhost", port)
      assert.matches(("^connect to localhost:%d failed: .*127.0.0.1: connection refused"):format(port), e.message)
      assert.equal("localhost", e.host)
      assert.equal(port, e.port)
      assert.equal("ECONNREFUSED", e.errors[#e.errors].code)
      local group = helper.raises(asyncio.ExceptionGroup, await,
        asyncio.open_connection("localhost", port, { all_errors = true }))
      assert.equal(#e.errors, #group.exceptions)
    end)
  end)

  it("tells of a name that does not resolve", function()
    run(function()
      local e = refuses("name.invalid", 80)
      assert.equal("name.invalid", e.host)
      assert.matches("^EAI_", e.code)
      assert.matches("resolve name.invalid failed: ", e.message, 1, true)
    end)
  end)

  it("takes an address table, and a service or digits for a port", function()
    run(function()
      local server = await(asyncio.start_server(function(_, w) w:close() end, "127.0.0.1", 0))
      local address, port = server.sockets[1]:getsockname()
      local _, w = await(asyncio.open_connection(address, port))
      w:close()
      _, w = await(asyncio.open_connection("localhost", tostring(port), { family = "inet" }))
      w:close()
      server:close()
      assert.equal("EAI_SERVICE", helper.raises(asyncio.OSError, function()
        return await(asyncio.open_connection("127.0.0.1", "nosuchservice"))
      end).code)
    end)
  end)

  it("binds to a local address", function()
    run(function()
      local server = await(asyncio.start_server(function(_, w) w:close() end, "127.0.0.1", 0))
      local _, w = await(asyncio.open_connection("127.0.0.1", server.sockets[1].port, {
        local_addr = { "127.0.0.3", 0 },
      }))
      assert.equal("127.0.0.3", w:get_extra_info("sockname").host)
      w:close()
      local e = helper.raises(asyncio.OSError, await, asyncio.open_connection("127.0.0.1", server.sockets[1].port, {
        local_addr = { "::1", 0 },
      }))
      assert.matches("no matching local address", e.message, 1, true)
      server:close()
    end)
  end)

  it("is cancelled while it connects: nothing stays", function()
    run(function()
      local server = await(asyncio.start_server(function(_, w) w:close() end, "127.0.0.1", 0))
      for rounds = 0, 4 do
        for _, host in ipairs { "127.0.0.1", "localhost" } do
          local task = asyncio.create_task(asyncio.open_connection(host, server.sockets[1].port))
          for _ = 1, rounds do await(asyncio.sleep(0)) end
          task:cancel()
          local ok, _, w = asyncio.catch(await, task)
          if ok then w:close() end
        end
      end
      server:close()
      await(asyncio.wait_for(server:wait_closed(), 60 * helper.slow))
    end)
  end)

  it("says what was expected", function()
    local open = asyncio.open_connection
    for _, case in ipairs {
      { asyncio.TypeError, "host must be a string, got a number", 5, 80 },
      { asyncio.TypeError, "host must be a string, got a table", {}, 80 },
      { asyncio.TypeError, "port must be an integer, got a boolean", "x", true },
      { asyncio.TypeError, "port must be an integer, got a number", "x", 1.5 },
      { asyncio.ValueError, "port must be 0-65535, got 70000", "x", 70000 },
      { asyncio.ValueError, "port must be 0-65535, got -1", "x", -1 },
      { asyncio.ValueError, "host and port were not given" },
      { asyncio.ValueError, "zero byte", "a\0b", 80 },
      { asyncio.TypeError, "unexpected keyword argument 'timeout'", "x", 80, { timeout = 1 } },
      { asyncio.TypeError, "limit must be an integer", "x", 80, { limit = "5" } },
      { asyncio.TypeError, "local_addr must be {host, port}", "x", 80, { local_addr = "y" } },
    } do
      local e = helper.raises(case[1], function() open(case[2 + 1], case[4], case[5]) end)
      assert.matches(case[2], e.message, 1, true)
    end
  end)
end)

describe("the loop's getaddrinfo", function()
  it("gives the addresses of a name", function()
    run(function()
      local loop = asyncio.get_running_loop()
      local infos = await(loop:getaddrinfo("localhost", 80, { type = "stream", family = "inet" }))
      local info = assert(infos[1]) -- more where /etc/hosts names localhost twice
      assert.equal("inet", info.family)
      assert.equal("stream", info[2])
      assert.equal("127.0.0.1", info.address[1])
      assert.equal(80, info[5].port)
    end)
  end)

  it("takes IP addresses and service names", function()
    run(function()
      local loop = asyncio.get_running_loop()
      local infos = await(loop:getaddrinfo("::1", "http", { type = "stream" }))
      assert.equal("inet6", infos[1].family)
      assert.equal(80, infos[1].address.port)
      assert.equal("10.0.0.1", await(loop:getaddrinfo("10.0.0.1", 1))[1].address.host)
      helper.raises(asyncio.OSError, await, loop:getaddrinfo("::1", 80, { family = "inet" }))
      helper.raises(asyncio.ValueError, loop.getaddrinfo, loop)
      helper.raises(asyncio.ValueError, loop.getaddrinfo, loop, "x", 99999)
      helper.raises(asyncio.ValueError, loop.getaddrinfo, loop, "x", 1, { family = "x" })
      helper.raises(asyncio.ValueError, loop.getaddrinfo, loop, "x", 1, { type = "x" })
    end)
  end)

  it("may be cancelled", function()
    run(function()
      local loop = asyncio.get_running_loop()
      for _ = 1, 10 do
        local task = asyncio.create_task(loop:getaddrinfo("localhost", 80))
        await(asyncio.sleep(0))
        task:cancel()
        helper.raises(asyncio.CancelledError, await, task)
      end
    end)
  end)

  it("has getnameinfo beside it", function()
    run(function()
      local loop = asyncio.get_running_loop()
      local _, service = await(loop:getnameinfo { "127.0.0.1", 80 })
      assert.equal("http", service)
      helper.raises(asyncio.TypeError, loop.getnameinfo, loop, "127.0.0.1")
      helper.raises(asyncio.OSError, await, loop:getnameinfo { "no address", 1 })
    end)
  end)
end)

describe("arguments by name", function()
  it("stand where host and port were left out, also with them", function()
    run(function()
      local loop = asyncio.get_running_loop()
      local function greet(_, w) w:write("hi") w:close() end
      local function factory() return { connection_made = function(_, t) t:close() end } end
      local function get(...)
        local r, w = await(asyncio.open_connection(...))
        local data = await(r:read())
        w:close()
        return data
      end
      local server <close> = await(asyncio.start_server(greet, { host = "127.0.0.1", port = 0 }))
      local port = server.sockets[1].port
      assert.equal("hi", get { host = "127.0.0.1", port = port, limit = 100 })
      assert.equal("hi", get("127.0.0.1", { port = port }))
      assert.equal("hi", get(server.sockets[1].host, port))
      local sock = await(require("socket").create_server("127.0.0.1", 0))
      local given = sock:getsockname()[2]
      local other <close> = await(asyncio.start_server(greet, { sock = sock }))
      assert.equal(given, other.sockets[1].port)
      assert.equal(-1, sock:fileno())
      local transport = await(loop:create_connection(factory, { host = "127.0.0.1", port = port }))
      assert.is_true(transport:is_closing())
      local third <close> = await(loop:create_server(factory, { host = "127.0.0.1", port = 0 }))
      assert.equal("127.0.0.1", third.sockets[1].host)
    end)
  end)

  it("are known, and given once", function()
    helper.raises(asyncio.TypeError, asyncio.open_connection, "127.0.0.1", 1, { host = "::1" })
    helper.raises(asyncio.TypeError, asyncio.open_connection, { host = "127.0.0.1", pord = 1 })
    helper.raises(asyncio.TypeError, asyncio.start_unix_server, print, { path = "/x", nonsense = 1 })
    helper.raises(asyncio.TypeError, asyncio.open_unix_connection, "/x", { path = "/y" })
    helper.raises(asyncio.ValueError, asyncio.open_unix_connection, { path = "/tmp/a\0b" })
  end)
end)
