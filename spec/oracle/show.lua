--- Prints a program as Lua and as Python, side by side, and both traces.



local function q(s) return ("%q"):format(s) end

local function args(list)
  local parts = {}
  for i, v in ipairs(list) do parts[i] = v end
  return table.concat(parts, ", ")
end

local aw -- awaitable -> Lua, Python

local function aws(list)
  local lua, py = {}, {}
  for i, a in ipairs(list) do lua[i], py[i] = aw(a) end
  return args(lua), args(py)
end

local objects = {
  acquire = { "lock", "acquire()" },
  event = { "event", "wait()" },
  cwait = { "cond", "wait()" },
  sacquire = { "sem", "acquire()" },
  bwait = { "barrier", "wait()" },
  breset = { "barrier", "reset()" },
  babort = { "barrier", "abort()" },
  get = { "queue", "get()" },
  join = { "queue", "join()" },
  release = { "lock", "release()" },
  locked = { "lock", "locked()" },
  srelease = { "sem", "release()" },
  slocked = { "sem", "locked()" },
  notify_all = { "cond", "notify_all()" },
  set = { "event", "set()" },
  clear = { "event", "clear()" },
  is_set = { "event", "is_set()" },
  bstate = { "barrier", "broken" },
  get_nowait = { "queue", "get_nowait()" },
  task_done = { "queue", "task_done()" },
  queue = { "queue", "qsize()" },
}

local function limit(x) return x == -1 and "nil" or tostring(x), x == -1 and "None" or tostring(x) end

local function ref(a) return (a[1] == "future" and "fut" or "t") .. a[2] end

local function method(object, call) return object .. ":" .. call, object .. "." .. call end

function aw(a)
  local kind = a[1]
  if kind == "call" then return "f" .. a[2] .. "()", "f" .. a[2] .. "()" end
  if kind == "task" or kind == "future" then return ref(a), ref(a) end
  if kind == "sleep" then return ("asyncio.sleep(%s)"):format(a[2]), ("asyncio.sleep(%s)"):format(a[2]) end
  if kind == "gather" then
    local lua, py = aws(a[2])
    if not a[3] then return ("asyncio.gather(%s)"):format(lua), ("asyncio.gather(%s)"):format(py) end
    return ("asyncio.gather({%s}, {return_exceptions = true})"):format(lua),
      ("asyncio.gather(%s, return_exceptions=True)"):format(py)
  end
  if kind == "object" then
    local lua, py = aw(a[2])
    return ("object{__await = %s}"):format(lua), ("Object(%s)"):format(py)
  end
  if kind == "shield" then
    local lua, py = aw(a[2])
    return ("asyncio.shield(%s)"):format(lua), ("asyncio.shield(%s)"):format(py)
  end
  if kind == "wait_for" then
    local lua, py = aw(a[2])
    local l, p = limit(a[3])
    return ("asyncio.wait_for(%s, %s)"):format(lua, l), ("asyncio.wait_for(%s, %s)"):format(py, p)
  end
  if kind == "put" then return method("queue" .. a[2], ("put(%s)"):format(a[3])) end
  if kind == "cwait_for" then
    return ("cond%d:wait_for(function() return %s >= %d end)"):format(a[2], a[3], a[4]),
      ("cond%d.wait_for(lambda: %s >= %d)"):format(a[2], a[3], a[4])
  end
  return method(objects[kind][1] .. a[2], objects[kind][2])
end

local function err(name, text)
  local arg = text ~= "" and q(text) or ""
  return ("error(asyncio.%s(%s))"):format(name, arg), ("raise %s(%s)"):format(name, arg)
end

-- Both listings have the same number of lines.
local List = {}
List.__index = List

function List:add(depth, lua, py)
  self.lua[#self.lua + 1] = ("  "):rep(depth) .. lua
  self.py[#self.py + 1] = ("    "):rep(depth) .. py
end

local body

local blocks = {
  timeout = function(s)
    local l, p = limit(s[2])
    return ("local _ <close> = asyncio.timeout(%s)"):format(l), ("async with asyncio.timeout(%s):"):format(p), s[3]
  end,
  timeout_at = function(s)
    return ("local _ <close> = asyncio.timeout_at(%s)"):format(s[2]),
      ("async with asyncio.timeout_at(%s):"):format(s[2]), s[3]
  end,
  group = function(s)
    return ("local g%d <close> = asyncio.TaskGroup()"):format(s[2]),
      ("async with asyncio.TaskGroup() as g%d:"):format(s[2]), s[3]
  end,
  barrier = function(s)
    return ("asyncio.with(barrier%d, function()"):format(s[2]), ("async with barrier%d:"):format(s[2]), s[3]
  end,
  lock = function(s)
    return ("local _ <close> = await(lock%d:guard())"):format(s[2]), ("async with lock%d:"):format(s[2]), s[3]
  end,
  condition = function(s)
    return ("local _ <close> = await(cond%d:guard())"):format(s[2]), ("async with cond%d:"):format(s[2]), s[3]
  end,
  semaphore = function(s)
    return ("local _ <close> = await(sem%d:guard())"):format(s[2]), ("async with sem%d:"):format(s[2]), s[3]
  end,
}

local simple = {
  log = function(s) return ("print(%s)"):format(s[2]), ("print(%r)"):gsub("%%r", tostring(s[2])) end,
  spawn = function(s)
    if s[4] == 1 then
      return ("t%d = asyncio.create_task(f%d(), {eager_start = true})"):format(s[2], s[3]),
        ("t%d = asyncio.Task(f%d(), eager_start=True)"):format(s[2], s[3])
    end
    if s[4] == 2 then
      return ("t%d = asyncio.create_task(f%d(), {eager_start = false})"):format(s[2], s[3]),
        ("t%d = asyncio.Task(f%d())"):format(s[2], s[3])
    end
    local both = ("t%d = asyncio.create_task(f%d())"):format(s[2], s[3])
    return both, both
  end,
  stop = function() return "loop:stop()", "loop.stop()" end,
  vset = function(s) return ("context.set('v', %d)"):format(s[2]), ("v.set(%d)"):format(s[2]) end,
  vget = function() return "print(context.get('v'))", "print(v.get())" end,
  vcopy = function(s) return ("c%d = context.copy()"):format(s[2]), ("c%d = copy_context()"):format(s[2]) end,
  vpeek = function(s) return ("print(c%d.v)"):format(s[2]), ("print(c%d.get(v))"):format(s[2]) end,
  vspawn = function(s)
    return ("t%d = asyncio.create_task(f%d(), {context = c%d})"):format(s[2], s[3], s[4]),
      ("t%d = asyncio.create_task(f%d(), context=c%d)"):format(s[2], s[3], s[4])
  end,
  raise_group = function(s)
    return ("error(ExceptionGroup('several', {%s}))"):format(args(s[2])), ("raise ExceptionGroup('several', [%s])"):format(args(s[2]))
  end,
  keep = function(s)
    local l, p = aw(s[3])
    return ("t%d = asyncio.ensure_future(%s)"):format(s[2], l), ("t%d = asyncio.ensure_future(%s)"):format(s[2], p)
  end,
  cancel = function(s) return method(ref(s[2]), ("cancel(%s)"):format(s[3] ~= "" and q(s[3]) or "")) end,
  uncancel = function(s) return method("t" .. s[2], "uncancel()") end,
  cancelling = function(s) return method("t" .. s[2], "cancelling()") end,
  state = function(s) return ("print(%s)"):format(ref(s[2])), ("print(%s)"):format(ref(s[2])) end,
  raise = function(s) return err(s[2], s[3]) end,
  reraise = function() return "error(err, 0)", "raise err" end,
  gspawn = function(s)
    local l, p = method("g" .. s[2], ("create_task(f%d())"):format(s[4]))
    return ("t%d = %s"):format(s[3], l), ("t%d = %s"):format(s[3], p)
  end,
  notify = function(s) return method("cond" .. s[2], ("notify(%d)"):format(s[3])) end,
  inc = function(s) return ("%s = %s + 1"):format(s[2], s[2]), ("%s += 1"):format(s[2]) end,
  put_nowait = function(s) return method("queue" .. s[2], ("put_nowait(%s)"):format(s[3])) end,
  shutdown = function(s)
    return ("queue%d:shutdown(%s)"):format(s[2], s[3]),
      ("queue%d.shutdown(%s)"):format(s[2], s[3] and "True" or "False")
  end,
  set_result = function(s) return method("fut" .. s[2], ("set_result(%s)"):format(s[3])) end,
  set_exception = function(s)
    local arg = s[4] ~= "" and q(s[4]) or ""
    return ("fut%d:set_exception(asyncio.%s(%s))"):format(s[2], s[3], arg),
      ("fut%d.set_exception(%s(%s))"):format(s[2], s[3], arg)
  end,
  renew = function(s)
    return ("fut%d = loop:create_future()"):format(s[2]), ("fut%d = loop.create_future()"):format(s[2])
  end,
  remove_callback = function(s) return method(ref(s[2]), ("remove_done_callback(cb%d)"):format(s[3])) end,
  hcancel = function(s) return method("handle" .. s[2], "cancel()") end,
  resched = function(s)
    local l, p = limit(s[2])
    return ("timeout:reschedule(now + %s)"):format(l), ("timeout.reschedule(now + %s)"):format(p)
  end,
  self = function(s)
    local arg = s[2] == "cancel" and s[3] ~= "" and q(s[3]) or ""
    return method("asyncio.current_task()", ("%s(%s)"):format(s[2], arg)), nil
  end,
  await = function(s)
    local l, p = aw(s[2])
    return ("await(%s)"):format(l), "await " .. p
  end,
  ["return"] = function(s) return "do return " .. s[2] .. " end", "return " .. s[2] end,
  ["break"] = function() return "break", "break" end,
  time = function() return "print(loop:time())", "print(loop.time())" end,
  wait = function(s)
    local lua, py = aws(s[2])
    local l, p = limit(s[3])
    return ("await(asyncio.wait({%s}, {timeout = %s, return_when = %q}))"):format(lua, l, s[4]),
      ("await asyncio.wait([%s], timeout=%s, return_when=%q)"):format(py, p, s[4])
  end,
}

local function scheduled(list, depth, s, lua, py)
  list:add(depth, lua, py)
  body(list, depth + 1, s[1] == "add_callback" and s[4] or s[3])
  list:add(depth, "end)", "")
end

local function statement(list, depth, s)
  local op = s[1]
  if simple[op] then
    local l, p = simple[op](s)
    list:add(depth, l, p or l:gsub(":", "."))
  elseif blocks[op] then
    local l, p, inner = blocks[op](s)
    list:add(depth, "do " .. l, p)
    body(list, depth + 1, inner)
    list:add(depth, "end", "")
  elseif op == "pcall" or op == "catch" then
    list:add(depth, ("local ok, err = %s(function()"):format(op == "pcall" and "pcall" or "asyncio.catch"), "try:")
    body(list, depth + 1, s[2])
    list:add(depth, "end)", op == "pcall" and "except Exception as err:  # or another task's CancelledError" or
      "except BaseException as err:")
    list:add(depth, "if not ok then", "    pass")
    body(list, depth + 1, s[3], true)
    list:add(depth, "end", "")
  elseif op == "finally" then
    list:add(depth, "do local _ <close> = finally(function() -- [1]", "try:")
    body(list, depth + 1, s[2])
    list:add(depth, "end) -- [1] is what comes above, at the end:", "finally:")
    body(list, depth + 1, s[3])
    list:add(depth, "end", "")
  elseif op == "loop" then
    list:add(depth, ("for _ = 1, %d do"):format(s[2]), ("for _ in range(%d):"):format(s[2]))
    body(list, depth + 1, s[3])
    list:add(depth, "end", "")
  elseif op == "as_completed" then
    local lua, py = aws(s[2])
    local l, p = limit(s[3])
    list:add(depth, ("for f in asyncio.as_completed({%s}, {timeout = %s}) do"):format(lua, l),
      ("async for f in asyncio.as_completed([%s], timeout=%s):"):format(py, p))
    body(list, depth + 1, s[4])
    list:add(depth, s[5] and "end -- and again, for the rest" or "end", "")
  elseif op == "add_callback" then
    scheduled(list, depth, s, ("%s:add_done_callback(function() -- cb%d"):format(ref(s[2]), s[3]),
      ("%s.add_done_callback(cb%d) where cb%d is"):format(ref(s[2]), s[3], s[3]))
  elseif op == "call_soon" then
    scheduled(list, depth, s, ("handle%d = loop:call_soon(function()"):format(s[2]),
      ("handle%d = loop.call_soon(f) where f is"):format(s[2]))
  elseif op == "call_later" or op == "call_at" then
    scheduled(list, depth, s, ("handle%d = loop:%s(%s, function()"):format(s[2], op, s[4]),
      ("handle%d = loop.%s(%s, f) where f is"):format(s[2], op, s[4]))
  else
    list:add(depth, method(objects[op][1] .. s[2], objects[op][2]))
  end
end

function body(list, depth, statements, may_be_empty)
  if #statements == 0 and not may_be_empty then list:add(depth, "", "pass") end
  for _, s in ipairs(statements) do statement(list, depth, s) end
end

local function columns(left, right, out)
  local width = 30
  for _, l in ipairs(left) do width = math.max(width, #l) end
  width = math.min(width, 90)
  for i = 1, math.max(#left, #right) do
    local l, r = left[i] or "", right[i] or ""
    out[#out + 1] = (l .. (" "):rep(width - #l) .. " | " .. r):gsub(" +$", "")
  end
end

local function lines(text)
  local t = {}
  for line in text:gmatch("[^\n]+") do t[#t + 1] = line end
  return t
end

--- The program as text, with both traces.
---@param program table
---@param theirs string
---@param ours string
---@return string
local function show(program, theirs, ours)
  local list = setmetatable({ lua = {}, py = {} }, List)
  local o = {}
  for name, v in pairs(program.objects or {}) do
    if type(v) == "table" then
      local parts = {}
      for i, x in ipairs(v) do parts[i] = type(x) == "table" and table.concat(x, " ") or tostring(x) end
      if #parts > 0 then o[#o + 1] = name .. ": " .. table.concat(parts, ", ") end
    elseif v and v ~= 0 then
      o[#o + 1] = name .. ": " .. tostring(v)
    end
  end
  table.sort(o)
  if #o > 0 then list:add(0, "-- " .. table.concat(o, "; "), "#") end
  for i, f in ipairs(program.functions) do
    if i == 1 or #f > 0 then
      list:add(0, ("local f%d = async(function()"):format(i - 1), ("async def f%d():"):format(i - 1))
      body(list, 1, f)
      list:add(0, "end)", "")
    end
  end
  local out = {}
  columns(list.lua, list.py, out)
  out[#out + 1] = ""
  local left, right = lines(ours), lines(theirs)
  local marked_left, marked_right = { "moonloop:" }, { "CPython:" }
  for i = 1, math.max(#left, #right) do
    local mark = left[i] == right[i] and "  " or "! "
    marked_left[#marked_left + 1] = mark .. (left[i] or "")
    marked_right[#marked_right + 1] = mark .. (right[i] or "")
  end
  columns(marked_left, marked_right, out)
  return table.concat(out, "\n")
end

return show
