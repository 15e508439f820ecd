local helper = require "spec.helper"
local asyncio = require "asyncio"
local signal = require "signal"

local function run(f)
  return asyncio.run(async(f)())
end

local raise = signal.raise_signal

--- Lets signals that were sent come in.
local function settle()
  for _ = 1, 20 do await(asyncio.sleep(0.001)) end
end

describe("add_signal_handler", function()
  it("calls the function with its arguments, each time", function()
    run(function()
      local loop, log = asyncio.get_running_loop(), {}
      loop:add_signal_handler("SIGUSR1", function(...) log[#log + 1] = table.concat({ ... }, " ") end, "a", 2)
      raise("SIGUSR1")
      settle()
      raise(signal.SIGUSR1)
      settle()
      assert.same({ "a 2", "a 2" }, log)
      assert.is_true(loop:remove_signal_handler("USR1"))
      assert.is_false(loop:remove_signal_handler("SIGUSR1"))
    end)
  end)

  it("counts signals that come together as one", function()
    run(function()
      local loop, n = asyncio.get_running_loop(), 0
      loop:add_signal_handler("SIGUSR1", function() n = n + 1 end)
      for _ = 1, 10 do raise("SIGUSR1") end
      settle()
      assert.is_true(n >= 1 and n < 10, n)
      loop:remove_signal_handler("SIGUSR1")
    end)
  end)

  it("replaces the handler there was", function()
    run(function()
      local loop, log = asyncio.get_running_loop(), {}
      loop:add_signal_handler("SIGUSR1", table.insert, log, "first")
      loop:add_signal_handler("SIGUSR1", table.insert, log, "second")
      raise("SIGUSR1")
      settle()
      assert.same({ "second" }, log)
      loop:remove_signal_handler("SIGUSR1")
    end)
  end)

  it("may be called, and taken back, in a handler", function()
    run(function()
      local loop, log = asyncio.get_running_loop(), {}
      loop:add_signal_handler("SIGUSR1", function()
        log[#log + 1] = 1
        loop:remove_signal_handler("SIGUSR1")
        loop:add_signal_handler("SIGUSR2", function()
          log[#log + 1] = 2
          loop:remove_signal_handler("SIGUSR2")
        end)
        raise("SIGUSR2")
      end)
      raise("SIGUSR1")
      settle()
      assert.same({ 1, 2 }, log)
    end)
  end)

  it("hands errors to the exception handler and goes on", function()
    run(function()
      local loop, context = asyncio.get_running_loop(), nil
      loop:set_exception_handler(function(_, c) context = c end)
      loop:add_signal_handler("SIGUSR1", error, "oops")
      raise("SIGUSR1")
      settle()
      assert.equal("oops", context.exception)
      assert.is_truthy(context.message:find("Exception in callback"))
      context = nil
      raise("SIGUSR1")
      settle()
      assert.is_truthy(context)
      loop:remove_signal_handler("SIGUSR1")
    end)
  end)

  it("runs the handler in the context that it was added in", function()
    run(function()
      local loop, seen = asyncio.get_running_loop(), nil
      asyncio.context.set("who", "me")
      loop:add_signal_handler("SIGUSR1", function() seen = asyncio.context.get("who") end)
      raise("SIGUSR1")
      settle()
      assert.equal("me", seen)
      loop:remove_signal_handler("SIGUSR1")
    end)
  end)

  it("keeps run_forever waiting; stop ends it", function()
    local loop = asyncio.new_event_loop()
    loop:add_signal_handler("SIGUSR1", loop.stop, loop)
    local status = helper.sh(("(sleep 0.02; kill -USR1 %d) >/dev/null 2>&1 &"):format(signal.getpid()))
    assert.equal(0, status)
    loop:run_forever()
    assert.is_true(loop:remove_signal_handler("SIGUSR1"))
    loop:close()
  end)

  it("wakes what a task waits for: that is no deadlock", function()
    run(function()
      local event = asyncio.Event()
      local loop = asyncio.get_running_loop()
      loop:add_signal_handler("SIGTERM", event.set, event)
      helper.sh(("(sleep 0.02; kill -TERM %d) >/dev/null 2>&1 &"):format(signal.getpid()))
      await(event:wait())
      loop:remove_signal_handler("SIGTERM")
    end)
  end)

  it("is called while tasks are busy, too", function()
    run(function()
      local loop, n, rounds = asyncio.get_running_loop(), 0, 0
      loop:add_signal_handler("SIGUSR1", function() n = n + 1 end)
      raise("SIGUSR1")
      repeat
        rounds = rounds + 1
        await(asyncio.sleep(0))
      until n > 0 or rounds > 100000
      assert.equal(1, n)
      loop:remove_signal_handler("SIGUSR1")
    end)
  end)

  it("works in virtual time", function()
    local n = 0
    helper.run(function()
      local loop = asyncio.get_running_loop()
      loop:add_signal_handler("SIGUSR1", function() n = n + 1 end)
      raise("SIGUSR1")
      await(asyncio.sleep(3600))
      loop:remove_signal_handler("SIGUSR1")
    end)
    assert.equal(1, n)
  end)

  it("in several loops: each is told", function()
    local log = {}
    local a, b = asyncio.new_event_loop(), asyncio.new_event_loop()
    a:add_signal_handler("SIGUSR1", table.insert, log, "a")
    b:add_signal_handler("SIGUSR1", table.insert, log, "b")
    raise("SIGUSR1")
    a:run_until_complete(asyncio.sleep(0.01))
    b:run_until_complete(asyncio.sleep(0.01))
    assert.same({ "a", "b" }, log)
    a:close()
    raise("SIGUSR1")
    b:run_until_complete(asyncio.sleep(0.01))
    assert.same({ "a", "b", "b" }, log)
    b:close()
  end)

  it("goes with its loop", function()
    local loop = asyncio.new_event_loop()
    loop:add_signal_handler("SIGURG", print)
    loop:close()
    helper.raises("Event loop is closed", loop.add_signal_handler, loop, "SIGURG", print)
    assert.is_false(loop:remove_signal_handler("SIGURG"))
  end)

  it("refuses what cannot be caught, and what is no signal", function()
    local loop = asyncio.new_event_loop()
    local function fails(class, text, ...)
      local args = table.pack(...)
      local e = helper.raises(class, function() loop:add_signal_handler(table.unpack(args, 1, args.n)) end)
      assert.is_truthy(e.message:find("signals_spec.lua:%d+: "), e.message)
      assert.is_truthy(e.message:find(text, 1, true), e.message)
    end
    fails(asyncio.RuntimeError, "signal SIGKILL cannot be caught", "SIGKILL", print)
    fails(asyncio.RuntimeError, "signal SIGSTOP cannot be caught", signal.SIGSTOP, print)
    fails(asyncio.RuntimeError, "signal SIGSEGV is a fault of this process", "SIGSEGV", print)
    fails(asyncio.ValueError, "unknown signal 'SIGFOO'", "SIGFOO", print)
    fails(asyncio.ValueError, "invalid signal number 1000", 1000, print)
    fails(asyncio.ValueError, "invalid signal number 0", 0, print)
    fails(asyncio.TypeError, "a signal's number or name was expected, got nil", nil, print)
    fails(asyncio.TypeError, "a function was expected, got a number", "SIGUSR1", 5)
    fails(asyncio.TypeError, "coroutines cannot be used with add_signal_handler()", "SIGUSR1", async(function() end))
    helper.raises("unknown signal", loop.remove_signal_handler, loop, "X")
    loop:close()
  end)
end)

describe("what was done with a signal before", function()
  it("is done again: SIGTERM ends the program", function()
    local status, out, err = helper.cli({ "-e", [[
      local asyncio, signal = require "asyncio", require "signal"
      asyncio.run(function()
        local loop = asyncio.get_running_loop()
        for i = 1, 2 do
          loop:add_signal_handler("SIGTERM", print, "caught", i)
          signal.raise_signal("SIGTERM")
          await(asyncio.sleep(0.01))
          loop:remove_signal_handler("SIGTERM")
        end
        io.stdout:flush()
        signal.raise_signal("SIGTERM")
        print("never")
      end)]] })
    assert.same({ 143, "caught\t1\ncaught\t2\n", "" }, { status, out, (err:gsub("Terminated\n", "")) })
  end)

  it("is done again: Ctrl-C cancels the main task", function()
    local status, out, err = helper.cli({ "-e", [[
      local asyncio, signal = require "asyncio", require "signal"
      asyncio.run(function()
        local loop = asyncio.get_running_loop()
        loop:add_signal_handler("SIGINT", print, "caught")
        signal.raise_signal("SIGINT")
        await(asyncio.sleep(0.01))
        loop:remove_signal_handler("SIGINT")
        signal.raise_signal("SIGINT")
        local ok, e = asyncio.catch(await, asyncio.sleep(10))
        print(ok, e)
        error(e, 0)
      end)]] })
    assert.same({ 130, "caught\nfalse\tCancelledError\n", "KeyboardInterrupt\n" }, { status, out, err })
  end)

  it("is done again when the loop is closed: an ignored signal is ignored", function()
    local status, out, err = helper.sh("trap '' HUP; exec " .. helper.quote(helper.moonloop) .. [[ -e '
      local asyncio, signal = require "asyncio", require "signal"
      asyncio.run(function()
        asyncio.get_running_loop():add_signal_handler("SIGHUP", print, "caught")
        signal.raise_signal("SIGHUP")
        await(asyncio.sleep(0.01))
      end)
      signal.raise_signal("SIGHUP")
      print("goes on")']])
    assert.same({ 0, "caught\ngoes on\n", "" }, { status, out, err })
  end)

  it("a handler alone keeps no program running", function()
    local status, out, err = helper.cli({ "-e", [[
      local asyncio = require "asyncio"
      local loop = asyncio.get_event_loop()
      loop:add_signal_handler("SIGUSR1", print, "caught")
      await(asyncio.sleep(0))
      print("end")]] }, { timeout = 10 })
    assert.same({ 0, "end\n", "" }, { status, out, err })
  end)
end)

describe("signal", function()
  it("awaits one of the signals and gives its name", function()
    run(function()
      local loop = asyncio.get_running_loop()
      loop:call_later(0.005, raise, "SIGUSR2")
      assert.equal("SIGUSR2", await(asyncio.signal("SIGUSR1", "SIGUSR2")))
      loop:call_later(0.005, raise, "SIGUSR2")
      assert.equal(signal.SIGUSR2, await(asyncio.signal(signal.SIGUSR2)))
    end)
  end)

  it("can be cancelled, timed out and gathered", function()
    run(function()
      helper.raises(asyncio.TimeoutError, await, asyncio.wait_for(asyncio.signal("SIGUSR1"), 0.005))
      local task = asyncio.create_task(asyncio.signal("SIGUSR1"))
      await(asyncio.sleep(0))
      task:cancel()
      helper.raises(asyncio.CancelledError, await, task)
      local loop = asyncio.get_running_loop()
      loop:call_later(0.005, raise, "SIGUSR1")
      assert.same({ "SIGUSR1", "SIGUSR1" }, { table.unpack(await(asyncio.gather(
        asyncio.signal("SIGUSR1"), asyncio.signal("SIGUSR1")))) })
    end)
  end)

  it("says when it is used wrongly", function()
    helper.raises("signals_spec.lua", function() asyncio.signal("SIGKILL") end)
    helper.raises("a signal was expected", asyncio.signal)
  end)
end)

describe("signals", function()
  it("gives the signals as they come, until the loop is left", function()
    run(function()
      local loop, log = asyncio.get_running_loop(), {}
      loop:call_later(0.005, raise, "SIGUSR1")
      for sig in asyncio.signals { "SIGHUP", "SIGUSR1" } do
        log[#log + 1] = sig
        if #log == 2 then break end
        raise("SIGHUP")
      end
      assert.same({ "SIGUSR1", "SIGHUP" }, log)
    end)
  end)

  it("watches from the call on, and keeps each signal once until it is taken", function()
    run(function()
      local next, state, _, closer = asyncio.signals { "SIGHUP", "SIGUSR1" }
      for _ = 1, 3 do raise("SIGHUP") settle() end
      raise("SIGUSR1")
      settle()
      assert.equal("SIGHUP", next(state))
      assert.equal("SIGUSR1", next(state))
      local task = asyncio.create_task(state:next())
      await(asyncio.sleep(0))
      helper.raises("another task waits", next, state)
      closer:close()
      closer:close()
      assert.is_nil(await(task))
      assert.is_nil(next(state))
    end)
  end)

  it("stops watching when the body raises or is cancelled", function()
    run(function()
      pcall(function()
        asyncio.get_running_loop():call_soon(raise, "SIGUSR1")
        for _ in asyncio.signals { "SIGUSR1" } do error("oops") end
      end)
      local task = asyncio.create_task(function()
        for _ in asyncio.signals { "SIGUSR1" } do error("never") end
      end)
      await(asyncio.sleep(0.005))
      task:cancel()
      helper.raises(asyncio.CancelledError, await, task)
    end)
  end)

  it("says when it is used wrongly", function()
    run(function()
      helper.raises("an array of signals was expected, got a string", asyncio.signals, "SIGHUP")
      helper.raises("no signal was given", asyncio.signals, {})
      helper.raises("signal SIGKILL cannot be caught", asyncio.signals, { "SIGHUP", "SIGKILL" })
    end)
    helper.raises("no running event loop", asyncio.signals, { "SIGHUP" })
  end)
end)

describe("module signal", function()
  it("knows numbers, names and texts", function()
    assert.equal(15, signal.SIGTERM)
    assert.equal(15, signal.signum("SIGTERM"))
    assert.equal(15, signal.signum("TERM"))
    assert.equal("SIGTERM", signal.signame(15))
    assert.is_nil(signal.signame(40))
    assert.equal("Terminated", signal.strsignal("SIGTERM"))
    helper.raises("unknown signal 'x'", signal.signum, "x")
    helper.raises("a signal's number or name was expected, got 1.5", signal.signum, 1.5)
    helper.raises("invalid signal number 65", signal.strsignal, 65)
  end)

  it("sends signals", function()
    run(function()
      local loop, n = asyncio.get_running_loop(), 0
      loop:add_signal_handler("SIGUSR1", function() n = n + 1 end)
      signal.kill(signal.getpid(), "SIGUSR1")
      settle()
      assert.equal(1, n)
      loop:remove_signal_handler("SIGUSR1")
      local p = await(asyncio.create_subprocess_exec("sleep", 100, { process_group = 0 }))
      signal.kill(p.pid, 0)
      signal.killpg(p.pid, "SIGTERM")
      assert.equal(-15, await(p:wait()))
      local e = helper.raises(asyncio.OSError, signal.kill, p.pid, "SIGTERM")
      assert.same({ "ESRCH", "kill" }, { e.code, e.syscall })
      assert.is_truthy(tostring(e):find("ESRCH: no such process: kill %d+ with SIGTERM"))
    end)
  end)

  it("says when it is used wrongly", function()
    helper.raises("kill: a process id (an integer) was expected, got nil", signal.kill, nil, 15)
    helper.raises("is no process id", signal.kill, 1 << 40, 15)
    helper.raises("killpg: 0 is no process group", signal.killpg, 0, 15)
    helper.raises("killpg: -5 is no process group", signal.killpg, -5, 15)
    helper.raises("invalid signal number 0", signal.raise_signal, 0)
  end)
end)
