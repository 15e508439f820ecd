--- moonloop serve: a folder as a web site.

local client = require "spec.http.client"
local helper = require "spec.helper"
local processes = require "spec.commands.processes"

local function site()
  local dir = helper.tmpdir()
  assert(os.execute("mkdir -p " .. dir .. "/site/sub && ln -s ../secret " .. dir .. "/site/leak"))
  processes.write(dir .. "/secret", "secret")
  processes.write(dir .. "/site/index.html", "<h1>home</h1>")
  processes.write(dir .. "/site/sub/page.css", ("a { b: c }\n"):rep(500))
  return dir .. "/site"
end

describe("moonloop serve", function()
  it("has index pages, lists, ranges, compression, conditions, and no way out", function()
    local pid, log, port = processes.start(("serve %s --port 0 --max-age 5 --header 'X-Test: yes'"):format(site()))
    local function get(target, headers) return processes.get(port, target, headers) end
    local r = get("/")
    assert.same({ 200, "<h1>home</h1>", "text/html; charset=utf-8", "yes", "public, max-age=5" },
      { r.status, r.body, r.headers["content-type"], r.headers["x-test"], r.headers["cache-control"] })
    assert.equal(304, get("/", { ["If-None-Match"] = r.headers.etag }).status)
    assert.equal("home", get("/", { Range = "bytes=4-7" }).body)
    assert.equal(301, get("/sub").status)
    assert.truthy(get("/sub/").body:find("page.css", 1, true))
    assert.equal(404, get("/leak").status)
    assert.equal(404, get("/../secret").status)
    assert.equal("gzip", get("/sub/page.css", { ["Accept-Encoding"] = "gzip" }).headers["content-encoding"])
    processes.signal(pid, "INT")
    processes.gone(pid)
    assert.truthy(processes.read(log):find('"GET / HTTP/1.1" 200 13', 1, true), processes.read(log))
    assert.truthy(processes.read(log):find('"GET /leak HTTP/1.1" 404', 1, true))
  end)

  it("does what its options say", function()
    local dir = site()
    local pid, log, port = processes.start(("serve --quiet --no-list --no-compress --follow-symlinks --index page.css --port=0 %s"):format(dir))
    local function get(target, headers) return processes.get(port, target, headers) end
    assert.equal(403, get("/").status)
    assert.equal("secret", get("/leak").body)
    local r = get("/sub/", { ["Accept-Encoding"] = "gzip" })
    assert.same({ 200, nil, 5500 }, { r.status, r.headers["content-encoding"], #r.body })
    processes.signal(pid, "TERM")
    processes.gone(pid)
    assert.is_nil(processes.read(log):find("GET", 1, true))
  end)

  if helper.has_tls() then
    it("speaks TLS with a certificate", function()
      local certs = require "spec.certs"
      local pid, log, port = processes.start(("serve %s --port 0 --cert %s --key %s"):format(
        site(), certs.path("good.pem"), certs.path("good.key")))
      assert.truthy(processes.read(log):find("https://127.0.0.1", 1, true))
      local status, out = helper.sh(("curl -s --cacert %s --resolve localhost:%d:127.0.0.1 https://localhost:%d/"):format(
        certs.path("root.pem"), port, port))
      assert.same({ 0, "<h1>home</h1>" }, { status, out })
      local flags = io.open((helper.moonloop:match("^(.*)/") or "build") .. "/flags")
      local http2 = not flags or flags:read("a"):find("ML_WITH_HTTP2", 1, true)
      if flags then flags:close() end
      if http2 and helper.sh("curl --version | grep -q HTTP2") == 0 then
        status, out = helper.sh(("curl -s --http2 -w ' %%{http_version}' -r 4-7 --cacert %s --resolve localhost:%d:127.0.0.1 https://localhost:%d/")
          :format(certs.path("root.pem"), port, port))
        assert.same({ 0, "home 2" }, { status, out })
      end
      processes.signal(pid, "TERM")
    end)
  end

  local browser = require "spec.browser"
  if browser.command() then
    it("is walked by a browser", function()
      local pid, _, port = processes.start(("serve %s --port 0 --quiet"):format(site()))
      require("asyncio").run(async(function()
        local page <close> = browser.open(("http://127.0.0.1:%d/sub"):format(port))
        page:wait("document.querySelector('li a')")
        assert.equal(("http://127.0.0.1:%d/sub/"):format(port), page:eval("location.href"))
        page:eval("[...document.querySelectorAll('a')].find(a => a.textContent == 'page.css').click()")
        page:wait("location.pathname == '/sub/page.css' && document.body.textContent.length == 5500")
        assert.same({}, page:errors())
      end)())
      processes.signal(pid, "TERM")
    end)
  end

  it("serves with several processes", function()
    local pid, _, port = processes.start(("serve %s --port 0 --workers 2"):format(site()))
    for _ = 1, 5 do assert.equal("<h1>home</h1>", processes.get(port, "/").body) end
    processes.signal(pid, "TERM")
    processes.gone(pid)
  end)

  it("says what is wrong with its arguments", function()
    helper.refuses("serve", {
      ["/no/such/folder"] = "there is no folder '/no/such/folder'", ["a b"] = "one folder was expected",
      ["--port x"] = "a number was expected", ["--header nonsense"] = "'NAME: VALUE' was expected",
      ["--unknown"] = "unknown option", ["--workers 0"] = "1 or more",
    })
    local status, out = helper.cli("serve -h")
    assert.equal(0, status)
    assert.truthy(out:find("^Usage: moonloop serve"))
    assert.equal("function", type(client.request))
  end)
end)
