--- For the specs of http.core: a server on the loopback, and peers that send it bytes.

local asyncio = require "asyncio"
local core = require "http.core"
local helper = require "spec.helper"

local M = {}

--- Sends pieces one after the other, each when what came before has been dealt with, then ends its side (unless `open`
--- is set), and gives all that comes until the server ends its own.
local function exchange(port, pieces)
  local reader, writer <close> = await(asyncio.open_connection("127.0.0.1", port))
  for i, bytes in ipairs(pieces) do
    for _ = 1, i > 1 and 2 or 0 do await(asyncio.sleep(0)) end -- the loop has polled
    if writer:is_closing() then break end
    writer:write(bytes)
  end
  if not pieces.open then writer:write_eof() end
  return await(reader:read())
end

--- Serves with handle(x, method, path), which may give an awaitable, and runs body(peer) on a virtual clock. peer:
--- `talk(bytes...)`, `hold(bytes...)` (does not end its side), `bytewise(bytes)`, `port`, `settings`, `bad` (what on_bad was
--- told), `server`, `conns`.
function M.serve(handle, body, options)
  helper.run(async(function()
    local peer = { bad = {}, conns = {} }
    options = options or {}
    options.on_bad = options.on_bad or function(status, why, from)
      peer.bad[#peer.bad + 1] = { status, why, from and from.host }
    end
    peer.settings = core.settings(options)
    local server <close> = await(asyncio.start_server(async(function(conn)
      peer.conns[#peer.conns + 1] = conn
      for x, method, path in conn do
        local drained = handle(x, method, path)
        if drained then await(drained) end
      end
      peer.ended = (peer.ended or 0) + 1
    end), "127.0.0.1", 0, { http = peer.settings }))
    peer.server = server
    peer.port = select(2, server.sockets[1]:getsockname())
    function peer.talk(...)
      return exchange(peer.port, { ... })
    end
    function peer.hold(...)
      return exchange(peer.port, { open = true, ... })
    end
    function peer.bytewise(bytes)
      local pieces = {}
      for i = 1, #bytes do pieces[i] = bytes:sub(i, i) end
      return exchange(peer.port, pieces)
    end
    function peer.connect()
      return await(asyncio.open_connection("127.0.0.1", peer.port))
    end
    body(peer)
    server:close()
    peer.settings:shutdown()
    peer.conns = nil
  end))
end

--- The responses in what a server has sent: {status, reason, headers = {name = value}, body}. Knows the three framings.
function M.responses(text, methods)
  local all = {}
  local at = 1
  while at <= #text do
    local head, after = text:match("^(.-\r\n)\r\n()", at)
    assert(head, "no head in: " .. text:sub(at, at + 200))
    local r = { headers = {}, head = head }
    r.status, r.reason = head:match("^HTTP/1%.1 (%d%d%d) ([^\r\n]*)\r\n")
    assert(r.status, head)
    r.status = math.tointeger(tonumber(r.status))
    for name, value in head:gmatch("\n([^:\r\n]+): ([^\r\n]*)") do r.headers[name:lower()] = value end
    local method = methods and methods[#all + 1] or "GET"
    if r.status < 200 or r.status == 204 or r.status == 304 or method == "HEAD" then
      r.body = ""
    elseif r.headers["transfer-encoding"] == "chunked" then
      local parts = {}
      repeat
        local size, start = text:match("^(%x+)\r\n()", after)
        assert(size, "no chunk in: " .. text:sub(after, after + 100))
        size = tonumber(size, 16)
        parts[#parts + 1] = text:sub(start, start + size - 1)
        after = start + size
        if size > 0 then
          assert(text:sub(after, after + 1) == "\r\n")
          after = after + 2
        end
      until size == 0
      local trailers, past = text:match("^(.-)\r\n()", after)
      while trailers ~= "" do trailers, past = text:match("^(.-)\r\n()", past) end
      after = past
      r.body = table.concat(parts)
    elseif r.headers["content-length"] then
      local n = tonumber(r.headers["content-length"])
      r.body = text:sub(after, after + n - 1)
      assert(#r.body == n, "body cut short")
      after = after + n
    else
      r.body, after = text:sub(after), #text + 1
    end
    all[#all + 1] = r
    at = after
  end
  return all
end

--- The statuses of the responses in a text.
function M.statuses(text, methods)
  local all = {}
  for i, r in ipairs(M.responses(text, methods)) do all[i] = r.status end
  return all
end

return M
