--- docs/reference/testing.md names every function of asyncio.testing and every option of moonloop test; the manual page
--- knows the command.

local blocks = require "spec.docs.blocks"
local helper = require "spec.helper"

local page = blocks.read("docs/reference/testing.md")

describe("docs/reference/testing.md", function()
  it("names what there is", function()
    local module = require "asyncio.testing"
    local named = blocks.named(page, "^testing%.([%a_][%w_]*)")
    assert.same({}, blocks.missing(module, named))
    assert.same({}, blocks.missing(named, module))
  end)

  it("names every option, and no other", function()
    local _, help = helper.cli("test --help")
    for option in help:gmatch("%-%-[%a-]+") do
      assert(page:find("`" .. option, 1, true) or option == "--help", option .. " is not in the reference")
    end
    for option in page:gmatch("`(%-%-[%a-]+)") do assert(help:find(option, 1, true), option .. " is not in --help") end
  end)

  it("stands in docs/reference.md, and the command in the manual page", function()
    assert(blocks.read("docs/reference.md"):find("reference/testing.md", 1, true))
    assert(blocks.read("docs/moonloop.1"):find("moonloop test", 1, true))
  end)
end)
