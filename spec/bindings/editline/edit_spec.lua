--- The line editor by itself; how it works at a terminal is seen in spec/repl.

local helper = require "spec.helper"
local terminal = require "spec.terminal"

local ok, edit = pcall(require, "asyncio.edit")
if not ok then return end

--- What a program prints that runs in a terminal.
local function run(code, ...)
  local out = terminal.run({ "-e", "local edit = require 'asyncio.edit'\n" .. code }, { ... }, { TERM = "xterm" })
  return (out:gsub("\27%[[%d;]*%a", ""):gsub("\r", ""))
end

describe("the editor", function()
  it("needs a terminal", function()
    local _, _, err = helper.cli({ "-e", "require('asyncio.edit').open()" }, "")
    assert(err:find("standard input and output are no terminal", 1, true), err)
    assert.is_function(edit.open)
  end)

  it("gives lines, and says what it wants", function()
    local out = run [[
      local e <close> = edit.open()
      local function show(...) e:hide() print(...) e:show() end
      show(e:start "> ")
      show(e:feed "ab\2")
      show(e:feed "x\t")
      show(e:complete(1, "yz"))
      show(e:feed "\n")
      show(e:start "> ")
      show(e:feed "\4")
      e:abort()
      show(e:start "> ")
      show(e:feed "caf\195")
      show(e:feed "\169 \255\n rest")
      e:remember "earlier"
      show(e:start "> ")
    ]]
    for _, line in ipairs { "more\n", "complete\taxb\t2\n", "line\tayzb\n", "eof\n", "line\tcafé ?\n" } do
      assert(out:find(line, 1, true), line .. " in " .. out)
    end
    assert(out:find("[0 restored]", 1, true), out)
  end)

  it("is told what it cannot do, and closes in the middle of a line", function()
    local out = run [[
      local e = edit.open()
      print(pcall(edit.open))
      print(pcall(e.feed, e, "x"))
      print(pcall(e.complete, e, 0, ""))
      e:abort()
      e:start "> "
      print(pcall(e.start, e, "> "))
      print(pcall(e.complete, e, 0, ""))
      e:feed "ab\t"
      print(pcall(e.feed, e, "x"))
      print(pcall(e.complete, e, 3, ""))
      print(pcall(e.complete, e, -1, ""))
      print(pcall(e.start, e, ("x"):rep(1000)))
      e:resized() e:resumed() e:hide() e:hide() e:show() e:show()
      e:close() e:close()
      print(pcall(e.start, e, "> "))
      local again <close> = edit.open()
      again:start "2> "
    ]]
    for _, text in ipairs {
      "the editor is open already", "no line is being edited", "a line is being edited already", "no answer is wanted",
      "an answer is wanted, not input", "no more than is before the cursor", "the prompt is too long", "the editor is closed",
    } do
      assert(out:find(text, 1, true), text .. " in " .. out)
    end
    assert(out:find("[0 restored]", 1, true), out)
  end)

  it("is collected in the middle of a line", function()
    local out = run "do local e = edit.open() e:start '> ' end collectgarbage() collectgarbage() edit.open():start 'x> ' print 'ok'"
    assert(out:find("ok\n", 1, true) and out:find("[0 restored]", 1, true), out)
  end)
end)
