local asyncio = require "asyncio"
local helper = require "spec.helper"
local path = require("fs").path

describe("fs.path", function()
  local cases = { "", "/", "//", "///", "a", "/a", "a/", "a/b", "/a/b", "a//b", "a/b/", "//a", "a/../b", "../a", "/..", "/../a",
    "a/./b", "./a", ".", "..", "a/..", "a/b/../../..", "x.lua", ".profile", "a.b/c", "a.tar.gz", "..x", "a.", "/a.b/.c.d", "x//" }

  it("does to paths what posixpath does", function()
    local list = {}
    for i, c in ipairs(cases) do list[i] = ("%q"):format(c) end
    local out = helper.python(([[
import posixpath as p
for x in [%s]:
    print(x, p.dirname(x), p.basename(x), *p.split(x), *p.splitext(x), p.normpath(x), p.isabs(x), p.join("r", x), p.join(x, "b", "", "c"), sep="|")
]]):format(table.concat(list, ", ")))
    local lines = {}
    for i, c in ipairs(cases) do
      local head, tail = path.split(c)
      local root, ending = path.splitext(c)
      lines[i] = table.concat({ c, path.dirname(c), path.basename(c), head, tail, root, ending, path.normpath(c),
        path.isabs(c) and "True" or "False", path.join("r", c), path.join(c, "b", "", "c") }, "|") .. "\n"
    end
    assert.equal(out, table.concat(lines))
  end)

  it("finds the way from one to another", function()
    assert.equal("b/c", path.relpath("/a/b/c", "/a"))
    assert.equal("../../x", path.relpath("/a/x", "/a/b/c"))
    assert.equal(".", path.relpath("/a/b", "/a//b/"))
    assert.equal("../b", path.relpath("b", "a"))
    assert.equal("b", path.relpath("./b"))
    helper.raises(asyncio.ValueError, path.relpath, "/a", "b")
  end)
end)
