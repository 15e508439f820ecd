--- Pipes, sockets and terminals that are there already, as streams.

local connections = require "asyncio.connections"
local core = require "asyncio.core"
local net = require "asyncio.net"

local async = core.async

local M = {}

--- What net.open_pipe takes for a pipe, and whether the descriptor stays its owner's.
---@return any descriptor_or_file
---@return boolean keep
function M.descriptor(pipe)
  if math.type(pipe) == "integer" or io.type(pipe) then return pipe, false end
  if type(pipe) ~= "table" and type(pipe) ~= "userdata" then return pipe, false end
  local ok, method = pcall(function() return pipe.fileno end)
  if not ok or type(method) ~= "function" then return pipe, false end
  return method(pipe), true
end

local open_read = async(function(pipe, keep, limit)
  local transport = net.open_pipe(pipe, false, keep)
  local reader = net.new_reader(limit)
  net.attach(transport, reader)
  return reader, transport
end, "connect_read_pipe")

--- Reads from a pipe, a socket or a terminal: a descriptor, which is taken over, a file of io, or an object with
--- fileno().
---@param opts? { limit?: integer }
---@return any awaitable of a StreamReader and its transport, which closes it; raises OSError, ValueError for files
function M.connect_read_pipe(pipe, opts)
  opts = connections.check_options(opts, { "limit" }, "connect_read_pipe")
  local source, keep = M.descriptor(pipe)
  return open_read(source, keep, connections.check_limit(opts.limit, "connect_read_pipe"))
end

local open_write = async(function(pipe, keep)
  return net.new_writer(net.open_pipe(pipe, true, keep))
end, "connect_write_pipe")

--- Writes to one.
---@return any awaitable of a StreamWriter; raises OSError, ValueError for files
function M.connect_write_pipe(pipe)
  local target, keep = M.descriptor(pipe)
  return open_write(target, keep)
end

return M
