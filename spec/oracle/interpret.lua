--- Runs programs of the oracle's neutral form on moonloop, in virtual time.
---   build/moonloop spec/oracle/interpret.lua < PROGRAMS > TRACES
--- interpret.py does the same on CPython's asyncio and tells about the form. The two agree line by line.

local asyncio = require "asyncio"

local DOG = 1000 -- seconds after which what still waits is cancelled, again and again
local CALLS = 120
local BREAK = {}

local MyError = asyncio.Exception:extend("MyError")
local errors = {
  ValueError = asyncio.ValueError,
  RuntimeError = asyncio.RuntimeError,
  TimeoutError = asyncio.TimeoutError,
  CancelledError = asyncio.CancelledError,
  KeyboardInterrupt = asyncio.KeyboardInterrupt,
  SystemExit = asyncio.SystemExit,
  MyError = MyError,
}
local queues = { fifo = asyncio.Queue, priority = asyncio.PriorityQueue, lifo = asyncio.LifoQueue }

-- ---- how values look in a trace

local function number(x)
  return (("%.6f"):format(x):gsub("0+$", ""):gsub("%.$", ""))
end

local show

local function show_list(list, n)
  local parts = {}
  for i = 1, n or #list do parts[i] = show(list[i]) end
  return "[" .. table.concat(parts, ",") .. "]"
end

local function show_error(e)
  local name = e.name
  if type(e.exceptions) == "table" then return "!" .. name .. show_list(e.exceptions) end
  local text = e.message
  local shown = type(text) == "string" and (text:find("^m%d+$") or text == "dog")
  return "!" .. name .. (shown and ":" .. text or "")
end

function show(v)
  if type(v) == "number" then return number(v) end
  if type(v) == "table" then
    if asyncio.isinstance(v, asyncio.BaseException) then return show_error(v) end
    return show_list(v, v.n)
  end
  return tostring(v)
end

--- -1 and "" stand for nil.
local function optional(x)
  if x == -1 or x == "" then return nil end
  return x
end

local function state(f)
  if not f:done() then return "pending" end
  if f:cancelled() then return "cancelled" end
  local e = f:exception()
  if e ~= nil then return "failed", e end
  return "done", (f:result())
end

local function new_error(name, text)
  if text ~= "" then return errors[name](text) end
  return errors[name]()
end

-- ---- a program that runs

local Machine = {}
Machine.__index = Machine

local function fill(n, make)
  local list = {}
  for i = 1, n or 0 do list[i - 1] = make(i) end
  return list
end

local function make_all(specs, make)
  return fill(specs and #specs, function(i) return make(specs[i]) end)
end

local function new_machine(program, loop)
  local o = program.objects or {}
  local self = setmetatable({
    functions = program.functions,
    out = {},
    loop = loop,
    calls = 0,
    places = 0,
    place = {}, -- future -> the lowest place in the order of making that it leads to
    slots = {},
    handles = {},
    callbacks = {},
    groups = {},
    vars = {},
    contexts = {},
    bare = o.run,
    turns = not o.run and o.turns or nil,
    locks = fill(o.locks, function() return asyncio.Lock() end),
    events = fill(o.events, function() return asyncio.Event() end),
    futures = fill(o.futures, function() return loop:create_future() end),
  }, Machine)
  self.conditions = make_all(o.conditions, function(i)
    return i >= 0 and asyncio.Condition(self.locks[i]) or asyncio.Condition()
  end)
  self.semaphores = make_all(o.semaphores, function(n)
    return n >= 0 and asyncio.Semaphore(n) or asyncio.BoundedSemaphore(-n)
  end)
  self.barriers = make_all(o.barriers, function(n) return asyncio.Barrier(n) end)
  self.queues = make_all(o.queues, function(spec) return queues[spec[1]](spec[2]) end)
  if o.eager then loop:set_task_factory(asyncio.eager_task_factory) end
  loop:set_exception_handler(function(_, context)
    if context.handle ~= nil or context.message:find("errored out but its parent", 1, true) then
      self:log("loop", "exception", context.exception)
    end
  end)
  return self
end

function Machine:log(who, event, ...)
  local values = {}
  for i = 1, select("#", ...) do values[i] = show((select(i, ...))) end
  local line = ("%s %s %s %s"):format(number(self.loop:time()), who, event, table.concat(values, " "))
  self.out[#self.out + 1] = (line:gsub(" +$", ""))
end

-- ---- functions

local call

function Machine:new_place()
  self.places = self.places + 1
  return self.places
end

--- A task for function f; how: 0 as usual, 1 eager, 2 not eager.
function Machine:spawn(f, how)
  local place = self:new_place()
  local options = { loop = self.loop }
  if how > 0 then options.eager_start = how == 1 end
  local task = asyncio.create_task(call(self, f, place), options)
  self.place[task] = place
  return task
end

local function finish(self, env, ok, r)
  if not ok then
    self:log(env.who, "raises", r)
    error(r, 0)
  end
  local v
  if r and r ~= BREAK then v = r[1] end
  self:log(env.who, "returns", v)
  return v
end

--- True while the program has not made too many calls: callbacks may schedule themselves for ever.
function Machine:count()
  self.calls = self.calls + 1
  return self.calls <= CALLS
end

call = async(function(self, f, place)
  if not self:count() then return nil end
  local env = { who = ("f%d#%d"):format(f, self.calls), place = place, timeouts = {} }
  self:log(env.who, "starts")
  return finish(self, env, asyncio.catch(self.body, self, self.functions[f + 1], env))
end)

-- ---- awaitables; each gives the awaitable and its place

local awaitables = {}

--- inside: it will be a task of its own if it is a coroutine.
function Machine:aw(a, env, inside)
  local awaitable, place = awaitables[a[1]](self, a, env, inside)
  return awaitable, place or math.huge
end

function awaitables:call(a, env, inside)
  local place = inside and self:new_place() or env.place
  return call(self, a[2], place), place
end

function awaitables:task(a, env)
  local t = self.slots[a[2]]
  if not t or self.place[t] <= env.place then return asyncio.sleep(0, "none") end
  return t, self.place[t]
end

function awaitables:future(a) return self.futures[a[2]] end
function awaitables:sleep(a) return asyncio.sleep(a[2], a[3]) end

function awaitables:object(a, env, inside)
  local x, place = self:aw(a[2], env, inside)
  return setmetatable({}, { __await = function() return x end }), place
end

function awaitables:gather(a, env)
  local list, lowest = {}, math.huge
  for i, x in ipairs(a[2]) do
    local place
    list[i], place = self:aw(x, env, true)
    lowest = math.min(lowest, place)
  end
  return asyncio.gather(list, { return_exceptions = a[3] }), lowest
end

function awaitables:shield(a, env)
  local x, place = self:aw(a[2], env, true)
  return asyncio.shield(x), place
end

function awaitables:wait_for(a, env)
  local x, place = self:aw(a[2], env)
  return asyncio.wait_for(x, optional(a[3])), place
end

function awaitables:acquire(a) return self.locks[a[2]]:acquire() end
function awaitables:event(a) return self.events[a[2]]:wait() end
function awaitables:cwait(a) return self.conditions[a[2]]:wait() end

function awaitables:cwait_for(a)
  return self.conditions[a[2]]:wait_for(function() return (self.vars[a[3]] or 0) >= a[4] end)
end

function awaitables:sacquire(a) return self.semaphores[a[2]]:acquire() end
function awaitables:bwait(a) return self.barriers[a[2]]:wait() end
function awaitables:breset(a) return self.barriers[a[2]]:reset() end
function awaitables:babort(a) return self.barriers[a[2]]:abort() end
function awaitables:get(a) return self.queues[a[2]]:get() end
function awaitables:put(a) return self.queues[a[2]]:put(a[3]) end
function awaitables:join(a) return self.queues[a[2]]:join() end

function Machine:target(a)
  if a[1] == "future" then return self.futures[a[2]] end
  return self.slots[a[2]]
end

--- What wait and as_completed take: tasks and futures; empty slots are left out. And each one's place among them.
function Machine:futures_of(aws)
  local found, order, n = {}, {}, 0
  for _, a in ipairs(aws) do
    local f = self:target(a)
    if f then
      found[#found + 1] = f
      if not order[f] then
        order[f] = n
        n = n + 1
      end
    end
  end
  return found, order
end

-- ---- statements that do not wait

local sync = {}

function sync:log(s, env) self:log(env.who, "log", s[2]) end
function sync:spawn(s) self.slots[s[2]] = self:spawn(s[3], s[4]) end

function sync:keep(s, env)
  local x, place = self:aw(s[3], env, true)
  local t = asyncio.ensure_future(x)
  self.place[t] = place
  self.slots[s[2]] = t
end

function sync:cancel(s, env)
  local t = self:target(s[2])
  if t then self:log(env.who, "cancels", t:cancel(optional(s[3]))) end
end

function sync:uncancel(s, env)
  local t = self.slots[s[2]]
  if t and t.uncancel then self:log(env.who, "uncancels", t:uncancel()) end
end

function sync:cancelling(s, env)
  local t = self.slots[s[2]]
  if t and t.cancelling then self:log(env.who, "cancelling", t:cancelling()) end
end

function sync:state(s, env)
  local t = self:target(s[2])
  if t then self:log(env.who, "state", state(t)) end
end

function sync:raise(s) error(new_error(s[2], s[3]), 0) end

function sync:gspawn(s)
  local group = self.groups[s[2]]
  if not group then return end
  local place = self:new_place()
  local task = group:create_task(call(self, s[4], place))
  self.place[task] = place
  self.slots[s[3]] = task
end

function sync:stop()
  if not self.bare and not self.turns then self.loop:stop() end
end

--- The machine itself is the key of its task-local value.
function sync:vset(s) asyncio.context.set(self, s[2]) end
function sync:vget(_, env) self:log(env.who, "var", asyncio.context.get(self, 0)) end
function sync:vcopy(s) self.contexts[s[2]] = asyncio.context.copy() end

function sync:vpeek(s, env)
  local context = self.contexts[s[2]]
  if context then self:log(env.who, "peek", context[self] or 0) end
end

function sync:vspawn(s)
  local place = self:new_place()
  local task = asyncio.create_task(call(self, s[3], place), { context = self.contexts[s[4]] })
  self.place[task] = place
  self.slots[s[2]] = task
end

function sync:raise_group(s)
  local list = {}
  for i, name in ipairs(s[2]) do list[i] = errors[name]() end
  error(asyncio.ExceptionGroup("several", list), 0)
end

function sync:release(s) self.locks[s[2]]:release() end
function sync:locked(s, env) self:log(env.who, "locked", self.locks[s[2]]:locked()) end
function sync:srelease(s) self.semaphores[s[2]]:release() end
function sync:slocked(s, env) self:log(env.who, "slocked", self.semaphores[s[2]]:locked()) end
function sync:notify(s) self.conditions[s[2]]:notify(s[3]) end
function sync:notify_all(s) self.conditions[s[2]]:notify_all() end
function sync:inc(s) self.vars[s[2]] = (self.vars[s[2]] or 0) + 1 end
function sync:set(s) self.events[s[2]]:set() end
function sync:clear(s) self.events[s[2]]:clear() end
function sync:is_set(s, env) self:log(env.who, "is_set", self.events[s[2]]:is_set()) end

function sync:bstate(s, env)
  local b = self.barriers[s[2]]
  self:log(env.who, "barrier", b.n_waiting, b.broken)
end

function sync:put_nowait(s) self.queues[s[2]]:put_nowait(s[3]) end
function sync:get_nowait(s, env) self:log(env.who, "got", self.queues[s[2]]:get_nowait()) end
function sync:task_done(s) self.queues[s[2]]:task_done() end
function sync:shutdown(s) self.queues[s[2]]:shutdown(s[3]) end

function sync:queue(s, env)
  local q = self.queues[s[2]]
  self:log(env.who, "queue", q:qsize(), q:empty(), q:full())
end

function sync:set_result(s) self.futures[s[2]]:set_result(s[3]) end
function sync:set_exception(s) self.futures[s[2]]:set_exception(new_error(s[3], s[4])) end
function sync:renew(s) self.futures[s[2]] = self.loop:create_future() end

--- The callback of that name: made once.
local function callback(self, name, statements, env)
  if not self.callbacks[name] then
    self.callbacks[name] = function(future)
      if not self:count() then return end
      self:log("cb" .. name, "called", state(future))
      for _, s in ipairs(statements) do self:sync(s, env) end
    end
  end
  return self.callbacks[name]
end

function sync:add_callback(s, env)
  local t = self:target(s[2])
  if t then t:add_done_callback(callback(self, s[3], s[4], env)) end
end

function sync:remove_callback(s, env)
  local t, f = self:target(s[2]), self.callbacks[s[3]]
  if t and f then self:log(env.who, "removed", t:remove_done_callback(f)) end
end

local function later(self, name, statements, env)
  if not self:count() then return end
  self:log("handle" .. name, "called")
  for _, s in ipairs(statements) do self:sync(s, env) end
end

function sync:call_soon(s, env) self.handles[s[2]] = self.loop:call_soon(later, self, s[2], s[3], env) end
function sync:call_later(s, env) self.handles[s[2]] = self.loop:call_later(s[4], later, self, s[2], s[3], env) end
function sync:call_at(s, env) self.handles[s[2]] = self.loop:call_at(s[4], later, self, s[2], s[3], env) end

function sync:hcancel(s, env)
  local h = self.handles[s[2]]
  if not h then return end
  h:cancel()
  self:log(env.who, "hcancelled", h:cancelled())
end

function sync:resched(s, env)
  local timeout, d = env.timeouts[#env.timeouts], optional(s[2])
  if timeout then timeout:reschedule(d and self.loop:time() + d) end
end

function sync.reraise() end -- not in a handler

function sync:time(_, env) self:log(env.who, "time", self.loop:time()) end

--- Runs the statement if it is one that does not wait; else gives false.
function Machine:sync(s, env)
  local f = sync[s[1]]
  if not f then return false end
  f(self, s, env)
  return true
end

-- ---- ways through Lua

local function results(ok, ...)
  if ok then return ... end
  error((...), 0)
end

--- Awaits must work the same whatever lies on the Lua stack between them and the task. Each way calls f(...), which
--- gives one value. ORACLE_THROUGH names the one that blocks are run in; "all" takes them in turn.
local ways = {
  plain = function(f, ...) return f(...) end,
  -- An error leaves the `<close>` of a coroutine to a place where they cannot await, so it is caught inside.
  wrap = function(f, ...) return results(coroutine.wrap(function(...) return asyncio.catch(f, ...) end)(...)) end,
  resume = function(f, ...)
    local co = coroutine.create(asyncio.catch)
    return results(select(2, assert(coroutine.resume(co, f, ...))))
  end,
  generator = function(f, ...)
    local arguments = table.pack(...)
    local values = coroutine.wrap(function()
      coroutine.yield(1)
      coroutine.yield { asyncio.catch(f, table.unpack(arguments, 1, arguments.n)) }
      coroutine.yield(2)
    end)
    values()
    local r = values()
    values()
    return results(table.unpack(r, 1, 2))
  end,
  -- Not __concat: Lua 5.4.4 has a wrong stack top in a collection after one that made the stack move.
  metamethod = function(f, ...)
    return setmetatable({}, { __add = function(_, arguments) return f(table.unpack(arguments, 1, arguments.n)) end })
      + table.pack(...)
  end,
  index = function(f, ...)
    local arguments = table.pack(...)
    return setmetatable({}, { __index = function() return f(table.unpack(arguments, 1, arguments.n)) end }).x
  end,
  iterator = function(f, ...)
    local arguments, r = table.pack(...), nil
    for _, value in function(_, n) if n == 0 then return 1, f(table.unpack(arguments, 1, arguments.n)) end end, nil, 0 do
      r = value
    end
    return r
  end,
  catch = function(f, ...) return results(asyncio.catch(f, ...)) end,
  pcall = function(f, ...) return results(pcall(f, ...)) end,
  xpcall = function(f, ...) return results(xpcall(f, function(e) return e end, ...)) end,
  await = function(f, ...) return await(async(f)(...)) end,
}
local way = os.getenv("ORACLE_THROUGH") or "plain"
local all_ways = {}
for name in pairs(ways) do all_ways[#all_ways + 1] = name end
table.sort(all_ways)

-- ---- statements

local statements = {}
local run_body

--- nil, BREAK, or a table with the value after a return.
function Machine:body(list, env, caught)
  if way == "plain" then return run_body(self, list, env, caught) end
  local name = way
  if way == "all" then
    self.turn = (self.turn or 0) % #all_ways + 1
    name = all_ways[self.turn]
  end
  return ways[name](run_body, self, list, env, caught)
end

function run_body(self, list, env, caught)
  for i = 1, #list do
    local s = list[i]
    if caught and s[1] == "reraise" then error(caught[1], 0) end
    if not self:sync(s, env) then
      local r = statements[s[1]](self, s, env)
      if r then return r end
    end
  end
end

function statements:await(s, env)
  local v = await((self:aw(s[2], env)))
  self:log(env.who, s[2][1], v)
end

statements["return"] = function(_, s) return { s[2] } end
statements["break"] = function() return BREAK end

function statements:loop(s, env)
  for _ = 1, s[2] do
    local r = self:body(s[3], env)
    if r == BREAK then break end
    if r then return r end
  end
end

function statements:self(s, env)
  local task = asyncio.current_task()
  if s[2] == "cancel" then
    self:log(env.who, "cancels itself", task:cancel(optional(s[3])))
  elseif s[2] == "uncancel" then
    self:log(env.who, "uncancels itself", task:uncancel())
  else
    self:log(env.who, "cancelling", task:cancelling())
  end
end

local function handled(self, s, env, ok, r)
  if ok then return r end
  self:log(env.who, s[1], r)
  return self:body(s[3], env, { r })
end

function statements:pcall(s, env) return handled(self, s, env, pcall(self.body, self, s[2], env)) end
function statements:catch(s, env) return handled(self, s, env, asyncio.catch(self.body, self, s[2], env)) end

--- A value for <close>.
local function at_end(f) return setmetatable({}, { __close = f }) end

statements["finally"] = function(self, s, env)
  local _ <close> = at_end(function()
    self:log(env.who, "finally")
    self:body(s[3], env)
  end)
  return self:body(s[2], env)
end

local function timed(self, make, s, env)
  local timeout
  local _ <close> = at_end(function() self:log(env.who, "expired", timeout:expired()) end)
  local t <close> = make(optional(s[2]))
  timeout = t
  env.timeouts[#env.timeouts + 1] = t
  local _ <close> = at_end(function() env.timeouts[#env.timeouts] = nil end)
  return self:body(s[3], env)
end

function statements:timeout(s, env) return timed(self, asyncio.timeout, s, env) end
function statements:timeout_at(s, env) return timed(self, asyncio.timeout_at, s, env) end

--- By turns, unless all is to be plain, asyncio.with stands in for <close>.
local function by_function(self)
  if way == "plain" then return false end
  self.with = not self.with
  return self.with
end

function statements:group(s, env)
  local r
  if by_function(self) then
    r = asyncio.with(asyncio.TaskGroup(), function(group)
      self.groups[s[2]] = group
      return self:body(s[3], env)
    end)
  else
    local group <close> = asyncio.TaskGroup()
    self.groups[s[2]] = group
    r = self:body(s[3], env)
  end
  self:log(env.who, "group done")
  return r
end

local function guarded(self, object, what, s, env)
  if by_function(self) then
    return asyncio.with(object, function()
      self:log(env.who, "has " .. what)
      return self:body(s[3], env)
    end)
  end
  local _ <close> = await(object:guard())
  self:log(env.who, "has " .. what)
  return self:body(s[3], env)
end

function statements:lock(s, env) return guarded(self, self.locks[s[2]], "lock", s, env) end
function statements:condition(s, env) return guarded(self, self.conditions[s[2]], "condition", s, env) end
function statements:semaphore(s, env) return guarded(self, self.semaphores[s[2]], "permit", s, env) end

function statements:barrier(s, env)
  return asyncio.with(self.barriers[s[2]], function(at)
    self:log(env.who, "passed barrier", at)
    return self:body(s[3], env)
  end)
end

local function places(futures, order)
  local list = {}
  for i, f in ipairs(futures) do list[i] = order[f] end
  table.sort(list)
  return list
end

function statements:wait(s, env)
  local found, order = self:futures_of(s[2])
  if #found == 0 then return end
  local done, pending = await(asyncio.wait(found, { timeout = optional(s[3]), return_when = s[4] }))
  self:log(env.who, "wait", places(done, order), places(pending, order))
end

function statements:as_completed(s, env)
  local found, order = self:futures_of(s[2])
  local iterator = asyncio.as_completed(found, { timeout = optional(s[3]) })
  for future in iterator do
    self:log(env.who, "next", order[future], state(future))
    local r = self:body(s[4], env)
    if r == BREAK then break end
    if r then return r end
  end
  if s[5] then -- go on after a break
    for future in iterator do
      self:log(env.who, "next again", order[future], state(future))
    end
  end
end

-- ---- the harness

local function root(self)
  if not self.turns then self.slots[0] = self:spawn(0, 0) end
  local me = asyncio.current_task()
  for _ = 1, 60 do
    await(asyncio.sleep(DOG))
    local left = {}
    for _, t in ipairs(asyncio.all_tasks()) do
      if t ~= me and not t:done() then left[#left + 1] = t end
    end
    if #left == 0 then return end
    for _, t in ipairs(left) do
      if not t:done() then t:cancel("dog") end
    end
  end
  self:log("loop", "stuck")
end

--- One of several functions that are run one after the other; what they leave goes on.
local function run_turn(self, loop, f)
  local task = self:spawn(f, 0)
  self.slots[0] = task
  asyncio.catch(loop.run_until_complete, loop, task) -- its own error, or the loop was left, or nothing can happen
  self:log("loop", "turn ends", state(task))
end

--- Runs on when the loop was stopped, or was left by an error that leaves every loop.
local function run_root(self, loop, task)
  while not task:done() do
    local ok, err = asyncio.catch(loop.run_until_complete, loop, task)
    if not ok and asyncio.isinstance(err, { asyncio.KeyboardInterrupt, asyncio.SystemExit }) then
      self:log("loop", "left", err)
    elseif not ok and tostring(err):find("stopped", 1, true) then
      self:log("loop", "stopped")
    elseif not ok then
      return self:log("loop", "failed", tostring(err))
    end
  end
end

--- As asyncio.run does it, and no watchdog; but the loop stays open for what is left to tell.
local function run_main(self, loop)
  local task
  local main = async(function()
    task = asyncio.current_task()
    self.slots[0] = task
    self.place[task] = 1
    return await(call(self, 0, self:new_place()))
  end)
  local runner = asyncio.Runner { loop_factory = function() return loop end }
  asyncio.catch(runner.run, runner, main()) -- its own error, or nothing can happen any more
  self:log("loop", "main ends", state(task))
  local left = asyncio.all_tasks(loop)
  for _, t in ipairs(left) do t:cancel() end
  if #left == 0 then return end
  local all = asyncio.gather(left, { return_exceptions = true })
  if not asyncio.catch(loop.run_until_complete, loop, all) then self:log("loop", "hangs") end
end

local M = {}

--- The trace of a program: a list of lines. through: the way that blocks are run in (see above).
---@param program table
---@param through? string
---@return string[]
function M.trace(program, through)
  way = through or way
  local loop = asyncio.new_event_loop { clock = "virtual" }
  local self = new_machine(program, loop)
  if program.objects and program.objects.run then
    run_main(self, loop)
  else
    for f = 0, (self.turns or 0) - 1 do run_turn(self, loop, f) end
    local task = asyncio.Task(async(root)(self), { loop = loop, eager_start = false })
    run_root(self, loop, task)
  end
  local names = {}
  for name in pairs(self.slots) do names[#names + 1] = name end
  table.sort(names)
  for _, name in ipairs(names) do self:log("slot" .. name, "ends", state(self.slots[name])) end
  local out = self.out
  self.out = {} -- what a program that is stuck says as it is closed
  loop:close()
  return out
end

if arg and arg[0] and arg[0]:find("interpret%.lua$") then
  package.path = arg[0]:gsub("interpret%.lua$", "?.lua") .. ";" .. package.path
  local notation = require "notation"
  io.stdout:setvbuf("full")
  for line in io.lines() do
    if line:find("%S") then
      local program = notation.decode(line)
      io.write("# ", tostring(program.id), "\n")
      io.flush()
      local out = M.trace(program)
      out[#out + 1] = ".\n"
      io.write(table.concat(out, "\n"))
    end
  end
end

return M
