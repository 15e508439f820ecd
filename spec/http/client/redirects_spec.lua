local asyncio = require "asyncio"
local helper = require "spec.helper"
local http = require "http"
local peer = require "spec.http.client.peer"
local redirects = require "http.client.redirects"
local urls = require "url"

local answer = peer.answer

describe("redirects.target", function()
  local function target(location, from)
    return tostring(redirects.target({ method = "GET", url = "http://h/" }, urls.URL(from or "http://h/a/b?c"), location))
  end

  it("is relative to the page", function()
    assert.equal("http://h/a/x", target "x")
    assert.equal("http://h/x", target "/x")
    assert.equal("http://other/x", target "//other/x")
    assert.equal("http://h/a/b?d", target "?d")
    assert.equal("https://other:444/", target "https://other:444")
    assert.equal("http://h/a%20b/%C3%A4%22", target " /a b/\xC3\xA4\" ")
  end)

  it("keeps the fragment, unless it has one", function()
    assert.equal("http://h/x#f", target("/x", "http://h/#f"))
    assert.equal("http://h/x#g", target("/x#g", "http://h/#f"))
  end)

  it("is refused when it is none that can be asked for", function()
    for _, location in ipairs { "ftp://h/", "javascript:alert(1)", "file:///etc/passwd", "ws://h/" } do
      helper.raises(http.NonHttpUrlRedirectClientError, target, location)
    end
    for _, location in ipairs { "http://[::1/", "http://h:99999/", "http:///x", "http://a\\b@c/" } do
      local e = helper.raises(http.InvalidUrlRedirectClientError, target, location)
      assert(tostring(e):find("GET http://h/: a redirect to ", 1, true), tostring(e))
    end
  end)
end)

describe("redirects.trusts", function()
  it("the same origin, and https after http", function()
    local function trusts(a, b) return redirects.trusts(urls.URL(a), urls.URL(b)) end
    assert.is_true(trusts("http://h/a", "http://h:80/b"))
    assert.is_true(trusts("http://h/a", "https://h/b"))
    assert.is_false(trusts("https://h/a", "http://h/b"))
    assert.is_false(trusts("http://h/", "http://h:81/"))
    assert.is_false(trusts("http://h/", "http://x.h/"))
    assert.is_false(trusts("http://h:81/", "https://h/"))
  end)
end)

-- A server whose /STATUS redirects to /end.
local function redirecting(request)
  local status = request.line:match("/(%d%d%d) ")
  if not status then return answer(200, {}, request.line .. "|" .. request.body) end
  return answer(tonumber(status), { "Location: /end" }, "moved")
end

describe("a session", function()
  it("follows redirects, with the method and the body that each status asks for", function()
    peer.raw(redirecting, nil, function(session, url, log)
      local get = { GET = "GET", HEAD = "HEAD", PUT = "PUT", DELETE = "DELETE", POST = "GET" }
      local see = { GET = "GET", HEAD = "HEAD", PUT = "GET", DELETE = "GET", POST = "GET" }
      local same = { GET = "GET", HEAD = "HEAD", PUT = "PUT", DELETE = "DELETE", POST = "POST" }
      for status, methods in pairs { [301] = get, [302] = get, [303] = see, [307] = same, [308] = same } do
        for method, then_method in pairs(methods) do
          local sends = method == "POST" or method == "PUT"
          local resp <close> = await(session:request(method, url("/" .. status),
            { data = sends and "body" or nil, allow_redirects = true }))
          local asked = log[#log]
          assert.equal(then_method .. " /end HTTP/1.1", asked.line, status .. " " .. method)
          local kept = sends and then_method == method
          assert.equal(kept and "body" or "", asked.body)
          assert.equal(kept and "text/plain; charset=utf-8" or nil, asked.headers["content-type"])
          assert.equal(200, resp.status)
          assert.equal(1, #resp.history)
          assert.equal(status, resp.history[1].status)
          assert.equal(url "/end", tostring(resp.url))
        end
      end
    end)
  end)

  it("follows none when it is told so, and for HEAD", function()
    peer.raw(redirecting, nil, function(session, url)
      local resp <close> = await(session:get(url "/302", { allow_redirects = false }))
      assert.same({ 302, "moved" }, { resp.status, await(resp:text()) })
      local head <close> = await(session:head(url "/302"))
      assert.equal(302, head.status)
    end)
  end)

  it("follows by the short way, too", function()
    peer.raw(redirecting, nil, function(session, url, log)
      for _ = 1, 3 do
        local resp <close> = await(session:get(url "/302"))
        assert.equal("GET /end HTTP/1.1|", await(resp:text()))
        assert.equal(1, #resp.history)
      end
      assert.equal(6, #log)
      assert.equal(1, log[6].connection)
    end)
  end)

  it("gives up after max_redirects", function()
    peer.raw(function() return answer(302, { "Location: /again" }, "") end, nil, function(session, url, log)
      local e = helper.raises(http.TooManyRedirects, function() await(session:get(url "/x", { max_redirects = 4 })) end)
      assert.equal(4, #log)
      assert.equal(4, #e.history)
      assert.equal(url "/x", tostring(e.request_info.url))
      assert.equal(url "/x", e.url)
      helper.raises(http.TooManyRedirects, function() await(session:get(url "/x")) end)
      assert.equal(14, #log)
    end)
  end)

  it("asks for what was written, if it is not to be requoted", function()
    local function asked(location, opts)
      return peer.raw(function(request)
        if request.line:find("/first") then return answer(302, { "Location: " .. location }, "") end
        return answer(200, {}, request.line:match("%S+ (%S+)"))
      end, opts, function(session, url)
        local resp <close> = await(session:get(url "/first"))
        return await(resp:text())
      end)
    end
    assert.equal("/aA?x", asked "/%61%41?x#f")
    assert.equal("/%61%41?x", asked("/%61%41?x#f", { requote_redirect_url = false }))
    assert.equal("/r", asked("r", { requote_redirect_url = false }))
  end)

  it("gives what redirects nowhere", function()
    peer.raw(function() return answer(302, {}, "where?") end, nil, function(session, url)
      local resp <close> = await(session:get(url "/"))
      assert.same({ 302, "where?", 0 }, { resp.status, await(resp:text()), #resp.history })
    end)
  end)

  it("names the request whose redirect is none", function()
    peer.raw(function() return answer(302, { "Location: ftp://x/" }, "") end, nil, function(session, url)
      local e = helper.raises(http.NonHttpUrlRedirectClientError, function() await(session:get(url "/a")) end)
      assert(tostring(e):find("GET " .. url "/a" .. ': a redirect to "ftp://x/"', 1, true), tostring(e))
    end)
  end)

  it("tells other origins nothing of the user", function()
    peer.raw(function(request)
      return answer(200, {}, request.text)
    end, nil, function(_, other)
      local there = other("/secret"):gsub("127%.0%.0%.1", "localhost")
      peer.raw(function(request)
        if request.line:find("/same") then return answer(302, { "Location: /end" }, "") end
        if request.line:find("/end") then return answer(200, {}, request.text) end
        return answer(302, { "Location: " .. there }, "")
      end, nil, function(session, url)
        local opts = {
          headers = { Authorization = "Bearer x", Cookie = "a=b", ["X-Other"] = "stays" }, cookies = { c = "d" },
        }
        local resp <close> = await(session:get(url "/", opts))
        local text = await(resp:text())
        assert.is_nil(text:find("Bearer", 1, true), text)
        assert.is_nil(text:find("Cookie", 1, true), text)
        assert(text:find("X-Other: stays", 1, true), text)
        local same <close> = await(session:get(url "/same", opts))
        text = await(same:text())
        assert(text:find("Bearer", 1, true) and text:find("a=b", 1, true) and text:find("c=d", 1, true), text)
        local auth = { auth = http.BasicAuth("me", "secret") }
        local with_auth <close> = await(session:get(url "/", auth))
        assert.is_nil(await(with_auth:text()):find("Authorization", 1, true))
        local same_auth <close> = await(session:get(url "/same", auth))
        assert(await(same_auth:text()):find("Authorization: Basic", 1, true))
      end)
    end)
  end)

  it("does not send again what can be had once only", function()
    peer.raw(redirecting, nil, function(session, url)
      local parts = { "one", "two" }
      local e = helper.raises(http.RedirectClientError, function()
        await(session:post(url "/307", { data = function() return table.remove(parts, 1) end }))
      end)
      assert(tostring(e):find("cannot be sent twice"), tostring(e))
      assert.is_true(asyncio.isinstance(e, http.ClientError))
    end)
  end)
end)
