local asyncio = require "asyncio"
local helper = require "spec.helper"
local http = require "http"
local peer = require "spec.http.client.peer"

local answer = peer.answer

describe("middlewares of a session", function()
  it("see each request, the first one first, and may alter it", function()
    local seen = {}
    local function named(name)
      return async(function(request, handler)
        seen[#seen + 1] = ("%s %s %s"):format(name, request.method, request.url.path)
        request.headers["X-" .. name] = "was here"
        local resp = await(handler(request))
        seen[#seen + 1] = name .. " " .. resp.status
        return resp
      end)
    end
    peer.raw(function(request)
      if request.line:find("/a") then return answer(302, { "Location: /b" }, "") end
      return answer(200, {}, request.text)
    end, { middlewares = { named "One", named "Two" }, headers = { ["X-Own"] = "own" } }, function(session, url)
      local resp <close> = await(session:get(url "/a"))
      local text = await(resp:text())
      assert(text:find("X-One: was here\r\n", 1, true) and text:find("X-Two: was here\r\n", 1, true))
      assert(text:find("X-Own: own\r\n", 1, true))
      assert.same({ "One GET /a", "Two GET /a", "Two 302", "One 302", "One GET /b", "Two GET /b", "Two 200", "One 200" }, seen)
      assert.equal("own", session.headers["X-Own"])
      assert.is_nil(session.headers["X-One"])
    end)
  end)

  it("may send a request again, and elsewhere", function()
    peer.raw(function(request, _, _, n)
      if request.line:find("/other") then return answer(200, {}, "other") end
      return answer(n < 3 and 503 or 200, {}, "n" .. n)
    end, nil, function(session, url, log)
      local again = async(function(request, handler)
        while true do
          local resp = await(handler(request))
          if resp.status ~= 503 then return resp end
          resp:release()
        end
      end)
      local resp <close> = await(session:post(url "/", { data = "body", middlewares = { again } }))
      assert.equal("n3", await(resp:text()))
      for i = 1, 3 do assert.equal("body", log[i].body) end
      local elsewhere <close> = await(session:get(url "/", { middlewares = { async(function(request, handler)
        request.url = request.url:with_path("/other")
        return await(handler(request))
      end) } }))
      assert.equal("other", await(elsewhere:text()))
      assert.equal("/other", elsewhere.url.path)
    end)
  end)

  it("must give a response", function()
    peer.raw(function() return answer(200, {}, "") end, nil, function(session, url)
      local function get(f) await(session:get(url "/", { middlewares = { f } })) end
      helper.raises("a middleware must give a ClientResponse, got nil", get, function() end)
      helper.raises("the request was expected, got nil", get, async(function(_, handler) return await(handler()) end))
      assert.equal("mine", helper.raises("mine", get, function() error("mine", 0) end))
      helper.raises("middlewares: a list of functions", session.get, session, url "/", { middlewares = 5 })
      helper.raises("middlewares[1]: a function", session.get, session, url "/", { middlewares = { 5 } })
      helper.raises("ClientSession: middlewares[2]: a function", http.ClientSession, { middlewares = { print, 5 } })
      assert.is_true(asyncio.isinstance(select(2, pcall(get, function() end)), asyncio.TypeError))
    end)
  end)
end)
