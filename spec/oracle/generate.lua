--- Makes random programs of the oracle's neutral form (see interpret.py). The same seed gives the same program.

local M = {}

local random = math.random

local function pick(list) return list[random(#list)] end
local function chance(percent) return random(100) <= percent end

local function delay() return pick { -1, 0, 0, 0, 0.5, 1, 1, 1, 1.5, 2, 2, 3, 4 } end
local function limit() return pick { -1, 0, 0, 0.5, 1, 1, 2, 2, 3 } end
local function message() return chance(60) and "" or "m" .. random(5) end
local error_names = { "ValueError", "MyError", "RuntimeError", "TimeoutError", "CancelledError" }
local function error_name() return pick(error_names) end
local function slot() return random(0, 5) end

--- What a program under way knows: how many functions and objects there are, and the families it draws from.
---@class oracle.Plan
---@field n integer number of functions
---@field here integer the function that is being made: it calls later ones only
---@field objects table
---@field families table<string, boolean>
---@field budget integer statements left

local function func(plan) return random(plan.here + 1, plan.n - 1) end
local function has_func(plan) return plan.here < plan.n - 1 end
local function item(list) return random(0, #list - 1) end
local function target(plan)
  if plan.objects.futures > 0 and chance(30) then return { "future", random(0, plan.objects.futures - 1) } end
  return { "task", slot() }
end

-- ---- awaitables by family: {weight, make}

local awaitable

local function several(plan, depth)
  local list = {}
  for i = 1, random(0, 10) == 0 and 0 or random(1, 3) do list[i] = awaitable(plan, depth - 1) end
  if #list > 0 and chance(20) then
    local again = pick(list)
    if again[1] == "task" or again[1] == "future" then list[#list + 1] = again end
  end
  return list
end

local awaitables = {
  basic = {
    { 6, function() return { "sleep", delay(), pick { "a", "b", 1, 2 } } end },
    { 5, function() return { "task", slot() } end },
    { 4, function(plan) return has_func(plan) and { "call", func(plan) } or { "sleep", delay(), 0 } end },
  },
  gather = {
    { 8, function(plan, depth)
      return depth > 0 and { "gather", several(plan, depth), chance(40) } or { "task", slot() }
    end },
  },
  shield = {
    { 8, function(plan, depth)
      return depth > 0 and { "shield", awaitable(plan, depth - 1) } or { "task", slot() }
    end },
  },
  wait_for = {
    { 8, function(plan, depth)
      return depth > 0 and { "wait_for", awaitable(plan, depth - 1), limit() } or { "task", slot() }
    end },
  },
  object = { { 5, function(plan, depth)
    return depth > 0 and { "object", awaitable(plan, depth - 1) } or { "task", slot() }
  end } },
  future = { { 6, function(plan) return { "future", random(0, plan.objects.futures - 1) } end } },
  lock = { { 5, function(plan) return { "acquire", random(0, plan.objects.locks - 1) } end } },
  event = { { 8, function(plan) return { "event", random(0, plan.objects.events - 1) } end } },
  condition = {
    { 8, function(plan) return { "cwait", item(plan.objects.conditions) } end },
    { 3, function(plan) return { "cwait_for", item(plan.objects.conditions), "v", random(3) } end },
  },
  semaphore = { { 8, function(plan) return { "sacquire", item(plan.objects.semaphores) } end } },
  barrier = {
    { 10, function(plan) return { "bwait", item(plan.objects.barriers) } end },
    { 1, function(plan) return { "breset", item(plan.objects.barriers) } end },
    { 1, function(plan) return { "babort", item(plan.objects.barriers) } end },
  },
  queue = {
    { 8, function(plan) return { "get", item(plan.objects.queues) } end },
    { 8, function(plan) return { "put", item(plan.objects.queues), random(5) } end },
    { 2, function(plan) return { "join", item(plan.objects.queues) } end },
  },
}

-- ---- statements by family: {weight, make}; those of `sync` may stand in callbacks too

local body, sync_body

local function nested(plan, depth) return body(plan, depth - 1, random(1, 3)) end

local sync = {
  basic = {
    { 8, function(plan) return { "cancel", target(plan), message() } end },
    { 2, function(plan) return { "state", target(plan) } end },
    { 6, function(plan)
      return has_func(plan) and { "spawn", slot(), func(plan), plan.families.eager and random(0, 2) or 0 }
        or { "log", "x" }
    end },
    { 1, function() return { "raise", error_name(), message() } end },
    { 1, function() return { "log", random(9) } end },
  },
  keep = { { 6, function(plan) return { "keep", slot(), awaitable(plan, 2) } end } },
  counting = {
    { 3, function() return { "uncancel", slot() } end },
    { 3, function() return { "cancelling", slot() } end },
  },
  callback = {
    { 5, function(plan)
      return { "add_callback", target(plan), random(0, 3), plan.inside and {} or sync_body(plan, random(0, 2)) }
    end },
    { 2, function(plan) return { "remove_callback", target(plan), random(0, 3) } end },
  },
  handle = {
    { 4, function(plan) return { "call_soon", random(0, 3), plan.inside and {} or sync_body(plan, random(0, 2)) } end },
    { 4, function(plan)
      return { "call_later", random(0, 3), plan.inside and {} or sync_body(plan, random(0, 2)), delay() }
    end },
    { 2, function(plan)
      return { "call_at", random(0, 3), plan.inside and {} or sync_body(plan, random(0, 2)), delay() }
    end },
    { 3, function() return { "hcancel", random(0, 3) } end },
  },
  future = {
    { 5, function(plan) return { "set_result", random(0, plan.objects.futures - 1), random(9) } end },
    { 3, function(plan)
      return { "set_exception", random(0, plan.objects.futures - 1), pick { "ValueError", "MyError" }, message() }
    end },
    { 2, function(plan) return { "renew", random(0, plan.objects.futures - 1) } end },
  },
  group = {
    { 8, function(plan)
      return has_func(plan) and { "gspawn", random(0, 1), slot(), func(plan) } or { "log", "x" }
    end },
  },
  leaving = {
    { 2, function() return { "stop" } end },
    { 2, function() return { "raise", pick { "KeyboardInterrupt", "SystemExit" }, message() } end },
  },
  raise_group = { { 3, function() return { "raise_group", pick { { "ValueError" }, { "MyError", "ValueError" } } } end } },
  values = {
    { 6, function() return { "vset", random(9) } end },
    { 10, function() return { "vget" } end },
    { 4, function() return { "vcopy", random(0, 1) } end },
    { 5, function() return { "vpeek", random(0, 1) } end },
    { 5, function(plan)
      return has_func(plan) and { "vspawn", slot(), func(plan), random(0, 1) } or { "vget" }
    end },
  },
  lock = {
    { 4, function(plan) return { "release", random(0, plan.objects.locks - 1) } end },
    { 1, function(plan) return { "locked", random(0, plan.objects.locks - 1) } end },
  },
  event = {
    { 5, function(plan) return { "set", random(0, plan.objects.events - 1) } end },
    { 3, function(plan) return { "clear", random(0, plan.objects.events - 1) } end },
    { 1, function(plan) return { "is_set", random(0, plan.objects.events - 1) } end },
  },
  condition = {
    { 4, function(plan) return { "notify", item(plan.objects.conditions), random(2) } end },
    { 3, function(plan) return { "notify_all", item(plan.objects.conditions) } end },
    { 2, function() return { "inc", "v" } end },
  },
  semaphore = {
    { 6, function(plan) return { "srelease", item(plan.objects.semaphores) } end },
    { 2, function(plan) return { "slocked", item(plan.objects.semaphores) } end },
  },
  barrier = { { 1, function(plan) return { "bstate", item(plan.objects.barriers) } end } },
  queue = {
    { 4, function(plan) return { "put_nowait", item(plan.objects.queues), random(5) } end },
    { 4, function(plan) return { "get_nowait", item(plan.objects.queues) } end },
    { 3, function(plan) return { "task_done", item(plan.objects.queues) } end },
    { 1, function(plan) return { "shutdown", item(plan.objects.queues), chance(50) } end },
    { 1, function(plan) return { "queue", item(plan.objects.queues) } end },
  },
  timeout = { { 3, function() return { "resched", pick { -1, -1, 0, 0.5, 1, 2 } } end } },
}

local function slots(plan)
  local list = {}
  for i = 1, random(1, 4) do list[i] = target(plan) end
  return list
end

local waiting = {
  basic = {
    { 22, function(plan) return { "await", awaitable(plan, 2) } end },
    { 5, function(plan, depth) return { "pcall", nested(plan, depth), body(plan, 0, random(0, 2), true) } end },
    { 4, function(plan, depth) return { "catch", nested(plan, depth), body(plan, 0, random(0, 2), true) } end },
    { 4, function(plan, depth) return { "finally", nested(plan, depth), body(plan, 0, random(1, 2)) } end },
    { 1, function() return { "return", random(9) } end },
    { 1, function(plan, depth) return { "loop", random(2, 3), nested(plan, depth) } end },
    { 1, function() return { "self", "cancel", message() } end },
  },
  counting = {
    { 3, function() return { "self", "uncancel", "" } end },
    { 2, function() return { "self", "cancelling", "" } end },
  },
  timeout = {
    { 12, function(plan, depth) return { "timeout", limit(), nested(plan, depth) } end },
    { 2, function(plan, depth) return { "timeout_at", pick { 0, 1, 2, 3, 4 }, nested(plan, depth) } end },
  },
  group = { { 12, function(plan, depth) return { "group", random(0, 1), nested(plan, depth) } end } },
  lock = {
    { 10, function(plan, depth) return { "lock", random(0, plan.objects.locks - 1), nested(plan, depth) } end },
  },
  condition = {
    { 12, function(plan, depth) return { "condition", item(plan.objects.conditions), nested(plan, depth) } end },
  },
  semaphore = {
    { 6, function(plan, depth) return { "semaphore", item(plan.objects.semaphores), nested(plan, depth) } end },
  },
  barrier = {
    { 3, function(plan, depth) return { "barrier", item(plan.objects.barriers), nested(plan, depth) } end },
  },
  wait = {
    { 12, function(plan)
      return { "wait", slots(plan), limit(), pick { "ALL_COMPLETED", "FIRST_COMPLETED", "FIRST_EXCEPTION" } }
    end },
  },
  as_completed = {
    { 12, function(plan, depth)
      local inner = nested(plan, depth)
      if chance(30) then inner[#inner + 1] = { "break" } end
      return { "as_completed", slots(plan), limit(), inner, chance(50) }
    end },
  },
}

--- One of the choices of the plan's families, by weight.
local function choose(plan, tables)
  local total, list = 0, {}
  for _, t in ipairs(tables) do
    for _, family in ipairs(plan.order) do
      for _, choice in ipairs(t[family] or {}) do
        total = total + choice[1]
        list[#list + 1] = choice
      end
    end
  end
  local at = random(total)
  for _, choice in ipairs(list) do
    at = at - choice[1]
    if at <= 0 then return choice[2] end
  end
end

function awaitable(plan, depth) return choose(plan, { awaitables })(plan, depth) end

function sync_body(plan, n)
  local list = {}
  plan.inside = true
  for i = 1, n do list[i] = choose(plan, { sync })(plan, 0) end
  plan.inside = false
  return list
end

local simple = { basic = { waiting.basic[1] } }

--- These often fail; where they do, the rest of a function would seldom be reached.
local risky = {}
for name in ([[raise release srelease notify notify_all gspawn put_nowait get_nowait task_done set_result set_exception
  resched]]):gmatch("%S+") do
  risky[name] = true
end

local function careful(s)
  if risky[s[1]] and chance(80) then return { "pcall", { s }, {} } end
  if s[1] == "await" and chance(30) then return { "pcall", { s }, {} } end
  return s
end

--- A list of n statements; in a handler one may be `reraise`.
function body(plan, depth, n, handler)
  local list = {}
  for _ = 1, n do
    plan.budget = plan.budget - 1
    if plan.budget < 0 then break end
    local from = depth > 0 and { waiting, sync } or { simple, sync }
    list[#list + 1] = careful(choose(plan, from)(plan, depth))
    local made = list[#list]
    if made[1] == "spawn" and chance(40) then
      local task = { "task", made[2] }
      list[#list + 1] = careful { "await", chance(80) and task or { "wait_for", task, limit() } }
    end
  end
  if handler and chance(40) then list[#list + 1] = { "reraise" } end
  return list
end

local families = {
  "object", "leaving", "raise_group", "values",
  "gather", "shield", "wait_for", "future", "lock", "event", "condition", "semaphore", "barrier", "queue", "keep",
  "counting", "callback", "handle", "group", "timeout", "wait", "as_completed", "eager",
}

--- The program of a seed. size: about how many statements (40 unless given).
---@param seed integer
---@param size? integer
---@return table
function M.program(seed, size)
  math.randomseed(seed)
  local plan = { n = random(2, 5), families = { basic = true }, budget = size or random(8, 45) }
  for _ = 1, random(1, 4) do plan.families[pick(families)] = true end
  if chance(10) then
    for _, family in ipairs(families) do plan.families[family] = true end
  end
  plan.order = {}
  for family in pairs(plan.families) do plan.order[#plan.order + 1] = family end
  table.sort(plan.order)
  local has = plan.families
  plan.objects = {
    locks = (has.lock or has.condition) and random(1, 2) or 0,
    events = has.event and random(1, 2) or 0,
    futures = has.future and random(1, 3) or 0,
    conditions = has.condition and { pick { -1, -1, 0 } } or {},
    semaphores = has.semaphore and { pick { 0, 1, 2, -1, -2 } } or {},
    barriers = has.barrier and { random(1, 3) } or {},
    queues = has.queue and { { pick { "fifo", "fifo", "priority", "lifo" }, random(0, 2) } } or {},
    eager = has.eager and chance(20),
    run = chance(12),
    turns = chance(12) and random(2, plan.n) or nil,
  }
  local functions = {}
  local share = math.max(2, plan.budget // plan.n)
  for here = 0, plan.n - 1 do
    plan.here = here
    plan.budget = share + (plan.budget > 0 and plan.budget or 0) // plan.n
    functions[here + 1] = body(plan, 3, random(2, 6))
  end
  -- The main function starts some of the others, often several of one kind, and meddles with them for a while.
  local main, tail = {}, functions[1]
  local same = random(1, plan.n - 1)
  for i = 1, random(1, 5) do
    main[i] = { "spawn", i, chance(50) and same or random(1, plan.n - 1), has.eager and random(0, 1) or 0 }
  end
  plan.here, plan.budget = 0, 100
  for _ = 1, random(0, 8) do
    if chance(80) then main[#main + 1] = { "await", { "sleep", pick { 0, 0, 0, 0, 0.5, 1, 1, 2 }, "-" } } end
    main[#main + 1] = chance(40) and { "cancel", { "task", random(5) }, message() }
      or careful(choose(plan, { sync })(plan, 0))
  end
  functions[1] = table.move(tail, 1, #tail, #main + 1, main)
  main[#main + 1] = { "await", { "sleep", delay(), "end" } }
  return { id = seed, objects = plan.objects, functions = functions }
end

return M
