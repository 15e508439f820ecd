--- Random programs that call all of asyncio with all kinds of values from all kinds of places: none may crash,
--- wedge or corrupt the engine. What they compute does not matter, nor which errors they get.
---   build/moonloop spec/fuzz/scripts_fuzz.lua [SECONDS [SEED]]
--- Without a seed it starts itself again and again with seeds of the time, and tells of each that ended badly.
--- FUZZ_TRACE=1 shows each call on standard error before it is made.

local seconds, seed = tonumber(arg[1]) or 30, tonumber(arg[2])

-- ---- the driver -------------------------------------------------------------------

if not seed then
  local engine = os.getenv("MOONLOOP") or "build/moonloop"
  local first, runs, bad, stop = os.time() * 100, 0, 0, os.time() + seconds
  local log = os.tmpname()
  while os.time() < stop do
    local command = ("timeout -k 5 60 %s %s 2 %d"):format(engine, arg[0], first + runs)
    local _, how, code = os.execute(command .. " >" .. log .. " 2>&1 </dev/null")
    -- a program may end itself with any status; signals, timeout's and the sanitizers' are other things
    if how ~= "exit" or code == 99 or code >= 124 then
      bad = bad + 1
      print(("%s\n  ended with %s %s; the last of what it said:"):format(command, how, code))
      os.execute("tail -n 30 " .. log .. " | cut -c1-300")
    end
    runs = runs + 1
  end
  os.remove(log)
  print(("%d runs of random programs, %d ended badly"):format(runs, bad))
  os.exit(bad == 0 and 0 or 1)
end

-- ---- the pool -----------------------------------------------------------------------

local asyncio = require "asyncio"
local core = require "asyncio.core"
local real = { -- what programs may replace or break
  error = error, pcall = pcall, select = select, tostring = tostring, type = type, next = next,
  unpack = table.unpack, random = math.random, clock = os.clock, write = io.stderr.write, stderr = io.open("/dev/stderr", "w"), -- scripts may close io.stderr
  collectgarbage = collectgarbage, sethook = debug.sethook, getmetatable = getmetatable, rawequal = rawequal,
  setmetatable = setmetatable, close_loop = core.Loop.methods.close, time = os.time, min = math.min, exit = os.exit, format = string.format, rep = string.rep,
}
local random, rpcall = real.random, real.pcall
math.randomseed(seed)
local trace = os.getenv("FUZZ_TRACE")

local pool, steps, depth = {}, 0, 0
local catch = asyncio.catch

local function put(...)
  for i = 1, real.min(real.select("#", ...), 50) do
    local v = real.select(i, ...)
    if #pool < 120 then pool[#pool + 1] = v == nil and 0 or v else pool[random(#pool)] = v == nil and 0 or v end
  end
end

local function one_of(t) return t[random(#t)] end

local act -- does something; below

local oddities = {
  function() return nil end,
  function() return random(-3, 10) end,
  function() return one_of { 0 / 0, math.huge, -math.huge, 2 ^ 53, math.maxinteger, math.mininteger, 0.5, 1e300 } end,
  function() return ("x"):rep(random(0, 300)) end,
  function() return one_of { "\n", "a\nb\n", "127.0.0.1", "localhost", "name", "message" } end,
  function() return true end,
  function() return {} end,
  function() return { real.unpack(pool, 1, random(0, 5)) } end,
  function() return function(...) put(...) act() return ... end end,
  function() return function() real.error(one_of(pool), random(0, 2)) end end,
  function() return print end,
  function() return coroutine.create(function(...) put(...) act() put(coroutine.yield(1)) act() end) end,
  function() return coroutine.wrap(function(...) put(...) act() coroutine.yield(2) act() end) end,
  function() return async(function(...) put(...) act() return ... end) end,
  function() return async(function(...) put(...) act() act() return ... end)(one_of(pool)) end,
  function() return io.stderr end,
  function() return { timeout = random(0, 2), return_exceptions = random() < 0.5 } end,
  function() return { name = one_of(pool) } end,
  function() return { eager_start = true, name = "eager" } end,
}

local events = {
  "__index", "__newindex", "__call", "__tostring", "__eq", "__lt", "__le", "__len", "__concat", "__close", "__gc",
  "__await", "__name", "__pairs", "__add", "__unm", "__aenter", "__aexit", "__anext", "__aiter", "__mode", "__base",
}

--- An object whose metamethods do anything.
local function nasty()
  local mt = {}
  for _ = 1, random(1, 6) do
    local event = one_of(events)
    if event == "__name" then mt.__name = one_of(pool)
    elseif event == "__mode" then mt.__mode = one_of { "k", "v", "kv" }
    elseif event == "__base" then mt.__base = mt
    elseif event == "__index" and random() < 0.3 then mt.__index = one_of(pool)
    else
      mt[event] = function(...)
        put(...)
        act()
        return one_of(pool)
      end
    end
  end
  if random() < 0.1 then mt.__metatable = false end
  return real.setmetatable({}, mt)
end

local function value()
  local r = random()
  if r < 0.72 and #pool > 0 then return one_of(pool) end
  if r < 0.92 then return one_of(oddities)() end
  return nasty()
end

local function values(n)
  local t = {}
  for i = 1, n or random(0, 4) do t[i] = value() end
  return t, n
end

-- ---- what there is to be called -----------------------------------------------------

local function sorted_functions(t, skip)
  local names, list = {}, {}
  for name, f in real.next, t do
    if real.type(name) == "string" and not (skip and skip[name]) and real.type(f) ~= "string" then
      names[#names + 1] = name
    end
  end
  table.sort(names)
  for i, name in ipairs(names) do list[i] = { name = name, f = t[name] } end
  return list
end

for _ in pairs(asyncio) do end -- all of it is loaded
local functions = sorted_functions(asyncio, { run = true, Runner = true })
local natives = sorted_functions(core, { on_sigint = true })
local loops, closed = {}, {}

local function note_loop(l) loops[#loops + 1] = l return l end

local function new_loop() return note_loop(asyncio.new_event_loop { clock = "virtual", debug = random() < 0.1 }) end

--- A loop that runs forever would not be a fault: all of them get an end.
local function bound()
  for _, l in ipairs(loops) do rpcall(function() l:call_later(3, l.stop, l) end) end
end

local methods = {}
local function learn(object)
  local mt = real.getmetatable(object)
  local index = real.type(mt) == "table" and mt.__index
  local list = {}
  while real.type(index) == "table" do
    for _, e in ipairs(sorted_functions(index)) do list[#list + 1] = e.name end
    local up = real.getmetatable(index)
    index = real.type(up) == "table" and up.__index or nil
  end
  for _, name in ipairs(list) do methods[#methods + 1] = name end
end

do
  local l = new_loop()
  for name in real.next, core.Loop.methods do methods[#methods + 1] = name end
  table.sort(methods)
  learn(l:create_future())
  local t = l:create_task(asyncio.sleep(0))
  learn(t)
  learn(l:call_later(0, print))
  for _, class in ipairs { "Lock", "Event", "Semaphore", "Queue", "PriorityQueue", "Condition", "StreamReader" } do
    learn(asyncio[class]())
  end
  learn(asyncio.Barrier(2))
  for _, name in ipairs {
    "write", "writelines", "drain", "close", "wait_closed", "is_closing", "get_extra_info", "write_eof", "abort",
    "start_serving", "serve_forever", "close_clients", "abort_clients", "is_serving", "get_loop", "pause_reading",
    "create_task", "resume_reading", "set_protocol", "get_protocol", "set_write_buffer_limits", "lines", "items", "reschedule",
    "communicate", "wait", "send_signal", "terminate", "kill", "add_signal_handler", "remove_signal_handler",
  } do methods[#methods + 1] = name end
  for i = #methods, 1, -1 do
    if methods[i] == "run_forever" or methods[i] == "run_until_complete" then table.remove(methods, i) end
  end
  t:cancel()
  l:close()
  loops = {}
end

-- ---- actions ------------------------------------------------------------------------

local function say(what)
  if trace then real.write(real.stderr, real.format("%3d %s%s\n", steps, real.rep(" ", depth), what)) end
end

local function call(name, f, ...)
  say(name)
  return put(f(...))
end

local makers = {
  function() return asyncio.Future() end,
  function() return one_of(loops):create_future() end,
  function() return asyncio.create_task(async(function() act() act() return one_of(pool) end)()) end,
  function() return one_of(loops):create_task(async(function() act() return one_of(pool) end)()) end,
  function() return asyncio.gather(asyncio.Future(), asyncio.sleep(random(0, 2)), { return_exceptions = true }) end,
  function() return asyncio.sleep(random(0, 3)) end,
  function() return asyncio.Lock() end,
  function() return asyncio.Event() end,
  function() return asyncio.Condition() end,
  function() return asyncio.Semaphore(random(0, 2)) end,
  function() return asyncio.Queue(random(0, 2)) end,
  function() return asyncio.PriorityQueue() end,
  function() return asyncio.LifoQueue() end,
  function() return asyncio.Barrier(random(1, 3)) end,
  function() return asyncio.StreamReader() end,
  function() return asyncio.TaskGroup() end,
  function() return asyncio.timeout(random(0, 2)) end,
  function() return asyncio.CancelScope { deadline = random(0, 2) } end,
  function() return asyncio.current_task() end,
  function() return coroutine.running() end,
  function() return asyncio.shield(one_of(pool)) end,
  function() return asyncio.Exception:extend("Mine")("text") end,
  function() return core.CancelledError("c") end,
  function() return asyncio.wait_for(one_of(pool), random(0, 2)) end,
  function() return new_loop() end,
  function() return real.setmetatable({ one_of(pool) }, { __mode = "v" }) end,
}

local queue_like = { "put_nowait", "put", "get", "get_nowait", "feed_data", "feed_eof", "read", "readline", "acquire",
  "release", "set", "clear", "wait", "notify_all", "set_result", "set_exception", "add_done_callback",
  "remove_done_callback", "result", "exception", "cancel", "uncancel" }

local function nested(f) return coroutine.wrap(function() return coroutine.wrap(function() f() end)() end)() end

local hooks = 0

local actions = {
  { 10, function() put(one_of(makers)()) end },
  { 10, function() put(one_of(oddities)()) end },
  { 16, function() -- a function of the module
    local e = one_of(functions)
    call(e.name, e.f, real.unpack(values(), 1, 5))
  end },
  { 6, function()
    local e = one_of(natives)
    call("core." .. e.name, e.f, real.unpack(values(), 1, 5))
  end },
  { 22, function() -- a method
    local o, name = one_of(pool), random() < 0.5 and one_of(queue_like) or one_of(methods)
    call(":" .. name, o[name], random() < 0.97 and o or value(), real.unpack(values(), 1, 4))
  end },
  { 16, function() bound() call("await", await, one_of(pool)) end },
  { 4, function() bound() call("await catch", catch, await, value()) end },
  { 5, function() asyncio.get_running_loop():call_soon(function() act() act() end) end },
  { 3, function() asyncio.get_running_loop():call_later(random(0, 3), act) end },
  { 4, function() one_of(pool):cancel(value()) end },
  { 4, function() await(asyncio.sleep(0)) end },
  { 3, function() await(asyncio.sleep(random(0, 2))) end },
  -- places
  { 4, function() say("pcall") put(pcall(act)) end },
  { 3, function() say("xpcall") put(xpcall(act, random() < 0.5 and act or value())) end },
  { 3, function() say("wrap") nested(act) end },
  { 3, function() say("sort") local t = { 3, 1, 2 } table.sort(t, function(a, b) act() return a < b end) end },
  { 2, function() say("gsub") ("abc"):gsub(".", function() act() end) end },
  { 2, function() say("tostring") put(tostring(value())) end },
  { 4, function() say("close") local _ <close> = real.setmetatable({}, { __close = act }) act() end },
  { 2, function() say("gc") real.setmetatable({}, { __gc = act }) real.collectgarbage() end },
  { 2, function() say("with") asyncio.with(value(), act) end },
  { 2, function() say("critical") asyncio.critical(act) end },
  { 2, function() say("for") for x in value() do put(x) act() if random() < 0.9 then break end end end },
  { 2, function() say("operators") local a, b = value(), value() put(a == b, a < b) put(#a, a .. b) end },
  { 2, function() say("resume") put(coroutine.resume(one_of(pool), value())) end },
  { 2, function() say("costatus") put(coroutine.status(one_of(pool)), coroutine.close(one_of(pool))) end },
  { 1, function() say("yield") put(coroutine.yield(value())) end },
  { 1, function() say("load") load(function() act() end) end },
  { 2, function() -- hooks
    if hooks > 20 then return end
    hooks = hooks + 1
    say("hook")
    local n = random(1, 5)
    real.sethook(function() n = n - 1 if n <= 0 then real.sethook() end act() end, one_of { "c", "r", "l", "" }, random(0, 20))
    act()
    real.sethook()
  end },
  -- memory
  { 2, function() real.collectgarbage(one_of { "collect", "step", "count" }) end },
  { 1, function()
    real.collectgarbage(one_of { "generational", "incremental", "stop", "restart" })
    real.collectgarbage("setpause", random(50, 300))
  end },
  { 1, function() say("repl") put(("x"):rep(1 << 50)) end },
  { 1, function() -- many values
    local t = {}
    for i = 1, random(1, 300) * random(1, 300) do t[i] = i end
    say("many")
    local o = one_of(pool)
    one_of { function() put(await(async(function() return real.unpack(t) end)())) end,
      function() asyncio.get_running_loop():call_soon(print == nil, real.unpack(t)) end,
      function() o:set_result(real.unpack(t)) end,
      function() asyncio.gather(real.unpack(t)) end,
      function() async(print)(real.unpack(t)) end }()
  end },
  { 1, function() -- depth
    say("deep")
    local n = random(1, 3000)
    local f
    f = one_of {
      function(k) if k == 0 then return act() end return await(async(f)(k - 1)) end,
      function(k) if k == 0 then return act() end return (f(k - 1)) end,
      function(k) if k == 0 then return act() end return pcall(f, k - 1) end,
      function(k) if k == 0 then return act() end return coroutine.wrap(f)(k - 1) end,
      function(k) if k == 0 then return act() end asyncio.create_task(function() f(k - 1) end, { eager_start = true }) end,
      function(k) if k == 0 then return act() end local _ <close> = real.setmetatable({}, { __close = function() f(k - 1) end }) end,
    }
    f(n)
  end },
  { 1, function()
    say("chain")
    local g = asyncio.Future()
    put(g)
    for _ = 1, random(1, 2000) do g = asyncio.gather(g) end
    put(g)
  end },
  -- debug
  { 2, function()
    say("debug")
    local o = value()
    put(debug.getuservalue(o, random(1, 3)))
    debug.setuservalue(o, value(), random(1, 3))
  end },
  { 1, function()
    local o = one_of(pool)
    put(debug.getmetatable(o))
    if real.type(o) == "userdata" then debug.setmetatable(o, debug.getmetatable(one_of(pool))) end
  end },
  { 1, function() -- of C functions: this program would lose its own
    local o = one_of(pool)
    if debug.getinfo(o, "S").what == "C" then put(debug.getupvalue(o, 1)) debug.setupvalue(o, random(1, 2), value()) end
  end },
  { 1, function() local r = debug.getregistry() r[random(1, 60)] = value() end },
  { 1, function() local co = one_of(pool) put(debug.getlocal(co, random(0, 4), random(1, 4))) debug.setlocal(co, random(0, 4), random(1, 4), value()) end },
  { 1, function() local t = debug.getinfo(random(1, 8)) put(t, t.func) end },
  { 1, function() put(debug.traceback(one_of(pool), "x", random(0, 3)), string.dump(one_of(pool))) end },
  { 1, function() local o = one_of(pool) if o ~= io and real.type(o) ~= "function" then o[value()] = value() end end },
  { 1, function()
    local o = one_of(pool)
    if real.type(o) ~= "string" then real.getmetatable(o)[one_of(events)] = value() end
  end },
  -- loops
  { 3, function() bound() local l = one_of(loops) say("run_until_complete") put(l:run_until_complete(value())) end },
  { 3, function() bound() local l = one_of(loops) say("run_forever") l:run_forever() end },
  { 1, function()
    say("process")
    local p = await(asyncio.create_subprocess_exec(one_of { "cat", "true" }, { stdin = asyncio.PIPE, stdout = asyncio.PIPE }))
    put(p, p.stdin, p.stdout)
    asyncio.create_task(function() await(p.stdout:readline()) act() end)
  end },
  { 1, function() say("run") asyncio.run(async(function()
    local l = note_loop(asyncio.get_running_loop())
    l:call_later(3, l.stop, l)
    act()
  end)(), { clock = "virtual" }) end },
  { 2, function() local l = one_of(loops) say("loop close") l:close() closed[#closed + 1] = l end },
  { 1, function() one_of(loops):set_exception_handler(random() < 0.5 and act or nil) end },
  { 1, function() one_of(loops):set_task_factory(random() < 0.6 and function(_, c) act() return random() < 0.5 and c or one_of(pool) end or nil) end },
  { 1, function() asyncio.set_event_loop(one_of(loops)) end },
  -- streams
  { 2, function()
    say("server")
    local s = await(asyncio.start_server(function(r, w) put(r, w) act() act() if random() < 0.5 then w:close() end end, "127.0.0.1", 0))
    put(s)
    local port = s.sockets[1].port or s.sockets[1][2]
    if port then put(await(asyncio.open_connection("127.0.0.1", port))) end
  end },
  { 1, function() -- both ends of a connection
    say("echo")
    local s = await(asyncio.start_server(function(r, w) while true do local d = await(r:read(100)) if not d then break end w:write(d) await(w:drain()) end w:close() end, "127.0.0.1", 0))
    local r, w = await(asyncio.open_connection("127.0.0.1", s.sockets[1].port or s.sockets[1][2]))
    put(r, w, s)
    w:write(("line\n"):rep(random(1, 100000)))
    asyncio.create_task(function() await(r:readline()) act() end)
    put(await(r:read(random(1, 100000))))
  end },
  { 2, function() -- datagrams
    say("datagrams")
    local s = await(asyncio.open_datagram { local_addr = { "127.0.0.1", 0 }, queue = random(1, 20) })
    local c = await(asyncio.open_datagram { remote_addr = s:get_extra_info("sockname") })
    put(s, c)
    for _, ep in real.next, { s, c } do asyncio.get_running_loop():call_later(1, ep.close, ep) end
    asyncio.create_task(function() for data, addr in s:datagrams() do put(data, addr) act() s:send(data, addr) end end)
    for _ = 1, random(1, 60) do c:send(("x"):rep(random(0, 2000))) end
    put(await(c:recv()))
    if random() < 0.5 then s:close() end
  end },
  { 1, function() -- a datagram protocol whose methods do anything
    say("datagram protocol")
    local loop = asyncio.get_running_loop()
    local t, p = await(loop:create_datagram_endpoint(function()
      return { connection_made = put, datagram_received = act, error_received = act, connection_lost = act }
    end, { local_addr = { "127.0.0.1", 0 } }))
    put(t, p)
    loop:call_later(1, t.close, t)
    for _ = 1, random(1, 60) do t:sendto("x", t:get_extra_info("sockname")) end
    act()
    if random() < 0.5 then t:close() end
  end },
  { 1, function() -- names are what anything says they are
    say("resolver")
    local loop = asyncio.get_running_loop()
    loop:set_resolver(function() act() return one_of { { "127.0.0.1", "::1" }, {}, one_of(pool), { one_of(pool) } } end)
    put(await(asyncio.open_connection("some.test", random(1, 65535), { happy_eyeballs_delay = random() / 100 })))
  end },
  { 1, function() put(asyncio.ExceptionGroup("g", { one_of(pool), one_of(pool) }):split(one_of(pool))) end },
  { 1, function() put(asyncio.context.bind(one_of(pool))) end },
}

local total = 0
for _, a in ipairs(actions) do total = total + a[1] end

local stopped = {}
function act()
  if depth > 25 then return end
  steps = steps + 1
  if steps > 400 then real.error(stopped, 0) end
  local r = random(total)
  for _, a in ipairs(actions) do
    r = r - a[1]
    if r <= 0 then
      depth = depth + 1
      local ok, e
      if random() < 0.75 then
        ok, e = pcall(a[2])
      else
        ok, e = true, nil
        a[2]()
      end
      depth = depth - 1
      if not ok then
        if real.rawequal(e, stopped) then real.error(e, 0) end
        if random() < 0.2 then put(e) end
      end
      return one_of(pool)
    end
  end
end

-- ---- programs -----------------------------------------------------------------------

local function program()
  steps, depth, hooks = 0, 0, 0
  local l = new_loop()
  asyncio.set_event_loop(l)
  if random() < 0.5 then
    for _ = 1, 6 do depth = 0 rpcall(act) end
  end
  l:call_later(20, l.stop, l)
  for _ = 1, random(1, 5) do
    rpcall(l.create_task, l, async(function() for _ = 1, 12 do depth = 0 act() end end)())
  end
  rpcall(l.run_until_complete, l, l:create_task(async(function() for _ = 1, 20 do depth = 0 act() end end)()))
  real.sethook()
  real.collectgarbage("restart")
  real.collectgarbage("incremental")
  rpcall(real.collectgarbage)
  for _, x in ipairs(loops) do
    if random() < 0.9 then rpcall(x.close, x) end
  end
  -- what is left of it may meet the next program
  for _ = 1, 30 do pool[random(#pool)] = random(9) end
  for i = #loops, 1, -1 do
    local ok, is_closed = rpcall(loops[i].is_closed, loops[i])
    if not ok or is_closed then table.remove(loops, i) end
  end
  while #loops > 3 do rpcall(loops[1].close, table.remove(loops, 1)) end
end

for _ = 1, 20 do put(one_of(oddities)()) end
local start, clock, stdout = real.clock(), real.clock, io.open("/dev/stdout", "w")
local n = 0
repeat
  n = n + 1
  if trace then real.write(real.stderr, real.format("program %d\n", n)) end
  local ok, e = rpcall(program)
  if not ok and trace then real.write(real.stderr, real.tostring(e), "\n") end
until clock() - start > seconds
real.write(stdout, "ok ", n, "\n")
stdout:close()
-- the end: sometimes without closing what is open
if seed % 3 == 0 then real.exit(0, seed % 2 == 0) end
loops[#loops + 1] = asyncio.get_event_loop()
for _, x in real.next, loops do rpcall(real.close_loop, x) end
real.exit(0, true)
