--- The pages of small modules name every function of the module, and nothing else.

local blocks = require "spec.docs.blocks"

for _, name in ipairs { "brotli", "json", "mime", "reload", "task", "url", "zlib" } do
  describe("docs/reference/" .. name .. ".md", function()
    it("names what there is", function()
      local module, named = require(name), {}
      for span in blocks.read("docs/reference/" .. name .. ".md"):gmatch("`([^`\n]+)`") do
        local field = span:match("^" .. name .. "%.([%a_][%w_]*)")
        if field then named[field] = true end
      end
      for field in pairs(module) do assert(named[field], field .. " is not there") end
      for field in pairs(named) do assert(module[field] ~= nil, "there is no " .. field) end
    end)
  end)
end
