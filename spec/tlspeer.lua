--- Both sides of TLS for specs, with the certificates of spec.certs: a server that sends back what comes, and
--- connections to it.

local asyncio = require "asyncio"
local certs = require "spec.certs"

local M = {}

--- Sends back what comes, until the end; what a client that goes does to it is no matter. Closes the writer.
M.echo = async(function(reader, writer)
  asyncio.catch(function()
    while true do
      local data = await(reader:read(65536))
      if not data then break end
      writer:write(data)
      await(writer:drain())
    end
  end)
  writer:close()
end)

--- A server on 127.0.0.1, of echo unless `cb` is given, and its port. `opts` are start_server's.
---@param cb function?
---@param opts table?
function M.serve(cb, opts)
  opts = opts or {}
  opts.ssl = opts.ssl or certs.server()
  local server = await(asyncio.start_server(cb or M.echo, "127.0.0.1", 0, opts))
  return server, server.sockets[1].port
end

--- What open_connection needs for a connection that asks for localhost, and `opts`.
---@param opts table?
---@return table
function M.options(opts)
  local all = { ssl = certs.client(), server_hostname = "localhost" }
  for k, v in pairs(opts or {}) do all[k] = v end
  return all
end

--- A connection to 127.0.0.1:port that asks for localhost, unless `opts`, which are open_connection's, say otherwise.
---@param port integer
---@param opts table?
function M.open(port, opts)
  return await(asyncio.open_connection("127.0.0.1", port, M.options(opts)))
end

return M
