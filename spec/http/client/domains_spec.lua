-- Cookies across hosts and paths, as a session meets them: one server that goes by many names.
local asyncio = require "asyncio"
local helper = require "spec.helper"

local has, http = pcall(require, "http")
if not has or not pcall(require, "http.client.core") then return pending("built without HTTP") end
local testing = require "http.testing"
local web = require "http.web"

--- Every name is this machine.
local here = {
  resolve = async(function(_, _, port) return { { host = "127.0.0.1", port = port, family = "inet" } } end),
  close = function() end,
}

--- Runs f(url, cookies, session): url(host, path); cookies(host, path) are those that the server sees, sorted.
local function run(f, opts)
  asyncio.run(async(function()
    local app = web.Application()
    local function see(request)
      local names = {}
      for name, value in pairs(request.cookies) do names[#names + 1] = name .. "=" .. value end
      table.sort(names)
      return web.Response { text = table.concat(names, " ") }
    end
    app:add_routes {
      web.get("/set", async(function(request)
        local response = web.Response { text = "" }
        for _, line in ipairs(request.query:getall("c")) do response.headers:add("Set-Cookie", line) end
        if request.query.to then
          response = web.Response { status = 302, headers = { Location = request.query.to, ["Set-Cookie"] = request.query.c } }
        end
        return response
      end)),
      web.get("/{rest:.*}", async(see)),
    }
    local server <close> = await(testing.TestServer(app):start_server())
    local options = { connector = http.TCPConnector { resolver = here } }
    for key, value in pairs(opts or {}) do options[key] = value end
    local session <close> = http.ClientSession(options)
    local _ <close> = asyncio.timeout(60 * helper.slow)
    local function url(host, path) return ("http://%s:%d%s"):format(host, server.port, path or "/") end
    f(url, function(host, path)
      local resp <close> = await(session:get(url(host, path)))
      return await(resp:text())
    end, session)
  end))
end

--- The host's answer sets these cookies.
local function set(session, url, host, ...)
  local resp <close> = await(session:get(url(host, "/set"), { params = { c = { ... } } }))
  assert.equal(200, resp.status)
end

describe("a session's cookies", function()
  it("go to the host that set them, or to its domain", function()
    run(function(url, cookies, session)
      set(session, url, "www.example.com", "own=1", "all=2; Domain=example.com", "dot=3; Domain=.example.com")
      assert.equal("all=2 dot=3 own=1", cookies("www.example.com"))
      assert.equal("all=2 dot=3", cookies("example.com"))
      assert.equal("all=2 dot=3", cookies("api.example.com"))
      assert.equal("all=2 dot=3", cookies("a.b.example.com"))
      assert.equal("", cookies("badexample.com"))
      assert.equal("", cookies("example.org"))
    end)
  end)

  it("are not taken for others, nor for a public suffix", function()
    run(function(url, cookies, session)
      set(session, url, "www.example.com", "a=1; Domain=example.org", "b=2; Domain=other.example.com", "c=3; Domain=com")
      assert.equal("", cookies("www.example.com"))
      assert.equal("", cookies("example.org"))
      assert.equal("", cookies("other.example.com"))
      set(session, url, "shop.co.uk", "d=4; Domain=co.uk")
      assert.equal("", cookies("other.co.uk"))
      set(session, url, "me.github.io", "e=5; Domain=github.io")
      assert.equal("", cookies("you.github.io"))
    end)
  end)

  it("go to their paths", function()
    run(function(url, cookies, session)
      set(session, url, "a.test", "root=1; Path=/", "deep=2; Path=/one/two", "odd=3; Path=nonsense")
      assert.equal("odd=3 root=1", cookies("a.test"))
      assert.equal("odd=3 root=1", cookies("a.test", "/one"))
      assert.equal("deep=2 odd=3 root=1", cookies("a.test", "/one/two"))
      assert.equal("deep=2 odd=3 root=1", cookies("a.test", "/one/two/three"))
      assert.equal("odd=3 root=1", cookies("a.test", "/one/twofold"))
    end)
  end)

  it("that are secure are not set nor sent in the clear", function()
    run(function(url, cookies, session)
      set(session, url, "a.test", "s=1; Secure", "__Secure-x=2; Secure", "__Host-y=3; Secure; Path=/", "plain=4; HttpOnly")
      assert.equal("plain=4", cookies("a.test"))
    end)
  end)

  it("end when they are told to", function()
    run(function(url, cookies, session)
      set(session, url, "a.test", "a=1", "b=2; Max-Age=1000", "c=3; Expires=Thu, 01 Jan 2099 00:00:00 GMT", "d=4; Max-Age=0")
      assert.equal("a=1 b=2 c=3", cookies("a.test"))
      set(session, url, "a.test", "a=; Max-Age=0", "b=x; Expires=Thu, 01 Jan 1970 00:00:00 GMT", "c=5")
      assert.equal("c=5", cookies("a.test"))
    end)
  end)

  it("are taken from redirects, whose target gets those of its own", function()
    run(function(url, cookies, session)
      set(session, url, "b.test", "theirs=1")
      local resp <close> = await(session:get(url("a.test", "/set"), { params = { c = "ours=2", to = url("b.test", "/x") } }))
      assert.equal("theirs=1", await(resp:text()))
      assert.equal("b.test", resp.url.host)
      assert.equal("2", resp.history[1].cookies.ours.value)
      assert.equal("ours=2", cookies("a.test"))
    end)
  end)

  it("of one request stay with its host", function()
    run(function(url, cookies, session)
      local function with(to)
        local resp <close> = await(session:get(url("a.test", "/set"), { params = { c = "jar=1", to = to }, cookies = { own = "2" } }))
        return await(resp:text())
      end
      assert.equal("jar=1 own=2", with(url("a.test", "/x")))
      assert.equal("", with(url("b.test", "/x")))
      assert.equal("jar=1", cookies("a.test"))
    end)
  end)

  it("are not taken from addresses, unless that is asked for", function()
    for unsafe, expected in pairs { [false] = "", [true] = "a=1" } do
      run(function(url, cookies, session)
        set(session, url, "127.0.0.1", "a=1")
        assert.equal(expected, cookies("127.0.0.1"))
      end, { cookie_jar = http.CookieJar { unsafe = unsafe } })
    end
  end)

  it("are nobody's with DummyCookieJar, and many sessions' with a jar of their own", function()
    run(function(url, cookies, session)
      set(session, url, "a.test", "a=1")
      assert.equal("", cookies("a.test"))
    end, { cookie_jar = http.DummyCookieJar() })
    run(function(url, _, session)
      set(session, url, "a.test", "a=1")
      local other <close> = http.ClientSession { cookie_jar = session.cookie_jar, connector = http.TCPConnector { resolver = here } }
      local resp <close> = await(other:get(url("a.test", "/x")))
      assert.equal("a=1", await(resp:text()))
    end)
  end)
end)
