--- docs/reference/commands.md and the manual page name every option of moonloop fetch and moonloop bench.

local blocks = require "spec.docs.blocks"
local helper = require "spec.helper"

local page = blocks.read("docs/reference/commands.md")

--- The long options that --help lists.
local function options_of(command)
  local _, help = helper.cli(command .. " --help")
  local list = {}
  for name in help:gmatch("%-%-(%l[%l%d.-]*)") do list[name] = true end
  list.help = nil
  return list
end

describe("docs/reference/commands.md", function()
  for _, command in ipairs { "fetch", "bench" } do
    it("names every option of moonloop " .. command, function()
      for name in pairs(options_of(command)) do
        local at = page:find("`--" .. name .. "`", 1, true) or page:find("`--" .. name .. " ", 1, true)
        assert(at, "--" .. name .. " is not there")
      end
    end)
  end

  it("names no option that there is not", function()
    local fetch, bench = options_of("fetch"), options_of("bench")
    for name in page:gmatch("`%-%-(%l[%l%d.-]*)") do
      assert(fetch[name] or bench[name] or name == "help" or name == "continue-at", "--" .. name .. " is unknown")
    end
  end)

  it("names every field of bench's JSON", function()
    local processes = require "spec.commands.processes"
    local _, _, port = processes.start("spec/commands/server.lua")
    local _, out = helper.cli(("bench -q -n 5 -r 1000 --json http://127.0.0.1:%d/"):format(port))
    for name in pairs(require("json").decode(out)) do
      assert(page:find("`" .. name .. "`", 1, true), name .. " is not there")
    end
  end)

  it("stands in docs/reference.md, and the commands in the manual page", function()
    assert(blocks.read("docs/reference.md"):find("reference/commands.md", 1, true))
    local man = blocks.read("docs/moonloop.1")
    for _, text in ipairs { "moonloop fetch", "moonloop bench", "\\-\\-continue", "\\-\\-rate", "\\-\\-html" } do
      assert(man:find(text, 1, true), text)
    end
  end)
end)
