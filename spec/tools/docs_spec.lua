--- make docs: pages with an index, and links that lead somewhere.

local helper = require "spec.helper"

local engine, here = helper.program(), helper.pwd()

local function read(path)
  local f <close> = assert(io.open(path, "rb"))
  return f:read("a")
end

describe("make docs", function()
  it("renders every document, and no link is broken", function()
    local dir = helper.tmpdir()
    local status, out, err = helper.sh(("%s tools/docs.lua %s && %s tools/site.lua %s"):format(engine, dir, engine, dir))
    assert.equal("", err)
    assert.equal(0, status, out)
    local index = read(dir .. "/html/index.html")
    for _, target in ipairs { "docs/guide.html", "docs/reference/web.html", "docs/internals/await.html", "functions/asyncio.wait.html" } do
      assert(index:find('href="' .. target .. '"', 1, true), target)
      assert(read(dir .. "/html/" .. target):find("<main>", 1, true), target)
    end
    local guide = read(dir .. "/html/docs/guide.html")
    assert(guide:find('href="../index.html"', 1, true))
    assert(not guide:find('href="[^":]*%.md[#"]'), "a link to Markdown")
  end)

  it("tells of links that lead nowhere", function()
    local dir = helper.tmpdir()
    local function write(name, text)
      os.execute("mkdir -p " .. (dir .. "/" .. name):match("^(.*)/"))
      local f <close> = assert(io.open(dir .. "/" .. name, "w"))
      f:write(text)
    end
    for _, name in ipairs { "docs/guide.md", "docs/embedding.md", "docs/editors.md", "scripts/README.md", "CHANGELOG.md", "docs/reference.md", "ARCHITECTURE.md",
      "CONTRIBUTING.md", "scripts/bench/README.md", "docs/internals/a.md", "docs/reference/b.md", "build/x.md" } do
      write(name, "# Page\n")
    end
    write("README.md", "# Top\n\n[a](docs/guide.md) [b](docs/guide.md#page) [c](#top) [d](docs/none.md) [e](docs/guide.md#none) [f](#none)\n"
      .. "[g](https://example.org/none) [h](docs) [i](CHANGELOG.md) [j](build/x.md)\n")
    local status, _, err = helper.sh(("cd %s && %s %s build"):format(dir, engine, helper.quote(here .. "/tools/site.lua")))
    assert.equal(1, status)
    local lines = {}
    for line in err:gmatch("[^\n]+") do lines[#lines + 1] = line end
    table.sort(lines)
    assert.same({
      "README.md: broken link to #none", "README.md: broken link to docs/guide.md#none", "README.md: broken link to docs/none.md",
    }, lines)
  end)
end)
