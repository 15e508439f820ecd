--- docs/reference/fs.md names every function of fs and of what it gives, and nothing else.

local blocks = require "spec.docs.blocks"
local fs = require "fs"

local text = blocks.read("docs/reference/fs.md")

local function named(pattern)
  local names = {}
  for span in text:gmatch("`([^`\n]+)`") do
    local name = span:match(pattern)
    if name then names[name] = true end
  end
  return names
end

local function missing(a, b)
  local list = {}
  for name in pairs(a) do
    if type(name) == "string" and name:sub(1, 1) ~= "_" and not b[name] then list[#list + 1] = name end
  end
  table.sort(list)
  return list
end

describe("docs/reference/fs.md", function()
  for what, there in pairs { ["^fs%.([%a_]+)"] = fs, ["^fs%.path%.([%a_]+)"] = fs.path, ["^file:([%a_]+)%("] = fs.File } do
    it("names what there is: " .. what, function()
      local names = named(what)
      names.inotify = nil -- a setting of the kernel
      if there == fs.path then names.check = true end -- for the parts of fs
      assert.same({}, missing(there, names))
      names.check = nil
      assert.same({}, missing(names, there))
    end)
  end
end)
