--- What terminals send for keys: decoding, without a terminal.

local keys = require "tty.keys"

--- The names of the keys in the bytes; "|" stands for a pause.
local function names(bytes)
  local i, list = 0, {}
  local function next(wait)
    local c = bytes:sub(i + 1, i + 1)
    if c == "|" then
      if wait then return nil end
      i = i + 1
      c = bytes:sub(i + 1, i + 1)
    end
    if c == "" then return nil end
    i = i + 1
    return c
  end
  local all = ""
  while true do
    local name, raw = keys.read(next)
    if not name then break end
    list[#list + 1] = name
    all = all .. raw
  end
  assert.equal((bytes:gsub("|", "")), all)
  return table.concat(list, " ")
end

describe("keys", function()
  it("names what is typed", function()
    assert.equal("a B 5 é € 😀 space", names("aB5é€😀 "))
    assert.equal("enter enter tab backspace ctrl-a ctrl-h ctrl-z", names("\r\n\t\127\1\8\26"))
    assert.equal("ctrl-space ctrl-\\ ctrl-] ctrl-^ ctrl-_", names("\0\28\29\30\31"))
  end)

  it("names the sequences of keys", function()
    assert.equal("up down right left home end", names("\27[A\27[B\27[C\27[D\27[H\27[F"))
    assert.equal("up f1 f4 home", names("\27OA\27OP\27OS\27OH"))
    assert.equal("home insert delete end pageup pagedown", names("\27[1~\27[2~\27[3~\27[4~\27[5~\27[6~"))
    assert.equal("f1 f5 f6 f10 f11 f12", names("\27[11~\27[15~\27[17~\27[21~\27[23~\27[24~"))
    assert.equal("shift-tab", names("\27[Z"))
  end)

  it("names modifiers", function()
    assert.equal("shift-up alt-up ctrl-up ctrl-alt-shift-up", names("\27[1;2A\27[1;3A\27[1;5A\27[1;8A"))
    assert.equal("ctrl-delete shift-f5", names("\27[3;5~\27[15;2~"))
    assert.equal("alt-x alt-é alt-enter alt-ctrl-a", names("\27x\27é\27\r\27\1"))
  end)

  it("tells Esc from the beginning of a sequence by what follows", function()
    assert.equal("escape", names("\27"))
    assert.equal("escape [ A", names("\27|[A"))
    assert.equal("alt-escape a", names("\27\27|a"))
    assert.equal("alt-[ a", names("\27[|a"))
  end)

  it("calls unknown what it does not know, and goes on behind it", function()
    assert.equal("unknown a", names("\27[99~a"))
    assert.equal("unknown a", names("\27[1;2;3Aa"))
    assert.equal("unknown a", names("\27[?1;2ca"))
    assert.equal("unknown a", names("\255a"))
    assert.equal("unknown a", names("\195|a"))
    assert.equal("unknown", names("\27[" .. ("1"):rep(32)))
  end)
end)
