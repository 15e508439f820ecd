--- Where connections come from: names to addresses, connecting, binding. For asyncio.streams and the loop's methods.

local core = require "asyncio.core"
local misuse = require "asyncio.misuse"
local net = require "asyncio.net"

local async, await, catch = core.async, core.await, core.catch
local isinstance = core.isinstance
local raise, describe = misuse.raise, misuse.describe

local M = {}

--- Options of TLS: known, so that their misuse is told in a useful way.
M.tls_options = { "ssl", "server_hostname", "session", "ssl_handshake_timeout", "ssl_shutdown_timeout" }
M.connect_options = {
  "family", "proto", "flags", "local_addr", "happy_eyeballs_delay", "interleave", "all_errors", "sock",
}
M.server_options = {
  "family", "flags", "backlog", "reuse_address", "reuse_port", "keep_alive", "start_serving", "sock",
}

--- One list of several.
function M.join(...)
  local all = {}
  for _, list in ipairs { ... } do
    table.move(list, 1, #list, #all + 1, all)
  end
  return all
end

-- ---- checks: called by functions that scripts call ----

local families = { unspec = true, inet = true, inet6 = true, [0] = true, [2] = true, [10] = true }

local function check_tls(opts)
  if opts.ssl then return end -- see M.tls
  for _, name in ipairs(M.tls_options) do
    if opts[name] ~= nil and name ~= "ssl" then
      raise(core.ValueError, name .. " is only meaningful with ssl", 4)
    end
  end
end

--- Those of happy eyeballs.
local function check_race(opts, fname)
  local delay, first = opts.happy_eyeballs_delay, opts.interleave
  if delay and not (type(delay) == "number" and delay >= 0) then
    raise(core.ValueError, ("%s(): happy_eyeballs_delay must be a number of seconds or false, got %s")
      :format(fname, tostring(delay)), 4)
  end
  if first ~= nil and (math.type(first) ~= "integer" or first < 0) then
    raise(core.ValueError, ("%s(): interleave must be a non-negative integer, got %s")
      :format(fname, tostring(first)), 4)
  end
end

--- Checks an options table (may be nil) and gives it, never nil.
function M.check_options(opts, known, fname)
  if opts == nil then return {} end
  if type(opts) ~= "table" then
    raise(core.TypeError, ("%s() options must be a table, got %s"):format(fname, describe(opts)), 3)
  end
  for key in pairs(opts) do
    local found = false
    for i = 1, #known do found = found or known[i] == key end
    if not found then
      raise(core.TypeError, ("%s() got an unexpected keyword argument '%s' (expected: %s)")
        :format(fname, key, table.concat(known, ", ")), 3)
    end
  end
  check_tls(opts)
  check_race(opts, fname)
  if opts.family ~= nil and not families[opts.family] then
    raise(core.ValueError, ("%s(): family must be 'unspec', 'inet' or 'inet6', got '%s'"):format(fname, opts.family), 3)
  end
  return opts
end

--- A table of options, and no array of hosts, address or object?
local function is_options(v)
  return type(v) == "table" and v[1] == nil and next(v) ~= nil and getmetatable(v) == nil
end

--- Options may stand where the arguments before them were left out, and these may be given by name among them.
---@param fname string
---@param names string[] of first and second
---@return table? opts, any first, any second
function M.by_name(fname, names, opts, first, second)
  if opts == nil and is_options(second) then
    opts, second = second, nil
  elseif opts == nil and second == nil and is_options(first) then
    opts, first = first, nil
  end
  local args, copy = { first, second }, nil
  for i, name in ipairs(names) do
    if type(opts) == "table" and opts[name] ~= nil then
      if args[i] ~= nil then raise(core.TypeError, ("%s() got multiple values for '%s'"):format(fname, name), 3) end
      if not copy then
        copy = {}
        for k, v in pairs(opts) do copy[k] = v end
      end
      args[i], copy[name] = opts[name], nil
    end
  end
  return copy or opts, args[1], args[2]
end

local host_and_port, path_alone = { "host", "port" }, { "path" }

function M.by_address(fname, opts, host, port) return M.by_name(fname, host_and_port, opts, host, port) end

function M.by_path(fname, opts, path) return M.by_name(fname, path_alone, opts, path) end

--- Checks the options of TLS and gives settings for asyncio.secure, or nil. `host` is the server_hostname by default.
function M.tls(opts, fname, server, host)
  if not opts.ssl then return nil end
  local set = require("asyncio.secure").settings(opts, fname, server, host, 4)
  return set
end

local function secured(transport, tls)
  if not tls then return transport end
  return require("asyncio.secure").secured(transport, tls)
end
M.secured = secured

--- A number of bytes that must be positive, or the default.
function M.check_limit(limit, fname)
  if limit == nil then return 64 * 1024 end
  if math.type(limit) ~= "integer" then
    raise(core.TypeError, ("%s(): limit must be an integer, got %s"):format(fname, describe(limit)), 3)
  end
  if limit <= 0 then raise(core.ValueError, "Limit cannot be <= 0", 3) end
  return limit
end

function M.check_port(port, fname, level)
  if port == nil then return nil end
  local n = math.type(port) == "integer" and port or type(port) == "string" and math.tointeger(tonumber(port))
  if not n then
    if type(port) == "string" then return port end -- the name of a service
    raise(core.TypeError, ("%s(): port must be an integer, got %s"):format(fname, describe(port)), level or 3)
  end
  if n < 0 or n > 65535 then
    raise(core.ValueError, ("%s(): port must be 0-65535, got %s"):format(fname, port), level or 3)
  end
  return n
end

--- A host name or address, or an address table.
function M.check_host(host, fname, level)
  if type(host) == "table" and type(host.host) == "string" then host = host.host end
  if host ~= nil and type(host) ~= "string" then
    raise(core.TypeError, ("%s(): host must be a string, got %s"):format(fname, describe(host)), level or 3)
  end
  if host and host:find("\0", 1, true) then
    raise(core.ValueError, fname .. "(): host has a zero byte in it", level or 3)
  end
  return host
end

function M.check_path(path, fname)
  if type(path) ~= "string" then
    raise(core.TypeError, ("%s(): path must be a string, got %s"):format(fname, describe(path)), 3)
  end
  if path == "" then raise(core.ValueError, fname .. "(): path is empty", 3) end
  if path:find("\0", 2, true) then raise(core.ValueError, fname .. "(): path has a zero byte in it", 3) end
  if #path > 107 then raise(core.ValueError, ("%s(): path is longer than 107 bytes (%d)"):format(fname, #path), 3) end
  return path
end

function M.check_callback(f, what, fname)
  local mt = type(f) ~= "function" and getmetatable(f)
  if type(f) ~= "function" and not (type(mt) == "table" and mt.__call) then
    raise(core.TypeError, ("%s(): %s must be a function, got %s"):format(fname, what, describe(f)), 3)
  end
  return f
end

--- {host, port} to bind to before connecting.
function M.check_local(addr, fname)
  if addr == nil then return nil end
  if type(addr) ~= "table" then
    raise(core.TypeError, ("%s(): local_addr must be {host, port}, got %s"):format(fname, describe(addr)), 3)
  end
  return { M.check_host(addr[1], fname, 4), M.check_port(addr[2], fname, 4) or 0 }
end

--- The option sock: a stream socket that is taken over; then there is no address.
function M.check_sock(opts, host, port, fname, unix)
  if opts.sock == nil then return end
  if host ~= nil or port ~= nil then
    local what = unix and "path" or "host/port"
    raise(core.ValueError, ("%s(): %s and sock can not be specified at the same time"):format(fname, what), 3)
  end
  local ok, err = pcall(net.check_socket, opts.sock, fname, unix)
  if not ok then raise(core[err.name], err.message, 3) end
end

-- ---- names ----

local resolvers = setmetatable({}, { __mode = "k" })

--- Has f(host, port, opts) give the addresses of names on that loop, in place of the system; nil: the system again.
function M.set_resolver(loop, f)
  resolvers[loop] = f
end

--- What a resolver gives as an entry of getaddrinfo's: it may be an IP address, {host, port}, or a whole entry.
local function entry(value, port, opts)
  if type(value) == "table" and value.address then return value end
  local host, number = value, port
  if type(value) == "table" then
    host, number = value[1], value[2] or port
  end
  if type(host) ~= "string" or not net.isip(host) then
    error(core.TypeError("a resolver must give an array of IP addresses, got " .. describe(value)), 0)
  end
  return net.addrinfo(host, tonumber(number) or 0, opts.type, opts.proto)
end

local ask = async(function(f, host, port, opts)
  local list = f(host, port, opts)
  if core.isawaitable(list) then list = await(list) end
  if type(list) ~= "table" then
    error(core.TypeError("a resolver must give an array of IP addresses, got " .. describe(list)), 0)
  end
  local infos = {}
  for _, value in ipairs(list) do
    local info = entry(value, port, opts)
    local family = opts.family
    if not family or family == "unspec" or family == info.family then infos[#infos + 1] = info end
  end
  return infos
end, "getaddrinfo")

--- An awaitable of the addresses of a name: an array of {family, type, proto, canonname, address}.
function M.getaddrinfo(host, port, opts, passive)
  local f = host and next(resolvers) and resolvers[core.get_running_loop()]
  if f and not net.isip(host) then return ask(f, host, port, opts) end
  local number = math.type(port) == "integer" and port or nil
  return net.getaddrinfo(host, number or port == nil and 0 or nil, port, opts.family, opts.type, opts.proto,
    opts.flags, passive)
end

local function resolve(host, port, opts, passive, kind)
  if host == "" then host = nil end
  local infos = await(M.getaddrinfo(host, port,
    { family = opts.family, type = kind or "stream", proto = opts.proto, flags = opts.flags }, passive))
  if #infos == 0 then error(core.OSError("getaddrinfo() returned empty list"), 0) end
  return infos
end
M.resolve = resolve

--- Families in turn, as RFC 8305 wants it: `first` of the first one, then one of each.
local function interleave(infos, first)
  local groups, order, out = {}, {}, {}
  for _, info in ipairs(infos) do
    local group = groups[info.family]
    if not group then
      group = {}
      groups[info.family], order[#order + 1] = group, group
    end
    group[#group + 1] = info
  end
  for _ = 1, math.min(first - 1, order[1] and #order[1] or 0) do out[#out + 1] = table.remove(order[1], 1) end
  repeat
    local before = #out
    for _, group in ipairs(order) do out[#out + 1] = table.remove(group, 1) end
  until #out == before
  return out
end

-- ---- connecting ----

local networks = setmetatable({}, { __mode = "k" })

--- Has f(addresses, locals, delay) connect on that loop, as net.connect_tcp does; nil: the system again. Of tests.
function M.set_network(loop, f) networks[loop] = f end

--- An awaitable of a Transport, or nil and the errors of all addresses.
function M.connect_tcp(list, locals, delay)
  local f = next(networks) and networks[core.get_running_loop()] or net.connect_tcp
  return f(list, locals, delay)
end

local function place(host, port)
  return (host:find(":", 1, true) and "[%s]:%s" or "%s:%s"):format(host, port)
end

--- One error for all addresses that were tried.
local function combine(errors, host, port, all_errors)
  if all_errors then error(core.ExceptionGroup("create_connection failed", errors), 0) end
  local first = errors[1]
  if #errors == 1 and first.host == host then error(first, 0) end
  local texts, code = {}, first.code
  for i, e in ipairs(errors) do
    texts[i] = ("%s: %s"):format(e.host, e.message:match(" failed: (.*)$") or e.message)
    if e.code ~= code then code = nil end
  end
  local class = isinstance(first, core.TimeoutError) and code and core.TimeoutError or core.OSError
  error(class(("connect to %s failed: %s"):format(place(host or "localhost", port), table.concat(texts, "; ")), {
    code = code or errors[#errors].code, errno = errors[#errors].errno, host = host, port = port, errors = errors,
  }), 0)
end

local function addresses(infos)
  local list = {}
  for i, info in ipairs(infos) do list[i] = info.address end
  return list
end

--- Tries the addresses of the name until one answers, and secures the connection with the settings `tls`. Gives a
--- Transport that nothing reads from yet.
function M.connect(host, port, opts, locals, tls)
  if opts.sock then return secured(net.take_socket(opts.sock), tls) end
  local delay = opts.happy_eyeballs_delay
  if delay == nil then delay = 0.25 end
  local infos = resolve(host, port, opts)
  if locals then locals = addresses(resolve(locals[1], locals[2], opts)) end
  local first = opts.interleave or delay and 1
  if first and first > 0 then infos = interleave(infos, first) end
  local timed = delay and delay < math.huge and delay or nil
  local transport, errors = await(M.connect_tcp(addresses(infos), locals, timed))
  return secured(transport or combine(errors, host, port, opts.all_errors), tls)
end

-- ---- listening ----

--- An address beside which the port is given: it prints as its host.
local Host = { __name = "address" }

function Host:__tostring()
  return self[1]
end

function Host.__concat(a, b)
  return tostring(a) .. tostring(b)
end

--- What getsockname and getpeername give: {host, port, host = , port = } and the port; of a path just that.
function M.name(address)
  if type(address) ~= "table" then return address end
  local host, port = address[1], address[2]
  return setmetatable({ host, port, host = host, port = port }, Host), port
end

--- What stands for a listening socket in `server.sockets`.
local Socket = {}
Socket.__index = Socket
Socket.__name = "Socket"

--- The address (for TCP also the port, as a second value), or the path.
function Socket:getsockname()
  return M.name(self.address)
end

function Socket:__tostring()
  return ("<Socket family=%s laddr=%s>"):format(self.family, self.address)
end

local function bind_all(server, hosts, port, opts)
  local seen, skipped, sockets = {}, nil, server.sockets
  local reuse = opts.reuse_address ~= false
  for _, host in ipairs(hosts) do
    for _, info in ipairs(resolve(host or nil, port, opts, true)) do
      local ip, number = info.address[1], info.address[2]
      local key = place(ip, number)
      if not seen[key] then
        seen[key] = true
        local ok, addr = pcall(net.bind_tcp, server, ip, number, reuse, opts.reuse_port, opts.keep_alive)
        if ok then
          sockets[#sockets + 1] = setmetatable(
            { family = info.family, host = addr[1], port = addr[2], address = addr }, Socket)
        elseif addr.code ~= "EADDRNOTAVAIL" and addr.code ~= "EAFNOSUPPORT" then
          error(addr, 0)
        else
          skipped = addr
        end
      end
    end
  end
  if #sockets == 0 then error(skipped, 0) end
end

--- Listens on a socket that is there already.
local function take(server, sock, cleanup)
  local family, address = sock.family, net.listen_socket(server, sock, cleanup)
  local host, port, path
  if type(address) == "table" then host, port = address[1], address[2] else path = address end
  server.sockets[1] = setmetatable({ family = family, host = host, port = port, path = path, address = address },
    Socket)
end

local function serve(server, opts)
  if opts.start_serving ~= false then
    server:_start_serving()
    await(core.sleep(0))
  end
  return server
end

--- Closes the server if something raises meanwhile.
local function guarded(server, ok, ...)
  if ok then return ... end
  server:close()
  error((...), 0)
end

local function make_server(handler, protocols, limit, opts, tls)
  local server
  local accept = tls and require("asyncio.secure").acceptor(tls, function(transport)
    server:_established(transport)
  end)
  server = net.new_server(handler, protocols, limit, opts.backlog or 100, accept, opts.http)
  if tls and opts.http then tls.context._context:set_alpn_protocols(opts.http:protocols(), true) end
  return server
end

--- A server on all addresses of the hosts (array; false: all interfaces).
M.new_server = async(function(handler, protocols, hosts, port, limit, opts, tls)
  local server = make_server(handler, protocols, limit, opts, tls)
  if opts.sock then
    guarded(server, catch(take, server, opts.sock))
  else
    guarded(server, catch(bind_all, server, hosts, port or 0, opts))
  end
  return guarded(server, catch(serve, server, opts))
end, "create_server")

--- A server on a unix socket.
M.new_unix_server = async(function(handler, protocols, path, limit, opts, tls)
  local server = make_server(handler, protocols, limit, opts, tls)
  if opts.sock then
    guarded(server, catch(take, server, opts.sock, opts.cleanup_socket ~= false))
  else
    guarded(server, catch(net.bind_unix, server, path, opts.cleanup_socket ~= false))
    server.sockets[1] = setmetatable({ family = "unix", path = path, address = path }, Socket)
  end
  return guarded(server, catch(serve, server, opts))
end, "create_unix_server")

--- The hosts of a server: nil or "" is all interfaces.
function M.check_hosts(host, fname)
  if type(host) ~= "table" or type(host.host) == "string" then host = { host } end
  local hosts = {}
  for i = 1, math.max(#host, 1) do
    local h = M.check_host(host[i], fname, 4)
    hosts[i] = h ~= nil and h ~= "" and h or false
  end
  return hosts
end

function M.check_backlog(backlog, fname)
  if backlog ~= nil and (math.type(backlog) ~= "integer" or backlog < 0) then
    raise(core.ValueError, ("%s(): backlog must be a non-negative integer, got %s"):format(fname, backlog), 3)
  end
end

return M
