-- Is memory flat? So many requests in ten parts: the resident memory after the first part and at the end, and by how
-- many percent it has grown. Fails above 5.
--
--   moonloop soak.lua [REQUESTS [h1|h2]]     web.Application is asked by h2load: its memory; a million, h1
--   moonloop soak.lua [REQUESTS] client      a session asks it, and is cancelled, times out, leaves bodies unread,
--                                            loses its connections: the client's memory (from the fifth part on: by
--                                            then its caches are full), its descriptors; client-h2: by HTTP/2
local asyncio = require "asyncio"
local bench = dofile((arg[0]:match("^(.*)/") or ".") .. "/bench.lua")
local fs = require "fs"
local here = arg[0]:match("^(.*)/") or "."
local servers = dofile(here .. "/servers.lua")

local requests, how = bench.arg(1, 1000000), arg[2] or "h1"
local PARTS = 10

--- Kilobytes.
local function resident(pid)
  return tonumber(await(fs.read_file(("/proc/%s/status"):format(pid))):match("VmRSS:%s*(%d+)"))
end

local function load(port, n)
  local options = how == "h1" and { "--h1", "-c", "64" } or { "-c", "10", "-m", "32" }
  local words = { "h2load", "-n", n, table.unpack(options) }
  words[#words + 1] = ("http://127.0.0.1:%d/user/42"):format(port)
  local text = servers.load(table.unpack(words))
  assert(text:find((" %d succeeded, 0 failed"):format(n), 1, true), text)
end

-- ---- the client ----

--- What a script may do to a request.
local ways = {
  function(session, url) -- as it should be
    local resp <close> = await(session:get(url))
    assert(await(resp:json()).id == 42)
  end,
  function(session, url) -- the body is left alone
    local _ <close> = await(session:get(url))
  end,
  function(session, url) -- a method that is not allowed, with a body
    local resp <close> = await(session:post(url, { data = ("x"):rep(2000) }))
    assert(resp.status == 405)
  end,
  function(session, url) -- the last one on its connection
    local resp <close> = await(session:get(url, { headers = { Connection = "close" } }))
    await(resp:read())
  end,
  function(session, url) -- cancelled, at any time
    local task = asyncio.create_task(async(function()
      local resp <close> = await(session:get(url))
      await(resp:read())
    end))
    for _ = 1, math.random(0, 4) do await(asyncio.sleep(0)) end
    task:cancel()
    asyncio.catch(await, task)
  end,
  function(session, url) -- late
    asyncio.catch(function()
      local resp <close> = await(session:get(url, { timeout = { total = math.random() / 1000 + 1e-6 } }))
      await(resp:read())
    end)
  end,
  function(session, url) -- dropped without a word
    await(session:get(url, { params = { q = math.random(1000) } }))
  end,
}

local function ask(session, url, n)
  local left, workers = n, {}
  local worker = async(function()
    while left > 0 do
      left = left - 1
      ways[math.random(4) == 1 and math.random(#ways) or 1](session, url)
    end
  end)
  for i = 1, 50 do workers[i] = worker() end
  await(asyncio.gather(workers))
end

local function descriptors()
  collectgarbage()
  collectgarbage()
  for _ = 1, 10 do await(asyncio.sleep(0)) end
  return #await(fs.listdir("/proc/self/fd"))
end

--- The figures of a client; `more` descriptors than before are an error.
local function soak_client(port)
  local http = require "http"
  local url = ("http://127.0.0.1:%d/user/42"):format(port)
  local before = descriptors()
  local first
  do
    local connector = http.TCPConnector { limit = 40, http2 = how == "client-h2" and "prior" }
    local session <close> = http.ClientSession { connector = connector }
    for part = 1, PARTS do
      ask(session, url, requests // PARTS)
      collectgarbage()
      if part == PARTS // 2 then first = resident("self") end
    end
  end
  local more = descriptors() - before
  bench.figure("descriptors", more)
  assert(more <= 0, "descriptors are left open")
  return first, resident("self")
end

-- ---- the server ----

local function soak_server(port, pid)
  local first
  for part = 1, PARTS do
    load(port, requests // PARTS)
    if part == 1 then first = resident(pid) end
  end
  return first, resident(pid)
end

asyncio.run(async(function()
  local port = servers.free_port()
  local server <close> = servers.engine { here .. "/http.lua", port }
  servers.wait_for(port)
  local first, last
  if how == "client" or how == "client-h2" then
    first, last = soak_client(port)
  else
    first, last = soak_server(port, server.pid)
  end
  bench.figure("first_kb", first)
  bench.figure("last_kb", last)
  bench.figure("percent", (last / first - 1) * 100)
  server:terminate()
  await(server:wait())
  assert(last <= first * 1.05, "memory has grown")
end))
