--- A network for tests: hosts by name that tests connect to without a socket to the outside. Connections to them are
--- pairs of sockets within the process, between which tasks carry the bytes, late and slowly if they are to.

local connections = require "asyncio.connections"
local core = require "asyncio.core"
local misuse = require "asyncio.misuse"
local net = require "asyncio.net"

local async, await, catch = core.async, core.await, core.catch

---@class asyncio.testing.Network
---@field latency number seconds from one end to the other
---@field bandwidth number bytes a second, each way
local Network = { __name = "Network" }
Network.__index = Network

-- ---- carrying ----

-- One direction of a connection, until it ends; what was read last is still on its way then.
local carry = async(function(self, reader, writer)
  local loop = core.get_running_loop()
  local free = loop:time() -- when the line has sent what it was given
  while true do
    local data = await(reader:read(65536))
    free = math.max(free, loop:time()) + #(data or "") / self.bandwidth
    local at = free + self.latency
    if at > loop:time() then await(core.sleep(at - loop:time())) end
    if not data then break end
    writer:write(data)
    await(writer:drain())
  end
  if writer:can_write_eof() then writer:write_eof() end
end, "Network.carry")

local relay = async(function(self, link)
  catch(function() await(core.gather({ carry(self, link.r1, link.w2), carry(self, link.r2, link.w1) })) end)
  link.w1:close()
  link.w2:close()
  self.links[link] = nil
end, "Network.relay")

local function refused(address)
  local host, port = address[1], address[2]
  local text = ("connect to %s:%d failed: connection refused"):format(host, port)
  return core.OSError(text, { code = "ECONNREFUSED", host = host, port = port })
end

local connect = async(function(self, addresses, locals, delay)
  local errors = {}
  for i, address in ipairs(addresses) do
    local host = self.by_address[address[1]]
    if not host and (address[1]:find("^127%.") or address[1] == "::1") then
      return await(net.connect_tcp({ address }, locals, delay))
    end
    await(core.sleep(2 * self.latency))
    local path = host and not host.is_down and host.ports[address[2]]
    if path then
      local near, far = require("socket").socketpair()
      local link = { host = host }
      link.r1, link.w1 = net.streams(net.take_socket(far), 65536)
      link.r2, link.w2 = net.streams(await(net.connect_unix(path)), 65536)
      self.links[link] = core.create_task(relay(self, link), { name = "network: " .. host.name })
      return net.take_socket(near)
    end
    errors[i] = refused(address)
  end
  return nil, errors
end, "Network.connect")

-- ---- hosts ----

local function host_of(self, name, fname)
  return self.hosts[name] or misuse.blame(core.ValueError, ("%s: the network has no host '%s'"):format(fname, name))
end

local function add_host(self, name)
  local host = self.hosts[name]
  if host then return host end
  self.count = self.count + 1
  host = { name = name, ports = {}, address = ("198.18.%d.%d"):format(self.count // 250, self.count % 250 + 1) }
  self.hosts[name], self.by_address[host.address] = host, host
  return host
end

local function path_of(self, host, port) return ("\0moonloop-%p-%s-%d"):format(self, host.address, port) end

--- Has a host listen: the handler gets (reader, writer) of each connection, as start_server's.
---@param name string
---@param port integer
---@param handler function
---@param opts? table those of start_unix_server: ssl, ...
---@return any awaitable of the Server
Network.listen = async(function(self, name, port, handler, opts)
  local host = add_host(self, name)
  local path = path_of(self, host, port)
  local server = await(require("asyncio.streams").start_unix_server(handler, path, opts))
  self.servers[#self.servers + 1] = server
  host.ports[port] = path
  return server
end, "Network.listen")

--- Has a host serve an application of http.web. `opts`: `ssl` (a context), and those of AppRunner.
---@param name string
---@param port integer
---@param app http.web.Application
---@param opts? table
---@return any awaitable of the AppRunner
Network.serve = async(function(self, name, port, app, opts)
  local web = require "http.web"
  local options = {}
  for key, value in next, opts or {} do options[key] = value end
  local context = options.ssl
  options.ssl = nil
  local runner = web.AppRunner(app, options)
  local host = add_host(self, name)
  await(runner:setup())
  self.apps[#self.apps + 1] = runner
  await(web.UnixSite(runner, path_of(self, host, port), { ssl_context = context }):start())
  host.ports[port] = path_of(self, host, port)
  return runner
end, "Network.serve")

--- Ends the connections to a host in the middle.
---@param name string
function Network:cut(name)
  local host = host_of(self, name, "Network.cut")
  for link in next, self.links do
    if link.host == host then
      link.w1.transport:abort()
      link.w2.transport:abort()
    end
  end
end

--- The host is gone: its connections are cut, new ones refused.
---@param name string
function Network:down(name)
  host_of(self, name, "Network.down").is_down = true
  self:cut(name)
end

--- It is back.
---@param name string
function Network:up(name) host_of(self, name, "Network.up").is_down = nil end

--- Takes the network away: connections and servers are closed. A second time nothing happens.
---@return any awaitable
Network.close = async(function(self)
  if self.closed then return end
  self.closed = true
  connections.set_network(self.loop, nil)
  self.loop:set_resolver(nil)
  local tasks = {}
  for _, task in next, self.links do tasks[#tasks + 1] = task end
  for _, host in next, self.hosts do self:down(host.name) end
  for _, server in ipairs(self.servers) do server:close() end
  if #tasks > 0 then await(core.gather(tasks, { return_exceptions = true })) end
  for _, server in ipairs(self.servers) do await(server:wait_closed()) end
  for _, runner in ipairs(self.apps) do await(runner:cleanup()) end
end, "Network.close")

function Network:__close() await(self:close()) end

local M = {}

--- A network of the running loop: `local net <close> = testing.Network { latency = 0.05 }`. Names that it does not have
--- are unknown, addresses but the loopback's refuse.
---@param opts? table {latency = 0 (seconds), bandwidth = math.huge (bytes a second)}
---@return asyncio.testing.Network
function M.Network(opts)
  core.options(opts, { "latency", "bandwidth" }, "testing.Network")
  local loop = core.get_running_loop()
  local self = setmetatable({
    loop = loop, latency = opts and opts.latency or 0, bandwidth = opts and opts.bandwidth or math.huge, count = 0,
    hosts = {}, by_address = {}, links = {}, servers = {}, apps = {},
  }, Network)
  loop:set_resolver(function(name)
    local host = self.hosts[name]
    if host then return { host.address } end
    if name == "localhost" then return { "127.0.0.1" } end
    error(core.OSError(("getaddrinfo '%s' failed: unknown node or service"):format(name),
      { code = "EAI_NONAME", host = name }), 0)
  end)
  connections.set_network(loop, function(...) return connect(self, ...) end)
  return self
end

return M
