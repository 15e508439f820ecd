--- The C side of subprocesses and signals, called as asyncio.subprocess and asyncio.signals do not call it.

local helper = require "spec.helper"
local asyncio = require "asyncio"
local process = require "asyncio.process"
local sigwatch = require "asyncio.sigwatch"

local function run(f)
  return asyncio.run(async(f)())
end

local inherit = { { 0, "inherit" }, { 1, "inherit" }, { 2, "inherit" } }

local function request(opts)
  local r = { paths = { "/bin/true" }, args = { "true" }, fds = inherit, close_fds = true, kill = true }
  for k, v in pairs(opts or {}) do r[k] = v end
  return r
end

describe("process.spawn", function()
  it("starts a child that can be awaited", function()
    run(function()
      local child, transports = process.spawn(request())
      assert.same({}, transports)
      assert.is_true(child:pid() > 0)
      assert.equal(0, await(child:wait()))
      assert.equal(0, child:returncode())
      child:close()
      assert.equal("ESRCH", helper.raises(asyncio.OSError, child.kill, child, 15).code)
    end)
  end)

  it("tries several paths", function()
    run(function()
      local child = process.spawn(request { paths = { "/no/true", "/etc/passwd/true", "/bin/true" } })
      assert.equal(0, await(child:wait()))
      local e = helper.raises(asyncio.OSError, process.spawn,
        request { paths = { "/no/true", "/etc/passwd", "/no/such" }, program = "prog" })
      assert.equal("OSError: EACCES: permission denied: spawn 'prog'", tostring(e))
    end)
  end)

  it("refuses a request that is none", function()
    run(function()
      for _, bad in ipairs {
        {}, request { args = {} }, request { paths = false }, request { args = { 1 } }, request { env = { {} } },
        request { fds = {} }, request { fds = { 1, 2, 3 } }, request { fds = { { 0, "null" } } },
        request { fds = { { 2 }, { 1 }, { 0 } } }, request { fds = { { 0 }, { 1 }, { 2 }, { 2 } } },
        request { fds = { { 0 }, { 1 }, { 2 }, { 1 << 40 } } },
      } do
        helper.raises("spawn: ", process.spawn, bad)
      end
      helper.raises("table expected", process.spawn)
    end)
  end)

  it("tells one function of the end", function()
    run(function()
      local child = process.spawn(request())
      local done = asyncio.get_running_loop():create_future()
      child:on_exit(function(x) done:set_result(x) end, "told")
      helper.raises("on_exit was called before", child.on_exit, child, print)
      helper.raises("value expected", child.on_exit, child)
      assert.equal("told", await(done))
      done = asyncio.get_running_loop():create_future()
      child:on_exit(done.set_result, done, "late")
      assert.equal("late", await(done))
    end)
  end)

  it("keeps a child until its end, and no longer", function()
    run(function()
      local weak = setmetatable({}, { __mode = "k" })
      local child = process.spawn(request { paths = { "/bin/sleep" }, args = { "sleep", "1000" } })
      local thing = {}
      child:keep(thing)
      weak[thing] = true
      local pid = child:pid()
      child, thing = nil, nil -- luacheck: ignore
      collectgarbage()
      assert.is_truthy(next(weak))
      require("signal").kill(pid, "SIGKILL")
      assert.is_true(helper.eventually(function()
        collectgarbage()
        return next(weak) == nil
      end))
    end)
  end)

  it("closes the loop with a child that runs: it is killed and forgotten", function()
    local loop = asyncio.new_event_loop()
    local child
    loop:run_until_complete(async(function()
      child = process.spawn(request { paths = { "/bin/sleep" }, args = { "sleep", "0.05" }, kill = false })
      child:on_exit(error, "never called")
    end)())
    loop:close()
    assert.is_nil(child:returncode())
    helper.raises("Event loop is closed", child.on_exit, child, print)
    assert.equal("ESRCH", helper.raises(asyncio.OSError, child.kill, child, 9).code)
    run(function()
      helper.raises("the loop of the process is closed", await, child:wait())
      await(asyncio.sleep(0.1))
      assert.equal(0, await((process.spawn(request())):wait())) -- collects the orphan
    end)
  end)

  it("reports a callback that raises", function()
    run(function()
      local context
      asyncio.get_running_loop():set_exception_handler(function(_, c) context = c end)
      local child = process.spawn(request())
      child:on_exit(error, "oops")
      await(child:wait())
      await(asyncio.sleep(0))
      await(asyncio.sleep(0))
      assert.equal("oops", context.exception)
    end)
  end)
end)

describe("module asyncio.process", function()
  it("checks what it is given", function()
    run(function()
      local r, w = asyncio.StreamReader(), nil
      helper.raises("expected", process.reader, r, 10, false)
      helper.raises("expected", process.resize, w, { 1, 2 })
      helper.raises("bad argument", process.id, "user")
      assert.is_nil(process.id("group", "no such group"))
      assert.equal(0, process.id("user", "root"))
    end)
  end)
end)

describe("a signal's watch", function()
  it("is closed once", function()
    run(function()
      local loop = asyncio.get_running_loop()
      local watch = sigwatch.watch(loop, "SIGURG", print)
      assert.is_true(watch:close())
      assert.is_false(watch:close())
      helper.raises("value expected", sigwatch.watch, loop, "SIGURG")
      helper.raises("Loop expected", sigwatch.watch, nil, "SIGURG", print)
    end)
  end)
end)
