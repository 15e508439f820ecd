--- The loop's methods for descriptors and sockets (add_reader, sock_recv, ...), and files that go out through
--- connections (sendfile).

local asyncio = require "asyncio.core"
local core = require "socket.core"
local misuse = require "asyncio.misuse"
local net = require "asyncio.net"

local async, await, catch = asyncio.async, asyncio.await, asyncio.catch
local raise, describe = misuse.raise, misuse.describe
local Loop = asyncio.Loop.methods

require "socket"

local M = {}

-- ---- descriptors ----

--- loop:add_reader(fd, f, ...): calls f(...) whenever a descriptor (a number, or a socket) can be read; what was there
--- for it before is replaced. Raises OSError: EPERM for regular files.
Loop.add_reader = core.add_reader
--- loop:remove_reader(fd): whether there was one.
Loop.remove_reader = core.remove_reader
Loop.add_writer = core.add_writer
Loop.remove_writer = core.remove_writer

-- ---- sockets ----

local function forward(name)
  local fname = "sock_" .. name
  Loop[fname] = function(_, sock, ...)
    local mt = type(sock) == "userdata" and getmetatable(sock)
    if not mt or mt.__name ~= "Socket" then
      raise(asyncio.TypeError, ("%s: a socket was expected, got %s"):format(fname, describe(sock)))
    end
    return sock[name](sock, ...)
  end
end

--- Each is the method of the socket that is given: loop:sock_recv(sock, n) is sock:recv(n).
for _, name in ipairs {
  "recv", "recv_into", "recvfrom", "recvfrom_into", "sendall", "sendto", "connect", "accept", "sendfile",
} do
  forward(name)
end

-- ---- files ----

local PIECE = 256 * 1024

local function source_of(file)
  if type(file) == "string" then return await(core.open_source(file)) end
  return core.source(file)
end

local function aborted()
  local text = "ECONNABORTED: software caused connection abort: sendfile: the connection was closed meanwhile"
  error(asyncio.OSError(text, { code = "ECONNABORTED" }), 0)
end

local function take_back(transport, sock, ok, ...)
  while not ok and core.busy(sock) do catch(await, asyncio.sleep(0.001)) end -- a thread finishes its last call
  net.take_back(transport)
  if ok then return ... end
  if transport:is_closing() then
    aborted()
  end
  error((...), 0)
end

--- By the kernel, once all that was written before is gone.
local function send_native(transport, source, offset, count)
  await(net.flushed(transport))
  local sock <close> = net.lend(transport)
  return take_back(transport, sock, catch(await, sock:_sendfile(source, offset, count)))
end

--- By reading and writing.
local function send_copy(transport, source, offset, count)
  local sent = 0
  while not count or sent < count do
    local data = await(core.read_source(source, math.min(PIECE, count and count - sent or PIECE), offset + sent))
    if not data then break end
    if transport:is_closing() then
      aborted()
    end
    transport:write(data)
    sent = sent + #data
    await(net.drained(transport))
  end
  return sent
end

local send = async(function(transport, file, offset, count, fallback)
  if transport:is_closing() then error(asyncio.RuntimeError("Transport is closing"), 0) end
  local native = net.can_lend(transport)
  if not native and not fallback then
    error(asyncio.SendfileNotAvailableError(("sendfile is not available for %s"):format(transport)), 0)
  end
  local source <close> = source_of(file)
  return (native and send_native or send_copy)(transport, source, offset, count)
end, "sendfile")

local function check_number(n, name)
  if n == nil then return nil end
  if math.type(n) ~= "integer" then
    raise(asyncio.TypeError, ("sendfile: %s must be an integer, got %s"):format(name, describe(n)), 3)
  end
  if n < 0 or name == "count" and n == 0 then
    raise(asyncio.ValueError, ("sendfile: %s must be %s, got %d"):format(name,
      name == "count" and "positive" or "non-negative", n), 3)
  end
  return n
end

local function check_transport(transport)
  if pcall(net.can_lend, transport) then return end
  raise(asyncio.TypeError, "sendfile: a transport or a StreamWriter was expected, got " .. describe(transport), 3)
end

local function check_file(file)
  if type(file) ~= "string" and type(file) ~= "number" and type(file) ~= "userdata" and type(file) ~= "table" then
    raise(asyncio.TypeError, "sendfile: a file, a path or a descriptor was expected, got " .. describe(file), 3)
  end
end

--- Sends a file through a connection, after what was written to it before: by the kernel where that can be, else
--- (TLS) by reading and writing. Meanwhile nothing can be written.
---@param transport any a Transport or StreamWriter
---@param file string|integer|any a path, a descriptor, a Lua file or an object with a method fileno; a regular file
---@param offset? integer where in the file it begins, 0 by default
---@param count? integer how many bytes; all by default
---@param opts? { fallback?: boolean } false: raise SendfileNotAvailableError instead of reading and writing
---@return any awaitable of the number of bytes sent
function Loop:sendfile(transport, file, offset, count, opts) -- luacheck: ignore self
  check_transport(transport)
  check_file(file)
  if opts ~= nil then asyncio.options(opts, { "fallback" }, "sendfile") end
  return send(transport, file, check_number(offset, "offset") or 0, check_number(count, "count"),
    not (opts and opts.fallback == false))
end

--- writer:sendfile(file, offset, count, opts): as loop:sendfile.
function M.writer_sendfile(writer, file, offset, count, opts)
  check_transport(writer)
  check_file(file)
  if opts ~= nil then asyncio.options(opts, { "fallback" }, "sendfile") end
  return send(writer, file, check_number(offset, "offset") or 0, check_number(count, "count"),
    not (opts and opts.fallback == false))
end

return M
