local asyncio = require "asyncio"
local helper = require "spec.helper"
local http = require "http"
local peer = require "spec.http.client.peer"

local answer = peer.answer
local virtual = { clock = "virtual" }

local function now() return asyncio.get_running_loop():time() end

describe("ClientTimeout", function()
  it("keeps what it is given; 0 and false are no limit", function()
    local timeout = http.ClientTimeout { total = 5, connect = 0, sock_read = false }
    assert.equal("ClientTimeout(total=5, connect=nil, sock_connect=nil, sock_read=nil)", tostring(timeout))
    assert.equal(timeout, http.ClientTimeout { total = 5 })
    assert.is_false(timeout == http.ClientTimeout {})
    local session <close> = http.ClientSession()
    assert.equal(http.ClientTimeout { total = 300, sock_connect = 30 }, session.timeout)
    local other <close> = http.ClientSession { timeout = 7 }
    assert.equal(7, other.timeout.total)
    assert.is_nil(other.timeout.sock_connect)
  end)

  it("refuses what is no time", function()
    helper.raises("ClientTimeout.total: 0 or more seconds", http.ClientTimeout, { total = -1 })
    helper.raises("ClientTimeout.total: 0 or more seconds", http.ClientTimeout, { total = 0 / 0 })
    helper.raises("ClientTimeout.connect: a number of seconds", http.ClientTimeout, { connect = "1" })
    helper.raises("unexpected keyword argument 'read'", http.ClientTimeout, { read = 1 })
  end)
end)

describe("a request", function()
  local function silent() -- reads the request, says nothing
    await(asyncio.sleep(1000))
  end

  it("takes no longer than total, whatever it waits for", function()
    peer.raw(silent, nil, function(session, url)
      for _ = 1, 2 do
        local start = now()
        local e = helper.raises(asyncio.TimeoutError, function() await(session:get(url "/", { timeout = 5 })) end)
        assert.equal(5, math.floor(now() - start + 0.5))
        assert.equal("TimeoutError: GET " .. url "/" .. ": timeout of 5 s for the whole request (total)", tostring(e))
        assert.is_false(asyncio.isinstance(e, http.ClientError))
      end
    end, virtual)
  end)

  it("has 300 seconds if nothing is said", function()
    peer.raw(silent, nil, function(session, url)
      local start = now()
      helper.raises("timeout of 300 s for the whole request", function() await(session:get(url "/")) end)
      assert.equal(300, math.floor(now() - start + 0.5))
    end, virtual)
  end)

  it("counts its body and its redirects into total", function()
    peer.raw(function(request, writer)
      if request.line:find("/a") then
        await(asyncio.sleep(3))
        return answer(302, { "Location: /b" }, "")
      end
      await(asyncio.sleep(3))
      writer:write("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")
      await(asyncio.sleep(100))
    end, nil, function(session, url)
      local start = now()
      local resp <close> = await(session:get(url "/a", { timeout = 10 }))
      assert.equal(6, math.floor(now() - start + 0.5))
      local e = helper.raises(asyncio.TimeoutError, function() await(resp:read()) end)
      assert.equal(10, math.floor(now() - start + 0.5))
      assert(tostring(e):find("/b: timeout", 1, true), tostring(e))
      assert.is_true(resp.closed)
      local again <close> = await(session:get(url "/a", { timeout = 10 }))
      start = now()
      helper.raises(asyncio.TimeoutError, function() for _ in again.content:iter_any() do end end)
      assert.equal(4, math.floor(now() - start + 0.5))
    end, virtual)
  end)

  it("waits no longer than sock_read for each byte", function()
    peer.raw(function(_, writer)
      writer:write("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n")
      for _ = 1, 5 do
        await(asyncio.sleep(2))
        writer:write("x")
      end
      await(asyncio.sleep(1000))
    end, { timeout = http.ClientTimeout { sock_read = 3 } }, function(session, url)
      local start = now()
      local resp <close> = await(session:get(url "/"))
      local e = helper.raises(http.SocketTimeoutError, function() await(resp:read()) end)
      assert.equal(13, math.floor(now() - start + 0.5))
      assert.is_true(asyncio.isinstance(e, asyncio.TimeoutError))
      assert(tostring(e):find("timeout of 3 s on reading data from socket", 1, true), tostring(e))
    end, virtual)
    peer.raw(silent, { timeout = http.ClientTimeout { sock_read = 3 } }, function(session, url)
      helper.raises(http.SocketTimeoutError, function() await(session:get(url "/")) end)
    end, virtual)
  end)

  it("waits no longer than connect for a connection of the pool", function()
    peer.raw(silent, { limit = 1, timeout = http.ClientTimeout { connect = 2, total = 50 } }, function(session, url)
      local first = asyncio.create_task(function() await(session:get(url "/")) end)
      await(asyncio.sleep(0.1))
      local start = now()
      local e = helper.raises(http.ConnectionTimeoutError, function() await(session:get(url "/")) end)
      assert.equal(2, math.floor(now() - start + 0.5))
      assert(tostring(e):find("GET " .. url "/" .. ": ", 1, true), tostring(e))
      first:cancel()
    end, virtual)
  end)

  it("goes on when its time is no concern", function()
    peer.raw(function()
      await(asyncio.sleep(5000))
      return answer(200, {}, "late")
    end, nil, function(session, url)
      local resp <close> = await(session:get(url "/", { timeout = false }))
      assert.equal("late", await(resp:text()))
    end, virtual)
  end)

  it("that was cut short by a timeout or cancelled leaves nothing to the next one", function()
    local n = 0
    peer.raw(function(_, writer)
      n = n + 1
      if n % 2 == 1 then
        if n % 4 == 1 then
          writer:write("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
        end
        await(asyncio.sleep(10))
        return "defghij"
      end
      return answer(200, {}, "fresh")
    end, nil, function(session, url)
      for i = 1, 4 do
        local ok = pcall(function()
          if i <= 2 then
            local resp <close> = await(session:get(url "/", { timeout = 1 }))
            await(resp:read())
          else
            await(asyncio.wait_for(function()
              local resp <close> = await(session:get(url "/"))
              await(resp:read())
            end, 1))
          end
        end)
        assert.is_false(ok)
        local resp <close> = await(session:get(url "/"))
        assert.equal("fresh", await(resp:text()))
      end
    end, virtual)
  end)
end)
