local asyncio = require "asyncio"
local fs = require "fs"
local helper = require "spec.helper"
local MultipartReader = require("http.multipart").MultipartReader
local MultipartWriter = require("http.client.multipart").MultipartWriter
local payload = require "http.client.payload"

local async, await = asyncio.async, asyncio.await

local function sink()
  local x = { pieces = {}, writes = 0, files = 0 }
  function x:write(data)
    self.writes = self.writes + 1
    self.pieces[#self.pieces + 1] = data
    if self.writes % 2 == 0 then return asyncio.sleep(0) end
  end
  x.sendfile = async(function(self, file, offset, count)
    self.files = self.files + 1
    local data = await(file:pread(count, offset)) or ""
    self.pieces[#self.pieces + 1] = data
    return #data
  end)
  function x:text() return table.concat(self.pieces) end
  return x
end

--- A reader of what the writer writes; its length was told rightly.
local function read_back(writer, n)
  local size, x = writer:prepare(), sink()
  await(writer:write(x))
  local text = x:text()
  assert.equal(size == true and true or #text, size)
  local at = 1
  local source = { read = async(function()
    local piece = text:sub(at, at + (n or 1000) - 1)
    at = at + #piece
    return piece ~= "" and piece or nil
  end) }
  return MultipartReader(writer.content_type, source), text, x
end

describe("MultipartWriter", function()
  it("writes parts that a reader reads", function()
    local writer = MultipartWriter("mixed", { boundary = ":" })
    writer:append("hello")
    writer:append("", { ["X-Empty"] = "1" })
    writer:append_json { a = 1 }
    writer:append_form { b = "2 3" }
    assert.equal(4, #writer)
    assert.equal('multipart/mixed; boundary=":"', writer.content_type)
    local reader, text = read_back(writer)
    assert.equal("--:\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nhello\r\n--:\r\n", text:sub(1, 60))
    assert.equal("\r\n--:--\r\n", text:sub(-9))
    local parts = {}
    for part in reader:parts() do parts[#parts + 1] = { part.content_type, await(part:read()) } end
    assert.same({
      { "text/plain", "hello" }, { "text/plain", "" }, { "application/json", '{"a":1}' },
      { "application/x-www-form-urlencoded", "b=2+3" },
    }, parts)
  end)

  it("is an end alone without parts", function()
    local writer = MultipartWriter("mixed", { boundary = "b" })
    local _, text = read_back(writer)
    assert.equal("--b--\r\n", text)
  end)

  it("has a boundary of its own each time", function()
    local seen = {}
    for _ = 1, 100 do
      local b = MultipartWriter().boundary
      assert.truthy(b:find("^%w+$") and #b >= 20 and #b <= 70)
      assert.is_nil(seen[b])
      seen[b] = true
    end
  end)

  it("nests", function()
    local inner = MultipartWriter("alternative")
    inner:append("plain")
    inner:append("<b>rich</b>", { ["Content-Type"] = "text/html" })
    local writer = MultipartWriter("related")
    writer:append("before")
    writer:append(inner, { ["X-Kind"] = "inner" })
    writer:append("after")
    local reader = read_back(writer, 7)
    assert.equal("before", await((await(reader:next())):read()))
    local nested = await(reader:next())
    assert.same({ "alternative", inner.boundary, "inner" }, { nested.subtype, nested.boundary, nested.headers["X-Kind"] })
    assert.equal("plain", await((await(nested:next())):read()))
    assert.equal("<b>rich</b>", await((await(nested:next())):read()))
    assert.is_nil(await(nested:next()))
    assert.equal("after", await((await(reader:next())):read()))
    assert.is_nil(await(reader:next()))
  end)

  it("is no part of itself", function()
    local a, b = MultipartWriter(), MultipartWriter()
    helper.raises(asyncio.ValueError, a.append, a, a)
    a:append(b)
    helper.raises(asyncio.ValueError, b.append, b, a)
    a:append(b) -- twice is no circle
    assert.equal(2, #a)
  end)

  it("sends files as files and knows how long they are", function()
    local path = helper.tmpfile(("0123456789"):rep(20000))
    local file <close> = await(fs.open(path))
    local writer = MultipartWriter("mixed")
    local part = writer:append(file, { ["Content-Type"] = "x/y" })
    assert.equal(('attachment; filename="%s"'):format(path:match("[^/]*$")), part.headers["Content-Disposition"])
    local reader, _, x = read_back(writer, 65536)
    assert.equal(1, x.files)
    local read = await(reader:next())
    assert.same({ "x/y", path:match("[^/]*$") }, { read.content_type, read.filename })
    assert.equal(("0123456789"):rep(20000), await(read:read(0)))
    assert.is_true(writer.replayable)
    assert.equal(writer.size, #await(writer:as_bytes()))
  end)

  it("has no length when a part has none, and cannot be sent again", function()
    local n = 0
    local writer = MultipartWriter()
    writer:append("x")
    writer:append(function()
      n = n + 1
      return n <= 3 and tostring(n) or nil
    end)
    local reader = read_back(writer)
    await(reader:next())
    assert.equal("123", await((await(reader:next())):read()))
    assert.is_false(writer.replayable)
    helper.raises(asyncio.RuntimeError, writer.prepare, writer)
  end)

  it("sends small pieces together, and large ones as they are", function()
    local writer = MultipartWriter()
    for i = 1, 100 do writer:append(("part %d"):format(i)) end
    local _, _, x = read_back(writer)
    assert.equal(1, x.writes)
    writer = MultipartWriter()
    local large = ("x"):rep(200000)
    writer:append("small")
    writer:append(large)
    writer:append("small")
    _, _, x = read_back(writer)
    assert.equal(large, x.pieces[2])
    assert.equal(3, x.writes)
  end)

  it("applies the encodings that a part's headers name", function()
    local bytes = {}
    for i = 0, 255 do bytes[i + 1] = string.char(i) end
    local all = table.concat(bytes):rep(20)
    local chunks = { all:sub(1, 1000), all:sub(1001, 1001), all:sub(1002) }
    local function iterator()
      return table.remove(chunks, 1)
    end
    for _, encoding in ipairs { "base64", "quoted-printable", "binary", "8bit", "BASE64" } do
      local writer = MultipartWriter()
      writer:append(all, { ["Content-Transfer-Encoding"] = encoding })
      chunks = { all:sub(1, 1000), all:sub(1001, 1001), all:sub(1002) }
      writer:append(iterator, { ["Content-Transfer-Encoding"] = encoding })
      local reader, text = read_back(writer)
      for part in reader:parts() do assert.equal(all, await(part:read())) end
      if not encoding:find("bi") then
        for line in text:gmatch("[^\n]*\n") do assert.truthy(#line <= 78, line) end
      end
    end
    local writer = MultipartWriter()
    writer:append(all, { ["Content-Encoding"] = "gzip" })
    local part = await(read_back(writer):next())
    assert.equal(all, await(require("http.encodings").decode(await(part:read()), "gzip")))
    writer = MultipartWriter()
    writer:append("x", { ["Content-Transfer-Encoding"] = "uuencode" })
    helper.raises(asyncio.ValueError, writer.prepare, writer)
  end)

  it("names the parts of a form that have none", function()
    local writer = MultipartWriter("form-data")
    writer:append("a")
    writer:append("b"):set_content_disposition("form-data", { name = "field", filename = 'q"x\r\n.txt' })
    local reader = read_back(writer)
    assert.equal("section-0", (await(reader:next())).name)
    local part = await(reader:next())
    assert.same({ "field", "q%22x%0D%0A.txt" }, { part.name, part.filename })
    writer:append("c"):set_content_disposition("form-data", { name = 'a"\\b', quote_fields = false })
    local last
    for p in read_back(writer):parts() do last = p end
    assert.equal('a"\\b', last.name)
  end)

  it("refuses what would be another header, and what is none", function()
    local writer = MultipartWriter()
    local part = writer:append("x")
    for _, headers in ipairs { { ["A\r\nB"] = "1" }, { A = "1\r\nB: 2" }, { [""] = "1" }, { A = "\0" }, { ["A:"] = "1" } } do
      helper.raises(asyncio.ValueError, writer.append, writer, "x", headers)
    end
    helper.raises(asyncio.TypeError, writer.append, writer, "x", 5)
    helper.raises(asyncio.ValueError, part.set_content_disposition, part, "a b")
    helper.raises(asyncio.ValueError, part.set_content_disposition, part, "form-data", { name = "\0" })
    helper.raises(asyncio.TypeError, part.set_content_disposition, part, "form-data", { name = 1 })
    helper.raises(asyncio.TypeError, part.set_content_disposition, part, "form-data", { nome = "x" })
  end)

  it("refuses what cannot be a part", function()
    local writer = MultipartWriter()
    for _, value in ipairs { 1, true, {}, asyncio } do helper.raises(asyncio.TypeError, writer.append, writer, value) end
    helper.raises(asyncio.TypeError, writer.append, writer, nil)
    for _, boundary in ipairs { "", ("x"):rep(71), "a\r\nb", "\u{fc}", "a ", 1 } do
      helper.raises(asyncio.ValueError, MultipartWriter, "mixed", { boundary = boundary })
    end
    helper.raises(asyncio.ValueError, MultipartWriter, "a b")
    helper.raises(asyncio.ValueError, MultipartWriter, 1)
    helper.raises(asyncio.TypeError, MultipartWriter, "mixed", { bondary = "x" })
  end)

  it("is a payload", function()
    local writer = MultipartWriter()
    local body, ctype, p = payload.of(writer)
    assert.same({ true, writer.content_type, writer }, { body, ctype, p })
    writer:close()
  end)
end)
