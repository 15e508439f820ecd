-- The HTTP client beside libcurl: limit/client.c has the same modes.
--
--   moonloop client.lua get URL REQUESTS AT_ONCE      GETs on kept connections: `us` CPU of one, `each` wall time
--                       tls URL REQUESTS AT_ONCE CA   each on a connection of its own, TLS sessions resumed
--                       download URL BYTES            one body: `ms`, and `us` CPU of a MiB
--                       upload URL FILE
--                       memory URL REQUESTS           KB of a request in flight
local asyncio = require "asyncio"
local bench = dofile((arg[0]:match("^(.*)/") or ".") .. "/bench.lua")
local fs = require "fs"
local http = require "http"
local time = require "time"

local mode, url = arg[1], arg[2]
local MIB = 1 << 20
local ANSWER = 13 -- bytes of each small answer
local FOREVER = http.ClientTimeout {}

--- Figures of n things that f does.
local function measured(n, name, f)
  local cpu, started = time.process_time(), bench.now()
  f()
  local elapsed = bench.now() - started
  bench.figure("us", (time.process_time() - cpu) * 1e6 / n)
  if name == "each" then
    bench.figure("each", elapsed * 1e6 / n)
    bench.figure("rate", n / elapsed)
  else
    bench.figure(name, elapsed * 1e3)
  end
end

--- So many GETs by so many tasks.
local function get(session, n, at_once)
  local left = n
  local worker = async(function()
    while left > 0 do
      left = left - 1
      local resp <close> = await(session:get(url))
      assert(#await(resp:read()) == ANSWER)
    end
  end)
  local workers = {}
  for i = 1, at_once do workers[i] = worker() end
  measured(n, "each", function() await(asyncio.gather(workers)) end)
end

local modes = {}

function modes.get()
  local n, at_once = bench.arg(3, 20000), bench.arg(4, 100)
  local session <close> = http.ClientSession { connector = http.TCPConnector { limit = at_once } }
  get(session, n, at_once)
end

function modes.tls()
  local n, at_once = bench.arg(3, 1000), bench.arg(4, 10)
  local context = require("ssl").create_default_context({ cafile = arg[5] })
  local session <close> = http.ClientSession { connector = http.TCPConnector { limit = at_once, ssl = context } }
  get(session, n, at_once)
  local resp <close> = await(session:get(url .. "/resumed"))
  assert(tonumber(await(resp:text())) >= n - at_once, "sessions were not resumed")
end

function modes.download()
  local n, got = bench.arg(3, 1 << 30), 0
  local session <close> = http.ClientSession { timeout = FOREVER }
  measured(n / MIB, "ms", function()
    local resp <close> = await(session:get(("%s/bytes/%d"):format(url, n)))
    for piece in resp.content:iter_any() do got = got + #piece end
  end)
  assert(got == n, "a body of another length")
end

function modes.upload()
  local size = await(fs.stat(arg[3])).size
  local session <close> = http.ClientSession { timeout = FOREVER }
  measured(size / MIB, "ms", function()
    local file <close> = await(fs.open(arg[3], "rb"))
    local resp <close> = await(session:put(url, { data = file }))
    assert(tonumber(await(resp:text())) == size, "a body of another length")
  end)
end

--- Resident bytes.
local function resident()
  return tonumber(await(fs.read_file("/proc/self/statm")):match("^%d+ (%d+)")) * 4096
end

function modes.memory()
  local n = bench.arg(3, 1000)
  local session <close> = http.ClientSession { timeout = FOREVER, connector = http.TCPConnector { limit = 0 } }
  local ask = async(function(path)
    local resp <close> = await(session:get(url .. path))
    assert(#await(resp:read()) == ANSWER)
  end)
  await(ask("/"))
  local before, asked = resident(), {}
  for i = 1, n do asked[i] = asyncio.create_task(ask("/hold")) end
  await(ask("/held/" .. n))
  bench.figure("memory", (resident() - before) / 1024 / n)
  await(ask("/go"))
  await(asyncio.gather(asked))
end

asyncio.run(async(assert(modes[mode], "what is it to do?")))
