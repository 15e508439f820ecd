--- Names: what is asked, how often, and in which order addresses are tried.

local asyncio = require "asyncio"
local helper = require "spec.helper"
local http = require "http"
local resolver = require "http.client.resolver"

local catch, run = asyncio.catch, helper.run

--- A resolver that counts: `answers` is what it gives, or an error.
local function counting(answers, delay)
  local self = { asked = 0, hosts = {} }
  self.resolve = function(_, host, port, family)
    return async(function()
      self.asked = self.asked + 1
      self.hosts[#self.hosts + 1] = ("%s %s %s"):format(host, port, family)
      if delay then await(asyncio.sleep(delay)) end
      if type(answers) == "table" and answers.name then error(answers, 0) end
      return answers
    end)()
  end
  return self
end

local function hosts(list)
  local out = {}
  for i, address in ipairs(list) do out[i] = address[1] end
  return table.concat(out, " ")
end

local FOUR = {
  { host = "10.0.0.1", family = "inet" }, { host = "10.0.0.2", family = "inet" },
  { host = "fd00::1", family = "inet6" }, { host = "fd00::2", family = "inet6" },
}

describe("names", function()
  it("are asked for once in ttl seconds", function()
    run(function()
      local r = counting({ { host = "10.0.0.1", port = 80 } })
      local names = resolver.names(r, true, 10, "unspec")
      for _ = 1, 3 do assert.equal("10.0.0.1", hosts(names:addresses("a.test", 80))) end
      assert.equal(1, r.asked)
      names:addresses("a.test", 81)
      names:addresses("b.test", 80)
      assert.same({ "a.test 80 unspec", "a.test 81 unspec", "b.test 80 unspec" }, r.hosts)
      await(asyncio.sleep(9))
      names:addresses("a.test", 80)
      assert.equal(3, r.asked)
      await(asyncio.sleep(2))
      names:addresses("a.test", 80)
      assert.equal(4, r.asked)
      names:clear("a.test", 80)
      names:addresses("a.test", 80)
      assert.equal(5, r.asked)
      names:clear()
      names:addresses("b.test", 80)
      assert.equal(6, r.asked)
    end)
  end)

  it("are asked for each time without a cache, and for ever the same with ttl nil", function()
    run(function()
      local r = counting({ "10.0.0.1" })
      local names = resolver.names(r, false, 10, "unspec")
      for _ = 1, 3 do names:addresses("a.test", 80) end
      assert.equal(3, r.asked)
      names = resolver.names(r, true, nil, "unspec")
      names:addresses("a.test", 80)
      await(asyncio.sleep(1e6))
      names:addresses("a.test", 80)
      assert.equal(4, r.asked)
    end)
  end)

  it("are asked for once while several wait, whoever is cancelled", function()
    run(function()
      for _, caching in ipairs { true, false } do
        local r = counting({ "10.0.0.1" }, 5)
        local names, tasks = resolver.names(r, caching, 10, "unspec"), {}
        for i = 1, 4 do
          tasks[i] = asyncio.create_task(async(function() return hosts(names:addresses("a.test", 80)) end)())
        end
        await(asyncio.sleep(1))
        tasks[1]:cancel()
        tasks[3]:cancel()
        assert.equal("10.0.0.1", await(tasks[2]))
        assert.equal("10.0.0.1", await(tasks[4]))
        assert.is_true(tasks[1]:cancelled() and tasks[3]:cancelled())
        assert.equal(1, r.asked)
      end
    end)
  end)

  it("that fail are no one's but the askers', and asked for anew", function()
    run(function(_)
      local told = 0
      asyncio.get_running_loop():set_exception_handler(function() told = told + 1 end)
      local r = counting(asyncio.OSError("no such host", { code = "EAI_NONAME" }), 1)
      local names = resolver.names(r, true, 10, "unspec")
      local tasks = {}
      for i = 1, 3 do tasks[i] = asyncio.create_task(async(function() return names:addresses("a.test", 80) end)()) end
      helper.turn()
      tasks[1]:cancel()
      for i = 2, 3 do helper.raises("no such host", await, tasks[i]) end
      helper.raises("no such host", names.addresses, names, "a.test", 80)
      assert.equal(2, r.asked)
      local lonely = asyncio.create_task(async(function() return names:addresses("a.test", 80) end)())
      helper.turn()
      lonely:cancel()
      await(asyncio.sleep(3))
      catch(await, lonely)
      collectgarbage()
      helper.turn()
      assert.equal(0, told)
    end)
  end)

  it("share the work among their addresses, families in turn", function()
    run(function()
      local names = resolver.names(counting(FOUR), true, 10, "unspec")
      local first = {}
      for i = 1, 4 do first[i] = hosts(names:addresses("a.test", 80)) end
      assert.equal("10.0.0.1 fd00::1 10.0.0.2 fd00::2", first[1])
      assert.same({ "10.0.0.1 fd00::1 10.0.0.2 fd00::2", "10.0.0.2 fd00::2 10.0.0.1 fd00::1" }, { first[2], first[3] })
      names = resolver.names(counting(FOUR), true, 10, "unspec", 2)
      assert.equal("10.0.0.1 10.0.0.2 fd00::1 fd00::2", hosts(names:addresses("a.test", 80)))
      names = resolver.names(counting(FOUR), true, 10, "unspec", 0)
      assert.equal("10.0.0.1 10.0.0.2 fd00::1 fd00::2", hosts(names:addresses("a.test", 80)))
      names = resolver.names(counting(FOUR), true, 10, "inet6")
      assert.equal("fd00::1 fd00::2", hosts(names:addresses("a.test", 80)))
    end)
  end)

  it("that are addresses are not asked for", function()
    run(function()
      local r = counting(FOUR)
      local names = resolver.names(r, true, 10, "unspec")
      assert.equal("127.0.0.1", hosts(names:addresses("127.0.0.1", 80)))
      assert.equal("::1", hosts(names:addresses("::1", 80)))
      assert.equal(0, r.asked)
    end)
  end)

  it("are told of to traces", function()
    run(function()
      local told = {}
      local traces = { send = function(_, event, params) told[#told + 1] = event .. " " .. params.host end }
      local names = resolver.names(counting({ "10.0.0.1" }), true, 10, "unspec")
      for _ = 1, 2 do names:addresses("a.test", 80, traces) end
      assert.same({
        "dns_cache_miss a.test", "dns_resolvehost_start a.test", "dns_resolvehost_end a.test", "dns_cache_hit a.test",
      }, told)
      told = {}
      names = resolver.names(counting({ "10.0.0.1" }), false, 10, "unspec")
      names:addresses("a.test", 80, traces)
      assert.same({ "dns_resolvehost_start a.test", "dns_resolvehost_end a.test" }, told)
    end)
  end)

  it("do not take just anything of a resolver", function()
    run(function()
      for _, answer in ipairs { 5, { {} }, { 5 }, { { host = "not.an.address" } } } do
        local names = resolver.names(counting(answer), true, 10, "unspec")
        helper.raises(asyncio.TypeError, names.addresses, names, "a.test", 80)
      end
      local names = resolver.names(counting({}), true, 10, "unspec")
      local e = helper.raises(asyncio.OSError, names.addresses, names, "a.test", 80)
      assert.equal("EAI_NONAME", e.code)
      names = resolver.names({ resolve = function() return nil end }, true, 10, "unspec")
      assert.is_false((catch(names.addresses, names, "a.test", 80)))
    end)
  end)

  it("are forgotten when there are too many", function()
    run(function()
      local names = resolver.names(counting({ "10.0.0.1" }), true, 10, "unspec")
      for i = 1, 2500 do
        names:addresses("h" .. i .. ".test", 80)
        if i % 500 == 0 then await(asyncio.sleep(6)) end
      end
      local n = 0
      for _ in pairs(names.entries) do n = n + 1 end
      assert.equal(n, names.count)
      assert.is_true(n <= 2000)
    end)
  end)
end)

describe("the system's resolver", function()
  it("gives what aiohttp's does", function()
    asyncio.run(function()
      local r = http.ThreadedResolver()
      local found = await(r:resolve("localhost", 8080, "inet"))
      assert.same({ "localhost", "127.0.0.1", 8080, "inet" },
        { found[1].hostname, found[1].host, found[1].port, found[1].family })
      helper.raises(asyncio.OSError, function() await(r:resolve("no.such.host.invalid")) end)
      await(r:close())
      assert.equal(http.ThreadedResolver, http.DefaultResolver)
    end)
  end)
end)

describe("connections", function()
  it("go on to the next address when one refuses", function()
    asyncio.run(function()
      local server <close> = await(asyncio.start_server(async(function(reader, writer)
        catch(function()
          await(reader:readuntil("\r\n\r\n"))
          writer:write("HTTP/1.1 204 No Content\r\n\r\n")
        end)
        writer:close()
      end), "127.0.0.3", 0))
      local session <close> = http.ClientSession { connector = http.TCPConnector {
        resolver = counting({ { host = "127.0.0.2" }, { host = "127.0.0.3" } }),
      } }
      for _ = 1, 3 do
        local resp <close> = await(session:get(("http://a.test:%d/"):format(server.sockets[1].port)))
        assert.equal(204, resp.status)
      end
      local e = helper.raises(http.ClientConnectorError, function()
        await(session:get(("http://a.test:%d/"):format(helper.unused_port())))
      end)
      assert.truthy(e.message:find("127.0.0.2: connection refused; 127.0.0.3: connection refused", 1, true), e.message)
    end)
  end)

  it("tell of names that nobody knows", function()
    asyncio.run(function()
      local session <close> = http.ClientSession()
      local e = helper.raises(http.ClientConnectorDNSError, function() await(session:get("http://no.such.host.invalid/x")) end)
      assert.truthy(tostring(e):find("GET http://no.such.host.invalid/x: Cannot connect to host no.such.host.invalid:80", 1, true))
      assert.same({ "no.such.host.invalid", 80 }, { e.host, e.port })
      assert.is_true(asyncio.isinstance(e, asyncio.OSError) and asyncio.isinstance(e, http.ClientConnectorError))
    end)
  end)
end)
