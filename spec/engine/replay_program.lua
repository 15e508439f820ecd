-- A program whose course hangs on everything that could differ between two runs: for spec/engine/replay_spec.lua.
-- replay_program.lua [ADDRESSES]: prints what happened, in order.

local asyncio = require "asyncio"
local task = require "task"

local addresses = (...) == "addresses"
local lines, random = {}, math.random
local function note(...) lines[#lines + 1] = table.concat({ ... }, " ") end

-- orders of tables: keys that are strings, short and long, and objects of all kinds
local function orders()
  local strings, objects, weak = {}, {}, setmetatable({}, { __mode = "k" })
  for i = 1, 60 do
    strings["key" .. random(1000)] = i
    strings[("a key that is too long for Lua to keep it once for all: %d"):format(random(1000))] = i
    objects[{}], objects[function() return i end], objects[coroutine.create(print)] = i, i + 100, i + 200
    objects[asyncio.Event()], objects[1.5 * i], weak[{}] = i + 300, i + 400, i
  end
  for _, t in ipairs { strings, objects, weak } do
    local seen = {}
    for key, value in pairs(t) do
      seen[#seen + 1] = value
      if addresses and #seen == 1 then seen[#seen + 1] = tostring(key) end
    end
    note("order", table.concat(seen, ","))
  end
end

local finalized = 0
local function garbage(n)
  for i = 1, n do
    setmetatable({}, { __gc = function()
      finalized = finalized + 1
      if i % 50 == 0 then lines[#lines + 1] = "collected " .. i end
    end })
  end
end

local main = async(function()
  local loop = asyncio.get_running_loop()
  local queue, lock, gate = asyncio.Queue(5), asyncio.Lock(), asyncio.Event()
  local living = {}
  local function worker(name)
    for i = 1, random(5, 20) do
      local kind = random(8)
      if kind == 1 then
        await(asyncio.sleep(random() * 3))
      elseif kind == 2 then
        note(name, "frame", (select(2, await(asyncio.next_frame()))))
      elseif kind == 3 then
        pcall(function() await(asyncio.wait_for(queue:put(name .. i), random())) end)
      elseif kind == 4 then
        local ok, item = pcall(function() return await(asyncio.wait_for(queue:get(), random())) end)
        note(name, ok and "got " .. item or "got nothing")
      elseif kind == 5 then
        local _ <close> = await(lock:guard())
        await(asyncio.sleep(random() / 10))
      elseif kind == 6 then
        local other = next(living) -- whoever comes first
        note(name, "cancels", other:get_name())
        other:cancel()
        await(asyncio.sleep(0))
      elseif kind == 7 then
        garbage(200)
        gate:set()
        gate:clear()
      else
        note(name, "waited", ("%.4f"):format(task.wait(random() / 2)))
      end
    end
    note(name, "ends at", ("%.6f"):format(loop:time()))
  end
  for i = 1, 80 do
    local t = asyncio.create_task(function() worker("w" .. i) end, { name = "w" .. i })
    living[t] = true
    t:add_done_callback(function()
      living[t] = nil
      note(t:get_name(), "is done")
    end)
  end
  for _ = 1, 40 do
    orders()
    await(asyncio.sleep(0.5))
  end
  while next(living) do
    for t in pairs(living) do t:cancel() end
    await(asyncio.sleep(0.1))
  end
end)

asyncio.run(main())
note("finalized", finalized, "bytes", math.floor(collectgarbage "count" * 1024))
print(table.concat(lines, "\n"))
