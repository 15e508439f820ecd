--- asyncio.so in a stock interpreter of Lua 5.4: what scripts and users of lua5.4 see.

local helper = require "spec.helper"

local build = helper.moonloop:match("^(.*)/moonloop$") or "build"
local preload = build:find("asan") and "ASAN_OPTIONS=detect_leaks=0 LD_PRELOAD=$(cc -print-file-name=libasan.so) " or ""

--- Runs a script in lua5.4; gives status, output, errors.
local function lua(script)
  local file = helper.tmpfile(script, ".lua")
  return helper.sh(("%sLUA_INIT= LUA_CPATH='%s/?.so;;' lua5.4 %s"):format(preload, build, file))
end

local function prints(expected, script)
  local status, out, err = lua(script)
  assert.equal("", err)
  assert.equal(expected, out)
  assert.equal(0, status)
end

describe("require 'asyncio' in lua5.4", function()
  it("runs coroutines, tasks and awaits at top level", function()
    prints("3\nslept\n6\n", [[
      local asyncio = require "asyncio"
      local add = asyncio.async(function(a, b) asyncio.await(asyncio.sleep(0.01)) return a + b end)
      print(asyncio.run(add(1, 2)))
      print(asyncio.await(asyncio.sleep(0.01, "slept")))
      local sums = asyncio.await(asyncio.gather(add(1, 1), add(2, 2)))
      print(sums[1] + sums[2])]])
  end)

  it("leaves the globals alone, but for those that know of awaits", function()
    prints("", [[
      local was = {}
      for k, v in pairs(_G) do was[k] = v end
      local asyncio = require "asyncio"
      local may = { pcall = true, xpcall = true, require = true }
      for k, v in pairs(_G) do assert(was[k] == v or may[k], k) end
      assert(async == nil and await == nil)
      assert(require "asyncio" == asyncio)]])
  end)

  it("passes awaits through pcall, coroutines and require", function()
    prints("true\tin pcall\nin a coroutine\nfalse\toh\n", [[
      local asyncio = require "asyncio"
      local await = asyncio.await
      asyncio.run(function()
        print(pcall(await, asyncio.sleep(0.01, "in pcall")))
        for x in coroutine.wrap(function() coroutine.yield(await(asyncio.sleep(0.01, "in a coroutine"))) end) do print(x) end
        print(pcall(function() await(asyncio.sleep(0)) error("oh", 0) end))
      end)]])
  end)

  it("attaches from inside a coroutine that is older than it", function()
    prints("1\n", [[
      local co = coroutine.create(function()
        coroutine.yield()
        local asyncio = require "asyncio"
        coroutine.yield(asyncio.run(asyncio.sleep(0.01, 1)))
      end)
      coroutine.resume(co)
      print(select(2, coroutine.resume(co)))
      collectgarbage()]])
  end)

  it("has the engine's other modules, after the interpreter's own", function()
    local dir = helper.tmpdir()
    local f <close> = assert(io.open(dir .. "/signal.lua", "w"))
    f:write("return 'mine'\n")
    f:close()
    local status, out, err = lua([[
      package.path = "]] .. dir .. [[/?.lua;" .. package.path
      local asyncio = require "asyncio"
      print(type(require("fs").open), type(require("socket").socket), (require("signal")))
      print(asyncio.await(asyncio.to_thread(function(x) return x * 2 end, 21)))]])
    assert.same({ "", "function\tfunction\tmine\n42\n", 0 }, { err, out, status })
  end)

  it("cleans up at the end of the script", function()
    prints("end\ncleaned\n", [[
      local asyncio = require "asyncio"
      asyncio.create_task(function()
        local x <close> = setmetatable({}, { __close = function() asyncio.await(asyncio.sleep(0.01)) print "cleaned" end })
        asyncio.await(asyncio.sleep(100))
      end)
      asyncio.await(asyncio.sleep(0))
      print "end"]])
  end)

  it("cleans up when os.exit closes the state, and writes out what is queued when it does not", function()
    local script = [[
      local asyncio = require "asyncio"
      asyncio.create_task(function()
        local x <close> = setmetatable({}, { __close = function() print "cleaned" end })
        asyncio.await(asyncio.sleep(100))
      end)
      asyncio.await(asyncio.sleep(0))
      asyncio.stdout:write("queued\n")
      os.exit(3, %s)]]
    local status, out, err = lua(script:format("true"))
    assert.same({ 3, "" }, { status, err })
    assert.truthy(out:find("queued\n", 1, true) and out:find("cleaned\n", 1, true))
    assert.same({ 3, "queued\n", "" }, { lua(script:format("false")) })
    assert.same({ 4, "", "" }, { lua([[
      local asyncio = require "asyncio"
      asyncio.run(function() asyncio.await(asyncio.sleep(0)) os.exit(4, true) end)]]) })
  end)

  it("tells of coroutines that nobody awaited and of errors that nobody saw", function()
    local status, out, err = lua([[
      local asyncio = require "asyncio"
      local work = asyncio.async(function() end)
      work()
      kept = asyncio.sleep(1)
      asyncio.create_task(function() error("unseen", 0) end)
      asyncio.await(asyncio.sleep(0.01))
      collectgarbage()]])
    assert.same({ 0, "" }, { status, out })
    assert.truthy(err:find("coroutine 'work' (", 1, true))
    assert.truthy(err:find("coroutine 'sleep' was never awaited", 1, true))
    assert.truthy(err:find("Task exception was never retrieved", 1, true) and err:find("unseen", 1, true))
  end)

  it("gives Ctrl-C to the loop that runs: tasks clean up, then there is a KeyboardInterrupt", function()
    local status, out, err = lua([[
      local asyncio = require "asyncio"
      local signal = require "signal"
      asyncio.run(function()
        local x <close> = setmetatable({}, { __close = function() asyncio.await(asyncio.sleep(0.01)) print "cleaned" end })
        asyncio.get_running_loop():call_soon(function() signal.raise_signal(signal.SIGINT) end)
        asyncio.await(asyncio.sleep(30))
      end)]])
    assert.same({ 1, "cleaned\n" }, { status, out })
    assert.truthy(err:find("KeyboardInterrupt", 1, true))
  end)

  it("stops a task that computes at the second Ctrl-C", function()
    local status, _, err = lua([[
      local asyncio = require "asyncio"
      local signal = require "signal"
      asyncio.run(function()
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        while true do end
      end)]])
    assert.equal(1, status)
    assert.truthy(err:find("KeyboardInterrupt", 1, true))
  end)

  it("leaves Ctrl-C to lua5.4 when no loop runs", function()
    local status, _, err = lua([[
      local asyncio = require "asyncio"
      local signal = require "signal"
      asyncio.run(asyncio.sleep(0))
      signal.raise_signal(signal.SIGINT)
      while true do end]])
    assert.equal(1, status)
    assert.truthy(err:find("interrupted!", 1, true))
  end)

  it("can be preloaded by -l and used in -e and the REPL's way", function()
    local status, out, err = helper.sh(("%sLUA_INIT= LUA_CPATH='%s/?.so;;' lua5.4 -l asyncio -e 'print(asyncio.run(asyncio.sleep(0.01, 7)))'"):format(
      preload, build))
    assert.same({ 0, "7\n", "" }, { status, out, err })
  end)

  it("brings no Lua of its own and exports its opener alone", function()
    local _, symbols = helper.sh(("nm -D --defined-only %s/asyncio.so"):format(build))
    assert.equal("luaopen_asyncio", symbols:match("^%x+ T (%S+)\n$"))
    local _, needed = helper.sh(("objdump -p %s/asyncio.so"):format(build))
    assert.falsy(needed:find("NEEDED%s+liblua"))
  end)
end)

describe("specs of the engine in lua5.4:", function()
  local files = {
    "engine/future_spec.lua", "engine/gather_spec.lua", "engine/lock_spec.lua", "engine/queue_spec.lua",
    "asyncio/taskgroups_spec.lua", "asyncio/timeouts_spec.lua", "bindings/reader_spec.lua", "bindings/socket_spec.lua",
  }
  for _, file in ipairs(files) do
    it(file, function()
      local status, out, err = helper.sh(
        ("%sLUA_INIT='local a = require \"asyncio\" async, await = a.async, a.await' LUA_CPATH='%s/?.so;;' "
          .. "MOONLOOP=%s env -u SPEC_TALLY -u SPEC_PROGRESS lua5.4 spec/run.lua spec/%s"):format(preload, build, helper.moonloop, file))
      assert.truthy(out:find("\n[1-9]%d* passed, 0 failed\n$"), out .. err)
      assert.equal(0, status)
    end)
  end
end)
