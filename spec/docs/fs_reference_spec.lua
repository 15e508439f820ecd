--- docs/reference/fs.md names every function of fs and of what it gives, and nothing else.

local blocks = require "spec.docs.blocks"
local fs = require "fs"

local text = blocks.read("docs/reference/fs.md")

local missing = blocks.missing

describe("docs/reference/fs.md", function()
  for what, there in pairs { ["^fs%.([%a_]+)"] = fs, ["^fs%.path%.([%a_]+)"] = fs.path, ["^file:([%a_]+)%("] = fs.File } do
    it("names what there is: " .. what, function()
      local names = blocks.named(text, what)
      names.inotify = nil -- a setting of the kernel
      if there == fs.path then names.check = true end -- for the parts of fs
      assert.same({}, missing(there, names))
      names.check = nil
      assert.same({}, missing(names, there))
    end)
  end
end)
