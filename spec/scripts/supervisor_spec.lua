local helper = require "spec.helper"
local asyncio = require "asyncio"
local signal = require "signal"

--- Runs the supervisor with a configuration; f(process, lines) reads what it prints, line by line, without the time.
local function supervise(config, f)
  local path = helper.tmpfile(config)
  asyncio.run(function()
    local p <close> = await(asyncio.create_subprocess_exec(helper.moonloop, "scripts/supervisor.lua", path,
      { stdout = asyncio.PIPE, stderr = asyncio.STDOUT }))
    local all = p.stdout:lines()
    f(p, function()
      local line = all()
      return line and line:gsub("^%d+:%d+:%d+ ", "")
    end)
  end)
end

--- Reads until a line matches; gives what it captures.
local function seek(lines, pattern)
  local seen = {}
  for line in lines do
    seen[#seen + 1] = line
    local found = line:match(pattern)
    if found then return found end
  end
  error(("no line has '%s':\n%s"):format(pattern, table.concat(seen, "\n")))
end

local function entries(pid, folder)
  local n = 0
  local p <close> = assert(io.popen(("ls /proc/%d/%s"):format(pid, folder)))
  for _ in p:lines() do n = n + 1 end
  return n
end

--- States of the children: "S", "Z", ...
local function children(pid)
  local p <close> = assert(io.popen("ps -o stat= --ppid " .. pid))
  local list = {}
  for line in p:lines() do list[#list + 1] = line:sub(1, 1) end
  return table.concat(list, " ")
end

describe("scripts: processes:", function()
  it("supervisor.lua survives kill -9 of its children a hundred times: no zombie, no descriptor lost", function()
    supervise([[return { backoff = { first = 0.001, factor = 1 }, programs = {
      { name = "one", command = { "sleep", "1000" } },
      { name = "two", command = { "sh", "-c", "sleep 1000; true" } },
    } }]], function(p, lines)
      local pids = {}
      pids.one = tonumber(seek(lines, "^one: started, pid (%d+)"))
      pids.two = tonumber(seek(lines, "^two: started, pid (%d+)"))
      local descriptors
      for i = 1, 100 do
        local name = i % 2 == 0 and "one" or "two"
        signal.kill(pids[name], "SIGKILL")
        seek(lines, "^" .. name .. ": (killed by SIGKILL), next start")
        pids[name] = tonumber(seek(lines, "^" .. name .. ": started, pid (%d+)"))
        if i == 10 then descriptors = entries(p.pid, "fd") end
      end
      assert.equal(descriptors, entries(p.pid, "fd"))
      assert.equal("S S", children(p.pid))
      p:send_signal("SIGUSR1")
      assert.equal("51", seek(lines, "^one +running +pid %d+ +starts (%d+)"))
      assert.equal("50", seek(lines, "^two +running +pid %d+ +starts 51, failures in a row (%d+)"))
      p:terminate()
      seek(lines, "^(SIGTERM: stopping)")
      seek(lines, "^(done)")
      assert.equal(0, await(p:wait()))
      assert.is_nil(io.open("/proc/" .. pids.one .. "/stat"))
    end)
  end)

  it("supervisor.lua waits longer after each failure, up to a bound, and says what cannot be started", function()
    supervise([[return { backoff = { first = 0.001, factor = 10, max = 0.05, reset = 60 }, programs = {
      { name = "bad", command = { "sh", "-c", "exit 3" } },
      { name = "none", command = { "/no/such/program" } },
    } }]], function(p, lines)
      local delays, errors = {}, 0
      while #delays < 4 do
        local line = lines()
        delays[#delays + 1] = line:match("^bad: ended with status 3, next start in (%S+) s")
        if line:find("none: OSError: ENOENT: no such file or directory: spawn '/no/such/program', next", 1, true) then
          errors = errors + 1
        end
      end
      assert.same({ "0.001", "0.01", "0.05", "0.05" }, delays)
      assert.is_true(errors > 0)
      p:send_signal("SIGINT")
      seek(lines, "^(done)")
      assert.equal(0, await(p:wait()))
    end)
  end)

  it("supervisor.lua begins anew after a good run", function()
    supervise([[return { backoff = { first = 0.002, factor = 10, reset = 0 }, programs = {
      { name = "good", command = { "true" } },
    } }]], function(_, lines)
      for _ = 1, 3 do assert.equal("0.002", seek(lines, "^good: ended with status 0, next start in (%S+) s")) end
    end)
  end)

  it("supervisor.lua ends when nothing is left to run", function()
    supervise([[return { backoff = { first = 0.001 }, programs = {
      { name = "once", command = { "false" }, restart = "never" },
      { name = "fine", command = { "true" }, restart = "on-failure" },
    } }]], function(p, lines)
      local text = {}
      for line in lines do text[#text + 1] = line end
      text = table.concat(text, "\n")
      assert.is_truthy(text:find("once: ended with status 1, not started again", 1, true), text)
      assert.is_truthy(text:find("fine: ended with status 0, not started again", 1, true), text)
      assert.equal(0, await(p:wait()))
    end)
  end)

  it("supervisor.lua kills what does not end in its time of grace, with what that has started", function()
    local out = helper.tmpfile()
    supervise(([[return { grace = 0.05, programs = {
      { name = "deaf", command = { "sh", "-c", "trap '' TERM; echo $WORD; sleep 1000 & echo $!; wait; sleep 1000" },
        env = { WORD = "hello" }, output = %q },
    } }]]):format(out), function(p, lines)
      seek(lines, "^deaf: started, pid (%d+)")
      local text
      repeat
        await(asyncio.sleep(0.005))
        text = assert(io.open(out)):read("a")
      until text:find("^hello\n%d+\n")
      p:terminate()
      seek(lines, "^deaf: still runs after 0.05 s, (killed)")
      seek(lines, "^deaf: killed by (SIGKILL)")
      assert.equal(0, await(p:wait()))
      local stat = "/proc/" .. text:match("\n(%d+)") .. "/stat"
      assert.is_true(helper.eventually(function() -- the signal is on its way
        local f = io.open(stat)
        local state = f and f:read("a") -- nil: it goes while it is read
        if f then f:close() end
        return state == nil or state:find("%) [ZX]") ~= nil
      end))
    end)
  end)

  it("supervisor.lua says how it is used", function()
    local status, out, err = helper.cli({ "scripts/supervisor.lua" })
    assert.same({ 2, "", "usage: supervisor.lua CONFIG\n" }, { status, out, err })
  end)
end)
