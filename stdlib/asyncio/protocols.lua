--- The loop's methods for connections: names to addresses, and protocol tables, whose methods connection_made,
--- data_received, eof_received, pause_writing, resume_writing and connection_lost are called as things happen.

local connections = require "asyncio.connections"
local core = require "asyncio.core"
local misuse = require "asyncio.misuse"
local net = require "asyncio.net"
local pipes = require "asyncio.pipes"

local async, await, catch = core.async, core.await, core.catch
local Loop = core.Loop.methods

local M = {}

-- ---- StreamReaderProtocol ----

local StreamReaderProtocol = {}
StreamReaderProtocol.__index = StreamReaderProtocol
StreamReaderProtocol.__name = "StreamReaderProtocol"

--- Feeds a StreamReader: for the loop's create_ and connect_ methods. cb(reader, writer), if given, runs as a task
--- when the connection is made.
M.StreamReaderProtocol = setmetatable({ methods = StreamReaderProtocol }, {
  __name = "class StreamReaderProtocol",
  __call = function(_, reader, cb)
    return setmetatable({ _reader = reader, _callback = cb }, StreamReaderProtocol)
  end,
})

-- ---- connecting a protocol ----

local function make(factory)
  local protocol = factory()
  if type(protocol) ~= "table" then
    error(core.TypeError("protocol_factory must give a table, got " .. misuse.describe(protocol)), 0)
  end
  return protocol
end

local function attach(transport, protocol, opts)
  if getmetatable(protocol) == StreamReaderProtocol then
    net.attach(transport, protocol._reader)
    if protocol._callback then
      core.ensure_future(protocol._callback(protocol._reader, net.new_writer(transport, protocol._reader)))
    end
    return transport, protocol
  end
  net.protocol(transport, protocol, opts and opts.write_only)
  local ok, err = catch(await, core.sleep(0)) -- connection_made is called meanwhile
  if not ok then
    transport:close()
    error(err, 0)
  end
  return transport, protocol
end

local function start(transport, factory, opts)
  local ok, protocol = catch(make, factory)
  if not ok then
    transport:abort()
    error(protocol, 0)
  end
  return attach(transport, protocol, opts)
end

local create = async(function(factory, host, port, opts, locals, tls)
  return start(connections.connect(host, port, opts, locals, tls), factory)
end, "create_connection")

local create_unix = async(function(factory, path, sock, tls)
  local transport = sock and net.take_socket(sock) or await(net.connect_unix(path))
  return start(connections.secured(transport, tls), factory)
end, "create_unix_connection")

local connect_known = connections.join(connections.connect_options, connections.tls_options)
local server_known = connections.join(connections.server_options, connections.tls_options)
local unix_known = connections.join({ "backlog", "start_serving", "cleanup_socket", "sock" }, connections.tls_options)

--- Connects and gives transport and protocol.
function Loop:create_connection(factory, host, port, opts) -- luacheck: ignore self
  local fname = "create_connection"
  opts, host, port = connections.by_address(fname, opts, host, port)
  opts = connections.check_options(opts, connect_known, fname)
  connections.check_callback(factory, "protocol_factory", fname)
  connections.check_sock(opts, host, port, fname)
  if host == nil and port == nil and not opts.sock then
    misuse.raise(core.ValueError, "host and port was not specified and no sock specified")
  end
  host, port = connections.check_host(host, fname), connections.check_port(port, fname)
  local locals = connections.check_local(opts.local_addr, fname)
  return create(factory, host, port, opts, locals, (connections.tls(opts, fname, false, host)))
end

function Loop:create_unix_connection(factory, path, opts) -- luacheck: ignore self
  local fname = "create_unix_connection"
  opts, path = connections.by_path(fname, opts, path)
  opts = connections.check_options(opts, connections.join({ "sock" }, connections.tls_options), fname)
  connections.check_callback(factory, "protocol_factory", fname)
  connections.check_sock(opts, path, nil, fname, true)
  path = not opts.sock and connections.check_path(path, fname)
  return create_unix(factory, path, opts.sock, (connections.tls(opts, fname, false)))
end

local accept = async(function(factory, sock, tls)
  return start(connections.secured(net.take_socket(sock), tls), factory)
end, "connect_accepted_socket")

--- Goes on with a connection that was accepted elsewhere, as by sock:accept(): the socket is taken over. With TLS it
--- is the side of the server.
---@param factory function
---@param sock any a Socket
---@param opts? table {ssl, ssl_handshake_timeout, ssl_shutdown_timeout}
---@return any awaitable of transport and protocol
function Loop:connect_accepted_socket(factory, sock, opts) -- luacheck: ignore self
  local fname = "connect_accepted_socket"
  opts = connections.check_options(opts, connections.tls_options, fname)
  connections.check_callback(factory, "protocol_factory", fname)
  if sock == nil then misuse.raise(core.TypeError, fname .. "(): sock must be a socket, got nil") end
  connections.check_sock({ sock = sock }, nil, nil, fname)
  return accept(factory, sock, (connections.tls(opts, fname, true)))
end

local function checked(factory)
  return function() return make(factory) end
end

--- Listens; each connection gets a protocol of the factory.
function Loop:create_server(factory, host, port, opts) -- luacheck: ignore self
  local fname = "create_server"
  opts, host, port = connections.by_address(fname, opts, host, port)
  opts = connections.check_options(opts, server_known, fname)
  connections.check_callback(factory, "protocol_factory", fname)
  connections.check_backlog(opts.backlog, fname)
  connections.check_sock(opts, host, port, fname)
  return connections.new_server(checked(factory), true, connections.check_hosts(host, fname),
    connections.check_port(port, fname), 64 * 1024, opts, (connections.tls(opts, fname, true)))
end

function Loop:create_unix_server(factory, path, opts) -- luacheck: ignore self
  local fname = "create_unix_server"
  opts, path = connections.by_path(fname, opts, path)
  opts = connections.check_options(opts, unix_known, fname)
  connections.check_callback(factory, "protocol_factory", fname)
  connections.check_backlog(opts.backlog, fname)
  connections.check_sock(opts, path, nil, fname, true)
  path = not opts.sock and connections.check_path(path, fname)
  local tls = connections.tls(opts, fname, true)
  return connections.new_unix_server(checked(factory), true, path, 64 * 1024, opts, tls)
end

local start_tls = async(function(transport, protocol, set)
  require("asyncio.secure").handshake(transport, set)
  transport:set_protocol(protocol)
  return transport
end, "start_tls")

--- Goes on with TLS on a transport; afterwards the protocol gets what comes. Gives the transport.
---@param transport any
---@param protocol table
---@param sslcontext SSLContext
---@param opts? table {server_side = false, server_hostname, session, ssl_handshake_timeout, ssl_shutdown_timeout}
function Loop:start_tls(transport, protocol, sslcontext, opts) -- luacheck: ignore self
  if type(transport) ~= "userdata" or not transport.set_protocol then
    misuse.raise(core.TypeError, "start_tls(): a transport was expected, got " .. misuse.describe(transport))
  end
  if type(protocol) ~= "table" then
    misuse.raise(core.TypeError, "start_tls(): a protocol (a table) was expected, got " .. misuse.describe(protocol))
  end
  local set = require("asyncio.secure").upgrade(transport, sslcontext, opts, nil, "start_tls")
  return start_tls(transport, protocol, set)
end

-- ---- pipes ----

local connect_pipe = async(function(factory, pipe, keep, opts)
  return start(net.open_pipe(pipe, opts ~= nil, keep), factory, opts)
end, "connect_pipe")

--- Reads from a pipe, a socket or a terminal: a descriptor, which is taken over, a file of io, or an object with
--- fileno(). Gives transport and protocol.
function Loop:connect_read_pipe(factory, pipe) -- luacheck: ignore self
  connections.check_callback(factory, "protocol_factory", "connect_read_pipe")
  local source, keep = pipes.descriptor(pipe)
  return connect_pipe(factory, source, keep, nil)
end

function Loop:connect_write_pipe(factory, pipe) -- luacheck: ignore self
  connections.check_callback(factory, "protocol_factory", "connect_write_pipe")
  local target, keep = pipes.descriptor(pipe)
  return connect_pipe(factory, target, keep, { write_only = true })
end

-- ---- names ----

--- The addresses of a host: an array of {family, type, proto, canonname, address}, with fields of these names.
---@param host? string
---@param port? integer|string
---@param opts? table {family = "inet" | "inet6", type = "stream" | "dgram" | "raw", proto = "tcp" | "udp",
--- flags = "canonname" and the like, or an array of them}
function Loop:getaddrinfo(host, port, opts) -- luacheck: ignore self
  opts = connections.check_options(opts, { "family", "type", "proto", "flags" }, "getaddrinfo")
  host = connections.check_host(host, "getaddrinfo")
  port = connections.check_port(port, "getaddrinfo")
  if host == nil and port == nil then misuse.raise(core.ValueError, "getaddrinfo(): host or port is needed") end
  if host == "" then host = nil end
  return connections.getaddrinfo(host, port, opts)
end

--- Has f(host, port, opts) give the addresses of host names, in place of the system, to all that connects, listens or
--- looks names up on this loop: an array of IP addresses, {ip, port} or entries as getaddrinfo's, or an awaitable of
--- it. nil: the system again. IP addresses are not asked for.
---@param f? function
function Loop:set_resolver(f)
  if f ~= nil then connections.check_callback(f, "resolver", "set_resolver") end
  connections.set_resolver(self, f)
end

--- The names of an address {host, port}. Gives host and service.
---@param address table
---@param flags? string|string[]|integer "numerichost", "numericserv", "namereqd", "nofqdn", "dgram"
function Loop:getnameinfo(address, flags) -- luacheck: ignore self
  if type(address) ~= "table" or type(address[1]) ~= "string" then
    local message = "getnameinfo(): an address {host, port} was expected, got " .. misuse.describe(address)
    misuse.raise(core.TypeError, message)
  end
  return net.getnameinfo(address[1], connections.check_port(address[2], "getnameinfo") or 0, flags)
end

return M
