local helper = require "spec.helper"
local asyncio = require "asyncio"

local kinds = { "Queue", "PriorityQueue", "LifoQueue" }

local function run(f) return helper.run(async(f)) end

local function settle(rounds)
  for _ = 1, rounds or 5 do await(asyncio.sleep(0)) end
end

local function drain(q)
  local items = {}
  while not q:empty() do items[#items + 1] = q:get_nowait() end
  return items
end

for _, kind in ipairs(kinds) do
  local new = asyncio[kind]

  describe("a " .. kind, function()
    it("is empty when it is made", function()
      local q = new()
      assert.is_true(q:empty())
      assert.is_false(q:full())
      assert.equal(0, q:qsize())
      assert.equal(0, q.maxsize)
      assert.is_truthy(tostring(q):find("<" .. kind, 1, true))
    end)

    it("is full at its size, never without one", function()
      local q = new(2)
      assert.equal(2, q.maxsize)
      q:put_nowait(1)
      assert.is_false(q:full())
      q:put_nowait(2)
      assert.is_true(q:full())
      assert.equal(2, q:qsize())
      helper.raises(asyncio.QueueFull, q.put_nowait, q, 3)
      assert.equal(2, q:qsize())
      for _, size in ipairs { 0, -1 } do
        q = new(size)
        for i = 1, 100 do q:put_nowait(i) end
        assert.is_false(q:full())
      end
      assert.equal(5, new({ maxsize = 5 }).maxsize)
    end)

    it("has a size that is no whole number: it is full when there is no more room", function()
      local q = new(1.3)
      assert.equal(1.3, q.maxsize)
      q:put_nowait(1)
      assert.is_false(q:full())
      q:put_nowait(2)
      assert.is_true(q:full())
      helper.raises(asyncio.QueueFull, q.put_nowait, q, 3)
      q = new(math.huge)
      for i = 1, 100 do q:put_nowait(i) end
      assert.is_false(q:full())
      assert.equal(math.huge, q.maxsize)
      helper.raises(asyncio.TypeError, new, 0 / 0)
    end)

    it("gives what it has without a yield", function()
      run(function()
        local q, others = new(), 0
        asyncio.create_task(function() others = others + 1 end)
        for i = 1, 10 do
          await(q:put(i))
          assert.equal(i, await(q:get()))
        end
        assert.equal(0, others)
        settle(1)
      end)
    end)

    it("has nothing when it is empty", function()
      local q = new()
      helper.raises(asyncio.QueueEmpty, q.get_nowait, q)
    end)

    it("lets a getter wait for an item", function()
      run(function()
        local q = new()
        local t = asyncio.create_task(function() return await(q:get()) end)
        settle(2)
        assert.is_false(t:done())
        asyncio.get_running_loop():call_later(1, q.put_nowait, q, "x")
        assert.equal("x", await(t))
      end)
    end)

    it("lets a putter wait for room", function()
      run(function()
        local q = new(1)
        local done = {}
        local t = asyncio.create_task(function()
          for i = 1, 3 do
            await(q:put(i))
            done[#done + 1] = i
          end
          return true
        end)
        settle(3)
        assert.same({ 1 }, done)
        assert.equal(1, await(q:get()))
        settle(1)
        assert.same({ 1, 2 }, done)
        assert.equal(2, await(q:get()))
        assert.equal(3, await(q:get()))
        assert.is_true(await(t))
      end)
    end)

    it("hands items over from putters to getters that wait", function()
      run(function()
        local q, got = new(1), 0
        local producer = asyncio.create_task(function()
          for i = 1, 50 do await(q:put(i)) end
        end)
        local consumer = asyncio.create_task(function()
          for _ = 1, 50 do got = got + await(q:get()) end
        end)
        await(asyncio.gather(producer, consumer))
        assert.equal(1275, got)
      end)
    end)

    it("passes ten thousand items between many tasks", function()
      run(function()
        local q, sum, n = new(7), 0, 0
        local tasks = {}
        for p = 1, 10 do
          tasks[#tasks + 1] = asyncio.create_task(function()
            for i = 1, 1000 do await(q:put(p * 1000 + i)) end
          end)
        end
        for _ = 1, 4 do
          tasks[#tasks + 1] = asyncio.create_task(function()
            for _ = 1, 2500 do
              sum = sum + await(q:get()) * 0 -- an await in an expression: read below
              n = n + 1
            end
          end)
        end
        await(asyncio.gather(tasks))
        assert.equal(10000, n)
        assert.equal(0, sum)
        assert.is_true(q:empty())
      end)
    end)

    it("counts tasks: join waits until task_done was called for each item", function()
      run(function()
        local q, sum = new(), 0
        for i = 1, 100 do q:put_nowait(i) end
        local running = true
        local workers = {}
        for i = 1, 2 do
          workers[i] = asyncio.create_task(function()
            while running do
              local item = await(q:get())
              sum = sum + item
              await(asyncio.sleep(0))
              q:task_done()
            end
          end)
        end
        await(q:join())
        assert.equal(5050, sum)
        running = false
        q:put_nowait(0)
        q:put_nowait(0)
        await(asyncio.gather(workers))
      end)
    end)

    it("joins at once when nothing is unfinished", function()
      run(function()
        local q = new()
        await(q:join())
        await(q:join())
        q:put_nowait(1)
        q:get_nowait()
        q:task_done()
        await(q:join())
      end)
    end)

    it("wakes everybody who joins", function()
      run(function()
        local q, n = new(), 0
        q:put_nowait(1)
        local tasks = {}
        for i = 1, 3 do
          tasks[i] = asyncio.create_task(function()
            await(q:join())
            n = n + 1
          end)
        end
        settle(2)
        assert.equal(0, n)
        tasks[2]:cancel()
        q:get_nowait()
        settle(1)
        q:task_done()
        settle(1)
        assert.equal(2, n)
      end)
    end)

    it("refuses more task_done than items", function()
      local q = new()
      local e = helper.raises(asyncio.ValueError, function() q:task_done() end)
      assert.is_truthy(tostring(e):find("queue_spec.lua:%d+: task_done%(%) called too many times"), tostring(e))
    end)
  end)

  describe("shutting a " .. kind .. " down", function()
    local function refuses(q)
      helper.raises(asyncio.QueueShutDown, function() await(q:put("data")) end)
      helper.raises(asyncio.QueueShutDown, q.put_nowait, q, "data")
      helper.raises(asyncio.QueueShutDown, function() await(q:get()) end)
      helper.raises(asyncio.QueueShutDown, q.get_nowait, q)
    end

    it("when it is empty ends waiting getters", function()
      run(function()
        local q = new()
        local t = asyncio.create_task(q:get())
        settle(1)
        q:shutdown()
        assert.equal(0, q:qsize())
        await(q:join())
        settle(1)
        assert.is_true(t:done())
        helper.raises(asyncio.QueueShutDown, await, t)
        refuses(q)
        assert.is_truthy(tostring(q):find("shutdown", 1, true))
      end)
    end)

    it("lets what is in it be got, and ends waiting putters", function()
      run(function()
        local q = new(1)
        q:put_nowait("data")
        local join = asyncio.create_task(q:join())
        local put = asyncio.create_task(q:put("data2"))
        settle(1)
        assert.is_false(put:done())
        q:shutdown()
        assert.equal(1, q:qsize())
        settle(1)
        helper.raises(asyncio.QueueShutDown, await, put)
        assert.equal("data", await(q:get()))
        settle(1)
        assert.is_false(join:done())
        refuses(q)
        q:task_done()
        settle(1)
        assert.is_true(join:done())
        await(join)
        helper.raises(asyncio.ValueError, q.task_done, q)
      end)
    end)

    it("immediately drops what is in it", function()
      run(function()
        local q = new()
        q:put_nowait("data")
        local join = asyncio.create_task(q:join())
        settle(1)
        q:shutdown(true)
        assert.equal(0, q:qsize())
        settle(1)
        assert.is_true(join:done())
        refuses(q)
        helper.raises(asyncio.ValueError, q.task_done, q)
      end)
    end)

    it("immediately still waits for what was got but is not done", function()
      run(function()
        local q = new()
        q:put_nowait("data")
        q:put_nowait("data")
        local join = asyncio.create_task(q:join())
        assert.equal("data", await(q:get()))
        q:shutdown({ immediate = true })
        assert.equal(0, q:qsize())
        settle(1)
        assert.is_false(join:done())
        refuses(q)
        q:task_done()
        helper.raises(asyncio.ValueError, q.task_done, q)
        settle(1)
        assert.is_true(join:done())
      end)
    end)

    it("twice does nothing more", function()
      local q = new()
      q:shutdown()
      q:shutdown()
      q:shutdown(true)
    end)
  end)

  describe("a task at a " .. kind .. " that is cancelled", function()
    it("while it waits to get leaves the item to the next", function()
      run(function()
        local q = new()
        local a, b = asyncio.create_task(q:get()), asyncio.create_task(q:get())
        settle(1)
        a:cancel()
        settle(1)
        assert.is_true(a:cancelled())
        await(q:put("a"))
        settle(1)
        assert.equal("a", await(b))
      end)
    end)

    it("after it was woken to get gives the wake-up on", function()
      run(function()
        local q = new()
        local a, b, c = asyncio.create_task(q:get()), asyncio.create_task(q:get()), asyncio.create_task(q:get())
        settle(1)
        q:put_nowait(1)
        q:put_nowait(2)
        a:cancel()
        helper.raises(asyncio.CancelledError, await, a)
        local got = { await(b), await(c) }
        table.sort(got)
        assert.same({ 1, 2 }, got)
      end)
    end)

    it("after it was woken to get leaves the item in the queue", function()
      run(function()
        local q = new()
        local reader = asyncio.create_task(q:get())
        settle(1)
        q:put_nowait("one")
        reader:cancel()
        helper.raises(asyncio.CancelledError, await, reader)
        assert.equal(1, q:qsize())
        assert.equal("one", await(q:get()))
      end)
    end)

    it("while it waits to put never puts", function()
      run(function()
        local q = new(1)
        q:put_nowait(1)
        local t = asyncio.create_task(q:put(2))
        settle(1)
        t:cancel()
        helper.raises(asyncio.CancelledError, await, t)
        assert.equal(1, q:get_nowait())
        settle(2)
        assert.is_true(q:empty())
      end)
    end)

    it("after it was woken to put gives the room on", function()
      run(function()
        local q = new(1)
        q:put_nowait("x")
        local a, b = asyncio.create_task(q:put("a")), asyncio.create_task(q:put("b"))
        settle(1)
        assert.equal("x", q:get_nowait())
        a:cancel()
        helper.raises(asyncio.CancelledError, await, a)
        await(b)
        assert.equal("b", q:get_nowait())
        assert.is_true(q:empty())
      end)
    end)

    it("in any order of puts, gets and cancels loses nothing and doubles nothing", function()
      local seed = 42
      local function random(n)
        seed = (seed * 16807) % 2147483647
        return seed % n + 1
      end
      run(function()
        for round = 1, 150 do
          local q = new(random(3) - 1)
          local put, got, tasks = {}, {}, {}
          for i = 1, 8 do
            tasks[#tasks + 1] = asyncio.create_task(function()
              await(q:put(i))
              put[i] = true
            end)
            tasks[#tasks + 1] = asyncio.create_task(function()
              local item = await(q:get())
              got[#got + 1] = item
            end)
          end
          for _ = 1, 10 do
            local step = random(3)
            if step == 1 then
              settle(1)
            elseif step == 2 then
              tasks[random(#tasks)]:cancel()
            else
              pcall(function() got[#got + 1] = q:get_nowait() end)
            end
          end
          settle(20)
          for _, t in ipairs(tasks) do t:cancel() end
          settle(3)
          for _, item in ipairs(drain(q)) do got[#got + 1] = item end
          local seen = {}
          for _, item in ipairs(got) do
            assert(not seen[item], "twice in round " .. round)
            seen[item] = true
          end
          assert.same(put, seen)
        end
      end)
    end)

    it("leaves no getter behind that hangs while there are items", function()
      local seed = 7
      local function random(n)
        seed = (seed * 16807) % 2147483647
        return seed % n + 1
      end
      run(function()
        for _ = 1, 100 do
          local q, got = new(2), 0
          local getters = {}
          for i = 1, 6 do
            getters[i] = asyncio.create_task(function()
              await(q:get())
              got = got + 1
            end)
          end
          settle(1)
          for i = 1, 2 do q:put_nowait(i) end
          getters[random(6)]:cancel()
          if random(2) == 1 then settle(1) end
          getters[random(6)]:cancel()
          settle(10)
          assert.equal(2, got + q:qsize())
          assert.equal(0, q:qsize())
          for _, t in ipairs(getters) do t:cancel() end
          settle(2)
        end
      end)
    end)
  end)
end

describe("the order of items", function()
  it("of a Queue is that of putting", function()
    local q = asyncio.Queue()
    for _, i in ipairs { 1, 3, 2 } do q:put_nowait(i) end
    assert.same({ 1, 3, 2 }, drain(q))
  end)

  it("of a Queue survives growing and wrapping", function()
    local q, n, m = asyncio.Queue(), 0, 0
    for round = 1, 40 do
      for _ = 1, round do
        n = n + 1
        q:put_nowait(n)
      end
      for _ = 1, round - 3 do
        m = m + 1
        assert(q:get_nowait() == m)
      end
    end
    while not q:empty() do
      m = m + 1
      assert(q:get_nowait() == m)
    end
    assert.equal(n, m)
  end)

  it("of a LifoQueue is the reverse", function()
    local q = asyncio.LifoQueue()
    for _, i in ipairs { 1, 3, 2 } do q:put_nowait(i) end
    assert.same({ 2, 3, 1 }, drain(q))
  end)

  it("of a PriorityQueue is from the least", function()
    local q = asyncio.PriorityQueue()
    local list = {}
    for i = 1, 500 do
      list[i] = (i * 7919) % 1009
      q:put_nowait(list[i])
    end
    table.sort(list)
    assert.same(list, drain(q))
  end)

  it("of a PriorityQueue of arrays goes by the first item that differs", function()
    local q = asyncio.PriorityQueue()
    for _, item in ipairs { { 2, "b" }, { 1, "z" }, { 2, "a" }, { 1 }, { 1, "z", 1 } } do q:put_nowait(item) end
    assert.same({ { 1 }, { 1, "z" }, { 1, "z", 1 }, { 2, "a" }, { 2, "b" } }, drain(q))
  end)

  it("of a PriorityQueue uses __lt", function()
    local meta = { __lt = function(a, b) return a.p > b.p end }
    local q = asyncio.PriorityQueue()
    for _, p in ipairs { 1, 3, 2 } do q:put_nowait(setmetatable({ p = p }, meta)) end
    assert.equal(3, q:get_nowait().p)
    assert.equal(2, q:get_nowait().p)
    assert.equal(1, q:get_nowait().p)
  end)

  it("of a PriorityQueue with equal items is CPython's", function()
    local code = [[
import asyncio
class I:
    def __init__(self, p, n): self.p, self.n = p, n
    def __lt__(self, o): return self.p < o.p
q = asyncio.PriorityQueue()
out = []
for i in range(60):
    q.put_nowait(I((i * 7) % 5, i))
    if i % 4 == 3: out.append(str(q.get_nowait().n))
while not q.empty(): out.append(str(q.get_nowait().n))
print(" ".join(out))
]]
    local q, out = asyncio.PriorityQueue(), {}
    local meta = { __lt = function(a, b) return a.p < b.p end }
    for i = 0, 59 do
      q:put_nowait(setmetatable({ p = (i * 7) % 5, n = i }, meta))
      if i % 4 == 3 then out[#out + 1] = q:get_nowait().n end
    end
    while not q:empty() do out[#out + 1] = q:get_nowait().n end
    assert.equal(helper.python(code), table.concat(out, " ") .. "\n")
  end)
end)

describe("items", function()
  it("of a Queue and a LifoQueue may be nil and false", function()
    run(function()
      for _, new in ipairs { asyncio.Queue, asyncio.LifoQueue } do
        local q = new()
        q:put_nowait(nil)
        q:put_nowait(false)
        q:put_nowait(nil)
        assert.equal(3, q:qsize())
        assert.is_nil(await(q:get()))
        assert.is_false(await(q:get()))
        assert.is_nil(await(q:get()))
        assert.is_true(q:empty())
      end
    end)
  end)

  it("of a PriorityQueue that cannot be compared are refused and lose nothing", function()
    run(function()
      local q = asyncio.PriorityQueue()
      q:put_nowait(1)
      q:put_nowait(2)
      assert.is_false((pcall(q.put_nowait, q, "x")))
      assert.is_false((pcall(await, q:put({}))))
      assert.equal(2, q:qsize())
      assert.same({ 1, 2 }, drain(q))
    end)
  end)

  it("of a PriorityQueue all stay when a comparison fails in get", function()
    local q = asyncio.PriorityQueue()
    local left -- comparisons that work
    local meta = { __lt = function(a, b)
      left = left - 1
      if left < 0 then error("no") end
      return a.p < b.p
    end }
    for good = 0, 5 do
      left = math.huge
      for p = 1, 9 do q:put_nowait(setmetatable({ p = p * 7 % 10 }, meta)) end
      left = good
      local ok = pcall(q.get_nowait, q)
      left = good
      local ok2 = pcall(q.put_nowait, q, setmetatable({ p = 0 }, meta))
      left = math.huge
      local expected = {}
      for p = ok and 2 or 1, 9 do expected[#expected + 1] = p end
      if ok2 then table.insert(expected, 1, 0) end
      local got = {}
      for _, item in ipairs(drain(q)) do got[#got + 1] = item.p end
      assert.same(expected, got)
    end
  end)

  it("of a PriorityQueue survive a comparison that changes the queue", function()
    local q = asyncio.PriorityQueue()
    local meta
    local busy = false
    meta = { __lt = function(a, b)
      if not busy then
        busy = true
        pcall(q.get_nowait, q)
        pcall(q.put_nowait, q, setmetatable({ p = 0 }, meta))
        pcall(q.shutdown, q, true)
        busy = false
      end
      return a.p < b.p
    end }
    for p = 1, 20 do pcall(q.put_nowait, q, setmetatable({ p = p }, meta)) end
    for _ = 1, 30 do pcall(q.get_nowait, q) end
    assert.is_true(q:qsize() >= 0)
  end)

  it("are let go when they have left", function()
    local weak = setmetatable({}, { __mode = "k" })
    local q = asyncio.Queue()
    for i = 1, 20 do
      local item = { i }
      weak[item] = true
      q:put_nowait(item)
    end
    for _ = 1, 20 do q:get_nowait() end
    collectgarbage()
    collectgarbage()
    assert.is_nil(next(weak))
  end)

  it("come one by one from q:items(), until the queue is shut down", function()
    run(function()
      local q, got = asyncio.Queue(), {}
      local t = asyncio.create_task(function()
        for item in q:items() do got[#got + 1] = item end
        return "end"
      end)
      for i = 1, 3 do
        await(q:put(i))
        await(asyncio.sleep(1))
      end
      q:shutdown()
      assert.equal("end", await(t))
      assert.same({ 1, 2, 3 }, got)
    end)
  end)
end)

describe("misuse of a queue", function()
  it("says what was expected", function()
    local e = helper.raises(asyncio.TypeError, function() asyncio.Queue("big") end)
    assert.is_truthy(tostring(e):find("queue_spec.lua:%d+: Queue: maxsize must be a number, got string"), tostring(e))
    e = helper.raises(asyncio.TypeError, function() asyncio.Queue { size = 3 } end)
    assert.is_truthy(tostring(e):find("Queue() got an unexpected keyword argument 'size' (expected: maxsize)", 1, true), tostring(e))
    local ok, err = pcall(asyncio.Queue().put, 1)
    assert.is_false(ok)
    assert.is_truthy(tostring(err):find("Queue expected, got number", 1, true), tostring(err))
  end)

  it("a get that is never awaited takes nothing", function()
    local q = asyncio.Queue()
    q:put_nowait(1)
    q:get():close()
    q:put(2):close()
    assert.equal(1, q:qsize())
  end)
end)
