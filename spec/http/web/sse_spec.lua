local asyncio = require "asyncio"
local helper = require "spec.helper"

local has, web = pcall(require, "http.web")
if not has or not pcall(require, "http.core") then return pending("built without HTTP") end
local testing = require "http.testing"

--- Runs f(response, exchange) on a virtual clock, with a response prepared for a mocked request; gives what was sent.
local function mocked(options, f, headers)
  local exchange
  helper.run(async(function()
    local request
    request, exchange = testing.make_mocked_request("GET", "/", { headers = headers })
    local events = web.EventSourceResponse(options)
    await(events:prepare(request))
    f(events, exchange)
    if not exchange._lost then await(events:write_eof()) end
  end))
  return exchange.body
end

describe("web.EventSourceResponse", function()
  it("sends data, names, ids and delays as the standard has them", function()
    local body = mocked(nil, function(events, exchange)
      assert.equal("text/event-stream", exchange:sent_header("Content-Type"))
      assert.equal("no-cache", exchange:sent_header("Cache-Control"))
      await(events:send("one"))
      await(events:send("two\nlines"))
      await(events:send("a\r\nb\rc\n"))
      await(events:send("", { event = "empty" }))
      await(events:send("x", { event = "tick", id = "7", retry = 2000 }))
      await(events:send(nil, { id = "8" }))
    end)
    assert.equal("data: one\n\n" .. "data: two\ndata: lines\n\n" .. "data: a\ndata: b\ndata: c\ndata: \n\n"
      .. "event: empty\ndata: \n\n" .. "id: 7\nevent: tick\ndata: x\nretry: 2000\n\n" .. "id: 8\n\n", body)
  end)

  it("refuses what would break out of its line", function()
    mocked(nil, function(events)
      helper.raises(asyncio.ValueError, events.send, events, "x", { event = "a\nb" })
      helper.raises(asyncio.ValueError, events.send, events, "x", { id = "a\rdata: b" })
      helper.raises(asyncio.ValueError, events.send, events, "x", { id = "\0" })
      helper.raises(asyncio.ValueError, events.send, events, "x", { id = 5 })
      helper.raises(asyncio.TypeError, events.send, events, "x", { retry = "soon" })
      helper.raises(asyncio.TypeError, events.send, events, 5)
      helper.raises("unexpected keyword argument 'evnt'", events.send, events, "x", { evnt = "a" })
    end)
    helper.raises("unexpected keyword argument 'ping'", web.EventSourceResponse, { ping = 1 })
    helper.raises(asyncio.ValueError, web.EventSourceResponse, { ping_interval = -1 })
  end)

  it("pings while nothing is sent", function()
    local body = mocked({ ping_interval = 10 }, function(events)
      await(asyncio.sleep(35))
      assert.is_true(events:is_connected())
    end)
    assert.equal((": ping\n\n"):rep(3), body)
    assert.equal("", mocked({ ping_interval = 0 }, function() await(asyncio.sleep(100)) end))
  end)

  it("knows what a client has seen last", function()
    mocked(nil, function(events) assert.equal("41", events.last_event_id) end, { ["Last-Event-ID"] = "41" })
    mocked(nil, function(events) assert.is_nil(events.last_event_id) end)
  end)

  it("tells when the client has gone", function()
    mocked(nil, function(events, exchange)
      local waiting = asyncio.create_task(events:wait())
      await(asyncio.sleep(5))
      assert.is_false(waiting:done())
      exchange:lose()
      await(waiting)
      assert.is_false(events:is_connected())
      local e = helper.raises(asyncio.OSError, await, events:send("x"))
      assert.equal("ECONNRESET", e.code)
    end)
  end)

  it("can be stopped", function()
    local body = mocked(nil, function(events)
      local waiting = asyncio.create_task(events:wait())
      await(events:send("before"))
      events:stop_streaming()
      await(waiting)
      helper.raises(asyncio.OSError, await, events:send("after"))
      assert.is_false(events:is_connected())
    end)
    assert.equal("data: before\n\n", body)
  end)

  it("streams over a connection, and leaves nothing when the client goes", function()
    asyncio.run(async(function()
      local gone
      local app = web.Application()
      app:add_routes { web.get("/", async(function(request)
        local events <close> = await(web.EventSourceResponse():prepare(request))
        local ok, err = pcall(function()
          for i = 1, 1000 do
            await(events:send(("tick %d"):format(i), { id = tostring(i) }))
            await(asyncio.sleep(0.001))
          end
        end)
        gone = not ok and err.code
        return events
      end)) }
      local server <close> = testing.TestServer(app)
      await(server:start_server())
      local reader, writer = await(asyncio.open_connection("127.0.0.1", server.port))
      writer:write("GET / HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n")
      local head = await(reader:readuntil("\r\n\r\n"))
      assert.is_truthy(head:find("Content-Type: text/event-stream", 1, true))
      assert.is_truthy(await(reader:readuntil("id: 3\ndata: tick 3\n\n")))
      writer:close()
      helper.eventually(function() return gone ~= nil end)
      assert.equal("ECONNRESET", gone)
    end))
  end)
end)
