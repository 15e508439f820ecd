--- Connectors: what is kept and shared, how many connections there are, who waits and in which order, and every end.

local asyncio = require "asyncio"
local helper = require "spec.helper"
local http = require "http"
local places = require "http.client.place"
local url = require "url"

local catch, isinstance = asyncio.catch, asyncio.isinstance

--- Runs f(server); server.count has the connections that there were, server.open those that are.
local function serve(f, opts)
  opts = opts or {}
  local main = async(function()
    local self = { count = 0, open = 0, requests = 0 }
    local server <close> = await(asyncio.start_server(async(function(reader, writer)
      self.count, self.open = self.count + 1, self.open + 1
      catch(function()
        while true do
          await(reader:readuntil("\r\n\r\n"))
          self.requests = self.requests + 1
          if opts.answer then
            if opts.answer(writer, self) then break end
          else
            writer:write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
          end
        end
      end)
      writer:close()
      self.open = self.open - 1
    end), "127.0.0.1", 0))
    self.port = server.sockets[1].port
    function self.place(host, more)
      return places.new(url.parse(("http://%s:%d/"):format(host or "127.0.0.1", self.port)), more)
    end
    f(self)
  end)
  return opts.real and asyncio.run(main()) or helper.run(main)
end

local ASKED = { method = "GET", url = "http://spec.test/" }

local function exchange(conn)
  local x = conn:request("GET", "/", { "Host", "x" })
  await(x:response())
  return await(x:read())
end

--- A task that connects; `.got` is the connection.
local function asking(connector, place, timeout)
  local task = asyncio.create_task(async(function() return (connector:connect(place, ASKED, nil, timeout)) end)())
  return task
end

describe("a connector", function()
  it("keeps connections and gives the one used last", function()
    serve(function(server)
      local connector <close> = http.TCPConnector()
      local place = server.place()
      assert.is_nil(connector:take(place))
      local a, reused = connector:connect(place, ASKED)
      assert.is_false(reused)
      local b = connector:connect(place, ASKED)
      assert.equal("hi", exchange(a))
      assert.equal("hi", exchange(b))
      connector:release(a, true)
      connector:release(b, true)
      assert.equal(b, connector:take(place))
      assert.equal(a, (connector:connect(place, ASKED)))
      assert.is_nil(connector:take(place))
      connector:release(a, true)
      connector:release(a, true) -- once is enough
      connector:release(a, false)
      assert.equal(a, connector:take(place))
      assert.is_nil(connector:take(place))
      connector:release(a, false)
      connector:release(b, true)
      assert.equal(b, connector:take(place))
      assert.equal(2, server.count)
      connector:release(b, true)
    end)
  end)

  it("keeps apart what is not alike", function()
    serve(function(server)
      local keys = {}
      for _, how in ipairs {
        { server.place() }, { server.place("localhost") }, { server.place(nil, { proxy = "http://a" }) },
        { server.place(nil, { proxy = "http://a", tunnel = true, http2 = false }) },
        { server.place(nil, { proxy = "http://u:p@a" }) }, { server.place(nil, { proxy = "socks5://a" }) },
        { server.place(nil, { proxy = "http://a", proxy_headers = { A = "b" } }) },
        { places.new(url.parse("https://a/")) }, { places.new(url.parse("https://a/"), { ssl = false }) },
        { places.new(url.parse("https://a/"), { server_hostname = "b" }) },
        { places.new(url.parse("https://a/"), { http2 = false }) },
        { places.new(url.parse("https://a/"), { ssl = http.Fingerprint(("a"):rep(32)) }) },
        { places.new(url.parse("https://a/"), { ssl = http.Fingerprint(("b"):rep(32)) }) },
        { places.new(url.parse("https://a/"), { proxy = "http://a" }) },
        { places.new(url.parse("http://a/")) }, { places.new(url.parse("http://a:81/")) },
      } do
        local key = how[1].key
        assert.is_nil(keys[key], key)
        keys[key] = true
      end
      assert.equal(places.new(url.parse("HTTP://A:80/x?y")).key, places.new(url.parse("http://a/")).key)
      assert.equal(places.new(url.parse("https://a/"), { ssl = true }).key, places.new(url.parse("https://a/z")).key)
    end)
  end)

  it("has no more than `limit` in use, and serves those who wait in their order", function()
    serve(function(server)
      local connector <close> = http.TCPConnector { limit = 2 }
      local place, order, busy, most = server.place(), {}, 0, 0
      local tasks = {}
      for i = 1, 12 do
        tasks[i] = asyncio.create_task(async(function()
          local conn = connector:connect(place, ASKED)
          order[#order + 1] = i
          busy = busy + 1
          most = math.max(most, busy)
          exchange(conn)
          busy = busy - 1
          connector:release(conn, true)
        end)())
      end
      await(asyncio.gather(tasks))
      assert.same({ 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12 }, order)
      assert.same({ 2, 2 }, { most, server.count })
      assert.equal("<TCPConnector acquired=0 limit=2>", tostring(connector))
    end)
  end)

  it("has no more than `limit_per_host` to one place; others go on", function()
    serve(function(server)
      local connector <close> = http.TCPConnector { limit = 3, limit_per_host = 1 }
      local one, two = server.place(), server.place("localhost")
      local a = connector:connect(one, ASKED)
      local waiting = asking(connector, one)
      helper.turn()
      local b = connector:connect(two, ASKED)
      assert.is_false(waiting:done())
      exchange(b)
      connector:release(b, true)
      helper.turn()
      assert.is_false(waiting:done())
      exchange(a)
      connector:release(a, true)
      assert.equal(a, await(waiting))
      connector:release(a, true)
    end)
  end)

  it("serves first who came first, whatever the place", function()
    serve(function(server)
      local connector <close> = http.TCPConnector { limit = 1 }
      local one, two, order = server.place(), server.place("localhost"), {}
      local held = connector:connect(one, ASKED)
      local tasks = {}
      for i = 1, 8 do
        tasks[i] = asyncio.create_task(async(function()
          local conn = connector:connect(i % 2 == 0 and one or two, ASKED)
          order[#order + 1] = i
          exchange(conn)
          connector:release(conn, true)
        end)())
      end
      helper.turn()
      exchange(held)
      connector:release(held, true)
      await(asyncio.gather(tasks))
      assert.same({ 1, 2, 3, 4, 5, 6, 7, 8 }, order)
      assert.equal(2, server.count)
    end)
  end)

  it("has no limit with 0", function()
    serve(function(server)
      local connector <close> = http.TCPConnector { limit = 0 }
      local conns = {}
      for i = 1, 130 do conns[i] = connector:connect(server.place(), ASKED) end
      assert.equal("<TCPConnector acquired=130 limit=0>", tostring(connector))
      for _, conn in ipairs(conns) do connector:release(conn, false) end
    end)
  end)

  --- f(connector, place, held) with the one connection there may be, which was used already.
  local function with_one_held(f)
    serve(function(server)
      local connector <close> = http.TCPConnector { limit = 1 }
      local place = server.place()
      local held = connector:connect(place, ASKED)
      exchange(held)
      f(connector, place, held)
      assert.equal("<TCPConnector acquired=0 limit=1>", tostring(connector))
    end)
  end

  it("loses nothing to those who are cancelled while they wait", function()
    with_one_held(function(connector, place, held)
      local tasks = {}
      for i = 1, 5 do tasks[i] = asking(connector, place) end
      helper.turn()
      tasks[1]:cancel() -- before it gets one
      tasks[3]:cancel()
      connector:release(held, true)
      tasks[2]:cancel() -- it has got one
      helper.turn(6)
      for i = 1, 3 do assert.is_true(tasks[i]:cancelled()) end
      assert.equal(held, await(tasks[4]))
      connector:release(held, false)
      local conn = await(tasks[5])
      assert.not_equal(held, conn)
      connector:release(conn, true)
    end)
  end)

  it("makes another connection for who was given one that has gone before the task ran", function()
    with_one_held(function(connector, place, held)
      local waiting = asking(connector, place)
      helper.turn()
      connector:release(held, true)
      held:close()
      local conn = await(waiting)
      assert.not_equal(held, conn)
      assert.equal("hi", exchange(conn))
      connector:release(conn, true)
    end)
  end)

  it("gives up the place of who is cancelled while connecting", function()
    serve(function(server)
      local connector <close> = http.TCPConnector { limit = 1 }
      for rounds = 0, 4 do
        local first, second = asking(connector, server.place("localhost")), asking(connector, server.place())
        helper.turn(rounds)
        first:cancel()
        catch(await, first)
        if not first:cancelled() then connector:release(first:result(), false) end
        connector:release(await(second), false)
      end
      assert.equal("<TCPConnector acquired=0 limit=1>", tostring(connector))
    end, { real = true })
  end)

  it("gives up waiting in time", function()
    serve(function(server)
      local connector <close> = http.TCPConnector { limit = 1 }
      local place, loop = server.place(), asyncio.get_running_loop()
      local held = connector:connect(place, ASKED)
      local start = loop:time()
      local e = helper.raises(http.ConnectionTimeoutError, await, asking(connector, place, { connect = 3 }))
      assert.equal(3, math.floor(loop:time() - start + 0.5))
      assert.truthy(tostring(e):find("GET http://spec.test/: connection timeout of 3 s (connect)", 1, true), tostring(e))
      assert.is_true(isinstance(e, asyncio.TimeoutError))
      e = helper.raises(asyncio.TimeoutError, await, asking(connector, place, { deadline = loop:time() + 2, total = 2 }))
      assert.is_false(isinstance(e, http.ConnectionTimeoutError))
      assert.truthy(tostring(e):find("total", 1, true))
      connector:release(held, false)
      connector:release(connector:connect(place, ASKED), false)
    end)
  end)

  it("keeps everybody's own time", function()
    serve(function(server)
      local connector <close> = http.TCPConnector { limit = 1 }
      local place, loop = server.place(), asyncio.get_running_loop()
      local held = connector:connect(place, ASKED)
      local start, ended, tasks = loop:time(), {}, {}
      for i, seconds in ipairs { 5, 2, 0.5, 3, 1e9 } do
        tasks[i] = asyncio.create_task(async(function()
          local where = i % 2 == 0 and place or server.place("localhost")
          local ok, conn = catch(connector.connect, connector, where, ASKED, nil, { connect = seconds })
          ended[#ended + 1] = ("%g %s"):format(math.floor((loop:time() - start) * 10 + 0.5) / 10, ok)
          if ok then connector:release(conn, true) end
        end)())
      end
      await(asyncio.sleep(4))
      exchange(held)
      connector:release(held, true)
      await(asyncio.gather(tasks))
      assert.same({ "0.5 false", "2 false", "3 false", "4 true", "4 true" }, ended)
      assert.equal("<TCPConnector acquired=0 limit=1>", tostring(connector))
    end)
  end)

  it("closes connections that are not to be kept, with force_close all", function()
    serve(function(server)
      for i, opts in ipairs { { force_close = true }, {} } do
        local connector <close> = http.TCPConnector(opts)
        local place = server.place()
        local conn = connector:connect(place, ASKED)
        exchange(conn)
        connector:release(conn, opts.force_close)
        assert.is_true(conn:is_closing())
        assert.is_nil(connector:take(place))
        helper.turn(5)
        assert.equal(i, server.count)
      end
    end)
  end)

  it("closes idle connections after keepalive_timeout", function()
    serve(function(server)
      local connector <close> = http.TCPConnector { keepalive_timeout = 20 }
      local place = server.place()
      local conn = connector:connect(place, ASKED)
      exchange(conn)
      connector:release(conn, true)
      await(asyncio.sleep(19))
      assert.equal(conn, connector:take(place))
      exchange(conn)
      connector:release(conn, true)
      await(asyncio.sleep(21))
      assert.is_nil(connector:take(place))
      assert.is_true(conn:is_closing())
    end)
  end)

  it("does not give connections that the server has closed", function()
    serve(function(server)
      local connector <close> = http.TCPConnector()
      local place = server.place()
      local conn = connector:connect(place, ASKED)
      exchange(conn)
      connector:release(conn, true)
      helper.settle()
      assert.is_nil(connector:take(place))
      local again, reused = connector:connect(place, ASKED)
      assert.is_false(reused)
      connector:release(again, false)
    end, { real = true, answer = function(writer)
      writer:write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
      return true
    end })
  end)

  it("forgets places that nobody needs", function()
    serve(function(server)
      local connector <close> = http.TCPConnector { resolver = {
        resolve = async(function() return { { host = "127.0.0.1", port = server.port } } end),
      } }
      for i = 1, 600 do
        local conn = connector:connect(places.new(url.parse(("http://h%d.test:%d/"):format(i, server.port))), ASKED)
        connector:release(conn, false)
      end
      local n = 0
      for _ in pairs(connector._pools) do n = n + 1 end
      assert.is_true(n <= 300)
    end)
  end)

  it("collects responses that were dropped when others wait for their places", function()
    serve(function(server)
      local connector <close> = http.TCPConnector { limit = 2 }
      local session <close> = http.ClientSession { connector = connector, connector_owner = false }
      collectgarbage("stop")
      local _ <close> = setmetatable({}, { __close = function() collectgarbage("restart") end })
      for _ = 1, 3 do
        local resp = await(session:get(("http://127.0.0.1:%d/"):format(server.port)))
        assert.equal(200, resp.status)
      end
      assert.equal(1, connector._acquired)
      assert.is_nil(connector._rescue)
    end, { real = true, answer = function(writer) writer:write("HTTP/1.1 200 OK\r\nContent-Length: 9000000\r\n\r\nhi") end })
  end)

  it("frees the place of a response that nobody holds any more", function()
    serve(function(server)
      local connector <close> = http.TCPConnector { limit = 1 }
      local session <close> = http.ClientSession { connector = connector, connector_owner = false }
      for _ = 1, 3 do
        local resp = await(session:get(("http://127.0.0.1:%d/"):format(server.port)))
        assert.equal(200, resp.status)
        resp = nil -- luacheck: ignore
        for _ = 1, 3 do
          collectgarbage()
          helper.turn(2)
        end
      end
    end, { real = true, answer = function(writer) writer:write("HTTP/1.1 200 OK\r\nContent-Length: 9000000\r\n\r\nhi") end })
  end)
end)

describe("who waits for a connection", function()
  local endless = { answer = function(writer) writer:write("HTTP/1.1 200 OK\r\nContent-Length: 9000000\r\n\r\nhi") end }

  it("gets it of a response that was dropped unread, though nothing else would collect that", function()
    serve(function(server)
      local connector <close> = http.TCPConnector { limit = 2 }
      local session <close> = http.ClientSession { connector = connector, connector_owner = false }
      collectgarbage("stop")
      helper.finally(collectgarbage, "restart")
      for _ = 1, 12 do
        assert.equal(200, await(session:get(("http://127.0.0.1:%d/"):format(server.port))).status)
      end
    end, endless)
  end)

  it("waits on if they are all in use", function()
    helper.run(function()
      local server = await(asyncio.start_server(async(function(reader, writer)
        catch(function()
          await(reader:readuntil("\r\n\r\n"))
          endless.answer(writer)
          await(reader:read())
        end)
        writer:close()
      end), "127.0.0.1", 0))
      local session = http.ClientSession { limit = 1, timeout = false }
      local where = ("http://127.0.0.1:%d/"):format(server.sockets[1].port)
      local held = await(session:get(where))
      helper.finally(function() return held end)
      local task = asyncio.create_task(async(function() return await(session:get(where)) end)())
      await(asyncio.sleep(100000))
      assert.is_false(task:done())
      task:cancel()
      catch(await, task)
      held:close()
      server:close()
      await(session:close())
    end)
  end)
end)

describe("closing a connector", function()
  it("ends connections, also those in use, and those who wait", function()
    serve(function(server)
      local connector = http.TCPConnector { limit = 2 }
      local place = server.place()
      local used, idle = connector:connect(place, ASKED), connector:connect(place, ASKED)
      local waiting = asking(connector, place)
      helper.turn()
      exchange(idle)
      local gone = asking(connector, place)
      helper.turn()
      gone:cancel()
      await(connector:close())
      assert.is_true(connector.closed and used:is_closing() and idle:is_closing())
      local e = helper.raises(http.ClientConnectionError, await, waiting)
      assert.truthy(tostring(e):find("Connector is closed", 1, true))
      helper.raises("Connector is closed", connector.connect, connector, place, ASKED)
      assert.is_nil(connector:take(place))
      connector:release(used, true)
      connector:release(idle, false)
      await(connector:close())
      connector:close()
      assert.equal("<TCPConnector acquired=0 limit=2 closed>", tostring(connector))
    end)
  end)

  it("ends those who connect", function()
    serve(function(server)
      for rounds = 0, 5 do
        local connector = http.TCPConnector()
        local task = asking(connector, server.place("localhost"))
        helper.turn(rounds)
        connector:close()
        local ok, conn = catch(await, task)
        if ok then
          assert.is_true(conn:is_closing())
        else
          assert.truthy(tostring(conn):find("GET http://spec.test/: Connector is closed", 1, true), tostring(conn))
        end
      end
      helper.turn(5)
    end, { real = true })
  end)

  it("is done by collecting it", function()
    serve(function(server)
      do
        local connector = http.TCPConnector()
        local conn = connector:connect(server.place(), ASKED)
        exchange(conn)
        connector:release(conn, true)
      end
      assert.is_true(helper.eventually(function()
        collectgarbage()
        return server.open == 0
      end))
    end, { real = true })
  end)
end)

describe("options of connectors", function()
  it("are checked", function()
    for _, row in ipairs {
      { asyncio.ValueError, { limit = -1 } }, { asyncio.ValueError, { limit = 1.5 } }, { asyncio.ValueError, { limit = "1" } },
      { asyncio.ValueError, { limit_per_host = -1 } }, { asyncio.ValueError, { keepalive_timeout = -1 } },
      { asyncio.ValueError, { keepalive_timeout = 0 / 0 } }, { asyncio.ValueError, { http2 = "yes" } },
      { asyncio.ValueError, { force_close = true, keepalive_timeout = 3 } }, { asyncio.ValueError, { family = "ipx" } },
      { asyncio.TypeError, { ssl = "yes" } }, { asyncio.TypeError, { resolver = {} } }, { asyncio.TypeError, { resolver = 5 } },
      { asyncio.ValueError, { local_addr = "localhost" } }, { asyncio.ValueError, { local_addr = { "127.0.0.1", "x" } } },
      { asyncio.ValueError, { ttl_dns_cache = "x" } }, { asyncio.ValueError, { happy_eyeballs_delay = -1 } },
      { asyncio.TypeError, { nonsense = 1 } }, { asyncio.TypeError, 5 },
    } do
      local e = helper.raises(row[1], http.TCPConnector, row[2])
      assert.truthy(tostring(e):find("TCPConnector", 1, true), tostring(e))
    end
    helper.raises(asyncio.TypeError, http.UnixConnector)
    helper.raises(asyncio.TypeError, http.UnixConnector, "")
    helper.raises(asyncio.TypeError, http.UnixConnector, "/x", { ssl = true })
    local c = http.TCPConnector { limit = 5, limit_per_host = 2, keepalive_timeout = 3, force_close = false }
    assert.same({ 5, 2, 3, false, true, "unspec" },
      { c.limit, c.limit_per_host, c.keepalive_timeout, c.force_close, c.use_dns_cache, c.family })
    c = http.TCPConnector()
    assert.same({ 100, 0, 15, false }, { c.limit, c.limit_per_host, c.keepalive_timeout, c.closed })
  end)

  it("bind to a local address", function()
    serve(function(server)
      local connector <close> = http.TCPConnector { local_addr = { "127.0.0.2", 0 } }
      local conn = connector:connect(server.place(), ASKED)
      assert.equal("127.0.0.2", conn:sockname()[1])
      connector:release(conn, false)
      local other <close> = http.TCPConnector { local_addr = "::1" }
      helper.raises(http.ClientConnectorError, other.connect, other, server.place(), ASKED)
    end)
  end)
end)

describe("a connector of unix sockets", function()
  it("goes to its path whatever the URL", function()
    asyncio.run(function()
      local path = helper.tmpdir() .. "/sock"
      local _server <close> = await(asyncio.start_unix_server(async(function(reader, writer)
        catch(function()
          while true do
            local head = await(reader:readuntil("\r\n\r\n"))
            local host = head:match("Host: ([^\r]*)")
            writer:write(("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s"):format(#host, host))
          end
        end)
        writer:close()
      end), path))
      local session <close> = http.ClientSession { connector = http.UnixConnector(path) }
      for _ = 1, 2 do
        local resp <close> = await(session:get("http://some.where/x"))
        assert.equal("some.where", await(resp:text()))
      end
      assert.equal(path, session.connector.path)
      local other <close> = http.ClientSession { connector = http.UnixConnector(path .. "x") }
      local e = helper.raises(http.UnixClientConnectorError, function() await(other:get("http://a/")) end)
      assert.truthy(tostring(e):find("GET http://a/: Cannot connect to unix socket " .. path .. "x", 1, true), tostring(e))
      assert.equal("ENOENT", e.code)
      assert.is_true(isinstance(e, asyncio.OSError))
    end)
  end)
end)
