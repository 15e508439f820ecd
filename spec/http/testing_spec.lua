local asyncio = require "asyncio"
local helper = require "spec.helper"
local testing = require "http.testing"
local web = require "http.web"

-- Runs f(server, ask) while the application is served. ask(bytes) sends them on a connection of its own, and gives all
-- that comes until the server closes.
local function with_server(app, opts, f)
  asyncio.run(async(function()
    local server <close> = await(testing.TestServer(app, opts):start_server())
    local function ask(bytes)
      local reader, writer <close> = await(asyncio.open_connection(server.host, server.port))
      writer:write(bytes)
      return await(asyncio.wait_for(reader:read(), 60 * helper.slow))
    end
    f(server, ask)
  end))
end

local close = "Host: x\r\nConnection: close\r\n\r\n"

local function app_of(routes, opts)
  local app = web.Application(opts)
  app:add_routes(routes)
  return app
end

describe("TestServer", function()
  it("serves an application", function()
    local seen = {}
    local app = app_of { web.get("/{name}", async(function(request)
      return web.Response { text = ("%s %s %s"):format(request.match_info.name, request.remote, request.host) }
    end)) }
    for _, signal in ipairs { "on_startup", "on_shutdown", "on_cleanup" } do
      app[signal]:append(function() seen[#seen + 1] = signal end)
    end
    with_server(app, nil, function(server, ask)
      assert.equal(("http://127.0.0.1:%d/a"):format(server.port), server:make_url("/a"))
      local answer = ask("GET /jane HTTP/1.1\r\n" .. close)
      assert(answer:find("^HTTP/1%.1 200 OK\r\n"))
      assert(answer:find("\r\n\r\njane 127.0.0.1 x", 1, true), answer)
      assert(ask("GET /x HTTP/1.0\r\n\r\n"):find(("\r\n\r\nx 127.0.0.1 127.0.0.1:%d"):format(server.port), 1, true))
      assert(ask("GET /x/y HTTP/1.1\r\n" .. close):find("^HTTP/1%.1 404 Not Found\r\n.*\r\n\r\n404: Not Found$"))
      assert(ask("POST /x HTTP/1.1\r\nContent-Length: 0\r\n" .. close):find("405 Method Not Allowed\r\n.*Allow: GET,HEAD\r\n"))
      assert(ask("HEAD /x HTTP/1.1\r\n" .. close):find("Content%-Length: 13\r\n.*\r\n\r\n$"))
    end)
    assert.same({ "on_startup", "on_shutdown", "on_cleanup" }, seen)
  end)

  it("answers pipelined requests in order, whatever becomes of them", function()
    local app = app_of {
      web.get("/slow", async(function()
        await(asyncio.sleep(0.01))
        return web.Response { text = "slow" }
      end)),
      web.get("/fast", function() return web.Response { text = "fast" } end),
      web.get("/gone", function() error(web.HTTPGone()) end),
      web.get("/stream", async(function(request)
        local response = web.StreamResponse()
        await(response:prepare(request))
        for i = 1, 3 do await(response:write("piece" .. i)) end
        return response
      end)),
    }
    with_server(app, nil, function(_, ask)
      local requests = {}
      for _, path in ipairs { "slow", "fast", "gone", "stream", "none" } do
        requests[#requests + 1] = ("GET /%s HTTP/1.1\r\nHost: x\r\n\r\n"):format(path)
      end
      local answer = ask(table.concat(requests) .. "GET /fast HTTP/1.1\r\n" .. close)
      local order = {}
      for status in answer:gmatch("HTTP/1%.1 (%d+)") do order[#order + 1] = status end
      assert.same({ "200", "200", "410", "200", "404", "200" }, order)
      assert(answer:find("piece1.-piece2.-piece3"))
    end)
  end)

  it("refuses a body that is too large, and goes on serving", function()
    local app = app_of({ web.post("/", async(function(request) return web.Response { text = await(request:text()) } end)) },
      { client_max_size = 10 })
    with_server(app, nil, function(_, ask)
      local answer = ask("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 11\r\n\r\n12345678901")
      assert(answer:find("^HTTP/1%.1 413 .*Maximum request body size 10 exceeded"), answer)
      answer = ask("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n5\r\nhello\r\n5\r\nworld\r\n0\r\n\r\n")
      assert(answer:find("\r\n\r\nhelloworld$"), answer)
    end)
  end)

  it("answers a handler that fails without harm to others", function()
    local reports = {}
    local app = app_of {
      web.get("/boom", async(function() error("boom") end)),
      web.get("/half", async(function(request)
        local response = web.StreamResponse()
        await(response:prepare(request))
        await(response:write("half"))
        error("half")
      end)),
      web.get("/nothing", async(function() end)),
      web.get("/ok", async(function() return web.Response { text = "ok" } end)),
    }
    with_server(app, { debug = true }, function(_, ask)
      asyncio.get_running_loop():set_exception_handler(function(_, context) reports[#reports + 1] = tostring(context.exception) end)
      local answer = ask("GET /boom HTTP/1.1\r\nHost: x\r\nAccept: text/html\r\n\r\n")
      assert(answer:find("^HTTP/1%.1 500 ") and answer:find("<h1>500 Internal Server Error</h1>", 1, true))
      assert(answer:find("testing_spec.lua:%d+: boom"))
      answer = ask("GET /half HTTP/1.1\r\nHost: x\r\n\r\n")
      assert(not answer:find("\r\n0\r\n\r\n$"), "a response that failed looks complete")
      assert(ask("GET /nothing HTTP/1.1\r\n" .. close):find("returned nothing", 1, true))
      assert(ask("GET /ok HTTP/1.1\r\n" .. close):find("\r\n\r\nok$"))
    end)
    assert.equal(3, #reports)
  end)

  it("tells a handler whose client is gone, when asked to", function()
    local ended = asyncio.Event()
    local app = app_of { web.get("/", async(function()
      local _ <close> = setmetatable({}, { __close = function() ended:set() end })
      await(asyncio.sleep(3600))
    end)) }
    with_server(app, { handler_cancellation = true }, function(server)
      local _, writer = await(asyncio.open_connection(server.host, server.port))
      writer:write("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
      await(asyncio.sleep(0.05))
      writer:close()
      await(asyncio.wait_for(ended:wait(), 60 * helper.slow))
    end)
  end)

  it("serves over TLS", function()
    if not helper.has_tls() then return end
    local context = require("spec.certs").server()
    local app = app_of { web.get("/", function(request) return web.Response { text = request.scheme } end) }
    asyncio.run(async(function()
      local server <close> = await(testing.TestServer(app, { ssl = context }):start_server())
      local program = await(asyncio.create_subprocess_exec("curl", "-sk", server:make_url("/"), { stdout = asyncio.PIPE }))
      assert.equal("https", (await(program:communicate())))
    end))
  end)

  it("serves HTTP/2: the same handlers, errors, forms and middlewares", function()
    local app = web.Application { client_max_size = 10, middlewares = { async(function(request, handler)
      local response = await(handler(request))
      response.headers["X-Version"] = request.version
      return response
    end) } }
    app:add_routes {
      web.get("/slow/{n}", async(function(request)
        await(asyncio.sleep(0.05))
        local response = web.json_response { n = request.match_info.n, host = request.host }
        response:set_cookie("a", "b")
        return response
      end)),
      web.post("/echo", async(function(request) return web.Response { text = await(request:text()) } end)),
      web.get("/boom", async(function() error("boom") end)),
      web.get("/stream", async(function(request)
        local response = web.StreamResponse()
        await(response:prepare(request))
        for i = 1, 3 do await(response:write("piece" .. i)) end
        return response
      end)),
    }
    local reports = 0
    with_server(app, nil, function(server)
      asyncio.get_running_loop():set_exception_handler(function() reports = reports + 1 end)
      local function curl(args)
        local program = await(asyncio.create_subprocess_shell("curl -s -i --http2-prior-knowledge " .. args, { stdout = asyncio.PIPE }))
        return (await(program:communicate()))
      end
      local answer = curl(server:make_url("/slow/1"))
      assert(answer:find("^HTTP/2 200") and answer:find("x%-version: 2") and answer:find("set%-cookie: a=b; Path=/"), answer)
      assert(answer:find('"n":"1"', 1, true) and answer:find(("127.0.0.1:%d"):format(server.port), 1, true))
      assert(curl("-d hello " .. server:make_url("/echo")):find("\r\n\r\nhello$"))
      assert(curl("-d 12345678901 " .. server:make_url("/echo")):find("^HTTP/2 413"))
      assert(curl(server:make_url("/boom")):find("^HTTP/2 500"))
      assert(curl(server:make_url("/none")):find("^HTTP/2 404"))
      assert(curl(server:make_url("/stream")):find("\r\n\r\npiece1piece2piece3$"))
      local load = await(asyncio.create_subprocess_exec("h2load", "-n40", "-c2", "-m10", server:make_url("/slow/1"), { stdout = asyncio.PIPE }))
      assert(await(load:communicate()):find("40 succeeded", 1, true))
    end)
    assert.equal(1, reports)
  end)

  it("refuses what it does not know, and may be closed twice", function()
    helper.raises("an Application was expected", testing.TestServer, {})
    helper.raises("unexpected keyword argument 'prt'", testing.TestServer, web.Application(), { prt = 1 })
    asyncio.run(async(function()
      local server = testing.TestServer(web.Application())
      helper.raises("has not been started", server.make_url, server, "/")
      await(server:close())
      await(server:start_server())
      await(server:close())
      await(server:close())
    end))
  end)

  it("is started by asyncio.with, and by async with", function()
    asyncio.run(async(function()
      local steps = {}
      local app = web.Application()
      for _, name in ipairs { "on_startup", "on_cleanup" } do
        app[name]:append(function() steps[#steps + 1] = name end)
      end
      local server = testing.TestServer(app)
      asyncio.with(server, function(same)
        assert.equal(server, same)
        assert.truthy(server.port)
        -- one that cannot listen is left as it was
        local other = web.Application()
        other.on_cleanup:append(function() steps[#steps + 1] = "other's" end)
        local busy = testing.TestServer(other, { port = server.port })
        assert.equal("EADDRINUSE", helper.raises(asyncio.OSError, asyncio.with, busy, print).code)
        assert.equal("EADDRINUSE", helper.raises(asyncio.OSError, asyncio.with, testing.TestClient(busy), print).code)
      end)
      assert.same({ "on_startup", "other's", "other's", "on_cleanup" }, steps)
      helper.raises("Session is closed", asyncio.with, testing.TestClient(web.Application()), function(client)
        assert.equal(404, await(client:get("/")).status)
        await(client:close())
        await(client:get("/"))
      end)
      local f = assert(load [[
        local client = ...
        async with client as same do return client == same, (await client:get("/")).status end
      ]])
      assert.same({ true, 404 }, { f(testing.TestClient(web.Application())) })
    end))
  end)

  it("gives URLs of paths alone", function()
    asyncio.run(async(function()
      local server <close> = await(testing.TestServer(web.Application()):start_server())
      local root = ("http://127.0.0.1:%d"):format(server.port)
      for path, url in pairs { ["/a?b"] = "/a?b", a = "/a", ["?b"] = "/?b", [""] = "" } do
        assert.equal(root .. url, server:make_url(path))
      end
      assert.equal(root .. "/", server:make_url())
      assert.equal(root .. "/a%20b", server:make_url(require("url").URL("/a b")))
      for _, path in ipairs { "http://h.test/", "//h.test/", root } do
        helper.raises("make_url: a path was expected", server.make_url, server, path)
      end
      helper.raises(asyncio.TypeError, server.make_url, server, 5)
    end))
  end)
end)

describe("unused_port", function()
  it("is one on which one can listen", function()
    asyncio.run(async(function()
      local server <close> = await(asyncio.start_server(function() end, "127.0.0.1", testing.unused_port()))
      local _ = server
    end))
  end)
end)

describe("TestClient", function()
  local has_client = pcall(require, "http.client.core")
  if not has_client then return pending("built without the client") end
  local http = require "http"

  local function application()
    return app_of {
      web.get("/", async(function(request)
        local response = web.Response { text = "seen: " .. (request.cookies.seen or "nothing") }
        response:set_cookie("seen", "once")
        return response
      end)),
      web.route("*", "/echo", async(function(request)
        return web.json_response { method = request.method, body = await(request:read()), a = request.headers["X-A"] }
      end)),
      web.get("/ws", async(function(request)
        local ws = web.WebSocketResponse()
        await(ws:prepare(request))
        for msg in ws:messages() do await(ws:send_str(msg.data)) end
        return ws
      end)),
    }
  end

  it("asks an application by paths, keeps cookies, and closes all of it", function()
    asyncio.run(async(function()
      local seen, app = {}, application()
      app.on_cleanup:append(function() seen.cleaned = true end)
      do
        local client <close> = await(testing.TestClient(app):start_server())
        assert.equal(app, client.app)
        assert.equal(client.server.port, client.port)
        assert.equal("127.0.0.1", client.host)
        assert.equal(("http://127.0.0.1:%d/x"):format(client.port), client:make_url("/x"))
        for _, expected in ipairs { "seen: nothing", "seen: once" } do
          local resp = await(client:get("/"))
          assert.equal(200, resp.status)
          assert.equal(expected, await(resp:text()))
        end
        for _, verb in ipairs { "get", "options", "post", "put", "patch", "delete" } do
          local resp = await(client[verb](client, "/echo", { data = "x", headers = { ["X-A"] = "b" } }))
          assert.same({ method = verb:upper(), body = "x", a = "b" }, await(resp:json()))
        end
        assert.equal(200, await(client:head("/")).status)
        assert.equal("TRACE", await(await(client:request("TRACE", "/echo")):json()).method)
        local ws = await(client:ws_connect("/ws"))
        await(ws:send_str("hello"))
        assert.equal("hello", await(ws:receive_str()))
        seen.ws, seen.resp, seen.session = ws, await(client:get("/")), client.session
      end
      assert.is_true(seen.cleaned)
      assert.is_true(seen.ws.closed)
      assert.equal(1000, seen.ws.close_code)
      assert.is_true(seen.resp.closed)
      assert.is_true(seen.session.closed)
    end))
  end)

  it("gives the session its options, and the server to whoever asks", function()
    asyncio.run(async(function()
      local server = testing.TestServer(application())
      local client = testing.TestClient(server, { headers = { ["X-A"] = "always" }, cookie_jar = http.DummyCookieJar() })
      assert.equal(client, await(client:start_server()))
      assert.equal(server, client.server)
      for _ = 1, 2 do assert.equal("seen: nothing", await(await(client:get("/")):text())) end
      assert.equal("always", await(await(client:get("/echo")):json()).a)
      await(client:close())
      await(client:close())
      helper.raises("Session is closed", client.get, client, "/")
    end))
  end)

  it("does not mind a response that is not read, nor being closed unused", function()
    asyncio.run(async(function()
      local client <close> = await(testing.TestClient(application()):start_server())
      for _ = 1, 5 do await(client:get("/")) end
    end))
    asyncio.run(async(function()
      local _ <close> = testing.TestClient(application())
    end))
  end)

  it("says what is wrong at the call", function()
    asyncio.run(async(function()
      helper.raises("a TestServer or an Application was expected, got a table", testing.TestClient, {})
      helper.raises("ClientSession's options were expected, got a string", testing.TestClient, application(), "x")
      helper.raises("has not been started", function() return testing.TestClient(application()):get("/") end)
      helper.raises("'tmeout'", await, testing.TestClient(application(), { tmeout = 1 }):start_server())
      local client <close> = await(testing.TestClient(application()):start_server())
      helper.raises("unexpected keyword argument 'nonsense'", client.get, client, "/", { nonsense = 1 })
    end))
  end)
end)
