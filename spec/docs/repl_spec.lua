--- The sessions of the REPL that the documents show, each in a block ```repl: inputs behind "> " and ">> ", below them what
--- is printed.

local blocks = require "spec.docs.blocks"
local helper = require "spec.helper"

describe("the session at", function()
  local all = blocks.all({ "docs/reference/repl.md", "docs/guide.md" }, "repl")
  for _, block in ipairs(all) do
    it(block.name, function()
      local inputs, outputs = {}, {}
      for line in block.text:gmatch "[^\n]+" do
        local input = line:match "^>>? (.*)$"
        table.insert(input and inputs or outputs, input or line)
      end
      local status, out, err = helper.cli("", table.concat(inputs, "\n") .. "\n")
      assert.same({ 0, table.concat(outputs, "\n") .. "\n" }, { status, out }, err)
    end)
  end

  it("those places are some", function() assert(#all >= 4, #all) end)
end)
