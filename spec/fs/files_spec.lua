local asyncio = require "asyncio"
local fs = require "fs"
local helper = require "spec.helper"

local function run(f) return asyncio.run(async(f)) end
local octal = function(s) return tonumber(s, 8) end

describe("fs.write_file", function()
  it("replaces, appends, and makes what must be new", function()
    local path = helper.tmpdir() .. "/f"
    run(function()
      await(fs.write_file(path, "one", { mode = octal "640" }))
      assert.equal(octal "640", await(fs.stat(path)).mode)
      await(fs.write_file(path, 2, { append = true, fsync = true }))
      assert.equal("one2", await(fs.read_file(path)))
      await(fs.write_file(path, "x"))
      assert.equal("x", await(fs.read_file(path)))
      local e = helper.raises(asyncio.OSError, await, fs.write_file(path, "y", { exclusive = true }))
      assert.equal("EEXIST", e.code)
      assert.equal("x", await(fs.read_file(path)))
    end)
  end)

  describe("atomic", function()
    it("replaces the file as a whole and keeps its permissions", function()
      local dir = helper.tmpdir()
      local path = dir .. "/f"
      run(function()
        await(fs.write_file(path, "old"))
        await(fs.chmod(path, octal "604"))
        local old = await(fs.open(path))
        local ino = await(fs.stat(path)).ino
        await(fs.write_file(path, "new", { atomic = true }))
        assert.equal("new", await(fs.read_file(path)))
        assert.equal("old", await(old:read("a")))
        await(old:close())
        local st = await(fs.stat(path))
        assert.equal(octal "604", st.mode)
        assert.truthy(st.ino ~= ino)
        await(fs.write_file(path, "newer", { atomic = true, mode = octal "600", fsync = false }))
        assert.equal(octal "600", await(fs.stat(path)).mode)
        assert.same({ "f" }, await(fs.listdir(dir)))
      end)
    end)

    it("writes through links, also to what is not there yet", function()
      local dir = helper.tmpdir()
      run(function()
        await(fs.mkdir(dir .. "/d"))
        await(fs.symlink("d/target", dir .. "/link"))
        await(fs.write_file(dir .. "/link", "1", { atomic = true }))
        await(fs.write_file(dir .. "/link", "2", { atomic = true }))
        assert.is_true(await(fs.is_link(dir .. "/link")))
        assert.equal("2", await(fs.read_file(dir .. "/d/target")))
        assert.same({ "target" }, await(fs.listdir(dir .. "/d")))
      end)
    end)

    it("leaves the old file and nothing else when it fails", function()
      local dir = helper.tmpdir()
      run(function()
        await(fs.mkdir(dir .. "/folder"))
        local e = helper.raises(asyncio.OSError, await, fs.write_file(dir .. "/folder", "x", { atomic = true }))
        assert.equal("EISDIR", e.code)
        assert.same({ "folder" }, await(fs.listdir(dir)))
        e = helper.raises(asyncio.OSError, await, fs.write_file(dir .. "/none/f", "x", { atomic = true }))
        assert.same({ "ENOENT", dir .. "/none/f" }, { e.code, e.path })
        assert.equal("OSError: ENOENT: no such file or directory: write_file '" .. dir .. "/none/f'", tostring(e))
      end)
    end)

    it("leaves no temporary file when it is cancelled, whenever that is", function()
      local dir = helper.tmpdir()
      local path = dir .. "/f"
      run(function()
        await(fs.write_file(path, "old"))
        local text = ("n"):rep(3 << 20)
        local seen = {}
        for i = 0, 40 do
          local t = asyncio.create_task(fs.write_file(path, text, { atomic = true }))
          for _ = 1, i do
            if t:done() then break end
            await(i % 2 == 0 and asyncio.sleep(0.0002) or fs.exists(dir))
          end
          t:cancel()
          await(asyncio.wait { t })
          local now = await(fs.read_file(path))
          assert.truthy(now == "old" or now == text)
          seen[now == "old" and "old" or "new"] = true
          for _ = 1, 5 do await(fs.exists(dir)) end
          assert.same({ "f" }, await(fs.listdir(dir)))
          if now ~= "old" then await(fs.write_file(path, "old")) end
        end
        assert.is_true(seen.old)
      end)
    end)

    describe("is on the disk:", function()
      if (helper.sh("strace -o /dev/null true")) ~= 0 then -- a container may forbid it
        pending("need strace, and leave to use it")
        return
      end

      -- What becomes of fs.write_file(PATH, "new", {atomic = true, ...}), and its calls: "fsync(PATH)", "rename(PATH)".
      local function traced(dir, path, opts, inject)
        local code = ([[local fs = require "fs"
          local ok, e = pcall(await, fs.write_file("%s", "new", {atomic = true%s}))
          print(ok or tostring(e), ok or e.code, ok or e.path, ok or e.syscall)]]):format(path, opts)
        local log = helper.tmpfile()
        local command = ("strace -f -qq -y -s 500 -o %s -e trace=fsync,rename %s %s -e %s"):format(log,
          inject and "-e inject=" .. inject or "", helper.quote(helper.moonloop), helper.quote(code))
        local _, out, err = helper.sh(command,
          { env = { UV_THREADPOOL_SIZE = "1", ASAN_OPTIONS = "detect_leaks=0" } })
        assert.truthy(out ~= "", err)
        local calls = {}
        local f <close> = assert(io.open(log))
        for line in f:lines() do
          line = line:gsub("%.[%w]+%.%w%w%w%w%w%w%f[>\"]", "TEMP"):gsub(dir, "DIR")
          calls[#calls + 1] = line:match("fsync%(%d+<(.-)>%)") or line:match("rename%b()")
        end
        return out, calls
      end

      it("content first, then its name", function()
        local dir = helper.tmpdir()
        local out, calls = traced(dir, dir .. "/f", "")
        assert.equal("true\ttrue\ttrue\ttrue\n", out)
        assert.same({ "DIR/TEMP", 'rename("DIR/TEMP", "DIR/f")', "DIR" }, calls)
      end)

      it("not so with fsync = false", function()
        local dir = helper.tmpdir()
        local _, calls = traced(dir, dir .. "/f", ", fsync = false")
        assert.same({ 'rename("DIR/TEMP", "DIR/f")' }, calls)
      end)

      it("an error of it is told, with the folder", function()
        local dir = helper.tmpdir()
        local out = traced(dir, dir .. "/f", "", "fsync:error=EIO:when=2")
        assert.equal(("OSError: EIO: i/o error: fsync '%s'\tEIO\t%s\tfsync\n"):format(dir, dir), out)
        local text <close> = assert(io.open(dir .. "/f"))
        assert.equal("new", text:read("a"))
        assert.equal("f\n", select(2, helper.sh("ls -A " .. dir)))
      end)

      it("a file system that cannot do it is no error", function()
        local dir = helper.tmpdir()
        assert.equal("true\ttrue\ttrue\ttrue\n", (traced(dir, dir .. "/f", "", "fsync:error=EINVAL:when=2")))
      end)

      it("an error of the file's leaves the old one", function()
        local dir = helper.tmpdir()
        local out = traced(dir, dir .. "/f", "", "fsync:error=EIO:when=1")
        assert.truthy(out:find("^OSError: EIO: i/o error: fsync '"), out)
        assert.equal("", select(2, helper.sh("ls -A " .. dir)))
      end)
    end)
  end)

  it("says what is wrong with arguments", function()
    helper.raises("fs.write_file: a string was expected, got a table", fs.write_file, "f", {})
    helper.raises("fs.write_file: a path (a string) was expected, got nil", fs.write_file, nil, "")
    helper.raises("the path contains a zero byte", fs.write_file, "a\0", "")
    helper.raises("fs.write_file: mode must be an integer, got a string", fs.write_file, "f", "", { mode = "600" })
    helper.raises("only one of atomic, append and exclusive", fs.write_file, "f", "", { atomic = true, append = true })
    helper.raises("unexpected keyword argument 'sync'", fs.write_file, "f", "", { sync = true })
  end)
end)
