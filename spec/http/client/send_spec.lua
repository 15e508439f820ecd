local asyncio = require "asyncio"
local helper = require "spec.helper"
local http = require "http"
local peer = require "spec.http.client.peer"
local web = require "http.web"

local answer = peer.answer

describe("a request on a connection that has gone stale", function()
  -- Answers the first request of each connection; on the second it hangs up.
  local function stale(_, _, _, n)
    if n == 1 then return answer(200, {}, "") end
  end

  it("is sent again if it is idempotent", function()
    for _, method in ipairs { "GET", "HEAD", "OPTIONS", "PUT", "DELETE" } do
      peer.raw(stale, nil, function(session, url, log)
        for _ = 1, 3 do
          local resp <close> = await(session:request(method, url "/", { data = method == "PUT" and "data" or nil }))
          assert.equal(200, resp.status)
          await(resp:read())
        end
        assert(#log > 3)
        for _, request in ipairs(log) do assert.equal(method == "PUT" and "data" or "", request.body) end
      end)
    end
  end)

  it("is not if it is not, or if the body is gone", function()
    peer.raw(stale, nil, function(session, url)
      local resp <close> = await(session:get(url "/"))
      await(resp:read())
      local e = helper.raises(http.ServerDisconnectedError, function() await(session:post(url "/")) end)
      assert.equal("ServerDisconnectedError: POST " .. url "/" .. ": Server disconnected", tostring(e))
      local again <close> = await(session:get(url "/"))
      await(again:read())
      local parts = { "x" }
      helper.raises(http.ClientError, function()
        await(session:put(url "/", { data = function() return table.remove(parts) end }))
      end)
    end)
  end)

  it("is not sent again when the connection was a new one", function()
    peer.raw(function() end, nil, function(session, url, log)
      helper.raises(http.ServerDisconnectedError, function() await(session:get(url "/")) end)
      assert.equal(1, #log)
    end)
  end)

  it("is not sent again when an answer had begun", function()
    peer.raw(function(_, writer, _, n)
      if n == 1 then return answer(200, {}, "ok") end
      writer:write("HTTP/1.1 200")
    end, nil, function(session, url, log)
      local resp <close> = await(session:get(url "/"))
      await(resp:read())
      helper.raises(http.ClientError, function() await(session:get(url "/")) end)
      assert.equal(2, #log)
    end)
  end)
end)

describe("an answer that is none", function()
  it("is an error that says why", function()
    for bytes, why in pairs {
      ["SSH-2.0-OpenSSH_9\r\n\r\n"] = "", ["HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello"] = "",
      ["HTTP/1.1 200 OK\r\nA b: c\r\n\r\n"] = "", ["HTTP/1.1 20 OK\r\n\r\n"] = "",
    } do
      peer.raw(function(_, writer) writer:write(bytes) end, nil, function(session, url)
        local e = helper.raises(http.ClientResponseError, function() await(session:get(url "/")) end)
        assert.equal(400, e.status)
        assert(tostring(e):find("^ClientResponseError: GET http://.*/: 400, %S"), tostring(e) .. why)
      end)
    end
  end)

  it("may be too long", function()
    peer.raw(function() return answer(200, { "X: " .. ("x"):rep(9000) }, "") end, nil, function(session, url)
      helper.raises(http.ClientResponseError, function() await(session:get(url "/")) end)
    end)
    peer.raw(function() return answer(200, { "X: " .. ("x"):rep(9000) }, "") end, { max_field_size = 10000 },
      function(session, url)
      local resp <close> = await(session:get(url "/"))
      assert.equal(9000, #resp.headers.X)
    end)
    local many = {}
    for i = 1, 200 do many[i] = "X: " .. i end
    peer.raw(function() return answer(200, many, "") end, nil, function(session, url)
      helper.raises(http.ClientResponseError, function() await(session:get(url "/")) end)
    end)
  end)
end)

describe("what an answer may be", function()
  it("is found out by RFC 9112", function()
    local function body_of(bytes, method)
      return peer.raw(function(_, writer) writer:write(bytes) end, nil, function(session, url)
        local resp <close> = await(session:request(method or "GET", url "/"))
        return resp.status .. " " .. await(resp:text())
      end)
    end
    assert.equal("200 body", body_of "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody")
    assert.equal("200 body", body_of "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nbo\r\n2\r\ndy\r\n0\r\n\r\n")
    assert.equal("200 body", body_of "HTTP/1.0 200 OK\r\n\r\nbody")
    assert.equal("200 ", body_of("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n", "HEAD"))
    assert.equal("204 ", body_of "HTTP/1.1 204 No Content\r\n\r\n")
    assert.equal("304 ", body_of "HTTP/1.1 304 Not Modified\r\nContent-Length: 4\r\n\r\n")
    assert.equal("200 x", body_of(
      "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx"))
  end)

  it("has trailers behind chunks", function()
    peer.raw(function() return answer(200, { "Transfer-Encoding: chunked", "Trailer: X" })
      .. "2\r\nab\r\n0\r\nX: y\r\n\r\n" end, nil, function(session, url)
      local resp <close> = await(session:get(url "/"))
      assert.equal("ab", await(resp:text()))
      assert.equal("y", resp.trailers.X)
    end)
  end)
end)

describe("a body", function()
  it("comes from an iterator, a stream, a file", function()
    peer.serve({ web.post("/", async(function(request)
      local data = await(request:read())
      return web.Response { text = ("%d %s"):format(#data, request.headers["Content-Length"] or "chunked") }
    end)) }, nil, function(session, url)
      local function post(data)
        local resp <close> = await(session:post(url "/", { data = data }))
        return await(resp:text())
      end
      local n = 0
      assert.equal("6400000 chunked", post(function()
        n = n + 1
        if n <= 100 then
          await(asyncio.sleep(0))
          return ("x"):rep(64000)
        end
      end))
      local reader = asyncio.StreamReader()
      reader:feed_data("abc")
      reader:feed_eof()
      assert.equal("3 chunked", post(reader))
      local file <close> = await(require("fs").open(helper.tmpfile(("y"):rep(300000)), "rb"))
      assert.equal("300000 300000", post(file))
      assert.equal("10000000 10000000", post(("z"):rep(10000000)))
    end)
  end)

  it("that fails is the request's failure, and closes the connection", function()
    peer.serve({ web.post("/", async(function(request)
      await(request:read())
      return web.Response { text = "done" }
    end)) }, nil, function(session, url)
      local e = helper.raises("no more", function()
        await(session:post(url "/", { data = function() error("no more", 0) end }))
      end)
      assert.equal("no more", e)
      local resp <close> = await(session:post(url "/", { data = "x" }))
      assert.equal("done", await(resp:text()))
    end)
  end)

  it("need not be sent to its end when the server has answered", function()
    asyncio.run(async(function()
      local server <close> = await(asyncio.start_server(async(function(reader, writer)
        local _ <close> = writer
        await(reader:readuntil("\r\n\r\n"))
        writer:write(answer(413, { "Connection: close" }, "too much"))
        await(writer:drain())
        await(asyncio.sleep(0.02)) -- what has come by then is not read: the connection is reset
      end), "127.0.0.1", 0))
      local url = ("http://127.0.0.1:%d"):format(select(2, server.sockets[1]:getsockname()))
      local session <close> = http.ClientSession()
      local sent = 0
      local resp <close> = await(session:post(url, { data = function()
        sent = sent + 1
        await(asyncio.sleep(0.001))
        return ("x"):rep(1000)
      end }))
      assert.equal(413, resp.status)
      assert.equal("too much", await(resp:text()))
      resp:release()
      local before = sent
      await(asyncio.sleep(0.01))
      assert(sent <= before + 1, "the body is still asked for")
    end))
  end)

  it("waits for 100 Continue, and is not sent when something else comes", function()
    asyncio.run(async(function()
      local seen = {}
      local server <close> = await(asyncio.start_server(async(function(reader, writer)
        local _ <close> = writer
        local head = await(reader:readuntil("\r\n\r\n"))
        if head:find("/no") then
          writer:write(answer(417, { "Connection: close" }, "no"))
          seen[#seen + 1] = await(reader:read())
        else
          await(asyncio.sleep(0.01))
          writer:write("HTTP/1.1 100 Continue\r\n\r\n")
          seen[#seen + 1] = await(reader:readexactly(5))
          writer:write(answer(200, { "Connection: close" }, "yes"))
        end
      end), "127.0.0.1", 0))
      local base = ("http://127.0.0.1:%d"):format(select(2, server.sockets[1]:getsockname()))
      local session <close> = http.ClientSession { base_url = base }
      local resp <close> = await(session:put("/yes", { data = "hello", expect100 = true }))
      assert.equal("yes", await(resp:text()))
      do
        local no <close> = await(session:put("/no", { data = "hello", expect100 = true }))
        assert.same({ 417, "no" }, { no.status, await(no:text()) })
      end
      helper.settle()
      assert.same({ "hello", "" }, seen)
    end))
  end)
end)

describe("a cancelled request", function()
  it("closes its connection, at every stage", function()
    peer.serve({
      web.get("/slow", async(function()
        await(asyncio.sleep(0.02))
        return web.Response { text = ("x"):rep(200000) }
      end)),
      web.get("/", function() return web.Response { text = "ok" } end),
    }, { limit = 2 }, function(session, url)
      for turns = 0, 30 do
        local task = asyncio.create_task(function()
          local resp <close> = await(session:get(url "/slow"))
          await(resp:read())
        end)
        for _ = 1, turns do await(asyncio.sleep(turns > 15 and 0.002 or 0)) end
        task:cancel()
        asyncio.catch(await, task) -- the last ones come too late
        local resp <close> = await(session:get(url "/"))
        assert.equal("ok", await(resp:text()))
      end
    end)
  end)
end)
