local asyncio = require "asyncio"
local helper = require "spec.helper"
local mock = require "http.mock"
local testing = require "http.testing"
local web = require "http.web"

-- Status, Location or body, of a request that the application answers.
local function get(app, target, opts)
  local x = mock.exchange(opts and opts.method or "GET", target, opts)
  helper.run(function() await(testing.answer(app, x)) end)
  return x.status, x:sent_header("Location") or x.body, x
end

local function ok(text)
  return async(function() return web.Response { text = text or "ok" } end)
end

describe("middlewares", function()
  local function marking(name, trace)
    return web.middleware(async(function(request, handler)
      trace[#trace + 1] = name .. ">"
      local response = await(handler(request))
      trace[#trace + 1] = "<" .. name
      return response
    end))
  end

  it("stand around the handler, the first of the list outermost", function()
    local trace = {}
    local app = web.Application { middlewares = { marking("a", trace), marking("b", trace) } }
    app.middlewares:append(marking("c", trace))
    app.router:add_get("/", ok())
    get(app, "/")
    assert.same({ "a>", "b>", "c>", "<c", "<b", "<a" }, trace)
  end)

  it("of outer applications stand around those of inner ones", function()
    local trace = {}
    local app, sub = web.Application { middlewares = { marking("out", trace) } }, web.Application { middlewares = { marking("in", trace) } }
    app.router:add_get("/", ok())
    sub.router:add_get("/", ok())
    app:add_subapp("/sub", sub)
    get(app, "/")
    assert.same({ "out>", "<out" }, trace)
    get(app, "/sub/")
    assert.same({ "out>", "<out", "out>", "in>", "<in", "<out" }, trace)
    assert.equal(404, (get(app, "/sub/none")))
    assert.same({ "out>", "in>" }, { trace[7], trace[8] })
    assert.equal(8, #trace) -- what was raised passed
  end)

  it("see the application that they are of as the request's", function()
    local trace = {}
    local function show(name, catching)
      return async(function(request, handler)
        trace[#trace + 1] = name .. " " .. request.app.label
        local response, err
        if catching then
          local good, what = pcall(function() return await(handler(request)) end)
          response, err = good and what or web.Response { text = "caught" }, not good and what
        else
          response = await(handler(request))
        end
        trace[#trace + 1] = name .. " " .. request.app.label .. (err and " after an error" or "")
        return response
      end)
    end
    local root, bare, inner = web.Application { middlewares = { show("a", true), show "b" } }, web.Application(), web.Application { middlewares = { show "c" } }
    root.label, bare.label, inner.label = "root", "bare", "inner"
    inner.router:add_get("/", function(request)
      trace[#trace + 1] = request.app.label
      return web.Response()
    end)
    inner.router:add_get("/bad", function() error(web.HTTPConflict()) end)
    bare:add_subapp("/inner", inner)
    root:add_subapp("/bare", bare)
    assert.equal(200, (get(root, "/bare/inner/")))
    assert.same({ "a root", "b root", "c inner", "inner", "c inner", "b root", "a root" }, trace)
    trace = {}
    assert.equal("caught", select(2, get(root, "/bare/inner/bad")))
    assert.same({ "a root", "b root", "c inner", "a root after an error" }, trace)
    trace = {}
    get(root, "/bare/none")
    assert.same({ "a root", "b root", "a root after an error" }, trace)
  end)

  it("see the errors of handlers, and of missing ones", function()
    local seen = {}
    local app = web.Application { middlewares = { async(function(request, handler)
      local good, err = pcall(function() return await(handler(request)) end)
      if good then return err end
      seen[#seen + 1] = tostring(err)
      return web.Response { text = "caught", status = 400 }
    end) } }
    app.router:add_get("/a", async(function() error(web.HTTPForbidden()) end))
    app.router:add_get("/b", function() error("oops", 0) end)
    for _, path in ipairs { "/a", "/b", "/none" } do assert.same({ 400, "caught" }, { (get(app, path)), (select(2, get(app, path))) }) end
    assert.equal(400, (get(app, "/a", { method = "POST" })))
    assert.same({ "HTTPForbidden: Forbidden", "oops", "HTTPNotFound: Not Found", "HTTPMethodNotAllowed: Method Not Allowed" },
      { seen[1], seen[3], seen[5], seen[7] })
  end)

  it("may be plain functions, and handlers too", function()
    local app = web.Application { middlewares = {
      function(request, handler) return handler(request) end, -- gives the coroutine
      function(request, handler)
        request.who = "x"
        return await(handler(request))
      end,
    } }
    app.router:add_get("/", function(request) return ok(request.who)() end)
    assert.same({ 200, "x" }, { (get(app, "/")), (select(2, get(app, "/"))) })
  end)

  it("may answer by themselves, or call the handler several times", function()
    local app = web.Application { middlewares = { async(function(request, handler)
      if request.path == "/no" then return web.HTTPUnauthorized() end
      await(handler(request))
      return await(handler(request))
    end) } }
    local n = 0
    app.router:add_get("/", async(function()
      n = n + 1
      return web.Response { text = tostring(n) }
    end))
    assert.same({ 401, "401: Unauthorized" }, { (get(app, "/no")), (select(2, get(app, "/no"))) })
    assert.equal("2", (select(2, get(app, "/"))))
  end)

  it("are frozen once the application runs", function()
    local app = web.Application()
    app.router:add_get("/", ok())
    get(app, "/")
    helper.raises("middlewares is frozen", function() app.middlewares:append(print) end)
    helper.raises("middlewares is frozen", function() table.insert(app.middlewares, print) end)
    helper.raises("middleware: a function", web.middleware, 1)
  end)
end)

describe("normalize_path_middleware", function()
  local function app_with(opts, ...)
    local app = web.Application { middlewares = { web.normalize_path_middleware(opts) } }
    for _, path in ipairs { ... } do app.router:add_get(path, ok(path)) end
    return app
  end

  it("appends a slash where that leads somewhere", function()
    local app = app_with(nil, "/a/", "/b", "/x/{y}/")
    for target, expected in pairs {
      ["/a/"] = { 200, "/a/" },
      ["/a"] = { 308, "/a/" },
      ["/a?x=1&y=%20"] = { 308, "/a/?x=1&y=%20" },
      ["/b"] = { 200, "/b" },
      ["/b/"] = { 404, "404: Not Found" },
      ["/none"] = { 404, "404: Not Found" },
      ["/x/%20z"] = { 308, "/x/%20z/" },
      ["//a//"] = { 308, "/a/" },
      ["///a"] = { 308, "/a/" },
    } do
      local status, text = get(app, target)
      assert.same(expected, { status, text }, target)
    end
  end)

  it("removes it, when told so", function()
    local app = app_with({ remove_slash = true, redirect_class = web.HTTPFound }, "/a", "/b/")
    assert.same({ 302, "/a" }, { (get(app, "/a/")), (select(2, get(app, "/a/"))) })
    assert.same({ 302, "/a" }, { (get(app, "/a//")), (select(2, get(app, "/a//"))) })
    assert.equal(404, (get(app, "/b")))
  end)

  it("leads to no other host", function()
    local app = app_with({ merge_slashes = false }, "/{tail:.*}/")
    local _, location = get(app, "//example.com/x")
    assert.equal("/example.com/x/", location)
  end)

  it("leaves methods alone that are not allowed", function()
    local app = app_with(nil, "/a/")
    assert.equal(404, (get(app, "/a", { method = "POST" })))
    helper.raises("cannot both be set", web.normalize_path_middleware, { append_slash = true, remove_slash = true })
    helper.raises("unexpected keyword argument", web.normalize_path_middleware, { slash = 1 })
  end)
end)

describe("error_pages", function()
  it("are shown in place of errors' texts", function()
    local reports = {}
    local app = web.Application { middlewares = { web.error_pages {
      [404] = async(function(request, err)
        return web.Response { status = 404, text = ("no %s: %s"):format(request.path, err.reason) }
      end),
      [403] = function() return web.Response { status = 403, text = "forbidden" } end,
      [500] = function(_, err) return web.Response { status = 500, text = "sorry: " .. tostring(err) } end,
    } } }
    app.router:add_get("/403", function() return web.HTTPForbidden() end)
    app.router:add_get("/boom", function() error("boom", 0) end)
    app.router:add_get("/401", function() error(web.HTTPUnauthorized()) end)
    local function ask(path)
      local x = mock.exchange("GET", path)
      helper.run(function()
        asyncio.get_running_loop():set_exception_handler(function(_, context) reports[#reports + 1] = tostring(context.exception) end)
        await(testing.answer(app, x))
      end)
      return { x.status, x.body }
    end
    assert.same({ 404, "no /none: Not Found" }, ask("/none"))
    assert.same({ 403, "forbidden" }, ask("/403"))
    assert.same({ 500, "sorry: boom" }, ask("/boom"))
    assert.same({ 401, "401: Unauthorized" }, ask("/401"))
    assert.same({ "boom" }, reports)
    helper.raises("functions by status", web.error_pages, { [404] = "x" })
    helper.raises("a table of functions", web.error_pages, "x")
  end)
end)
