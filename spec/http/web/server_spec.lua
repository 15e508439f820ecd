local asyncio = require "asyncio"
local helper = require "spec.helper"
local mock = require "http.mock"
local server = require "http.web.server"
local testing = require "http.testing"
local web = require "http.web"

-- Answers a request with one handler. Gives the exchange, and what was reported.
local function answer(handler, opts, target)
  local app = web.Application(opts and opts.app)
  app.router:add_get("/", handler)
  local x, reports = mock.exchange("GET", target or "/", { headers = opts and opts.headers }), {}
  helper.run(function()
    asyncio.get_running_loop():set_exception_handler(function(_, context) reports[#reports + 1] = context end)
    await(testing.answer(app, x, opts and opts.server))
  end)
  return x, reports
end

-- A connection that gives these exchanges, then what `last` awaits to.
local function connection(list, last)
  return function()
    await(asyncio.sleep(0))
    local x = table.remove(list, 1)
    if x then return x, x:method(), x:path() end
    return last and await(last())
  end
end

describe("the server", function()
  it("answers what the handler gives", function()
    local x, reports = answer(async(function() return web.Response { text = "x" } end))
    assert.same({ 200, "x", 0 }, { x.status, x.body, #reports })
  end)

  it("sends the head of each kind of response, the first time and later", function()
    local app = web.Application()
    local kinds = {
      text = function() return web.Response { text = "x" } end,
      html = function() return web.Response { text = "x", content_type = "text/html" } end,
      json = function() return web.json_response { 1 } end,
      bytes = function() return web.Response { body = "x", status = 201 } end,
      nothing = function() return web.Response() end,
      cookie = function()
        local response = web.Response { text = "x" }
        response:set_cookie("a", "b")
        return response
      end,
      cookies = function()
        local response = web.Response { text = "x" }
        response:set_cookie("a", "b")
        response:set_cookie("c", "d", { secure = true })
        return response
      end,
      bare_cookie = function()
        local response = web.Response()
        response:set_cookie("a", "b")
        return response
      end,
      header = function() return web.Response { text = "x", headers = { ["X-A"] = "1" } } end,
      reason = function() return web.Response { text = "x", status = 202, reason = "Why not" } end,
    }
    app.router:add_get("/{kind}", function(request) return kinds[request.match_info.kind]() end)
    local plain = { "Content-Type", "text/plain; charset=utf-8" }
    local heads = {
      text = plain, html = { "Content-Type", "text/html; charset=utf-8" }, json = { "Content-Type", "application/json; charset=utf-8" },
      bytes = { "Content-Type", "application/octet-stream" }, nothing = {}, bare_cookie = { "Set-Cookie", "a=b; Path=/" },
      cookie = { "Content-Type", "text/plain; charset=utf-8", "Set-Cookie", "a=b; Path=/" },
      cookies = { "Content-Type", "text/plain; charset=utf-8", "Set-Cookie", "a=b; Path=/", "Set-Cookie", "c=d; Path=/; Secure" },
      header = { "X-A", "1", "Content-Type", "text/plain; charset=utf-8" }, reason = plain,
    }
    local statuses = { bytes = 201, reason = 202 }
    for _ = 1, 3 do
      for kind, head in pairs(heads) do
        local x = mock.exchange("GET", "/" .. kind)
        helper.run(function() await(testing.answer(app, x)) end)
        assert.same(head, x.sent_headers, kind)
        assert.equal(statuses[kind] or 200, x.status, kind)
        assert.equal(kind == "reason" and "Why not" or nil, x.reason)
        assert.equal((kind == "nothing" or kind == "bare_cookie") and "" or kind == "json" and "[1]" or "x", x.body, kind)
      end
    end
  end)

  it("answers 500 to an error, and reports it with where it was raised", function()
    local x, reports = answer(async(function() error("boom") end))
    assert.same({ 500, "500 Internal Server Error\n\nServer got itself in trouble" }, { x.status, x.body })
    assert.equal(1, #reports)
    assert.equal("Error handling request", reports[1].message)
    assert.equal("GET / from 127.0.0.1", reports[1].request)
    assert(reports[1].exception:find("server_spec.lua:%d+: boom"))
    assert(reports[1].traceback:find("server_spec.lua", 1, true))
    assert.is_nil(reports[1].traceback:find("http/web/server.lua", 1, true))
    assert.is_false(x:keep_alive())
  end)

  it("answers 400, 408 and 413 to bodies that are the client's doing, and reports none", function()
    local multipart, http_core = require "http.multipart", require "http.core"
    for status, err in pairs {
      [400] = multipart.MultipartError("no boundary"), [408] = http_core.RequestTimeout("late"), [413] = multipart.TooLarge("much", { limit = 5 }),
    } do
      local x, reports = answer(async(function() error(err, 0) end))
      assert.same({ status, 0 }, { x.status, #reports })
    end
    local x, reports = answer(async(function() error(http_core.BadRequest("bad chunk"), 0) end))
    assert.same({ 400, "400: bad chunk", 0 }, { x.status, x.body, #reports })
  end)

  it("shows the traceback when the application is debugged", function()
    local boom = function() error(asyncio.ValueError("<b>&")) end
    local x = answer(boom, { server = { debug = true } })
    assert(x.body:find("ValueError: .-<b>&"))
    assert(x.body:find("stack traceback:", 1, true))
    x = answer(boom, { app = { debug = true }, headers = { Accept = "text/html,*/*" } }, "/?<x>")
    assert.equal("text/html; charset=utf-8", x:sent_header("Content-Type"))
    assert(x.body:find("&lt;b&gt;&amp;", 1, true))
    assert.is_nil(x.body:find("<b>", 1, true))
    assert(x.body:find("server_spec.lua:", 1, true))
    x = answer(boom, { app = { debug = true }, server = { debug = false } })
    assert.is_nil(x.body:find("ValueError", 1, true))
  end)

  it("sends HTTP errors, raised or returned, and reports none", function()
    local x, reports = answer(function() error(web.HTTPForbidden { text = "no" }) end)
    assert.same({ 403, "no", 0 }, { x.status, x.body, #reports })
    x = answer(function() return web.HTTPFound("/there") end)
    assert.same({ 302, "/there" }, { x.status, x:sent_header("Location") })
    x = answer(function() return web.HTTPNoContent() end)
    assert.same({ 204, "" }, { x.status, x.body })
  end)

  it("says what a handler returned that is no response", function()
    for said, value in pairs {
      ['returned a string ("text").'] = "text",
      ["returned a number (42)."] = 42,
      ["returned a boolean (true)."] = true,
      ["returned a table."] = {},
      ["returned a function."] = print,
    } do
      local x, reports = answer(function() return value end)
      assert.equal(500, x.status)
      local text = tostring(reports[1].exception)
      assert(text:find("the handler of GET / (spec/http/web/server_spec.lua:", 1, true), text)
      assert(text:find(said .. " A Response was expected", 1, true), text)
    end
    local x, reports = answer(async(function() end))
    assert.equal(500, x.status)
    assert(tostring(reports[1].exception):find("returned nothing: is a return missing? A Response was expected", 1, true))
  end)

  it("drops the connection when a response fails that was begun", function()
    local x, reports = answer(async(function(request)
      local response = web.StreamResponse()
      await(response:prepare(request))
      await(response:write("x"))
      error("boom")
    end))
    assert.same({ 200, true, 1 }, { x.status, x.aborted, #reports })
    x, reports = answer(async(function(request)
      await(web.StreamResponse():prepare(request))
      return web.Response { text = "another" }
    end))
    assert.same({ true, 1 }, { x.aborted, #reports })
    x, reports = answer(async(function(request)
      await(web.StreamResponse():prepare(request))
      return web.HTTPOk()
    end))
    assert.is_true(x.aborted)
    assert(tostring(reports[1].exception):find("returned another one", 1, true))
  end)

  it("says nothing of a client that went away, but of errors of the handler", function()
    local app, x = web.Application(), nil
    app.router:add_get("/", async(function(request)
      request._x:lose()
      error(asyncio.OSError("connection lost"))
    end))
    app.router:add_get("/bug", async(function(request)
      request._x:lose()
      error("bug")
    end))
    local reports = {}
    helper.run(function()
      asyncio.get_running_loop():set_exception_handler(function(_, context) reports[#reports + 1] = context end)
      x = await(testing.answer(app, mock.exchange("GET", "/")))
      assert.equal(0, #reports)
      await(testing.answer(app, mock.exchange("GET", "/bug")))
    end)
    assert.is_nil(x.status)
    assert.equal(1, #reports)
  end)

  it("goes on with the connection after an error", function()
    local app = web.Application()
    app.router:add_get("/boom", function() error(web.HTTPBadGateway()) end)
    app.router:add_get("/{n}", function(request) return web.Response { text = request.match_info.n } end)
    local list, bodies = {}, {}
    for _, path in ipairs { "/1", "/boom", "/2", "/boom", "/boom", "/x/y", "/3" } do list[#list + 1] = mock.exchange("GET", path) end
    local all = table.move(list, 1, #list, 1, {})
    helper.run(function() await(server.handler(app)(connection(list))) end)
    for i, x in ipairs(all) do bodies[i] = x.status end
    assert.same({ 200, 502, 200, 502, 502, 404, 200 }, bodies)
  end)

  it("is not held up by a client that went in the middle of its body", function()
    local app = web.Application()
    app.router:add_post("/", async(function(request)
      await(request:read()) -- raises
      return web.Response { text = "x" }
    end))
    for _, body in ipairs { "Content-Length: 10\r\n\r\nabc", "Transfer-Encoding: chunked\r\n\r\n" } do
      asyncio.run(async(function()
        local guard <close> = asyncio.timeout(45) -- closing waits 60 s for handlers
        local test <close> = await(testing.TestServer(app):start_server())
        local _, writer = await(asyncio.open_connection("127.0.0.1", tonumber(tostring(test:make_url("/")):match(":(%d+)/"))))
        writer:write("POST / HTTP/1.1\r\nHost: x\r\n" .. body)
        await(writer:drain())
        writer:close()
        helper.settle()
        await(test:close())
        assert.is_false(guard:expired())
      end))
    end
  end)

  it("runs the requests of a multiplexed connection at the same time", function()
    local app, order = web.Application(), {}
    app.router:add_get("/{seconds}", async(function(request)
      await(asyncio.sleep(tonumber(request.match_info.seconds)))
      order[#order + 1] = request.match_info.seconds
      if request.match_info.seconds == "2" then error(web.HTTPGone()) end
      return web.Response { text = "x" }
    end))
    local list = {}
    for i, path in ipairs { "/3", "/1", "/2" } do
      list[i] = mock.exchange("GET", path)
      list[i].multiplexed = function() return true end
    end
    local all = table.move(list, 1, 3, 1, {})
    helper.run(function()
      local loop = asyncio.get_running_loop()
      local start = loop:time()
      await(server.handler(app)(connection(list)))
      assert.equal(3, loop:time() - start)
    end)
    assert.same({ "1", "2", "3" }, order)
    assert.same({ 200, 200, 410 }, { all[1].status, all[2].status, all[3].status })
  end)

  it("cancels the requests of a multiplexed connection with its task", function()
    local app, ended = web.Application(), 0
    app.router:add_get("/", async(function()
      local _ <close> = setmetatable({}, { __close = function() ended = ended + 1 end })
      await(asyncio.sleep(3600))
    end))
    local list = {}
    for i = 1, 2 do
      list[i] = mock.exchange("GET", "/")
      list[i].multiplexed = function() return true end
    end
    helper.run(function()
      local conn = connection(list, function() return asyncio.sleep(3600) end)
      local task = asyncio.create_task(server.handler(app)(conn))
      await(asyncio.sleep(1))
      task:cancel()
      assert.is_false(asyncio.catch(await, task))
      assert.is_true(task:cancelled())
    end)
    assert.equal(2, ended)
  end)

  it("cancels a handler whose client goes away, when told so", function()
    local function run(options)
      local app, log = web.Application(), {}
      app.router:add_get("/", async(function()
        local ok, err = asyncio.catch(await, asyncio.sleep(10))
        log[#log + 1] = ok and "slept" or err.name
        if not ok then error(err, 0) end
        return web.Response { text = "x" }
      end))
      helper.run(function()
        local x = mock.exchange("GET", "/")
        asyncio.get_running_loop():call_later(1, function() x:lose() end)
        asyncio.catch(await, asyncio.create_task(testing.answer(app, x, options)))
      end)
      return log
    end
    assert.same({ "slept" }, run())
    assert.same({ "CancelledError" }, run { handler_cancellation = true })
  end)

  it("lets a cancelled connection's task end", function()
    local app = web.Application()
    app.router:add_get("/", async(function() await(asyncio.sleep(3600)) end))
    helper.run(function()
      local task = asyncio.create_task(testing.answer(app, mock.exchange("GET", "/")))
      await(asyncio.sleep(1))
      task:cancel()
      asyncio.catch(await, task)
      assert.is_true(task:cancelled())
    end)
  end)

  it("logs each request, when told so", function()
    local lines = {}
    local function log(line) lines[#lines + 1] = line end
    answer(async(function()
      await(asyncio.sleep(2))
      return web.Response { text = "12345" }
    end), { server = { access_log = log, access_log_format = '%a "%r" %s %b %T %D %Tf %{X-A}i %{Content-Type}o %%' },
      headers = { ["X-A"] = 'a"b\\' } }, "/?x")
    assert.equal([[127.0.0.1 "GET /?x HTTP/1.1" 200 5 2 2000000 2.000000 a\"b\\ text/plain; charset=utf-8 %]], lines[1])
    answer(function() error(web.HTTPForbidden()) end, { server = { access_log = log } })
    assert(lines[2]:find('^127%.0%.0%.1 %- %- %[%d%d/%a%a%a/%d%d%d%d:%d%d:%d%d:%d%d [+-]%d%d%d%d%] "GET / HTTP/1%.1" 403 14 "%-" "%-"$'), lines[2])
    answer(function() error("x") end, { server = { access_log = log } })
    assert(lines[3]:find(" 500 ", 1, true))
    answer(function() end, { server = { access_log = log } }, "/none")
    assert(lines[4]:find('"GET /none HTTP/1.1" 404 ', 1, true))
    helper.raises("%x is not known", server.handler, web.Application(), { access_log = true, access_log_format = "%x" })
    helper.raises("access_log: true, a function", server.handler, web.Application(), { access_log = 1 })
    helper.raises("unexpected keyword argument 'log'", server.handler, web.Application(), { log = 1 })
  end)

  it("logs lengths that are told, and its process", function()
    local lines = {}
    answer(function() return web.Response { text = "12345" } end, { server = {
      access_log = function(line) lines[#lines + 1] = line end, access_log_format = "%{Content-Length}o %{content-length}o %{X}o %P",
    } })
    assert.equal(("5 5 - <%d>"):format(require("signal").getpid()), lines[1])
  end)

  it("goes on when its log fails", function()
    local app, told = web.Application(), {}
    app.router:add_get("/", function() return web.Response { text = "ok" } end)
    helper.run_with_loop(function()
      asyncio.get_running_loop():set_exception_handler(function(_, context) told[#told + 1] = context.message .. ": " .. tostring(context.exception) end)
      local site <close> = testing.TestServer(app, { access_log = function() error("disk full", 0) end })
      await(site:start_server())
      local reader, writer <close> = await(asyncio.open_connection("127.0.0.1", site.port))
      for _ = 1, 2 do
        writer:write("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert.truthy(await(reader:readuntil("\r\n\r\nok")):find("^HTTP/1.1 200"))
      end
    end)
    assert.same({ "Error in logging: disk full", "Error in logging: disk full" }, told)
  end)

  it("writes its log into a file", function()
    local path = helper.tmpfile()
    local file = assert(io.open(path, "w"))
    answer(function() return web.Response() end, { server = { access_log = file } })
    file:close()
    local f <close> = assert(io.open(path))
    assert(f:read("a"):find('"GET / HTTP/1.1" 200 0 "-" "-"\n', 1, true))
  end)
end)
