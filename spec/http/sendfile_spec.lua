--- x:sendfile: files as bodies, whatever the peer, the file and the connection do.

local asyncio = require "asyncio"
local client = require "spec.http.client"
local fs = require "fs"
local helper = require "spec.helper"
local http = require "http.core"
require "http.sendfile"

local MB = 1024 * 1024

--- A file of so many bytes, no two pieces of which are alike.
local function make(size)
  local block = {}
  for i = 1, 250 do block[i] = ("%015d\n"):format(i * 7919) end
  local filler, pieces = table.concat(block), {}
  for i = 1, size // #filler + 1 do pieces[i] = ("%015d\n"):format(i) .. filler end
  local data = table.concat(pieces):sub(1, size)
  return helper.tmpfile(data), data
end

--- Serves each request by f(x, file); gives the port to g.
local function serve(path, f, g, opts, limits)
  helper.run_with_loop(function()
    local settings = http.settings { on_bad = function() end, send_timeout = limits and limits.send_timeout }
    local handler = async(function(conn)
      for x in conn do
        local file <close> = await(fs.open(path))
        f(x, file)
      end
    end)
    local all = { http = settings }
    for k, v in pairs(opts or {}) do all[k] = v end
    local server = await(asyncio.start_server(handler, "127.0.0.1", 0, all))
    local ok, err = asyncio.catch(g, server.sockets[1].port)
    server:close()
    settings:shutdown()
    await(server:wait_closed())
    if not ok then error(err, 0) end
  end)
end

local function whole(size)
  return function(x, file)
    x:start(200, nil, nil, size)
    assert(await(x:sendfile(file, 0, size)) == size)
    local drain = x:finish()
    if drain then await(drain) end
  end
end

describe("x:sendfile", function()
  it("sends a file, or a part of it, between other parts", function()
    local path, data = make(300000 // 16 * 16)
    serve(path, function(x, file)
      x:start(200, nil, nil, 100007)
      x:write("one")
      assert(await(x:sendfile(file, 1000, 100000)) == 100000)
      x:write("four")
      x:finish()
      assert(x:sent() == 100007)
    end, function(port)
      assert.equal("one" .. data:sub(1001, 101000) .. "four", client.request(port, "GET", "/").body)
    end)
  end)

  it("waits for a peer that reads slowly, and others are served meanwhile", function()
    local size = 12 * MB
    local path, data = make(size)
    serve(path, whole(size), function(port)
      local reader, writer = await(asyncio.open_connection("127.0.0.1", port, { limit = 4096 }))
      writer:write("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
      await(asyncio.sleep(0.05))
      assert.equal(size, #client.request(port, "GET", "/").body)
      assert.is_true(client.parse(await(reader:read())).body == data)
      writer:close()
    end)
  end)

  it("sends what is not in memory", function()
    local size = 2 * MB
    local path, data = make(size)
    assert(os.execute(("sync %s && dd if=%s iflag=nocache count=0 2>/dev/null"):format(path, path)))
    serve(path, whole(size), function(port) assert.is_true(client.request(port, "GET", "/").body == data) end)
  end)

  it("does without the kernel where it must: chunks, TLS", function()
    local size = 200000 // 16 * 16
    local path, data = make(size)
    local function chunked(x, file)
      x:start(200)
      assert(await(x:sendfile(file, 0, size)) == size)
      x:finish()
    end
    serve(path, chunked, function(port)
      local r = client.request(port, "GET", "/")
      assert.equal("chunked", r.headers["transfer-encoding"])
      assert.is_true(r.body == data)
    end)
    if not helper.has_tls() then return end
    local certs = require "spec.certs"
    serve(path, whole(size), function(port)
      local reader, writer = await(asyncio.open_connection("127.0.0.1", port,
        { ssl = certs.client(), server_hostname = "localhost" }))
      writer:write("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
      assert.is_true(client.parse(await(reader:read())).body == data)
      writer:close()
    end, { ssl = certs.server("good") })
  end)

  it("sends nothing to HEAD", function()
    local path = make(100000 // 16 * 16)
    serve(path, whole(99984), function(port)
      local r = client.request(port, "HEAD", "/")
      assert.same({ "", "99984" }, { r.body, r.headers["content-length"] })
    end)
  end)

  it("tells of a file that ends before", function()
    local path, data = make(160000)
    local sent
    serve(path, function(x, file)
      x:start(200, nil, nil, 200000)
      sent = await(x:sendfile(file, 0, 200000))
      x:abort()
    end, function(port)
      local _, r = pcall(client.request, port, "GET", "/")
      assert.equal(160000, sent)
      assert.is_true(type(r) ~= "table" or not r.body or #r.body < 200000)
      assert.equal(160000, #data)
    end)
  end)

  it("raises when the peer goes away, and harms nobody else", function()
    local size = 12 * MB
    local path, data = make(size)
    local failed
    serve(path, function(x, file)
      x:start(200, nil, nil, size)
      local ok, err = pcall(await, x:sendfile(file, 0, size))
      if not ok then failed = err else x:finish() end
      if not ok then error(err, 0) end
    end, function(port)
      local loop = asyncio.get_running_loop()
      loop:set_exception_handler(function() end)
      local reader, writer = await(asyncio.open_connection("127.0.0.1", port, { limit = 1024 }))
      writer:write("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
      await(reader:readexactly(1000))
      writer.transport:abort()
      helper.eventually(function() return failed end)
      assert.is_true(asyncio.isinstance(failed, asyncio.OSError), tostring(failed))
      assert.is_true(client.request(port, "GET", "/").body == data)
    end)
  end)

  it("drops a peer that takes nothing for send_timeout", function()
    local size = 12 * MB
    local path = make(size)
    local failed
    serve(path, function(x, file)
      x:start(200, nil, nil, size)
      local ok, err = asyncio.catch(await, x:sendfile(file, 0, size))
      failed = not ok and err
      error(err, 0)
    end, function(port)
      asyncio.get_running_loop():set_exception_handler(function() end)
      local reader, writer = await(asyncio.open_connection("127.0.0.1", port, { limit = 1024 }))
      writer:write("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
      await(reader:readexactly(1000))
      helper.eventually(function() return failed end)
      assert.is_true(asyncio.isinstance(failed, asyncio.TimeoutError), tostring(failed))
      writer:close()
    end, nil, { send_timeout = 0.1 })
  end)

  it("can be cancelled while it waits: the connection is dropped", function()
    local size = 12 * MB
    local path = make(size)
    local task, over
    serve(path, function(x, file)
      x:start(200, nil, nil, size)
      task = asyncio.current_task()
      local ok, err = asyncio.catch(await, x:sendfile(file, 0, size))
      over = not ok and err
      x:abort()
      error(err, 0)
    end, function(port)
      local reader, writer = await(asyncio.open_connection("127.0.0.1", port, { limit = 1024 }))
      writer:write("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
      await(reader:readexactly(1000))
      await(asyncio.sleep(0.02))
      task:cancel()
      helper.eventually(function() return over end)
      assert.is_true(asyncio.isinstance(over, asyncio.CancelledError))
      local ok, rest = pcall(await, reader:read())
      assert.is_true(not ok or #rest < size)
      writer:close()
    end)
  end)

  it("refuses misuse", function()
    local path = make(1600)
    serve(path, function(x, file)
      helper.raises(asyncio.RuntimeError, await, x:sendfile(file, 0, 10))
      x:start(200, nil, nil, 10)
      helper.raises(asyncio.ValueError, await, x:sendfile(file, 0, 11))
      helper.raises(asyncio.ValueError, x.sendfile, x, file, -1, 5)
      helper.raises(asyncio.ValueError, x.sendfile, x, file, 0, 1.5)
      helper.raises(asyncio.TypeError, await, x:sendfile({}, 0, 10))
      assert(await(x:sendfile(file, 0, 0)) == 0)
      assert(await(x:sendfile(file, 0, 10)) == 10)
      x:finish()
      helper.raises(asyncio.RuntimeError, await, x:sendfile(file, 0, 1))
    end, function(port) assert.equal("0000000000", client.request(port, "GET", "/").body) end)
  end)
end)
