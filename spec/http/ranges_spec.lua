--- Ranges and conditions: what RFC 9110 says of each header.

local ranges = require "http.ranges"

local function shown(header, size)
  local list = ranges.parse(header, size)
  if type(list) ~= "table" then return tostring(list) end
  local out = {}
  for i, r in ipairs(list) do out[i] = r[1] .. "-" .. r[2] end
  return table.concat(out, ",")
end

describe("a Range header", function()
  it("asks for bytes from the beginning, from somewhere, and from the end", function()
    assert.equal("0-0", shown("bytes=0-0", 1000))
    assert.equal("0-999", shown("bytes=0-", 1000))
    assert.equal("500-999", shown("bytes=500-", 1000))
    assert.equal("999-999", shown("bytes=-1", 1000))
    assert.equal("0-999", shown("bytes=-5000", 1000))
    assert.equal("10-19", shown("BYTES=10-19", 1000))
    assert.equal("990-999", shown("bytes=990-2000", 1000))
  end)

  it("cannot be satisfied by bytes that there are not", function()
    for _, h in ipairs { "bytes=1000-", "bytes=5000-6000", "bytes=-0", "bytes=1000-1001,2000-", "bytes=99999999999999999999-" } do
      assert.equal("false", shown(h, 1000), h)
    end
    assert.equal("0-1", shown("bytes=2000-,0-1", 1000))
  end)

  it("is ignored if it is none, of another unit, or malformed", function()
    for _, h in ipairs { "items=0-1", "bytes", "bytes=", "bytes=,", "bytes=a-b", "bytes=5-2", "bytes=--1", "bytes=1-2-3",
      "bytes=1 -2", "bytes= -", "bytes=1-2,x", "bytes=0x1-2", "bytes=1.5-2", "bytes=1-2;x", "bytes=0-0,99999999999999999999-99999999999999999998",
      "bytes=0-0,100000000000000000000-99999999999999999999", "bytes=0-0,0099999999999999999999-000" } do
      assert.equal("nil", shown(h, 1000), h)
    end
    assert.equal("nil", shown(nil, 1000))
    assert.equal("nil", shown("bytes=0-", 0))
    assert.equal("nil", shown("bytes=-5", 0))
  end)

  it("may have blanks and empty elements", function()
    assert.equal("0-1,900-999", shown("bytes= 0-1 ,, 900- ,", 1000))
    assert.equal("0-1", shown("  bytes=\t0-1\t", 1000))
  end)

  it("may have several, which stay in their order", function()
    assert.equal("0-1,500-506", shown("bytes=0-1,500-506", 1000))
    assert.equal("900-901,0-1", shown("bytes=900-901,0-1", 1000))
  end)

  it("has those that overlap or nearly touch joined", function()
    assert.equal("0-999", shown("bytes=0-,0-,0-", 1000))
    assert.equal("0-20", shown("bytes=10-20,0-5", 1000))
    assert.equal("0-1,500-700", shown("bytes=600-700,500-620,0-1", 1000))
  end)

  it("may not have many", function()
    assert.equal("nil", shown("bytes=" .. ("0-0,"):rep(33), 1000))
    local list = {}
    for i = 1, 32 do list[i] = ("%d-%d"):format(i * 1000, i * 1000) end
    assert.equal(32, #ranges.parse("bytes=" .. table.concat(list, ","), 100000))
  end)

  it("may have more digits than numbers have", function()
    local zeros = ("0"):rep(5000)
    assert.equal("1-2", shown("bytes=" .. zeros .. "1-2", 1000))
    assert.equal("0-999", shown("bytes=0-" .. ("9"):rep(5000), 1000))
    assert.equal("0-999", shown("bytes=-" .. ("9"):rep(5000), 1000))
  end)
end)

describe("conditions", function()
  local ETAG, MTIME, DATE = '"abc"', 784111777, "Sun, 06 Nov 1994 08:49:37 GMT"
  local EARLIER, LATER = "Sun, 06 Nov 1994 08:49:36 GMT", "Sun, 06 Nov 1994 08:49:38 GMT"

  local function answer(headers, method, etag)
    return ranges.condition(function(name) return headers[name] end, method or "GET", etag or ETAG, MTIME)
  end

  it("hold when there are none", function()
    assert.is_nil(answer {})
  end)

  it("If-Match: compares strongly", function()
    assert.is_nil(answer { ["If-Match"] = '"abc"' })
    assert.is_nil(answer { ["If-Match"] = '"x", "abc" ,"y"' })
    assert.is_nil(answer { ["If-Match"] = " * " })
    assert.equal(412, answer { ["If-Match"] = '"abcd"' })
    assert.equal(412, answer { ["If-Match"] = 'W/"abc"' })
    assert.equal(412, answer({ ["If-Match"] = 'W/"abc"' }, "GET", 'W/"abc"'))
    assert.equal(412, answer { ["If-Match"] = "abc" })
    assert.equal(412, answer { ["If-Match"] = "" })
  end)

  it("If-None-Match: compares weakly; for methods that alter something it fails", function()
    assert.equal(304, answer { ["If-None-Match"] = '"abc"' })
    assert.equal(304, answer({ ["If-None-Match"] = 'W/"abc"' }, "HEAD"))
    assert.equal(304, answer { ["If-None-Match"] = '"a,b", "abc"' })
    assert.equal(304, answer({ ["If-None-Match"] = '"abc"' }, "GET", 'W/"abc"'))
    assert.equal(304, answer { ["If-None-Match"] = "*" })
    assert.equal(412, answer({ ["If-None-Match"] = "*" }, "PUT"))
    assert.is_nil(answer { ["If-None-Match"] = '"x"' })
    assert.is_nil(answer { ["If-None-Match"] = '"abc' })
    assert.is_nil(answer { ["If-None-Match"] = 'abc"abc"' })
  end)

  it("dates: of the same second nothing has changed", function()
    assert.equal(304, answer { ["If-Modified-Since"] = DATE })
    assert.equal(304, answer { ["If-Modified-Since"] = LATER })
    assert.equal(304, answer { ["If-Modified-Since"] = "Sunday, 06-Nov-94 08:49:37 GMT" })
    assert.equal(304, answer { ["If-Modified-Since"] = "Sun Nov  6 08:49:37 1994" })
    assert.is_nil(answer { ["If-Modified-Since"] = EARLIER })
    assert.is_nil(answer { ["If-Modified-Since"] = "yesterday" })
    assert.is_nil(answer({ ["If-Modified-Since"] = DATE }, "POST"))
    assert.is_nil(answer { ["If-Unmodified-Since"] = DATE })
    assert.equal(412, answer { ["If-Unmodified-Since"] = EARLIER })
    assert.is_nil(answer { ["If-Unmodified-Since"] = "nonsense" })
  end)

  it("entity tags count more than dates", function()
    assert.is_nil(answer { ["If-None-Match"] = '"x"', ["If-Modified-Since"] = DATE })
    assert.is_nil(answer { ["If-Match"] = '"abc"', ["If-Unmodified-Since"] = EARLIER })
    assert.equal(412, answer { ["If-Match"] = '"x"', ["If-None-Match"] = '"abc"' })
    assert.equal(304, answer { ["If-Unmodified-Since"] = DATE, ["If-None-Match"] = '"abc"' })
  end)

  it("If-Range: a strong tag or the very date", function()
    assert.is_true(ranges.if_range(nil, ETAG, DATE))
    assert.is_true(ranges.if_range('"abc"', ETAG, DATE))
    assert.is_true(ranges.if_range(" " .. DATE .. " ", ETAG, DATE))
    assert.is_false(ranges.if_range('"x"', ETAG, DATE))
    assert.is_false(ranges.if_range('W/"abc"', 'W/"abc"', DATE))
    assert.is_false(ranges.if_range(LATER, ETAG, DATE))
    assert.is_false(ranges.if_range("abc", ETAG, DATE))
    assert.is_false(ranges.if_range("", ETAG, DATE))
  end)
end)
