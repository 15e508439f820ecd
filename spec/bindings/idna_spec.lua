local helper = require "spec.helper"

local found, idna = pcall(require, "url.idna")
if not found then return end

describe("url.idna", function()
  it("encodes by IDNA 2008, with what UTS 46 maps", function()
    local cases = {
      { "B\u{fc}cher.Example", "xn--bcher-kva.example" }, { "stra\u{df}e.de", "xn--strae-oqa.de" }, { "\u{ff21}\u{3002}b", "a.b" }, { "plain_name.x", "plain_name.x" }, { "\u{65e5}\u{672c}.jp", "xn--wgv71a.jp" },
    }
    for _, case in ipairs(cases) do assert.equal(case[2], idna.encode(case[1])) end
  end)

  it("decodes", function()
    assert.equal("b\u{fc}cher.example", idna.decode("xn--bcher-kva.example"))
    assert.equal("plain", idna.decode("plain"))
  end)

  it("gives nil and the reason for what has no such form", function()
    for _, name in ipairs { "\u{200d}a", "xn--\u{fc}", ("\u{fc}"):rep(64), "\xFF", ("\u{fc}."):rep(200) } do
      local text, why = idna.encode(name)
      assert.is_nil(text)
      assert.equal("string", type(why))
    end
    assert.is_nil((idna.decode("xn--\xFF")))
  end)

  it("refuses what is no name", function()
    helper.raises("name of a host", idna.encode, "a\0b")
    helper.raises("name of a host", idna.decode, ("a"):rep(1024))
    helper.raises("string expected", idna.encode)
  end)
end)
