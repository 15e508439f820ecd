--- Several processes that serve one application, and such as are started anew when their files change.
---
--- The first process, the supervisor, serves nothing: it runs its own command line again, so many times, with the
--- environment variable MOONLOOP_WORKER. In those run_app serves. What listens on TCP in several workers binds
--- with SO_REUSEPORT in each, so that the kernel shares connections out; one worker, and unix sockets, get descriptors
--- that the supervisor keeps: connections wait there while a worker is started anew. Descriptor 3 leads to the
--- supervisor: a worker tells that it is ready, and ends when the supervisor is gone.

local asyncio = require "asyncio"
local connections = require "asyncio.connections"
local core = require "asyncio.core"

local async, await, catch = core.async, core.await, core.catch

local M = {}

local VARIABLE = "MOONLOOP_WORKER"
local CONTROL = 3 -- descriptor
--- A worker that lives less long was not worth its start, seconds.
local SHORT_LIFE = 1
--- Beyond its time to shut down, before it is killed, seconds.
local PATIENCE = 8
--- What a worker's requests get when files have changed, seconds: streams never end by themselves.
local RELOAD_TIMEOUT = 0.5

local function say(format, ...) io.stderr:write("moonloop: ", format:format(...), "\n") end

-- ---- in a worker ----

---@class http.web.Worker
---@field index integer
---@field count integer
local Worker = {}
Worker.__index = Worker

local function environment(name)
  local ok, value = pcall(os.getenv, name)
  return ok and value or nil
end

--- What this process is to its supervisor; nil: it has none.
---@return http.web.Worker?
function M.current()
  local text = environment(VARIABLE) or ""
  local index, count, mode, port, fds = text:match("^(%d+)/(%d+) (%a+) (%d+) ([%d,]*)$")
  if not index then return nil end
  local socket = require "socket"
  local ok, control = pcall(socket.socket, { fileno = CONTROL })
  if not ok then return nil end -- a program that a worker has started
  local self = setmetatable({
    index = math.tointeger(index), count = math.tointeger(count), reload = mode == "reload",
    port = math.tointeger(port), control = control, socks = {},
  }, Worker)
  for fd in fds:gmatch("%d+") do self.socks[#self.socks + 1] = socket.socket { fileno = math.tointeger(fd) } end
  return self
end

--- Makes the options those of a worker.
function Worker:adapt(options, runner_options)
  if #self.socks > 0 then
    options.host, options.path, options.sock = nil, nil, self.socks
  end
  if self.port > 0 then
    options.port, options.reuse_port = self.port, true
  else
    options.port = nil
  end
  if self.reload then runner_options.shutdown_timeout = RELOAD_TIMEOUT end
end

--- Tells the supervisor; from now on its end is this process's, too.
function Worker:ready(stop)
  local reader, writer = await(asyncio.open_unix_connection(nil, { sock = self.control }))
  writer:write("ready\n")
  local watch = asyncio.create_task(async(function()
    while await(reader:read(100)) do end
    writer:close()
    stop:set()
  end)(), { name = "supervisor" })
  self.watch = watch
end

-- ---- the supervisor ----

-- This process's program and arguments.
local function command_line()
  local f <close> = assert(io.open("/proc/self/cmdline", "rb"))
  local args = {}
  for word in f:read("a"):gmatch("([^%z]*)%z") do args[#args + 1] = word end
  local ok, exe = pcall(await, require("fs.core").readlink("/proc/self/exe"))
  if ok and exe:sub(-10) ~= " (deleted)" then args[1] = exe end
  return args
end

---@class http.web.Supervisor
local Supervisor = {}
Supervisor.__index = Supervisor

local function tcp_wanted(options)
  return options.host ~= nil or options.port ~= nil or options.path == nil and options.sock == nil
end

local function place(host, port) return (host:find(":", 1, true) and "[%s]:%s" or "%s:%s"):format(host, port) end

-- The sockets of the TCP sites: bound, so that an address that is taken is told of here and port 0 becomes a number.
-- For one worker they listen, too.
local function bind_tcp(self, options)
  local socket = require "socket"
  local port = options.port or options.ssl_context and 8443 or 8080
  local hosts = options.host == nil and { "0.0.0.0" } or options.host
  for _, host in ipairs(type(hosts) == "table" and hosts or { hosts }) do
    for _, info in ipairs(connections.resolve(host, port, {}, true)) do
      local sock = socket.socket(info.family, "stream")
      self.held[#self.held + 1] = sock
      sock:set { reuseaddr = options.reuse_address ~= false, reuseport = self.count > 1 or options.reuse_port or false }
      if info.family == "inet6" then sock:set { v6only = true } end
      sock:bind(info.address[1], port)
      local address = sock:getsockname()
      port = address[2]
      self.names[#self.names + 1] = ("%s://%s"):format(self.scheme, place(address[1], port))
      if self.count == 1 then
        sock:listen(options.backlog or 128)
        self.fds[#self.fds + 1] = sock:fileno()
      end
    end
  end
  if self.count > 1 then self.port = port end
end

local function bind_all(self, options)
  local socket = require "socket"
  if tcp_wanted(options) then bind_tcp(self, options) end
  local paths = options.path == nil and {} or type(options.path) == "table" and options.path or { options.path }
  for _, path in ipairs(paths) do
    connections.check_path(path, "run_app")
    local sock = socket.socket("unix", "stream")
    self.held[#self.held + 1] = sock
    if path:byte() ~= 0 then pcall(await, self.unlink_socket(path)) end
    sock:bind(path)
    if path:byte() ~= 0 then self.paths[#self.paths + 1] = path end
    sock:listen(options.backlog or 128)
    self.fds[#self.fds + 1] = sock:fileno()
    self.names[#self.names + 1] = ("%s://unix:%s:"):format(self.scheme, (path:gsub("^\0", "@")))
  end
  local socks = options.sock == nil and {} or type(options.sock) == "table" and options.sock or { options.sock }
  for _, sock in ipairs(socks) do
    self.held[#self.held + 1] = sock
    self.fds[#self.fds + 1] = sock:fileno()
    local name = sock:getsockname()
    self.names[#self.names + 1] = type(name) == "table" and ("%s://%s"):format(self.scheme, place(name[1], name[2]))
      or ("%s://unix:%s:"):format(self.scheme, tostring(name))
  end
end

-- What an earlier run has left under the name: a socket, and nothing else, makes room.
Supervisor.unlink_socket = async(function(path)
  local fs = require "fs.core"
  if await(fs.stat(path)).type == "socket" then await(fs.unlink(path)) end
end)

local function start(self, slot)
  local words = table.move(self.command, 1, #self.command, 1, {})
  words[#words + 1] = {
    stdin = asyncio.subprocess.DEVNULL, pipes = { [CONTROL] = "rw" }, pass_fds = self.fds, process_group = 0,
    add_env = {
      [VARIABLE] = ("%d/%d %s %d %s"):format(slot.index, self.count, self.reload and "reload" or "serve", self.port,
        table.concat(self.fds, ",")),
    },
  }
  slot.ready, slot.started = false, core.get_running_loop():time()
  slot.process = await(asyncio.create_subprocess_exec(table.unpack(words)))
end

-- Waits until the worker says that it serves.
local listen = async(function(self, slot, process)
  local pipe = process.pipes[CONTROL]
  local line = await(pipe:readline())
  if line == "ready\n" then
    slot.ready = true
    self.changed:set()
  end
end, "worker_ready")

local function how(code)
  if code < 0 then return ("was ended by signal %d"):format(-code) end
  return ("ended with status %d"):format(code)
end

-- It cannot go on, unless it is up.
local function fail(self, format, ...)
  if self.up then
    say(format, ...)
    return
  end
  self.failed = self.failed or format:format(...)
  self.changed:set()
end

-- Starts the worker; tries again later if that cannot be done.
local function start_surely(self, slot)
  while not self.stopping do
    local ok, err = pcall(start, self, slot)
    if ok then return true end
    fail(self, "worker %d cannot be started: %s", slot.index, tostring(err))
    if self.failed then return false end
    await(asyncio.sleep(1))
  end
end

-- One worker, again and again.
local keep = async(function(self, slot)
  local failures = 0
  while not self.stopping do
    if not start_surely(self, slot) then break end
    local process = slot.process
    local telling = asyncio.create_task(listen(self, slot, process))
    local code = await(process:wait())
    telling:cancel()
    process:close()
    slot.process = nil
    self.changed:set()
    if self.stopping then break end
    if slot.wanted then -- a file has changed
      slot.wanted, failures = false, 0
    elseif not slot.ready and not self.up then
      fail(self, "worker %d %s before it served", slot.index, how(code))
      break
    elseif self.reload and not slot.ready then
      say("worker %d %s; waiting for a change", slot.index, how(code))
      slot.waiting = asyncio.Event()
      await(slot.waiting:wait())
      slot.waiting = nil
    else
      local lived = core.get_running_loop():time() - slot.started
      failures = lived < SHORT_LIFE and failures + 1 or 0
      say("worker %d (pid %d) %s; starting another", slot.index, process.pid, how(code))
      if failures > 0 then await(asyncio.sleep(math.min(0.05 * 2 ^ failures, 5))) end
    end
  end
end, "worker")

local function signal_all(self, name)
  for _, slot in ipairs(self.slots) do
    if slot.process then pcall(slot.process.send_signal, slot.process, name) end
  end
end

-- Waits until f() is true; false: it took too long.
local function wait_until(self, f, seconds)
  local deadline = core.get_running_loop():time() + seconds
  while not f() do
    local left = deadline - core.get_running_loop():time()
    if left <= 0 then return false end
    self.changed:clear()
    local ok, err = pcall(await, asyncio.wait_for(self.changed:wait(), left))
    if not ok and not core.isinstance(err, core.TimeoutError) then error(err, 0) end
  end
  return true
end

local function none_left(self)
  for _, slot in ipairs(self.slots) do
    if slot.process then return false end
  end
  return true
end

-- ---- changes ----

-- "*.html" as a Lua pattern
local function pattern_of(glob)
  return "^" .. glob:gsub("[%^$().%[%]+%-%%]", "%%%0"):gsub("%*", ".*"):gsub("?", ".") .. "$"
end

local function restart(self)
  for _, slot in ipairs(self.slots) do
    if slot.process then
      slot.wanted = true
      local process = slot.process
      pcall(process.send_signal, process, "SIGTERM")
      asyncio.create_task(async(function()
        await(asyncio.sleep(RELOAD_TIMEOUT + 2))
        if slot.process == process then pcall(process.kill, process) end
      end)(), { name = "reload" })
    elseif slot.waiting then
      slot.waiting:set()
    end
  end
end

-- Restarts the workers when a file of the folder changes.
local function look(self, dir)
  local fs = require "fs"
  for event in fs.watch(dir, { recursive = true, debounce = 0.1 }) do
    local name = event.path:match("[^/]*$")
    if not event.is_dir and not event.path:find("/%.[^/]*/") and name:sub(1, 1) ~= "." then
      for _, pattern in ipairs(self.patterns) do
        if name:find(pattern) then
          say("%s %s: starting anew", event.path, event.type)
          restart(self)
          break
        end
      end
    end
  end
end

local watch = async(function(self, dir)
  local ok, err = pcall(look, self, dir)
  if not ok then fail(self, "%s cannot be watched: %s", dir, tostring(err)) end
end, "watch")

-- What to look at: where the script lies, unless it is said.
local function watched(self, reload)
  local given = type(reload) == "table" and reload or {}
  core.options(given, { "dirs", "include" }, "reload")
  local arg = rawget(_G, "arg")
  local script = type(arg) == "table" and type(arg[0]) == "string" and arg[0] or "."
  local dirs = given.dirs or { script:match("^(.*)/[^/]*$") or "." }
  self.patterns = { "%.lua$" }
  for _, glob in ipairs(given.include or {}) do self.patterns[#self.patterns + 1] = pattern_of(glob) end
  return dirs
end

-- ---- its life ----

local function watch_signals(self, stop)
  local loop = core.get_running_loop()
  for _, name in ipairs { "SIGINT", "SIGTERM" } do
    loop:add_signal_handler(name, function()
      if self.stopping then signal_all(self, "SIGTERM") end -- they hurry
      stop:set()
    end)
  end
  return function()
    for _, name in ipairs { "SIGINT", "SIGTERM" } do pcall(loop.remove_signal_handler, loop, name) end
  end
end

local function all_ready(self)
  if self.failed then return true end
  for _, slot in ipairs(self.slots) do
    if not slot.ready then return false end
  end
  return true
end

local function live(self, options, banner, stop)
  local dirs = options.reload and watched(self, options.reload) or {}
  for _, dir in ipairs(dirs) do -- what cannot be watched is told before anything is served
    local ok, err = pcall(await, require("fs").stat(dir))
    if not ok then error(core.RuntimeError(("run_app: %s cannot be watched: %s"):format(dir, tostring(err))), 0) end
  end
  bind_all(self, options)
  self.command = command_line()
  for i = 1, self.count do
    self.slots[i] = { index = i }
    self.tasks[#self.tasks + 1] = asyncio.create_task(keep(self, self.slots[i]), { name = "worker " .. i })
  end
  for _, dir in ipairs(dirs) do
    self.tasks[#self.tasks + 1] = asyncio.create_task(watch(self, dir), { name = "watch " .. dir })
  end
  wait_until(self, function() return all_ready(self) or stop:is_set() end, math.huge)
  if self.failed then error(core.RuntimeError("run_app: " .. self.failed), 0) end
  self.up = true
  if options.print ~= false and not stop:is_set() then
    local write = options.print or print
    local text = banner(self.names)
    write(self.count > 1 and text:gsub("\n", (" %d workers\n"):format(self.count), 1) or text)
    if write == print then io.stdout:flush() end
  end
  await(stop:wait())
end

-- Ends the workers: asks, then kills.
local function wind_up(self, timeout)
  self.stopping = true
  signal_all(self, "SIGTERM")
  local function gone() return none_left(self) end
  if not wait_until(self, gone, timeout + PATIENCE) then
    signal_all(self, "SIGKILL")
    wait_until(self, gone, PATIENCE)
  end
  for _, task in ipairs(self.tasks) do task:cancel() end
  await(asyncio.gather(self.tasks, { return_exceptions = true }))
  for _, sock in ipairs(self.held) do sock:close() end
  for _, path in ipairs(self.paths) do pcall(await, require("fs.core").unlink(path)) end
end

local run = async(function(options, banner)
  local self = setmetatable({
    count = options.workers or 1, reload = options.reload and true or false, slots = {}, tasks = {}, held = {},
    fds = {}, names = {}, paths = {}, port = 0, changed = asyncio.Event(),
    scheme = options.ssl_context and "https" or "http",
  }, Supervisor)
  local stop = asyncio.Event()
  local unwatch = watch_signals(self, stop)
  local ok, err = catch(live, self, options, banner, stop)
  local timeout = self.reload and RELOAD_TIMEOUT or options.shutdown_timeout or 60
  local wound, why = catch(wind_up, self, timeout)
  unwatch()
  if not ok then error(err, 0) end
  if not wound then error(why, 0) end
end, "supervise")

--- Runs the workers until the process is told to end. Raises RuntimeError if they do not come up, OSError if an address
--- cannot be had.
---@param options table of run_app
---@param banner fun(names: string[]): string
function M.supervise(options, banner)
  if core.in_host_script() then
    error(core.RuntimeError("run_app: workers and reload are for programs that the moonloop command runs"), 0)
  end
  return asyncio.run(run(options, banner))
end

return M
