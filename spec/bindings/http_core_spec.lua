local asyncio = require "asyncio"
local core = require "http.core"
local helper = require "spec.helper"

--- Serves with `handle(x, method, path)` and runs body(talk, settings): talk(bytes) sends them on a connection of its own
--- and gives all that comes until the end.
local function serve(handle, body, options)
  helper.run(async(function()
    local settings = core.settings(options or {})
    local server <close> = await(asyncio.start_server(async(function(conn)
      for x, method, path in conn do
        local drained = handle(x, method, path)
        if drained then await(drained) end
      end
    end), "127.0.0.1", 0, { http = settings }))
    local _, port = server.sockets[1]:getsockname()
    local function talk(...)
      local reader, writer <close> = await(asyncio.open_connection("127.0.0.1", port))
      for _, bytes in ipairs { ... } do
        writer:write(bytes)
        await(asyncio.sleep(0.01))
      end
      return await(reader:read())
    end
    body(talk, settings, port)
  end))
end

describe("a request", function()
  it("tells what its head says", function()
    local seen
    serve(function(x, method, path)
      seen = {
        method, path, x:method(), x:target(), x:path(), x:query(), x:version(), x:scheme(), x:authority(),
        x:header("accept"), x:header("X-Other"), x:has_body(), x:keep_alive(),
      }
      return x:respond(200, nil, { "X-A", "1" }, "hello")
    end, function(talk)
      local answer = talk("GET /a/b?c=d HTTP/1.1\r\nHost: example.org\r\nAccept:  text/html  \r\nConnection: close\r\n\r\n")
      assert.same({
        "GET", "/a/b", "GET", "/a/b?c=d", "/a/b", "c=d", "1.1", "http", "example.org", "text/html", nil, false, false,
      }, seen)
      assert.match("^HTTP/1.1 200 OK\r\nX%-A: 1\r\nContent%-Length: 5\r\nDate: .- GMT\r\nServer: moonloop/[%d.]+\r\n" ..
        "Connection: close\r\n\r\nhello$", answer)
    end)
  end)
end)
