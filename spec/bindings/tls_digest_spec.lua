local helper = require "spec.helper"

local found, digest = pcall(require, "asyncio.digest")
if not found then return end

describe("asyncio.digest", function()
  it("computes what others do", function()
    local text = ("abc\0\xFF"):rep(1000)
    local out = helper.python([[
import hashlib
data = b"abc\0\xff" * 1000
print(hashlib.md5(data).hexdigest(), hashlib.sha256(data).hexdigest(), hashlib.new("sha512_256", data).hexdigest())
]])
    assert.equal(("%s %s %s\n"):format(digest.md5(text), digest.sha256(text), digest.sha512_256(text)), out)
    assert.equal("a9993e364706816aba3e25717850c26c9cd0d89d", digest.sha1("abc")) -- FIPS 180
    assert.equal("ddaf35a193617abacc417349ae204131", digest.sha512("abc"):sub(1, 32))
    assert.equal("d41d8cd98f00b204e9800998ecf8427e", digest.md5(""))
  end)

  it("wants a string", function() helper.raises("string expected", digest.md5) end)
end)
