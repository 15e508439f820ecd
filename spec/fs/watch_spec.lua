local asyncio = require "asyncio"
local fs = require "fs"
local helper = require "spec.helper"

local function run(f) return asyncio.run(async(f)) end

-- Runs a shell command in the folder and gives what the watch tells of it, as text; a file
-- made last shows the end.
local serial = 0
local function told(w, dir, command)
  serial = serial + 1
  local mark = ".end" .. serial
  assert(os.execute(("cd %s && %s"):format(dir, command)))
  assert(os.execute(("touch %s/%s"):format(dir, mark)))
  local lines = {}
  for event in w do
    local name = event.path:sub(#dir + 2)
    if name == mark then break end
    lines[#lines + 1] = ("%s %s%s%s"):format(event.type, event.old_path and event.old_path:sub(#dir + 2) .. " -> " or "",
      name, event.is_dir and "/" or "")
  end
  return lines
end

-- A folder, watched while f(tell, watch, folder) runs. `tell` is told.
local function watching(opts, f)
  local dir = helper.tmpdir()
  run(function()
    if opts.before then assert(os.execute("cd " .. dir .. " && " .. opts.before)) end
    local w <close> = fs.watch(dir, { recursive = opts.recursive, debounce = 0.02 })
    f(function(command) return told(w, dir, command) end, w, dir)
  end)
end

describe("fs.watch", function()
  it("tells what is made, written to, renamed and removed", function()
    watching({ before = "echo x >old; mkdir d" }, function(tell)
      assert.same({ "created a" }, tell "echo 1 >a")
      assert.same({ "modified a" }, tell "echo 2 >>a")
      assert.same({ "modified old" }, tell ": >old")
      assert.same({ "modified a" }, tell "touch a")
      assert.same({ "moved a -> b" }, tell "mv a b")
      assert.same({ "deleted b" }, tell "rm b")
      assert.same({ "created e/" }, tell "mkdir e")
      assert.same({ "moved d -> f/" }, tell "mv d f")
      assert.same({ "deleted f/" }, tell "rmdir f")
      assert.same({}, tell "chmod 600 old; cat old >/dev/null; ls >/dev/null")
      assert.same({}, tell "echo inside >e/file")
      assert.same({ "created l" }, tell "ln -s old l")
    end)
  end)

  it("has events with a type, paths, and whether it is a folder", function()
    watching({}, function(_, w, dir)
      os.execute("touch " .. dir .. "/a")
      assert.same({ type = "created", path = dir .. "/a", is_dir = false }, w())
      os.execute(("mv %s/a %s/b"):format(dir, dir))
      assert.same({ type = "moved", path = dir .. "/b", old_path = dir .. "/a", is_dir = false }, w())
    end)
  end)

  it("tells once what happens in one go", function()
    watching({ before = "echo 1 >old" }, function(tell)
      assert.same({ "created a" }, tell "echo 1 >a; echo 2 >>a; echo 3 >>a; touch a")
      assert.same({}, tell "echo 1 >t; rm t")
      assert.same({}, tell "echo 1 >t; mv t u; rm u")
      assert.same({ "modified old" }, tell "rm old; echo 2 >old")
      assert.same({ "created c" }, tell "echo 1 >b; mv b c")
      assert.same({ "moved a -> c2" }, tell "mv a b; mv b c2")
      assert.same({}, tell "mv c2 x; mv x c2")
      assert.same({ "deleted c2" }, tell "mv c2 x; rm x")
      assert.same({ "moved c -> old" }, tell "mv c old")
    end)
  end)

  it("does not wait for an end that does not come", function()
    watching({}, function(_, w, dir)
      local f <close> = await(fs.open(dir .. "/busy", "a"))
      local writer = asyncio.create_task(async(function()
        while true do
          await(f:write("x"))
          await(asyncio.sleep(0.002))
        end
      end)())
      assert.equal("created", w().type)
      assert.equal("modified", w().type)
      writer:cancel()
      await(asyncio.wait { writer })
    end)
  end)

  describe("takes for one change", function()
    it("a temporary file that is renamed over the old one", function()
      watching({ before = "echo 1 >f" }, function(tell)
        assert.same({ "modified f" }, tell "echo 2 >.f.tmp; mv .f.tmp f")
        assert.same({ "created g" }, tell "echo 2 >.g.tmp; mv .g.tmp g")
      end)
    end)

    it("what sed -i does", function()
      watching({ before = "echo 1 >f" }, function(tell)
        assert.same({ "modified f" }, tell "sed -i s/1/2/ f")
      end)
    end)

    it("what vim does: the old file is renamed, a new one written, the old one removed", function()
      watching({ before = "echo 1 >f" }, function(tell)
        assert.same({ "modified f" }, tell "touch 4913; rm 4913; mv f f~; echo 2 >f; chmod 644 f; rm f~")
        assert.same({ "modified f" }, tell "touch .f.swp; echo x >.f.swp; cp f f~; echo 3 >f; rm f~ .f.swp")
      end)
    end)

    it("what emacs does: a backup stays", function()
      watching({ before = "echo 1 >f" }, function(tell)
        local first = tell "ln -s lock '.#f'; mv f f~; echo 2 >f; rm '.#f'"
        table.sort(first)
        assert.same({ "created f~", "modified f" }, first)
        local second = tell "ln -s lock '.#f'; cp f f~; echo 3 >f; rm '.#f'"
        table.sort(second)
        assert.same({ "modified f", "modified f~" }, second)
      end)
    end)

    it("what fs.write_file does with atomic", function()
      watching({ before = "echo 1 >f" }, function(tell, _, dir)
        await(fs.write_file(dir .. "/f", "2", { atomic = true }))
        assert.same({ "modified f" }, tell "true")
      end)
    end)
  end)

  describe("recursive", function()
    it("watches new folders, and tells what is in them already", function()
      watching({ recursive = true, before = "mkdir -p old/deep" }, function(tell)
        assert.same({ "created old/deep/f" }, tell "touch old/deep/f")
        local tree = tell "mkdir -p a/b/c; echo 1 >a/b/c/f; echo 2 >a/g"
        local folders = { [""] = true } -- one comes before what is in it; its entries in no order
        for _, line in ipairs(tree) do
          local name = line:match("^created (.*)$")
          assert.truthy(folders[name:match("^(.-)[^/]+/?$")], table.concat(tree, "\n"))
          folders[name] = true
        end
        table.sort(tree)
        assert.same({ "created a/", "created a/b/", "created a/b/c/", "created a/b/c/f", "created a/g" }, tree)
        assert.same({ "modified a/b/c/f" }, tell "echo 2 >a/b/c/f")
        local names = {}
        for i = 1, 60 do names[i] = ("n%02d"):format(i) end
        local lines = tell("for i in " .. table.concat(names, " ") .. "; do mkdir -p n/$i/x; : >n/$i/x/f; done")
        assert.equal(1 + 60 * 3, #lines)
      end)
    end)

    it("follows folders that are renamed, moved away and back", function()
      local away = helper.tmpdir()
      watching({ recursive = true, before = "mkdir -p a/b; echo 1 >a/b/f" }, function(tell)
        assert.same({ "moved a -> z/" }, tell "mv a z")
        assert.same({ "modified z/b/f" }, tell "echo 2 >z/b/f")
        assert.same({ "deleted z/" }, tell("mv z " .. away))
        assert.same({}, tell("echo 3 >" .. away .. "/z/b/f"))
        assert.same({ "created y/", "created y/b/", "created y/b/f" }, tell("mv " .. away .. "/z y"))
        assert.same({ "modified y/b/f" }, tell "echo 4 >y/b/f")
        assert.same({ "created c/" }, tell "mkdir c")
        assert.same({ "moved y -> c/y/" }, tell "mv y c/y")
        tell "mkdir k; mv c/y k/y" -- as a move, or as gone and come, if k is not watched in time
        assert.same({ "modified k/y/b/f" }, tell "echo 5 >k/y/b/f")
        assert.same({ "deleted k/y/b/f", "deleted k/y/b/", "deleted k/y/", "deleted k/" }, tell "rm -r k")
        assert.same({ "deleted c/" }, tell "rmdir c")
        assert.same({ "created c/", "created c/f" }, tell "mkdir c; touch c/f")
      end)
    end)

    it("moves files between folders", function()
      watching({ recursive = true, before = "mkdir a b; echo 1 >a/f; echo 2 >b/g" }, function(tell)
        assert.same({ "moved a/f -> b/f" }, tell "mv a/f b/f")
        assert.same({ "moved b/f -> b/g" }, tell "mv b/f b/g")
      end)
    end)

    it("does not follow links", function()
      local away = helper.tmpdir()
      watching({ recursive = true, before = "ln -s " .. away .. " l" }, function(tell)
        assert.same({}, tell("touch " .. away .. "/f"))
      end)
    end)
  end)

  describe("of one file", function()
    local function of_file(f)
      local dir = helper.tmpdir()
      local path = dir .. "/f"
      os.execute("echo 1 >" .. path)
      run(function()
        local w <close> = fs.watch(path, { debounce = 0.02 })
        f(w, path, function(command) assert(os.execute(("cd %s && %s"):format(dir, command))) end)
      end)
    end

    it("tells of no other, and survives its replacement", function()
      of_file(function(w, path, sh)
        sh "echo other >g; echo 2 >f"
        assert.same({ type = "modified", path = path, is_dir = false }, w())
        sh "echo 3 >.tmp; mv .tmp f"
        assert.equal("modified", w().type)
        sh "sed -i s/3/4/ f"
        assert.equal("modified", w().type)
        sh "rm f"
        assert.same({ type = "deleted", path = path, is_dir = false }, w())
        sh "touch g; echo 5 >f"
        assert.equal("created", w().type)
        sh "echo 6 >>f"
        assert.equal("modified", w().type)
        sh "mv f h"
        assert.truthy(w().type == "moved")
        sh "touch f; rm g"
        assert.equal("created", w().type)
      end)
    end)

    it("ends with its folder", function()
      of_file(function(w, path, sh)
        sh "rm -r ../$(basename $PWD)"
        assert.same({ type = "deleted", path = path, is_dir = false }, w())
        assert.is_nil(w())
      end)
    end)
  end)

  describe("ends", function()
    it("when what is watched is removed", function()
      local dir = helper.tmpdir() .. "/d"
      run(function()
        await(fs.mkdir(dir))
        local events = {}
        local w = fs.watch(dir)
        os.execute("rm -r " .. dir)
        for event in w do events[#events + 1] = event end
        assert.same({ { type = "deleted", path = dir, is_dir = true } }, events)
      end)
    end)

    it("when it is renamed", function()
      local dir = helper.tmpdir()
      run(function()
        await(fs.mkdir(dir .. "/d"))
        local w <close> = fs.watch(dir .. "/d/")
        await(fs.rename(dir .. "/d", dir .. "/e"))
        assert.same({ type = "deleted", path = dir .. "/d", is_dir = true }, w())
        assert.is_nil(w())
        assert.is_true(w.closed)
      end)
    end)

    it("when it is closed, also for a task that waits", function()
      watching({}, function(_, w, dir)
        local t = asyncio.create_task(async(function() return w() end)())
        await(asyncio.sleep(0.005))
        w:close()
        w:close()
        assert.is_nil(await(t))
        assert.is_nil(w())
        assert.equal("<Watch '" .. dir .. "' closed>", tostring(w))
      end)
    end)

    it("when its loop is left by break", function()
      local dir = helper.tmpdir()
      run(function()
        local fds = #await(fs.listdir("/proc/self/fd"))
        local watch = table.pack(fs.watch(dir, { debounce = 0 }))
        os.execute("touch " .. dir .. "/a")
        local types = {}
        for event in table.unpack(watch, 1, watch.n) do
          types[#types + 1] = event.type
          if #types == 1 then break end
        end
        assert.same({ "created" }, types)
        await(asyncio.sleep(0))
        assert.equal(fds, #await(fs.listdir("/proc/self/fd")))
      end)
    end)
  end)

  describe("cancelled", function()
    it("at any time loses no event", function()
      watching({ recursive = true }, function(_, w, dir)
        local seen = {}
        os.execute(("cd %s; for i in 1 2 3 4 5; do mkdir d$i; touch d$i/f; done"):format(dir))
        local n = 0
        for i = 0, 400 do
          local t = asyncio.create_task(async(function() return w() end)())
          for _ = 0, i % 7 do await(asyncio.sleep(0)) end
          if i % 3 == 0 then await(asyncio.sleep(0.004)) end
          if i > 100 then await(asyncio.wait({ t }, { timeout = 0.2 })) end
          t:cancel()
          await(asyncio.wait { t })
          if not t:cancelled() then
            local event = t:result()
            assert.is_nil(seen[event.path])
            seen[event.path], n = event.type, n + 1
          end
          if n == 10 then break end
        end
        assert.equal(10, n)
      end)
    end)

    it("while it begins leaves nothing", function()
      local dir = helper.tmpdir()
      os.execute("cd " .. dir .. "; mkdir -p a/b/c d/e/f")
      run(function()
        local fds = #await(fs.listdir("/proc/self/fd"))
        for i = 0, 8 do
          local t = asyncio.create_task(async(function()
            local w <close> = fs.watch(dir, { recursive = true })
            w()
          end)())
          for _ = 1, i do await(i % 2 == 0 and asyncio.sleep(0) or fs.exists(dir)) end
          t:cancel()
          helper.raises(asyncio.CancelledError, await, t)
        end
        assert.is_true(helper.eventually(function() return #await(fs.listdir("/proc/self/fd")) == fds end))
      end)
    end)
  end)

  it("tells that events were lost, and goes on", function()
    local limit = tonumber(io.open("/proc/sys/fs/inotify/max_queued_events"):read("a"))
    if not limit or limit > 20000 then limit = 16384 end
    watching({ recursive = true, before = "echo 1 >a; mkdir d" }, function(tell, w, dir)
      -- each pair of names is four events; nobody reads meanwhile
      local code = ("import os\nos.chdir(%q)\nfor i in range(%d):\n    os.rename('a', 'b'); os.rename('b', 'a')\nos.mkdir('late')")
        :format(dir, limit // 4 + 100)
      helper.python(code)
      local overflow
      for event in w do
        if event.type == "overflow" then
          overflow = event
          break
        end
      end
      assert.same({ type = "overflow", path = dir, is_dir = true }, overflow)
      assert.same({ "created late/f" }, tell "touch late/f")
    end)
  end)

  it("is read by one task at a time", function()
    watching({}, function(_, w)
      local t = asyncio.create_task(async(function() return w() end)())
      await(asyncio.sleep(0.002))
      helper.raises("another task is already waiting for events of this watch", w)
      t:cancel()
      await(asyncio.wait { t })
    end)
  end)

  it("is asked to be closed when it is collected", function()
    local status, _, err = helper.cli({ "-e", [[
      local fs = require "fs"
      local function leak() fs.watch("/tmp") end
      leak()
      collectgarbage() collectgarbage()
    ]] })
    assert.equal(0, status)
    assert.truthy(err:find("ResourceWarning: unclosed fs.watch", 1, true))
  end)

  it("outlives neither its loop nor its engine", function()
    local dir = helper.tmpdir()
    local loop = asyncio.new_event_loop()
    loop:set_exception_handler(function() end)
    local w
    loop:create_task(async(function()
      w = fs.watch(dir)
      loop:call_later(0.005, loop.stop, loop)
      w()
    end)())
    loop:run_forever()
    loop:close()
    assert.is_nil(w())
    w:close()
    local status, _, err = helper.cli({ "-e", ([[
      local asyncio, fs = require "asyncio", require "fs"
      asyncio.create_task(async(function() for _ in fs.watch("%s", { recursive = true }) do end end)())
      await(asyncio.sleep(0.01))
      os.exit(0, true)
    ]]):format(dir) })
    assert.equal(0, status, err)
  end)

  it("says what it cannot watch", function()
    run(function()
      local e = helper.raises(asyncio.OSError, fs.watch, "/x/y")
      assert.same({ "ENOENT", "/x/y" }, { e.code, e.path })
      helper.raises("fs.watch: a path (a string) was expected, got nil", fs.watch)
      helper.raises("unexpected keyword argument 'recursiv'", fs.watch, "/", { recursiv = true })
      helper.raises("fs.watch: debounce must be a number of seconds, got -1", fs.watch, "/tmp", { debounce = -1 })
      helper.raises("fs.watch: debounce must be a number of seconds, got x", fs.watch, "/tmp", { debounce = "x" })
    end)
  end)

  it("says when the system allows no more watches", function()
    local path = "/proc/sys/fs/inotify/max_user_instances"
    local limit = tonumber(io.open(path):read("a"))
    if limit > 2000 then return end
    run(function()
      local dir, watches = helper.tmpdir(), {}
      local ok, e = asyncio.catch(function()
        for i = 1, limit + 1 do watches[i] = fs.watch(dir) end
      end)
      for _, w in ipairs(watches) do w:close() end
      assert.is_false(ok)
      assert.equal("EMFILE", e.code)
    end)
  end)
end)
