local asyncio = require "asyncio"
local fs = require "fs"
local helper = require "spec.helper"

local function run(f) return asyncio.run(async(f)) end

-- A folder with the files that the shell command makes.
local function tree(command)
  local dir = helper.tmpdir()
  assert(os.execute("cd " .. dir .. " && " .. command))
  return dir
end

describe("fs.scandir", function()
  it("gives names and types", function()
    local dir = tree "touch f .h && mkdir d && ln -s f l && mkfifo p"
    run(function()
      local found = {}
      for name, kind in fs.scandir(dir) do found[name] = kind end
      assert.same({ f = "file", [".h"] = "file", d = "directory", l = "link", p = "fifo" }, found)
    end)
  end)

  it("reads large folders in parts", function()
    local dir = tree "seq 1 1200 | xargs touch"
    run(function()
      local n, sum = 0, 0
      for name in fs.scandir(dir) do
        n, sum = n + 1, sum + tonumber(name)
      end
      assert.same({ 1200, 1200 * 1201 // 2 }, { n, sum })
      assert.equal(1200, #await(fs.listdir(dir)))
    end)
  end)

  it("keeps no descriptor when it is left early", function()
    local dir = tree "seq 1 1200 | xargs touch"
    run(function()
      local fds = #await(fs.listdir("/proc/self/fd"))
      local one = table.pack(fs.scandir(dir))
      assert.equal("string", type(one[1]()))
      one[1]:close()
      pcall(function()
        for _ in fs.scandir(dir) do error("x") end
      end)
      local t = asyncio.create_task(async(function()
        for _ in fs.scandir(dir) do await(asyncio.sleep(60)) end
      end)())
      await(asyncio.sleep(0.01))
      t:cancel()
      helper.raises(asyncio.CancelledError, await, t)
      for i = 1, 20 do
        t = asyncio.create_task(fs.listdir(dir))
        for _ = 1, i do await(asyncio.sleep(0)) end
        t:cancel()
        pcall(await, asyncio.wait { t })
      end
      assert.is_true(helper.eventually(function() return #await(fs.listdir("/proc/self/fd")) == fds end))
    end)
  end)

  it("raises what it cannot do where the loop is", function()
    run(function()
      local e = helper.raises(asyncio.OSError, function()
        for _ in fs.scandir("/x/y") do error("never") end
      end)
      assert.same({ "ENOENT", "scandir", "/x/y" }, { e.code, e.syscall, e.path })
      helper.raises("fs.scandir: a path (a string) was expected, got a number", fs.scandir, 1)
      helper.raises("fs.listdir: the path contains a zero byte", fs.listdir, "a\0")
    end)
  end)
end)

describe("fs.walk", function()
  local function walk(dir, opts)
    local lines = {}
    for folder, dirs, files in fs.walk(dir, opts) do
      lines[#lines + 1] = ("%s: %s: %s"):format(folder:sub(#dir + 2), table.concat(dirs, " "), table.concat(files, " "))
    end
    return lines
  end
  local make = "mkdir -p a/b c && touch f a/g a/b/h c/i && ln -s ../a c/link && ln -s nowhere c/broken"

  it("goes from the top down", function()
    local dir = tree(make)
    run(function()
      assert.same({ ": a c: f", "a: b: g", "a/b: : h", "c: link: broken i" }, walk(dir))
      assert.same({ "a/b: : h", "a: b: g", "c: link: broken i", ": a c: f" }, walk(dir, { topdown = false }))
      assert.same({ ": a c: f", "a: b: g", "a/b: : h", "c: link: broken i", "c/link: b: g", "c/link/b: : h" },
        walk(dir, { followlinks = true }))
    end)
  end)

  it("agrees with os.walk", function()
    local dir = tree(make .. " && mkdir -p c/1/x/1 c/2/x/2 c/3/x/3 c/10/x && touch c/3/x/t")
    run(function()
      for _, topdown in ipairs { true, false } do
        local lines = walk(dir, { topdown = topdown })
        local python = helper.python(([[
import os
for d, ds, fs in os.walk(%q, topdown=%s):
    ds.sort(); fs.sort()
    print(d[%d:].lstrip("/"), " ".join(ds), " ".join(fs), sep=": ")
]]):format(dir, topdown and "True" or "False", #dir))
        if not topdown then -- whose order of siblings is the folder's
          local a, b = {}, {}
          for line in python:gmatch("[^\n]+") do a[#a + 1] = line end
          table.sort(a)
          for i, line in ipairs(lines) do b[i] = line end
          table.sort(b)
          assert.same(a, b)
        else
          assert.equal(python, table.concat(lines, "\n") .. "\n")
        end
      end
    end)
  end)

  it("enters only what is left in dirs", function()
    local dir = tree(make)
    run(function()
      local seen = {}
      for folder, dirs in fs.walk(dir) do
        seen[#seen + 1] = folder:sub(#dir + 2)
        for i = #dirs, 1, -1 do
          if dirs[i] == "a" then table.remove(dirs, i) end
        end
      end
      assert.same({ "", "c" }, seen)
    end)
  end)

  it("leaves out what it cannot read, and tells", function()
    run(function()
      assert.same({}, walk("/x/y"))
      local told
      assert.same({}, walk("/x/y", { onerror = function(e) told = e end }))
      assert.equal("ENOENT", told.code)
      helper.raises("ENOENT", walk, "/x/y", { onerror = function(e) error(e, 0) end })
      helper.raises("unexpected keyword argument 'topDown'", fs.walk, "/", { topDown = true })
    end)
  end)
end)

describe("fs.glob", function()
  it("gives what the shell would", function()
    local dir = tree "mkdir -p src/x/y doc && touch src/a.c src/b.c src/b.h src/x/c.c src/x/y/d.c .hidden.c doc/[x].c 'src/a%b.c' src/a-c"
    run(function()
      local function glob(pattern)
        local list = await(fs.glob(dir .. "/" .. pattern))
        for i, name in ipairs(list) do list[i] = name:sub(#dir + 2) end
        return list
      end
      assert.same({ "src/a%b.c", "src/a.c", "src/b.c" }, glob "src/*.c")
      assert.same({ "src/b.c", "src/b.h" }, glob "src/b.?")
      assert.same({ "src/a.c", "src/b.c" }, glob "src/[ab].c")
      assert.same({ "src/b.c" }, glob "src/[!a].c")
      assert.same({ "doc/[x].c" }, glob "doc/[[]x].c")
      assert.same({ "src/a%b.c", "src/a.c", "src/b.c", "src/x/c.c", "src/x/y/d.c" }, glob "src/**/*.c")
      assert.same({ "src", "src/x", "src/x/y" }, glob "src/**")
      assert.same({ ".hidden.c" }, glob ".*.c")
      assert.same({ "doc", "src" }, glob "*")
      assert.same({ "src/a-c" }, glob "src/a-c")
      assert.same({ "src/x/c.c" }, glob "*/x/*.c")
      assert.same({}, glob "none/*")
      assert.same({}, glob "none")
      local found, out = await(fs.glob("spec/fs/*_spec.lua")), select(2, helper.sh("ls spec/fs/*_spec.lua"))
      assert.equal(out, table.concat(found, "\n") .. "\n")
      assert.truthy(#await(fs.glob("**/fs/path_spec.lua")) == 1)
    end)
  end)
end)

describe("fs.copytree", function()
  it("copies a tree with links and permissions", function()
    local dir = tree "mkdir -p t/a/b && echo 1 >t/f && echo 2 >t/a/b/g && chmod 750 t/a && chmod 600 t/f && ln -s f t/l && ln -s nowhere t/a/broken && mkfifo t/p"
    run(function()
      await(fs.copytree(dir .. "/t", dir .. "/u"))
      local _, out = helper.sh("cd " .. dir .. "/u && find . -printf '%P %y %m %l\\n' | sort")
      local _, expected = helper.sh("cd " .. dir .. "/t && find . ! -name p -printf '%P %y %m %l\\n' | sort")
      assert.equal(expected, out)
      assert.equal("2\n", await(fs.read_file(dir .. "/u/a/b/g")))
      local e = helper.raises(asyncio.OSError, await, fs.copytree(dir .. "/t", dir .. "/u"))
      assert.equal("EEXIST", e.code)
      await(fs.unlink(dir .. "/u/l"))
      await(fs.unlink(dir .. "/u/a/broken"))
      await(fs.copytree(dir .. "/t", dir .. "/u", { dirs_exist_ok = true }))
      helper.raises("ENOENT", await, fs.copytree(dir .. "/none", dir .. "/v"))
    end)
  end)
end)
