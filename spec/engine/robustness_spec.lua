local helper = require "spec.helper"
local asyncio = require "asyncio"

-- A script can at worst get an error. What is here once crashed or wedged the engine, or could have.

local function run(f) return helper.run(async(f)) end

local function with_loop(f)
  local loop <close> = asyncio.new_event_loop { clock = "virtual" }
  return f(loop)
end

local function numbers(n)
  local t = {}
  for i = 1, n do t[i] = i end
  return t
end

--- Runs code in a process of its own; gives what it wrote and its status.
local function command(code)
  local name = os.tmpname()
  local file = assert(io.open(name, "w"))
  file:write(code)
  file:close()
  local pipe = assert(io.popen(("%s %s 2>&1"):format(helper.moonloop, name)))
  local text = pipe:read("a")
  local _, how, status = pipe:close()
  os.remove(name)
  return text, how == "exit" and status or how .. " " .. tostring(status)
end

describe("a coroutine that Lua cannot suspend", function()
  it("is told so when it awaits, and nothing of the await is left", function()
    run(function()
      local errors = 0
      table.sort({ 3, 2, 1 }, function(a, b)
        local ok = pcall(coroutine.wrap(function() await(asyncio.sleep(1)) end))
        if not ok then errors = errors + 1 end
        return a < b
      end)
      assert.is_true(errors > 0)
      collectgarbage()
      assert.equal(5, await(asyncio.sleep(3, 5)))
    end)
  end)

  it("cannot be resumed when its await ends where the C stack has no room for it", function()
    local function try(loop, depth)
      local future, coroutines = loop:create_future(), {}
      local function nest(n)
        if n == 0 then return await(future) end
        local co = coroutine.create(nest)
        coroutines[#coroutines + 1] = co
        return coroutine.resume(co, n - 1)
      end
      local task = loop:create_task(async(function() return nest(40) end)())
      loop:call_later(1, loop.stop, loop)
      loop:run_forever()
      local function deep(n)
        if n > 0 then return select(2, pcall(deep, n - 1)) end
        future:set_result(1)
        return pcall(loop.run_until_complete, loop, asyncio.sleep(1))
      end
      deep(depth)
      for _, co in ipairs(coroutines) do assert.is_false((coroutine.resume(co))) end
      pcall(loop.run_until_complete, loop, task)
      assert.is_true(task:done())
      for _, co in ipairs(coroutines) do assert.is_false((coroutine.resume(co))) end
    end
    for depth = 100, 180, 10 do with_loop(function(loop) try(loop, depth) end) end
  end)

  it("may resume itself and gets an error", function()
    local co
    co = coroutine.create(function() return coroutine.resume(co) end)
    assert.same({ true, false, "cannot resume non-suspended coroutine" }, { coroutine.resume(co) })
  end)
end)

describe("values of scripts", function()
  it("with an __await that gives itself end with an error", function()
    local self
    self = setmetatable({}, { __await = function() return self end })
    helper.raises(asyncio.RuntimeError, await, self)
    run(function() helper.raises(asyncio.RuntimeError, await, self) end)
  end)

  it("that hold themselves cannot be compared in a PriorityQueue", function()
    local queue, a, b = asyncio.PriorityQueue(), {}, {}
    a[1], b[1] = a, b
    queue:put_nowait(a)
    helper.raises(asyncio.RuntimeError, queue.put_nowait, queue, b)
    assert.equal(1, queue:qsize())
  end)

  it("with a cycle of base classes are instances of none", function()
    local E = asyncio.Exception:extend("E")
    E.__base = E
    assert.is_false(asyncio.isinstance(E("x"), asyncio.CancelledError))
    run(function()
      local ok, e = pcall(await, asyncio.create_task(function() error(E("x")) end))
      assert.is_false(ok)
      assert.equal("x", e.message)
    end)
  end)

  it("cannot be made errors of what is no class", function()
    local call = getmetatable(asyncio.Exception).__call
    assert.is_false((pcall(call, 5)))
    assert.is_false((pcall(call)))
  end)

  it("as names of tasks may fail: no task is left behind", function()
    run(function()
      local sleep = asyncio.sleep(0)
      local name = setmetatable({}, { __tostring = function() error("no name", 0) end })
      assert.is_false((pcall(asyncio.create_task, sleep, { name = name })))
      assert.equal(1, #asyncio.all_tasks())
      await(asyncio.create_task(sleep, { name = "named" }))
    end)
  end)

  it("may be too many for a callback, not for a result", function()
    run(function()
      local t, loop = numbers(250000), asyncio.get_running_loop()
      helper.raises(asyncio.ValueError, loop.call_soon, loop, print, table.unpack(t))
      helper.raises(asyncio.ValueError, loop.call_later, loop, 0, print, table.unpack(t))
      helper.raises(asyncio.ValueError, async(print), table.unpack(t))
      local future = asyncio.Future()
      future:set_result(table.unpack(t))
      assert.equal(250000, select("#", await(future)))
      assert.equal(250000, select("#", await(asyncio.create_task(function() return table.unpack(t) end))))
    end)
  end)

  it("keep a semaphore from counting over", function()
    local semaphore = asyncio.Semaphore(math.maxinteger)
    helper.raises(asyncio.ValueError, semaphore.release, semaphore)
  end)
end)

describe("remove_done_callback", function()
  it("keeps the other callbacks when __eq changes the list", function()
    run(function()
      local future, calls, once, mt = asyncio.Future(), {}, false, {}
      local function other() calls[#calls + 1] = "other" end
      function mt.__call() calls[#calls + 1] = "object" end
      function mt.__eq()
        if not once then
          once = true
          future:remove_done_callback(other)
        end
        return false
      end
      future:add_done_callback(other)
      future:add_done_callback(setmetatable({}, mt))
      future:add_done_callback(other)
      future:add_done_callback(function() calls[#calls + 1] = "last" end)
      assert.equal(0, future:remove_done_callback(setmetatable({}, mt)))
      collectgarbage()
      collectgarbage()
      future:set_result(1)
      await(asyncio.sleep(0))
      assert.same({ "object", "last" }, calls)
    end)
  end)
end)

describe("gather", function()
  it("counts its children though a task factory gathers them too", function()
    run(function()
      local futures, loop = {}, asyncio.get_running_loop()
      for i = 1, 10 do futures[i] = asyncio.Future() end
      loop:set_task_factory(function(_, c)
        asyncio.gather(table.unpack(futures))
        c:close()
        return futures[1]
      end)
      local all = asyncio.gather(futures[1], futures[2], asyncio.sleep(0), futures[3], futures[1])
      loop:set_task_factory(nil)
      for i, future in ipairs(futures) do future:set_result(i) end
      assert.same({ 1, 2, 1, 3, 1, n = 5 }, await(all))
    end)
  end)
end)

describe("an eager task factory that failed", function()
  it("leaves later tasks as they were", function()
    run(function()
      assert.is_false((pcall(asyncio.eager_task_factory, asyncio.get_running_loop(), 5)))
      local started = false
      local task = asyncio.create_task(function() started = true end)
      assert.is_false(started)
      await(task)
    end)
  end)
end)

describe("closing a loop", function()
  it("ends though its exception handler makes a task for each that is destroyed", function()
    local loop, told = asyncio.new_event_loop { clock = "virtual" }, 0
    loop:set_exception_handler(function(l)
      told = told + 1
      local c = asyncio.sleep(1)
      helper.raises("Event loop is closed", l.create_task, l, c)
      c:close()
      l:close()
    end)
    for _ = 1, 3 do loop:create_task(asyncio.sleep(1)) end
    loop:call_soon(loop.stop, loop)
    loop:run_forever()
    loop:close()
    assert.equal(3, told)
  end)
end)

describe("the virtual clock at infinity", function()
  it("still has timers that fire", function()
    run(function()
      await(asyncio.sleep(math.huge))
      local future, loop = asyncio.Future(), asyncio.get_running_loop()
      loop:call_later(-math.huge, future.set_result, future, 1)
      assert.equal(1, await(future))
    end)
  end)
end)

describe("the debug library", function()
  local function objects()
    local loop = asyncio.get_running_loop()
    return {
      asyncio.Future(), asyncio.gather(asyncio.Future()), asyncio.Lock(), asyncio.Queue(), loop,
      loop:call_soon(function() end), asyncio.StreamReader(), asyncio.current_task(),
    }
  end

  it("shows nothing of the engine's objects, and sets nothing", function()
    run(function()
      for _, object in ipairs(objects()) do
        assert.is_nil((debug.getuservalue(object, 1)))
        assert.is_false((pcall(debug.setuservalue, object, 5, 1)))
        assert.is_false((pcall(debug.setmetatable, object, {})))
        if asyncio.isfuture(object) and object ~= asyncio.current_task() then
          object:cancel()
          pcall(await, object)
        end
      end
      await(asyncio.sleep(0))
    end)
  end)

  it("shows metatables without their finalizers", function()
    local reader = asyncio.StreamReader()
    for _, mt in ipairs { getmetatable(reader), debug.getmetatable(reader) } do
      assert.is_nil(mt.__gc)
      assert.is_function(mt.__tostring)
      assert.is_false((pcall(function() mt.__gc = nil end)))
    end
  end)

  it("keeps the engine's places in the registry", function()
    run(function()
      local registry = debug.getregistry()
      for i = 3, 30 do
        assert.is_nil(registry[i])
        assert.is_false((pcall(function() registry[i] = {} end)))
      end
      assert.equal(package.loaded, registry._LOADED)
      assert.is_false((pcall(function() registry._LOADED = 5 end)))
      registry.mine = 1
      assert.equal(1, registry.mine)
      registry.mine = nil
      for key in pairs(registry) do assert.is_true(type(key) == "string" or key <= 2 or key > 30) end
      await(asyncio.sleep(1))
    end)
  end)

  it("leaves the frames and upvalues of C functions alone, and gives those of Lua", function()
    run(function()
      local future, thread = asyncio.Future(), nil
      local task = asyncio.create_task(function()
        thread = coroutine.running()
        return await(future)
      end)
      await(asyncio.sleep(0))
      for n = 1, 4 do
        assert.is_nil((debug.getlocal(thread, 0, n)))
        assert.is_nil((debug.setlocal(thread, 0, n, 5)))
      end
      future:set_result(7)
      assert.equal(7, await(task))
      assert.same({ "", nil }, { debug.getupvalue(("x"):gmatch("."), 1) })
      assert.is_nil((debug.getupvalue(math.sin, 1)))
      assert.is_nil((debug.setupvalue(async(print), 2, 5)))
      local up, mine = 1, 2
      local function f() return up end
      debug.setupvalue(f, 1, 3)
      assert.equal(3, f())
      local names = {}
      for n = 1, 20 do
        local name, v = debug.getlocal(1, n)
        if not name then break end
        names[name] = v
      end
      assert.equal(mine, names.mine)
      assert.equal(debug.getinfo(f).func, f)
      assert.equal("C", debug.getinfo(print).what)
      assert.equal(print, debug.getinfo(print).func)
      assert.is_function(debug.getinfo(1, "f").func)
    end)
  end)

  it("shows hooks what Lua's debug library would: the functions of modules, and none of its own", function()
    local debug, max = debug, math.max
    local seen, unknown, names = {}, 0, {}
    debug.sethook(function(event)
      local info = debug.getinfo(2, "nf")
      if event == "return" then names[#names + 1] = info.name return end
      if info.func then seen[info.func] = true else unknown = unknown + 1 end
    end, "cr")
    debug.getinfo(1)
    local n = max(1, 2)
    debug.sethook()
    assert.same({ 2, true, true, true, 0 },
      { n, seen[debug.getinfo], seen[max], seen[debug.sethook], unknown })
    assert.same({ "sethook", "getinfo", "max" }, names)
  end)

  it("shows hooks what a module's C function is given and gives, and nothing else of its frame", function()
    local debug, select = debug, select
    local seen = {}
    debug.sethook(function(event)
      local info = debug.getinfo(2, "rf")
      if info.func ~= select then return end
      local values = {}
      for i = info.ftransfer, info.ftransfer + info.ntransfer - 1 do values[#values + 1] = select(2, debug.getlocal(2, i)) end
      seen[event] = values
      seen.below = debug.getlocal(2, info.ftransfer - 1)
    end, "cr")
    select(2, 10, 20, 30)
    debug.sethook()
    assert.same({ call = { 2, 10, 20, 30 }, ["return"] = { 20, 30 } }, seen)
    local inside
    table.sort({ 1, 2 }, function() inside = debug.getlocal(2, 1) return false end)
    assert.is_nil(inside)
  end)

  it("lets debug.setlocal alter temporary values, but not what Lua relies on", function()
    local debug = debug
    local function alter(value)
      local names = {}
      for i = 1, 20 do
        local name, was = debug.getlocal(2, i)
        if not name then break end
        if name:find("^%(") then names[name] = (names[name] or "") .. tostring(debug.setlocal(2, i, value) ~= nil) .. type(was) .. " " end
      end
      return 20, names
    end
    local function sum(a) return (a + 1) + (alter(10)) end
    assert.equal(30, sum(0))
    local names
    local function list() local t = { 1, 2, alter(5) } names = t[4] return t end
    assert.equal(20, list()[3])
    assert.truthy(names["(temporary)"]:find("falsetable", 1, true))
    local function loop() for i = 1, 2 do local _, n = alter("x") names = n if i > 2 then return end end end
    loop()
    assert.equal("falsenumber falsenumber falsenumber ", names["(for state)"])
    assert.same({ "(C temporary)", 0 }, { debug.getlocal(0, 1) })
    assert.same({ "(C temporary)", 2 }, { debug.getlocal(0, 2) })
    assert.is_nil((debug.getlocal(0, 3)))
  end)

  it("gives out no C function on the stack that no module has", function()
    local info
    local t = setmetatable({}, { __lt = function() info = debug.getinfo(3, "f") return false end })
    local step = ("x"):gmatch(".")
    assert.is_nil(debug.getinfo(step, "S").func)
    table.sort({ t, t }, function() info = debug.getinfo(2, "f") return false end)
    assert.equal(table.sort, info.func)
    asyncio.run(async(function()
      local f = asyncio.get_running_loop():create_future()
      asyncio.get_running_loop():call_soon(function() info = debug.getinfo(2, "f") f:set_result() end)
      await(f)
    end)())
    assert.is_nil(info and info.func)
  end)
end)

describe("the end of the process", function()
  it("survives finalizers that use loops", function()
    local text, status = command [[
      local asyncio = require "asyncio"
      X = setmetatable({}, { __gc = function()
        print(pcall(function()
          local loop = asyncio.new_event_loop()
          loop:run_until_complete(asyncio.start_server(function() end, "127.0.0.1", 0))
        end))
        print(pcall(function() await(asyncio.sleep(0)) end))
        print("done")
      end })
      await(asyncio.sleep(0))
    ]]
    assert.equal(0, status, text)
    assert.is_truthy(text:find("the engine is closing", 1, true), text)
    assert.is_truthy(text:find("done", 1, true), text)
  end)

  it("survives os.exit that closes the state inside a coroutine of a task", function()
    local text, status = command [[
      local asyncio = require "asyncio"
      asyncio.run(function()
        local server = await(asyncio.start_server(function() end, "127.0.0.1", 0))
        asyncio.create_task(asyncio.sleep(1))
        await(asyncio.sleep(0))
        coroutine.wrap(function() os.exit(7, true) end)()
        print(server)
      end)
    ]]
    assert.equal(7, status, text)
  end)
end)
