--- UDP: loop:create_datagram_endpoint with protocol tables, and asyncio.open_datagram, whose datagrams are awaited.

local connections = require "asyncio.connections"
local core = require "asyncio.core"
local misuse = require "asyncio.misuse"
local net = require "asyncio.net"

local async, await, catch = core.async, core.await, core.catch
local raise, describe = misuse.raise, misuse.describe
local Loop = core.Loop.methods

local M = {}

-- ---- opening ----

--- What makes a socket, beside `sock`.
local socket_options = {
  "local_addr", "remote_addr", "family", "proto", "flags", "reuse_port", "reuse_addr", "allow_broadcast",
}
local known = connections.join({ "sock" }, socket_options)
local endpoint_known = connections.join({ "queue", "queue_bytes", "drop" }, known)

local function check_address(addr, what, fname)
  if addr == nil then return nil end
  if type(addr) ~= "table" then
    raise(core.TypeError, ("%s(): %s must be {host, port}, got %s"):format(fname, what, describe(addr)), 4)
  end
  return { connections.check_host(addr[1], fname, 5), connections.check_port(addr[2], fname, 5) or 0 }
end

--- A descriptor: a number, or an object that lets its own go.
local function check_sock(opts, fname)
  local sock = opts.sock
  for _, name in ipairs(socket_options) do
    if opts[name] then
      raise(core.ValueError, ("%s(): socket modifier keyword arguments can not be used when sock is specified (%s)")
        :format(fname, name), 4)
    end
  end
  if type(sock) == "number" and math.type(sock) == "integer" and sock >= 0 then return sock end
  if (type(sock) == "table" or type(sock) == "userdata") and sock.detach then return sock end
  raise(core.TypeError, ("%s(): sock must be a socket or a descriptor, got %s"):format(fname, describe(sock)), 4)
end

--- The options, which were checked, in the form that opening takes.
local function check(opts, fname)
  local spec = {
    local_addr = check_address(opts.local_addr, "local_addr", fname),
    remote_addr = check_address(opts.remote_addr, "remote_addr", fname),
    sock = opts.sock ~= nil and check_sock(opts, fname) or nil,
    family = opts.family, proto = opts.proto, flags = opts.flags,
    reuse_port = opts.reuse_port, reuse_addr = opts.reuse_addr, broadcast = opts.allow_broadcast,
  }
  if not (spec.sock or spec.local_addr or spec.remote_addr or opts.family) then
    raise(core.ValueError, fname .. "(): unexpected address family (local_addr, remote_addr, family or sock is needed)",
      3)
  end
  return spec
end

--- The first address of each family that both ends have.
local function pairs_of(spec)
  local order, found = {}, {}
  local function add(key, addr)
    for _, info in ipairs(connections.resolve(addr[1], addr[2], spec, key == "loc", "dgram")) do
      local family = info.family
      if not found[family] then
        found[family], order[#order + 1] = {}, family
      end
      found[family][key] = found[family][key] or info.address
    end
  end
  if spec.local_addr then add("loc", spec.local_addr) end
  if spec.remote_addr then add("remote", spec.remote_addr) end
  local list = {}
  for _, family in ipairs(order) do
    local pair = found[family]
    if (pair.loc or not spec.local_addr) and (pair.remote or not spec.remote_addr) then
      list[#list + 1] = { family = family, loc = pair.loc, remote = pair.remote }
    end
  end
  if #list == 0 then error(core.ValueError("can not get address information"), 0) end
  return list
end

--- What net.datagram is given besides addresses, from spec and the queue's options.
local function request(spec, pair, more)
  local all = {
    family = pair.family, loc = pair.loc, remote = pair.remote, fd = pair.fd,
    reuse_port = spec.reuse_port, reuse_addr = spec.reuse_addr, broadcast = spec.broadcast,
  }
  for key, value in next, more do all[key] = value end
  return all
end

local function open(spec, more)
  if spec.sock then
    local sock = spec.sock
    return net.datagram(request(spec, { fd = type(sock) == "table" and sock:detach() or sock }, more))
  end
  if not spec.local_addr and not spec.remote_addr then
    return net.datagram(request(spec, { family = (spec.family == "inet6" or spec.family == 10) and "inet6" or "inet" },
      more))
  end
  local first
  for _, pair in ipairs(pairs_of(spec)) do
    local ok, result = pcall(net.datagram, request(spec, pair, more))
    if ok then return result end
    first = first or result
  end
  error(first, 0)
end

-- ---- protocols ----

local create = async(function(factory, spec)
  local transport = open(spec, {})
  local ok, protocol = catch(factory)
  if ok and type(protocol) ~= "table" then
    ok, protocol = false, core.TypeError("protocol_factory must give a table, got " .. describe(protocol))
  end
  if not ok then
    transport:abort()
    error(protocol, 0)
  end
  net.datagram_protocol(transport, protocol)
  local slept, err = catch(await, core.sleep(0)) -- connection_made is called meanwhile
  if not slept then
    transport:close()
    error(err, 0)
  end
  return transport, protocol
end, "create_datagram_endpoint")

--- Opens a UDP socket for a protocol: factory() gives a table with any of the methods connection_made(transport),
--- datagram_received(data, addr), error_received(err), pause_writing(), resume_writing(), connection_lost(err).
---@param factory function
---@param opts table {local_addr, remote_addr, family, proto, flags, reuse_port, reuse_addr, allow_broadcast, sock}
---@return any awaitable of transport, protocol; raises OSError
function Loop:create_datagram_endpoint(factory, opts) -- luacheck: ignore self
  local fname = "create_datagram_endpoint"
  connections.check_callback(factory, "protocol_factory", fname)
  opts = connections.check_options(opts, known, fname)
  return create(factory, (check(opts, fname)))
end

function net.metatables.DatagramTransport.__close(self)
  self:close()
end

-- ---- endpoints ----

local Endpoint = net.DatagramEndpoint

function Endpoint:__aiter()
  return self
end

function Endpoint:__anext()
  return self:recv()
end

--- Closes the socket when what waits has been sent.
function net.metatables.DatagramEndpoint.__close(self)
  self:close()
  await(self:wait_closed())
end

local open_endpoint = async(function(spec, more)
  return (open(spec, more))
end, "open_datagram")

local function check_count(n, name)
  if n ~= nil and (math.type(n) ~= "integer" or n < 1) then
    raise(core.ValueError, ("open_datagram(): %s must be a positive integer, got %s"):format(name, tostring(n)), 3)
  end
  return n
end

--- Opens a UDP socket whose datagrams are awaited: an endpoint with send and recv.
---@param opts table {local_addr, remote_addr, family, proto, flags, reuse_port, reuse_addr, allow_broadcast, sock,
--- queue = 1024, queue_bytes = 4194304, drop = "oldest" | "newest"}
---@return any awaitable of an endpoint; raises OSError
function M.open_datagram(opts)
  opts = connections.check_options(opts, endpoint_known, "open_datagram")
  local spec = check(opts, "open_datagram")
  local drop = opts.drop
  if drop ~= nil and drop ~= "oldest" and drop ~= "newest" then
    raise(core.ValueError, ("open_datagram(): drop must be 'oldest' or 'newest', got '%s'"):format(tostring(drop)))
  end
  return open_endpoint(spec, {
    endpoint = true, newest = drop == "newest",
    queue = check_count(opts.queue, "queue"), queue_bytes = check_count(opts.queue_bytes, "queue_bytes"),
  })
end

return M
