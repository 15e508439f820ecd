--- A WebSocket client for specs: the handshake by hand, then http.websocket's connection; or the bare streams.

local asyncio = require "asyncio"

local M = {}

--- Sends an upgrade request. Returns the answer's status, its headers (by lower-case name), reader and writer.
---@param opts table? {headers: table<string, string|false>, key, extra: bytes sent with the request, ssl, server_hostname, host}
function M.request(port, path, opts)
  opts = opts or {}
  local websocket = require "http.websocket"
  local key = opts.key or websocket.new_key()
  local reader, writer = await(asyncio.open_connection(opts.host or "127.0.0.1", port, {
    ssl = opts.ssl, server_hostname = opts.server_hostname,
  }))
  local headers = {
    Host = "127.0.0.1:" .. port, Upgrade = "websocket", Connection = "Upgrade", ["Sec-WebSocket-Key"] = key,
    ["Sec-WebSocket-Version"] = "13",
  }
  for name, value in pairs(opts.headers or {}) do headers[name] = value or nil end
  local lines = { (opts.method or "GET") .. " " .. (path or "/") .. " HTTP/1.1" }
  for name, value in pairs(headers) do lines[#lines + 1] = name .. ": " .. value end
  writer:write(table.concat(lines, "\r\n") .. "\r\n\r\n" .. (opts.extra or ""))
  local answer = await(reader:readuntil("\r\n\r\n"))
  local got = {}
  for name, value in answer:gmatch("\r\n([^:\r\n]+): ([^\r\n]*)") do got[name:lower()] = value end
  local status = math.tointeger(tonumber(answer:match("^HTTP/1.1 (%d+)")))
  if status == 101 then assert(got["sec-websocket-accept"] == websocket.accept_key(key), "wrong Sec-WebSocket-Accept") end
  return status, got, reader, writer
end

--- Opens a WebSocket: an object with http.websocket's methods; `headers` is the server's answer.
function M.connect(port, path, opts)
  local websocket = require "http.websocket"
  local status, headers, _, writer = M.request(port, path, opts)
  assert(status == 101, "the server answered " .. tostring(status))
  local settings = { deflate = websocket.accept_deflate(headers["sec-websocket-extensions"]) }
  for name, value in pairs(opts and opts.settings or {}) do settings[name] = value end
  local conn = websocket.connect(writer, settings)
  local function drop()
    conn:abort()
    writer:close()
  end
  return setmetatable({ _conn = conn, headers = headers, conn = conn, writer = writer, drop = drop }, {
    __index = websocket.methods, __close = drop,
  })
end

return M
