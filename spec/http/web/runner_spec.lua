--- Runners and sites: where they listen, and how they end.

local asyncio = require "asyncio"
local client = require "spec.http.client"
local helper = require "spec.helper"
local socket = require "socket"
local web = require "http.web"

--- An application that notes what happens, and has a slow path.
local function noting()
  local seen = {}
  local app = web.Application()
  app.on_startup:append(function() seen[#seen + 1] = "startup" end)
  app.on_shutdown:append(function() seen[#seen + 1] = "shutdown" end)
  app.on_cleanup:append(function() seen[#seen + 1] = "cleanup" end)
  app:add_routes {
    web.get("/", function() return web.Response { text = "hello" } end),
    web.get("/slow", function()
      seen[#seen + 1] = "slow"
      local ok, err = asyncio.catch(await, asyncio.sleep(0.2))
      seen[#seen + 1] = ok and "slow done" or "slow cancelled"
      if not ok then error(err, 0) end
      return web.Response { text = "slow" }
    end),
    web.get("/stubborn", function()
      seen[#seen + 1] = "stubborn"
      while true do pcall(await, asyncio.sleep(1000)) end
    end),
  }
  return app, seen
end

local function port_of(site) return math.tointeger(tonumber(site.name:match(":(%d+)$"))) end

local function started(app, opts)
  local runner = web.AppRunner(app, opts)
  await(runner:setup())
  local site = web.TCPSite(runner, "127.0.0.1", 0)
  await(site:start())
  return runner, port_of(site), site
end

describe("an AppRunner", function()
  it("serves on several sites at once, and tells where", function()
    helper.run_with_loop(function()
      local app, seen = noting()
      local runner <close> = web.AppRunner(app)
      assert.same({}, runner.addresses)
      await(runner:setup())
      local path = helper.tmpdir() .. "/socket"
      local sock = socket.socket()
      sock:bind("127.0.0.1", 0)
      local sites = { web.TCPSite(runner, "127.0.0.1", 0), web.UnixSite(runner, path), web.SockSite(runner, sock) }
      for _, site in ipairs(sites) do await(site:start()) end
      assert.equal(3, #runner.sites)
      assert.equal(3, #runner.addresses)
      assert.truthy(sites[1].name:find("^http://127%.0%.0%.1:%d+$"))
      assert.equal("http://unix:" .. path .. ":", sites[2].name)
      assert.equal("hello", client.request(port_of(sites[1]), "GET", "/").body)
      assert.equal("hello", client.request(port_of(sites[3]), "GET", "/").body)
      local _, out = helper.sh("true")
      assert.equal("", out)
      local reader, writer = await(asyncio.open_unix_connection(path))
      writer:write("GET / HTTP/1.0\r\n\r\n")
      assert.equal("hello", client.parse(await(reader:read())).body)
      writer:close()
      await(sites[1]:stop())
      assert.equal(2, #runner.sites)
      helper.raises(asyncio.OSError, await, asyncio.open_connection("127.0.0.1", port_of(sites[1])))
      assert.equal("hello", client.request(port_of(sites[3]), "GET", "/").body)
      await(runner:cleanup())
      await(runner:cleanup())
      assert.same({ "startup", "shutdown", "cleanup" }, seen)
      assert.same({}, runner.sites)
    end)
  end)

  it("ends gracefully: closes what is idle, lets requests end, in the order of aiohttp", function()
    helper.run_with_loop(function()
      local app, seen = noting()
      local runner, port = started(app)
      local idle_reader, idle = await(asyncio.open_connection("127.0.0.1", port))
      idle:write("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
      await(idle_reader:readuntil("hello"))
      local slow_reader, slow = await(asyncio.open_connection("127.0.0.1", port))
      slow:write("GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
      while seen[#seen] ~= "slow" do await(asyncio.sleep(0)) end
      local ending = asyncio.create_task(runner:cleanup())
      assert.equal("", await(idle_reader:read()))
      assert.is_false(ending:done())
      helper.raises(asyncio.OSError, await, asyncio.open_connection("127.0.0.1", port))
      local r = client.parse(await(slow_reader:read()))
      assert.same({ 200, "slow", "close" }, { r.status, r.body, r.headers.connection })
      await(ending)
      assert.same({ "startup", "slow", "shutdown", "slow done", "cleanup" }, seen)
      idle:close()
      slow:close()
    end)
  end)

  it("cancels what does not end in time", function()
    helper.run_with_loop(function()
      local app, seen = noting()
      local runner, port = started(app, { shutdown_timeout = 0.05 })
      local reader, writer = await(asyncio.open_connection("127.0.0.1", port))
      writer:write("GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
      while seen[#seen] ~= "slow" do await(asyncio.sleep(0)) end
      await(runner:cleanup())
      assert.same({ "startup", "slow", "shutdown", "slow cancelled", "cleanup" }, seen)
      pcall(await, reader:read())
      writer:close()
    end)
  end)

  it("cleans up, and raises, when on_shutdown fails", function()
    helper.run_with_loop(function()
      local app, seen = noting()
      app.on_shutdown:append(function() error("no way") end)
      local runner, port = started(app)
      helper.raises("no way", await, runner:cleanup())
      assert.same({ "startup", "shutdown", "cleanup" }, seen)
      helper.raises(asyncio.OSError, await, asyncio.open_connection("127.0.0.1", port))
    end)
  end)

  it("cleans up what a failed start has begun", function()
    helper.run_with_loop(function()
      local app, seen = noting()
      app.on_startup:append(function() error("cannot start") end)
      local runner = web.AppRunner(app)
      helper.raises("cannot start", await, runner:setup())
      helper.raises("not set up", await, web.TCPSite(runner, "127.0.0.1", 0):start())
      await(runner:cleanup())
      assert.same({ "startup", "shutdown", "cleanup" }, seen)
    end)
  end)

  it("tells of an address that is taken", function()
    helper.run_with_loop(function()
      local runner <close>, port = started((noting()))
      local e = helper.raises(asyncio.OSError, await, web.TCPSite(runner, "127.0.0.1", port):start())
      assert.equal("EADDRINUSE", e.code)
      assert.equal(1, #runner.sites)
    end)
  end)

  it("lets several processes listen on one port", function()
    helper.run_with_loop(function()
      local runner <close> = web.AppRunner((noting()))
      await(runner:setup())
      local first = web.TCPSite(runner, "127.0.0.1", 0, { reuse_port = true })
      await(first:start())
      await(web.TCPSite(runner, "127.0.0.1", port_of(first), { reuse_port = true }):start())
      assert.equal("hello", client.request(port_of(first), "GET", "/").body)
    end)
  end)

  it("logs requests that nobody could handle", function()
    helper.run_with_loop(function()
      local lines = {}
      local runner <close>, port = started((noting()), {
        on_bad = function(...) lines[#lines + 1] = require("http.web.runner").bad_line(...) end,
      })
      local reader, writer = await(asyncio.open_connection("127.0.0.1", port))
      writer:write("GET / HTTP/1.1\r\nno header at all\r\n\r\n")
      assert.equal(400, client.parse(await(reader:read())).status)
      writer:close()
      assert.equal(1, #lines)
      assert.truthy(lines[1]:find("^moonloop: request from 127%.0%.0%.1:%d+ refused: 400 "), lines[1])
      assert.equal(runner.app, runner.app)
    end)
  end)

  it("refuses misuse", function()
    helper.run_with_loop(function()
      local app = noting()
      helper.raises(asyncio.TypeError, web.AppRunner)
      helper.raises(asyncio.TypeError, web.AppRunner, {})
      helper.raises(asyncio.TypeError, web.AppRunner, app, { shutdown = 1 })
      helper.raises(asyncio.ValueError, web.AppRunner, app, { shutdown_timeout = -1 })
      helper.raises(asyncio.TypeError, web.TCPSite, app, "127.0.0.1", 0)
      local runner <close> = web.AppRunner(app)
      helper.raises(asyncio.TypeError, web.TCPSite, runner, 5, 0)
      helper.raises(asyncio.ValueError, web.TCPSite, runner, "h", 70000)
      helper.raises(asyncio.TypeError, web.TCPSite, runner, "h", 0, { reuse = true })
      helper.raises(asyncio.TypeError, web.UnixSite, runner)
      helper.raises(asyncio.TypeError, web.SockSite, runner)
      helper.raises(asyncio.TypeError, web.SockSite, runner, io.stdout)
      helper.raises(asyncio.RuntimeError, await, web.TCPSite(runner, "127.0.0.1", 0):start())
      await(runner:setup())
      helper.raises(asyncio.RuntimeError, await, runner:setup())
      local site = web.TCPSite(runner, "127.0.0.1", 0)
      await(site:start())
      helper.raises(asyncio.RuntimeError, await, site:start())
      local sub, outer = web.Application(), web.Application()
      outer:add_subapp("/sub", sub)
      helper.raises(asyncio.RuntimeError, web.AppRunner, sub)
    end)
  end)
end)

describe("a ServerRunner", function()
  it("runs a function of the request", function()
    helper.run_with_loop(function()
      local runner <close> = web.ServerRunner(function(request)
        return web.Response { text = request.method .. " " .. request.path }
      end)
      await(runner:setup())
      local site = web.TCPSite(runner, "127.0.0.1", 0)
      await(site:start())
      assert.equal("PUT /any/path", client.request(port_of(site), "PUT", "/any/path").body)
      helper.raises(asyncio.TypeError, web.ServerRunner, 5)
    end)
  end)
end)

if helper.has_tls() then
  describe("a site with TLS", function()
    it("speaks https", function()
      local certs = require "spec.certs"
      helper.run_with_loop(function()
        local context = certs.server("good")
        local runner <close> = web.AppRunner((noting()))
        await(runner:setup())
        local site = web.TCPSite(runner, "127.0.0.1", 0, { ssl_context = context })
        await(site:start())
        assert.truthy(site.name:find("^https://127"))
        local reader, writer = await(asyncio.open_connection("127.0.0.1", port_of(site),
          { ssl = certs.client(), server_hostname = "localhost" }))
        writer:write("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert.equal("hello", client.parse(await(reader:read())).body)
        writer:close()
      end)
    end)
  end)
end
