local asyncio = require "asyncio"
local helper = require "spec.helper"
local history = require "repl.history"

local function run(f) return asyncio.run(asyncio.async(f)()) end

local function read(path)
  local f <close> = assert(io.open(path))
  return f:read "a"
end

describe("the history", function()
  it("is kept in a file that is its user's alone, lines and backslashes escaped", function()
    local path = helper.tmpdir() .. "/state/moonloop/history"
    run(function()
      local h = asyncio.await(history.open(path))
      assert.same({}, h.entries)
      assert(h:add "x = 1")
      assert(h:add "s = 'a\\n'\nprint(s)")
    end)
    assert.equal("x = 1\ns = 'a\\\\n'\\nprint(s)\n", read(path))
    assert.equal("600\n", select(2, helper.sh("stat -c %a " .. path)))
    run(function()
      assert.same({ "x = 1", "s = 'a\\n'\nprint(s)" }, asyncio.await(history.open(path)).entries)
    end)
  end)

  it("leaves out what is the same twice in a row, and what begins with a space", function()
    run(function()
      local h = asyncio.await(history.open(nil))
      assert.same({ true, false, false, true, true }, { h:add "a", h:add "a", h:add " secret", h:add "b", h:add "a" })
      assert.same({ "a", "b", "a" }, h.entries)
    end)
  end)

  it("is bounded", function()
    local lines = {}
    for i = 1, 2 * history.LIMIT + 1 do lines[i] = "x = " .. i .. "\n" end
    local path = helper.tmpfile(table.concat(lines))
    run(function()
      local h = asyncio.await(history.open(path))
      assert.equal(history.LIMIT, #h.entries)
      assert.equal("x = " .. #lines, h.entries[history.LIMIT])
    end)
    local _, kept = read(path):gsub("\n", "")
    assert.equal(history.LIMIT, kept)
  end)

  it("does without a file that cannot be written", function()
    run(function()
      local h = asyncio.await(history.open "/proc/none/history")
      assert(h:add "x")
      assert(h:add "y")
      assert.same({ "x", "y" }, h.entries)
    end)
  end)

  it("has its place by MOONLOOP_HISTORY, XDG_STATE_HOME or HOME", function()
    local function path(env)
      local set = ""
      for _, name in ipairs { "MOONLOOP_HISTORY", "XDG_STATE_HOME", "HOME" } do
        set = set .. (env[name] and (" %s=%s"):format(name, helper.quote(env[name])) or " -u " .. name)
      end
      local words = {}
      for option in set:gmatch "%-u %S+" do words[#words + 1] = option end
      for pair in set:gmatch "%f[%u][%u_]+='[^']*'" do words[#words + 1] = pair end
      local _, out = helper.sh("env " .. table.concat(words, " ") .. " " .. helper.moonloop
        .. [[ -e 'print(require("repl.history").path())']])
      return (out:gsub("\n", ""))
    end
    assert.equal("/h", path { MOONLOOP_HISTORY = "/h", HOME = "/home/x" })
    assert.equal("nil", path { MOONLOOP_HISTORY = "", HOME = "/home/x" })
    assert.equal("/state/moonloop/history", path { XDG_STATE_HOME = "/state", HOME = "/home/x" })
    assert.equal("/home/x/.moonloop_history", path { HOME = "/home/x" })
    assert.equal("nil", path {})
  end)
end)
