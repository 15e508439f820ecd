local asyncio = require "asyncio"
local core = require "http.core"
local helper = require "spec.helper"
local raw = require "spec.bindings.http_raw"
local socket = require "socket"

local get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n"

local hello = async(function(conn)
  for x, _, path in conn do x:respond(200, nil, nil, x:scheme() .. " " .. path) end
end)

describe("a listener of HTTP", function()
  it("is found on unix sockets", function()
    helper.run(async(function()
      local path = helper.tmpfile()
      os.remove(path)
      local server <close> = await(asyncio.start_unix_server(hello, path, { http = core.settings {} }))
      assert.is_truthy(server)
      local reader, writer <close> = await(asyncio.open_unix_connection(path))
      writer:write(get)
      writer:write_eof()
      assert.equal("http /", raw.responses(await(reader:read()))[1].body)
    end))
  end)

  it("refuses what are no settings", function()
    helper.raises("expected", function()
      await(asyncio.start_server(hello, "127.0.0.1", 0, { http = {} }))
    end)
  end)

  it("goes on after it has run out of descriptors", function()
    local script = helper.tmpfile([[
      local asyncio, core, socket = require "asyncio", require "http.core", require "socket"
      asyncio.run(async(function()
        asyncio.get_running_loop():set_exception_handler(function() end)
        local server = await(asyncio.start_server(async(function(conn)
          for x in conn do x:respond(200, nil, { "Connection", "close" }, "served") end
        end), "127.0.0.1", 0, { http = core.settings {} }))
        local _, port = server.sockets[1]:getsockname()
        local held = {}
        while true do
          local ok, s = pcall(socket.socket)
          if not ok then break end
          held[#held + 1] = s
        end
        for i = 1, #held do pcall(await, asyncio.wait_for(held[i]:connect("127.0.0.1", port), 0.2)) end
        await(asyncio.sleep(0.05))
        for i = 1, #held do held[i]:close() end
        await(asyncio.sleep(0.05))
        local reader, writer = await(asyncio.open_connection("127.0.0.1", port))
        writer:write("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        print(await(reader:read()):match("served"), #held > 5)
        writer:close()
        server:close()
      end))
    ]])
    local _, out = helper.sh(("ulimit -n 40; exec %s %s 2>&1"):format(helper.moonloop, script))
    assert.equal("served\ttrue\n", out)
  end)

  it("holds many idle connections, and serves among them", function()
    helper.run(async(function()
      local server <close> = await(asyncio.start_server(hello, "127.0.0.1", 0, {
        http = core.settings { release_after = 0.1 }, backlog = 1000,
      }))
      local _, port = server.sockets[1]:getsockname()
      local held = {}
      for i = 1, 300 do
        local s = socket.socket()
        await(s:connect("127.0.0.1", port))
        await(s:sendall(get))
        held[i] = s
      end
      await(asyncio.sleep(1))
      for i = 1, 300, 7 do
        await(held[i]:recv(10000))
        await(held[i]:sendall(get))
        assert.match("200 OK", await(held[i]:recv(10000)))
      end
      for i = 1, 300 do held[i]:close() end
      await(asyncio.sleep(1))
    end))
  end)
end)
