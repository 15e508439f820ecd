--- Streams: open_connection, start_server and the unix variants; what readers, writers and servers have beside what
--- asyncio.net gives them; and the loop's methods for connections and protocols (asyncio.protocols).

local connections = require "asyncio.connections"
local core = require "asyncio.core"
local net = require "asyncio.net"

local async, await, catch = core.async, core.await, core.catch
local metatables = net.metatables

local M = {}

-- ---- StreamReader ----

local Reader = net.StreamReader

--- Iterates over the lines that come, without their line breaks. Awaits by itself.
---@return fun(): string?
function Reader:lines()
  return function()
    local line = await(self:readline())
    if line and line:byte(-1) == 10 then return line:sub(1, -2) end
    return line
  end
end

function Reader:__aiter()
  return self
end

function Reader:__anext()
  return self:readline()
end

--- `asyncio.StreamReader{limit = 65536}`: a reader that is fed by hand.
M.StreamReader = setmetatable({ methods = Reader }, {
  __name = "class StreamReader",
  __call = function(_, opts)
    core.options(opts, { "limit", "loop" }, "StreamReader")
    return net.new_reader(connections.check_limit(opts and opts.limit, "StreamReader"))
  end,
})

-- ---- StreamWriter and Transport ----

local Writer, Transport = net.StreamWriter, net.Transport

--- What get_extra_info("socket") gives.
local Socket = {}
Socket.__index = Socket
Socket.__name = "Socket"

--- The address and, as a second value, the port; or the path.
function Socket:getsockname()
  return connections.name(self.owner:get_extra_info("sockname"))
end

function Socket:getpeername()
  return connections.name(self.owner:get_extra_info("peername"))
end

function Socket:fileno()
  return net.fileno(self.owner) or -1
end

--- Options by name: "TCP_NODELAY", "SO_KEEPALIVE", "SO_SNDBUF", "SO_RCVBUF", "SO_LINGER" (seconds, or -1).
function Socket:setsockopt(name, value)
  net.sockopt(self.owner, name, value)
end

function Socket:getsockopt(name)
  return net.sockopt(self.owner, name)
end

function Socket:__tostring()
  local owner = self.owner
  return ("<Socket laddr=%s raddr=%s>"):format(owner:get_extra_info("sockname"), owner:get_extra_info("peername"))
end

local sockets = setmetatable({}, { __mode = "k" })
local extra_info = Writer.get_extra_info

local start_tls = async(function(self, set)
  await(self:drain())
  require("asyncio.secure").handshake(self, set)
end, "StreamWriter.start_tls")

local function get_extra_info(self, name, default)
  if name ~= "socket" and name ~= "pipe" then
    if package.loaded["asyncio.tls"] then
      local known, value = require("asyncio.secure").extra_info(self, name)
      if known then return value end
    end
    return extra_info(self, name, default)
  end
  local socket = sockets[self]
  if not socket then
    socket = setmetatable({ owner = self }, Socket)
    sockets[self] = socket
  end
  return socket
end

Writer.get_extra_info, Transport.get_extra_info = get_extra_info, get_extra_info

--- Goes on with TLS: waits until what was written is below the mark, then for the handshake. A writer that a server has
--- made is the server's side. What the peer has sent already and nobody has read is taken as the beginning of its
--- handshake.
--- Raises SSLError, OSError; the connection is closed then.
---@param sslcontext SSLContext
---@param opts? table {server_hostname, session, ssl_handshake_timeout = 60, ssl_shutdown_timeout = 30}
---@return any awaitable
function Writer:start_tls(sslcontext, opts)
  local secure = require "asyncio.secure"
  local set = secure.upgrade(self, sslcontext, opts, "as accepted", "start_tls")
  return start_tls(self, set)
end

--- Closes the connection and waits until what was written is sent; errors of the connection are not raised.
function metatables.StreamWriter.__close(self)
  self:close()
  pcall(await, self:wait_closed())
end

--- Sends a file after what was written before; meanwhile nothing can be written. As the loop's sendfile.
---@param file string|integer|any a path, a descriptor, a Lua file or an object with a method fileno
---@param offset? integer
---@param count? integer
---@param opts? { fallback?: boolean }
---@return any awaitable of the number of bytes sent
function Writer:sendfile(file, offset, count, opts)
  return require("asyncio.sockets").writer_sendfile(self, file, offset, count, opts)
end

function metatables.Transport.__close(self)
  self:close()
end

M.StreamWriter = setmetatable({ methods = Writer }, {
  __name = "class StreamWriter",
  __call = function(_, transport, _, reader)
    return net.new_writer(transport, reader)
  end,
})

-- ---- Server ----

local Server = net.Server
local forever = setmetatable({}, { __mode = "k" })
local close = Server.close

function Server:close()
  close(self)
  local future = forever[self]
  if future then
    forever[self] = nil
    future:cancel()
  end
end

--- Begins to accept connections, for servers made with start_serving = false.
Server.start_serving = async(function(self)
  self:_start_serving()
  await(core.sleep(0))
end, "Server.start_serving")

local function wait_closed(self)
  self:close()
  await(self:wait_closed())
end

--- Accepts connections until the task is cancelled, or the server is closed: then it closes, waits for its
--- connections and raises CancelledError.
Server.serve_forever = async(function(self)
  if forever[self] then
    error(core.RuntimeError(("server %s is already being awaited on serve_forever()"):format(self)), 0)
  end
  if self:_is_closed() then error(core.RuntimeError(("server %s is closed"):format(self)), 0) end
  self:_start_serving()
  local future = core.get_running_loop():create_future()
  forever[self] = future
  local ok, err = catch(await, future)
  forever[self] = nil
  if ok then return end
  if core.isinstance(err, core.CancelledError) then catch(wait_closed, self) end
  error(err, 0)
end, "Server.serve_forever")

function metatables.Server.__close(self)
  wait_closed(self)
end

M.Server = setmetatable({ methods = Server }, { __name = "class Server" })

-- ---- connections ----

local open_known = connections.join({ "limit" }, connections.connect_options, connections.tls_options)
local serve_known = connections.join({ "limit", "http" }, connections.server_options, connections.tls_options)
local unix_known = connections.join({ "limit", "sock" }, connections.tls_options)
local unix_serve_known =
  connections.join({ "limit", "http", "backlog", "start_serving", "cleanup_socket", "sock" }, connections.tls_options)

local open = async(function(host, port, limit, opts, locals, tls)
  return net.streams(connections.connect(host, port, opts, locals, tls), limit)
end, "open_connection")

--- Connects to a host and port (a number or the name of a service). Gives a StreamReader and a StreamWriter.
---@param host string name or IP address
---@param port integer|string
---@param opts? table {limit, family, local_addr, interleave, all_errors, ...}
---@return any awaitable of reader, writer; raises OSError with code, host and port
function M.open_connection(host, port, opts)
  opts, host, port = connections.by_address("open_connection", opts, host, port)
  opts = connections.check_options(opts, open_known, "open_connection")
  local limit = connections.check_limit(opts.limit, "open_connection")
  connections.check_sock(opts, host, port, "open_connection")
  if host == nil and port == nil and not opts.sock then
    require("asyncio.misuse").raise(core.ValueError, "open_connection(): host and port were not given")
  end
  host, port = connections.check_host(host, "open_connection"), connections.check_port(port, "open_connection")
  local locals = connections.check_local(opts.local_addr, "open_connection")
  return open(host, port, limit, opts, locals, (connections.tls(opts, "open_connection", false, host)))
end

local open_unix = async(function(path, limit, sock, tls)
  local transport = sock and net.take_socket(sock) or await(net.connect_unix(path))
  return net.streams(connections.secured(transport, tls), limit)
end, "open_unix_connection")

--- Connects to a unix socket. A path that begins with a zero byte is an abstract name.
---@param path string
---@param opts? table {limit}
---@return any awaitable of reader, writer
function M.open_unix_connection(path, opts)
  opts, path = connections.by_path("open_unix_connection", opts, path)
  opts = connections.check_options(opts, unix_known, "open_unix_connection")
  local limit = connections.check_limit(opts.limit, "open_unix_connection")
  connections.check_sock(opts, path, nil, "open_unix_connection", true)
  path = not opts.sock and connections.check_path(path, "open_unix_connection")
  return open_unix(path, limit, opts.sock, (connections.tls(opts, "open_unix_connection", false)))
end

--- The handler as a coroutine function: a plain function runs as a task's body too, and may give a coroutine.
local function handler_of(cb)
  if core.iscoroutinefunction(cb) then return cb end
  return async(function(reader, writer)
    local result = cb(reader, writer)
    if core.iscoroutine(result) then return await(result) end
  end, "client_connected_cb")
end

--- Listens on a host (name, address, array of them; nil: all interfaces) and port (0: any free one), and runs
--- cb(reader, writer) as a task for each connection.
---@param cb function
---@param host? string|string[]
---@param port? integer
---@param opts? table {limit, backlog = 100, reuse_address, reuse_port, start_serving, family, ...}
---@return any awaitable of a Server
function M.start_server(cb, host, port, opts)
  opts, host, port = connections.by_address("start_server", opts, host, port)
  opts = connections.check_options(opts, serve_known, "start_server")
  local limit = connections.check_limit(opts.limit, "start_server")
  connections.check_backlog(opts.backlog, "start_server")
  connections.check_sock(opts, host, port, "start_server")
  return connections.new_server(
    handler_of(connections.check_callback(cb, "client_connected_cb", "start_server")), false,
    connections.check_hosts(host, "start_server"),
    connections.check_port(port, "start_server"),
    limit, opts, (connections.tls(opts, "start_server", true))
  )
end

--- The same on a unix socket.
---@param cb function
---@param path string
---@param opts? table {limit, backlog = 100, start_serving, cleanup_socket = true}
---@return any awaitable of a Server
function M.start_unix_server(cb, path, opts)
  opts, path = connections.by_path("start_unix_server", opts, path)
  opts = connections.check_options(opts, unix_serve_known, "start_unix_server")
  local limit = connections.check_limit(opts.limit, "start_unix_server")
  connections.check_backlog(opts.backlog, "start_unix_server")
  connections.check_sock(opts, path, nil, "start_unix_server", true)
  return connections.new_unix_server(
    handler_of(connections.check_callback(cb, "client_connected_cb", "start_unix_server")), false,
    not opts.sock and connections.check_path(path, "start_unix_server"), limit, opts,
    (connections.tls(opts, "start_unix_server", true))
  )
end

local protocols = require "asyncio.protocols"
M.StreamReaderProtocol = protocols.StreamReaderProtocol

return M
