--- A crew: worker processes that take calls from a queue. ProcessPoolExecutor, multiprocessing.Pool and Process are
--- made of it.
---
--- Each worker has a task of the loop that starts its process, reads its answers and sees its end. Calls go to the
--- worker that has the least to do; a worker whose process ends early fails the calls it had, and is replaced when
--- there are calls left.

local core = require "asyncio.core"
local subprocess = require "asyncio.subprocess"
local workers = require "asyncio.workers"

local async, await, catch = core.async, core.await, core.catch

local M = {}

local settings = {}

--- The program that worker processes run: the moonloop command. Needed in hosts alone.
---@param path string
function M.set_executable(path)
  if type(path) ~= "string" then
    require("asyncio.misuse").raise(core.TypeError, "set_executable: a path was expected, got "
      .. require("asyncio.misuse").describe(path))
  end
  settings.executable = path
end

local function executable()
  if settings.executable then return settings.executable end
  local path = workers.exepath()
  if path and workers.sandbox() then return path end
  if path and path:match("[^/]*$"):find("^moonloop") then return "/proc/self/exe" end
  local ok, named = pcall(os.getenv, "MOONLOOP")
  return ok and named or "moonloop"
end

---@class multiprocessing.Crew
---@field max integer workers at most
---@field concurrency integer calls that a worker has at a time
local Crew = {}
Crew.__index = Crew
Crew.__name = "Crew"

--- `opts`: max, concurrency, max_tasks, mode ("call", "loop"), initializer, initargs, exception_handler,
--- loop_initializer, process (its name, if it is to say its error itself). What cannot be copied is a TypeError.
---@return multiprocessing.Crew
function M.new(opts, fname)
  local self = setmetatable({
    max = opts.max, concurrency = opts.concurrency or 1, max_tasks = opts.max_tasks,
    crew = {}, queue = {}, first = 1, last = 0, ids = 0,
  }, Crew)
  self.start_message = workers.dumps(fname, "value", 3, package.path, package.cpath, {
    mode = opts.mode, initializer = opts.initializer, initargs = opts.initargs or {},
    exception_handler = opts.exception_handler, loop_initializer = opts.loop_initializer, arg = rawget(_G, "arg"),
    process = opts.process,
  })
  return self
end

--- Ends an item: its future gets the values or the error.
local function finish(self, item, err, ...)
  workers.hold(self.loop, -1)
  local future = item.future
  if future:done() then return end
  if err ~= nil then
    future:set_exception(err)
  else
    future:set_result(...)
  end
end

--- The next call that is still wanted.
local function take(self)
  while self.first <= self.last do
    local item = self.queue[self.first]
    self.queue[self.first] = nil
    self.first = self.first + 1
    if not item.future:done() then return item end
    workers.hold(self.loop, -1)
  end
end

local function fail_all(self, err)
  local item = take(self)
  while item do
    finish(self, item, err)
    item = take(self)
  end
end

local function send(worker, bytes)
  if worker.channel then
    worker.channel:write(string.pack("<s4", bytes))
  else
    worker.backlog[#worker.backlog + 1] = bytes
  end
end

--- No more calls for this worker: it ends when it has answered those it has.
local function retire(worker)
  worker.retired = true
  if worker.channel and not worker.ended then
    worker.ended = true
    pcall(worker.channel.write_eof, worker.channel)
  end
end

--- The worker with the least to do that can take another call.
local function free_worker(self)
  local best
  for i = 1, #self.crew do
    local w = self.crew[i]
    if not w.retired and w.busy < self.concurrency and (not best or w.busy < best.busy) then best = w end
  end
  if (not best or best.busy > 0) and #self.crew < self.max then return self:hire() end
  return best
end

--- Hands out calls as long as somebody can take them; when there are none and will be none, sends the workers home.
function Crew:pump()
  while self.first <= self.last do
    local worker = free_worker(self)
    if not worker then break end
    local item = take(self)
    if not item then break end
    self.ids = self.ids % 0xffffffff + 1
    worker.items[self.ids] = item
    worker.busy, worker.taken = worker.busy + 1, worker.taken + 1
    if self.max_tasks and worker.taken >= self.max_tasks then worker.retired = true end
    send(worker, string.pack("<I4", self.ids) .. item.bytes)
    item.bytes = nil
  end
  for i = 1, #self.crew do
    local w = self.crew[i]
    if w.busy == 0 and (w.retired or (self.shut and self.first > self.last)) then retire(w) end
  end
  if self.shut and #self.crew == 0 and self.over and not self.over:done() then self.over:set_result(true) end
end

--- A worker has answered.
local function on_message(self, worker, message)
  local kind = message:sub(1, 1)
  if kind == "r" then
    worker.ready = true
    return
  end
  local id = string.unpack("<I4", message, 2)
  if kind == "i" then
    local err, traceback = workers.loads(message, 6)
    self.broken = core.BrokenProcessPool("the initializer of a worker process failed: " .. tostring(err))
    warn(("Exception in initializer: %s\n%s"):format(tostring(err), traceback or ""))
    retire(worker)
    return
  end
  local item = worker.items[id]
  if not item then return end
  worker.items[id] = nil
  worker.busy = worker.busy - 1
  local values = table.pack(pcall(workers.loads, message, 6))
  if not values[1] then
    finish(self, item, values[2])
  elseif kind == "v" then
    finish(self, item, nil, table.unpack(values, 2, values.n))
  else
    if values[3] then workers.keep_traceback(values[2], values[3]) end
    finish(self, item, values[2])
  end
  self:pump()
end

--- A message, or nil at the end.
local function receive(channel)
  local head = await(channel:read(4))
  if not head or head == "" then return nil end
  if #head < 4 then head = head .. await(channel:readexactly(4 - #head)) end
  return await(channel:readexactly((string.unpack("<I4", head))))
end

--- Starts the process and reads what it answers, to its end. Gives its return code.
local function run_worker(self, worker)
  local arguments = { "-m", "multiprocessing.child", { stdin = subprocess.DEVNULL, pipes = { [3] = "rw" } } }
  if workers.virtual() then table.insert(arguments, 1, "--virtual-time") end
  for i, flag in ipairs(workers.sandbox() or {}) do table.insert(arguments, i, flag) end
  if workers.sandbox() then
    for _, flag in ipairs { "--allow-fd=3", "--allow-bytecode" } do table.insert(arguments, 1, flag) end
  end
  local proc <close> = await(subprocess.create_subprocess_exec(executable(), table.unpack(arguments)))
  local channel = proc.pipes[3]
  worker.proc = proc
  channel:write(string.pack("<s4", self.start_message))
  worker.channel = channel
  for i = 1, #worker.backlog do send(worker, worker.backlog[i]) end
  worker.backlog = nil
  if worker.on_start then worker.on_start(proc) end
  if worker.retired and worker.busy == 0 then retire(worker) end
  local ok, err = catch(function()
    for message in receive, channel do on_message(self, worker, message) end
  end)
  if not ok and not core.isinstance(err, core.Exception) then error(err, 0) end
  channel:close()
  return await(proc:wait())
end

--- How a process ended, in words.
local function ending(worker, code)
  if not worker.proc then return "a worker process could not be started" end
  local how = code == nil and "ended" or code < 0 and ("was killed by signal %d"):format(-code)
    or ("ended with status %d"):format(code)
  return ("worker process %d %s"):format(worker.proc.pid, how)
end

--- The worker's task has come to its end: its calls fail, others go to somebody else.
local function leave(self, worker, ok, outcome)
  for i = 1, #self.crew do
    if self.crew[i] == worker then
      table.remove(self.crew, i)
      break
    end
  end
  local err = self.broken
  if not err and ok then
    err = core.BrokenProcessPool(ending(worker, outcome) .. " before the call was done")
  elseif not err then
    err = core.isinstance(outcome, core.Exception) and outcome or nil
  end
  worker.outcome = outcome
  for _, item in next, worker.items do
    if err then
      finish(self, item, err)
    else -- the loop is being wound up
      workers.hold(self.loop, -1)
      item.future:cancel()
    end
  end
  worker.items = {}
  -- one that does not even start is no reason to start the next
  if err and not worker.ready and (self.broken or not worker.retired) then fail_all(self, err) end
  if err then
    self:pump()
  elseif self.over and #self.crew == 0 and not self.over:done() then
    self.over:set_result(true)
  end
end

--- One more worker, whose process is being started.
---@private
function Crew:hire()
  local worker = { items = {}, busy = 0, taken = 0, backlog = {}, on_start = self.on_start }
  self.crew[#self.crew + 1] = worker
  self.loop:create_task(async(function()
    local ok, outcome = catch(run_worker, self, worker)
    leave(self, worker, ok, outcome)
    if not ok and not core.isinstance(outcome, core.Exception) then error(outcome, 0) end
  end, "worker process")())
  return worker
end

--- Queues a call; gives a future. `fname` is what errors name.
function Crew:call(fname, loop, f, ...)
  local misuse = require "asyncio.misuse"
  if type(f) ~= "function" and not (getmetatable(f) or {}).__call then
    misuse.raise(core.TypeError, fname .. ": a function was expected, got " .. misuse.describe(f), 4)
  end
  if self.broken then error(core.BrokenProcessPool(self.broken.message)) end
  if self.shut then error(core.RuntimeError("cannot schedule new futures after shutdown")) end
  loop = loop or core.get_event_loop()
  if self.loop ~= loop then
    if self.loop and not self.loop:is_closed() and #self.crew > 0 then
      misuse.raise(core.RuntimeError, fname .. ": the pool is used by another loop", 4)
    end
    self.loop, self.crew, self.queue, self.first, self.last = loop, {}, {}, 1, 0
  end
  local bytes = workers.dumps(fname, "argument", 1, f, ...)
  local future = loop:create_future()
  self.last = self.last + 1
  self.queue[self.last] = { future = future, bytes = bytes }
  workers.hold(loop, 1)
  self:pump()
  return future
end

--- Takes no more calls; gives a future that is done when all processes have ended.
function Crew:stop(cancel)
  self.shut = true
  local loop = self.loop and not self.loop:is_closed() and self.loop or core.get_event_loop()
  if cancel then
    local item = take(self)
    while item do
      workers.hold(self.loop, -1)
      item.future:cancel()
      item = take(self)
    end
  end
  self.over = self.over or loop:create_future()
  if #self.crew == 0 or self.loop ~= loop then
    if not self.over:done() then self.over:set_result(true) end
  else
    self:pump()
  end
  return self.over
end

--- Kills every process. What was asked of them fails.
function Crew:kill(signal)
  for i = 1, #self.crew do
    local proc = self.crew[i].proc
    if proc and proc.returncode == nil then pcall(proc.send_signal, proc, signal or "SIGKILL") end
  end
end

return M
