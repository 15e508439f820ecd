--- moonloop check and moonloop translate.

local helper = require "spec.helper"

local function write(path, text)
  local f <close> = assert(io.open(path, "wb"))
  f:write(text)
end

describe("moonloop check", function()
  it("reports syntax errors of files and folders", function()
    local dir = helper.tmpdir()
    assert(os.execute("mkdir " .. dir .. "/sub"))
    write(dir .. "/good.lua", "#!/usr/bin/env moonloop\nawait f()\n")
    write(dir .. "/sub/bad.lua", "local x = \n")
    write(dir .. "/sub/note.txt", "local x = \n")
    local status, out, err = helper.cli({ "check", "good.lua", "sub", "nowhere.lua" }, { cwd = dir })
    assert.equal("1", tostring(status))
    assert.equal("sub/bad.lua:2: unexpected symbol near <eof>\nOSError: ENOENT: no such file or directory: read_file 'nowhere.lua'\n", out)
    assert.equal("3 files, 2 errors, 0 warnings\n", err)
  end)

  it("warns of coroutines that are dropped", function()
    local dir = helper.tmpdir()
    write(dir .. "/a.lua", [[
local x, asyncio = 1, require("asyncio")
local sleep = asyncio.sleep
local async function fetch() end
async function M.save(x) end
local get = async(function() end)
fetch()
asyncio.sleep(1)
if x then sleep(2) end
get
()
asyncio.open_connection { "x" }
M.save(function() fetch() end)
await fetch()
local kept = fetch()
asyncio.create_task(fetch())
print(fetch())
return fetch()
]])
    local status, out, err = helper.cli({ "check", "-q", "a.lua" }, { cwd = dir })
    local lines = {}
    for line, what in out:gmatch("a.lua:(%d+): warning: the coroutine that (%S+)%(%) gives is dropped: await it\n") do
      lines[#lines + 1] = line .. " " .. what
    end
    assert.same({ "6 fetch", "7 asyncio.sleep", "8 sleep", "9 get", "11 asyncio.open_connection", "12 fetch" }, lines)
    assert.equal("", err)
    assert.equal("0", tostring(status))
    assert.equal("1", tostring((helper.cli({ "check", "--strict", "a.lua" }, { cwd = dir }))))
  end)

  it("has nothing against the examples but what one shows on purpose", function()
    local _, out = helper.cli { "check", "scripts", "stdlib" }
    assert.equal("scripts/common_mistakes.lua:13: warning: the coroutine that work() gives is dropped: await it\n", out)
  end)

  it("goes through a folder in which there is anything", function()
    local dir = helper.tmpdir()
    local uv = require "fs"
    write(dir .. "/binary.lua", string.dump(function() end))
    write(dir .. "/bytes.lua", "\xff\0\n")
    write(dir .. "/last.lua", "async function f() end\nf():close()\nf.x()\nf()\n")
    helper.run(function()
      await(uv.symlink("nowhere", dir .. "/gone.lua"))
      await(uv.symlink(".", dir .. "/circle.lua"))
      await(uv.symlink("loop.lua", dir .. "/loop.lua"))
    end)
    assert(os.execute("mkfifo " .. dir .. "/fifo.lua"))
    local status, out, err = helper.cli({ "check", "." }, { cwd = dir })
    assert.equal("1", tostring(status))
    assert.equal("5 files, 4 errors, 1 warnings\n", err)
    for _, line in ipairs {
      "./binary.lua: attempt to load a binary chunk (mode is 't')\n", "./bytes.lua:1: ", "read_file './gone.lua'\n", "read_file './loop.lua'\n",
      "./last.lua:4: warning: the coroutine that f() gives is dropped: await it\n",
    } do
      assert(out:find(line, 1, true), out)
    end
  end)

  it("says what is wrong with its arguments", function()
    local status, _, err = helper.cli { "check" }
    assert.equal("2", tostring(status))
    assert(err:find("a file or a folder is missing", 1, true), err)
  end)
end)

describe("moonloop translate", function()
  it("prints plain Lua, line for line", function()
    local dir = helper.tmpdir()
    write(dir .. "/a.lua", "#!/usr/bin/env moonloop\nasync function f(x)\n  return await g(x)\nend\n")
    local status, out, err = helper.cli({ "translate", "a.lua" }, { cwd = dir })
    assert.equal("#!/usr/bin/env moonloop\nf = async(function(x)\n  return await(g(x))\nend, \"f\")\n", out)
    assert.equal("", err)
    assert.equal("0", tostring(status))
    helper.cli({ "translate", "-o", "b.lua", "a.lua" }, { cwd = dir })
    local f <close> = assert(io.open(dir .. "/b.lua"))
    assert.equal(out, f:read("a"))
  end)

  it("leaves plain Lua as it is", function()
    local _, out = helper.cli { "translate", "scripts/gather.lua" }
    local f <close> = assert(io.open("scripts/gather.lua"))
    local source = f:read("a")
    assert.equal(source:find("await ", 1, true) and out or source, out)
  end)

  it("refuses what is no Lua", function()
    local dir = helper.tmpdir()
    write(dir .. "/a.lua", "await f(\n")
    local status, out, err = helper.cli({ "translate", "a.lua" }, { cwd = dir })
    assert.equal("1", tostring(status))
    assert.equal("", out)
    assert.equal("a.lua:2: unexpected symbol near <eof>\n", err)
    for _, case in ipairs {
      { "moonloop translate: OSError: ENOENT: no such file or directory: read_file 'none'\n", "none" },
      { "moonloop translate: nowhere/b.lua: No such file or directory\n", "-o", "nowhere/b.lua", "b.lua" },
    } do
      write(dir .. "/b.lua", "await f()\n")
      status, out, err = helper.cli({ "translate", table.unpack(case, 2) }, { cwd = dir })
      assert.equal("1", tostring(status))
      assert.equal("", out)
      assert.equal(case[1], err)
    end
  end)
end)
