--- For the specs of http.client.core: servers on the loopback that say exactly what they are told to.

local asyncio = require "asyncio"
local core = require "http.client.core"
local helper = require "spec.helper"

local M = {}

--- The next request's head, and its body if the head tells its length; nil at the end.
function M.request(reader)
  local ok, head = pcall(function() return await(reader:readuntil("\r\n\r\n")) end)
  if not ok then return nil end
  local n = tonumber(head:lower():match("\r\ncontent%-length: (%d+)") or 0)
  return head, n > 0 and await(reader:readexactly(n)) or ""
end

--- Serves with talk(reader, writer) for each connection and runs body(peer) on a virtual clock. peer: `connect()` gives a
--- connection, `port`, `freed` (the connections that on_free was called with), `settings`.
function M.serve(talk, body, options)
  helper.run(async(function()
    local peer = { freed = {} }
    options = options or {}
    options.on_free = options.on_free or function(conn) peer.freed[#peer.freed + 1] = conn end
    peer.settings = core.settings(options)
    local server <close> = await(asyncio.start_server(async(function(reader, writer)
      local ok, err = pcall(talk, reader, writer)
      writer:close()
      if not ok and not asyncio.isinstance(err, asyncio.OSError) then error(err, 0) end
    end), "127.0.0.1", 0))
    peer.port = select(2, server.sockets[1]:getsockname())
    local conns = {}
    function peer.connect()
      local reader, writer = await(asyncio.open_connection("127.0.0.1", peer.port))
      local conn = core.connection(reader, writer, peer.settings)
      conns[#conns + 1] = conn
      return conn
    end
    body(peer)
    for _, conn in ipairs(conns) do conn:close() end
  end))
end

--- Serves connections that give the answers one after the other, one for each request, then end; a table is an answer in pieces.
--- `seen` has what was asked.
function M.answers(list, body, options)
  local seen = {}
  M.serve(function(reader, writer)
    for _, answer in ipairs(list) do
      local head, sent = M.request(reader)
      if not head then return end
      seen[#seen + 1] = head .. sent
      for i, piece in ipairs(type(answer) == "table" and answer or { answer }) do
        for _ = 1, i > 1 and 3 or 0 do await(asyncio.sleep(0)) end
        if writer:is_closing() then return end
        writer:write(piece)
      end
    end
    if list.open then await(reader:read()) end
  end, function(peer)
    peer.seen = seen
    body(peer)
  end, options)
end

--- What a GET on a new connection is answered with by these bytes and the end: {status, body}, or the error's name and text.
function M.get(bytes, options, method)
  local result
  M.answers({ bytes }, function(peer)
    local conn = peer.connect()
    local x = conn:request(method or "GET", "/", { "Host", "h" })
    local ok, err = pcall(function()
      local status = await(x:response())
      result = { status, await(x:read()), x:over(), conn:free() }
    end)
    if not ok then result = { tostring(err) } end
  end, options)
  return table.unpack(result)
end

M.ok = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"

return M
