-- Is memory flat? web.Application is asked so many times by h2load: the resident memory after the first tenth and at
-- the end, and by how many percent it has grown. Fails above 5.
--
--   moonloop soak.lua [REQUESTS [h1|h2]]        a million, h1
local asyncio = require "asyncio"
local bench = dofile((arg[0]:match("^(.*)/") or ".") .. "/bench.lua")
local fs = require "fs"
local socket = require "socket"

local requests, how = bench.arg(1, 1000000), arg[2] or "h1"
local PARTS = 10

local function free_port()
  local sock <close> = socket.socket()
  sock:bind("127.0.0.1", 0)
  return sock:getsockname()[2]
end

--- Kilobytes.
local function resident(pid)
  return tonumber(await(fs.read_file(("/proc/%d/status"):format(pid))):match("VmRSS:%s*(%d+)"))
end

local function load(port, n)
  local options = how == "h1" and { "--h1", "-c", "64" } or { "-c", "10", "-m", "32" }
  local words = { "h2load", "-n", n }
  for _, word in ipairs(options) do words[#words + 1] = word end
  words[#words + 1] = ("http://127.0.0.1:%d/user/42"):format(port)
  words[#words + 1] = { stdout = asyncio.subprocess.PIPE }
  local text = await(await(asyncio.create_subprocess_exec(table.unpack(words))):communicate())
  assert(text:find((" %d succeeded, 0 failed"):format(n), 1, true), text)
end

asyncio.run(async(function()
  local engine = await(fs.readlink("/proc/self/exe"))
  local program = (arg[0]:match("^(.*)/") or ".") .. "/http.lua"
  local port, first = free_port(), nil
  local server <close> = await(asyncio.create_subprocess_exec(engine, program, port,
    { stdout = asyncio.subprocess.DEVNULL }))
  while not pcall(function()
    local _, w = await(asyncio.open_connection("127.0.0.1", port))
    w:close()
  end) do await(asyncio.sleep(0.01)) end
  for part = 1, PARTS do
    load(port, requests // PARTS)
    if part == 1 then first = resident(server.pid) end
  end
  local last = resident(server.pid)
  bench.figure("first_kb", first)
  bench.figure("last_kb", last)
  bench.figure("percent", (last / first - 1) * 100)
  server:terminate()
  await(server:wait())
  assert(last <= first * 1.05, "memory has grown")
end))
