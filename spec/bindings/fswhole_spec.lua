local asyncio = require "asyncio"
local fs = require "fs"
local helper = require "spec.helper"

local function run(f) return asyncio.run(async(f)) end

local function fails(code, op)
  local e = helper.raises(asyncio.OSError, await, op)
  assert.equal(code, e.code)
  return e
end

describe("fs.read_file", function()
  it("gives a file as one string", function()
    run(function()
      for _, n in ipairs { 0, 1, 39, 40, 41, 999, 1000, 4071, 4072, 4096, 16384, 65536, 262144, 1 << 20 } do
        for more = 0, 1 do
          local text = ("a"):rep(n // 2) .. ("\0"):rep(n - n // 2 + more)
          assert.equal(text, await(fs.read_file(helper.tmpfile(text))))
        end
      end
    end)
  end)

  it("reads what has no size, and what grows", function()
    run(function()
      assert.truthy((await(fs.read_file("/proc/self/status"))):find("^Name:.*VmRSS"))
      assert.truthy(#await(fs.read_file("/proc/self/maps")) > 2000)
      assert.equal("", await(fs.read_file("/dev/null")))
    end)
  end)

  it("reads a pipe to its end", function()
    local path = helper.tmpdir() .. "/fifo"
    os.execute("mkfifo " .. path)
    run(function()
      os.execute("(printf one; sleep 0.02; printf two) >" .. path .. " 2>/dev/null &")
      assert.equal("onetwo", await(fs.read_file(path)))
    end)
  end)

  it("allocates once: what was read is the string", function()
    if helper.slow > 1 then return end -- sanitizers have memory of their own
    local path = helper.tmpdir() .. "/large"
    os.execute("head -c 64M /dev/zero >" .. path)
    local status, out = helper.cli({ "-e", ([[
      local fs = require "fs"
      local function peak() return tonumber(await(fs.read_file("/proc/self/status")):match("VmHWM:%%s+(%%d+)")) end
      local before = peak()
      local text = await(fs.read_file("%s"))
      print(#text, peak() - before < 64 * 1024 * 1.25)
    ]]):format(path) })
    assert.same({ 0, "67108864\ttrue\n" }, { status, out })
  end)

  it("can be cancelled at each stage, and leaves no descriptor", function()
    local path = helper.tmpfile(("x"):rep(20 << 20))
    run(function()
      local fds = #await(fs.listdir("/proc/self/fd"))
      local t = asyncio.create_task(fs.read_file(path))
      t:cancel()
      helper.raises(asyncio.CancelledError, await, t)
      for i = 0, 12 do
        t = asyncio.create_task(fs.read_file(path))
        await(asyncio.sleep(i / 2000))
        t:cancel()
        pcall(await, asyncio.wait { t })
      end
      t = asyncio.create_task(fs.read_file(path))
      await(asyncio.sleep(0))
      require("time").sleep(0.05) -- done before the cancel, taken by nobody
      t:cancel()
      helper.raises(asyncio.CancelledError, await, t)
      -- threads that were at work close what they have opened when they are done
      assert.is_true(helper.eventually(function() return #await(fs.listdir("/proc/self/fd")) == fds end))
    end)
  end)
end)

describe("fs.mkdir", function()
  it("makes parents", function()
    local dir = helper.tmpdir()
    run(function()
      await(fs.mkdir(dir .. "/a//b/c/", { parents = true, mode = tonumber("700", 8) }))
      assert.equal(tonumber("700", 8), await(fs.stat(dir .. "/a/b/c")).mode)
      assert.is_true(await(fs.is_dir(dir .. "/a/b")))
      local e = fails("EEXIST", fs.mkdir(dir .. "/a/b", { parents = true }))
      assert.same({ "mkdir", dir .. "/a/b" }, { e.syscall, e.path })
      await(fs.mkdir(dir .. "/a/b", { parents = true, exist_ok = true }))
      await(fs.mkdir(dir .. "/a/b", { exist_ok = true }))
      await(fs.write_file(dir .. "/f", ""))
      fails("EEXIST", fs.mkdir(dir .. "/f", { exist_ok = true }))
      fails("EEXIST", fs.mkdir(dir .. "/f", { exist_ok = true, parents = true }))
      e = fails("ENOTDIR", fs.mkdir(dir .. "/f/g/h", { parents = true }))
      assert.equal(dir .. "/f", e.path)
      await(fs.mkdir("/", { parents = true, exist_ok = true }))
      fails("ENOENT", fs.mkdir("", { parents = true }))
      helper.raises("fs.mkdir: mode must be an integer, got a string", fs.mkdir, "x", { mode = "755" })
      helper.raises("unexpected keyword argument 'parent'", fs.mkdir, "x", { parent = true })
    end)
  end)

  it("makes parents for several at once", function()
    local dir = helper.tmpdir()
    run(function()
      local all = {}
      for i = 1, 20 do all[i] = fs.mkdir(dir .. "/a/b/c/" .. i, { parents = true }) end
      await(asyncio.gather(all))
      assert.equal(20, #await(fs.listdir(dir .. "/a/b/c")))
    end)
  end)
end)

describe("fs.rmtree", function()
  it("removes a folder and all in it, but follows no link", function()
    local dir = helper.tmpdir()
    os.execute(("cd %s && mkdir -p t/a/b/c t/d outside/keep && touch t/f t/a/.hidden t/a/b/g outside/keep/x && ln -s ../outside t/link && ln -s nowhere t/broken && mkfifo t/p && chmod 000 t/f")
      :format(dir))
    run(function()
      await(fs.rmtree(dir .. "/t"))
      assert.same({ "outside" }, await(fs.listdir(dir)))
      assert.is_true(await(fs.exists(dir .. "/outside/keep/x")))
      await(fs.symlink("outside", dir .. "/l"))
      local e = fails("ENOTDIR", fs.rmtree(dir .. "/l"))
      assert.equal("OSError: ENOTDIR: not a directory: rmtree '" .. dir .. "/l'", tostring(e))
      fails("ENOTDIR", fs.rmtree(dir .. "/outside/keep/x"))
      fails("ENOENT", fs.rmtree(dir .. "/none"))
      await(fs.rmtree(dir .. "/none", { ignore_errors = true }))
      assert.is_true(await(fs.exists(dir .. "/outside/keep/x")))
    end)
  end)

  it("goes deep", function()
    local dir = helper.tmpdir()
    run(function()
      await(fs.mkdir(dir .. "/t" .. ("/d"):rep(300), { parents = true }))
      await(fs.rmtree(dir .. "/t"))
      assert.same({}, await(fs.listdir(dir)))
    end)
  end)

  it("names what it could not remove, or leaves it", function()
    run(function()
      local e = helper.raises(asyncio.OSError, await, fs.rmtree("/proc/self/task"))
      assert.truthy(e.path:find("^/proc/self/task/"))
      await(fs.rmtree("/proc/self/task", { ignore_errors = true }))
    end)
  end)

  it("stops when it is cancelled", function()
    local dir = helper.tmpdir()
    os.execute(("cd %s && mkdir t && cd t && seq 1 2000 | xargs touch"):format(dir))
    run(function()
      local t = asyncio.create_task(fs.rmtree(dir .. "/t"))
      await(asyncio.sleep(0))
      t:cancel()
      helper.raises(asyncio.CancelledError, await, t)
      for _ = 1, 8 do await(fs.exists(dir)) end
      await(asyncio.sleep(0.01))
      local left = #await(fs.listdir(dir .. "/t"))
      assert.truthy(left > 0)
      await(asyncio.sleep(0.02))
      assert.equal(left, #await(fs.listdir(dir .. "/t")))
    end)
  end)
end)

describe("a job of fs", function()
  local jobs = {
    function(dir) return fs.stat(dir) end, function(dir) return fs.read_file(dir .. "/f") end,
    function(dir) return fs.rename(dir .. "/f", dir .. "/f") end, function(dir) return fs.realpath(dir) end,
    function(dir) return fs.mkdtemp { dir = dir } end, function(dir) return fs.open(dir .. "/f") end,
    function(dir) return fs.listdir(dir) end, function(dir) return fs.statfs(dir) end,
    function(dir) return fs.exists(dir) end, function(dir) return fs.copyfile(dir .. "/f", dir .. "/g") end,
  }

  it("can be cancelled before it begins, while it waits for a thread, and when it is done", function()
    local dir = helper.tmpdir()
    run(function()
      await(fs.write_file(dir .. "/f", "x"))
      for _, job in ipairs(jobs) do
        for stage = 1, 4 do
          local busy = {}
          if stage == 3 then
            for i = 1, 8 do busy[i] = asyncio.create_task(fs.read_file("/proc/self/maps")) end
          end
          local t = asyncio.create_task(job(dir))
          if stage > 1 then await(asyncio.sleep(0)) end
          if stage == 4 then require("time").sleep(0.003) end
          t:cancel()
          helper.raises(asyncio.CancelledError, await, t)
          await(asyncio.gather(busy))
        end
      end
      for _ = 1, 10 do await(fs.stat(dir)) end
      await(fs.unlink(dir .. "/g"))
      helper.eventually(function() return #await(fs.listdir(dir)) == 1 end)
      assert.same({ "f" }, await(fs.listdir(dir))) -- what mkdtemp made for nobody is gone
    end)
  end)

  it("is awaited once, and reported if never", function()
    run(function()
      local op = fs.stat("/")
      await(op)
      helper.raises(asyncio.RuntimeError, await, op)
    end)
    local _, _, err = helper.cli({ "-e", 'require("fs").stat("/") collectgarbage()' })
    assert.truthy(err:find("coroutine 'fs.stat' was never awaited", 1, true))
  end)

  it("may be left when its loop is closed", function()
    local dir = helper.tmpdir()
    for _, job in ipairs(jobs) do
      local loop = asyncio.new_event_loop()
      loop:set_exception_handler(function() end)
      loop:create_task(job(dir))
      loop:call_soon(loop.stop, loop)
      loop:run_forever()
      loop:close()
    end
  end)

  it("may be left when the engine ends", function()
    local status, _, err = helper.cli({ "-e", [[
      local asyncio, fs = require "asyncio", require "fs"
      for _ = 1, 50 do
        asyncio.create_task(fs.read_file("/proc/self/maps"))
        asyncio.create_task(fs.listdir("/proc"))
        asyncio.create_task(fs.open("/dev/null"))
      end
      await(asyncio.sleep(0))
      os.exit(0, true)
    ]] })
    assert.equal(0, status, err)
  end)

  it("runs beside others", function()
    run(function()
      local all = {}
      for i = 1, 300 do all[i] = fs.stat("/proc/self") end
      local r = await(asyncio.gather(all))
      assert.equal(300, r.n)
      assert.equal("directory", r[300].type)
    end)
  end)

  it("works at top level and with timeouts", function()
    assert.is_true(await(fs.exists("/")))
    run(function()
      assert.is_true(await(asyncio.wait_for(fs.exists("/"), 60 * helper.slow)))
      assert.is_true(await(asyncio.shield(fs.exists("/"))))
    end)
  end)
end)
