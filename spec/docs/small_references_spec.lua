--- The pages of small modules name every function of the module, and nothing else.

local blocks = require "spec.docs.blocks"

for _, name in ipairs { "brotli", "json", "mime", "reload", "task", "url", "zlib" } do
  describe("docs/reference/" .. name .. ".md", function()
    it("names what there is", function()
      local module = require(name)
      local named = blocks.named(blocks.read("docs/reference/" .. name .. ".md"), "^" .. name .. "%.([%a_][%w_]*)")
      assert.same({}, blocks.missing(module, named))
      assert.same({}, blocks.missing(named, module))
    end)
  end)
end
