--- Pools of places that may speak HTTP/2: one connection is made to find out, then shared, or the others make their own.

local helper = require "spec.helper"
if not helper.has_tls() or not pcall(require, "http.core") then return end

local asyncio = require "asyncio"
local certs = require "spec.certs"
local http = require "http"
local proxies = require "spec.http.client.proxies"
local web = require "http.web"

--- Runs f(url, server) while an application answers after `delay` seconds with the HTTP version; server.count has its
--- connections, server.most how many requests there were at a time.
local function serve(protocols, delay, f)
  asyncio.run(function()
    local self = { count = 0, running = 0, most = 0 }
    local app = web.Application()
    local peers = {}
    app:add_routes { web.get("/", function(request)
      local peer = request:get_extra_info("peername")[2]
      if not peers[peer] then
        peers[peer] = true
        self.count = self.count + 1
      end
      self.running = self.running + 1
      self.most = math.max(self.most, self.running)
      await(asyncio.sleep(delay))
      self.running = self.running - 1
      return web.Response { text = "hi" }
    end) }
    local context = certs.server()
    if protocols then context:set_alpn_protocols(protocols) end
    local runner = web.AppRunner(app)
    await(runner:setup())
    local site = web.TCPSite(runner, "127.0.0.1", 0, { ssl_context = context })
    await(site:start())
    f("https://localhost:" .. runner.addresses[1][2] .. "/", self)
    await(runner:cleanup())
  end)
end

local function get(session, url)
  local resp <close> = await(session:get(url))
  assert.equal("hi", await(resp:text()))
  return resp.version
end

local function many(session, url, n)
  local tasks = {}
  for i = 1, n do tasks[i] = async(get)(session, url) end
  local versions = {}
  for _, version in ipairs(await(asyncio.gather(tasks))) do versions[version] = (versions[version] or 0) + 1 end
  return versions
end

describe("a pool", function()
  it("shares one connection of HTTP/2, which counts once", function()
    serve(nil, 0.01, function(url, server)
      local connector = http.TCPConnector { ssl = certs.client(), limit = 1 }
      local session <close> = http.ClientSession { connector = connector }
      assert.same({ ["2.0"] = 150 }, many(session, url, 150))
      assert.equal(1, server.count)
      assert.is_true(server.most > 1)
      assert.equal("<TCPConnector acquired=0 limit=1>", tostring(connector))
      assert.same({ ["2.0"] = 20 }, many(session, url, 20))
      assert.equal(1, server.count)
    end)
  end)

  it("learns that a server speaks HTTP/1 alone", function()
    serve({ "http/1.1" }, 0.01, function(url, server)
      local session <close> = http.ClientSession { connector = http.TCPConnector { ssl = certs.client(), limit = 4 } }
      assert.same({ ["1.1"] = 12 }, many(session, url, 12))
      assert.equal(4, server.count)
      assert.equal(4, server.most)
    end)
  end)

  it("has HTTP/2 by way of a proxy, also one that is spoken to over TLS", function()
    serve(nil, 0, function(url, server)
      local plain <close>, port = proxies.http()
      local secret <close>, sport = proxies.http { ssl = certs.server() }
      assert.truthy(plain and secret)
      local session <close> = http.ClientSession { connector = http.TCPConnector { ssl = certs.client() } }
      for _, proxy in ipairs { "http://localhost:" .. port, "https://localhost:" .. sport } do
        for _ = 1, 3 do
          local resp <close> = await(session:get(url, { proxy = proxy }))
          assert.same({ "2.0", "hi" }, { resp.version, await(resp:text()) })
        end
      end
      assert.equal(2, server.count)
    end)
  end)

  it("is good for another loop too", function()
    local connector = http.TCPConnector { ssl = certs.client() }
    for _ = 1, 2 do
      serve(nil, 0, function(url)
        local session = http.ClientSession { connector = connector, connector_owner = false }
        assert.equal("2.0", get(session, url))
        assert.equal("2.0", get(session, url))
        await(session:close())
      end)
    end
    connector:close()
  end)

  it("does not offer HTTP/2 if it is not to", function()
    serve(nil, 0, function(url)
      local session <close> = http.ClientSession { connector = http.TCPConnector { ssl = certs.client(), http2 = false } }
      assert.equal("1.1", get(session, url))
    end)
  end)

  it("lets the next one find out when the first is cancelled", function()
    serve(nil, 0, function(url, server)
      local connector = http.TCPConnector { ssl = certs.client() }
      local session <close> = http.ClientSession { connector = connector }
      for rounds = 0, 12, 3 do
        local first = asyncio.create_task(async(get)(session, url))
        local others = {}
        for i = 1, 3 do others[i] = asyncio.create_task(async(get)(session, url)) end
        helper.turn(rounds)
        first:cancel()
        asyncio.catch(await, first)
        for i = 1, 3 do assert.equal("2.0", await(others[i])) end
      end
      assert.is_true(server.count <= 5)
      assert.equal("<TCPConnector acquired=0 limit=100>", tostring(connector))
    end)
  end)

  it("makes another connection when the shared one has gone", function()
    serve(nil, 0, function(url, server)
      local connector = http.TCPConnector { ssl = certs.client() }
      local session <close> = http.ClientSession { connector = connector }
      for _ = 1, 3 do
        assert.equal("2.0", get(session, url))
        for _, pool in pairs(connector._pools) do pool.shared:close() end
      end
      assert.equal(3, server.count)
      local n = 0
      for _ in pairs(connector._owners) do n = n + 1 end
      assert.is_true(n <= 1)
    end)
  end)

  it("goes with its connector, also if that is not closed", function()
    serve(nil, 0, function(where, server)
      local place = require("http.client.place").new(require("url").parse(where))
      for i = 1, 2 do
        local connector = http.TCPConnector { ssl = certs.client() }
        local conn = connector:connect(place, { method = "GET", url = where })
        local x = conn:request("GET", "/", { "Host", "localhost" })
        assert.equal(200, await(x:response()))
        assert.equal("hi", await(x:read()))
        connector:release(conn, true)
        assert.equal(i, server.count)
      end
    end) -- the leak gate sees what is left
  end)

  it("holds up no script that forgets to close its session", function()
    local path = helper.tmpfile([[
      local http = require "http"
      local context = require("ssl").create_default_context { cafile = arg[2] }
      for _, http2 in ipairs { true, false } do
        local session = http.ClientSession { connector = http.TCPConnector { ssl = context, http2 = http2 } }
        local resp = await(session:get(arg[1]))
        print(resp.version, await(resp:text()))
      end]], ".lua")
    serve(nil, 0, function(url)
      local proc = await(asyncio.create_subprocess_exec(helper.moonloop, path, url, certs.path("root.pem"), {
        stdout = asyncio.subprocess.PIPE, stderr = asyncio.subprocess.DEVNULL,
      }))
      -- connections are kept for 15 s
      assert.equal("2.0\thi\n1.1\thi\n", (await(asyncio.wait_for(proc:communicate(), 60 * helper.slow))))
    end)
  end)
end)
