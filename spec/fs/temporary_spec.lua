local asyncio = require "asyncio"
local fs = require "fs"
local helper = require "spec.helper"

local function run(f) return asyncio.run(async(f)) end
local octal = function(s) return tonumber(s, 8) end

describe("temporary", function()
  it("files are made for their owner, under names of their own", function()
    local dir = helper.tmpdir()
    run(function()
      local a, path = await(fs.mkstemp { dir = dir, prefix = "p-", suffix = ".s" })
      local b <close> = await(fs.mkstemp { dir = dir, prefix = "p-", suffix = ".s" })
      assert.truthy(path:find("/p%-%w+%.s$"))
      assert.equal(path, a.path)
      assert.truthy(path ~= b.path)
      await(a:write("x"))
      await(a:seek("set"))
      assert.equal("x", await(a:read("a")))
      assert.equal(octal "600", await(a:stat()).mode)
      await(a:close())
      assert.is_true(await(fs.exists(path)))
    end)
  end)

  it("folders are made for their owner", function()
    local dir = helper.tmpdir()
    run(function()
      local path = await(fs.mkdtemp { dir = dir, prefix = "p-" })
      assert.truthy(path:find(dir .. "/p%-%w+$"))
      local st = await(fs.stat(path))
      assert.same({ true, octal "700" }, { st.is_dir, st.mode })
    end)
  end)

  it("folders are removed with all in them on every way out", function()
    run(function()
      local path
      do
        local dir <close> = await(fs.TemporaryDirectory())
        path = dir.path
        assert.equal(path, tostring(dir))
        assert.truthy(path:find("^" .. fs.gettempdir()))
        await(fs.mkdir(path .. "/a/b", { parents = true }))
        await(fs.write_file(path .. "/a/b/c", "x"))
      end
      assert.is_false(await(fs.exists(path)))

      local t = asyncio.create_task(async(function()
        local dir <close> = await(fs.TemporaryDirectory { prefix = "x" })
        path = dir.path
        await(asyncio.sleep(60))
      end)())
      while not path:find("/x") do await(asyncio.sleep(0.001)) end
      t:cancel()
      helper.raises(asyncio.CancelledError, await, t)
      assert.is_false(await(fs.exists(path)))

      local dir = await(fs.TemporaryDirectory())
      await(dir:cleanup())
      await(dir:cleanup())
      await(dir:close())
      dir = await(fs.TemporaryDirectory())
      await(fs.rmdir(dir.path)) -- somebody was faster
      await(dir:cleanup())
    end)
  end)

  it("named files are removed when they are closed", function()
    run(function()
      local path
      do
        local f <close> = await(fs.NamedTemporaryFile { suffix = ".txt" })
        path = f.path
        await(f:write("hello"))
        assert.equal("hello", await(fs.read_file(path)))
      end
      assert.is_false(await(fs.exists(path)))
      local f = await(fs.NamedTemporaryFile())
      await(f:close())
      await(f:close())
      assert.is_false(await(fs.exists(f.path)))
      f = await(fs.NamedTemporaryFile { delete = false })
      await(f:close())
      await(fs.unlink(f.path))
    end)
  end)

  it("say when they are left behind", function()
    local _, out, err = helper.cli({ "-e", [[
      local fs = require "fs"
      local function leak() print(await(fs.TemporaryDirectory()).path) end
      leak()
      collectgarbage() collectgarbage()
    ]] })
    local path = out:match("^(.-)\n")
    assert.truthy(err:find("ResourceWarning: unclosed <TemporaryDirectory '" .. path .. "'>", 1, true))
    os.remove(path)
  end)

  it("say what is wrong with arguments", function()
    helper.raises("fs.mkstemp dir: a path (a string) was expected, got a number", fs.mkstemp, { dir = 1 })
    helper.raises("unexpected keyword argument 'suffix'", fs.mkdtemp, { suffix = "x" })
    helper.raises("unexpected keyword argument 'sufix'", fs.NamedTemporaryFile, { sufix = "x" })
    local e = helper.raises(asyncio.OSError, await, fs.mkstemp { dir = "/x/y" })
    assert.equal("ENOENT", e.code)
  end)
end)
