--- Sockets as the system has them, never blocking: what may wait is an awaitable.
---
--- Families and types are strings, as getaddrinfo gives them. Addresses are {host, port} (and host, port are taken one
--- by one, too), those of unix sockets are paths. Errors are OSErrors with a code.

local asyncio = require "asyncio.core"
local core = require "socket.core"
local misuse = require "asyncio.misuse"

local async, await, catch = asyncio.async, asyncio.await, asyncio.catch
local isinstance, OSError = asyncio.isinstance, asyncio.OSError
local describe, raise = misuse.describe, misuse.raise
local Socket = core.Socket

local M = {
  AF_INET = "inet", AF_INET6 = "inet6", AF_UNIX = "unix",
  SOCK_STREAM = "stream", SOCK_DGRAM = "dgram", SOCK_RAW = "raw", SOCK_SEQPACKET = "seqpacket",
  INADDR_ANY = "0.0.0.0",
  socket = core.socket, fromfd = core.fromfd, socketpair = core.socketpair, buffer = core.buffer,
  gethostname = core.gethostname, if_nametoindex = core.if_nametoindex,
  inet_pton = core.inet_pton, inet_ntop = core.inet_ntop, fileno = core.fileno,
  Socket = { methods = Socket },
}

for name, value in pairs(core) do
  if math.type(value) == "integer" then M[name] = value end
end

-- ---- making ----

local function check_options(opts, known, fname)
  if opts == nil then return {} end
  if type(opts) ~= "table" then
    raise(asyncio.TypeError, ("%s() options must be a table, got %s"):format(fname, describe(opts)), 3)
  end
  asyncio.options(opts, known, fname)
  return opts
end

--- Whether the system can make IPv6 sockets.
function M.has_ipv6()
  local ok, s = pcall(core.socket, "inet6", "dgram")
  if ok then s:close() end
  return ok
end

local handed_over

--- The sockets that the service manager has passed on (LISTEN_FDS, as systemd does it), and their names. Each call
--- gives the same sockets; none if they are meant for another process.
---@return any[] sockets, string[] names
function M.listen_fds()
  if handed_over then return handed_over[1], handed_over[2] end
  local sockets, names = {}, {}
  handed_over = { sockets, names }
  if tonumber(os.getenv("LISTEN_PID")) ~= core.getpid() then return sockets, names end
  local n = math.tointeger(tonumber(os.getenv("LISTEN_FDS"))) or 0
  local all = {}
  for name in ((os.getenv("LISTEN_FDNAMES") or "") .. ":"):gmatch("([^:]*):") do all[#all + 1] = name end
  for i = 1, n do
    local ok, s = pcall(core.socket, { fileno = 2 + i })
    if ok then
      sockets[#sockets + 1] = s
      names[#sockets] = all[i] ~= "" and all[i] or "unknown"
    end
  end
  return sockets, names
end

-- ---- names ----

local function loop()
  return asyncio.get_running_loop_or_nil() or asyncio.get_event_loop()
end

--- As the loop's getaddrinfo.
function M.getaddrinfo(host, port, opts)
  return loop():getaddrinfo(host, port, opts)
end

--- As the loop's getnameinfo.
function M.getnameinfo(address, flags)
  return loop():getnameinfo(address, flags)
end

--- For Socket:connect with the name of a host.
Socket._connect_name = async(function(self, host, port)
  local infos = await(loop():getaddrinfo(host, port, { family = self.family, type = "stream" }))
  local last
  for _, info in ipairs(infos) do
    local ok, err = pcall(await, self:connect(info.address))
    if ok then return end
    if not isinstance(err, OSError) then error(err, 0) end
    last = err
  end
  error(last or OSError("getaddrinfo() returned empty list"), 0)
end, "Socket.connect")

-- ---- connections ----

local function make_and_connect(info, opts)
  local s = core.socket(info.family, info.type, info.proto)
  local ok, err = catch(function()
    if opts.source_address then s:bind(opts.source_address) end
    await(s:connect(info.address))
  end)
  if ok then return s end
  s:close()
  error(err, 0)
end

local function connect_any(host, port, opts)
  local last
  for _, info in ipairs(await(loop():getaddrinfo(host, port, { family = opts.family, type = "stream" }))) do
    local ok, s = pcall(make_and_connect, info, opts)
    if ok then return s end
    if not isinstance(s, OSError) then error(s, 0) end
    last = s
  end
  error(last or OSError("getaddrinfo() returned empty list"), 0)
end

local create_connection = async(function(host, port, opts)
  if not opts.timeout then return connect_any(host, port, opts) end
  local _ <close> = require("asyncio.timeouts").timeout(opts.timeout)
  return connect_any(host, port, opts)
end, "create_connection")

--- A stream socket that is connected to the first address of the host that answers.
---@param host string
---@param port integer|string
---@param opts? { family?: string, timeout?: number, source_address?: table }
---@return any awaitable of a socket
function M.create_connection(host, port, opts)
  return create_connection(host, port, check_options(opts, { "family", "timeout", "source_address" },
    "create_connection"))
end

local function bind_and_listen(s, address, opts)
  s:setsockopt(core.SOL_SOCKET, core.SO_REUSEADDR, true)
  if opts.reuse_port then s:setsockopt(core.SOL_SOCKET, core.SO_REUSEPORT, true) end
  if s.family == "inet6" then s:setsockopt(core.IPPROTO_IPV6, core.IPV6_V6ONLY, not opts.dualstack_ipv6) end
  s:bind(address)
  s:listen(opts.backlog)
  return s
end

local create_server = async(function(host, port, opts)
  local info = await(loop():getaddrinfo(host, port, { family = opts.family, type = "stream" }))[1]
  local s = core.socket(info.family, "stream")
  local ok, err = pcall(bind_and_listen, s, info.address, opts)
  if ok then return s end
  s:close()
  error(err, 0)
end, "create_server")

--- A stream socket that listens on the (first) address of a host, "" for all interfaces, and a port, 0 for any.
---@param host string
---@param port integer
---@param opts? { family?: string, backlog?: integer, reuse_port?: boolean, dualstack_ipv6?: boolean }
---@return any awaitable of a socket
function M.create_server(host, port, opts)
  opts = check_options(opts, { "family", "backlog", "reuse_port", "dualstack_ipv6" }, "create_server")
  if host == "" then host = (opts.family == "inet6" or opts.dualstack_ipv6) and "::" or "0.0.0.0" end
  return create_server(host, port, opts)
end

-- ---- options by name ----

local TCP, IP, IPV6, SOL = core.IPPROTO_TCP, core.IPPROTO_IP, core.IPPROTO_IPV6, core.SOL_SOCKET

local function flag(level, option)
  return {
    get = function(s) return s:getsockopt(level, option) ~= 0 end,
    set = function(s, value) s:setsockopt(level, option, value and true or false) end,
    type = "boolean",
  }
end

local function number(level, option)
  return {
    get = function(s) return s:getsockopt(level, option) end,
    set = function(s, value) s:setsockopt(level, option, value) end,
    type = "number",
  }
end

--- One option for both families.
local function either(v4, v6)
  local function pick(s) return s.family == "inet6" and v6 or v4 end
  return {
    get = function(s) return pick(s).get(s) end,
    set = function(s, value) pick(s).set(s, value) end,
    type = v4.type,
  }
end

local keepalive = { idle = core.TCP_KEEPIDLE, interval = core.TCP_KEEPINTVL, count = core.TCP_KEEPCNT }

local options = {
  nodelay = flag(TCP, core.TCP_NODELAY),
  cork = flag(TCP, core.TCP_CORK),
  user_timeout = number(TCP, core.TCP_USER_TIMEOUT),
  reuseaddr = flag(SOL, core.SO_REUSEADDR),
  reuseport = flag(SOL, core.SO_REUSEPORT),
  broadcast = flag(SOL, core.SO_BROADCAST),
  rcvbuf = number(SOL, core.SO_RCVBUF),
  sndbuf = number(SOL, core.SO_SNDBUF),
  v6only = flag(IPV6, core.IPV6_V6ONLY),
  ttl = either(number(IP, core.IP_TTL), number(IPV6, core.IPV6_UNICAST_HOPS)),
  multicast_ttl = either(number(IP, core.IP_MULTICAST_TTL), number(IPV6, core.IPV6_MULTICAST_HOPS)),
  multicast_loop = either(flag(IP, core.IP_MULTICAST_LOOP), flag(IPV6, core.IPV6_MULTICAST_LOOP)),
  linger = {
    get = function(s)
      local on, seconds = ("i4i4"):unpack(s:getsockopt(SOL, core.SO_LINGER, 8))
      return on ~= 0 and seconds
    end,
    set = function(s, value)
      s:setsockopt(SOL, core.SO_LINGER, ("i4i4"):pack(value and 1 or 0, value or 0))
    end,
    type = "number", off = true,
  },
  keepalive = {
    get = function(s)
      if s:getsockopt(SOL, core.SO_KEEPALIVE) == 0 then return false end
      local t = {}
      for name, option in pairs(keepalive) do t[name] = s:getsockopt(TCP, option) end
      return t
    end,
    set = function(s, value)
      s:setsockopt(SOL, core.SO_KEEPALIVE, value and true or false)
      if type(value) ~= "table" then return end
      for name, option in pairs(keepalive) do
        if value[name] then s:setsockopt(TCP, option, value[name]) end
      end
    end,
    type = "boolean or table",
  },
  multicast_if = {
    get = function(s)
      if s.family == "inet6" then return s:getsockopt(IPV6, core.IPV6_MULTICAST_IF) end
      return core.inet_ntop("inet", s:getsockopt(IP, core.IP_MULTICAST_IF, 4))
    end,
    set = function(s, value)
      if s.family == "inet6" then
        s:setsockopt(IPV6, core.IPV6_MULTICAST_IF, math.type(value) == "integer" and value
          or core.if_nametoindex(value))
      else
        s:setsockopt(IP, core.IP_MULTICAST_IF, core.inet_pton("inet", value))
      end
    end,
    type = "string or number",
  },
}

local function option_of(name, level)
  local option = options[name]
  if option then return option end
  local names = {}
  for key in pairs(options) do names[#names + 1] = key end
  table.sort(names)
  raise(asyncio.TypeError, ("unknown socket option '%s' (known: %s)"):format(tostring(name),
    table.concat(names, ", ")), level + 1)
end

--- Sets options by name: nodelay, cork, user_timeout (ms), keepalive (boolean, or {idle, interval, count} in seconds),
--- reuseaddr, reuseport, broadcast, linger (seconds, or false), rcvbuf, sndbuf, ttl, v6only, multicast_ttl,
--- multicast_loop, multicast_if (the address of an interface; IPv6: its name or index). Gives the socket.
---@param values table
function Socket:set(values)
  if type(values) ~= "table" then
    raise(asyncio.TypeError, "set: a table of options was expected, got " .. describe(values))
  end
  for name, value in pairs(values) do
    local option = option_of(name, 2)
    if not option.type:find(type(value), 1, true) and not (option.off and value == false) then
      raise(asyncio.TypeError, ("socket option '%s' must be a %s, got %s"):format(name, option.type, describe(value)))
    end
    if name == "keepalive" and type(value) == "table" then
      asyncio.options(value, { "idle", "interval", "count" }, "keepalive")
    end
    option.set(self, value)
  end
  return self
end

--- The value of an option that `set` knows.
---@param name string
---@return any
function Socket:get(name)
  return option_of(name, 2).get(self)
end

--- The bytes of a struct ip_mreq or ipv6_mreq.
local function membership(self, group, interface)
  if self.family == "inet6" then
    local index = interface or 0
    if type(index) == "string" then index = core.if_nametoindex(index) end
    return core.inet_pton("inet6", group) .. ("I4"):pack(index)
  end
  return core.inet_pton("inet", group) .. core.inet_pton("inet", interface or "0.0.0.0")
end

--- Joins a multicast group, on an interface: its address (IPv4), or its name or index (IPv6).
---@param group string
---@param interface? string|integer
function Socket:join_group(group, interface)
  local v6 = self.family == "inet6"
  self:setsockopt(v6 and IPV6 or IP, v6 and core.IPV6_JOIN_GROUP or core.IP_ADD_MEMBERSHIP,
    membership(self, group, interface))
end

function Socket:leave_group(group, interface)
  local v6 = self.family == "inet6"
  self:setsockopt(v6 and IPV6 or IP, v6 and core.IPV6_LEAVE_GROUP or core.IP_DROP_MEMBERSHIP,
    membership(self, group, interface))
end

--- For programs that come from Python: sockets never block here.
---@param on boolean must be false
function Socket:setblocking(on) -- luacheck: ignore self
  if on then raise(asyncio.ValueError, "sockets never block here: await what their methods give") end
end

function Socket:getblocking() -- luacheck: ignore self
  return false
end

-- ---- files ----

local function source_of(file)
  if type(file) == "string" then return await(core.open_source(file)) end
  return core.source(file)
end

local send_file = async(function(self, file, offset, count)
  local source <close> = source_of(file)
  return await(self:_sendfile(source, offset or 0, count))
end, "Socket.sendfile")

--- Sends a file, or `count` bytes of it from `offset` on, without a detour through the program.
---@param file string|integer|any a path, a descriptor, a Lua file or an object with a method fileno
---@param offset? integer
---@param count? integer
---@return any awaitable of the number of bytes
function Socket:sendfile(file, offset, count)
  return send_file(self, file, offset, count)
end

return M
