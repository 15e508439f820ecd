--- Random calls with random values from several tasks at once: every function and
--- method of the core may refuse, none may crash, hang or leave anything behind.

local helper = require "spec.helper"
local asyncio = require "asyncio"
local core = require "asyncio.core"

local SIZE = 60 -- values that are kept and used again
local not_called = {
  on_sigint = true, set_event_loop = true, critical = true, stats = true,
  -- methods
  run_forever = true, close = true, stop = true, set_debug = true, print_stack = true,
}

local function generator(seed)
  return function(low, high)
    if high == nil then low, high = 1, low end
    seed = (seed * 16807) % 2147483647
    return low + seed % (high - low + 1)
  end
end

-- Functions by name, in one order on every machine.
local function functions()
  local list = {}
  for name, f in pairs(core) do
    if type(name) == "string" and not not_called[name] then
      if type(f) == "function" then
        list[#list + 1] = { name, f }
      elseif type(f) == "table" and name:find "^%u" then
        list[#list + 1] = { name, function(...) return f(...) end }
      end
    end
  end
  for _, name in ipairs { "wait", "wait_for", "shield", "as_completed", "timeout", "TaskGroup", "CancelScope",
    "Condition", "Barrier" } do
    list[#list + 1] = { name, asyncio[name] }
  end
  table.sort(list, function(a, b) return a[1] < b[1] end)
  return list
end

local names = {} -- methods table -> its functions' names, sorted
local function random_method(object, random)
  local ok, methods = pcall(function() return getmetatable(object).__index end)
  if type(object) ~= "userdata" or not ok or type(methods) ~= "table" then return nil end
  if not names[methods] then
    local list = {}
    for name, f in pairs(methods) do
      if type(f) == "function" and not not_called[name] then list[#list + 1] = name end
    end
    table.sort(list)
    names[methods] = list
  end
  local list = names[methods]
  return #list > 0 and methods[list[random(#list)]] or nil
end

local function fuzz(seed, steps)
  local random, pool, calls = generator(seed), {}, functions()
  local weird = {
    function() return random(-2, 3) end,
    function() return random(0, 20) / 10 end,
    function()
      return function(...)
        if random(3) == 1 then error("from a callback") end
        if random(3) == 1 then pcall(await, asyncio.sleep(0.1)) end
        return ...
      end
    end,
    function()
      return async(function()
        if random(2) == 1 then await(asyncio.sleep(random(0, 3))) end
        if random(4) == 1 then error("from a coroutine") end
        return {}
      end)()
    end,
    function() return {} end,
    function() return nil end,
    function() return "text" end,
    function() return setmetatable({}, { __await = function() return asyncio.sleep(0.1) end }) end,
  }
  local function value()
    if random(2) == 1 then return pool[random(SIZE)] end
    return weird[random(#weird)]()
  end
  local function step()
    local kind, r = random(10), nil
    if kind <= 4 then
      r = table.pack(pcall(calls[random(#calls)][2], value(), value(), value()))
    elseif kind <= 8 then
      local object = pool[random(SIZE)]
      local f = random_method(object, random)
      if f then r = table.pack(pcall(f, object, value(), value())) end
    elseif kind == 9 then
      local object = pool[random(SIZE)]
      local t = asyncio.create_task(function() return await(object) end)
      await(asyncio.wait({ t }, { timeout = 0.5 }))
      t:cancel()
      pcall(tostring, object)
    else
      collectgarbage "step"
      r = table.pack(pcall(await, asyncio.sleep(random(0, 1))))
    end
    if r and r[1] and r[2] ~= nil then
      local old = pool[random(SIZE)]
      if asyncio.iscoroutine(old) then old:close() end
      if asyncio.iscoroutine(r[2]) and random(2) == 1 then r[2]:close() end
      pool[random(SIZE)] = r[2]
    end
  end

  local loop = asyncio.new_event_loop { clock = "virtual" }
  loop:set_exception_handler(function(_, context) tostring(context.exception) end)
  asyncio.set_event_loop(loop)
  local tasks = {}
  for i = 1, 4 do
    tasks[i] = loop:create_task(function()
      for _ = 1, steps do asyncio.catch(step) end
    end)
  end
  for _, t in ipairs(tasks) do asyncio.catch(loop.run_until_complete, loop, t) end
  for i = 1, SIZE do
    if asyncio.iscoroutine(pool[i]) then pool[i]:close() end
    pool[i] = nil
  end
  asyncio.set_event_loop(loop)
  local left = asyncio.all_tasks(loop)
  for _, t in ipairs(left) do t:cancel() end
  asyncio.catch(loop.run_until_complete, loop, asyncio.sleep(100))
  asyncio.set_event_loop(nil)
  loop:close()
  collectgarbage()
  return #tasks
end

describe("random calls of everything", function()
  for seed = 1, 6 do
    it("with seed " .. seed .. " end in values or errors", function()
      -- in a process of its own: what is never awaited there is said on its standard error
      local status, out, err = helper.cli({ "-e", [[
        package.path = "./?.lua;" .. package.path
        describe, it = function() end, function() end
        print(require("spec.engine.fuzz_spec")(]] .. seed .. [[, 300))
        os.exit(0, true)]] }, { timeout = 50 })
      assert.equal(0, status, err:sub(-3000))
      assert.equal("4\n", out)
    end)
  end
end)

return fuzz
