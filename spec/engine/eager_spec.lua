--- Chains of tasks that start tasks eagerly: they nest, as far as anybody can see, however long they are.

local helper = require "spec.helper"
local asyncio = require "asyncio"

local EAGER = { eager_start = true }

--- Starts a chain of n tasks, each of which starts the next one by `make` and then awaits, if its number is even.
--- What happened, in order: each task's number when it begins, and negative when it goes on.
local function chain(n, make)
  local log, tasks, link = {}, {}, nil
  link = async(function(i)
    local me = asyncio.current_task()
    log[#log + 1] = i
    if i < n then
      tasks[i + 1] = make(link(i + 1))
      assert.equal(me, asyncio.current_task())
      assert.equal(i % 2 == 0, tasks[i + 1]:done())
    end
    log[#log + 1] = -i
    if i % 2 == 0 then await(asyncio.sleep(i / 1000)) end
    return i
  end)
  tasks[1] = asyncio.create_task(link(1), EAGER)
  log[#log + 1] = "maker"
  for i = 1, n do assert.equal(i, await(tasks[i])) end
  return log
end

local function nested(n)
  local log = {}
  for i = 1, n do log[i] = i end
  for i = n, 1, -1 do log[#log + 1] = -i end
  log[#log + 1] = "maker"
  return log
end

describe("an eager chain", function()
  local lengths = { 1, 29, 30, 31, 32, 61, 62, 63, 500 }
  local makers = {
    ["create_task"] = function(c) return asyncio.create_task(c, EAGER) end,
    ["loop:create_task"] = function(c) return asyncio.get_running_loop():create_task(c, EAGER) end,
    ["asyncio.Task"] = function(c) return asyncio.Task(c, EAGER) end,
    ["create_task in a coroutine of the script's"] = function(c)
      return coroutine.wrap(function() return asyncio.create_task(c, EAGER) end)()
    end,
    ["create_task in a protected call"] = function(c) return select(2, pcall(asyncio.create_task, c, EAGER)) end,
  }
  for name, make in pairs(makers) do
    it("nests by " .. name, function()
      for _, n in ipairs(lengths) do
        helper.run(function() assert.same(nested(n), chain(n, make)) end)
      end
    end)
  end

  for name, factory in pairs { ["eager_task_factory"] = asyncio.eager_task_factory,
    ["create_eager_task_factory"] = asyncio.create_eager_task_factory(asyncio.Task) } do
    it("nests by " .. name, function()
      for _, n in ipairs(lengths) do
        helper.run(function()
          asyncio.get_running_loop():set_task_factory(factory)
          assert.same(nested(n), chain(n, asyncio.create_task))
        end)
      end
    end)
  end

  it("may be 5,000 long, and branch", function()
    helper.run(function()
      assert.equal(10001, #chain(5000, function(c) return asyncio.create_task(c, EAGER) end))
      local made = 0
      local function tree(depth)
        made = made + 1
        for _ = 1, depth > 0 and 2 or 0 do
          asyncio.create_task(function() tree(depth - 1) end, EAGER)
        end
        if depth == 0 and made < 2000 then
          asyncio.create_task(function() tree(made % 40 == 0 and 4 or 0) end, EAGER)
        end
      end
      tree(5)
      assert(made >= 2000, made)
    end)
  end)

  it("begins in a callback of the loop too", function()
    helper.run(function()
      local loop, deepest, seen = asyncio.get_running_loop(), 0, nil
      local function go(n)
        deepest = n
        if n < 200 then asyncio.create_task(function() go(n + 1) end, EAGER) end
      end
      loop:call_soon(function()
        asyncio.create_task(function() go(1) end, EAGER)
        seen = deepest
      end)
      await(asyncio.sleep(0.1))
      assert.equal(200, seen)
    end)
  end)

  it("nests as far as it can where Lua cannot suspend a task", function()
    helper.run(function()
      local begun, done = 0, 0
      local function go(n)
        begun = begun + 1
        if n < 100 then
          table.sort({ 2, 1 }, function(a, b)
            if a == 1 or b == 1 then asyncio.create_task(function() go(n + 1) end, EAGER) end
            return a < b
          end)
        end
        done = done + 1
      end
      asyncio.create_task(function() go(1) end, EAGER)
      for _ = 1, 200 do await(asyncio.sleep(0)) end
      assert(begun >= 100, begun)
      assert.equal(begun, done)
    end)
  end)

  it("hands errors to who awaits, and cancels to the next await", function()
    helper.run(function()
      local makers_of, failed = {}, nil
      local function go(n)
        local me = asyncio.current_task()
        if n == 100 then
          assert.is_true(makers_of[50]:cancel("from inside"))
          error("deep", 0)
        end
        makers_of[n] = me
        local task = asyncio.create_task(function() return go(n + 1) end, EAGER)
        if n == 99 then failed = task end
        if n == 50 then await(asyncio.sleep(1)) end
        return n
      end
      asyncio.create_task(function() return go(1) end, EAGER)
      assert.equal("deep", (select(2, pcall(await, failed))))
      assert.equal("from inside", helper.raises(asyncio.CancelledError, await, makers_of[50]).message)
      assert.equal(49, await(makers_of[49]))
    end)
  end)

  it("stays whole when a maker's error unwinds it", function()
    helper.run(function()
      local closed, tasks = 0, {}
      local function go(n)
        local _ <close> = setmetatable({}, { __close = function() closed = closed + 1 end })
        if n < 100 then tasks[n] = asyncio.create_task(function() return go(n + 1) end, EAGER) end
        collectgarbage("step")
        error({ n }, 0)
      end
      assert.equal(1, select(2, pcall(await, asyncio.create_task(function() go(1) end, EAGER)))[1])
      for n = 1, 99 do assert.equal(n + 1, select(2, pcall(await, tasks[n]))[1]) end
      assert.equal(100, closed)
    end)
  end)

  it("hands KeyboardInterrupt and SystemExit to who makes the task", function()
    for _, class in ipairs { asyncio.KeyboardInterrupt, asyncio.SystemExit } do
      local err, after = class(), nil
      local work = async(function() error(err) end)
      helper.run(async(function()
        assert.same({ false, err }, { pcall(asyncio.create_task, work(), { eager_start = true }) })
        await(asyncio.sleep(0))
        after = true
      end))
      assert.is_true(after)
      after = nil
      assert.same({ false, err }, { asyncio.catch(helper.run, async(function()
        asyncio.create_task(async(function() asyncio.create_task(work(), { eager_start = true }) end)(), { eager_start = true })
        after = true
      end)) })
      assert.is_nil(after)
    end
  end)

  it("works in critical sections", function()
    helper.run(function()
      local n = 0
      local function go()
        n = n + 1
        if n < 100 then asyncio.critical(asyncio.create_task, go, EAGER) end
      end
      asyncio.create_task(go, EAGER)
      for _ = 1, 100 do await(asyncio.sleep(0)) end
      assert.equal(100, n)
    end)
  end)
end)
