local helper = require "spec.helper"
local asyncio = require "asyncio"

-- Runs code with the command, which must end by itself with status 0 (or the one given).
local function survives(code, expected_out, status, opts)
  local got, out, err = helper.cli({ "--virtual-time", "-e", code }, opts or { timeout = 50 })
  assert.equal(status or 0, got, err:sub(1, 3000) .. out:sub(1, 500))
  if expected_out then assert.equal(expected_out, out, err) end
  return out, err
end

-- A program that touches most of the core; gc() is called all over it.
local workload = [[
  local asyncio = require "asyncio"
  local total = 0
  local function main()
    local lock, sem, event, q = asyncio.Lock(), asyncio.Semaphore(2), asyncio.Event(), asyncio.Queue(3)
    local pq = asyncio.PriorityQueue()
    local function on_close(f) return setmetatable({}, { __close = f }) end
    local work = async(function(i, s)
      gc()
      local _ <close> = on_close(function() gc() await(asyncio.sleep(0)) gc() end)
      await(asyncio.sleep(i % 3)) gc()
      await(lock:acquire()) gc()
      lock:release()
      await(sem:acquire()) gc()
      sem:release()
      for v in coroutine.wrap(function()
        for k = 1, 3 do
          await(asyncio.sleep(0)) gc()
          coroutine.yield(k .. s)
        end
      end) do
        total = total + #v
        gc()
      end
      if i % 5 == 0 then error("item " .. i) end
      return i, s
    end)
    for round = 1, 3 do
      local tasks = {}
      for i = 1, 20 do
        tasks[i] = asyncio.create_task(work(i, "x" .. round), { name = "w" .. i })
        gc()
        tasks[i]:add_done_callback(function(t) gc() if not t:cancelled() then t:exception() end end)
      end
      tasks[3]:cancel() gc()
      asyncio.get_running_loop():call_later(1, function() gc() tasks[7]:cancel() end)
      local r = await(asyncio.gather(tasks, { return_exceptions = true })) gc()
      for i = 1, 20 do
        if r[i] == i then total = total + i end
      end
      local producer = asyncio.create_task(function()
        for i = 1, 30 do await(q:put({ i })) gc() end
        event:set()
      end)
      local consumer = asyncio.create_task(function()
        for i = 1, 30 do
          local item = await(q:get()) gc()
          pq:put_nowait(-item[1])
          q:task_done()
        end
      end)
      await(event:wait()) gc()
      await(q:join()) gc()
      await(asyncio.gather(producer, consumer)) gc()
      event:clear()
      while not pq:empty() do total = total + pq:get_nowait() gc() end
      pcall(await, asyncio.wait_for(asyncio.sleep(100), 1)) gc()
      local done = await(asyncio.wait({ asyncio.create_task(asyncio.sleep(1)), asyncio.create_task(asyncio.sleep(5)) }, { timeout = 2 })) gc()
      total = total + #done
      local nest
      nest = async(function(n) gc() if n == 0 then await(asyncio.sleep(1)) return 0 end return 1 + await(nest(n - 1)) end)
      total = total + await(nest(150)) gc()
    end
  end
  asyncio.run(main)
  asyncio.run(main)
  gc()
  print(total)
]]

local function expected()
  return (survives("local function gc() end\n" .. workload))
end

describe("the collector", function()
  it("may step anywhere", function()
    survives('local function gc() collectgarbage("step") end\n' .. workload, expected())
  end)

  it("may run a full cycle anywhere", function()
    survives('local n = 0 local function gc() n = n + 1 if n % 20 == 0 then collectgarbage() end end\n' .. workload, expected())
  end)

  it("may be generational, minor and major", function()
    survives('collectgarbage("generational") local function gc() collectgarbage("step") end\n' .. workload, expected())
    survives('local n = 0 local function gc() n = n + 1 collectgarbage(n % 2 == 0 and "generational" or "incremental") end\n' .. workload,
      expected())
  end)

  it("may be restless: a pause of zero", function()
    survives('collectgarbage("incremental", 1, 1000) local function gc() end\n' .. workload, expected())
  end)

  it("may be called from callbacks of debug hooks", function()
    survives('local function gc() end debug.sethook(function() collectgarbage("step") end, "", 500)\n' .. workload, expected())
  end)
end)

describe("what is dropped", function()
  it("pending futures, tasks' results, handles and queues are collected", function()
    helper.run(async(function()
      local weak = setmetatable({}, { __mode = "k" })
      local loop = asyncio.get_running_loop()
      do
        local list = { loop:create_future(), asyncio.Lock(), asyncio.Queue(), asyncio.Event(), asyncio.Semaphore() }
        list[#list + 1] = asyncio.create_task(function() return {} end)
        await(list[#list])
        list[#list + 1] = asyncio.gather(function() return {} end)
        await(list[#list])
        list[#list + 1] = loop:call_soon(function() end)
        await(asyncio.sleep(0))
        for _, x in ipairs(list) do weak[x] = true end
      end
      for _ = 1, 3 do collectgarbage() end
      local left = {}
      for x in pairs(weak) do left[#left + 1] = tostring(x) end
      assert.same({}, left)
    end))
  end)

  it("a thousand loops leave little memory behind", function()
    local function round()
      asyncio.run(async(function()
        await(asyncio.gather(asyncio.sleep(0), function() end))
      end)(), { clock = "virtual" })
    end
    for _ = 1, 200 do round() end
    collectgarbage()
    collectgarbage()
    local before = collectgarbage "count"
    for _ = 1, 1000 do round() end
    collectgarbage()
    collectgarbage()
    assert.is_true(collectgarbage "count" - before < 300, collectgarbage "count" - before)
  end)

  it("ten thousand tasks, done, failed or cancelled, leave no memory behind", function()
    helper.run(async(function()
      local function round()
        local tasks = {}
        for i = 1, 1000 do
          tasks[i] = asyncio.create_task(function()
            await(asyncio.sleep(1))
            if i % 3 == 0 then error("x", 0) end
          end)
        end
        await(asyncio.sleep(0))
        for i = 1, 1000, 7 do tasks[i]:cancel() end
        await(asyncio.gather(tasks, { return_exceptions = true }))
      end
      for _ = 1, 6 do round() end -- tables and caches have their size
      collectgarbage()
      collectgarbage()
      local before = collectgarbage "count"
      for _ = 1, 8 do round() end
      collectgarbage()
      collectgarbage()
      assert.is_true(collectgarbage "count" - before < 300, collectgarbage "count" - before)
    end))
  end)
end)

describe("nothing crashes:", function()
  it("errors and awaits in __gc", function()
    survives([[
      local asyncio = require "asyncio"
      for i = 1, 100 do
        setmetatable({}, { __gc = function() error("in gc") end })
        setmetatable({}, { __gc = function() await(asyncio.sleep(1)) end })
        setmetatable({}, { __gc = function() asyncio.create_task(function() await(asyncio.sleep(1)) end) end })
        setmetatable({}, { __gc = function() coroutine.yield() end })
        setmetatable({}, { __gc = function() asyncio.get_event_loop():call_soon(function() end) end })
      end
      asyncio.run(function()
        for _ = 1, 5 do
          collectgarbage()
          await(asyncio.sleep(1))
        end
      end)
      print("alive")]], "alive\n")
  end)

  it("objects with __gc that live until the end", function()
    local out = survives([[
      local asyncio = require "asyncio"
      local loop = asyncio.get_event_loop()
      local f, lock, q = loop:create_future(), asyncio.Lock(), asyncio.Queue()
      keep = setmetatable({}, { __gc = function()
        print("last words")
        pcall(f.cancel, f)
        pcall(f.set_result, f, 1)
        pcall(lock.release, lock)
        pcall(q.put_nowait, q, 1)
        pcall(loop.call_soon, loop, print)
        pcall(loop.run_forever, loop)
        pcall(asyncio.create_task, function() end)
        pcall(await, asyncio.sleep(1))
        pcall(asyncio.run, function() await(asyncio.sleep(1)) end)
        tostring(loop) tostring(f)
      end })
      print("end")]])
    assert.is_truthy(out:find("^end\n"), out)
  end)

  it("errors in __close, in every place, and __close that is no function", function()
    survives([[
      local asyncio = require "asyncio"
      local function bad() return setmetatable({}, { __close = function() error("close", 0) end }) end
      asyncio.run(function()
        print(pcall(function() local _ <close> = bad() end))
        print(pcall(function() local _ <close> = bad() error("body", 0) end))
        print(pcall(function() local _ <close> = bad() local _ <close> = bad() await(asyncio.sleep(1)) end))
        print(pcall(function() local _ <close> = 42 end))
        print(pcall(coroutine.wrap(function() local _ <close> = bad() coroutine.yield() end)))
        local t = asyncio.create_task(function() local _ <close> = bad() await(asyncio.sleep(10)) end)
        await(asyncio.sleep(1))
        t:cancel()
        print(pcall(await, t))
      end)]],
      "false\tclose\nfalse\tclose\nfalse\tclose\nfalse\t(command line):7: variable '_' got a non-closable value\ntrue\nfalse\tclose\n")
  end)

  it("errors in __await, and ones that suspend, cancel or close", function()
    survives([[
      local asyncio = require "asyncio"
      local function aw(f) return setmetatable({}, { __await = f }) end
      asyncio.run(function()
        print((pcall(await, aw(function() error("x") end))))
        print((pcall(await, aw(function() end))))
        print((pcall(await, aw(5))))
        print((pcall(await, asyncio.gather(aw(5)))))
        for _ = 1, 3 do
          local t
          t = asyncio.create_task(function() return await(aw(function() t:cancel() return asyncio.sleep(1) end)) end)
          asyncio.catch(await, t)
          print(t:cancelled())
        end
        print((pcall(await, asyncio.ensure_future(aw(function() error("y") end)))))
      end)]], "false\nfalse\nfalse\nfalse\ntrue\ntrue\ntrue\nfalse\n")
  end)

  it("__tostring of an error that fails, awaits or is endless", function()
    local out, err = survives([[
      local asyncio = require "asyncio"
      for _, f in ipairs {
        function() error("no text") end,
        function() await(asyncio.sleep(1)) end,
        function() return nil end,
        function(self) return tostring(self) end,
        function(self) error(self) end,
      } do
        asyncio.run(function()
          asyncio.create_task(function() error(setmetatable({}, { __tostring = f })) end)
          asyncio.get_running_loop():call_soon(function() error(setmetatable({}, { __tostring = f })) end)
          await(asyncio.sleep(1))
        end)
      end
      print("alive")]])
    assert.equal("alive\n", out)
    assert.is_truthy(err:find("error object", 1, true), err)
  end)

  it("yields from coroutines and C functions that the engine did not make", function()
    survives([[
      local asyncio = require "asyncio"
      asyncio.run(function()
        print((pcall(coroutine.yield)))
        print((pcall(table.sort, { 1, 2, 3 }, coroutine.yield)))
        print((pcall(string.gsub, "abc", ".", coroutine.yield)))
        local t = asyncio.create_task(coroutine.yield)
        print((pcall(await, t)))
        local co = coroutine.create(function() await(asyncio.sleep(1)) return "value" end)
        print((pcall(table.sort, { 2, 1 }, function() return coroutine.resume(co) end)))
        print(coroutine.resume(co))
        local f = asyncio.get_running_loop():create_future()
        f:add_done_callback(coroutine.yield)
        f:set_result(1)
        asyncio.get_running_loop():call_soon(coroutine.yield, 1, 2)
        asyncio.get_running_loop():call_soon(coroutine.wrap(function() coroutine.yield(1) end))
        asyncio.get_running_loop():set_exception_handler(function() end)
        await(asyncio.sleep(1))
        print("alive")
      end)]])
  end)

  it("deep recursion in tasks", function()
    survives([[
      local asyncio = require "asyncio"
      asyncio.run(function()
        local function f(n) return 1 + f(n + 1) end
        local ok, e = pcall(f, 1)
        print(ok, (tostring(e):find("stack overflow", 1, true)) ~= nil)
        local t = asyncio.create_task(function() return f(1) end)
        ok, e = pcall(await, t)
        print(ok, (tostring(e):find("stack overflow", 1, true)) ~= nil)
        ok = pcall(function() return string.rep("x", -1) .. ("a"):rep(100, nil) end)
        local function g() return pcall(g) end
        g()
        local function h() return xpcall(h, h) end
        h()
        local s = setmetatable({}, { __index = function(t, k) return t[k] end })
        print((pcall(function() return s.x end)))
        local c = setmetatable({}, { __close = nil })
        local function k(n) local _ <close> = setmetatable({}, { __close = function() end }) return k(n + 1) end
        print((pcall(k, 1)))
        await(asyncio.sleep(1))
        print("alive")
      end)]], "false\ttrue\nfalse\ttrue\nfalse\nfalse\nalive\n")
  end)

  it("stack overflow while errors are handled", function()
    survives([[
      local asyncio = require "asyncio"
      asyncio.run(function()
        for _ = 1, 3 do
          local function f() return xpcall(error, f, "x") end
          local t = asyncio.create_task(f)
          pcall(await, t)
          local function g() local _ <close> = setmetatable({}, { __close = g }) error("x") end
          pcall(g)
          pcall(await, asyncio.create_task(g))
        end
        print("alive")
      end)]], "alive\n")
  end)

  it("memory that runs out in a task", function()
    local out = survives([[
      local asyncio = require "asyncio"
      asyncio.run(function()
        local t = asyncio.create_task(function()
          await(asyncio.sleep(1))
          return ("x"):rep(1 << 40)
        end)
        local ok, e = pcall(await, t)
        print(ok)
        ok, e = pcall(string.rep, "x", 1 << 60)
        print(ok)
        await(asyncio.sleep(1))
        print("alive")
      end)]])
    assert.equal("false\nfalse\nalive\n", out)
  end)

  it("memory that runs out for good, under a limit", function()
    local status, out, err = helper.sh("ulimit -v 300000; exec " .. helper.quote(helper.moonloop) .. " --virtual-time -e " .. helper.quote([[
      local asyncio = require "asyncio"
      local ok, e = pcall(asyncio.run, function()
        local keep = {}
        local closed = 0
        local t = asyncio.create_task(function()
          local _ <close> = setmetatable({}, { __close = function() closed = closed + 1 end })
          while true do
            keep[#keep + 1] = ("x"):rep(100000) .. #keep
            if #keep % 100 == 0 then await(asyncio.sleep(0)) end
          end
        end)
        local ok2, e2 = pcall(await, t)
        keep = nil
        collectgarbage()
        print(ok2, e2, closed)
        print(await(asyncio.sleep(1, "alive")))
      end)
      print(ok, e)]]), { timeout = 50 })
    if err:find("AddressSanitizer", 1, true) or status == 127 then return end -- no limits under sanitizers
    assert.equal(0, status, err)
    assert.equal("false\tnot enough memory\t1\nalive\ntrue\tnil\n", out)
  end)

  it("a stack overflow, in which no finalizer can be called: the collector keeps its pace, and nobody is warned", function()
    local status, out, err = helper.cli { "-e", [[
      local asyncio = require "asyncio"
      local function f() return 1 + f() end
      assert(not pcall(f))
      local cycles = 0
      local function count()
        setmetatable({}, { __gc = function()
          cycles = cycles + 1
          count()
        end })
      end
      asyncio.run(async(function()
        await(asyncio.sleep(0))
        collectgarbage()
        count()
        for i = 1, 2000 do
          local _ = ("x"):rep(32768) .. i
          await(asyncio.sleep(0))
        end
      end))
      print(cycles < 200 or cycles) -- a small heap would be collected each time it has doubled: 900 times
    ]] }
    assert.same({ 0, "true\n", "" }, { status, out, err })
  end)

  it("a stack overflow with a finalizer of the script's, which cannot be called: it is told", function()
    local status, out, err = helper.cli { "-e", [[
      local function f() return 1 + f() end
      setmetatable({}, { __gc = function() print "called" end })
      print(pcall(f))]] }
    local _, warnings = err:gsub("Lua warning: error in __gc %([^\n]*stack overflow%)\n", "")
    local _, calls = out:gsub("called", "")
    assert.same({ 0, 1 }, { status, warnings + calls }, out .. err)
  end)

  it("loops that are closed with every kind of work pending", function()
    survives([[
      local asyncio = require "asyncio"
      local closed = 0
      for _ = 1, 20 do
        local loop = asyncio.new_event_loop { clock = "virtual" }
        loop:set_exception_handler(function() end)
        local lock, q, sem, ev = asyncio.Lock(), asyncio.Queue(1), asyncio.Semaphore(0), asyncio.Event()
        local waits = {
          function() await(asyncio.sleep(10)) end,
          function() await(loop:create_future()) end,
          function() await(lock:acquire()) await(lock:acquire()) end,
          function() await(q:get()) end,
          function() await(asyncio.Queue():join()) await(sem:acquire()) end,
          function() await(ev:wait()) end,
          function() await(asyncio.gather(asyncio.sleep(5), asyncio.sleep(6))) end,
          function() await(asyncio.wait { asyncio.create_task(asyncio.sleep(7)) }) end,
          function() await(asyncio.wait_for(asyncio.sleep(8), 9)) end,
          function() await(asyncio.shield(asyncio.sleep(8))) end,
          function() local tg = asyncio.TaskGroup() tg:create_task(asyncio.sleep(5)) await(asyncio.sleep(9)) end,
          function() coroutine.wrap(function() coroutine.wrap(function() await(asyncio.sleep(3)) end)() end)() end,
          function() while true do await(asyncio.sleep(1)) end end,
          function() local function n(d) if d == 0 then await(asyncio.sleep(4)) end return (await(async(n)(d - 1))) end n(130) end,
          function() for i in coroutine.wrap(function() for i = 1, 9 do await(asyncio.sleep(1)) coroutine.yield(i) end end) do end end,
        }
        for _, f in ipairs(waits) do
          loop:create_task(function()
            local _ <close> = setmetatable({}, { __close = function()
              closed = closed + 1
              pcall(await, asyncio.sleep(0))
              pcall(function() lock:release() end)
              pcall(function() q:put_nowait(1) end)
              pcall(asyncio.create_task, function() end)
            end })
            f()
          end)
        end
        loop:call_later(100, function() end)
        loop:call_soon(function() end)
        loop:run_until_complete(asyncio.sleep(2))
        loop:close()
        collectgarbage()
      end
      print(closed, closed == 20 * 15)]], "300\ttrue\n")
  end)

  it("a loop that ends by an error in the middle of everything", function()
    survives([[
      local asyncio = require "asyncio"
      for i = 1, 30 do
        pcall(asyncio.run, function()
          for k = 1, 10 do
            asyncio.create_task(function()
              for j = 1, 10 do
                await(asyncio.sleep(j % 3))
                if j * 10 + k == i * 3 then error(asyncio.SystemExit(1)) end
              end
            end)
          end
          await(asyncio.sleep(50))
        end)
      end
      collectgarbage()
      print("alive")]], "alive\n")
  end)

  it("tasks, futures and handles used from strange places", function()
    survives([[
      local asyncio = require "asyncio"
      local loop = asyncio.new_event_loop { clock = "virtual" }
      loop:set_exception_handler(function(l, context)
        pcall(l.close, l)
        pcall(l.run_forever, l)
        pcall(l.stop, l)
        pcall(await, asyncio.sleep(1))
      end)
      local t
      t = loop:create_task(function()
        local f = loop:create_future()
        f:add_done_callback(function() t:cancel() f:remove_done_callback(print) error("cb") end)
        loop:call_soon(f.set_result, f, 1)
        loop:call_soon(f.set_result, f, 2)
        for _ = 1, 3 do asyncio.catch(await, f) end
        for _ = 1, 3 do asyncio.catch(await, asyncio.sleep(1)) end
        t:add_done_callback(function(x) x:cancel() x:add_done_callback(function() error("again") end) end)
        return "done"
      end)
      print(asyncio.catch(loop.run_until_complete, loop, t))
      pcall(loop.run_until_complete, loop, asyncio.sleep(1))
      loop:close()
      print(t:done())]])
  end)

  it("metatables of the engine's objects that a script tampers with", function()
    survives([[
      local asyncio = require "asyncio"
      local loop = asyncio.get_event_loop()
      local f = loop:create_future()
      local mt = getmetatable(f)
      print(pcall(setmetatable, f, {}))
      if debug.getmetatable(f) then
        local m = debug.getmetatable(f)
        for _, k in ipairs { "__gc", "__close", "__tostring", "__name" } do
          local g = rawget(m, k)
          if type(g) == "function" then pcall(g, nil) pcall(g, {}) pcall(g, io.stdout) pcall(g, loop) pcall(g, f) end
        end
      end
      f:cancel()
      print("alive")]])
  end)

  it("debug.* on tasks' threads", function()
    survives([[
      local asyncio = require "asyncio"
      asyncio.run(function()
        local thread
        local t = asyncio.create_task(function()
          local secret = 1
          thread = coroutine.running()
          await(asyncio.sleep(5))
          return secret
        end)
        await(asyncio.sleep(1))
        print((debug.traceback(thread):find("traceback", 1, true)) ~= nil)
        for level = 0, 10 do
          local info = debug.getinfo(thread, level)
          if info then for i = 1, 10 do debug.getlocal(thread, level, i) end end
        end
        debug.sethook(thread, function() end, "l")
        print(await(t))
      end)]], "true\n1\n")
  end)

  it("hooks that fail while the loop runs", function()
    survives([[
      local asyncio = require "asyncio"
      local n = 0
      local ok = pcall(asyncio.run, function()
        for i = 1, 50 do
          debug.sethook(function() n = n + 1 if n % 7 == 0 then debug.sethook() error("hook") end end, "", 13)
          pcall(await, asyncio.create_task(function() for k = 1, 100 do await(asyncio.sleep(0)) end end))
          debug.sethook()
        end
      end)
      debug.sethook()
      await(asyncio.sleep(1))
      print("alive")]])
  end)
end)
