--- asyncio.testing in busted: options, tests with options of their own, raises, mocks.

local asyncio = require "asyncio"
local testing = require "asyncio.testing"

testing.options { loop = true }

describe("testing.options", function()
  it("makes tests tasks of a loop in virtual time", function()
    local loop = asyncio.get_running_loop()
    local at = loop:time()
    asyncio.await(asyncio.sleep(3600))
    assert.equal(3600.0, loop:time() - at)
  end)

  describe("of a block", function()
    testing.options { debug = true, shuffle = 5 }

    it("holds in it", function() assert.is_true(asyncio.get_running_loop():get_debug()) end)
  end)

  it("holds nowhere else", function() assert.is_false(asyncio.get_running_loop():get_debug()) end)

  it("says what is wrong with it", function()
    testing.raises("testing.options() got an unexpected keyword argument 'tiemout'", testing.options, { tiemout = 1 })
    testing.raises('clock must be "real" or "virtual", got fast', testing.options, { clock = "fast" })
    testing.raises("timeout must be a positive number of seconds, got 0", testing.options, { timeout = 0 })
  end)
end)

describe("testing.it", function()
  testing.it("has options of its own", { clock = "real", timeout = 10 }, function()
    local loop = asyncio.get_running_loop()
    local at = loop:time()
    asyncio.await(asyncio.sleep(0.01))
    assert(loop:time() - at < 5)
  end)

  testing.it("may make its loops itself", { loop = false }, function()
    assert.is_nil(require("asyncio.core").get_running_loop_or_nil())
    assert.equal(3600.0, testing.run(function()
      asyncio.await(asyncio.sleep(3600))
      return asyncio.get_running_loop():time()
    end))
  end)

  testing.it("may leave things behind", { leaks = false }, function()
    asyncio.get_running_loop():call_later(5, function() end)
  end)

  it("says what is wrong with its arguments", function()
    testing.raises("a function was expected, got nil", testing.it, "name", {})
  end)
end)

describe("testing.raises", function()
  local fails = asyncio.async(function(what)
    asyncio.await(asyncio.sleep(1))
    error(what, 0)
  end)

  it("takes functions, coroutine functions and awaitables", function()
    local err = asyncio.ValueError("wrong")
    assert.equal(err, testing.raises(asyncio.ValueError, error, err))
    assert.equal(err, testing.raises(asyncio.ValueError, fails, err))
    assert.equal(err, testing.raises("wron", fails(err)))
  end)

  it("fails if nothing is raised, or something else", function()
    assert.has_error(function() testing.raises("x", function() return 5 end) end, nil)
    local ok, why = pcall(testing.raises, asyncio.ValueError, function() return 5 end)
    assert.is_false(ok)
    assert(why:find("expected an error, but it gave 5", 1, true), why)
    ok, why = pcall(testing.raises, asyncio.ValueError, error, asyncio.TypeError("other"))
    assert.is_false(ok)
    assert(why:find("another error than expected: TypeError: other", 1, true), why)
  end)
end)

describe("testing.mock", function()
  it("gives, raises, calls, after a while, and remembers", function()
    local loop = asyncio.get_running_loop()
    local get = testing.mock { returns = { status = 200 }, delay = 2 }
    assert.equal(200, asyncio.await(get("/", nil)).status)
    assert.equal(2.0, loop:time())
    assert.equal(1, get.awaited)
    assert.same({ "/", nil, n = 2 }, get.calls[1])
    local add = testing.mock { calls = function(a, b) return a + b end }
    assert.equal(3, asyncio.await(add(1, 2)))
    local fail = testing.mock { raises = asyncio.OSError("gone") }
    testing.raises(asyncio.OSError, fail, 1)
    assert.equal(1, #fail.calls)
    assert.equal(0, fail.awaited)
  end)
end)

describe("testing.settle", function()
  it("lets everything go on that can", function()
    local n = 0
    local task = asyncio.create_task(asyncio.async(function()
      for _ = 1, 10 do
        asyncio.await(asyncio.sleep(0))
        n = n + 1
      end
      asyncio.await(asyncio.sleep(5))
      n = -1
    end)())
    asyncio.await(testing.settle())
    assert.equal(10, n)
    asyncio.await(testing.advance(5))
    assert.equal(-1, n)
    asyncio.await(task)
  end)
end)

describe("testing.Network", function()
  local function echo(r, w)
    while true do
      local data = asyncio.await(r:read(100))
      if not data then break end
      w:write(data)
    end
    w:close()
  end

  it("has hosts by name, and latency in virtual time", function()
    local net <close> = testing.Network { latency = 0.5 }
    asyncio.await(net:listen("api.example.com", 443, echo))
    local loop = asyncio.get_running_loop()
    local r, w <close> = asyncio.await(asyncio.open_connection("api.example.com", 443))
    assert.equal(1.0, loop:time())
    w:write("ping")
    assert.equal("ping", asyncio.await(r:read(100)))
    assert.equal(2.0, loop:time())
    net.bandwidth = 100
    w:write(("x"):rep(100))
    assert.equal(100, #asyncio.await(r:readexactly(100)))
    assert.equal(5.0, loop:time())
  end)

  it("refuses what it does not know", function()
    local net <close> = testing.Network()
    asyncio.await(net:listen("a.example", 80, echo))
    assert.equal("EAI_NONAME", testing.raises(asyncio.OSError, asyncio.open_connection, "b.example", 80).code)
    assert.equal("ECONNREFUSED", testing.raises(asyncio.OSError, asyncio.open_connection, "a.example", 81).code)
    assert.equal("ECONNREFUSED", testing.raises(asyncio.OSError, asyncio.open_connection, "192.0.2.1", 80).code)
  end)

  it("has hosts go down and come back", function()
    local net <close> = testing.Network()
    asyncio.await(net:listen("a.example", 80, echo))
    local r, w <close> = asyncio.await(asyncio.open_connection("a.example", 80))
    w:write("x")
    assert.equal("x", asyncio.await(r:read(1)))
    net:down("a.example")
    assert.is_nil(asyncio.await(r:read(1)))
    testing.raises(asyncio.OSError, asyncio.open_connection, "a.example", 80)
    net:up("a.example")
    local back, again <close> = asyncio.await(asyncio.open_connection("a.example", 80))
    again:write("y")
    assert.equal("y", asyncio.await(back:read(1)))
    testing.raises("the network has no host 'c'", net.down, net, "c")
  end)

  it("serves http.ClientSession", function()
    local net <close> = testing.Network()
    asyncio.await(net:listen("a.example", 80, function(r, w)
      asyncio.await(r:readuntil("\r\n\r\n"))
      w:write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
      asyncio.await(w:drain())
      w:close()
    end))
    local session = require("http").ClientSession()
    local resp = asyncio.await(session:get("http://a.example/"))
    assert.equal("hi", asyncio.await(resp:text()))
    asyncio.await(session:close())
  end)
end)

describe("testing.Network with an application", function()
  local function application()
    local web = require "http.web"
    local app, log = web.Application(), {}
    app.router:add_get("/{name}", function(request)
      asyncio.await(asyncio.sleep(1))
      return web.Response { text = request.match_info.name .. " of " .. request.host }
    end)
    app.on_startup:append(function() log[#log + 1] = "up" end)
    app.on_cleanup:append(function() log[#log + 1] = "down" end)
    return app, log
  end

  it("serves it, late, until the network is closed", function()
    local app, log = application()
    do
      local net <close> = testing.Network { latency = 0.25 }
      asyncio.await(net:serve("api.example", 80, app, { shutdown_timeout = 0 }))
      local session <close> = require("http").ClientSession()
      local at = asyncio.get_running_loop():time()
      local resp <close> = asyncio.await(session:get "http://api.example/joe")
      assert.equal("joe of api.example", asyncio.await(resp:text()))
      assert.equal(2.0, asyncio.get_running_loop():time() - at)
      net:down "api.example"
      testing.raises("connection refused", function() asyncio.await(session:get "http://api.example/joe") end)
      assert.same({ "up" }, log)
    end
    assert.same({ "up", "down" }, log)
  end)

  it("serves it by TLS", function()
    if not require("spec.helper").has_tls() then return end
    local certs = require "spec.certs"
    local net <close> = testing.Network()
    asyncio.await(net:serve("localhost", 443, (application()), { ssl = certs.server() }))
    local session <close> = require("http").ClientSession()
    local resp <close> = asyncio.await(session:get("https://localhost/joe", { ssl = certs.client() }))
    assert.equal("joe of localhost", asyncio.await(resp:text()))
  end)

  it("says what is wrong with it", function()
    local net <close> = testing.Network()
    testing.raises(asyncio.TypeError, function() asyncio.await(net:serve("a", 80, function() end)) end)
    testing.raises("nonsense", function() asyncio.await(net:serve("a", 80, (application()), { nonsense = 1 })) end)
  end)
end)

describe("testing.Network with TLS", function()
  it("serves http.ClientSession under the host's name", function()
    if not require("spec.helper").has_tls() then return end
    local certs = require "spec.certs"
    local net <close> = testing.Network { latency = 0.01 }
    asyncio.await(net:listen("localhost", 443, function(r, w)
      asyncio.await(r:readuntil("\r\n\r\n"))
      w:write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
      asyncio.await(w:drain())
      w:close()
    end, { ssl = certs.server() }))
    local session = require("http").ClientSession()
    local resp = asyncio.await(session:get("https://localhost/", { ssl = certs.client() }))
    assert.equal("hi", asyncio.await(resp:text()))
    asyncio.await(session:close())
  end)
end)
