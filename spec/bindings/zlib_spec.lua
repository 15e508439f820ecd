--- zlib: whole strings, streams, what is limited, what is misused.

local asyncio = require "asyncio"
local helper = require "spec.helper"

local found, zlib = pcall(require, "zlib")
if not found then return end

local TEXT = ("All work and no play makes Jack a dull boy. "):rep(5000)

local function hex(s)
  return (s:gsub(".", function(c) return ("%02x"):format(c:byte()) end))
end

describe("zlib.compress and decompress", function()
  it("are each other's inverse, in every frame and at every level", function()
    for _, wbits in ipairs { 15, 9, -15, -9, 31, 25 } do
      for _, level in ipairs { 0, 1, 6, 9, -1 } do
        for _, data in ipairs { "", "x", TEXT:sub(1, 3000), ("\0\255"):rep(100) } do
          local c = zlib.compress(data, { wbits = wbits, level = level })
          assert.equal(data, zlib.decompress(c, { wbits = wbits }))
          if wbits > 0 then assert.equal(data, zlib.decompress(c, 47)) end
        end
      end
    end
  end)

  it("speak with Python's", function()
    local packed = hex(zlib.compress(TEXT, { wbits = 31 }))
    local out = helper.python(([[
import zlib, binascii
print(len(zlib.decompress(binascii.unhexlify("%s"), 31)))
print(binascii.hexlify(zlib.compress(b"from python" * 100)).decode())
]]):format(packed))
    local n, theirs = out:match("^(%d+)\n(%x+)")
    assert.equal(#TEXT, tonumber(n))
    local bytes = theirs:gsub("%x%x", function(h) return string.char(tonumber(h, 16)) end)
    assert.equal(("from python"):rep(100), zlib.decompress(bytes))
  end)

  it("take a level or window bits alone", function()
    assert.equal(TEXT, zlib.decompress(zlib.compress(TEXT, 9), 15))
    assert.is_true(#zlib.compress(TEXT, 0) > #TEXT)
  end)

  it("refuse what is no stream, is cut off, or is damaged", function()
    local c = zlib.compress(TEXT)
    helper.raises("Error -3 while decompressing data: incorrect header check", zlib.decompress, "no stream")
    helper.raises("Error -5 while decompressing data: incomplete or truncated stream", zlib.decompress, c:sub(1, -5))
    helper.raises(zlib.error, zlib.decompress, "")
    helper.raises("incorrect data check", zlib.decompress, c:sub(1, -2) .. string.char(c:byte(-1) ~ 1))
  end)

  it("stop at max_length: a bomb gives no more than asked for", function()
    local bomb = zlib.compress(("\0"):rep(10000000))
    local e = helper.raises(zlib.error, zlib.decompress, bomb, { max_length = 1000 })
    assert.truthy(e.message:find("max_length (1000)", 1, true))
    assert.equal(10000000, #zlib.decompress(bomb, { max_length = 10000000 }))
    helper.raises(zlib.error, zlib.decompress, bomb, { max_length = 9999999 })
    helper.raises(zlib.error, asyncio.await, zlib.decompress_in_pieces(bomb, { max_length = 1000 }))
  end)

  it("say what is wrong with arguments", function()
    helper.raises(asyncio.TypeError, zlib.compress, nil)
    helper.raises(asyncio.TypeError, zlib.compress, "x", { wbit = 15 })
    helper.raises("unexpected keyword argument 'wbit'", zlib.compress, "x", { wbit = 15 })
    helper.raises(asyncio.ValueError, zlib.compress, "x", 10)
    helper.raises(asyncio.ValueError, zlib.compress, "x", { wbits = 16 })
    helper.raises(asyncio.TypeError, zlib.compress, "x", { level = "high" })
    helper.raises(asyncio.TypeError, zlib.compress, "x", { zdict = 1 })
    helper.raises(asyncio.ValueError, zlib.decompress, "x", { max_length = -1 })
    helper.raises(asyncio.TypeError, zlib.decompress, 12)
    helper.raises(asyncio.ValueError, zlib.decompress, "x", 99)
  end)

  it("use a dictionary", function()
    local dict = "hypertext transfer protocol"
    for _, wbits in ipairs { 15, -15 } do
      local c = zlib.compress("hypertext transfer protocol!", { zdict = dict, wbits = wbits })
      assert.equal("hypertext transfer protocol!", zlib.decompress(c, { zdict = dict, wbits = wbits }))
      if wbits > 0 then
        helper.raises("a dictionary is needed", zlib.decompress, c)
        helper.raises(zlib.error, zlib.decompress, c, { zdict = "another" })
      end
    end
  end)
end)

describe("in pieces", function()
  it("they let other tasks run", function()
    helper.run(async(function()
      local turns = 0
      local ticker = asyncio.create_task(async(function()
        while true do
          turns = turns + 1
          await(asyncio.sleep(0))
        end
      end)())
      local c = await(zlib.compress_in_pieces(TEXT, { wbits = 31 }))
      local during = turns
      assert.equal(TEXT, await(zlib.decompress_in_pieces(c, 31)))
      assert.is_true(during >= #TEXT // (32 * 1024))
      ticker:cancel()
    end))
  end)

  it("they can be cancelled", function()
    helper.run(async(function()
      local t = asyncio.create_task(zlib.compress_in_pieces(TEXT))
      await(asyncio.sleep(0))
      await(asyncio.sleep(0))
      t:cancel()
      helper.raises(asyncio.CancelledError, await, t)
    end))
  end)

  it("they end with what is cut off", function()
    local c = zlib.compress(TEXT)
    helper.raises("truncated", asyncio.await, zlib.decompress_in_pieces(c:sub(1, -2)))
  end)
end)

describe("a Compress", function()
  it("takes parts of strings, flushes, and ends", function()
    local c = zlib.compressobj { wbits = -15 }
    local out = c:compress("xxhelloxx", 3, 7) .. c:flush(zlib.Z_SYNC_FLUSH)
    local d = zlib.decompressobj(-15)
    assert.equal("hello", d:decompress(out))
    assert.is_false(d.eof)
    out = c:compress("x", 5, 2) .. c:compress("world", -3) .. c:flush()
    assert.equal("rld", d:decompress(out))
    assert.is_true(d.eof)
    helper.raises("the stream has ended", c.compress, c, "more")
    helper.raises("the stream has ended", c.flush, c)
    local e = zlib.compressobj()
    out = e:compress("abc", math.mininteger, math.maxinteger) .. e:compress("abc", math.maxinteger, math.mininteger)
    assert.equal("abc", zlib.decompress(out .. e:flush()))
    c:close()
    c:close()
    helper.raises("it is closed", c.compress, c, "more")
  end)

  it("can be copied", function()
    local c = zlib.compressobj()
    local head = c:compress("one ")
    local d = c:copy()
    assert.equal("one two", zlib.decompress(head .. c:compress("two") .. c:flush()))
    assert.equal("one three", zlib.decompress(head .. d:compress("three") .. d:flush()))
    helper.raises(zlib.error, c.copy, c)
  end)

  it("refuses other objects and modes", function()
    local c <close> = zlib.compressobj()
    helper.raises("Compress expected, got Decompress", c.compress, zlib.decompressobj(), "x")
    helper.raises("Compress expected", c.compress, io.stdout, "x")
    helper.raises(asyncio.ValueError, c.flush, c, 17)
    helper.raises(asyncio.TypeError, c.compress, c, {})
  end)
end)

describe("a Decompress", function()
  it("takes its input byte by byte", function()
    local c, d, out = zlib.compress(TEXT), zlib.decompressobj(), {}
    for i = 1, #c do out[i] = d:decompress(c:sub(i, i)) end
    assert.equal(TEXT, table.concat(out))
    assert.is_true(d.eof)
  end)

  it("gives no more than max_length at a time, and loses nothing", function()
    local d, out = zlib.decompressobj(), {}
    local piece = d:decompress(zlib.compress(TEXT), 1000)
    while piece ~= "" do
      assert.is_true(#piece <= 1000)
      out[#out + 1] = piece
      piece = d:decompress(d.unconsumed_tail, 1000)
    end
    assert.equal(TEXT, table.concat(out))
    assert.is_true(d.eof)
  end)

  it("keeps what comes after the end", function()
    local d = zlib.decompressobj()
    assert.equal("x", d:decompress(zlib.compress("x") .. "tail"))
    assert.equal("tail", d.unused_data)
    assert.equal("", d:decompress(" and more"))
    assert.equal("tail and more", d.unused_data)
    assert.equal("", d:flush())
  end)

  it("is of no use after an error", function()
    local d = zlib.decompressobj()
    helper.raises(zlib.error, d.decompress, d, "garbage")
    helper.raises("an error has come before", d.decompress, d, "x")
    helper.raises(asyncio.ValueError, zlib.decompressobj().decompress, zlib.decompressobj(), "x", -1)
  end)

  it("can be copied", function()
    local c = zlib.compress("some words")
    local d = zlib.decompressobj()
    local head = d:decompress(c:sub(1, 8))
    local e = d:copy()
    d:close()
    assert.equal("some words", head .. e:decompress(c:sub(9)))
  end)
end)

describe("their memory", function()
  it("is given back at the end, by close and by the collector", function()
    local function bytes()
      collectgarbage()
      collectgarbage()
      return collectgarbage("count")
    end
    local before = bytes()
    for _ = 1, 300 do zlib.compressobj():compress("x") end -- 80 MB, were they kept
    for _ = 1, 300 do
      local c <close> = zlib.compressobj()
      c:compress("x")
    end
    assert.is_true(bytes() - before < 1000)
  end)

  it("counts for the limit of an engine", function()
    local status, out = helper.cli({ "--memory-limit=8M", "-e", [[
      local zlib, all = require "zlib", {}
      print(pcall(function() for i = 1, 1000 do all[i] = zlib.compressobj() end end))
      print(#all < 40)
      all = nil
      print(#zlib.compress(("x"):rep(1000)) < 100)
    ]] })
    assert.equal(0, status)
    assert.truthy(out:find("false\tnot enough memory", 1, true), out)
    assert.truthy(out:find("\ntrue\ntrue\n", 1, true), out)
  end)
end)

describe("checksums", function()
  it("are those of Python", function()
    assert.equal(0xCBF43926, zlib.crc32("123456789"))
    assert.equal(0x91E01DE, zlib.adler32("123456789"))
    assert.equal(zlib.crc32("hello world"), zlib.crc32(" world", zlib.crc32("hello")))
    assert.equal(0, zlib.crc32(""))
    assert.equal(1, zlib.adler32(""))
  end)
end)
