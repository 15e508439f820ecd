local asyncio = require "asyncio"
local helper = require "spec.helper"
local json = require "json"

--- A text that shows kinds, too: 1 and 1.0 differ, as do empty arrays and objects.
local function show(value) return json.encode(value, { sort_keys = true }) end

describe("json.decode", function()
  local good = {
    -- white space, structure
    { "[]", "[]" }, { "{}", "{}" }, { " [ ] ", "[]" }, { "\t\n\r {\n}\r\t ", "{}" }, { "[[]]", "[[]]" }, { "[{}]", "[{}]" },
    { "[[],{},[[]]]", "[[],{},[[]]]" }, { '{"a":{}}', '{"a":{}}' }, { '{"a":[]}', '{"a":[]}' }, { "[1 ]", "[1]" }, { "[ 1]", "[1]" },
    { "[1,\n2\t,\r3]", "[1,2,3]" }, { '{"a" : 1 , "b" : [ true ] }', '{"a":1,"b":[true]}' },
    -- single values
    { "null", "null" }, { "true", "true" }, { "false", "false" }, { "42", "42" }, { '""', '""' }, { '"x"\n', '"x"' }, { " -1 ", "-1" },
    { "[null,true,false]", "[null,true,false]" }, { "[null,null]", "[null,null]" },
    -- keys
    { '{"":0}', '{"":0}' }, { '{"a":1,"a":2}', '{"a":2}' }, { '{"a":[],"a":{},"b":1,"a":null}', '{"a":null,"b":1}' },
    { '{"a\\u0000b":1}', '{"a\\u0000b":1}' }, { '{"\\u0061":1,"a":2}', '{"a":2}' }, { '{"title":"\\u041f"}', '{"title":"\xD0\x9F"}' },
    -- integers
    { "0", "0" }, { "-0", "0" }, { "10", "10" }, { "-10", "-10" }, { "9223372036854775807", "9223372036854775807" },
    { "-9223372036854775808", "-9223372036854775808" }, { "9007199254740993", "9007199254740993" }, { "123456789012345678", "123456789012345678" },
    { "9223372036854775808", "9.223372036854776e18" }, { "-9223372036854775809", "-9.223372036854776e18" },
    { "18446744073709551616", "1.8446744073709552e19" }, { "100000000000000000000", "1e20" }, { "-1" .. ("0"):rep(30), "-1e30" },
    -- floats
    { "0.0", "0.0" }, { "-0.0", "-0.0" }, { "1.0", "1.0" }, { "1e0", "1.0" }, { "1E2", "100.0" }, { "1e+2", "100.0" }, { "1e-2", "0.01" },
    { "0e1", "0.0" }, { "0e+1", "0.0" }, { "-0e-1", "-0.0" }, { "123.456e2", "12345.6" }, { "1e-400", "0.0" }, { "0e999999999999", "0.0" },
    { "1.7976931348623157e308", "1.7976931348623157e308" }, { "5e-324", "5e-324" }, { "2.2250738585072011e-308", "2.225073858507201e-308" },
    { "0.1", "0.1" }, { "123456789.123456789", "123456789.12345679" }, { "0." .. ("0"):rep(400) .. "1", "0.0" }, { "1." .. ("0"):rep(400), "1.0" },
    { "1" .. ("0"):rep(400) .. "e-400", "1.0" }, { "9007199254740993.0", "9007199254740992.0" }, { "9007199254740993.00000001", "9007199254740994.0" },
    { "1e22", "1e22" }, { "1e23", "1e23" }, { "8.5e-5", "0.000085" },
    -- strings
    { [["\"\\\/\b\f\n\r\t"]], [["\"\\/\b\f\n\r\t"]] }, { [["\u0041\u00e9\u20AC"]], '"A\xC3\xA9\xE2\x82\xAC"' }, { [["\ud83d\ude00"]], '"\xF0\x9F\x98\x80"' },
    { [["\uDBFF\uDFFF"]], '"\xF4\x8F\xBF\xBF"' }, { [["\u0000"]], [["\u0000"]] }, { [["\u001f"]], [["\u001f"]] }, { '"\127"', '"\127"' },
    { '"\xC2\x80\xDF\xBF\xE0\xA0\x80\xEF\xBF\xBF\xF0\x90\x80\x80\xF4\x8F\xBF\xBF"', '"\xC2\x80\xDF\xBF\xE0\xA0\x80\xEF\xBF\xBF\xF0\x90\x80\x80\xF4\x8F\xBF\xBF"' },
    { '"\xED\x9F\xBF\xEE\x80\x80"', '"\xED\x9F\xBF\xEE\x80\x80"' }, { [["\\u0041"]], [["\\u0041"]] }, { [["a\/b"]], '"a/b"' }, { [["\"" ]], [["\""]] },
    { '"0123456789abcde\\n"', '"0123456789abcde\\n"' }, { '"0123456789abcdef0123456789abcdef"', '"0123456789abcdef0123456789abcdef"' },
  }
  for _, case in ipairs(good) do
    it("reads " .. case[1]:sub(1, 60), function() assert.equal(case[2], show(json.decode(case[1]))) end)
  end

  local bad = {
    -- what, message, line, column
    { "", "Expecting value", 1, 1 }, { " ", "Expecting value", 1, 2 }, { "\n\n", "Expecting value", 3, 1 }, { "nul", "Expecting value", 1, 1 },
    { "nulll", "Extra data", 1, 5 }, { "True", "Expecting value", 1, 1 }, { "truth", "Expecting value", 1, 1 }, { "fals", "Expecting value", 1, 1 },
    { "[", "Expecting value", 1, 2 }, { "[1", "Expecting ',' delimiter", 1, 3 }, { "[1,", "Expecting value", 1, 4 }, { "[1,]", "Expecting value", 1, 4 },
    { "[,1]", "Expecting value", 1, 2 }, { "[1,,2]", "Expecting value", 1, 4 }, { "[1 2]", "Expecting ',' delimiter", 1, 4 }, { "]", "Expecting value", 1, 1 },
    { "[1}", "Expecting ',' delimiter", 1, 3 }, { "[1]]", "Extra data", 1, 4 }, { "[1],", "Extra data", 1, 4 }, { "[]x", "Extra data", 1, 3 },
    { "{", "Expecting property name enclosed in double quotes", 1, 2 }, { "{a:1}", "Expecting property name enclosed in double quotes", 1, 2 },
    { "{'a':1}", "Expecting property name enclosed in double quotes", 1, 2 }, { "{1:1}", "Expecting property name enclosed in double quotes", 1, 2 },
    { '{"a"}', "Expecting ':' delimiter", 1, 5 }, { '{"a" 1}', "Expecting ':' delimiter", 1, 6 }, { '{"a":}', "Expecting value", 1, 6 },
    { '{"a":1', "Expecting ',' delimiter", 1, 7 }, { '{"a":1,}', "Expecting property name enclosed in double quotes", 1, 8 }, { '{"a":1]', "Expecting ',' delimiter", 1, 7 },
    { '{"a":1 "b":2}', "Expecting ',' delimiter", 1, 8 }, { '{"a"::1}', "Expecting value", 1, 6 }, { '{"a":1,,"b":2}', "Expecting property name enclosed in double quotes", 1, 8 },
    { '{"a', "Unterminated string starting at", 1, 2 }, { "}", "Expecting value", 1, 1 }, { '["a":1]', "Expecting ',' delimiter", 1, 5 },
    -- numbers
    { "+1", "Expecting value", 1, 1 }, { ".5", "Expecting value", 1, 1 }, { "-", "Expecting a digit", 1, 2 }, { "-a", "Expecting a digit", 1, 2 }, { "- 1", "Expecting a digit", 1, 2 },
    { "01", "Extra data", 1, 2 }, { "[-01]", "Expecting ',' delimiter", 1, 4 }, { "1.", "Expecting a digit", 1, 3 }, { "1.e1", "Expecting a digit", 1, 3 }, { "-.5", "Expecting a digit", 1, 2 },
    { "1e", "Expecting a digit", 1, 3 }, { "1e+", "Expecting a digit", 1, 4 }, { "1ea", "Expecting a digit", 1, 3 }, { "1.5e--1", "Expecting a digit", 1, 6 }, { "0x1F", "Extra data", 1, 2 },
    { "1_000", "Extra data", 1, 2 }, { "1.0.0", "Extra data", 1, 4 }, { "1e1.5", "Extra data", 1, 4 }, { "NaN", "Expecting value", 1, 1 }, { "Infinity", "Expecting value", 1, 1 },
    { "-Infinity", "Expecting a digit", 1, 2 }, { "[1e400]", "Number out of range", 1, 2 }, { "-1e999999999999999999", "Number out of range", 1, 1 }, { "1" .. ("0"):rep(400), "Number out of range", 1, 1 },
    { "\xEF\xBC\x91", "Expecting value", 1, 1 }, { "1\0", "Extra data", 1, 2 },
    -- strings
    { '"', "Unterminated string starting at", 1, 1 }, { '["a', "Unterminated string starting at", 1, 2 }, { '"\\', "Unterminated string starting at", 1, 1 }, { '"\\"', "Unterminated string starting at", 1, 1 },
    { [["\x41"]], "Invalid \\escape", 1, 2 }, { [["\a"]], "Invalid \\escape", 1, 2 }, { [["\'"]], "Invalid \\escape", 1, 2 }, { '"\\\n"', "Invalid \\escape", 1, 2 }, { '"\\\xC3\xA9"', "Invalid \\escape", 1, 2 },
    { '"\\\0"', "Invalid \\escape", 1, 2 }, { [["\u"]], "Invalid \\uXXXX escape", 1, 2 }, { [["\u12"]], "Invalid \\uXXXX escape", 1, 2 }, { [["\u12g4"]], "Invalid \\uXXXX escape", 1, 2 },
    { [["\U0041"]], "Invalid \\escape", 1, 2 }, { [["\u-123"]], "Invalid \\uXXXX escape", 1, 2 }, { [["x\ud800"]], "Lone surrogate", 1, 3 }, { [["\udc00"]], "Lone surrogate", 1, 2 },
    { [["\ud800\ud800"]], "Lone surrogate", 1, 2 }, { [["\ud800\u0041"]], "Lone surrogate", 1, 2 }, { [["\ud800\n"]], "Lone surrogate", 1, 2 }, { [["\ude00\ud83d"]], "Lone surrogate", 1, 2 },
    { '"a\nb"', "Invalid control character", 1, 3 }, { '"\t"', "Invalid control character", 1, 2 }, { '"\0"', "Invalid control character", 1, 2 }, { '"\31"', "Invalid control character", 1, 2 },
    { "'a'", "Expecting value", 1, 1 }, { "a", "Expecting value", 1, 1 },
    -- UTF-8
    { '"\x80"', "Invalid UTF-8", 1, 2 }, { '"\xC0\x80"', "Invalid UTF-8", 1, 2 }, { '"\xC1\xBF"', "Invalid UTF-8", 1, 2 }, { '"\xC2"', "Invalid UTF-8", 1, 2 }, { '"\xE0\x9F\xBF"', "Invalid UTF-8", 1, 2 },
    { '"\xED\xA0\x80"', "Invalid UTF-8", 1, 2 }, { '"\xF0\x8F\xBF\xBF"', "Invalid UTF-8", 1, 2 }, { '"\xF4\x90\x80\x80"', "Invalid UTF-8", 1, 2 }, { '"\xF5\x80\x80\x80"', "Invalid UTF-8", 1, 2 },
    { '"\xE2\x82"', "Invalid UTF-8", 1, 2 }, { '"\xFF"', "Invalid UTF-8", 1, 2 }, { '"\xC3\xA9\xC3"', "Invalid UTF-8", 1, 3 }, { '{"\xFF":1}', "Invalid UTF-8", 1, 3 }, { '"\xF0\x9F\x98', "Invalid UTF-8", 1, 2 },
    -- elsewhere
    { "\xEF\xBB\xBF{}", "Unexpected byte order mark", 1, 1 }, { "[1]\0", "Extra data", 1, 4 }, { "\xC2\xA0[]", "Expecting value", 1, 1 }, { "[\f1]", "Expecting value", 1, 2 }, { "/**/1", "Expecting value", 1, 1 },
    { "[1] // x", "Extra data", 1, 5 }, { '{\n  "a": [\n    1,\n    x\n  ]\n}', "Expecting value", 4, 5 }, { '["\xC3\xA9\xF0\x9F\x98\x80", x]', "Expecting value", 1, 8 }, { "\xFE\xFF\0[", "Expecting value", 1, 1 },
  }
  for _, case in ipairs(bad) do
    it("refuses " .. ("%q"):format(case[1]:sub(1, 60)), function()
      local e = helper.raises(json.JSONDecodeError, json.decode, case[1])
      assert.same({ case[2], case[3], case[4] }, { e.msg, e.lineno, e.colno })
      assert.is_true(asyncio.isinstance(e, asyncio.ValueError))
    end)
  end

  it("says where", function()
    local e = helper.raises(json.JSONDecodeError, json.decode, '{"a":\n "\xC3\xA9" x}')
    assert.equal("JSONDecodeError: Expecting ',' delimiter: line 2 column 6 (byte 13)", tostring(e))
    assert.equal(13, e.pos)
  end)

  it("knows json.null from nothing, and empty arrays from empty objects", function()
    local v = json.decode('{"a":null,"b":[],"c":{}}')
    assert.equal(json.null, v.a)
    assert.equal("null", tostring(json.null))
    assert.is_nil(v.d)
    assert.equal("json.array", getmetatable(v.b))
    assert.equal("json.object", getmetatable(v.c))
    assert.is_nil(getmetatable(v))
    assert.is_nil(getmetatable(json.decode("[1]")))
  end)

  it("reads integers as integers and floats as floats", function()
    local v = json.decode("[1,1.0,1e2,-0,-0.0,9223372036854775807,9223372036854775808]")
    local kinds = {}
    for i, x in ipairs(v) do kinds[i] = math.type(x) end
    assert.same({ "integer", "float", "float", "integer", "float", "integer", "float" }, kinds)
    assert.equal(-math.huge, 1 / v[5])
    local e = helper.raises(json.JSONDecodeError, json.decode, "[9223372036854775808]", { big_integers = "error" })
    assert.equal("Integer out of range", e.msg)
    assert.equal(9223372036854775807, json.decode("9223372036854775807", { big_integers = "error" }))
    assert.equal(1e20, json.decode("1e20", { big_integers = "error" }))
  end)

  it("has a limit of depth", function()
    local function nested(n) return ("["):rep(n) .. ("]"):rep(n) end
    assert.equal(nested(512), json.encode(json.decode(nested(512))))
    assert.equal("Too deep", helper.raises(json.JSONDecodeError, json.decode, nested(513)).msg)
    assert.equal("Too deep", helper.raises(json.JSONDecodeError, json.decode, ("["):rep(1000000)).msg)
    assert.equal("Too deep", helper.raises(json.JSONDecodeError, json.decode, ('{"":'):rep(1000)).msg)
    json.decode(nested(3), { max_depth = 3 })
    assert.equal("Too deep", helper.raises(json.JSONDecodeError, json.decode, nested(4), { max_depth = 3 }).msg)
    local deep = json.decode(nested(50000), { max_depth = 50000 })
    assert.equal(nested(50000), json.encode(deep, { max_depth = 50000 }))
  end)

  it("reads large arrays and objects", function()
    local parts, keys = {}, {}
    for i = 1, 5000 do
      parts[i] = tostring(i)
      keys[i] = ('"k%d":%d'):format(i % 4000, i)
    end
    local list = json.decode("[" .. table.concat(parts, ",") .. "]")
    assert.equal(5000, #list)
    for i = 1, 5000 do assert.equal(i, list[i]) end
    local object = json.decode("{" .. table.concat(keys, ",") .. "}")
    assert.equal(4001, object.k1)
    assert.equal(4000, object.k0)
    assert.equal(2000, object.k2000)
    local matrix = json.decode("[" .. ("[1,2,3],"):rep(3000) .. "[]]")
    assert.equal(3001, #matrix)
    assert.same({ 1, 2, 3 }, matrix[3000])
  end)

  it("tells strings apart that are alike", function()
    local texts = {}
    for n = 0, 20 do
      for i = 1, 40 do
        local s = ("x"):rep(n)
        if n > 0 then
          local at = i % n + 1
          s = s:sub(1, at - 1) .. string.char(96 + i % 26) .. s:sub(at + 1)
        end
        texts[#texts + 1] = s
      end
    end
    assert.same(texts, json.decode(json.encode(texts)))
    local fields = {}
    for _, s in ipairs(texts) do fields["k" .. s] = s end
    assert.same(fields, json.decode(json.encode(fields)))
  end)

  it("refuses what is no text, and unknown options", function()
    helper.raises(asyncio.TypeError, json.decode, nil)
    helper.raises(asyncio.TypeError, json.decode, 1)
    helper.raises(asyncio.TypeError, json.decode, {})
    helper.raises(asyncio.TypeError, json.decode, "1", 1)
    helper.raises(asyncio.TypeError, json.decode, "1", { depth = 1 })
    for _, depth in ipairs { 0, -1, 1.5, "x", 1e9, true } do
      helper.raises(asyncio.ValueError, json.decode, "1", { max_depth = depth })
    end
    helper.raises(asyncio.ValueError, json.decode, "1", { big_integers = "string" })
  end)
end)

describe("json.encode", function()
  it("writes arrays and objects", function()
    assert.equal("[1,2,3]", json.encode { 1, 2, 3 })
    assert.equal('{"a":1}', json.encode { a = 1 })
    assert.equal("{}", json.encode {})
    assert.equal("[]", json.encode(json.array()))
    assert.equal("[]", json.encode(json.array {}))
    assert.equal("{}", json.encode(json.object()))
    assert.equal('[[],{},[[1]]]', json.encode { json.array(), {}, { { 1 } } })
    assert.equal("null", json.encode(nil))
    assert.equal('[null,{"a":null}]', json.encode { json.null, { a = json.null } })
    assert.equal("[true,false]", json.encode { true, false })
    local t = json.array()
    t[1] = "x"
    assert.equal('["x"]', json.encode(t))
    assert.equal('{"1":"a","5":"b"}', json.encode(json.object { "a", [5] = "b" }, { sort_keys = true }))
  end)

  it("takes the field n for the length of a list", function()
    assert.equal("[1,null,3]", json.encode(table.pack(1, nil, 3)))
    assert.equal("[1,2]", json.encode(table.pack(1, 2)))
    assert.equal("[null]", json.encode(json.array { n = 1 }))
    assert.equal("[]", json.encode(json.array { n = 0 }))
    assert.equal('{"n":1}', json.encode { n = 1 })
    assert.equal('[[1,null],2]', json.encode { table.pack(1, nil), 2 })
  end)

  local numbers = {
    { 0, "0" }, { -1, "-1" }, { 9, "9" }, { 10, "10" }, { 99, "99" }, { 100, "100" }, { 12345, "12345" }, { math.maxinteger, "9223372036854775807" },
    { math.mininteger, "-9223372036854775808" }, { 0.0, "0.0" }, { -0.0, "-0.0" }, { 1.0, "1.0" }, { -1.5, "-1.5" }, { 0.1, "0.1" }, { 1 / 3, "0.3333333333333333" },
    { 100.0, "100.0" }, { 1e15, "1000000000000000.0" }, { 123456789012345.6, "123456789012345.6" }, { 1e16, "1e16" }, { 1e17, "1e17" }, { 1e100, "1e100" }, { 1e-4, "0.0001" }, { 1e-5, "0.00001" },
    { 1e-6, "1e-6" }, { 1.5e-7, "1.5e-7" }, { 5e-324, "5e-324" }, { 1.7976931348623157e308, "1.7976931348623157e308" }, { 2.5e-10, "2.5e-10" }, { 2 ^ 53, "9007199254740992.0" }, { 1e22, "1e22" },
    { 0.30000000000000004, "0.30000000000000004" }, { 2 ^ 63, "9.223372036854776e18" }, { 999999999999999.9, "999999999999999.9" }, { 123456.789e3, "123456789.0" }, { 4.35, "4.35" }, { 1e23, "1e23" },
  }
  for _, case in ipairs(numbers) do
    it("writes " .. ("%q"):format(case[1]), function()
      assert.equal(case[2], json.encode(case[1]))
      assert.equal(case[1], json.decode(case[2]))
      assert.equal(math.type(case[1]), math.type(json.decode(case[2])))
    end)
  end

  it("writes numbers that are read as the same", function()
    math.randomseed(1)
    for _ = 1, 3000 do
      local d = string.unpack("<d", string.pack("<i8", math.random(0)))
      if d == d and d ~= math.huge and d ~= -math.huge then assert.equal(d, json.decode(json.encode(d))) end
      local e = math.random(-10 ^ 6, 10 ^ 6) / 10 ^ math.random(0, 8)
      assert.equal(e, json.decode(json.encode(e)))
      assert.equal(e, tonumber(json.encode(e)))
      local f = math.random() * 10 ^ math.random(-20, 20)
      assert.equal(f, json.decode(json.encode(f)))
      local i = math.random(0) >> math.random(0, 63)
      assert.equal(i, json.decode(json.encode(i)))
    end
  end)

  it("escapes what has to be", function()
    assert.equal([["\"\\/\b\f\n\r\t\u0000\u001f]] .. '\127"', json.encode('"\\/\b\f\n\r\t\0\31\127'))
    assert.equal('"\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80"', json.encode("\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80"))
    assert.equal([["\u00e9\u20ac\ud83d\ude00x"]], json.encode("\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80x", { ensure_ascii = true }))
    assert.equal([[{"\u00e9":1}]], json.encode({ ["\xC3\xA9"] = 1 }, { ensure_ascii = true }))
    for n = 0, 40 do
      for at = 1, n do
        local s = ("x"):rep(at - 1) .. "\n" .. ("y"):rep(n - at)
        assert.equal('"' .. s:gsub("\n", "\\n") .. '"', json.encode(s))
        assert.equal(s, json.decode(json.encode(s)))
      end
    end
    local long = ("0123456789"):rep(10000)
    assert.equal('"' .. long .. '"', json.encode(long))
    assert.equal(long .. "\n" .. long, json.decode(json.encode(long .. "\n" .. long)))
  end)

  it("sorts and indents", function()
    assert.equal('{"a":{"x":1,"y":2},"aa":3,"b":[]}', json.encode({ b = json.array(), aa = 3, a = { y = 2, x = 1 } }, { sort_keys = true }))
    assert.equal('{\n  "a": [\n    1,\n    {}\n  ],\n  "b": {\n    "c": null\n  },\n  "d": []\n}',
      json.encode({ a = { 1, {} }, b = { c = json.null }, d = json.array() }, { indent = 2, sort_keys = true }))
    assert.equal('[\n\t1\n]', json.encode({ 1 }, { indent = "\t" }))
    assert.equal('[\n1\n]', json.encode({ 1 }, { indent = 0 }))
    assert.equal('{"1":"b","10":"c","9":"a","x":"d"}', json.encode(json.object { [9] = "a", [1] = "b", [10] = "c", x = "d" }, { sort_keys = true }))
    assert.equal("{}", json.encode({}, { sort_keys = true, indent = 2 }))
  end)

  it("asks __json and default", function()
    local Point = {}
    Point.__index = Point
    function Point:__json() return { self.x, self.y } end
    local p = setmetatable({ x = 1, y = 2 }, Point)
    assert.equal("[1,2]", json.encode(p))
    assert.equal('{"p":[[1,2]]}', json.encode { p = { p } })
    assert.equal('["a"]', json.encode(setmetatable({}, { __json = function() return json.array { "a" } end })))
    assert.equal("null", json.encode(setmetatable({}, { __json = function() end })))
    assert.equal('["print"]', json.encode({ print }, { default = function(v) return v == print and "print" or nil end }))
    assert.equal("[1]", json.encode({ io.stdout }, { default = function() return 1 end }))
    assert.equal('{"x":1}', json.encode(setmetatable({ x = 1 }, { __index = { y = 2 } })))
    assert.equal('["{\\"a\\":1}"]', json.encode { setmetatable({}, { __json = function() return json.encode { a = 1 } end }) })
    local forever = setmetatable({}, {})
    getmetatable(forever).__json = function() return forever end
    helper.raises(asyncio.ValueError, json.encode, forever)
    local growing = { __json = function(self) return { setmetatable({}, getmetatable(self)) } end }
    helper.raises("deeper than 512", json.encode, setmetatable({}, growing))
    helper.raises("mine", json.encode, setmetatable({}, { __json = function() error("mine") end }))
    helper.raises("mine", json.encode, { print }, { default = function() error("mine") end })
  end)

  local function fails(class, text, value, opts)
    local e = helper.raises(class, function() return (json.encode(value, opts)) end)
    if not e.message:find(text, 1, true) then error("another message than '" .. text .. "': " .. e.message, 2) end
    assert.truthy(e.message:find("json_spec.lua:", 1, true))
  end

  it("says what it cannot write, and where that is", function()
    local T, V = asyncio.TypeError, asyncio.ValueError
    fails(T, "encode: value: a function has no JSON form", print)
    fails(T, "encode: value.a[2]: a function has no", { a = { 1, print } })
    fails(T, 'encode: value["x y"].b_1: a thread has no', { ["x y"] = { b_1 = coroutine.create(print) } })
    fails(T, "encode: value.f: a userdata has no", { f = io.stdout })
    fails(T, "encode: value.a.b: a function has no", { a = { b = print } }, { sort_keys = true })
    fails(V, "encode: value[1]: nan is no JSON number", { tonumber("nan") or -(0 / 0) })
    fails(V, "encode: value.x: inf is no", { x = math.huge })
    fails(V, "encode: value.x: -inf is no", { x = -math.huge })
    fails(V, "encode: value.s: invalid UTF-8 at byte 3", { s = "ab\xFF" })
    fails(V, "encode: value.s: invalid UTF-8 at byte 1", { s = "\xED\xA0\x80" })
    fails(V, "invalid UTF-8", { ["\xFF"] = 1 })
    fails(T, "encode: value.a: a list of 2, but it has the key 'x', too", { a = { 1, 2, x = 3 } })
    fails(T, "a list of 1, but it has the key '5', too", { 1, [5] = 1 })
    fails(T, "a list of 2, but it has the key 'x', too", { 1, 2, n = 2, x = 1 })
    fails(T, "nil in a list (see json.null)", { nil, 2 })
    fails(T, "keys must be strings, got number 5 (not a list from 1 on; see json.object)", { [5] = 1 })
    fails(T, "keys must be strings, got number 1.5", { [1.5] = 1 })
    fails(T, "encode: value.a: keys must be strings, got boolean true", { a = { [true] = 1 } })
    fails(T, "keys must be strings", { [5] = 1 }, { sort_keys = true })
    fails(T, "keys must be strings", json.object { [1.5] = 1 })
    fails(T, "a list of 0, but it has the key 'x', too", json.array { x = 1 })
  end)

  it("refuses cycles and depth", function()
    local t = { a = {} }
    t.a.b = { t.a }
    fails(asyncio.ValueError, "encode: circular reference: value.a.b[1] is value.a again", t)
    local l = {}
    l[1] = l
    fails(asyncio.ValueError, "encode: circular reference: value[1] is value again", l)
    fails(asyncio.ValueError, "encode: circular reference: value[1] is value again", l, { sort_keys = true })
    local shared = { 1 }
    assert.equal("[[1],[1]]", json.encode { shared, shared })
    fails(asyncio.ValueError, "deeper than 2", { { { 1 } } }, { max_depth = 2 })
    assert.equal("[[1]]", json.encode({ { 1 } }, { max_depth = 2 }))
  end)

  it("refuses what is no option", function()
    local T, V = asyncio.TypeError, asyncio.ValueError
    helper.raises(T, json.encode, 1, { sorted = true })
    helper.raises(T, json.encode, 1, 1)
    helper.raises(V, json.encode, 1, { indent = -1 })
    helper.raises(V, json.encode, 1, { indent = 33 })
    helper.raises(V, json.encode, 1, { indent = "x" })
    helper.raises(V, json.encode, 1, { indent = true })
    helper.raises(T, json.encode, 1, { default = 1 })
    helper.raises(V, json.encode, 1, { max_depth = 0 })
    helper.raises("bad argument #1", json.encode)
  end)

  it("survives changes and errors while it goes over a table", function()
    for _ = 1, 20 do
      local t = {}
      for i = 1, 20 do t["k" .. i] = i end
      t.hook = setmetatable({}, { __json = function()
        for i = 1, 20 do t["k" .. i] = nil end
        for i = 1, 50 do t["new" .. i] = i end
        collectgarbage()
        return 1
      end })
      pcall(json.encode, t)
      pcall(json.encode, t, { sort_keys = true })
      local big = { ("x"):rep(5000), setmetatable({}, { __json = error }) }
      assert.is_false(pcall(json.encode, big))
    end
  end)

  it("is the other way of decode", function()
    local value = {
      n = json.null, t = true, f = false, i = -5, d = 0.5, s = "\xE2\x82\xAC\n", a = { 1, "x", { json.array(), json.object() } }, o = { a = { b = { c = 1 } } },
    }
    local text = json.encode(value, { sort_keys = true })
    assert.equal(text, json.encode(json.decode(text), { sort_keys = true }))
    assert.same(value, json.decode(json.encode(value, { indent = 4 })))
  end)
end)

describe("json.array and json.object", function()
  it("mark tables", function()
    local t = { 1 }
    assert.equal(t, json.array(t))
    assert.equal(t, json.object(t))
    assert.equal('{"1":1}', json.encode(t))
    helper.raises(asyncio.TypeError, json.array, 1)
    helper.raises(asyncio.TypeError, json.object, "x")
    helper.raises(asyncio.TypeError, json.array, setmetatable({}, {}))
    assert.is_false(pcall(setmetatable, json.array(), nil))
  end)
end)
