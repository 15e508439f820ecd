local asyncio = require "asyncio"
local fs = require "fs"
local helper = require "spec.helper"

local function run(f) return asyncio.run(async(f)) end

-- Awaits op, which must raise an OSError with that code; gives it.
local function fails(code, op)
  local e = helper.raises(asyncio.OSError, await, op)
  assert.equal(code, e.code)
  return e
end

local octal = function(s) return tonumber(s, 8) end

describe("fs on paths", function()
  describe("stat", function()
    it("tells all that is known of a file", function()
      local path = helper.tmpfile("12345")
      run(function()
        await(fs.chmod(path, octal "640"))
        await(fs.utime(path, 1e9 + 0.25, 1e9 + 0.5))
        local st = await(fs.stat(path))
        assert.same({ "file", true, false, false, 5, octal "640", 1, 1e9 + 0.25, 1e9 + 0.5 },
          { st.type, st.is_file, st.is_dir, st.is_link, st.size, st.mode, st.nlink, st.atime, st.mtime })
        for _, key in ipairs { "ino", "dev", "uid", "gid", "rdev", "blocks", "blksize" } do
          assert.equal("integer", math.type(st[key]), key)
        end
        assert.truthy(st.ctime > 1e9 and st.birthtime >= 0)
        local python = helper.python(("import os; s = os.stat(%q); print(s.st_ino, s.st_dev, s.st_uid, s.st_blocks)"):format(path))
        assert.equal(("%d %d %d %d\n"):format(st.ino, st.dev, st.uid, st.blocks), python)
      end)
    end)

    it("knows the kinds of files", function()
      local dir = helper.tmpdir()
      os.execute(("cd %s && touch f && mkdir d && ln -s f l && ln -s nowhere broken && mkfifo p"):format(dir))
      run(function()
        local function kinds(f)
          local list = {}
          for i, name in ipairs { "f", "d", "l", "p" } do list[i] = await(f(dir .. "/" .. name)).type end
          return list
        end
        assert.same({ "file", "directory", "file", "fifo" }, kinds(fs.stat))
        assert.same({ "file", "directory", "link", "fifo" }, kinds(fs.lstat))
        assert.equal("char", await(fs.stat("/dev/null")).type)
        fails("ENOENT", fs.stat(dir .. "/broken"))
        assert.is_true(await(fs.lstat(dir .. "/broken")).is_link)
        local function is(name)
          name = dir .. "/" .. name
          return { await(fs.exists(name)), await(fs.is_file(name)), await(fs.is_dir(name)), await(fs.is_link(name)) }
        end
        assert.same({ true, true, false, false }, is "f")
        assert.same({ true, false, true, false }, is "d")
        assert.same({ true, true, false, true }, is "l")
        assert.same({ true, false, false, false }, is "p")
        assert.same({ false, false, false, true }, is "broken")
        assert.same({ false, false, false, false }, is "none")
        assert.same({ false, false, false, false }, is "f/below")
      end)
    end)
  end)

  it("access asks what may be done", function()
    local path = helper.tmpfile()
    run(function()
      await(fs.chmod(path, octal "600"))
      assert.same({ true, true, true, false },
        { await(fs.access(path)), await(fs.access(path, "r")), await(fs.access(path, "rw")), await(fs.access(path, "x")) })
      await(fs.chmod(path, octal "700"))
      assert.is_true(await(fs.access(path, "x")))
      assert.is_false(await(fs.access(path .. "/none")))
      assert.is_false(await(fs.access("/proc/version", "x")))
      fails("ELOOP", (function()
        await(fs.symlink(path .. ".loop", path .. ".loop"))
        helper.finally(os.remove, path .. ".loop")
        return fs.access(path .. ".loop")
      end)())
      helper.raises("fs.access: the mode is made of r, w and x, got 'q'", fs.access, path, "q")
      helper.raises("fs.access: a mode such as 'rw' was expected, got number", fs.access, path, 4)
    end)
  end)

  it("makes, renames and removes names", function()
    local dir = helper.tmpdir()
    run(function()
      local a, b = dir .. "/a", dir .. "/b"
      await(fs.mkdir(a, { mode = octal "750" }))
      assert.equal(octal "750", await(fs.stat(a)).mode)
      await(fs.rename(a, b))
      assert.is_true(await(fs.is_dir(b)))
      await(fs.rmdir(b))
      await(fs.write_file(a, "A"))
      await(fs.link(a, b))
      assert.equal(2, await(fs.stat(a)).nlink)
      await(fs.unlink(b))
      await(fs.symlink("a", b))
      assert.equal("a", await(fs.readlink(b)))
      assert.equal(await(fs.realpath(dir)) .. "/a", await(fs.realpath(b)))
      await(fs.remove(b))
      await(fs.write_file(b, "B"))
      await(fs.replace(a, b))
      assert.equal("A", await(fs.read_file(b)))
      await(fs.truncate(b, 0))
      assert.equal(0, await(fs.stat(b)).size)
    end)
  end)

  it("copies files with their permissions", function()
    local dir = helper.tmpdir()
    run(function()
      local a, b = dir .. "/a", dir .. "/b"
      local text = ("x"):rep(100000)
      await(fs.write_file(a, text, { mode = octal "640" }))
      await(fs.copyfile(a, b))
      assert.equal(text, await(fs.read_file(b)))
      assert.equal(octal "640", await(fs.stat(b)).mode)
      await(fs.write_file(a, "new"))
      local e = fails("EEXIST", fs.copyfile(a, b, { excl = true }))
      assert.same({ a, b, "copyfile" }, { e.path, e.dest, e.syscall })
      await(fs.copyfile(a, b, { reflink = true }))
      assert.equal("new", await(fs.read_file(b)))
      fails("ENOENT", fs.copyfile(dir .. "/none", b))
      helper.raises("fs.copyfile: reflink must be true, \"try\" or \"force\", got 7", fs.copyfile, a, b, { reflink = 7 })
      helper.raises("unexpected keyword argument 'exclusive'", fs.copyfile, a, b, { exclusive = true })
    end)
  end)

  it("sets owners and times, of links too", function()
    local dir = helper.tmpdir()
    run(function()
      local f, l = dir .. "/f", dir .. "/l"
      await(fs.write_file(f, ""))
      await(fs.symlink("f", l))
      local st = await(fs.stat(f))
      await(fs.chown(f, st.uid, st.gid))
      await(fs.lchown(l, -1, -1))
      await(fs.utime(l, 10, 20, { follow_symlinks = false }))
      await(fs.utime(l, -1.5, 30))
      assert.equal(20, await(fs.lstat(l)).mtime) -- following it reads it
      assert.same({ -1.5, 30 }, { await(fs.stat(f)).atime, await(fs.stat(f)).mtime })
      if st.uid == 0 then
        await(fs.lchown(l, 1, 2))
        await(fs.chown(l, 3, 4))
        local at, to = await(fs.lstat(l)), await(fs.stat(f))
        assert.same({ 1, 2, 3, 4 }, { at.uid, at.gid, to.uid, to.gid })
      end
    end)
  end)

  it("statfs tells of the file system", function()
    run(function()
      local s = await(fs.statfs("/"))
      for _, key in ipairs { "type", "bsize", "blocks", "bfree", "bavail", "files", "ffree" } do
        assert.equal("integer", math.type(s[key]), key)
      end
      assert.truthy(s.blocks >= s.bfree and s.bsize > 0)
    end)
  end)

  describe("errors", function()
    it("have a code, the operation, and what it was about", function()
      local file = helper.tmpfile()
      local dir = helper.tmpdir()
      run(function()
        local e = fails("ENOENT", fs.open("/x/y"))
        assert.equal("OSError: ENOENT: no such file or directory: open '/x/y'", tostring(e))
        assert.same({ 2, "open", "/x/y" }, { e.errno, e.syscall, e.path })
        assert.is_nil(e.dest)
        e = fails("ENOENT", fs.rename("/x/y", "/x/z"))
        assert.equal("OSError: ENOENT: no such file or directory: rename '/x/y' -> '/x/z'", tostring(e))
        assert.same({ "/x/y", "/x/z" }, { e.path, e.dest })
        fails("EISDIR", fs.open(dir))
        fails("EISDIR", fs.open(dir, "w"))
        fails("EISDIR", fs.read_file(dir))
        fails("ENOTDIR", fs.stat(file .. "/x"))
        fails("ENOTDIR", fs.rmdir(file))
        fails("ENOTDIR", fs.listdir(file))
        fails("EEXIST", fs.mkdir(dir))
        fails("EEXIST", fs.symlink("x", file))
        fails("ENAMETOOLONG", fs.open(("x"):rep(300)))
        fails("ENOENT", fs.open(""))
        fails("EINVAL", fs.readlink(file))
        await(fs.symlink("loop", dir .. "/loop"))
        fails("ELOOP", fs.open(dir .. "/loop"))
        fails("ELOOP", fs.open(dir .. "/loop", fs.O_RDONLY | fs.O_NOFOLLOW))
        fails("ENOTEMPTY", fs.rmdir(dir))
        fails("EXDEV", fs.link("/proc/version", dir .. "/v"))
        fails("ENOENT", fs.mkdir("/proc/x"))
        fails("ENOENT", fs.realpath("/x/y"))
        fails("ENOENT", fs.chmod("/x/y", 0))
        fails("ENOENT", fs.utime("/x/y", 0, 0))
        fails("ENOENT", fs.statfs("/x/y"))
        fails("ENOENT", fs.mkdtemp { dir = "/x/y" })
      end)
    end)

    it("of what one may not do are told to who is not root", function()
      local dir = helper.tmpdir()
      os.execute(("chmod 755 %s && touch %s/secret && chmod 600 %s/secret && mkdir -m 700 %s/mine"):format(dir, dir, dir, dir))
      local copy = helper.tmpdir()
      os.execute(("chmod 755 %s && cp %s %s/moonloop"):format(copy, helper.program(), copy))
      local script = ([[cd / && if [ "$(id -u)" = 0 ]; then W="setpriv --reuid=65534 --regid=65534 --clear-groups"; fi
        $W %s/moonloop -e 'local fs = require "fs"
        for _, op in ipairs { fs.open("D/secret"), fs.write_file("D/new", "x"), fs.write_file("D/new", "x", { atomic = true }),
            fs.listdir("D/mine"), fs.rmtree("D/mine") } do
          local ok, e = pcall(await, op)
          print(ok, e.code, e.syscall, e.path)
        end']]):format(copy):gsub("D/", dir .. "/")
      local _, out = helper.sh(script)
      if select(2, helper.sh("id -u")) ~= "0\n" then return end -- one's own files are open to oneself
      assert.equal(([[
false	EACCES	open	D/secret
false	EACCES	open	D/new
false	EACCES	write_file	D/new
false	EACCES	scandir	D/mine
false	EACCES	rmtree	D/mine
]]):gsub("D/", dir .. "/"), out)
    end)

    it("of arguments are raised at the call", function()
      local function wrong(text, f, ...)
        local e = helper.raises(text, f, ...)
        assert.truthy(tostring(e):find("Error: ", 1, true))
      end
      for _, name in ipairs { "stat", "lstat", "exists", "is_file", "is_dir", "is_link", "access", "rmdir", "unlink",
        "readlink", "realpath", "statfs", "read_file", "rmtree" } do
        wrong("fs." .. name .. ": a path (a string) was expected, got table", fs[name], {})
        wrong("fs." .. name .. ": the path contains a zero byte: 'a\\0...'", fs[name], "a\0b")
      end
      for _, name in ipairs { "rename", "link", "symlink" } do
        wrong("fs." .. name .. ": a path (a string) was expected, got no value", fs[name], "a")
        wrong("fs." .. name .. ": the path contains a zero byte", fs[name], "a", "\0")
      end
      wrong("fs.chmod: a mode (an integer) was expected, got string", fs.chmod, "a", "644")
      wrong("fs.chown: a user id (an integer) was expected, got no value", fs.chown, "a")
      wrong("fs.lchown: a group id (an integer) was expected, got 1.5", fs.lchown, "a", 1, 1.5)
      wrong("fs.utime: a time (a number of seconds) was expected, got nil", fs.utime, "a", nil, 1)
      wrong("fs.utime: the time is out of range", fs.utime, "a", math.huge, 1)
      wrong("fs.truncate: the length is negative", fs.truncate, "a", -1)
      wrong("fs.truncate: a length (an integer) was expected, got no value", fs.truncate, "a")
    end)
  end)
end)
