local text = require "tty.text"

describe("tty.text", function()
  it("takes out what would steer a terminal", function()
    assert.equal("plain ~", text.printable("plain ~"))
    assert.equal("a?[31mb?", text.printable("a\27[31mb\n"))
    assert.equal("?x?", text.printable("\u{9b}x\u{80}"))
    assert.equal("é?漢?", text.printable("é\255漢\xe6"))
    assert.equal("a?b?c", text.printable("a\u{202e}b\u{2066}c"))
    assert.equal("", text.printable(""))
  end)

  it("knows the columns of text", function()
    assert.equal(5, text.width("plain"))
    assert.equal(4, text.width("漢字"))
    assert.equal(1, text.width("e\u{301}"))
    assert.equal(2, text.width("😀"))
    assert.equal(1, text.width("é"))
    assert.equal(1, text.width("█"))
  end)

  it("cuts text to columns, never in the middle of a character", function()
    assert.equal("abc", text.fit("abcdef", 3))
    assert.equal("漢", text.fit("漢字", 3))
    assert.equal("漢字", text.fit("漢字", 4))
    assert.equal("e\u{301}", text.fit("e\u{301}x", 1))
    assert.equal("", text.fit("漢", 1))
  end)

  it("writes numbers in few characters", function()
    for n, want in pairs {
      [0] = "0", [999] = "999", [1000] = "1.00k", [12345] = "12.3k", [999499] = "999k", [999600] = "1.00M",
      [0.5] = "0.50", [9.999] = "10.0", [-1500] = "-1.50k", [1e24] = "1e+03Z",
    } do
      assert.equal(want, text.scaled(n))
    end
    assert.equal("1.00k", text.scaled(1024, 1024))
    assert.equal("1.00M", text.scaled(1024 * 1024, 1024))
  end)

  it("writes seconds as a clock", function()
    for seconds, want in pairs {
      [0] = "00:00", [59.4] = "00:59", [59.6] = "01:00", [3599] = "59:59", [3600] = "1:00:00", [86399] = "23:59:59",
      [90061] = "25:01:01", [180000] = "2d 02:00:00", [math.huge] = "?",
    } do
      assert.equal(want, text.clock(seconds))
    end
    assert.equal("?", text.clock(0 / 0))
  end)
end)
