--- asyncio.stdout and asyncio.stderr: in order, in full, and quiet when nobody reads.

local asyncio = require "asyncio"
local helper = require "spec.helper"
local terminal = require "spec.terminal"

--- Runs code; the shell's `after` says where its standard output goes.
local function run(code, after)
  local program = 'local asyncio = require "asyncio" local out = asyncio.stdout ' .. code
  return helper.sh(("exec 9>&1; { %s -e %s; echo status $? >&9; } %s"):format(
    helper.quote(helper.moonloop), helper.quote(program), after or ""))
end

--- The same, without the line about the status.
local function output(code, after)
  local status, out, err = run(code, after)
  assert.equal("", err)
  assert.equal(0, status)
  return out
end

local mixed = [[for i = 1, 3000 do
    out:write("w" .. i .. "\n")
    if i % 7 == 0 then print("p" .. i) end
    if i % 11 == 0 then io.write("i" .. i .. "\n") end
    if i % 13 == 0 then io.stdout:write("f", i, "\n") end
    if i % 100 == 0 then await(asyncio.sleep(0)) end
  end]]

local function expected()
  local list = {}
  for i = 1, 3000 do
    list[#list + 1] = "w" .. i
    if i % 7 == 0 then list[#list + 1] = "p" .. i end
    if i % 11 == 0 then list[#list + 1] = "i" .. i end
    if i % 13 == 0 then list[#list + 1] = "f" .. i end
  end
  return table.concat(list, "\n") .. "\n"
end

describe("asyncio.stdout", function()
  it("keeps the order with print and io.write, on a pipe, a file and a terminal", function()
    assert.equal(expected() .. "status 0\n", output(mixed, "| cat"):gsub("status 0\n(.*)$", "%1status 0\n"))
    local path = helper.tmpfile()
    assert.equal("status 0\n", output(mixed, ">" .. path))
    assert.equal(expected(), select(2, helper.sh("cat " .. path)))
    assert.equal("status 0\n", output(mixed, ">>" .. path))
    assert.equal(expected() .. expected(), select(2, helper.sh("cat " .. path)))
    local all = terminal.run({ "-e", 'local asyncio = require "asyncio" local out = asyncio.stdout ' .. mixed }, {})
    assert.equal(expected() .. "[0 restored]\n", all)
  end)

  it("keeps the order with standard error in the same file", function()
    local path = helper.tmpfile()
    output([[for i = 1, 500 do
      (i % 3 == 0 and asyncio.stderr or out):write(i .. "\n")
      if i % 50 == 0 then await(asyncio.sleep(0)) end
    end]], ">" .. path .. " 2>&1")
    local list = {}
    for i = 1, 500 do list[i] = i .. "\n" end
    assert.equal(table.concat(list), select(2, helper.sh("cat " .. path)))
  end)

  for name, ending in pairs {
    ["the end of the main chunk"] = { "", 0 },
    ["os.exit"] = { "os.exit(3)", 3 },
    ["os.exit that closes the state"] = { "os.exit(3, true)", 3 },
    ["os.exit in a task"] = { "asyncio.run(async(function() await(asyncio.sleep(0)) os.exit(3) end))", 3 },
    ["an error"] = { "error(asyncio.SystemExit(3))", 3 },
    ["the end of a run"] = { "asyncio.run(async(function() out:write('x') end))", 0 },
  } do
    it("has written all of it after " .. name, function()
      local code = "out:write(('x'):rep(1000000)) out:write('y') " .. ending[1]
      local n = 1000001 + (name == "the end of a run" and 1 or 0)
      local status, out, err = run(code, "| (sleep 0.1; wc -c)")
      assert.same({ 0, "", ("status %d\n%d\n"):format(ending[2], n) }, { status, err, out })
      local path = helper.tmpfile()
      status, out, err = run(code, ">" .. path)
      assert.same({ 0, "", ("status %d\n"):format(ending[2]) }, { status, err, out })
      local file <close> = assert(io.open(path))
      assert.equal(n, file:seek("end"))
    end)
  end

  it("takes more than the pipe holds without blocking the loop", function()
    local code = [[asyncio.run(async(function()
        local ticks = 0
        local ticker = asyncio.create_task(async(function() while true do await(asyncio.sleep(0.005)) ticks = ticks + 1 end end)())
        out:write(("x"):rep(400000))
        local drained = asyncio.create_task(out:drain())
        while ticks < 5 do await(asyncio.sleep(0)) end
        asyncio.stderr:write(tostring(not drained:done()))
        io.open("%s", "w"):close()
        await(drained)
        ticker:cancel()
      end))]]
    local path = helper.latch()
    local _, _, err = run(code:format(path), ("| (%s; cat >/dev/null)"):format(helper.until_open(path)))
    assert.equal("true", err)
  end)

  it("holds no more than the high-water mark when drain is awaited", function()
    local code = [[asyncio.run(async(function()
        local most = 0
        for _ = 1, 3000 do
          out:write(("x"):rep(1000))
          local held = tonumber(tostring(out):match("bufsize=(%d+)"))
          if held > most then most = held end
          await(out:drain())
        end
        asyncio.stderr:write(tostring(most <= 65536 + 1000))
      end))]]
    for _, after in ipairs { "| (sleep 0.1; cat >/dev/null)", ">" .. helper.tmpfile() } do
      local _, out, err = run(code, after)
      assert.equal("true", err)
      assert.equal("status 0\n", out)
    end
  end)

  it("may be drained by several, and by a task that is cancelled", function()
    local code = [[asyncio.run(async(function()
        out:write(("x"):rep(400000))
        local tasks = {}
        for i = 1, 3 do tasks[i] = asyncio.create_task(out:drain()) end
        await(asyncio.sleep(0))
        tasks[2]:cancel()
        io.open("%s", "w"):close()
        local results = await(asyncio.gather(tasks[1], tasks[2], tasks[3], { return_exceptions = true }))
        asyncio.stderr:write(tostring(results[1]), " ", tostring(results[2]), " ", tostring(results[3]))
      end))]]
    local path = helper.latch()
    local _, out, err = run((code:format(path):gsub("asyncio.stderr:write(%b())", "io.stderr:write%1")),
      ("| (%s; wc -c)"):format(helper.until_open(path)))
    assert.equal("nil CancelledError nil", err)
    assert.equal("status 0\n400000\n", out)
  end)

  it("goes on in another loop with what one has left", function()
    local code = [[asyncio.run(async(function() out:write(("x"):rep(300000)) end))
      asyncio.run(async(function() out:write("y") await(out:drain()) end))
      await(out:drain()) out:write("z")]]
    assert.equal("status 0\n300002\n", output(code, "| (sleep 0.1; wc -c)"))
  end)

  describe("when nobody reads", function()
    -- The end of a command whose other end is closed, and code that waits for that.
    local function closed()
      local path = helper.latch()
      return ("| (exec <&-; : >%s)"):format(path),
        ("local f repeat await(asyncio.sleep(0.01)) f = io.open %q until f f:close() "):format(path)
    end

    it("ends the command quietly, as print does", function()
      local endless = "while true do out:write('x\\n') await(asyncio.sleep(0)) end"
      assert.equal("x\nstatus 141\n", output(endless, "| head -1"))
      local drains = "while true do out:write('x\\n') await(out:drain()) end"
      assert.equal("x\nstatus 141\n", output(drains, "| head -1"))
      local nobody, wait = closed()
      assert.equal("status 141\n", output(wait .. "out:write('x')", nobody))
      assert.equal("status 141\n", output("out:write(('x'):rep(1e6)) await(asyncio.sleep(0.1))", "| true"))
    end)

    it("tells drain, and writes after that", function()
      local nobody, wait = closed()
      local code = wait .. [[
        out:write("x")
        local ok, e = pcall(await, out:drain())
        io.stderr:write(tostring(e), " ", e.code, "\n")
        ok, e = pcall(out.write, out, "x")
        io.stderr:write(tostring(e), " ", e.code, "\n")]]
      local line = "OSError: write to <stdout> failed: broken pipe EPIPE\n"
      local _, out, err = run(code, nobody)
      assert.equal(line .. line, err)
      assert.equal("status 0\n", out)
    end)

    it("tells a task that waits in drain", function()
      local code = [[out:write(("x"):rep(1e6))
        local ok, e = pcall(await, out:drain())
        io.stderr:write(tostring(e), "\n")]]
      local _, out, err = run(code, "| sleep 0.1")
      assert.equal("OSError: write to <stdout> failed: broken pipe\n", err)
      assert.equal("status 0\n", out)
    end)
  end)

  it("tells that a device is full", function()
    local _, out, err = run([[out:write(("x"):rep(100000))
      local ok, e = pcall(await, out:drain())
      io.stderr:write(tostring(e), " ", e.code, "\n")]], ">/dev/full")
    assert.equal("OSError: write to <stdout> failed: no space left on device ENOSPC\n", err)
    assert.equal("status 0\n", out)
    _, out, err = run("out:write('x')", ">/dev/full")
    assert.equal("moonloop: standard output: no space left on device\n", err)
    assert.equal("status 1\n", out)
  end)

  it("write_eof ends it for the reader while the process goes on", function()
    local code = [[out:write("x") out:write_eof() out:write_eof()
      for _ = 1, 6000 do
        local f = io.open(arg[1])
        if f then f:close() io.stderr:write("seen") break end
        await(asyncio.sleep(0.01))
      end
      print("nobody sees this")
      io.stderr:write(" ", tostring(pcall(out.write, out, "y")))]]
    local path = helper.tmpdir() .. "/seen"
    local status, out, err = helper.sh(("%s -e %s %s | (cat; : >%s)"):format(helper.quote(helper.moonloop),
      helper.quote('local asyncio = require "asyncio" local out = asyncio.stdout ' .. code), path, path))
    assert.same({ 0, "x", "seen false" }, { status, out, err })
  end)

  it("can be closed, twice, and takes nothing after that", function()
    local code = [[out:write(("x"):rep(200000))
      do local o <close> = out end
      out:close()
      await(out:wait_closed())
      local ok, e = pcall(out.write, out, "y")
      io.stderr:write(tostring(out:is_closing()), " ", tostring(out), " ", tostring(e):match("RuntimeError.*"))
      await(out:drain())
      print("still there")]]
    local _, out, err = run(code, "| (sleep 0.1; wc -c)")
    assert.truthy(err:find("^true <StreamWriter closed peer=<stdout> bufsize=0> RuntimeError: .*Cannot call write%(%) after close%(%)"), err)
    assert.equal("status 0\n200012\n", out)
  end)

  it("refuses what is no string", function()
    for _, v in ipairs { 1, true, {}, print } do
      helper.raises(asyncio.TypeError, function() asyncio.stdout:write(v) end)
      if type(v) ~= "table" then helper.raises(asyncio.TypeError, function() asyncio.stdout:writelines(v) end) end
      helper.raises(asyncio.TypeError, function() asyncio.stdout:writelines({ v }) end)
    end
    helper.raises(asyncio.TypeError, function() asyncio.stdout:get_extra_info() end)
    helper.raises("StreamWriter expected", function() asyncio.stdout.write(io.stdout, "x") end)
  end)

  it("writes arrays, and knows its descriptor", function()
    assert.equal("abc1\t2\ttrue\ttrue\nstatus 0\n", output([[out:writelines { "a", "b", "c" } out:writelines {}
      print(out:fileno(), asyncio.stderr:fileno(), out:get_extra_info("pipe") == io.stdout, out:can_write_eof())]]))
  end)

  it("does not stand in for a script's own print", function()
    local all = output([[local old = print
      print = function(s) await(asyncio.sleep(0)) old("<" .. s .. ">") end
      asyncio.run(async(function() out:write("x") print("y") end))]], "| cat")
    assert.truthy(all:find("x<y>\n", 1, true), all)
  end)

  it("raises when the descriptor is closed", function()
    local status, _, err = helper.sh(helper.moonloop .. [[ -e 'local asyncio = require "asyncio"
      asyncio.stdout:write("x")
      asyncio.stdout:close()
      io.stderr:write(tostring(select(2, pcall(await, asyncio.stdout:wait_closed()))))' >&-]])
    assert.equal("OSError: write to <stdout> failed: bad file descriptor", err)
    assert.equal(0, status)
  end)
end)
