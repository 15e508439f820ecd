local asyncio = require "asyncio"
local core = require "http.core"
local helper = require "spec.helper"
local raw = require "spec.bindings.http_raw"

local function post(length, body, more)
  return ("POST / HTTP/1.1\r\nHost: a\r\n%sContent-Length: %d\r\n\r\n%s"):format(more or "", length, body)
end
local chunked = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"

--- What f raises, as text, after its awaits.
local function raised(f)
  local ok, err = pcall(f)
  assert(not ok, "nothing was raised")
  return err
end

describe("x:read", function()
  it("gives the whole body, once", function()
    raw.serve(function(x)
      local first, second = await(x:read()), await(x:read())
      return x:respond(200, nil, nil, first .. "|" .. second)
    end, function(peer)
      for _, text in ipairs { post(5, "hello"), chunked .. "2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n" } do
        assert.equal("hello|", raw.responses(peer.talk(text))[1].body)
        assert.equal("hello|", raw.responses(peer.bytewise(text))[1].body)
      end
      assert.equal("|", raw.responses(peer.talk("GET / HTTP/1.1\r\nHost: a\r\n\r\n"))[1].body)
    end)
  end)

  it("gives large ones", function()
    local size = 3000000
    raw.serve(function(x)
      await(asyncio.sleep(1)) -- more than the mark waits outside
      local body = await(x:read())
      return x:respond(200, nil, nil, ("%d %s"):format(#body, body:sub(-5)))
    end, function(peer)
      local body = ("0123456789"):rep(size // 10 - 1) .. "abcdefghij"
      assert.equal("3000000 fghij", raw.responses(peer.talk(post(size, body)))[1].body)
      assert.equal("3000000 fghij", raw.responses(peer.talk(chunked .. ("%x\r\n"):format(size) .. body .. "\r\n0\r\n\r\n"))[1].body)
    end)
  end)

  it("refuses more than its limit, at once where the length is known", function()
    local errors = {}
    raw.serve(function(x)
      local err = raised(function() await(x:read(4)) end)
      errors[#errors + 1] = err
      return x:respond(err.status, nil, nil, err.message)
    end, function(peer)
      for _, text in ipairs { post(5, "hello"), post(1 << 40, ""), chunked .. "5\r\nhello\r\n", chunked .. "4\r\nhell\r\n1\r\no" } do
        local all = raw.responses(peer.hold(text))
        assert.equal(413, all[1].status)
        assert.equal("close", all[1].headers.connection)
        assert.equal(1, #all)
      end
      assert.is_true(asyncio.isinstance(errors[1], core.PayloadTooLarge))
      assert.equal("PayloadTooLarge: the request's body has more than 4 bytes", tostring(errors[1]))
    end)
    raw.serve(function(x) return x:respond(200, nil, nil, await(x:read(5))) end, function(peer)
      assert.equal("hello", raw.responses(peer.talk(post(5, "hello")))[1].body)
      assert.equal("hello", raw.responses(peer.talk(chunked .. "5\r\nhello\r\n0\r\n\r\n"))[1].body)
    end)
  end)

  it("raises what has become of a body that never came", function()
    local errors = {}
    raw.serve(function(x)
      errors[#errors + 1] = raised(function() await(x:read()) end)
      return x:respond(errors[#errors].status or 500)
    end, function(peer)
      peer.talk(post(5, "hel"))
      assert.equal("ECONNRESET", errors[1].code)
      assert.same({ 400 }, raw.statuses(peer.hold(chunked .. "2\r\nhe\r\n", "nonsense\r\n")))
      assert.equal("BadRequest", errors[2].name, tostring(errors[2]))
      assert.is_true(asyncio.isinstance(errors[2], core.BadRequest))
      assert.same({ 408 }, raw.statuses(peer.hold(post(5, "hel"))))
      assert.is_true(asyncio.isinstance(errors[3], core.RequestTimeout))
      assert.same({ 400, 408 }, { peer.bad[1][1], peer.bad[2][1] })
    end)
  end)

  it("can be cancelled and awaited again", function()
    raw.serve(function(x)
      local ok = pcall(await, asyncio.wait_for(x:read(), 1))
      assert(not ok)
      return x:respond(200, nil, nil, await(x:read()))
    end, function(peer)
      local reader, writer <close> = peer.connect()
      writer:write(post(5, "hel"))
      await(asyncio.sleep(5))
      writer:write("lo")
      writer:write_eof()
      assert.equal("hello", raw.responses(await(reader:read()))[1].body)
    end)
  end)

  it("is for one task at a time", function()
    raw.serve(function(x)
      local first = asyncio.create_task(x:read())
      await(asyncio.sleep(0))
      local said = tostring(raised(function() await(x:read()) end))
      local also = tostring(raised(function() x:content() end))
      await(first)
      helper.raises("limit of 0", x.read, x, -1)
      return x:respond(200, nil, nil, said .. "\n" .. also)
    end, function(peer)
      local body = raw.responses(peer.talk(post(5, "hel"), "lo"))[1].body
      assert.match("another task reads the body.*another task reads the body", body)
    end)
  end)

  it("raises when the request is over before", function()
    local err
    raw.serve(function(x)
      local task = asyncio.create_task(function() err = raised(function() await(x:read()) end) end)
      await(asyncio.sleep(0))
      x:respond(200)
      return task and nil
    end, function(peer)
      assert.same({ 200 }, raw.statuses(peer.talk(post(5, "hel"), "", "lo")))
      assert.match("the request is over", tostring(err))
    end)
  end)
end)

describe("x:content", function()
  it("is one StreamReader, fed as the task reads", function()
    raw.serve(function(x)
      local reader = x:content()
      assert(reader == x:content())
      local lines = {}
      for line in reader:lines() do lines[#lines + 1] = line end
      helper.raises("use content", function() await(x:read()) end)
      return x:respond(200, nil, nil, table.concat(lines, ","))
    end, function(peer)
      for _, text in ipairs { post(10, "one\ntwo\n3\n"), chunked .. "5\r\none\nt\r\n5\r\nwo\n3\n\r\n0\r\n\r\n" } do
        assert.equal("one,two,3", raw.responses(peer.talk(text))[1].body)
        assert.equal("one,two,3", raw.responses(peer.bytewise(text))[1].body)
      end
      assert.equal("", raw.responses(peer.talk(post(0, "")))[1].body)
    end)
  end)

  it("goes on to the next request when the end of a body had come before it was read", function()
    raw.serve(function(x)
      local reader = x:content()
      local got = 0
      while true do
        local data = await(reader:read(10000))
        if not data then break end
        if got == 0 then await(asyncio.sleep(1)) end -- the rest comes meanwhile, as much of it as it takes
        got = got + #data
      end
      return x:respond(200, nil, nil, tostring(got))
    end, function(peer)
      for size = 100000, 400000, 10007 do
        local reader, writer <close> = peer.connect()
        for _ = 1, 2 do
          writer:write(post(size, ("x"):rep(size)))
          local head = await(reader:readuntil("\r\n\r\n"))
          assert.equal(tostring(size), await(reader:readexactly(tonumber(head:match("Content%-Length: (%d+)")))))
        end
      end
    end)
  end)

  it("takes no more than it can hold from a peer that is faster", function()
    local sent, most = 0, 0
    raw.serve(function(x)
      local reader = x:content()
      local got = 0
      while true do
        await(asyncio.sleep(1))
        local data = await(reader:read(100000))
        if not data then break end
        got = got + #data
        if sent - got > most then most = sent - got end
      end
      return x:respond(200, nil, nil, tostring(got))
    end, function(peer)
      local n = 12000000
      local reader, writer <close> = peer.connect()
      writer:write(post(n, ""))
      for _ = 1, n // 100000 do
        writer:write(("x"):rep(100000))
        sent = sent + 100000
        await(writer:drain())
      end
      writer:write_eof()
      assert.equal(tostring(n), raw.responses(await(reader:read()))[1].body)
      assert.is_true(most < 9000000, most)
    end)
  end)

  it("raises what has become of the rest", function()
    local errors = {}
    raw.serve(function(x)
      local reader = x:content()
      assert(await(reader:readexactly(3)) == "hel")
      errors[#errors + 1] = raised(function() await(reader:read()) end)
      return x:respond(errors[#errors].status or 500)
    end, function(peer)
      peer.talk(post(5, "hel"), "")
      assert.equal("ECONNRESET", errors[1].code)
      peer.hold(chunked .. "3\r\nhel\r\n", "nonsense\r\n")
      assert.is_true(asyncio.isinstance(errors[2], core.BadRequest))
      peer.hold(post(5, "hel"))
      assert.is_true(asyncio.isinstance(errors[3], core.RequestTimeout))
    end)
  end)

  it("says so when the request is over before its end", function()
    local kept
    raw.serve(function(x)
      kept = x:content()
      return x:respond(200)
    end, function(peer)
      assert.same({ 200, 200 }, raw.statuses(peer.talk(post(5, "hello") .. post(3, "abc"))))
      local first = kept
      assert.equal("abc", await(first:read())) -- it was there in full
      local reader, writer <close> = peer.connect()
      writer:write(post(5, "hel"))
      await(reader:readuntil("\r\n\r\n"))
      assert.match("the request is over", tostring(raised(function() await(kept:read()) end)))
      writer:write("lo" .. post(0, ""))
      await(reader:readuntil("\r\n\r\n"))
    end)
  end)

  it("is streamed back while it comes", function()
    raw.serve(function(x)
      x:start(200)
      while true do
        local data = await(x:content():read(1000))
        if not data then break end
        local drained = x:write(data)
        if drained then await(drained) end
      end
      return x:finish()
    end, function(peer)
      local reader, writer <close> = peer.connect()
      writer:write(chunked)
      await(reader:readuntil("\r\n\r\n"))
      for i = 1, 5 do
        writer:write(("1\r\n%d\r\n"):format(i))
        assert.equal(("1\r\n%d\r\n"):format(i), await(reader:readexactly(6)))
      end
      writer:write("0\r\n\r\n")
      assert.equal("0\r\n\r\n", await(reader:readexactly(5)))
    end)
  end)
end)

describe("a peer that waits for 100 Continue", function()
  local expect = "Expect: 100-continue\r\n"

  it("gets it when the body is asked for", function()
    for _, how in ipairs { function(x) return await(x:read()) end, function(x) return await(x:content():read()) end } do
      raw.serve(function(x) return x:respond(200, nil, nil, how(x)) end, function(peer)
        local reader, writer <close> = peer.connect()
        writer:write(post(5, "", expect))
        assert.equal("HTTP/1.1 100 Continue\r\n\r\n", await(reader:readuntil("\r\n\r\n")))
        writer:write("hello")
        assert.match("200 OK", await(reader:readuntil("\r\n\r\n")))
        assert.equal("hello", await(reader:readexactly(5)))
        writer:write(post(5, "hello", expect)) -- did not wait: no 100
        assert.match("200 OK", await(reader:readuntil("\r\n\r\n")))
      end)
    end
  end)

  it("gets the answer alone where the body is not wanted, and the connection ends", function()
    raw.serve(function(x) return x:respond(403, nil, nil, "no") end, function(peer)
      local all = raw.responses(peer.hold(post(5, "", expect)))
      assert.equal(1, #all)
      assert.same({ 403, "close" }, { all[1].status, all[1].headers.connection })
    end)
    raw.serve(function(x)
      local ok, err = pcall(await, x:read(4))
      assert(not ok)
      return x:respond(err.status)
    end, function(peer)
      assert.same({ 413 }, raw.statuses(peer.hold(post(5, "", expect))))
    end)
  end)
end)
