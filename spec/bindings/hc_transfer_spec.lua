local asyncio = require "asyncio"
local fs = require "fs"
local hc = require "spec.bindings.hc_raw"
local helper = require "spec.helper"
require "http.client.sendfile"

local ok = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"

describe("another protocol", function()
  local function echoing(first)
    return function(reader, writer)
      await(reader:readuntil("\r\n\r\n"))
      writer:write(first)
      while true do
        local data = await(reader:read(100))
        if not data then break end
        writer:write(data:upper())
      end
    end
  end

  it("takes the stream over after 101", function()
    hc.serve(echoing("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nfirst"), function(peer)
      local conn = peer.connect()
      local x = conn:request("GET", "/", { "Upgrade", "x", "Connection", "upgrade" })
      helper.raises("has not answered that it changes", x.upgrade, x)
      assert.equal(101, await(x:response()))
      assert.equal("x", x:header("upgrade"))
      helper.raises("is over", function() await(x:read()) end)
      assert.is_nil(x:take())
      local reader, writer <close> = x:upgrade()
      assert.equal("first", await(reader:readexactly(5)))
      writer:write("abc")
      assert.equal("ABC", await(reader:readexactly(3)))
      assert.is_true(x:over())
      assert.equal(0, conn:free())
      assert.is_true(conn:is_closing())
      conn:close()
      conn = nil
      helper.raises("the request is over", x.upgrade, x)
      x = nil
      collectgarbage()
      collectgarbage()
      writer:write("d")
      assert.equal("D", await(reader:readexactly(1)))
      assert.is_nil(conn or x)
    end)
  end)

  it("takes the stream over after CONNECT", function()
    hc.serve(echoing("HTTP/1.1 200 Established\r\nTransfer-Encoding: gzip\r\n\r\n"), function(peer)
      local x = peer.connect():request("CONNECT", "example.org:443", { "Host", "example.org:443" })
      assert.equal(200, await(x:response()))
      local reader, writer <close> = x:upgrade()
      writer:write("abc")
      assert.equal("ABC", await(reader:readexactly(3)))
    end)
    hc.answers({ "HTTP/1.1 407 No\r\nContent-Length: 2\r\n\r\nno", open = true }, function(peer)
      local conn = peer.connect()
      local x = conn:request("CONNECT", "example.org:443")
      assert.equal(407, await(x:response()))
      helper.raises("has not answered that it changes", x.upgrade, x)
      assert.equal("no", await(x:read()))
      assert.equal(1, conn:free())
    end)
  end)

  it("is told of what has come and of the end", function()
    hc.answers({ "HTTP/1.1 101 Switching Protocols\r\n\r\n" .. ("x"):rep(300000) }, function(peer)
      local x = peer.connect():request("GET", "/")
      assert.equal(101, await(x:response()))
      await(asyncio.sleep(1))
      local reader, writer <close> = x:upgrade()
      assert.equal(300000, #await(reader:read()))
      assert.is_false(writer:is_closing())
    end)
    hc.answers({ "HTTP/1.1 101 Switching Protocols\r\n\r\n", open = true }, function(peer)
      local conn = peer.connect()
      local x = conn:request("GET", "/")
      assert.equal(101, await(x:response()))
      assert.is_false(x:discard())
      assert.is_true(conn:is_closing())
      helper.raises("the connection was closed", x.upgrade, x)
    end)
  end)
end)

describe("a file", function()
  local function serve(body)
    local got
    hc.serve(function(reader, writer)
      for _ = 1, 2 do
        local read, head = pcall(function() return await(reader:readuntil("\r\n\r\n")) end)
        if not read then return end
        local n = tonumber(head:match("Content%-Length: (%d+)"))
        if n then
          got = await(reader:readexactly(n))
        else
          got = ""
          while true do
            local size = tonumber(await(reader:readline()):match("%x+"), 16)
            got = got .. await(reader:readexactly(size))
            await(reader:readexactly(2))
            if size == 0 then break end
          end
        end
        writer:write(ok)
      end
      await(reader:read())
    end, function(peer) body(peer, function() return got end) end)
  end

  it("is sent by the kernel, or in chunks", function()
    local text = ("0123456789"):rep(500000)
    local path = helper.tmpfile(text)
    serve(function(peer, got)
      local conn = peer.connect()
      local file <close> = await(fs.open(path))
      local x = conn:request("PUT", "/", nil, #text + 2)
      x:write("a")
      assert.equal(#text, await(x:sendfile(file, 0, #text)))
      x:write("b")
      x:finish()
      assert.equal(200, await(x:response()))
      assert.equal("hello", await(x:read()))
      assert.is_true(got() == "a" .. text .. "b")
      assert.equal(1, conn:free())
      x = conn:request("PUT", "/", nil, true)
      assert.equal(99995, await(x:sendfile(file, 5, 99995)))
      x:finish()
      assert.equal(200, await(x:response()))
      assert.is_true(got() == text:sub(6, 100000))
    end)
  end)

  it("is not sent beyond the request's length, nor after its end", function()
    local path = helper.tmpfile("0123456789")
    serve(function(peer)
      local conn = peer.connect()
      local file <close> = await(fs.open(path))
      local x = conn:request("PUT", "/", nil, 5)
      helper.raises("1 bytes more than the request's length", function() await(x:sendfile(file, 0, 6)) end)
      assert.equal(5, await(x:sendfile(file, 2, 5)))
      x:finish()
      helper.raises("sent to its end", function() await(x:sendfile(file, 0, 1)) end)
      assert.equal(200, await(x:response()))
      assert.equal("hello", await(x:read()))
      helper.raises("the request is over", function() await(x:sendfile(file, 0, 1)) end)
    end)
  end)

  it("that is cancelled on its way drops the connection", function()
    local path = helper.tmpfile(("x"):rep(16 << 20))
    hc.serve(function(reader) await(asyncio.sleep(100)) return reader end, function(peer)
      local conn = peer.connect()
      local file <close> = await(fs.open(path))
      local x = conn:request("PUT", "/", nil, 16 << 20)
      helper.raises(asyncio.TimeoutError, function() await(asyncio.wait_for(x:sendfile(file, 0, 16 << 20), 1)) end)
      assert.is_true(conn:is_closing())
    end)
  end)

  it("waits for the server no longer than the exchange may take", function()
    local path = helper.tmpfile(("x"):rep(16 << 20))
    hc.serve(function(reader) await(asyncio.sleep(100)) return reader end, function(peer)
      local file <close> = await(fs.open(path))
      local x = peer.connect():request("PUT", "/", nil, 16 << 20)
      x:deadline(asyncio.get_running_loop():time() + 5)
      helper.raises(asyncio.TimeoutError, function() await(x:sendfile(file, 0, 16 << 20)) end)
    end)
  end)
end)
