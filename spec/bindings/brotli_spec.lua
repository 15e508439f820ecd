--- brotli: whole strings, streams, what is limited, what is misused.

local asyncio = require "asyncio"
local helper = require "spec.helper"

local found, brotli = pcall(require, "brotli")
if not found then return end

local TEXT = ("All work and no play makes Jack a dull boy. "):rep(2000)

describe("brotli.compress and decompress", function()
  it("are each other's inverse", function()
    for _, quality in ipairs { 0, 1, 5, 9, 11 } do
      for _, data in ipairs { "", "x", TEXT:sub(1, 5000), ("\0\255"):rep(100) } do
        local c = brotli.compress(data, { quality = quality })
        assert.equal(data, brotli.decompress(c))
      end
    end
    assert.equal(TEXT, brotli.decompress(brotli.compress(TEXT, { mode = brotli.MODE_TEXT, lgwin = 16, quality = 4 })))
  end)

  it("refuse what is no stream, is cut off, or is longer than max_length", function()
    local c = brotli.compress(TEXT, { quality = 4 })
    helper.raises(brotli.error, brotli.decompress, "\255\255\255 no stream")
    helper.raises("incomplete or truncated stream", brotli.decompress, c:sub(1, -3))
    helper.raises("max_length (100)", brotli.decompress, c, { max_length = 100 })
    helper.raises("max_length (100)", asyncio.await, brotli.decompress_in_pieces(c, { max_length = 100 }))
    assert.equal(TEXT, brotli.decompress(c, { max_length = #TEXT }))
  end)

  it("say what is wrong with arguments", function()
    helper.raises(asyncio.TypeError, brotli.compress, 1)
    helper.raises(asyncio.ValueError, brotli.compress, "", { quality = 12 })
    helper.raises(asyncio.ValueError, brotli.compress, "", { lgwin = 9 })
    helper.raises(asyncio.ValueError, brotli.compress, "", { lgblock = 3 })
    helper.raises("unexpected keyword argument 'level'", brotli.compress, "", { level = 1 })
    helper.raises(asyncio.TypeError, brotli.decompress, "", 5)
    helper.raises("unexpected keyword argument 'wbits'", brotli.decompress, "", { wbits = 1 })
  end)

  it("work in pieces, between which other tasks run", function()
    helper.run(async(function()
      local c = await(brotli.compress_in_pieces(TEXT, { quality = 3 }))
      assert.equal(TEXT, await(brotli.decompress_in_pieces(c)))
    end))
  end)
end)

describe("brotli's streams", function()
  it("flush, finish, and tell of their end", function()
    local c, d = brotli.Compressor { quality = 5 }, brotli.Decompressor()
    assert.equal("hello", d:process(c:process("hello") .. c:flush()))
    assert.is_false(d:is_finished())
    assert.equal(" world", d:process(c:process("! world", 2) .. c:finish()))
    assert.is_true(d:is_finished())
    assert.is_true(d.eof)
    helper.raises("the stream has ended", c.process, c, "x")
    d:process("rest")
    assert.equal("rest", d.unused_data)
  end)

  it("give no more than max_length at a time", function()
    local d, out = brotli.Decompressor(), {}
    local piece = d:process(brotli.compress(TEXT, { quality = 5 }), 1000)
    while piece ~= "" do
      assert.is_true(#piece <= 1000)
      out[#out + 1] = piece
      piece = d:process(d.unconsumed_tail, 1000)
    end
    assert.equal(TEXT, table.concat(out))
  end)

  it("are of no use when they are closed or broken", function()
    local d <close> = brotli.Decompressor()
    helper.raises(brotli.error, d.process, d, ("\255"):rep(20))
    helper.raises("an error has come before", d.process, d, "x")
    local c = brotli.Compressor()
    c:close()
    helper.raises("it is closed", c.process, c, "x")
    helper.raises("Compressor expected", c.process, d, "x")
  end)
end)
