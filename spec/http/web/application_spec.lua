local asyncio = require "asyncio"
local helper = require "spec.helper"
local mock = require "http.mock"
local testing = require "http.testing"
local web = require "http.web"

describe("Application", function()
  it("sends its signals, the outer application's first", function()
    local trace = {}
    local app, sub = web.Application(), web.Application()
    for name, a in pairs { app = app, sub = sub } do
      for _, signal in ipairs { "on_startup", "on_shutdown", "on_cleanup" } do
        a[signal]:append(async(function(given)
          assert.equal(a, given)
          await(asyncio.sleep(0))
          trace[#trace + 1] = name .. "." .. signal
        end))
      end
    end
    app.on_startup:append(function() trace[#trace + 1] = "plain" end)
    app:add_subapp("/sub", sub)
    helper.run(function()
      await(app:startup())
      await(app:shutdown())
      await(app:cleanup())
    end)
    assert.same({
      "app.on_startup", "plain", "sub.on_startup", "app.on_shutdown", "sub.on_shutdown", "app.on_cleanup", "sub.on_cleanup",
    }, trace)
    assert.is_true(app.frozen)
    helper.raises("on_startup is frozen", app.on_startup.append, app.on_startup, print)
    helper.raises("on_startup is frozen", table.insert, app.on_startup, print)
  end)

  it("has contexts that are left in the opposite order", function()
    local trace, app = {}, web.Application()
    for _, name in ipairs { "a", "b" } do
      app.cleanup_ctx:append(function(given)
        assert.equal(app, given)
        await(asyncio.sleep(1))
        trace[#trace + 1] = name .. " begins"
        coroutine.yield()
        await(asyncio.sleep(1))
        trace[#trace + 1] = name .. " ends"
      end)
    end
    app.cleanup_ctx:append(async(function() -- a coroutine function
      trace[#trace + 1] = "c begins"
      coroutine.yield()
      trace[#trace + 1] = "c ends"
    end))
    helper.run(function()
      await(app:startup())
      await(app:cleanup())
    end)
    assert.same({ "a begins", "b begins", "c begins", "c ends", "b ends", "a ends" }, trace)
  end)

  it("leaves what it has entered when startup fails", function()
    local trace, app = {}, web.Application()
    app.cleanup_ctx:append(function()
      coroutine.yield()
      trace[#trace + 1] = "left"
    end)
    app.cleanup_ctx:append(function() error("no database", 0) end)
    app.on_startup:append(function() trace[#trace + 1] = "started" end)
    helper.run(function()
      helper.raises("no database", function() await(app:startup()) end)
      await(app:cleanup())
    end)
    assert.same({ "left" }, trace)
  end)

  it("cleans up all, whatever fails, and tells all that did", function()
    local trace, app = {}, web.Application()
    app.on_cleanup:append(function() error("first", 0) end)
    app.on_cleanup:append(function() trace[#trace + 1] = "second" end)
    app.cleanup_ctx:append(function()
      coroutine.yield()
      error("third", 0)
    end)
    app.cleanup_ctx:append(function()
      coroutine.yield()
      trace[#trace + 1] = "fourth"
    end)
    helper.run(function()
      await(app:startup())
      local err = helper.raises(asyncio.ExceptionGroup, function() await(app:cleanup()) end)
      assert.is_true(asyncio.isinstance(err, web.CleanupError))
      assert.same({ "third", "first" }, err.exceptions)
    end)
    assert.same({ "fourth", "second" }, trace)
  end)

  it("says what is wrong with a context", function()
    local never, twice = web.Application(), web.Application()
    never.cleanup_ctx:append(function() end)
    twice.cleanup_ctx:append(function()
      coroutine.yield()
      coroutine.yield()
    end)
    helper.run(function()
      helper.raises("without a coroutine.yield", function() await(never:startup()) end)
      await(twice:startup())
      helper.raises("yields more than once", function() await(twice:cleanup()) end)
    end)
  end)

  it("tells on_response_prepare of each response before it is sent", function()
    local seen, app, sub = {}, web.Application(), web.Application()
    local function add(name)
      return async(function(request, response)
        seen[#seen + 1] = ("%s %s %d"):format(name, request.path, response.status)
        response.headers["X-" .. name] = "1"
      end)
    end
    app.on_response_prepare:append(add("A"))
    sub.on_response_prepare:append(add("B"))
    app.router:add_get("/", function() return web.Response { text = "x" } end)
    sub.router:add_get("/", async(function(request)
      local response = web.StreamResponse()
      await(response:prepare(request))
      return response
    end))
    app:add_subapp("/sub", sub)
    local function get(path)
      local x = mock.exchange("GET", path)
      helper.run(function() await(testing.answer(app, x)) end)
      return x
    end
    assert.equal("1", get("/"):sent_header("X-A"))
    local x = get("/sub/")
    assert.same({ "1", "1" }, { x:sent_header("X-A"), x:sent_header("X-B") })
    assert.equal("1", get("/none"):sent_header("X-A"))
    assert.same({ "A / 200", "A /sub/ 200", "B /sub/ 200", "A /none 404" }, seen)
  end)

  it("keeps state by name and by key", function()
    local app = web.Application()
    local a, b = web.AppKey("db"), web.AppKey("db")
    app["db"], app[a], app[b] = 1, 2, 3
    assert.same({ 1, 2, 3 }, { app.db, app[a], app[b] })
    assert.equal("<AppKey(db)>", tostring(a))
    helper.raises("Application.add_routes cannot be set", function() app.add_routes = 1 end)
    helper.raises("AppKey: a name was expected", web.AppKey)
  end)

  it("refuses what it does not know", function()
    helper.raises("unexpected keyword argument 'middleware'", web.Application, { middleware = {} })
    helper.raises("client_max_size: a number of bytes", web.Application, { client_max_size = -1 })
    helper.raises("middlewares: an array", web.Application, { middlewares = print })
  end)
end)

describe("RouteTableDef", function()
  it("collects routes where their handlers stand", function()
    local routes = web.RouteTableDef()
    local hello = routes:get("/", { name = "hello" })(async(function() return web.Response { text = "hello" } end))
    routes:post("/")(function() return web.Response { text = "post" } end)
    routes:route("BREW", "/pot")(function() return web.HTTPOk() end)
    local View = web.View:extend("Hello")
    function View:get() return web.Response { text = "view " .. self.request.path } end
    View.post = async(function(self) return web.Response { text = await(self.request:read()) } end)
    routes:view("/view")(View)
    assert.equal("function", type(hello))
    assert.equal(4, #routes)
    local app = web.Application()
    app:add_routes(routes)
    local function ask(method, path, body)
      local x = mock.exchange(method, path, { body = body })
      helper.run(function() await(testing.answer(app, x)) end)
      return ("%d %s"):format(x.status, x.body), x
    end
    assert.equal("200 hello", (ask("GET", "/")))
    assert.equal("200 post", (ask("POST", "/")))
    assert.equal("200 200: OK", (ask("BREW", "/pot")))
    assert.equal("200 view /view", (ask("GET", "/view")))
    assert.equal("200 body", (ask("POST", "/view", "body")))
    local text, x = ask("PUT", "/view")
    assert.same({ "405 405: Method Not Allowed", "GET,POST" }, { text, x:sent_header("Allow") })
    assert.equal("405 405: Method Not Allowed", (ask("EXTEND", "/view")))
    assert.equal("200 ", (ask("HEAD", "/view")))
    assert.equal("/", app.router.hello:url_for())
    helper.raises("unexpected keyword argument", routes.get, routes, "/", { nam = "x" })
  end)
end)
