--- Servers for the specs of the client: an application of http.web, or bytes as a spec writes them.

local asyncio = require "asyncio"
local http = require "http"
local testing = require "http.testing"
local web = require "http.web"

local M = {}

--- Runs f(session, url, server) while the routes are served; url(path) gives a whole URL.
---@param routes table
---@param opts table? the session's
---@param f fun(session: any, url: (fun(path: string): string), server: any)
function M.serve(routes, opts, f)
  return asyncio.run(async(function()
    local app = web.Application { client_max_size = 0 }
    app:add_routes(routes)
    local server <close> = await(testing.TestServer(app):start_server())
    local session <close> = http.ClientSession(opts)
    return f(session, function(path) return server:make_url(path) end, server)
  end))
end

--- Reads a request: { line, text (of the head), headers (names in lower case), body }; nil when there is none.
local function read_request(reader)
  local ok, text = pcall(function() return await(reader:readuntil("\r\n\r\n")) end)
  if not ok then return nil end
  local request = { line = text:match("^[^\r]*"), text = text, headers = {}, body = "" }
  for name, value in text:gmatch("\r\n([^:\r\n]+): ([^\r\n]*)") do request.headers[name:lower()] = value end
  local length = tonumber(request.headers["content-length"] or "0")
  if length > 0 then request.body = await(reader:readexactly(length)) end
  if request.headers["transfer-encoding"] == "chunked" then
    while true do
      local size = tonumber(await(reader:readline()):match("^%x+"), 16)
      request.body = request.body .. await(reader:readexactly(size))
      await(reader:readline())
      if size == 0 then break end
    end
  end
  return request
end
M.read_request = read_request

--- Runs f(session, url, log) while a server answers with what `answer(request, writer, connection, n)` gives: bytes, or
--- nil to close the connection. `connection` counts connections, `n` requests on this one. `log` has the requests.
---@param answer fun(request: table, writer: any, connection: integer, n: integer, reader: any): string?
---@param opts table? the session's
---@param f fun(session: any, url: (fun(path: string): string), log: table[])
---@param how table? { clock = "virtual" }
function M.raw(answer, opts, f, how)
  local main = async(function()
    local log, connections = {}, 0
    local server <close> = await(asyncio.start_server(async(function(reader, writer)
      local _ <close> = writer
      connections = connections + 1
      local connection, n = connections, 0
      while true do
        local request = read_request(reader)
        if not request then return end
        n = n + 1
        request.connection = connection
        log[#log + 1] = request
        local bytes = answer(request, writer, connection, n, reader)
        if not bytes then return end
        writer:write(bytes)
        local ok = pcall(function() await(writer:drain()) end)
        if not ok then return end
      end
    end), "127.0.0.1", 0))
    local _, port = server.sockets[1]:getsockname()
    local session <close> = http.ClientSession(opts)
    local result = f(session, function(path) return ("http://127.0.0.1:%d%s"):format(port, path) end, log)
    await(session:close())
    server:close_clients()
    return result
  end)
  if asyncio.current_task() then return await(main()) end
  return asyncio.run(main, how)
end

--- A whole response.
function M.answer(status, headers, body)
  local lines = { ("HTTP/1.1 %d %s"):format(status, "Whatever") }
  for _, line in ipairs(headers or {}) do lines[#lines + 1] = line end
  if body then lines[#lines + 1] = "Content-Length: " .. #body end
  return table.concat(lines, "\r\n") .. "\r\n\r\n" .. (body or "")
end

return M
