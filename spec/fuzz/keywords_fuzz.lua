--- The keywords: random programs are written twice, with them and in plain Lua, and do the same, call for call and line
--- for line; what is spoiled is refused or not, but keeps its lines and harms nothing; a source without the words is
--- never changed.
---   moonloop spec/fuzz/keywords_fuzz.lua [SECONDS [SEED]]

local asyncio = require "asyncio"
local core = require "asyncio.core"
local fuzz = require "spec.fuzz.fuzz"

local pick, random = fuzz.pick, math.random
local translate = core.translate

-- ---- programs: each part gives its text with keywords and its plain text ----

local depth, names

local function both(form, plain, ...)
  local with, without = {}, {}
  for i, part in ipairs { ... } do with[i], without[i] = part[1], part[2] end
  return { (form:gsub("%$(%d)", function(i) return with[tonumber(i)] end)), (plain:gsub("%$(%d)", function(i) return without[tonumber(i)] end)) }
end

local function same(text) return { text, text } end

local expression, block

local function gap() return same(pick { " ", " ", " ", "\n", " --[[ c ]] ", " -- c\n", "\n\n" }) end

local function arguments()
  local n = random(0, 2)
  if n == 0 then return same "()" end
  if n == 1 then return both("($1)", "($1)", expression()) end
  return both("($1,$2$3)", "($1,$2$3)", expression(), gap(), expression())
end

local expressions = {
  function() return same(tostring(random(100))) end,
  function() return same(pick { "'s'", '"async for"', "[[await x]]", "[==[ ]] ]==]", "'\\z  a'" }) end,
  function() return same(pick(names)) end,
  function() return both("note($1)", "note($1)", expression()) end,
  function() return both("await later$1", "await(later$1)", arguments()) end,
  function() return both("await object:later$1", "await(object:later$1)", arguments()) end,
  function() return both("await object.inner.later$1", "await(object.inner.later$1)", arguments()) end,
  function() return both("await object['later']$1", "await(object['later']$1)", arguments()) end,
  function() return both("(await later$1)", "(await(later$1))", arguments()) end,
  function() return both("str($1) ..$2str($3)", "str($1) ..$2str($3)", expression(), gap(), expression()) end,
  function() return both("str(await again$1)", "str(await(again$1))", arguments()) end,
  function() return both("await await twice$1", "await(await(twice$1))", arguments()) end,
  function() return both("#{ $1, $2; k = $3 }", "#{ $1, $2; k = $3 }", expression(), expression(), expression()) end,
  function() return both("await (async function(...)$1 end)", "await (async(function(...)$1 end))", block()) end,
  function() return both("not $1", "not $1", expression()) end,
  function() return both("($1 and$2$3)", "($1 and$2$3)", expression(), gap(), expression()) end,
}

function expression()
  depth = depth + 1
  local e = depth > 6 and same(tostring(random(9))) or pick(expressions)()
  depth = depth - 1
  return e
end

local function body()
  local n, own = #names, "p" .. random(9)
  names[n + 1] = own
  local b = block()
  names[n + 1] = nil
  return own, b
end

local statements = {
  function() return both("note($1)", "note($1)", expression()) end,
  function() return both("await later$1", "await(later$1)", arguments()) end,
  function()
    local name, value = "v" .. random(9), expression()
    names[#names + 1] = name
    return both("local " .. name .. " =$1$2", "local " .. name .. " =$1$2", gap(), value)
  end,
  function()
    local name = "f" .. random(9)
    local own, b = body()
    names[#names + 1] = name
    return both("local async function " .. name .. "(" .. own .. ")$1 end note(await " .. name .. "($2))",
      "local " .. name .. "; " .. name .. " = async(function(" .. own .. ")$1 end) note(await(" .. name .. "($2)))", b, expression())
  end,
  function()
    local own, b = body()
    return both("async function object.m:f(" .. own .. ")$1 end note(await object.m:f$2)",
      "object.m.f = async(function(self, " .. own .. ")$1 end) note(await(object.m:f$2))", b, arguments())
  end,
  function() return both("if $1 then$2 else$3 end", "if $1 then$2 else$3 end", expression(), block(), block()) end,
  function() return both("do$1 end", "do$1 end", block()) end,
  function() return both("for i = 1, 2 do$1 end", "for i = 1, 2 do$1 end", block()) end,
  function() return both("repeat$1 until true", "repeat$1 until true", block()) end,
  function() return both("while step() do$1 if $2 then break end end", "while step() do$1 if $2 then break end end", block(), expression()) end,
  function()
    local own, b = body()
    return both("async for " .. own .. ", n in$2items($3) do$1 end", "for " .. own .. ", n in$2asyncio.aiter(items($3)) do$1 end",
      b, gap(), expression())
  end,
  function()
    local own, b = body()
    return both("async with manager$2 as " .. own .. " do$1 end",
      "do local " .. own .. " <close> = await(entered$2)$1 end", b, arguments())
  end,
  function() return both("async with manager$1, manager$2 do$3 end",
    "do local _a <close> = await(entered$1) local _b <close> = await(entered$2)$3 end", arguments(), arguments(), block()) end,
  function() return both("note(pcall(function()$1 error('e', 0) end))", "note(pcall(function()$1 error('e', 0) end))", block()) end,
  function() return both("note(await (async function()$1 return 1, 2 end))", "note(await (async(function()$1 return 1, 2 end)))", block()) end,
  function() return both("object.x,$1object.y = $2, $3", "object.x,$1object.y = $2, $3", gap(), expression(), expression()) end,
}

function block()
  depth = depth + 1
  local list, n = { same " " }, #names
  for i = 1, depth > 5 and 1 or random(0, 4) do
    list[2 * i] = pick(statements)()
    list[2 * i + 1] = same(pick { "\n", "; ", "\n  " })
  end
  for i = #names, n + 1, -1 do names[i] = nil end
  depth = depth - 1
  local with, plain = {}, {}
  for i, part in ipairs(list) do with[i], plain[i] = part[1], part[2] end
  return { table.concat(with), table.concat(plain) }
end

-- ---- running them ----

local function run(source, what)
  local chunk, why = load(source, "=p", "t")
  if not chunk then fuzz.die(what .. " is no Lua: " .. why, source) end
  local log, steps = {}, 0
  local function say(...)
    if #log < 3000 then log[#log + 1] = table.concat({ ... }, " ") end
  end
  local env
  local function show(v)
    if type(v) == "table" or type(v) == "function" or type(v) == "userdata" then return type(v) end
    return tostring(v)
  end
  local manager = { __index = {} }
  function manager.__close(self, err) say("-" .. self.name, show(err)) end
  local function made(name) return setmetatable({ name = name }, manager) end
  env = {
    asyncio = asyncio, async = async, await = await, pcall = pcall, error = error, require = require,
    str = show, step = function()
      steps = steps + 1
      return steps % 4 ~= 0 and steps < 200
    end,
    note = function(...)
      local list = table.pack(...)
      for i = 1, list.n do list[i] = show(list[i]) end
      local info = debug.getinfo(2, "l")
      say(info and info.currentline or 0, table.unpack(list, 1, list.n))
      if #log >= 3000 then error("enough", 0) end
      return ...
    end,
    items = function(v)
      local i = 0
      return function()
        i = i + 1
        await(asyncio.sleep(0))
        if i <= 2 then return show(v), i end
      end
    end,
    manager = function(...) say("+m", show((...))) return made("m") end,
    entered = async(function(...) say("+m", show((...))) return made("m") end),
  }
  env.later = async(function(...)
    await(asyncio.sleep(0))
    return ...
  end)
  env.again = env.later
  env.twice = async(function(...)
    local list = table.pack(...)
    return async(function() return table.unpack(list, 1, list.n) end)()
  end)
  env.object = { m = {}, inner = { later = env.later } }
  env.object.later = async(function(_, ...) return ... end)
  debug.setupvalue(chunk, 1, env)
  local ok, err = pcall(asyncio.run, async(chunk)(), { clock = "virtual" })
  say(tostring(ok), ok and show(err) or (show(err):gsub("%(%a+ '[^']*'%)", "")))
  return log
end

local function lines(text) return select(2, text:gsub("\n", "")) end

local pieces = {
  "async", "await", "async function", "async for", "async with", "as", "in", "do", "end", "(", ")", "{", "}", "[", "]", ",", ";", ".", ":", "::", "=", "x", "f", "1",
  "'s'", "\"", "[[", "]]", "--", "--[[", "\n", " ", "local", "function", "return", "for", "if", "then", "else", "until", "repeat", "goto", "...", "..", "<close>", "#", "\\",
  "\0", "\xFF", "await f(1)", "async function g() end", "async with x as y do end",
}

local function change(text)
  local at, how = random(0, #text), random(3)
  if how == 1 then return text:sub(1, at) .. " " .. pick(pieces) .. " " .. text:sub(at + 1) end
  if how == 2 then return text:sub(1, at) .. text:sub(at + random(1, 10)) end
  return text:sub(1, at)
end

local programs, texts = 0, 0
fuzz.rounds(function()
  depth, names = 0, { "object" }
  local program = block()
  local with, plain = program[1], program[2]
  local out = translate(with)
  if lines(out) ~= lines(with) then fuzz.die("other lines", with, out) end
  if translate(plain) ~= plain then fuzz.die("plain Lua was changed", plain, translate(plain)) end
  local a, b = run(with, "the program with keywords"), run(plain, "the plain program")
  for i = 1, math.max(#a, #b) do
    if a[i] ~= b[i] then fuzz.die(("call %d: %s, plain %s"):format(i, a[i], b[i]), with, plain) end
  end
  programs = programs + 1
  for _ = 1, 10 do
    local text = random(3) == 1 and fuzz.noise(pieces, 40) or change(with)
    if random(2) == 1 then text = change(text) end
    local changed, calls = translate(text, true)
    if lines(changed) ~= lines(text) then fuzz.die("other lines of nonsense", text, changed) end
    if #calls % 3 ~= 0 then fuzz.die("half a call", text) end
    if not text:find("async", 1, true) and not text:find("await", 1, true) and changed ~= text then fuzz.die("changed", text) end
    load(text, "=n", "t")
    texts = texts + 1
  end
end)
print(("keywords: %d programs, %d texts, seed %d"):format(programs, texts, fuzz.seed))
