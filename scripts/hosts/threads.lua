-- One thread's part of a key-value server: the same script runs in each thread, the store is the host's.
--   build/hosts/threads scripts/hosts/threads.lua
-- Lines: "set KEY VALUE", "get KEY", "del KEY", "add KEY N", "info", "quit". Answers begin with "+" or "-".

local asyncio = require "asyncio"

local port, number, threads = server.info()
local served = 0

local commands = {}

function commands.set(rest)
  local key, value = rest:match "^(%S+) (.*)$"
  if not key then return "-set KEY VALUE" end
  store.set(key, value)
  return "+ok"
end

function commands.get(rest)
  local value = store.get(rest)
  return value and "+" .. value or "-none"
end

function commands.del(rest)
  store.set(rest, nil)
  return "+ok"
end

function commands.add(rest)
  local key, n = rest:match "^(%S+) (%-?%d+%.?%d*)$"
  if not key then return "-add KEY N" end
  return "+" .. store.add(key, tonumber(n))
end

function commands.info()
  local _, _, _, keys = server.info()
  return ("+thread %d of %d, %d connections here, %d keys"):format(number, threads, served, keys)
end

local function answer(line)
  local command, rest = line:match "^(%a+) ?(.*)$"
  local f = commands[command]
  if not f then return "-commands are set, get, del, add, info, quit" end
  return f(rest)
end

local function converse(reader, writer)
  local _ <close> = writer
  for line in reader:lines() do
    line = line:gsub("\r$", "")
    if line == "quit" then return end
    writer:write(answer(line) .. "\n")
    await writer:drain()
  end
end

local function serve(reader, writer)
  served = served + 1
  local ok, err = pcall(converse, reader, writer)
  if not ok and not asyncio.isinstance(err, asyncio.OSError) then error(err, 0) end -- who just leaves is no error
end

local listener <close> = await asyncio.start_server(serve, "127.0.0.1", port, { reuse_port = true })
server.ready()
await server.stopping()
listener:close()
listener:close_clients()
await asyncio.wait_for(listener:wait_closed(), 5)
