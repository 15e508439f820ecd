---@meta socket

-- Module socket. Written by tools/definitions.lua.

---@class socket.ConnectionOptions
---@field family? "inet"|"inet6"
---@field timeout? number seconds
---@field source_address? asyncio.Address

---@class socket.ServerOptions
---@field family? "inet"|"inet6"
---@field backlog? integer
---@field reuse_port? boolean
---@field dualstack_ipv6? boolean

---@class socket.Socket
---@field family string
---@field type string
---@field proto integer
local Socket = {}

--- Awaitable. A cancelled one is taken back: the socket can be connected again.
---@async
---@param host asyncio.Address
---@param port? integer
function Socket:connect(host, port) end

--- Do not wait; raise OSError.
---@param host asyncio.Address
---@param port? integer
function Socket:bind(host, port) end

--- Do not wait; raise OSError.
---@param backlog? integer
function Socket:listen(backlog) end

--- Awaits to a socket and its peer's address.
---@async
---@return socket.Socket
---@return asyncio.Address
function Socket:accept() end

--- Awaits to at most `n` bytes; nil at the end of a stream.
---@async
---@param n integer
---@param flags? integer
---@return string?
function Socket:recv(n, flags) end

--- The same into a Buffer, at position `at` (1), and gives the number of bytes. What was behind is gone.
---@async
---@param buffer socket.Buffer
---@param n? integer
---@param at? integer
---@return integer
function Socket:recv_into(buffer, n, at) end

--- Awaits to the number of bytes that were taken.
---@async
---@param data string|socket.Buffer
---@param flags? integer
---@return integer
function Socket:send(data, flags) end

--- Awaits until all is sent. Cancelled: part of it may be.
---@async
---@param data string|socket.Buffer
---@param flags? integer
function Socket:sendall(data, flags) end

--- Datagrams; `recvfrom` gives data and address.
---@async
---@param data string|socket.Buffer
---@param host asyncio.Address
---@param port? integer
---@return integer
function Socket:sendto(data, host, port) end

--- Datagrams; `recvfrom` gives data and address.
---@async
---@param n integer
---@param flags? integer
---@return string
---@return asyncio.Address
function Socket:recvfrom(n, flags) end

--- Gives the number of bytes and the address.
---@async
---@param buffer socket.Buffer
---@param flags? integer
---@return integer
---@return asyncio.Address
function Socket:recvfrom_into(buffer, flags) end

--- All that are there, at least one and at most `max` (32) of `size` (2048) bytes: arrays of data and of addresses.
---@async
---@param max? integer
---@param size? integer
---@return string[]
---@return asyncio.Address[]
function Socket:recvfrom_many(max, size) end

--- An array of data in one go; awaits to the number of bytes.
---@async
---@param pieces (string|socket.Buffer)[]
---@param address? asyncio.Address
---@param flags? integer
---@return integer
function Socket:sendmsg(pieces, address, flags) end

--- A regular file by the kernel, on a thread: a path, a descriptor, a Lua file or an object with a method `fileno`.
--- Awaits to the number of bytes.
---@async
---@param file any
---@param offset? integer
---@param count? integer
---@return integer
function Socket:sendfile(file, offset, count) end

--- Descriptors (or sockets) over a unix socket; `recv_fds` gives data, an array of descriptors and flags.
---@async
---@param data string
---@param fds (integer|socket.Socket)[]
---@param flags? integer
---@return integer
function Socket:send_fds(data, fds, flags) end

--- Descriptors (or sockets) over a unix socket; `recv_fds` gives data, an array of descriptors and flags.
---@async
---@param n integer
---@param max? integer
---@param flags? integer
---@return string
---@return integer[]
---@return integer
function Socket:recv_fds(n, max, flags) end

--- `SHUT_RD`, `SHUT_WR`, `SHUT_RDWR`, or "rd", "wr", "rdwr".
---@param how integer|"rd"|"wr"|"rdwr"
function Socket:shutdown(how) end

--- `detach` gives the descriptor, which is the caller's then.
function Socket:close() end

--- `detach` gives the descriptor, which is the caller's then.
---@return integer
function Socket:detach() end

--- The descriptor, -1 when it is closed; a socket of a duplicate.
---@return integer
function Socket:fileno() end

--- The descriptor, -1 when it is closed; a socket of a duplicate.
---@return socket.Socket
function Socket:dup() end

--- Addresses.
---@return asyncio.Address
function Socket:getsockname() end

--- Addresses.
---@return asyncio.Address
function Socket:getpeername() end

--- By name: `nodelay`, `cork`, `user_timeout` (ms), `keepalive` (boolean, or `{idle, interval, count}` in seconds),
--- `reuseaddr`, `reuseport`, `broadcast`, `linger` (seconds, or false), `rcvbuf`, `sndbuf`, `ttl`, `v6only`,
--- `multicast_ttl`, `multicast_loop`, `multicast_if` (an interface's address; IPv6: its name or index).
---@param options socket.Options
function Socket:set(options) end

--- By name: `nodelay`, `cork`, `user_timeout` (ms), `keepalive` (boolean, or `{idle, interval, count}` in seconds),
--- `reuseaddr`, `reuseport`, `broadcast`, `linger` (seconds, or false), `rcvbuf`, `sndbuf`, `ttl`, `v6only`,
--- `multicast_ttl`, `multicast_loop`, `multicast_if` (an interface's address; IPv6: its name or index).
---@param name string
---@return any
function Socket:get(name) end

--- Multicast.
---@param group string
---@param interface? string|integer
function Socket:join_group(group, interface) end

--- Multicast.
---@param group string
---@param interface? string|integer
function Socket:leave_group(group, interface) end

--- Values are integers, booleans or strings of bytes.
---@param level integer
---@param option integer
---@param value integer|boolean|string
function Socket:setsockopt(level, option, value) end

--- Values are integers, booleans or strings of bytes.
---@param level integer
---@param option integer
---@param n? integer
---@return integer|string
function Socket:getsockopt(level, option, n) end

--- May child processes have it?
---@param on boolean
function Socket:set_inheritable(on) end

--- May child processes have it?
---@return boolean
function Socket:get_inheritable() end

--- For programs that come from Python.
---@param on boolean
function Socket:setblocking(on) end

--- For programs that come from Python.
---@return boolean
function Socket:getblocking() end

---@class socket.Options
---@field nodelay? boolean
---@field cork? boolean
---@field user_timeout? integer milliseconds
---@field keepalive? boolean|{ idle?: integer, interval?: integer, count?: integer }
---@field reuseaddr? boolean
---@field reuseport? boolean
---@field broadcast? boolean
---@field linger? number|false
---@field rcvbuf? integer
---@field sndbuf? integer
---@field ttl? integer
---@field v6only? boolean
---@field multicast_ttl? integer
---@field multicast_loop? boolean
---@field multicast_if? string|integer

---@class socket.Buffer
local Buffer = {}

--- As string's.
---@return string
function Buffer:tostring() end

--- As string's.
---@param i integer
---@param j? integer
---@return string
function Buffer:sub(i, j) end

--- As string's.
---@param i? integer
---@param j? integer
---@return integer
---@return integer ...
function Buffer:byte(i, j) end

--- Plain text; first and last position, or nothing.
---@param text string
---@param init? integer
---@return integer?
---@return integer?
function Buffer:find(text, init) end

--- Replaces what is in it.
---@param data string|socket.Buffer
function Buffer:set(data) end

--- Adds to what is in it.
---@param data string|socket.Buffer
function Buffer:append(data) end

--- Empties it.
function Buffer:clear() end

--- How many bytes it has room for.
---@return integer
function Buffer:capacity() end

--- Drops the first `n` bytes; gives how many are left.
---@param n integer
---@return integer
function Buffer:consume(n) end

---@class socket
---@field AF_INET string
---@field AF_INET6 string
---@field AF_UNIX string
---@field INADDR_ANY string
---@field IPPROTO_ICMP integer
---@field IPPROTO_ICMPV6 integer
---@field IPPROTO_IP integer
---@field IPPROTO_IPV6 integer
---@field IPPROTO_RAW integer
---@field IPPROTO_TCP integer
---@field IPPROTO_UDP integer
---@field IPV6_JOIN_GROUP integer
---@field IPV6_LEAVE_GROUP integer
---@field IPV6_MULTICAST_HOPS integer
---@field IPV6_MULTICAST_IF integer
---@field IPV6_MULTICAST_LOOP integer
---@field IPV6_UNICAST_HOPS integer
---@field IPV6_V6ONLY integer
---@field IP_ADD_MEMBERSHIP integer
---@field IP_DROP_MEMBERSHIP integer
---@field IP_MULTICAST_IF integer
---@field IP_MULTICAST_LOOP integer
---@field IP_MULTICAST_TTL integer
---@field IP_TOS integer
---@field IP_TTL integer
---@field MSG_CTRUNC integer
---@field MSG_DONTROUTE integer
---@field MSG_DONTWAIT integer
---@field MSG_MORE integer
---@field MSG_NOSIGNAL integer
---@field MSG_OOB integer
---@field MSG_PEEK integer
---@field MSG_TRUNC integer
---@field MSG_WAITALL integer
---@field SHUT_RD integer
---@field SHUT_RDWR integer
---@field SHUT_WR integer
---@field SOCK_DGRAM string
---@field SOCK_RAW string
---@field SOCK_SEQPACKET string
---@field SOCK_STREAM string
---@field SOL_SOCKET integer
---@field SOMAXCONN integer
---@field SO_ACCEPTCONN integer
---@field SO_BINDTODEVICE integer
---@field SO_BROADCAST integer
---@field SO_BUSY_POLL integer
---@field SO_DOMAIN integer
---@field SO_ERROR integer
---@field SO_INCOMING_CPU integer
---@field SO_KEEPALIVE integer
---@field SO_LINGER integer
---@field SO_MARK integer
---@field SO_OOBINLINE integer
---@field SO_PASSCRED integer
---@field SO_PEERCRED integer
---@field SO_PRIORITY integer
---@field SO_PROTOCOL integer
---@field SO_RCVBUF integer
---@field SO_RCVLOWAT integer
---@field SO_REUSEADDR integer
---@field SO_REUSEPORT integer
---@field SO_SNDBUF integer
---@field SO_TYPE integer
---@field TCP_CORK integer
---@field TCP_DEFER_ACCEPT integer
---@field TCP_FASTOPEN integer
---@field TCP_KEEPCNT integer
---@field TCP_KEEPIDLE integer
---@field TCP_KEEPINTVL integer
---@field TCP_MAXSEG integer
---@field TCP_NODELAY integer
---@field TCP_QUICKACK integer
---@field TCP_USER_TIMEOUT integer
local socket = {}
socket.Socket = Socket

--- A new socket: "inet", "stream" by default. `opts`: `fileno`, a descriptor that is taken over: then nothing else is
--- needed, `socket.socket{fileno = 3}`.
---@param family? string|{ fileno: integer }
---@param type? string
---@param proto? integer|string
---@param opts? { fileno?: integer }
---@return socket.Socket
function socket.socket(family, type, proto, opts) end

--- A socket of a duplicate of the descriptor.
---@param fd integer
---@return socket.Socket
function socket.fromfd(fd) end

--- Two sockets that are connected to each other, "unix" by default.
---@param family? string
---@param type? string
---@param proto? integer|string
---@return socket.Socket
---@return socket.Socket
function socket.socketpair(family, type, proto) end

--- Awaits to a connected stream socket. `opts`: `family`, `timeout` (seconds), `source_address`.
---@async
---@param host string
---@param port integer|string
---@param opts? socket.ConnectionOptions
---@return socket.Socket
function socket.create_connection(host, port, opts) end

--- Awaits to a stream socket that listens. `opts`: `family`, `backlog`, `reuse_port`, `dualstack_ipv6`.
---@async
---@param host? string
---@param port? integer|string
---@param opts? socket.ServerOptions
---@return socket.Socket
function socket.create_server(host, port, opts) end

--- The sockets that a service manager has passed on (`LISTEN_FDS`), and an array of their names.
---@return socket.Socket[]
---@return string[]
function socket.listen_fds() end

--- Room for `n` bytes, or a string's; see Buffer below.
---@param n integer|string
---@return socket.Buffer
function socket.buffer(n) end

--- As the loop's.
---@async
---@param host? string
---@param port? integer|string
---@param opts? asyncio.AddressOptions
---@return asyncio.AddressInfo[]
function socket.getaddrinfo(host, port, opts) end

--- As the loop's.
---@async
---@param address asyncio.Address
---@param flags? string|string[]
---@return string
---@return string
function socket.getnameinfo(address, flags) end

--- The descriptor of a Lua file, or of what has a method `fileno`.
---@param file any
---@return integer
function socket.fileno(file) end

--- This host's name.
---@return string
function socket.gethostname() end

--- Does this host have IPv6?
---@return boolean
function socket.has_ipv6() end

--- An interface's number.
---@param name string
---@return integer
function socket.if_nametoindex(name) end

--- Between an address and its bytes.
---@param family string
---@param text string
---@return string
function socket.inet_pton(family, text) end

--- Between an address and its bytes.
---@param family string
---@param bytes string
---@return string
function socket.inet_ntop(family, bytes) end

return socket
