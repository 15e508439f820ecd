--- Hot reload: what is new, what is kept.

local helper = require "spec.helper"
local asyncio = require "asyncio"
local reload = require "reload"

local serial = 0

-- A module in a folder of its own: returns a function that writes its code, and its name.
local function module_file()
  local dir = helper.tmpdir()
  serial = serial + 1
  local name, path = "reloaded" .. serial, package.path
  package.path = dir .. "/?.lua;" .. path
  helper.finally(function()
    package.path = path
    package.loaded[name] = nil
  end)
  return function(source)
    local f <close> = assert(io.open(dir .. "/" .. name .. ".lua", "w"))
    f:write(source)
  end, name, dir
end

-- Loads one version of a module, calls `between(m)`, and reloads it as another one.
local function versions(old, new, between)
  local write, name = module_file()
  write(old)
  local m = require(name)
  if between then between(m) end
  write(new)
  local again = reload.module(name)
  return m, again, name, write
end

describe("reload.module", function()
  it("has new functions in the same table", function()
    local m, again, name = versions("local M = {} function M.f() return 1 end return M", "local M = {} function M.f() return 2 end function M.g() return 3 end return M")
    assert.equal(m, again)
    assert.equal(m, require(name))
    assert.equal(2, m.f())
    assert.equal(3, m.g())
  end)

  it("has what is gone no longer, but what was added at run time", function()
    local m = versions("return { f = print, n = 1, gone = 2, set = 3, t = {} }", "return { n = 1 }", function(m)
      m.added, m.set, m.f2 = true, 33, print
    end)
    assert.is_nil(m.f)
    assert.is_nil(m.gone)
    assert.equal(33, m.set)
    assert.equal(true, m.added)
    assert.equal(print, m.f2)
    assert.same({}, m.t) -- a table may be state
  end)

  it("keeps fields that run time has changed, unless the code now says something else", function()
    local m = versions("return { score = 0, speed = 5, name = 'a', flag = false, nan = 0/0 }", "return { score = 0, speed = 8, name = 'b', flag = true, extra = 1 }", function(m)
      m.score, m.name = 42, "mine"
    end)
    assert.same({ 42, 8, "b", true, 1 }, { m.score, m.speed, m.name, m.flag, m.extra })
  end)

  it("keeps tables, and merges what the code puts into them", function()
    local m = versions("return { list = {}, config = { a = 1, b = 2, deep = { x = 1 } } }", "return { list = {}, config = { a = 10, b = 2, c = 3, deep = { x = 2 } } }", function(m)
      m.list[1] = "kept"
      m.config.b = 22
      m.the_config, m.the_deep = m.config, m.config.deep
    end)
    assert.same({ "kept" }, m.list)
    assert.equal(m.the_config, m.config)
    assert.equal(m.the_deep, m.config.deep)
    assert.same({ a = 10, b = 22, c = 3, deep = { x = 2 } }, m.config)
  end)

  it("keeps the local variables that functions share, by their names", function()
    local code = [[
      local count, list = 0, {}
      local M = {}
      local function step() count = count + STEP end
      function M.add(v) step() list[#list + 1] = v end
      function M.get() return count, #list, M.self == M end
      M.self = M
      return M]]
    local m = versions(code:gsub("STEP", "1"), code:gsub("STEP", "100"), function(m)
      m.add "a"
      m.add "b"
    end)
    m.add "c"
    assert.same({ 102, 3, true }, { m.get() })
  end)

  it("has new values of locals whose first value the code has changed", function()
    local code = [[
      local speed, count, config = SPEED, 0, { size = SPEED, n = 0 }
      return { f = function() count = count + 1 config.n = config.n + 1 return speed, count, config.size, config.n end }]]
    local m, _, name, write = versions(code:gsub("SPEED", "5"), code:gsub("SPEED", "8"), function(m) m.f() end)
    assert.same({ 8, 2, 8, 2 }, { m.f() })
    write((code:gsub("SPEED", "9")))
    reload.module(name)
    assert.same({ 9, 3, 9, 3 }, { m.f() })
    reload.module(name) -- unchanged: nothing changes
    assert.same({ 9, 4, 9, 4 }, { m.f() })
  end)

  it("keeps a local's variable for functions that are new, or have another name", function()
    local m = versions("local n = 1 return { inc = function() n = n + 1 return n end }", "local n = 1 return { add = function() n = n + 10 return n end, get = function() return n end }", function(m)
      m.inc()
    end)
    assert.equal(12, m.add())
    assert.equal(12, m.get())
  end)

  it("gives objects their new methods: a class stays the same table", function()
    local code = [[
      local Class = {}
      Class.__index = Class
      Class.__tostring = function() return "TEXT" end
      function Class:name() return "TEXT" end
      return { new = function() return setmetatable({}, Class) end }]]
    local object
    local m = versions(code:gsub("TEXT", "one"), code:gsub("TEXT", "two"), function(m) object = m.new() end)
    assert.equal("two", object:name())
    assert.equal("two", tostring(object))
    assert.equal(getmetatable(object), getmetatable(m.new()))
  end)

  it("gives a table its new metatable", function()
    local m = versions("return {}", "return setmetatable({}, { __index = function(_, k) return k .. '!' end })")
    assert.equal("x!", m.x)
  end)

  it("sees through async", function()
    local code = "local n = 0 return { run = async(function() n = n + STEP await(require('asyncio').sleep(0)) return n end) }"
    helper.run(function()
      local m = versions(code:gsub("STEP", "1"), code:gsub("STEP", "100"), function(old) await(old.run()) end)
      assert.equal(101, await(m.run()))
    end)
  end)

  it("leaves running tasks in the old code until they call anew", function()
    helper.run(function()
      local code = [[
        local asyncio = require "asyncio"
        local M = { log = {} }
        local function say(s) M.log[#M.log + 1] = s .. " VERSION" end
        function M.outer() say "outer" end
        function M.run()
          for _ = 1, 3 do await(asyncio.sleep(1)) say "inner" M.outer() end
        end
        return M]]
      local task
      local m = versions(code:gsub("VERSION", "1"), code:gsub("VERSION", "2"), function(m)
        task = asyncio.create_task(m.run)
        await(asyncio.sleep(1.5))
      end)
      await(task)
      assert.same({ "inner 1", "outer 1", "inner 1", "outer 2", "inner 1", "outer 2" }, m.log)
    end)
  end)

  it("calls the new module's on_reload with what the old one was", function()
    local m = versions("local M = { hp = 7, list = { 1, 2 } } function M.f() return 'old' end return M", [[
      local M = { health = 0 }
      function M.f() return "new" end
      function M.on_reload(old)
        M.health = old.hp * 10
        M.heard = old.f() .. #old.list .. M.f()
        M.hp = nil
      end
      return M]])
    assert.equal(70, m.health)
    assert.equal("old2new", m.heard)
    assert.is_nil(m.hp)
  end)

  it("is undone if on_reload fails", function()
    local write, name = module_file()
    write "local n = 1 local M = { a = 1, t = { 1 }, f = function() n = n + 1 return n end } return setmetatable(M, { v = 1 })"
    local m = require(name)
    write [[
      made_global = true
      local n = 5
      local M = { a = 2, b = 3, t = { 2, 3 }, f = function() return -n end, on_reload = function() error("cannot") end }
      return setmetatable(M, { v = 2, w = 3 })]]
    local ok, err = pcall(reload.module, name)
    assert.is_false(ok)
    assert(err:find("cannot", 1, true))
    assert.is_nil(rawget(_G, "made_global"))
    assert.same({ 1, nil, 1, 1, 2 }, { m.a, m.b, #m.t, m.t[1], m.f() })
    assert.same({ v = 1 }, getmetatable(m))
    assert.is_nil(m.on_reload)
    write "return { a = 4 }" -- and the next one is compared with what is there
    reload.module(name)
    assert.equal(4, m.a)
    assert.is_nil(m.f)
  end)

  it("leaves the module as it was if the new code does not compile, run or exist", function()
    local write, name, dir = module_file()
    write "return { f = function() return 1 end }"
    local m = require(name)
    write "return {"
    helper.raises("error loading module", reload.module, name)
    write "reload_spec_global = 1 error('at run time')"
    helper.raises("at run time", reload.module, name)
    assert.is_nil(rawget(_G, "reload_spec_global"))
    os.remove(dir .. "/" .. name .. ".lua")
    helper.raises("not found", reload.module, name)
    assert.equal(1, m.f())
    assert.equal(m, require(name))
  end)

  it("serves modules that are functions, or set globals", function()
    local f, g, name = versions("local n = 0 return function() n = n + 1 return n end", "local n = 0 return function() n = n + 100 return n end", function(f) f() end)
    assert.equal(2, f())
    assert.not_equal(f, g)
    assert.equal(102, g())
    assert.equal(g, require(name))

    local table_before
    local result = versions("local n = 0 function reload_spec_f() n = n + 1 return n end ReloadSpec = { list = {} }", "local n = 0 function reload_spec_f() n = n + 10 return n end ReloadSpec = { list = {}, g = 1 }", function()
      _G.reload_spec_f()
      table_before = _G.ReloadSpec
      table.insert(table_before.list, 1)
    end)
    assert.equal(true, result)
    assert.equal(11, _G.reload_spec_f())
    assert.equal(table_before, _G.ReloadSpec)
    assert.same({ list = { 1 }, g = 1 }, _G.ReloadSpec)
    _G.reload_spec_f, _G.ReloadSpec = nil, nil
  end)

  it("serves a module that puts itself into package.loaded", function()
    local m, again, name = versions("package.loaded[...] = { v = 1 }", "package.loaded[...] = { v = 2 }")
    assert.equal(m, again)
    assert.equal(m, require(name))
    assert.equal(2, m.v)
  end)

  it("becomes another kind of value when the code says so", function()
    local m, again, name = versions("return { 1 }", "return 'text'")
    assert.same({ 1 }, m)
    assert.equal("text", again)
    assert.equal("text", require(name))
  end)

  it("enters no other module, and nothing of the engine's", function()
    local old_sleep, old_insert = asyncio.sleep, table.insert
    local m = versions("local asyncio, table = require 'asyncio', table return { aio = asyncio, t = table, f = function() return asyncio, table end }", "local asyncio, table = { sleep = 1 }, { insert = 2 } return { aio = asyncio, t = table, f = function() return asyncio, table end }")
    assert.equal(old_sleep, asyncio.sleep)
    assert.equal(old_insert, table.insert)
    assert.equal(1, m.aio.sleep)
    local a, t = m.f()
    assert.same({ 1, 2 }, { a.sleep, t.insert })
  end)

  it("keeps handles of the engine's: a Lock, a task", function()
    helper.run(function()
      local code = "local asyncio = require 'asyncio' local lock = asyncio.Lock() return { lock = lock, get = function() return lock end, v = N }"
      local lock
      local m = versions(code:gsub("N", "1"), code:gsub("N", "2"), function(m) lock = m.lock end)
      assert.equal(2, m.v)
      assert.equal(lock, m.lock)
      assert.equal(lock, m.get())
    end)
  end)

  it("copes with cycles, shared parts, weak tables and metamethods that raise", function()
    local code = [[
      local function no() error("called") end
      local raises = setmetatable({}, { __index = no, __newindex = no, __eq = no, __pairs = no, __len = no })
      local M = { raises = raises, weak = setmetatable({}, { __mode = "k" }), v = N }
      M.loop = { M = M, deeper = { M = M } }
      M.loop.itself = M.loop
      M.f = function() return M, raises, M.f end
      return M]]
    local m = versions((code:gsub("N", "1")), (code:gsub("N", "2")))
    assert.equal(2, m.v)
    assert.equal(m, m.loop.deeper.M)
    assert.equal(m, (m.f()))
    assert.equal(m.f, select(3, m.f()))
  end)

  it("copes with a large module", function()
    local m = versions("local M = { data = {}, n = 1 } for i = 1, 5000 do M.data[i] = { id = i } end return M", "local M = { data = {}, n = 2, f = function() return 1 end } for i = 1, 5000 do M.data[i] = { id = i } end return M", function(m)
      m.data[5000].id = -1
    end)
    assert.equal(-1, m.data[5000].id)
    assert.equal(1, m.f())
  end)

  it("awaits while the new code is run, as require does", function()
    helper.run(function()
      local m = versions("return { v = 1 }", "local asyncio = require 'asyncio' await(asyncio.sleep(1)) return { v = 2, on_reload = function() await(asyncio.sleep(1)) end }")
      assert.equal(2, m.v)
      assert.equal(2, asyncio.get_running_loop():time())
    end)
  end)

  it("is as it was when it is cancelled on the way", function()
    helper.run(function()
      local write, name = module_file()
      write "return { v = 1 }"
      local m = require(name)
      for _, code in ipairs { "await(require('asyncio').sleep(9)) return { v = 2 }", "return { v = 2, on_reload = function() await(require('asyncio').sleep(9)) end }" } do
        write(code)
        local task = asyncio.create_task(function() reload.module(name) end)
        await(asyncio.sleep(1))
        task:cancel()
        helper.raises(asyncio.CancelledError, await, task)
        assert.equal(1, m.v)
      end
    end)
  end)

  it("refuses what it cannot reload", function()
    helper.raises(asyncio.ValueError, reload.module, "not.loaded.yet")
    helper.raises(asyncio.ValueError, reload.module, "asyncio")
    helper.raises(asyncio.ValueError, reload.module, "string")
    local e = helper.raises(asyncio.TypeError, reload.module)
    assert(e.message:find("reload_spec.lua", 1, true) or e.message:find("a module's name was expected, got nil", 1, true))
  end)

  it("reloads what package.preload gives", function()
    package.preload["reload.spec.preloaded"] = function() return { v = 1 } end
    local m = require "reload.spec.preloaded"
    package.preload["reload.spec.preloaded"] = function() return { v = 2 } end
    assert.equal(m, reload.module "reload.spec.preloaded")
    assert.equal(2, m.v)
    package.preload["reload.spec.preloaded"], package.loaded["reload.spec.preloaded"] = nil, nil
  end)
end)

describe("reload.modules", function()
  it("names the modules that can be reloaded, with their files", function()
    local write, name, dir = module_file()
    write "return {}"
    require(name)
    local modules = reload.modules()
    assert.equal(dir .. "/" .. name .. ".lua", modules[name])
    assert.is_nil(modules.asyncio)
    assert.is_nil(modules.string)
  end)
end)

describe("reload.watch", function()
  it("reloads a module when its file is written, and tells of errors", function()
    asyncio.run(function()
      local write, name, dir = module_file()
      write "return { v = 1 }"
      local m = require(name)
      local seen, told = asyncio.Queue(), {}
      local watch <close> = reload.watch(dir, {
        debounce = 0.01,
        on_reload = function(which, module) seen:put_nowait { which, module } end,
        on_error = function(which, err) seen:put_nowait { which, err } end,
      })
      write "return { v = 2 }"
      assert.same({ name, m }, await(asyncio.wait_for(seen:get(), 60 * helper.slow)))
      assert.equal(2, m.v)
      write "return {"
      local which = await(asyncio.wait_for(seen:get(), 60 * helper.slow))
      assert.equal(name, which[1])
      assert(which[2]:find("expected", 1, true))
      assert.equal(2, m.v)
      watch:close()
      watch:close()
      asyncio.get_running_loop():set_exception_handler(function(_, context) told[#told + 1] = context.message end)
      local other <close> = reload.watch(dir, { debounce = 0.01 })
      write "error('no')"
      await(asyncio.wait_for(function()
        while #told == 0 do await(asyncio.sleep(0.01)) end
      end, 60 * helper.slow))
      assert.same({ ("module '%s' was not reloaded"):format(name) }, told)
      assert.equal(dir, other.path)
    end)
  end)

  it("refuses what it does not know", function()
    helper.run(function()
      helper.raises(asyncio.TypeError, reload.watch)
      helper.raises(asyncio.TypeError, reload.watch, ".", 1)
      helper.raises("unknown option 'every'", reload.watch, ".", { every = 1 })
      helper.raises("on_error must be a function, got a number", reload.watch, ".", { on_error = 1 })
      helper.raises(asyncio.OSError, reload.watch, "/nowhere/at/all")
    end)
  end)
end)
