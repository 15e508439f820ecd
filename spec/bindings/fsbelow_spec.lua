--- fs.core.open_below: files below a folder, what lies beside them compressed, and no way out.

local asyncio = require "asyncio"
local fs = require "fs"
local core = require "fs.core"
local helper = require "spec.helper"

local function write(path, data)
  local f <close> = assert(io.open(path, "wb"))
  f:write(data)
end

local function tree()
  local dir = helper.tmpdir()
  assert(os.execute(("cd %s && mkdir -p root/sub other && ln -s ../secret root/up && ln -s a root/near && ln -s %s/root/a root/far && "
    .. "ln -s sub root/folder && ln -s loop root/loop && mkfifo root/fifo && ln -s ../../secret root/sub/up"):format(helper.quote(dir), dir)))
  write(dir .. "/secret", "secret")
  write(dir .. "/root/a", "content")
  write(dir .. "/root/sub/b", "below")
  return dir .. "/root", dir
end

local function code_of(...)
  local r = table.pack(pcall(await, core.open_below(...)))
  if r[1] then return "opened" end
  return r[2].code
end

describe("open_below", function()
  it("gives a file's size, date and content, or a File", function()
    helper.run_with_loop(function()
      local root = tree()
      local kind, size, mtime, coding, mask, content = await(core.open_below(root, "a", false, nil, 100))
      assert.same({ "file", 7, 0, 0, "content" }, { kind, size, coding, mask, content })
      assert.equal(await(fs.stat(root .. "/a")).mtime, mtime)
      local file
      kind, size, mtime, coding, mask, file = await(core.open_below(root, "sub/b", false, nil, 4))
      assert.same({ "file", 5, 0, 0 }, { kind, size, coding, mask })
      assert.equal("number", type(mtime))
      assert.equal("below", await(file:read("a")))
      await(file:close())
      local none
      kind, size, mtime, coding, mask, none = await(core.open_below(root, "sub", false))
      assert.same({ "directory", nil }, { kind, none })
      assert.is_true(size >= 0 and mtime > 0 and coding == 0 and mask == 0)
      assert.equal("directory", (await(core.open_below(root, "", false))))
      assert.equal("content", select(6, await(core.open_below(root, "near", false, nil, 10))))
      assert.equal("below", select(6, await(core.open_below(root, "folder/b", false, nil, 10))))
    end)
  end)

  it("lets nothing lead out of the folder", function()
    helper.run_with_loop(function()
      local root = tree()
      for _, name in ipairs { "up", "far", "sub/up", "../secret", "/etc/passwd", "sub/../../secret", "..", "../root/a" } do
        assert.equal("EXDEV", code_of(root, name, false), name)
      end
      assert.equal("ELOOP", code_of(root, "loop", false))
      assert.equal("ENOENT", code_of(root, "none", false))
      assert.equal("ENOTDIR", code_of(root, "a/x", false))
      assert.equal("ENOENT", code_of(root .. "/none", "a", false))
      assert.equal("ENOTDIR", code_of(root .. "/a", "a", false))
      assert.equal("EACCES", code_of(root, "fifo", false))
      assert.equal("EACCES", code_of("/dev", "null", false))
    end)
  end)

  it("lets links lead out where that is asked for", function()
    helper.run_with_loop(function()
      local root = tree()
      assert.equal("secret", select(6, await(core.open_below(root, "up", true, nil, 10))))
      assert.equal("content", select(6, await(core.open_below(root, "far", true, nil, 10))))
    end)
  end)

  it("is never fooled by a folder that turns into a link and back", function()
    helper.run_with_loop(function()
      local root, dir = tree()
      write(dir .. "/other/b", "outside")
      local stop = false
      local swapping = asyncio.create_task(async(function()
        while not stop do
          await(fs.rename(root .. "/sub", dir .. "/aside"))
          await(fs.symlink("../other", root .. "/sub"))
          await(fs.unlink(root .. "/sub"))
          await(fs.rename(dir .. "/aside", root .. "/sub"))
        end
      end)())
      for _ = 1, 300 do
        local r = table.pack(pcall(await, core.open_below(root, "sub/b", false, nil, 100)))
        if r[1] then assert.equal("below", r[7]) end
      end
      stop = true
      await(swapping)
    end)
  end)

  it("finds what lies beside it compressed, and takes what is wanted", function()
    helper.run_with_loop(function()
      local root = tree()
      local function found(wanted)
        local _, _, _, coding, mask, content = await(core.open_below(root, "a", false, wanted, 100))
        return { coding, mask, content }
      end
      assert.same({ 0, 0, "content" }, found("bg"))
      write(root .. "/a.gz", "gz")
      assert.same({ 2, 4, "gz" }, found("bg"))
      assert.same({ 0, 4, "content" }, found("b"))
      assert.same({ 0, 4, "content" }, found(""))
      assert.same({ 0, 0, "content" }, found(nil))
      write(root .. "/a.br", "br")
      assert.same({ 1, 6, "br" }, found("bg"))
      assert.same({ 2, 6, "gz" }, found("gb"))
      os.execute("touch -d 2001-01-01 " .. helper.quote(root .. "/a.br"))
      assert.same({ 2, 4, "gz" }, found("bg"))
      os.execute(("cd %s && rm a.gz && ln -s ../secret a.gz"):format(helper.quote(root)))
      assert.same({ 0, 0, "content" }, found("gb"))
    end)
  end)

  it("may be cancelled, and leaves no descriptor", function()
    helper.run_with_loop(function()
      local root = tree()
      local function descriptors() return #await(fs.listdir("/proc/self/fd")) end
      local before = descriptors()
      for i = 1, 50 do
        local task = asyncio.create_task(core.open_below(root, "a", false, "bg", i % 2 * 100))
        for _ = 1, i % 4 do await(asyncio.sleep(0)) end
        task:cancel()
        local ok, _, _, _, _, _, file = asyncio.catch(await, task)
        if ok and type(file) == "userdata" then await(file:close()) end
      end
      await(asyncio.sleep(0.05))
      collectgarbage()
      assert.equal(before, descriptors())
    end)
  end)

  it("refuses misuse", function()
    helper.raises(asyncio.TypeError, core.open_below)
    helper.raises(asyncio.TypeError, core.open_below, "/tmp")
    helper.raises(asyncio.ValueError, core.open_below, "/tmp", "a\0b")
    helper.raises(asyncio.ValueError, core.open_below, "/tmp\0", "a")
  end)

  it("keeps to a sandbox", function()
    local root, dir = tree()
    local code = [[
      local core = require "fs.core"
      local root, other = ...
      print((select(6, await(core.open_below(root, "a", false, nil, 100)))))
      print(pcall(await, core.open_below(root, "up", true, nil, 100)))
      print(pcall(await, core.open_below(other, "secret", false, nil, 100)))
    ]]
    local status, out = helper.cli { "--sandbox", "--allow-read=" .. root, "-e", code, root, dir }
    assert.equal(0, status)
    local lines = {}
    for line in out:gmatch("[^\n]+") do lines[#lines + 1] = line end
    assert.equal("content", lines[1])
    assert.truthy(lines[2]:find("^false\tOSError: EXDEV"), lines[2])
    assert.truthy(lines[3]:find("^false\tPermissionError"), lines[3])
  end)
end)
