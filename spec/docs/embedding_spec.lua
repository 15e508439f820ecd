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
  it("names every function and code of moonloop.h", function()
    local text, missing = blocks.read("docs/embedding.md"), {}
    local header = blocks.read("engine/moonloop.h"):gsub("/%*.-%*/", "")
    for name in header:gmatch("ML_API[^;]-(ml_[%w_]+)%(") do
      if not text:find("`" .. name .. "(", 1, true) then missing[#missing + 1] = name end
    end
    for name in header:gmatch("(ML_E%u+) = %-") do
      if not text:find("`" .. name .. "`", 1, true) then missing[#missing + 1] = name end
    end
    assert.same({}, missing)
  end)
end)
