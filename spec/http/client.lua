--- A client for specs: a request as it is written, the answer taken apart without any help of the library.

local asyncio = require "asyncio"
local helper = require "spec.helper"

local M = {}

--- Sends a request and reads the answer to the end of the connection.
---@param port integer
---@param method string
---@param target string
---@param headers? table<string, string>
---@param body? string
---@return table { status, reason, headers (names in lower case), body, raw }
function M.request(port, method, target, headers, body)
  local reader, writer = asyncio.await(asyncio.open_connection("127.0.0.1", port))
  local _ <close> = writer
  local lines = { ("%s %s HTTP/1.1"):format(method, target), "Host: 127.0.0.1", "Connection: close" }
  for name, value in pairs(headers or {}) do lines[#lines + 1] = name .. ": " .. value end
  if body then lines[#lines + 1] = "Content-Length: " .. #body end
  writer:write(table.concat(lines, "\r\n") .. "\r\n\r\n" .. (body or ""))
  return M.parse(asyncio.await(asyncio.wait_for(reader:read(), 60 * helper.slow)))
end

local function dechunk(data)
  local out, at = {}, 1
  while true do
    local size, from = data:match("^(%x+)[^\r]*\r\n()", at)
    assert(size, "a chunk is malformed")
    size = tonumber(size, 16)
    if size == 0 then return table.concat(out) end
    out[#out + 1] = data:sub(from, from + size - 1)
    at = from + size
    assert(data:sub(at, at + 1) == "\r\n", "a chunk is not ended")
    at = at + 2
  end
end

--- Takes a whole answer apart.
function M.parse(raw)
  local head, from = raw:match("^(.-)\r\n\r\n()")
  assert(head, "no answer: " .. raw:sub(1, 100))
  local status, reason = head:match("^HTTP/1%.[01] (%d%d%d) ?([^\r\n]*)")
  local headers = {}
  for name, value in head:gmatch("\r\n([^:\r\n]+): ?([^\r\n]*)") do
    name = name:lower()
    headers[name] = headers[name] and headers[name] .. ", " .. value or value
  end
  local body = raw:sub(from)
  if headers["transfer-encoding"] == "chunked" and body ~= "" then body = dechunk(body) end
  return { status = tonumber(status), reason = reason, headers = headers, body = body, raw = raw }
end

return M
