local helper = require "spec.helper"
local asyncio = require "asyncio"

local function now()
  return asyncio.get_running_loop():time()
end

local function run(f)
  return helper.run(async(f))
end

--- A manager that logs what happens to it.
local function manager(log, exit)
  return {
    __aenter = async(function(self)
      await(asyncio.sleep(1))
      log[#log + 1] = "enter"
      return "value of " .. type(self)
    end),
    __aexit = async(function(_, err)
      await(asyncio.sleep(1))
      log[#log + 1] = err == nil and "exit" or "exit: " .. tostring(err)
      return exit
    end),
  }
end

describe("with", function()
  it("enters, calls and leaves, and gives what the function gives", function()
    run(function()
      local log = {}
      local a, b = asyncio.with(manager(log), function(value)
        log[#log + 1] = value
        return 1, 2
      end)
      assert.same({ 1, 2 }, { a, b })
      assert.same({ "enter", "value of table", "exit" }, log)
      assert.equal(2.0, now())
    end)
  end)

  it("leaves with the error and raises it on", function()
    run(function()
      local log, raised = {}, asyncio.ValueError("x")
      local _, err = pcall(asyncio.with, manager(log), function() error(raised) end)
      assert.equal(raised, err)
      assert.same({ "enter", "exit: ValueError: x" }, log)
    end)
  end)

  it("swallows the error when __aexit gives true", function()
    run(function()
      local log = {}
      assert.equal(0, select("#", asyncio.with(manager(log, true), function() error("x") end)))
    end)
  end)

  it("raises the error of __aexit in place of the body's", function()
    run(function()
      local err = helper.raises(asyncio.TypeError, asyncio.with, {
        __aexit = function() error(asyncio.TypeError("exit")) end,
      }, function() error(asyncio.ValueError("body")) end)
      assert.equal("exit", err.message)
    end)
  end)

  it("does not leave what it could not enter", function()
    run(function()
      local left
      helper.raises(asyncio.ValueError, asyncio.with, {
        __aenter = function() error(asyncio.ValueError()) end,
        __aexit = function() left = true end,
      }, function() end)
      assert.is_nil(left)
    end)
  end)

  it("leaves when its task is cancelled, and passes the cancel on", function()
    run(function()
      local log = {}
      local task = asyncio.create_task(async(function()
        asyncio.with(manager(log), function() await(asyncio.sleep(10)) end)
      end)())
      await(asyncio.sleep(5))
      task:cancel("why")
      asyncio.catch(await, task)
      assert.is_true(task:cancelled())
      assert.same({ "enter", "exit: CancelledError: why" }, log)
    end)
  end)

  it("hands the object itself on when there is no __aenter", function()
    run(function()
      local object = { __aexit = function() end }
      asyncio.with(object, function(value) assert.equal(object, value) end)
    end)
  end)

  it("takes the methods of a class, plain or coroutine functions", function()
    run(function()
      local Class, log = {}, {}
      Class.__index = Class
      function Class:__aenter()
        log[#log + 1] = "enter"
        return self
      end
      Class.__aexit = async(function() log[#log + 1] = "exit" end)
      local object = setmetatable({}, Class)
      asyncio.with(object, async(function(value)
        await(asyncio.sleep(1))
        log[#log + 1] = rawequal(object, value)
      end))
      assert.same({ "enter", true, "exit" }, log)
    end)
  end)

  it("takes objects with __close, which gets the error and cannot swallow", function()
    run(function()
      local log = {}
      local object = setmetatable({}, {
        __close = function(_, err)
          await(asyncio.sleep(1))
          log[#log + 1] = tostring(err)
          return true
        end,
      })
      assert.equal(5, asyncio.with(object, function(o) return o == object and 5 end))
      assert.is_false((pcall(asyncio.with, object, function() error("x", 0) end)))
      assert.same({ "nil", "x" }, log)
    end)
  end)

  it("takes a lock", function()
    run(function()
      local lock = asyncio.Lock()
      asyncio.with(lock, function() assert.is_true(lock:locked()) end)
      assert.is_false(lock:locked())
      pcall(asyncio.with, lock, error)
      assert.is_false(lock:locked())
    end)
  end)

  it("awaits an awaitable for its manager", function()
    run(function()
      local lock = asyncio.Lock()
      asyncio.with(lock:guard(), function() assert.is_true(lock:locked()) end)
      assert.is_false(lock:locked())
    end)
  end)

  it("says what is wrong with its arguments", function()
    run(function()
      local err = helper.raises(asyncio.TypeError, asyncio.with, 5, function() end)
      assert.matches("with%(%) expects an object with __aexit or __close, not a number", err.message)
      helper.raises(asyncio.TypeError, asyncio.with, {}, function() end)
      helper.raises(asyncio.TypeError, asyncio.with, { __aexit = function() end }, 5)
    end)
  end)
end)

--- Counts to n, a second a step; the end is marked by `last`.
local function counter(n, last)
  local Counter = { current = 0 }
  Counter.__index = Counter
  function Counter:__aiter() return self end
  Counter.__anext = async(function(self)
    if self.current >= n then return last() end
    await(asyncio.sleep(1))
    self.current = self.current + 1
    return self.current, self.current * 10
  end)
  return setmetatable({}, Counter)
end

local function give_nil() return nil end
local function stop() error(asyncio.StopAsyncIteration()) end

describe("aiter", function()
  it("iterates until nil or StopAsyncIteration", function()
    for _, last in ipairs { give_nil, stop } do
      run(function()
        local seen = {}
        for i, ten in asyncio.aiter(counter(3, last)) do seen[#seen + 1] = { i, ten } end
        assert.same({ { 1, 10 }, { 2, 20 }, { 3, 30 } }, seen)
        assert.equal(3.0, now())
      end)
    end
  end)

  it("takes an object whose __aiter gives another one, or that has only __anext", function()
    run(function()
      local sum = 0
      for i in asyncio.aiter { __aiter = function() return counter(3, stop) end } do sum = sum + i end
      local n = 0
      for i in asyncio.aiter {
        __anext = function()
          n = n + 1
          return n <= 4 and n or nil
        end,
      } do
        sum = sum + i
      end
      assert.equal(16, sum)
    end)
  end)

  it("takes metamethods", function()
    run(function()
      local n, sum = 0, 0
      local object = setmetatable({}, {
        __anext = function()
          n = n + 1
          return n <= 3 and n or nil
        end,
      })
      for i in asyncio.aiter(object) do sum = sum + i end
      assert.equal(6, sum)
    end)
  end)

  it("takes a generator that awaits", function()
    run(function()
      local sum = 0
      for i in
        asyncio.aiter(coroutine.wrap(function()
          for i = 1, 3 do
            await(asyncio.sleep(1))
            coroutine.yield(i)
          end
        end))
      do
        sum = sum + i
      end
      assert.equal(6, sum)
      assert.equal(3.0, now())
    end)
  end)

  it("raises errors of a step as they are", function()
    run(function()
      local raised = asyncio.ValueError("x")
      local _, err = pcall(function()
        for _ in asyncio.aiter { __anext = function() error(raised) end } do error("never") end
      end)
      assert.equal(raised, err)
    end)
  end)

  it("closes the iterator at the end, at a break and at an error", function()
    run(function()
      for _, way in ipairs { "end", "break", "error" } do
        local it, closed = counter(3, stop), 0
        getmetatable(it).aclose = async(function()
          await(asyncio.sleep(1))
          closed = closed + 1
        end)
        pcall(function()
          for i in asyncio.aiter(it) do
            if i == 2 and way == "break" then break end
            if i == 2 and way == "error" then error("x") end
          end
        end)
        assert.equal(1, closed)
      end
    end)
  end)

  it("closes the iterator when its task is cancelled", function()
    run(function()
      local it, closed = counter(3, stop), nil
      getmetatable(it).aclose = function() closed = true end
      local task = asyncio.create_task(async(function()
        for _ in asyncio.aiter(it) do await(asyncio.sleep(10)) end
      end)())
      await(asyncio.sleep(5))
      task:cancel()
      asyncio.catch(await, task)
      assert.is_true(task:cancelled())
      assert.is_true(closed)
    end)
  end)

  it("refuses what cannot be iterated", function()
    run(function()
      local err = helper.raises(asyncio.TypeError, asyncio.aiter, 5)
      assert.matches("aiter%(%) expects an object with __aiter or __anext, or an iterator, not a number", err.message)
      helper.raises(asyncio.TypeError, asyncio.aiter, {})
    end)
  end)
end)

describe("anext", function()
  it("gives the next value, then the default or StopAsyncIteration", function()
    run(function()
      local it = counter(2, stop)
      assert.equal(1, await(asyncio.anext(it)))
      local a, b = await(asyncio.anext(it, "end"))
      assert.same({ 2, 20 }, { a, b })
      assert.equal("end", await(asyncio.anext(it, "end")))
      assert.is_nil(await(asyncio.anext(it, nil)))
      helper.raises(asyncio.StopAsyncIteration, await, asyncio.anext(it))
    end)
  end)

  it("takes generators", function()
    run(function()
      local it = coroutine.wrap(function() coroutine.yield(1) end)
      assert.equal(1, await(asyncio.anext(it)))
      assert.equal("end", await(asyncio.anext(it, "end")))
    end)
  end)

  it("refuses what cannot be iterated", function()
    helper.raises(asyncio.TypeError, asyncio.anext, 5)
  end)
end)

describe("aclosing", function()
  it("calls aclose on every way out", function()
    run(function()
      local closed = 0
      local thing = { aclose = async(function()
        await(asyncio.sleep(1))
        closed = closed + 1
      end) }
      do
        local _ <close> = asyncio.aclosing(thing)
      end
      assert.equal(1, closed)
      asyncio.with(asyncio.aclosing(thing), function(t) assert.equal(thing, t) end)
      assert.equal(2, closed)
      pcall(asyncio.with, asyncio.aclosing(thing), error)
      assert.equal(3, closed)
    end)
  end)

  it("closes a Lua coroutine", function()
    run(function()
      local closed
      local co = coroutine.create(function()
        local _ <close> = setmetatable({}, { __close = function() closed = true end })
        coroutine.yield(1)
      end)
      do
        local _ <close> = asyncio.aclosing(co)
        coroutine.resume(co)
      end
      assert.is_true(closed)
      assert.equal("dead", coroutine.status(co))
    end)
  end)

  it("refuses what cannot be closed", function()
    helper.raises(asyncio.TypeError, asyncio.aclosing, {})
  end)
end)
