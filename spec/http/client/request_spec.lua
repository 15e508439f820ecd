--- What the arguments of a call come to: lengths that are told, whose credentials go where, who follows redirects.

local asyncio = require "asyncio"
local fs = require "fs"
local helper = require "spec.helper"
local http = require "http"
local peer = require "spec.http.client.peer"
local web = require "http.web"

local async, await = asyncio.async, asyncio.await

local routes = {
  web.route("*", "/", function(request)
    local headers = {}
    for name, value in pairs(request.headers) do headers[name:lower()] = value end
    return web.json_response { method = request.method, headers = headers, size = #await(request:read()) }
  end),
  web.route("*", "/to", function() error(web.HTTPFound "/") end),
}

local function asked(session, method, url, opts)
  local resp <close> = await(session:request(method, url, opts))
  assert.equal(200, resp.status)
  return await(resp:json())
end

describe("a header Content-Length", function()
  local function pieces(n)
    return function()
      n = n - 1
      return n >= 0 and ("x"):rep(100) or nil
    end
  end

  it("is the length of what comes in parts", function()
    peer.serve(routes, nil, function(session, url)
      local reply = asked(session, "POST", url "/", { data = pieces(3), headers = { ["Content-Length"] = "300" } })
      assert.same({ 300, "300" }, { reply.size, reply.headers["content-length"] })
      assert.is_nil(reply.headers["transfer-encoding"])
      local file <close> = await(fs.open(helper.tmpfile "12345"))
      assert.equal(5, asked(session, "PUT", url "/", { data = file, headers = { ["content-length"] = "5" } }).size)
    end)
  end)

  it("that is wrong is told of", function()
    peer.serve(routes, nil, function(session, url)
      local function post(length, data, opts)
        opts = opts or {}
        opts.data, opts.headers = data or pieces(3), { ["Content-Length"] = length }
        return function() return asked(session, "POST", url "/", opts) end
      end
      helper.raises("write: 50 bytes more than the request's length", post "250")
      helper.raises("the request lacks 50 of its bytes", post "350")
      helper.raises("Content-Length: a number was expected", post "many")
      helper.raises("Content-Length is 5, the body has 4 bytes", post("5", "text"))
      helper.raises("compress cannot be set", post("300", nil, { compress = true }))
      helper.raises("chunked cannot be set", post("300", nil, { chunked = true }))
      local file <close> = await(fs.open(helper.tmpfile "12345"))
      helper.raises("Content-Length is 6, the body has 5 bytes", post("6", file))
      assert.equal(3, asked(session, "POST", url "/", { data = "abc" }).size)
    end)
  end)
end)

describe("a request", function()
  it("names a host without the point at its end", function()
    peer.raw(function() return peer.answer(200, {}, "") end, nil, function(_, url, log)
      local port, asked_for = tonumber(url("/"):match ":(%d+)/"), nil
      local resolver = { close = async(function() end) }
      function resolver:resolve(host) -- luacheck: ignore
        asked_for = host
        return async(function() return { { host = "127.0.0.1", port = port } } end)()
      end
      local session <close> = http.ClientSession { connector = http.TCPConnector { resolver = resolver } }
      for _, row in ipairs { { "http://h.test./", "h.test" }, { "http://h.test.:81/", "h.test:81" } } do
        local resp <close> = await(session:get(row[1]))
        assert.same({ 200, row[2], "h.test." }, { resp.status, log[#log].headers.host, asked_for })
      end
    end)
  end)

  it("is not compressed if it has no body", function()
    peer.serve(routes, nil, function(session, url)
      for _, opts in ipairs { { compress = true }, { compress = "gzip", data = "" } } do
        local headers = asked(session, "POST", url "/", opts).headers
        assert.same({ "0" }, { headers["content-length"], headers["content-encoding"], headers["transfer-encoding"] })
      end
    end)
  end)

  it("follows redirects unless it is made by session:head", function()
    peer.serve(routes, nil, function(session, url)
      local function status(resp)
        local _ <close> = resp
        return resp.status, #resp.history
      end
      assert.same({ 200, 1 }, { status(await(session:request("head", url "/to"))) })
      assert.same({ 302, 0 }, { status(await(session:head(url "/to"))) })
      assert.same({ 200, 1 }, { status(await(session:head(url "/to", { allow_redirects = true }))) })
      assert.same({ 302, 0 }, { status(await(session:request("HEAD", url "/to", { allow_redirects = false }))) })
    end)
  end)

  it("has either the session's credentials or a header Authorization", function()
    peer.serve(routes, { auth = http.BasicAuth("u", "p") }, function(session, url)
      assert.equal("Basic dTpw", asked(session, "GET", url "/").headers.authorization)
      helper.raises("there is a header Authorization", session.get, session, url "/", { headers = { authorization = "x" } })
    end)
  end)

  it("has the session's credentials for the origin of base_url alone, if there is one", function()
    peer.serve(routes, nil, function(_, url)
      peer.raw(function() return peer.answer(200, {}, "") end, nil, function(_, other, log)
        local session <close> = http.ClientSession { base_url = url "/", auth = http.BasicAuth("u", "p") }
        for _, address in ipairs { "/", url "/" } do
          assert.equal("Basic dTpw", asked(session, "GET", address).headers.authorization)
        end
        local resp <close> = await(session:get(other "/"))
        assert.same({ 200, nil }, { resp.status, log[1].headers.authorization })
      end)
    end)
  end)
end)
