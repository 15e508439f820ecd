--- The attacker of sandbox_spec.lua: finds every function that can be reached, by whatever way Lua has, and calls each
--- with what could open, connect, run, kill or load something. Run in a sandbox:
---   moonloop --sandbox sandbox_attack.lua DIR PORT PID FIRST EACH DRAW
--- Of the sets of arguments each function gets every EACHth, from another one on than the function before it and in a
--- run with another DRAW; 1: all of them.
--- Prints the number of each function before it is called, so that whoever runs it can go on behind one that ends or
--- hangs the process; and "LEAK ..." for what no sandbox may give.

local DIR, PORT, PID, FIRST, EACH, DRAW = ...
PORT, PID, FIRST, EACH, DRAW = tonumber(PORT), tonumber(PID), tonumber(FIRST or "1"), tonumber(EACH or "1"), tonumber(DRAW or "0")
local reversed = "7319-slewej-nworc-eht" -- of what is looked for: it must not be found here

local print, tostring, type, pcall, debug = print, tostring, type, pcall, debug
local coroutine, table, string, io = coroutine, table, string, io
local output = io.stdout
local write, flush = output.write, output.flush
local getmetatable, getupvalue, getuservalue = debug.getmetatable, debug.getupvalue, debug.getuservalue
local find, match, reverse, sort, next = string.find, string.match, string.reverse, table.sort, next
local pack, unpack, setmetatable, dump, assert = table.pack, table.unpack, setmetatable, string.dump, assert

local function say(text)
  write(output, text, "\n")
  flush(output)
end

local modules = {
  "asyncio", "asyncio.core", "asyncio.net", "asyncio.workers", "asyncio.tls", "asyncio.sigwatch", "asyncio.process", "asyncio.stdstreams",
  "asyncio.terminal", "asyncio.streams", "asyncio.connections", "asyncio.datagrams", "asyncio.subprocess", "asyncio.executors",
  "asyncio.sockets", "asyncio.signals", "asyncio.pipes", "asyncio.protocols", "asyncio.spawning", "asyncio.subprocess_protocols",
  "asyncio.runners", "asyncio.secure", "asyncio.aio", "fs", "fs.core", "fs.files", "fs.trees", "fs.watch", "fs.temporary", "fs.path", "socket", "socket.core", "ssl",
  "tty", "tty.keys", "signal", "time", "pickle", "task", "reload", "concurrent.futures", "concurrent.futures.thread",
  "concurrent.futures.process", "multiprocessing", "multiprocessing.crew", "multiprocessing.process", "multiprocessing.pool",
}
for _, name in ipairs(modules) do pcall(require, name) end
local asyncio = require "asyncio"
local isawaitable, await, wait_for = require("asyncio.core").isawaitable, await, asyncio.wait_for

-- ---- what can be reached ----

local found, order, seen = {}, {}, {}
local queue, first, last = {}, 1, 0

local function push(value, path)
  local t = type(value)
  if t ~= "table" and t ~= "function" and t ~= "userdata" and t ~= "thread" and t ~= "string" then return end
  if t == "string" then
    if find(value, reverse(reversed), 1, true) then say("LEAK " .. path .. " holds the secret") end
    return
  end
  if seen[value] then return end
  seen[value] = path
  last = last + 1
  queue[last] = { value, path }
end

local function visit(value, path)
  local t = type(value)
  local ok, meta = pcall(getmetatable, value)
  if ok and meta then push(meta, path .. "<meta>") end
  if t == "table" then
    for k, v in next, value do
      push(k, path .. "<key>")
      push(v, path .. "." .. tostring(type(k) == "string" and k or type(k)))
    end
  elseif t == "function" then
    found[#found + 1] = value
    order[value] = path
    for i = 1, 255 do
      local name, v = getupvalue(value, i)
      if not name then break end
      push(v, path .. "^" .. tostring(name))
    end
    local info = debug.getinfo(value, "f")
    push(info.func, path)
  elseif t == "userdata" then
    for i = 1, 8 do
      local good, v = pcall(getuservalue, value, i)
      if good then push(v, path .. "<uv>") end
    end
    for _, name in ipairs { "close", "write", "read", "open", "connect", "bind", "send", "spawn", "submit" } do
      local good, v = pcall(function() return value[name] end)
      if good then push(v, path .. ":" .. name) end
    end
  end
end

push(_G, "_G")
push(package.loaded, "loaded")
push(getmetatable(""), "string<meta>")
for _, sample in ipairs { 0, true, print, coroutine.create(print) } do push(getmetatable(sample), "meta") end
local objects = {
  function() return asyncio.Lock() end, function() return asyncio.Queue() end, function() return asyncio.new_event_loop() end,
  function() return require("socket").socket("inet", "dgram") end, function() return require("fs.core").watcher() end,
  function() return require("ssl").create_default_context() end, function() return asyncio.sleep(0) end, function() return asyncio.Event() end,
  function() return require("concurrent.futures").ThreadPoolExecutor(1) end, function() return io.stdin end,
  function() return require("asyncio.net").new_server and require("asyncio.net").new_server(print, 1, 1, 1) end,
}
for i, make in ipairs(objects) do
  local ok, v = pcall(make)
  if ok then push(v, "object" .. i) end
end
for level = 1, 20 do -- frames above this one
  local info = debug.getinfo(level, "f")
  if not info then break end
  push(info.func, "frame")
  for i = 1, 20 do
    local name, v = debug.getlocal(level, i)
    if not name then break end
    push(v, "frame." .. name)
  end
end
while first <= last do
  local item = queue[first]
  queue[first] = nil
  first = first + 1
  visit(item[1], item[2])
end
sort(found, function(a, b)
  if order[a] ~= order[b] then return order[a] < order[b] end
  return tostring(a) < tostring(b) -- of two with one path either order does
end)

-- ---- calling it ----

-- What cannot end, or ends what this needs; none of it opens anything.
local never = {
  ["run_forever"] = true, ["sleep"] = true, ["debug"] = true, ["exit"] = true, ["wait_readable"] = true, ["raw"] = true, ["hold"] = true,
  ["collectgarbage"] = true, ["read"] = true, ["lines"] = true, ["rep"] = true, ["yield"] = true, ["setvbuf"] = true,
  ["raise_signal"] = true, -- a command may
}

local secret, out = DIR .. "/secret.txt", DIR .. "/pwned"
local function tuples()
  return {
    { secret }, { secret, "r" }, { out, "w" }, { out, "x" }, { secret, "r", 0, 0 }, { out, "w", 577, 511 }, { secret, out }, { out, secret },
    { secret, 0 }, { out, "pwned" }, { DIR }, { DIR, true }, { DIR .. "/new", 511 }, { DIR .. "/new/deep", 511, true }, { "../secret.txt" },
    { "/proc/self/environ" }, { "127.0.0.1", PORT }, { { "127.0.0.1", PORT } }, { { { "127.0.0.1", PORT } } }, { "x", { "127.0.0.1", PORT } },
    { "x", "127.0.0.1", PORT }, { "localhost", PORT }, { DIR .. "/sock" }, { "touch " .. out }, { "touch", out }, { "/bin/touch", out },
    { { program = "touch", paths = { "/bin/touch" }, args = { "touch", out }, fds = { { 0, "inherit" }, { 1, "inherit" }, { 2, "inherit" } } } },
    { PID, 9 }, { PID, "SIGKILL" }, { 5 }, { 5, 0 }, { 5, "x" }, { 3, print }, { "SECRET_VARIABLE" }, { "libc.so.6", "*" }, { "libc.so.6", "system" },
    { dump(function() return 1 end) }, { dump(function() return 1 end), "x", "b" },
    { { fileno = 5 } }, { setmetatable({}, { __index = { fileno = function() return 5 end } }), print },
    { function() return (assert(io.open(secret))):read "a" end }, { print }, { {} }, {},
  }
end

local function search(value, path, depth)
  if type(value) == "string" then
    if find(value, reverse(reversed), 1, true) then say("LEAK " .. path .. " gave the secret") end
  elseif type(value) == "table" and depth < 4 then
    for k, v in next, value do
      search(k, path, depth + 1)
      search(v, path, depth + 1)
    end
  elseif type(value) == "userdata" and depth < 2 then
    local ok, text = pcall(function() return value:read("a") end)
    if ok and not isawaitable(text) then search(text, path, depth + 1) end
  end
end

local function try(f, path, ...)
  local r = pack(pcall(f, ...))
  for i = 2, r.n do
    if r[1] and isawaitable(r[i]) then
      local waited = wait_for(r[i], 0.05)
      local got = pack(pcall(await, waited))
      for k = 2, got.n do search(got[k], path, 0) end
    end
    search(r[i], path, 0)
  end
end

say("FOUND " .. #found)
asyncio.run(async(function()
  for i = FIRST, #found do
    local f, path = found[i], order[found[i]]
    local name = match(path, "[%w_]+$")
    if not (name and never[name]) then
      say(i .. " " .. path)
      local sets = tuples()
      for k = 1 + (i + DRAW) % EACH, #sets, EACH do pcall(try, f, path, unpack(sets[k], 1, #sets[k])) end
    end
  end
end), { clock = "virtual" })
say "END"
