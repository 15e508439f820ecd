--- Proxies for specs: of HTTP (the whole URL in the request line, and CONNECT) and SOCKS 4, 4a and 5, over plain
--- connections or TLS. They note what they were asked, and can be told to fail.

local asyncio = require "asyncio"

local M = {}

local catch = asyncio.catch

--- Copies both ways until one side ends.
local function join(r1, w1, r2, w2)
  local function copy(from, to)
    return async(function()
      catch(function()
        while true do
          local data = await(from:read(65536))
          if not data then break end
          to:write(data)
          await(to:drain())
        end
      end)
      to:close()
    end)
  end
  await(asyncio.gather(copy(r1, w2)(), copy(r2, w1)()))
end

local function read_head(reader)
  local lines = {}
  while true do
    local line = await(reader:readline())
    if not line or line == "\r\n" then return line and lines end
    lines[#lines + 1] = line:match("^(.-)\r?\n$")
  end
end

--- What stands behind a proxy: a server that answers each request with its line, and what more(head) gives.
--- Gives the server and its port.
function M.origin(opts, more)
  local server = await(asyncio.start_server(async(function(reader, writer)
    catch(function()
      while true do
        local head = await(reader:readuntil("\r\n\r\n"))
        local text = head:match("^[^\r]+") .. (more and more(head) or "")
        writer:write(("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s"):format(#text, text))
      end
    end)
    writer:close()
  end), "127.0.0.1", 0, opts))
  return server, server.sockets[1].port
end

--- A proxy of HTTP. opts: ssl; answer(lines, writer): true if it has answered by itself; resolve: {name = address};
--- established: the answer to CONNECT.
--- Gives the server, its port and a list of the heads that it was sent.
function M.http(opts)
  opts = opts or {}
  local seen = {}
  local server = await(asyncio.start_server(async(function(reader, writer)
    catch(function()
      while true do
        local lines = read_head(reader)
        if not lines then break end
        seen[#seen + 1] = lines
        if opts.answer and opts.answer(lines, writer) then break end
        local method, target = lines[1]:match("^(%S+) (%S+)")
        if method == "CONNECT" then
          local host, port = target:match("^(.*):(%d+)$")
          host = (opts.resolve or {})[host] or host:gsub("[%[%]]", "")
          local r, w = await(asyncio.open_connection(host, math.tointeger(tonumber(port))))
          writer:write(opts.established or "HTTP/1.1 200 Connection established\r\n\r\n")
          join(reader, writer, r, w)
          break
        end
        local body = ("%s %s"):format(method, target)
        writer:write(("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s"):format(#body, body))
      end
    end)
    writer:close()
  end), "127.0.0.1", 0, { ssl = opts.ssl }))
  return server, server.sockets[1].port, seen
end

local function text_of(bytes)
  return ("%d.%d.%d.%d"):format(bytes:byte(1, 4))
end

local function serve5(reader, writer, opts, note)
  local n = await(reader:readexactly(1)):byte()
  local methods = await(reader:readexactly(n))
  note.methods = methods
  if opts.user then
    if not methods:find("\2", 1, true) then
      writer:write("\5\255")
      return nil
    end
    writer:write("\5\2")
    await(reader:readexactly(1))
    note.user = await(reader:readexactly(await(reader:readexactly(1)):byte()))
    note.password = await(reader:readexactly(await(reader:readexactly(1)):byte()))
    local ok = note.user == opts.user and note.password == opts.password
    writer:write(ok and "\1\0" or "\1\1")
    if not ok then return nil end
  else
    writer:write("\5\0")
  end
  local kind = await(reader:readexactly(4)):byte(4)
  if kind == 1 then
    note.host = text_of(await(reader:readexactly(4)))
  elseif kind == 4 then
    note.host = require("socket").inet_ntop("inet6", await(reader:readexactly(16)))
  else
    note.host = await(reader:readexactly(await(reader:readexactly(1)):byte()))
  end
  note.port = (">I2"):unpack(await(reader:readexactly(2)))
  if opts.status then
    writer:write("\5" .. string.char(opts.status) .. "\0\1\0\0\0\0\0\0")
    return nil
  end
  return "\5\0\0" .. (opts.bound or "\1\127\0\0\1\0\80")
end

local function serve4(reader, writer, opts, note)
  await(reader:readexactly(1))
  note.port = (">I2"):unpack(await(reader:readexactly(2)))
  local ip = await(reader:readexactly(4))
  note.host = text_of(ip)
  note.user = await(reader:readuntil("\0")):sub(1, -2)
  if note.host:find("^0%.0%.0%.") then note.host = await(reader:readuntil("\0")):sub(1, -2) end
  if opts.status then
    writer:write("\0" .. string.char(opts.status) .. ("\0"):rep(6))
    return nil
  end
  return "\0\90" .. ("\0"):rep(6)
end

--- A SOCKS proxy, of either version. opts: user, password, status (what it refuses with), resolve, bound (its answer's
--- address), say (bytes in place of everything).
function M.socks(opts)
  opts = opts or {}
  local seen = {}
  local server = await(asyncio.start_server(async(function(reader, writer)
    catch(function()
      if opts.say then
        writer:write(opts.say)
        return
      end
      local note = { version = await(reader:readexactly(1)):byte() }
      seen[#seen + 1] = note
      local answer = (note.version == 5 and serve5 or serve4)(reader, writer, opts, note)
      if not answer then return end
      local host = (opts.resolve or {})[note.host] or note.host
      local ok, r, w = catch(await, asyncio.open_connection(host, note.port))
      if not ok then
        writer:write(note.version == 5 and "\5\5\0\1\0\0\0\0\0\0" or "\0\91" .. ("\0"):rep(6))
        return
      end
      writer:write(answer)
      join(reader, writer, r, w)
    end)
    writer:close()
  end), "127.0.0.1", 0))
  return server, server.sockets[1].port, seen
end

return M
