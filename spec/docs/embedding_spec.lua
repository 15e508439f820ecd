--- Every C example of the documents compiles against moonloop.h; one with a main is linked and run and must exit
--- with 0. Every function of the header is described in docs/embedding.md.

local blocks = require "spec.docs.blocks"
local helper = require "spec.helper"

local build = helper.moonloop:match("^(.*)/moonloop$") or "build"
local headers = "#include <moonloop.h>\n#include <lua.h>\n#include <lauxlib.h>\n"
  .. "#include <stdio.h>\n#include <string.h>\n"
local documents = { "README.md", "docs/embedding.md" }

describe("the C example at", function()
  for _, block in ipairs(blocks.all(documents, "c")) do
    it(block.name, function()
      local has_main = block.text:find("int main", 1, true)
      local source = block.text
      if not has_main then -- statements of a host that has an engine
        source = headers .. (block.flags == "declarations" and source
            or "int snippet(ml_engine *e, ml_task *t);\nint snippet(ml_engine *e, ml_task *t) {\n(void)e, (void)t;\n"
              .. source .. "return 0;\n}\n")
      end
      local file = helper.tmpfile(source, ".c")
      local flags = "$(PKG_CONFIG_PATH=" .. build .. " pkg-config --cflags --libs --static moonloop)"
      local program = file:gsub("%.c$", ".bin")
      helper.finally(os.remove, program)
      local status, _, err = helper.sh(("${CC:-cc} -std=gnu11 -Wall -Wextra -Werror %s -o %s %s %s"):format(
        has_main and "" or "-Wno-unused-variable -c", program, file, flags))
      assert.equal(0, status, err)
      if not has_main or block.flags == "no-run" then return end
      local dir = helper.tmpdir()
      local f <close> = assert(io.open(dir .. "/game.lua", "w"))
      f:write("await(require('asyncio').sleep(0.01)) print('played')\n")
      f:close()
      local out
      status, out, err = helper.sh(program, { cwd = dir })
      assert.equal(0, status, err)
      if block.output then assert.equal(block.output, out) end
    end)
  end
end)

describe("docs/embedding.md", function()
  local text = blocks.read("docs/embedding.md")
  local header = blocks.read("engine/moonloop.h"):gsub("/%*.-%*/", "")

  local function missing(names, form)
    local list = {}
    for name in names do
      if not text:find(form:format(name), 1, true) then list[#list + 1] = name end
    end
    return list
  end

  it("has an entry for every function of moonloop.h", function()
    local entries, list = {}, {}
    for line in text:gmatch("[^\n]+") do
      if line:find(" \u{2014} ", 1, true) or line:find("ml_config_init_size", 1, true) then
        for name in line:gmatch("`(ml_[%w_]+)%(") do entries[name] = true end
      end
    end
    for name in header:gmatch("ML_API%s[^;]-(ml_[%w_]+)%(") do
      if not entries[name] then list[#list + 1] = name end
    end
    assert.same({}, list)
  end)

  it("names every code and constant", function()
    assert.same({}, missing(header:gmatch("(ML_E%u+) = %-"), "`%s`"))
    local list = {}
    for body in header:gmatch("enum[^{;]*(%b{})") do
      for name in body:gmatch("ML_[%u_]+") do
        if not text:find(name, 1, true) then list[#list + 1] = name end
      end
    end
    assert.same({}, list)
  end)

  it("names every field of ml_config", function()
    local body = header:match("typedef struct ml_config (%b{})")
    local list = {}
    for declaration in body:sub(2, -2):gmatch("[^;]+;") do
      local name = declaration:match("%(%*([%w_]+)%)") or declaration:match("([%w_]+);$")
      if name ~= "size" and not text:find("`" .. name .. "`", 1, true) then list[#list + 1] = name end
    end
    assert.same({}, list)
  end)

  it("begins with a host in thirty lines", function()
    local first = blocks.of("docs/embedding.md")[1]
    assert.equal("c", first.language)
    assert.truthy(first.text:find("int main", 1, true))
    assert.truthy(select(2, first.text:gsub("\n", "")) <= 30)
  end)

  it("leads to all of its sections, and to no others", function()
    local anchors, list = {}, {}
    for title in text:gmatch("\n#+ ([^\n]+)") do
      anchors[title:lower():gsub("[^%w%- ]", ""):gsub(" ", "-")] = true
    end
    for anchor in text:gmatch("%]%(#([^)]+)%)") do
      if not anchors[anchor] then list[#list + 1] = anchor end
    end
    for title in text:gmatch("\n## ([^\n]+)") do
      local anchor = title:lower():gsub("[^%w%- ]", ""):gsub(" ", "-")
      if not text:find("[" .. title .. "](#" .. anchor .. ")", 1, true) then list[#list + 1] = title end
    end
    assert.same({}, list)
  end)

  it("says which functions are for any thread", function()
    local threads = text:match("\n## Threads\n(.-)\n## ")
    local whole, at, found = blocks.read("engine/moonloop.h"), 1, 0
    while true do
      at = whole:find("/* ANY THREAD", at, true)
      if not at then break end
      local name = whole:match("ML_API%s[^;]-(ml_[%w_]+)%(", at)
      assert.truthy(threads:find("`" .. name .. "`", 1, true), name)
      at, found = at + 1, found + 1
    end
    assert.truthy(found >= 3)
  end)
end)
