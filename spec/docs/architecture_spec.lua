--- ARCHITECTURE.md shows every room of the engine.

local blocks = require "spec.docs.blocks"

describe("ARCHITECTURE.md", function()
  it("names every file of the engine", function()
    local text, missing = blocks.read("ARCHITECTURE.md"), {}
    local p <close> = assert(io.popen("ls engine"))
    for file in p:lines() do
      local name = file:match("^(.*)%.c$")
      if name and not text:find("%f[%w]" .. name .. "%f[%W]") then missing[#missing + 1] = file end
      if file:find("%.h$") and not text:find(file, 1, true) then missing[#missing + 1] = file end
    end
    assert.same({}, missing)
  end)
end)
