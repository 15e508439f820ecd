--- Content codings: which one is chosen, encoding, decoding, what is refused.

local asyncio = require "asyncio"
local encodings = require "http.encodings"
local helper = require "spec.helper"

if not encodings.available("gzip") or not encodings.available("br") then return end

local zlib, brotli = require "zlib", require "brotli"
local TEXT = ("All work and no play makes Jack a dull boy. "):rep(5000)
local all = { "br", "gzip", "deflate" }

local function decode(data, names, limit) return asyncio.await(encodings.decode(data, names, limit)) end

describe("the choice of a coding", function()
  it("goes by the client's weights, then by ours", function()
    for accept, name in pairs {
      ["gzip"] = "gzip", ["gzip, deflate, br"] = "br", ["deflate"] = "deflate", ["x-gzip"] = "gzip", ["GZIP"] = "gzip",
      ["br;q=0.5, gzip;q=0.8"] = "gzip", ["br;q=0, gzip"] = "gzip", ["*"] = "br", ["br;q=0, *;q=0.1"] = "gzip",
      ["gzip;q=0.001"] = "gzip", ["gzip ; q=1.000"] = "gzip", ["zstd, gzip;q=0.1"] = "gzip",
      ["gzip, identity"] = "gzip", ["gzip;q=1.0, identity; q=0.5, *;q=0"] = "gzip",
    } do
      assert.equal(name, encodings.choose(accept, all), accept)
    end
  end)

  it("is none where the client wants none", function()
    for _, accept in ipairs { "", "identity", "gzip;q=0", "*;q=0", "zstd", "gzip;q=0.5, identity", "gzip;q=nonsense", ";;", "gzip;q=2",
      "gzip;q=0.0000" } do
      assert.is_nil(encodings.choose(accept, all), accept)
    end
    assert.is_nil(encodings.choose(nil, all))
  end)
end)

describe("encoding", function()
  it("gives what decoders read", function()
    helper.run(async(function()
      for _, name in ipairs(all) do
        for _, data in ipairs { "", "x", TEXT } do
          local c = await(encodings.encode(data, name))
          assert.equal(data, decode(c, name))
        end
      end
      assert.equal(TEXT, zlib.decompress(await(encodings.encode(TEXT, "gzip")), 31))
      assert.equal(TEXT, zlib.decompress(await(encodings.encode(TEXT, "deflate")), 15))
      assert.equal(TEXT, brotli.decompress(await(encodings.encode(TEXT, "br"))))
    end))
  end)

  it("flushes: what was given so far can be read", function()
    for _, name in ipairs { "gzip", "br" } do
      local e <close> = encodings.encoder(name)
      local d = name == "br" and brotli.Decompressor() or zlib.decompressobj(31)
      local read = d.process or d.decompress
      assert.equal("hello", read(d, e:compress("hello") .. e:flush()))
      assert.equal(" world", read(d, e:compress(" world") .. e:flush()))
    end
  end)
end)

describe("decoding", function()
  it("knows deflate with and without a frame, several members of gzip, and codings in a row", function()
    helper.run(async(function()
      assert.equal(TEXT, decode(zlib.compress(TEXT, { wbits = -15 }), "deflate"))
      assert.equal(TEXT, decode(zlib.compress(TEXT), "deflate"))
      local two = zlib.compress("one ", { wbits = 31 }) .. zlib.compress("two", { wbits = 31 })
      assert.equal("one two", decode(two, "x-gzip"))
      assert.equal(TEXT, decode(brotli.compress(zlib.compress(TEXT, { wbits = 31 }), { quality = 1 }), "gzip, br"))
      assert.equal("as it is", decode("as it is", "identity"))
      assert.equal("", decode("", "gzip"))
    end))
  end)

  it("refuses what is none, is cut off or goes on", function()
    helper.run(async(function()
      local c = zlib.compress(TEXT, { wbits = 31 })
      helper.raises(encodings.DecodingError, decode, "no gzip at all", "gzip")
      helper.raises("is cut off", decode, c:sub(1, -2), "gzip")
      helper.raises("goes on after the end", decode, c .. "x", "gzip")
      helper.raises("goes on after the end", decode, zlib.compress(TEXT) .. zlib.compress(TEXT), "deflate")
      helper.raises(encodings.DecodingError, decode, ("\255"):rep(100), "br")
      helper.raises(encodings.UnknownEncoding, decode, "", "zstd")
      helper.raises(encodings.UnknownEncoding, decode, "", "gzip, zstd")
      helper.raises(asyncio.TypeError, encodings.decode, nil, "gzip")
    end))
  end)

  it("passes over what is behind the end, when told so", function()
    for name, data in pairs { gzip = zlib.compress(TEXT, { wbits = 31 }), deflate = zlib.compress(TEXT), br = brotli.compress(TEXT) } do
      for _, rest in ipairs { "x", "\0\0\0\0", ("y"):rep(200000) } do
        helper.raises(encodings.DecodingError, decode, data .. rest, name)
        assert.equal(TEXT, asyncio.await(encodings.decode(data .. rest, name, 0, true)))
        local reader = asyncio.StreamReader()
        reader:feed_data(data .. rest)
        reader:feed_eof()
        assert.equal(TEXT, asyncio.await(encodings.reader(reader, name, true):read()))
        assert.is_true(reader:at_eof())
      end
      helper.raises(encodings.DecodingError, function() asyncio.await(encodings.decode(data:sub(1, -9), name, 0, true)) end)
    end
  end)

  it("of short strings takes one step, or is left to others", function()
    local SHORT = ("hello "):rep(100)
    for _, name in ipairs { "gzip", "x-gzip", "deflate", "br" } do
      local data = asyncio.await(encodings.encode(SHORT, name == "x-gzip" and "gzip" or name))
      assert.equal(SHORT, encodings.short(data, name))
      assert.equal(SHORT, encodings.short(data, name, #SHORT))
      assert.is_nil(encodings.short(data, name, #SHORT - 1))
      assert.is_nil(encodings.short(data:sub(1, -5), name))
      assert.is_nil(encodings.short(data, name .. ", " .. name))
      if name ~= "br" then helper.raises(encodings.DecodingError, encodings.short, "\1\2\3\4\5\6\7\8", name) end
    end
    assert.is_nil(encodings.short("x", "rot13"))
    assert.is_nil(encodings.short("", "gzip"))
    assert.is_nil(encodings.short(asyncio.await(encodings.encode(("0"):rep(100000), "gzip")), "gzip"))
    local member = asyncio.await(encodings.encode(SHORT, "gzip"))
    assert.is_nil(encodings.short(member .. member, "gzip"))
  end)

  it("stops at its limit: a bomb costs no memory", function()
    helper.run(async(function()
      local bomb = zlib.compress(("\0"):rep(20000000), { wbits = 31 })
      local e = helper.raises(encodings.TooLong, decode, bomb, "gzip", 100000)
      assert.equal(100000, e.limit)
      assert.equal(#TEXT, #decode(zlib.compress(TEXT, { wbits = 31 }), "gzip", #TEXT))
      helper.raises(encodings.TooLong, decode, zlib.compress(TEXT, { wbits = 31 }), "gzip", #TEXT - 1)
    end))
  end)
end)

describe("a decoding reader", function()
  local function reader(data, names)
    local r = asyncio.StreamReader()
    for i = 1, #data, 7 do r:feed_data(data:sub(i, i + 6)) end
    r:feed_eof()
    return encodings.reader(r, names)
  end

  it("reads as a StreamReader does", function()
    helper.run(async(function()
      local r = reader(zlib.compress("one\ntwo\nthree", { wbits = 31 }), "gzip")
      assert.equal("on", await(r:readexactly(2)))
      assert.equal("e\n", await(r:readline()))
      assert.equal("two\n", await(r:readuntil("\n")))
      assert.equal("t", await(r:read(1)))
      assert.is_false(r:at_eof())
      assert.equal("hree", await(r:readline()))
      assert.is_nil(await(r:readline()))
      assert.is_nil(await(r:read(10)))
      assert.equal("", await(r:read()))
      assert.is_true(r:at_eof())
    end))
  end)

  it("gives lines, and says what is missing", function()
    helper.run(async(function()
      local lines = {}
      for line in reader(brotli.compress("a\nb\n\nc", { quality = 1 }), "br"):lines() do lines[#lines + 1] = line end
      assert.same({ "a", "b", "", "c" }, lines)
      local r = reader(zlib.compress("abc"), "deflate")
      local e = helper.raises(asyncio.IncompleteReadError, await, r:readexactly(4))
      assert.equal("abc", e.partial)
      r = reader(zlib.compress("abc"), "deflate")
      helper.raises(asyncio.IncompleteReadError, await, r:readuntil("|"))
      r = reader(zlib.compress(("x"):rep(200000)), "deflate")
      helper.raises(asyncio.LimitOverrunError, await, r:readline())
      assert.equal(200000, #await(r:read()))
    end))
  end)
end)
