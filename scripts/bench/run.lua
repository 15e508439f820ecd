-- Runs the benchmark's rows, each beside its limit and its peers, and prints one table.
--
--   build/moonloop scripts/bench/run.lua [NAME...] [--repeat N] [--json FILE] [--quick] [--no-peers]
--
-- NAME picks rows: "echo" is echo-50, echo-500 and echo-64k. How it measures and how to read the
-- table is in README.md.

local here = arg[0]:match("^(.*)/") or "."
local root = here:match("^(.*)scripts/bench$") or here .. "/../../"
local out = root .. "build/bench/"

local function env(name, default) return os.getenv(name) or default end

local ENGINE = env("ENGINE", root .. "build/moonloop")
local LUA, NODE = env("LUA", "lua5.4"), env("NODE", "node")
local PYTHON = env("PYTHON", "/usr/bin/python3") -- the system's, which python3-uvloop belongs to
local LLHTTP = " -w -DLLHTTP_STRICT_MODE=1 -I/usr/share/include/llhttp $(ls /usr/share/llhttp/*.c)"
local CC, CFLAGS = env("CC", "cc"), "-std=c11 -O2 -Wall -Wextra"

---------------------------------------------------------------------------------------------------
-- What is measured

---@class Figure one line of the table
---@field label string? what it is, when the row's name does not say it
---@field key string the figure's name in what programs print
---@field unit string
---@field must number how many times the limit's figure it may be
---@field aim number
---@field absolute boolean? must and aim are in the unit, not ratios

---@class Row
---@field name string
---@field what string
---@field prepare string? a command to run before
---@field program string NAME.lua here, and the peers' name for it
---@field args string? its arguments
---@field quick string? the same for --quick
---@field under string? the program in C that runs it, "measure 1" by default
---@field quick_under string? the same for --quick
---@field limit string|false the limit's command; false when the program measures its limit itself
---@field empty fun(args: string): string, integer? arguments for no tasks at all, and the tasks of args
---@field more table<string, string>? more subjects: name and command
---@field peers table<string, string|false>? commands of peers that differ, or false to leave one out
---@field host boolean? the subject is host.c, a program in C with engines in it; there are no peers
---@field figures Figure[]

local function ns(must, aim) return { { key = "ns", unit = "ns", must = must, aim = aim } } end

local function echo(name, connections, size, must, aim)
  local load = ("load %d %d "):format(connections, size)
  local python = PYTHON .. " " .. here .. "/peers/bench.py "
  return {
    name = name,
    what = ("echo of %d bytes on %d connections, CPU of a message"):format(size, connections),
    program = "echo",
    under = load .. "1.5",
    quick_under = load .. "0.2",
    limit = out .. "echo",
    more = {
      ["uvloop protocol"] = python .. "uvloop echo-protocol",
      ["moonloop socket"] = ENGINE .. " " .. here .. "/echo_socket.lua ARGS",
    },
    figures = { { key = "us", unit = "us", must = must, aim = aim } },
  }
end

local function udp(name, sockets, must, aim)
  local load = ("load udp %d 64 "):format(sockets)
  local more = { ["moonloop protocol"] = ENGINE .. " " .. here .. "/udp_protocol.lua ARGS" }
  return {
    name = name,
    what = ("datagrams of 64 bytes there and back, %s, CPU of one"):format(
      sockets == 1 and "one at a time" or sockets .. " sockets"),
    program = "udp",
    under = load .. "1.5",
    quick_under = load .. "0.2",
    limit = out .. "udp",
    more = more,
    figures = { { key = "us", unit = "us", must = must, aim = aim } },
  }
end

-- Each message comes in a masked frame, and goes back in one that is not.
local function ws(name, connections, size, must, aim)
  local load = ("load ws %d %d "):format(connections, size)
  return {
    name = name,
    what = ("WebSocket echo of %d bytes on %d connections, CPU of a message"):format(size, connections),
    program = "ws",
    under = load .. "1.5",
    quick_under = load .. "0.2",
    limit = out .. "ws",
    peers = { asyncio = false, uvloop = false },
    figures = { { key = "us", unit = "us", must = must, aim = aim } },
  }
end

-- web.Application asked by wrk, beside libuv with llhttp; by the rate, the limit is 1 / 0.75.
local function http(name, path, what, must, aim, program, limit)
  local load = ("httpload %s 64 "):format(path)
  return {
    name = name,
    what = what .. " on 64 connections, CPU of a request",
    program = program or "http",
    under = load .. "3",
    quick_under = load .. "1",
    limit = limit or out .. "http",
    peers = { asyncio = false, uvloop = false, Node = false },
    figures = { { key = "us", unit = "us", must = must, aim = aim } },
  }
end

-- Records are encrypted by the same code everywhere: what is left is how bytes get there and back.
local function tls(name, connections, size, must, aim)
  local load = ("loadtls %d %d "):format(connections, size)
  return {
    name = name,
    what = ("TLS echo of %d bytes on %d connections, CPU of a message"):format(size, connections),
    program = "tls",
    args = ("%scertificate/cert.pem %scertificate/key.pem"):format(out, out),
    quick = ("%scertificate/cert.pem %scertificate/key.pem"):format(out, out),
    prepare = ("sh %s/../make_certificate.sh %scertificate"):format(here, out),
    under = load .. "1.5",
    quick_under = load .. "0.2",
    limit = out .. "tls",
    figures = { { key = "us", unit = "us", must = must, aim = aim } },
  }
end

-- Web servers that are loaded by wrk: the program starts both.
local nobody = { asyncio = false, uvloop = false, Node = false }

-- The HTTP client and libcurl, asking the same server in C.
---@param server string and its arguments
---@param args string %d stands for the amount
local function client(name, what, server, args, amount, quick, figures)
  return {
    name = name,
    what = what,
    program = "client",
    under = ("against %s%s --"):format(out, server),
    quick_under = ("against %s%s --"):format(out, server),
    args = args:gsub("%%d", tostring(amount)),
    quick = args:gsub("%%d", tostring(quick)),
    limit = out .. "client",
    peers = nobody,
    figures = figures,
  }
end

---The row with what is special about it.
local function with(row, fields)
  for name, value in pairs(fields) do row[name] = value end
  return row
end

local GIB = 1 << 30
-- What a body of 1 GiB costs; by the rate, must is 1 / 0.9.
local function transfer(cpu)
  return {
    { key = "wall", unit = "ms", must = 1.11, aim = 1.0 },
    { label = "CPU of a MiB", key = "us", unit = "us", must = cpu, aim = 1.25 },
  }
end

-- The document is some 100 KB: 620 objects of numbers, short strings and small arrays.
local function json_row(name, what, must, aim)
  return {
    name = "json-" .. name,
    what = what,
    program = "json",
    prepare = ("mkdir -p %s && %s %s/json.lua document %sdocument.json"):format(out, ENGINE, here, out),
    args = name .. " " .. out .. "document.json 2000",
    quick = name .. " " .. out .. "document.json 100",
    limit = LUA .. " " .. here .. "/limit/json.lua",
    peers = { uvloop = false },
    figures = { { key = "us", unit = "us", must = must, aim = aim } },
  }
end

-- What a host in C pays: host.c, beside limit/host.c.
local function host(name, what, args, quick, figure, limit)
  return {
    name = name, what = what, program = "host", host = true, limit = limit == nil and out .. "host",
    args = args, quick = quick, figures = { figure },
  }
end

---@type Row[]
local rows = {
  {
    name = "switch",
    what = "100 tasks that yield 20,000 times",
    program = "switch",
    args = "100 20000",
    quick = "100 1000",
    limit = out .. "switch",
    figures = ns(2.0, 1.6),
  },
  {
    name = "spawn",
    what = "1,000,000 tasks in gathers of 10,000",
    program = "spawn",
    args = "1000000 10000",
    quick = "50000 10000",
    limit = out .. "spawn",
    more = { ["C reusing threads"] = out .. "spawn ARGS reuse" },
    figures = ns(1.2, 0.6),
  },
  {
    name = "await",
    what = "5,000,000 awaits of a coroutine in one task",
    program = "await",
    args = "5000000",
    quick = "500000",
    limit = false,
    figures = ns(10, 5),
  },
  {
    name = "await-name",
    what = "5,000,000 awaits of an async function by its name: await f(x)",
    program = "await",
    args = "5000000 keyword",
    quick = "500000 keyword",
    limit = false,
    figures = ns(4, 3),
  },
  {
    name = "timers",
    what = "1,000,000 tasks asleep for 0..2 s",
    program = "timers",
    args = "1000000 2000",
    quick = "20000 200",
    limit = out .. "timers",
    empty = function(args) return "0 0", tonumber(args:match("^%d+")) end,
    figures = {
      { key = "cpu", unit = "s", must = 1.3, aim = 1.1, label = "CPU" },
      { key = "memory", unit = "KB", must = 1.6, aim = 1.4, absolute = true, label = "memory of a task" },
    },
  },
  {
    name = "queue",
    what = "1,000,000 items through Queue(100)",
    program = "queue",
    args = "1000000 100",
    quick = "50000 100",
    limit = LUA .. " " .. here .. "/limit/queue.lua",
    figures = ns(3, 2),
  },
  {
    name = "lock",
    what = "Lock taken and released, alone",
    program = "lock",
    args = "100 10000 alone",
    quick = "100 500 alone",
    limit = out .. "switch 100 10000",
    peers = { Node = false },
    figures = ns(3, 2),
  },
  {
    name = "lock-contended",
    what = "Lock taken and released, by 100 tasks in turn",
    program = "lock",
    args = "100 10000 contended",
    quick = "100 500 contended",
    limit = out .. "switch 100 10000",
    peers = { Node = false },
    figures = ns(10, 5),
  },
  echo("echo-50", 50, 64, 1.15, 1.08),
  echo("echo-500", 500, 64, 1.15, 1.08),
  echo("echo-64k", 8, 65536, 1.2, 1.1),
  tls("tls-16k", 64, 16384, 1.25, 1.0),
  tls("tls-64", 64, 64, 1.25, 1.1),
  json_row("decode", "a JSON document of 100 KB read; the limit: lua-cjson", 1.0, 0.5),
  json_row("encode", "the same written", 1.0, 0.55),
  http("http", "/", "13 bytes of text from web.Application", 1.4, 1.2),
  http("http-json", "/user/42", "a route with a parameter, its answer in JSON,", 1.5, 1.25),
  http("http-middlewares", "/", "three middlewares, five headers, a cookie; the limit: row http's program;", 1.5, 1.25,
    "http_middlewares", ("%s %s/http.lua"):format(ENGINE, here)),
  {
    name = "http-idle",
    what = "10,000 idle keep-alive connections",
    program = "http",
    under = "idle http 10000",
    quick_under = "idle http 1000",
    limit = out .. "http",
    peers = { asyncio = false, uvloop = false, Node = false },
    figures = {
      { label = "memory of one", key = "memory", unit = "KB", must = 3, aim = 2, absolute = true },
      { label = "opening all", key = "ms", unit = "ms", must = 2, aim = 1.5 },
    },
  },
  ws("ws", 64, 64, 1.4, 1.2),
  ws("ws-16k", 64, 16384, 1.4, 1.2),
  udp("udp", 1, 1.18, 1.08),
  udp("udp-50", 50, 1.18, 1.08),
  {
    name = "readfile",
    what = "a file of 1 GiB in pieces of 64 KiB",
    program = "readfile",
    args = "1024 65536",
    quick = "64 65536",
    limit = out .. "readfile",
    peers = { asyncio = false, uvloop = false },
    figures = { { key = "us", unit = "us", must = 1.25, aim = 1.0 } },
  },
  {
    name = "idle",
    what = "memory of one of 10,000 idle connections",
    program = "echo",
    under = "idle 10000",
    quick_under = "idle 500",
    limit = out .. "echo",
    figures = { { key = "memory", unit = "KB", must = 2.6, aim = 2, absolute = true } },
  },
  {
    name = "processes",
    what = "200 processes of `true` at once",
    program = "processes",
    args = "200 5",
    quick = "50 1",
    limit = out .. "processes",
    figures = { { key = "us", unit = "us", must = 1.15, aim = 1 } },
  },
  {
    name = "processes-pipe",
    what = "200 processes of `echo` at once, their output read",
    program = "processes",
    args = "200 5 pipe",
    quick = "50 1 pipe",
    limit = out .. "processes",
    figures = { { key = "us", unit = "us", must = 1.25, aim = 1 } },
  },
  {
    name = "executor-1",
    what = "run_in_executor, 20,000 calls one at a time",
    program = "executor",
    args = "20000 1",
    quick = "2000 1",
    limit = out .. "executor",
    peers = { Node = false },
    figures = ns(1.5, 1.2),
  },
  {
    name = "executor-100",
    what = "run_in_executor, 20,000 calls, 100 at a time",
    program = "executor",
    args = "20000 100",
    quick = "2000 100",
    limit = out .. "executor",
    peers = { Node = false },
    figures = ns(1.5, 1.2),
  },
  {
    name = "startup",
    what = "start and end of an empty script",
    program = "startup",
    under = "measure 20",
    quick_under = "measure 5",
    limit = LUA .. " " .. here .. "/startup.lua",
    peers = { asyncio = PYTHON .. " -c 'import asyncio'", uvloop = false, Node = NODE .. " -e 0" },
    figures = { { key = "wall", unit = "ms", must = 2.5, aim = 1.5 } },
  },
  host("host-step", "ml_step of an engine that is idle", "step 5000000", "step 500000",
    { key = "ns", unit = "ns", must = 150, aim = 50, absolute = true }),
  host("host-frames", "10,000 tasks that await the next frame, for one; the limit: lua_resume and lua_yield",
    "frames 10000 200", "frames 10000 10", { key = "ns", unit = "ns", must = 2.5, aim = 2 }),
  host("host-calls", "host calls finished by another thread, 100 under way (3,333 ns: 300,000 a second)",
    "calls 1000000 100", "calls 50000 100", { key = "ns", unit = "ns", must = 3333, aim = 1500, absolute = true }),
  host("host-engine", "ml_new and ml_close; the limit: a Lua state with its libraries", "engines 5000",
    "engines 500", { key = "us", unit = "us", must = 3, aim = 2 }),
  host("host-pure", "the same with the profile pure", "pure 5000", "pure 500",
    { key = "us", unit = "us", must = 2, aim = 1.7 }),
  host("host-script", "ml_new and ml_close, with a script that uses asyncio", "scripts 5000", "scripts 500",
    { key = "us", unit = "us", must = 3, aim = 2.5 }),
  host("host-watchdog", "what the watchdog adds to scripts that keep their slices; the limit: noise",
    "watchdog 10", "watchdog 2",
    { key = "percent", unit = "%", must = 1, aim = 0.5, absolute = true }, false),
  host("host-overrun", "a slice of 10 ms is over until the script is stopped; the limit: a thread that sleeps",
    "overrun 50", "overrun 5", { key = "us", unit = "us", must = 1000, aim = 700, absolute = true }, false),
  {
    name = "http-static",
    what = "a file of 1 MiB, 16 connections, by the rate; the limit: nginx",
    program = "static",
    args = "1048576 16 3",
    quick = "1048576 16 1",
    limit = ("%s %s/static.lua nginx"):format(ENGINE, here),
    peers = nobody,
    figures = { { key = "us", unit = "us", must = 1.43, aim = 1.11 } },
  },
  {
    name = "h2",
    what = "web.Application over HTTP/2, h2load -c 10 -m 32, by the rate; the limit: nginx",
    program = "http2",
    args = "300000 10 32",
    quick = "50000 10 32",
    limit = ("%s %s/http2.lua nginx"):format(ENGINE, here),
    peers = nobody,
    figures = { { key = "us", unit = "us", must = 1.43, aim = 1 } },
  },
  {
    name = "http-workers",
    what = "CPU of the busier of two workers for a request of both; the limit: one worker",
    program = "workers",
    args = "512 3",
    quick = "64 1",
    limit = ("%s %s/workers.lua 1"):format(ENGINE, here),
    peers = nobody,
    figures = { { key = "us", unit = "us", must = 0.588, aim = 0.55 } },
  },
  with(client("client", "GETs on 100 kept connections; the limit: libcurl's multi interface", "http",
    "get http://127.0.0.1:PORT/ %d 100", 20000, 2000, {
      { label = "CPU of a request", key = "us", unit = "us", must = 1.5, aim = 1.1 },
      { label = "wall time of one", key = "each", unit = "us", must = 1.54, aim = 1.1 },
    }), {
      peers = {},
      more = {
        ["libcurl on libuv"] = out .. "client by-sockets ARGS",
        ["libuv and llhttp"] = out .. "client_uv ARGS",
        ["Node undici"] = ("%s %s/peers/bench.js client undici ARGS"):format(NODE, here),
      },
    }),
  with(client("client-download", "a body of 1 GiB; the limit: libcurl", "store",
    "download http://127.0.0.1:PORT %d", GIB, GIB // 16, transfer(1.6)), -- strings here, one buffer there
    { more = { curl = "curl -sS -o /dev/null http://127.0.0.1:PORT/bytes/" .. GIB } }),
  with(client("client-upload", "a file of 1 GiB; the limit: libcurl", "store",
    ("upload http://127.0.0.1:PORT/ %supload-%%d"):format(out), GIB, GIB // 16, transfer(1.25)),
    { prepare = ("cd %s && truncate -s %d upload-%d && truncate -s %d upload-%d && cat upload-* >/dev/null")
      :format(out, GIB, GIB, GIB // 16, GIB // 16) }),
  with(client("client-tls", "HTTPS requests on new connections, sessions resumed, 10 at once; the limit: libcurl",
    ("store %scertificate/cert.pem %scertificate/key.pem"):format(out, out),
    ("tls https://127.0.0.1:PORT %%d 10 %scertificate/cert.pem"):format(out), 1000, 100,
    { { label = "CPU of one", key = "us", unit = "us", must = 1.2, aim = 1.0 } }),
    { prepare = ("sh %s/../make_certificate.sh %scertificate"):format(here, out) }),
  client("client-memory", "memory of a request in flight, of 1,000; the limit: libcurl", "store",
    "memory http://127.0.0.1:PORT %d", 1000, 200, { { key = "memory", unit = "KB", must = 1.5, aim = 1.2 } }),
  host("host-memory", "memory of an idle engine over that of a Lua state", "memory 300", "memory 50",
    { key = "memory", unit = "KB", must = 150, aim = 80, absolute = true }),
}

-- The programs in C: sources, and what pkg-config has to find.
local c_programs = {
  measure = { "measure.c" },
  load = { "load.c", "server.c" },
  idle = { "idle.c", "server.c" },
  switch = { "switch.c", lua = true },
  spawn = { "spawn.c", lua = true },
  timers = { "timers.c", lua = true, uv = true },
  echo = { "echo.c", uv = true },
  processes = { "processes.c", uv = true },
  tls = { "tls.c", uv = true, ssl = true },
  http = { "http.c", uv = true, llhttp = true },
  httpload = { "httpload.c", "server.c" },
  ws = { "ws.c", uv = true, ssl = true, wslay = true },
  loadtls = { "loadtls.c", "server.c", ssl = true },
  udp = { "udp.c", uv = true },
  executor = { "executor.c", uv = true },
  readfile = { "readfile.c", uv = true },
  against = { "against.c", "server.c" },
  store = { "store.c", ssl = true },
  client = { "client.c", uv = true, curl = true },
  client_uv = { "client_uv.c", uv = true, llhttp = true },
  host = { "host.c", lua = true, uv = true },
  ["host-moonloop"] = { "../host.c", lua = true, engine = true },
}
local engine_folder = ENGINE:match("^(.*)/") or "."

---------------------------------------------------------------------------------------------------
-- Preparation

local function say(...) io.stderr:write(string.format(...), "\n") end

local function fail(...)
  say(...)
  os.exit(2)
end

---What a shell command prints, and whether it succeeded.
local function output(command)
  local pipe = assert(io.popen(command))
  local text = pipe:read("a")
  return text, pipe:close() == true
end

local function succeeds(command)
  local _, ok = output(command .. " >/dev/null 2>&1")
  return ok
end

---The flags of the first package that is there.
local function pkg_config(...)
  for _, package in ipairs { ... } do
    local flags, ok = output("pkg-config --cflags --libs " .. package .. " 2>/dev/null")
    if ok then return " " .. flags:gsub("%s+$", "") end
  end
  fail("the benchmark needs the development files of %s", (...))
end

local function is_current(target, sources)
  local tests = {}
  for i, source in ipairs(sources) do tests[i] = ("[ %s -nt %s ]"):format(target, source) end
  return succeeds(table.concat(tests, " && "))
end

---Compiles what is missing or older than its sources.
local function build()
  local limit, flags = here .. "/limit/", {}
  os.execute("mkdir -p " .. out)
  for name, program in pairs(c_programs) do
    local sources = {}
    for i, source in ipairs(program) do sources[i] = limit .. source end
    local needs = { limit .. "bench.h", limit .. "server.h", limit .. "hand.h", table.unpack(sources) }
    if program.engine then needs[#needs + 1] = engine_folder .. "/libmoonloop.a" end
    if not is_current(out .. name, needs) then
      flags.lua = flags.lua or pkg_config("lua5.4", "lua-5.4", "lua")
      flags.uv = flags.uv or pkg_config("libuv")
      flags.curl = flags.curl or program.curl and pkg_config("libcurl") or nil
      flags.ssl = flags.ssl or program.ssl and pkg_config("openssl") or nil
      local libraries = (program.lua and flags.lua or "") .. (program.uv and flags.uv or "")
        .. (program.llhttp and LLHTTP or "") .. (program.curl and flags.curl or "")
        .. (program.ssl and flags.ssl or "") .. (program.wslay and " -lwslay" or "")
      if program.engine then
        libraries = pkg_config(("--static %s/moonloop.pc"):format(engine_folder)) .. libraries .. " -lpthread"
      end
      local command = ("%s %s -o %s %s%s"):format(CC, CFLAGS, out .. name, table.concat(sources, " "), libraries)
      if not os.execute(command) then fail("failed: %s", command) end
    end
  end
end

---The peers that are installed: a name and the command in front of a program's name.
local function find_peers()
  local python = ("%s %s/peers/bench.py "):format(PYTHON, here)
  local peers = {
    { name = "asyncio", command = python .. "asyncio", test = PYTHON .. " -c 'import asyncio'" },
    { name = "uvloop", command = python .. "uvloop", test = PYTHON .. " -c 'import uvloop'" },
    { name = "Node", command = ("%s %s/peers/bench.js"):format(NODE, here), test = NODE .. " --version" },
  }
  local found = {}
  for _, peer in ipairs(peers) do
    if succeeds(peer.test) then found[#found + 1] = peer end
  end
  return found
end

---------------------------------------------------------------------------------------------------
-- Measuring

---@class Subject a program that is measured for a row
---@field name string "moonloop", "limit" or a peer's
---@field command string ARGS stands for the row's arguments
---@field samples table<string, number[]> what each repetition gave, by figure
---@field failed boolean?

---@return Subject[]
local function subjects_of(row, peers)
  local subjects = {}
  local function add(name, command)
    subjects[#subjects + 1] = { name = name, command = command, samples = {} }
  end
  add("moonloop", row.host and out .. "host-moonloop ARGS" or ("%s %s/%s.lua ARGS"):format(ENGINE, here, row.program))
  if row.limit then add("limit", row.limit .. (row.limit:find("switch %d") and "" or " ARGS")) end
  for _, peer in ipairs(row.host and {} or peers) do
    local command = row.peers and row.peers[peer.name]
    if command == nil then command = ("%s %s ARGS"):format(peer.command, row.program) end
    if command then add(peer.name, command) end
  end
  for name, command in pairs(#peers > 0 and row.more or {}) do add(name, command) end
  return subjects
end

---Runs one command and returns the figures it prints, or nil.
local function run(under, command, args)
  local text, ok = output(("timeout --foreground 300 %s%s %s"):format(out, under, command:gsub("ARGS", args)))
  if not ok then return nil end
  local figures = {}
  for name, value in text:gmatch("(%l+) (%S+)") do figures[name] = tonumber(value) end
  return figures
end

---One repetition of a subject, with the figures that are calculated from others.
local function measure(row, subject, quick)
  local args = quick and row.quick or row.args or ""
  local under = quick and row.quick_under or row.under or "measure 1"
  local figures = run(under, subject.command, args)
  if figures and row.empty then
    local no_tasks, n = row.empty(args)
    local empty = run(under, subject.command, no_tasks)
    figures.memory = empty and (figures.rss - empty.rss) / n / 1024
  elseif figures and figures.bytes then
    figures.memory = figures.bytes / 1024
  end
  return figures
end

local function median(values)
  local sorted = table.move(values, 1, #values, 1, {})
  table.sort(sorted)
  local middle = (#sorted + 1) // 2
  return #sorted % 2 == 1 and sorted[middle] or (sorted[middle] + sorted[middle + 1]) / 2
end

---Measures a row: every subject once, then again.
---@return table<string, table<string, number>> medians by subject and figure
local function measure_row(row, subjects, options)
  for repetition = 1, options.repeats do
    for _, subject in ipairs(subjects) do
      local figures = not subject.failed and measure(row, subject, options.quick)
      subject.failed = not figures
      for key, value in pairs(figures or {}) do
        local samples = subject.samples[key] or {}
        subject.samples[key], samples[#samples + 1] = samples, value
      end
      local first = row.figures[1]
      say("%s %d/%d %-16s %s", row.name, repetition, options.repeats, subject.name,
        figures and ("%.4g %s"):format(figures[first.key], first.unit) or "failed")
    end
  end
  local medians = {}
  for _, subject in ipairs(subjects) do
    medians[subject.name] = {}
    for key, samples in pairs(subject.samples) do medians[subject.name][key] = median(samples) end
  end
  if row.limit == false then medians.limit = { [row.figures[1].key] = medians.moonloop.limit } end
  return medians
end

---------------------------------------------------------------------------------------------------
-- The table

local function short(value)
  if not value then return "-" end
  return (value >= 100 and "%.0f" or value >= 10 and "%.1f" or "%.2f"):format(value)
end

local function with_unit(value, unit) return value and short(value) .. " " .. unit or "-" end

---@return string[] the cells of one line
local function line(row, figure, subjects, medians)
  local function value(name) return medians[name] and medians[name][figure.key] end
  local ours, limit = value("moonloop"), value("limit")
  local function ratio(x) return x and limit and short(x / limit) .. "x" or "-" end
  local function bound(x) return figure.absolute and x .. " " .. figure.unit or x .. "x" end

  local judged = figure.absolute and ours or ours and limit and ours / limit
  local mark = not judged and "failed" or judged <= figure.aim and "ok, aim" or judged <= figure.must and "ok" or "MISS"
  local peers = {}
  for _, subject in ipairs(subjects) do
    if subject.name ~= "moonloop" and subject.name ~= "limit" then
      local x = value(subject.name)
      peers[#peers + 1] = subject.name .. " " .. (figure.absolute and with_unit(x, figure.unit) or ratio(x))
    end
  end
  return {
    row.name, figure.label and row.what .. ": " .. figure.label or row.what,
    with_unit(ours, figure.unit), with_unit(limit, figure.unit), ratio(ours),
    bound(figure.must), bound(figure.aim), mark, table.concat(peers, ", "),
  }
end

---Prints cells as a table that Markdown and people can read.
local function print_table(lines)
  local widths = {}
  for _, cells in ipairs(lines) do
    for i, cell in ipairs(cells) do widths[i] = math.max(widths[i] or 0, #cell) end
  end
  for n, cells in ipairs(lines) do
    local padded = {}
    for i, cell in ipairs(cells) do padded[i] = cell .. (" "):rep(widths[i] - #cell) end
    print("| " .. table.concat(padded, " | ") .. " |")
    if n == 1 then
      for i, width in ipairs(widths) do padded[i] = ("-"):rep(width) end
      print("| " .. table.concat(padded, " | ") .. " |")
    end
  end
end

---------------------------------------------------------------------------------------------------
-- The command

---Strings, numbers, arrays and tables with string keys as JSON.
local function json(value)
  if type(value) ~= "table" then return type(value) == "string" and ("%q"):format(value) or ("%.9g"):format(value) end
  local parts = {}
  if #value > 0 then
    for i, item in ipairs(value) do parts[i] = json(item) end
    return "[" .. table.concat(parts, ",") .. "]"
  end
  for key, item in pairs(value) do parts[#parts + 1] = ("%q:%s"):format(key, json(item)) end
  table.sort(parts)
  return "{" .. table.concat(parts, ",\n") .. "}"
end

local function parse_arguments()
  local options, i = { repeats = 3, names = {} }, 1
  while arg[i] do
    local word = arg[i]
    if word == "--quick" then
      options.quick = true
    elseif word == "--no-peers" then
      options.no_peers = true
    elseif word == "--repeat" or word == "--json" then
      i = i + 1
      options[word:sub(3)] = arg[i] or fail("%s needs a value", word)
    elseif word:sub(1, 1) == "-" then
      fail("unknown option %s (known: --repeat N, --json FILE, --quick, --no-peers)", word)
    else
      options.names[#options.names + 1] = word
    end
    i = i + 1
  end
  if options["repeat"] then
    options.repeats = math.tointeger(tonumber(options["repeat"]))
    if not options.repeats or options.repeats < 1 then fail("--repeat needs a number from 1 up") end
  end
  return options
end

---The rows that the names pick, all without names.
local function pick(names)
  if #names == 0 then return rows end
  local picked = {}
  for _, name in ipairs(names) do
    local before = #picked
    for _, row in ipairs(rows) do
      if row.name == name or row.name:sub(1, #name + 1) == name .. "-" then picked[#picked + 1] = row end
    end
    if #picked == before then fail("no row is called %s", name) end
  end
  return picked
end

local function main()
  local options = parse_arguments()
  local picked = pick(options.names)
  build()
  local peers = options.no_peers and {} or find_peers()
  local lines = { { "row", "what", "moonloop", "limit", "ratio", "must", "aim", "", "peers" } }
  local results, failed = {}, false
  for _, row in ipairs(picked) do
    local subjects = subjects_of(row, peers)
    if row.prepare and not succeeds(row.prepare) then fail("failed: %s", row.prepare) end
    local medians = measure_row(row, subjects, options)
    results[row.name] = {}
    for _, subject in ipairs(subjects) do
      results[row.name][subject.name] = { median = medians[subject.name], samples = subject.samples }
    end
    failed = failed or subjects[1].failed
    for _, figure in ipairs(row.figures) do lines[#lines + 1] = line(row, figure, subjects, medians) end
  end
  print_table(lines)
  if options.json then
    local file = assert(io.open(options.json, "w"))
    file:write(json(results), "\n")
    file:close()
  end
  os.exit(failed and 1 or 0)
end

main()
