--- add_static: files, folders, and no way out.

local asyncio = require "asyncio"
local client = require "spec.http.client"
local helper = require "spec.helper"
local testing = require "http.testing"
local web = require "http.web"

local function write(path, data)
  local f <close> = assert(io.open(path, "wb"))
  f:write(data)
end

--- A folder `public` beside a secret, and what leads out of it.
local function tree()
  local dir = helper.tmpdir()
  assert(os.execute(("cd %s && mkdir -p public/sub/deep public/listed outside && ln -s ../outside public/out && "
    .. "ln -s ../secret public/leak && ln -s sub public/inner && ln -s %s/secret public/absolute"):format(helper.quote(dir), helper.quote(dir))))
  write(dir .. "/secret", "the secret")
  write(dir .. "/outside/file", "outside")
  write(dir .. "/public/a.txt", "a")
  write(dir .. "/public/sub/index.html", "<p>index")
  write(dir .. "/public/sub/deep/x y&z.txt", "xyz")
  write(dir .. "/public/listed/<b>.txt", "b")
  return dir
end

local function serve(opts, f, prefix)
  local dir = tree()
  helper.run_with_loop(function()
    local app = web.Application()
    local resource = app.router:add_static(prefix or "/static", dir .. "/public", opts)
    local server <close> = testing.TestServer(app)
    await(server:start_server())
    f(function(target, headers, method) return client.request(server.port, method or "GET", target, headers) end, dir, resource)
  end)
end

describe("add_static", function()
  it("serves files below the folder, to GET and HEAD", function()
    serve({}, function(get)
      assert.equal("a", get("/static/a.txt").body)
      assert.equal("xyz", get("/static/sub/deep/x%20y%26z.txt").body)
      assert.equal("xyz", get("/static/sub//deep/x%20y&z.txt?q=1").body)
      assert.equal("xyz", get("/static/inner/deep/x%20y%26z.txt").body)
      local r = get("/static/a.txt", nil, "HEAD")
      assert.same({ 200, "", "1" }, { r.status, r.body, r.headers["content-length"] })
      assert.equal(405, get("/static/a.txt", nil, "POST").status)
      assert.equal(404, get("/static/none").status)
      assert.equal(404, get("/static/a.txt/").status)
      assert.equal(404, get("/static/a.txt/x").status)
    end)
  end)

  it("lets nobody out", function()
    serve({ show_index = true, index = true }, function(get)
      for _, target in ipairs {
        "/static/../secret", "/static/%2e%2e/secret", "/static/%2E%2e%2Fsecret", "/static/sub/../../secret", "/static/sub/..%2f../secret",
        "/static/..%5csecret", "/static/....//secret", "/static/%252e%252e/secret", "/static//etc/passwd", "/static/%2fetc/passwd",
        "/static/leak", "/static/absolute", "/static/out/file", "/static/out/", "/static/out", "/static/out/../../secret",
        "/static/a.txt%00", "/static/%00", "/static/sub/%00/../a.txt", "/static/..", "/static/.", "/static/./a.txt",
        "/static/%c0%ae%c0%ae/secret", "/static/..;/secret", "/static/proc/self/root/etc/passwd",
      } do
        local r = get(target)
        assert.equal(404, r.status, target)
        assert.is_nil(r.body:find("secret", 1, true), target)
      end
    end)
  end)

  it("follows links out of the folder where that is allowed, and nothing else", function()
    serve({ follow_symlinks = true }, function(get)
      assert.equal("the secret", get("/static/leak").body)
      assert.equal("outside", get("/static/out/file").body)
      for _, target in ipairs { "/static/../secret", "/static/%2e%2e/secret", "/static//etc/passwd", "/static/out/../../secret", "/static/%2fetc/passwd" } do
        assert.equal(404, get(target).status, target)
      end
    end)
  end)

  it("refuses folders, or lists them", function()
    serve({}, function(get)
      assert.equal(403, get("/static/sub").status)
      assert.equal(403, get("/static/sub/").status)
    end)
    serve({ show_index = true }, function(get)
      local r = get("/static/listed/")
      assert.equal(200, r.status)
      assert.equal("text/html; charset=utf-8", r.headers["content-type"])
      assert.truthy(r.body:find('<a href="./%3Cb%3E.txt">&lt;b&gt;.txt</a>', 1, true), r.body)
      assert.truthy(r.body:find('<a href="../">', 1, true))
      r = get("/static/")
      assert.truthy(r.body:find('<a href="./sub/">sub/</a>', 1, true))
      assert.is_nil(r.body:find('href="../"', 1, true))
      assert.equal("b", get("/static/listed/%3Cb%3E.txt").body)
    end)
  end)

  it("redirects to folders' names with a slash, and to no other host", function()
    serve({ show_index = true }, function(get)
      local r = get("/static/sub?x=1")
      assert.same({ 301, "/static/sub/?x=1" }, { r.status, r.headers.location })
    end)
    serve({ show_index = true }, function(get)
      local r = get("//static/sub")
      assert.is_nil((r.headers.location or ""):find("^//"))
      r = get("//listed")
      assert.is_nil((r.headers.location or ""):find("^//"))
    end, "/")
  end)

  it("has index pages where it is told", function()
    serve({ index = true }, function(get)
      local r = get("/static/sub/")
      assert.same({ 200, "<p>index", "text/html; charset=utf-8" }, { r.status, r.body, r.headers["content-type"] })
      assert.equal(301, get("/static/sub").status)
      assert.equal(403, get("/static/listed/").status)
      assert.equal(304, get("/static/sub/", { ["If-None-Match"] = r.headers.etag }).status)
    end)
    serve({ index = { "none.html", "index.html" }, show_index = true }, function(get)
      assert.equal("<p>index", get("/static/sub/").body)
      assert.truthy(get("/static/listed/").body:find("Index of /listed/", 1, true))
    end, "/static/")
  end)

  it("serves below the root, too", function()
    serve({ max_age = 60 }, function(get)
      local r = get("/a.txt")
      assert.same({ "a", "public, max-age=60" }, { r.body, r.headers["cache-control"] })
      assert.equal(403, get("/").status)
    end, "/")
  end)

  it("is found by its prefix alone, also below applications", function()
    local dir = tree()
    helper.run_with_loop(function()
      local app, sub = web.Application(), web.Application()
      local resource = sub.router:add_static("/static", dir .. "/public", { show_index = true })
      local closed = sub.router:add_static("/closed/", dir .. "/public")
      app:add_subapp("/sub", sub)
      assert.equal("/sub/static/a.txt", resource:url_for { filename = "a.txt" })
      assert.equal("/sub/closed/a.txt", closed:url_for("a.txt"))
      local server <close> = testing.TestServer(app)
      await(server:start_server())
      local function get(target, method) return client.request(server.port, method or "GET", target) end
      local r = get("/sub/static?x")
      assert.same({ 301, "/sub/static/?x" }, { r.status, r.headers["location"] })
      assert.same({ 403, 404, 404, 200 }, { get("/sub/closed").status, get("/static").status, get("/sub/stat").status, get("/sub/static/a.txt").status })
    end)
  end)

  it("gives URLs, with a version that changes with the file", function()
    serve({ append_version = true }, function(_, dir, resource)
      local first = resource:url_for { filename = "a.txt" }
      assert.truthy(first:find("^/static/a%.txt%?v=%x+%-1$"), first)
      os.execute("touch -d '2001-01-01' " .. helper.quote(dir .. "/public/a.txt"))
      assert.are_not.equal(first, resource:url_for { filename = "/a.txt" })
      assert.equal("/static/a.txt", resource:url_for { filename = "a.txt", append_version = false })
      assert.equal("/static/none", resource:url_for { filename = "none" })
      assert.equal("/static/../secret", resource:url_for { filename = "../secret" })
      assert.equal("/static/x%20y", resource:url_for { filename = "x y" })
      helper.raises(asyncio.TypeError, resource.url_for, resource, {})
    end)
  end)

  it("compresses text where it is told", function()
    if not pcall(require, "zlib") then return end
    serve({ compress = true }, function(get, dir)
      write(dir .. "/public/long.js", ("x"):rep(1000))
      write(dir .. "/public/long.png", ("x"):rep(1000))
      local r = get("/static/long.js", { ["Accept-Encoding"] = "gzip" })
      assert.same({ "gzip", ("x"):rep(1000) }, { r.headers["content-encoding"], require("zlib").decompress(r.body, 31) })
      assert.is_nil(get("/static/long.png", { ["Accept-Encoding"] = "gzip" }).headers["content-encoding"])
    end)
  end)

  it("refuses misuse where it is registered", function()
    local router = web.Application().router
    helper.raises(asyncio.ValueError, router.add_static, router, "/s", "/no/such/folder")
    helper.raises("there is no folder", router.add_static, router, "/s", "spec/helper.lua")
    helper.raises(asyncio.TypeError, router.add_static, router, "/s", "spec", { show_indexes = true })
    helper.raises(asyncio.ValueError, router.add_static, router, "s", "spec")
    helper.raises(asyncio.ValueError, router.add_static, router, "/s", "spec", { max_age = -1 })
    helper.raises(asyncio.ValueError, router.add_static, router, "/s", "spec", { index = "a/b" })
    helper.raises(asyncio.TypeError, router.add_static, router, "/s")
  end)
end)
