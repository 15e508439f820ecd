--- What the build promises: how modules are embedded, read from disk instead,
--- and what the command's and the libraries' files are like.

local helper = require("spec.helper")

describe("the embedded standard library", function()
  it("needs no file of the source tree", function()
    local status, out, err = helper.cli({ "-e", "print(type(require('asyncio').gather))" },
      { cwd = helper.tmpdir() })
    assert.same({ 0, "function\n", "" }, { status, out, err })
  end)

  it("keeps file names and lines for tracebacks", function()
    local _, out = helper.cli({ "-e", [[
      local info = debug.getinfo(require("asyncio").TaskGroup, "S")
      if info.what == "C" then info = debug.getinfo(getmetatable(require("asyncio").TaskGroup).__call, "S") end
      print(info.source, info.linedefined > 0)
    ]] })
    assert.equal("@moonloop/asyncio/taskgroups.lua\ttrue\n", out)
  end)

  it("gives way to a folder named in the environment", function()
    local dir = helper.tmpdir()
    local f <close> = assert(io.open(dir .. "/disk_only.lua", "w"))
    f:write("return 'from disk'")
    f:close()
    local status, out, err = helper.cli({ "-e", "print((require 'disk_only'))" },
      { env = { MOONLOOP_STDLIB = dir } })
    assert.same({ 0, "from disk\n", "" }, { status, out, err })
  end)
end)

describe("the command", function()
  it("loads C modules made for Lua", function()
    local status, out, err = helper.cli({ "-e", "print(require('lfs').currentdir() ~= nil)" })
    assert.same({ 0, "true\n", "" }, { status, out, err })
  end)
end)

describe("set-up", function()
  it("is silent when all is there", function()
    local status, out, err = helper.sh("tools/setup.sh build test")
    assert.same({ 0, "", "" }, { status, out, err })
  end)

  it("says what is missing on a system without apt", function()
    -- a PATH with a few tools of the shell only: no compiler, no apt-get
    local bin = helper.tmpdir()
    for _, tool in ipairs({ "sh", "mktemp", "sort", "tr", "id", "rm" }) do
      helper.sh("ln -s $(command -v " .. tool .. ") " .. helper.quote(bin .. "/" .. tool))
    end
    local status, _, err = helper.sh(
      "sed '/^PATH=/d' tools/setup.sh | env PATH=" .. helper.quote(bin) .. " sh -s build")
    assert.equal(1, status)
    assert.truthy(err:find("missing here", 1, true), err)
    assert.truthy(err:find("liblua5.4-dev", 1, true), err)
  end)

  it("refuses a group it does not know", function()
    local status, _, err = helper.sh("tools/setup.sh nonsense")
    assert.equal(2, status)
    assert.truthy(err:find("nonsense", 1, true))
  end)
end)
