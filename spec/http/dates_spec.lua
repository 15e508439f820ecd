local dates = require "http.dates"

describe("dates of HTTP", function()
  it("are written as RFC 9110 has them", function()
    assert.equal("Sun, 06 Nov 1994 08:49:37 GMT", dates.format(784111777))
    assert.equal("Thu, 01 Jan 1970 00:00:00 GMT", dates.format(0.9))
    assert.equal("Tue, 29 Feb 2000 23:59:59 GMT", dates.format(951868799))
  end)

  it("are read in all three forms", function()
    assert.equal(784111777, dates.parse("Sun, 06 Nov 1994 08:49:37 GMT"))
    assert.equal(784111777, dates.parse("Sunday, 06-Nov-94 08:49:37 GMT"))
    assert.equal(784111777, dates.parse("Sun Nov  6 08:49:37 1994"))
  end)

  it("come back as they were", function()
    for t = 0, 4e9, 86400 * 97 + 12345 do assert.equal(t, dates.parse(dates.format(t))) end
  end)

  it("are nil if they are none", function()
    for _, text in ipairs { "", "x", "Sun, 06 Nov 1994 08:49:37", "Sun, 06 Foo 1994 08:49:37 GMT", "Sun, 00 Nov 1994 08:49:37 GMT",
      "Sun, 06 Nov 1994 24:49:37 GMT", "0", "Sun, 06 Nov 94 08:49:37 GMT" } do
      assert.is_nil(dates.parse(text), text)
    end
    assert.is_nil(dates.parse(nil))
    assert.is_nil(dates.parse(5))
  end)
end)
