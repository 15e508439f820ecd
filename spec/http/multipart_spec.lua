local asyncio = require "asyncio"
local helper = require "spec.helper"
local http_core = require "http.core"
local multipart = require "http.multipart"

local async, await = asyncio.async, asyncio.await

--- A stream that gives the text in pieces of that size.
local function stream(text, size)
  local at = 1
  return {
    read = async(function(_, n)
      if at > #text then return nil end
      local piece = text:sub(at, at + math.min(size or #text, n) - 1)
      at = at + #piece
      return piece
    end),
  }
end

local function lines(...) return table.concat({ ... }, "\r\n") end

--- What the parts of a body are: {"name: body" or {nested...}}.
local function parts_of(reader)
  local list = {}
  for part in reader:parts() do
    if part.boundary then
      list[#list + 1] = parts_of(part)
    else
      list[#list + 1] = (part.name and part.name .. ": " or "") .. await(part:read())
    end
  end
  return list
end

local function parse(text, boundary, size)
  return parts_of(multipart.MultipartReader("multipart/mixed; boundary=" .. (boundary or "b"), stream(text, size)))
end

local sizes = { 1, 2, 3, 5, 7, 16, 100000 }

describe("MultipartReader", function()
  local good = {
    { "one part", lines("--b", "", "x", "--b--", ""), { "x" } },
    { "two parts", lines("--b", "A: 1", "", "x", "--b", "", "y", "--b--"), { "x", "y" } },
    { "no parts", "--b--", {} },
    { "a preamble and an epilogue", lines("before", "--bx", "x--b", "--b", "", "x", "--b--", "after", "--b", "", "z"), { "x" } },
    { "empty parts", lines("--b", "", "", "--b", "A: 1", "", "", "--b--"), { "", "" } },
    { "parts without a body", lines("--b", "", "--b", "A: 1", "", "--b--"), { "", "" } },
    { "blanks behind a boundary", lines("--b \t ", "", "x", "--b\t", "", "y", "--b--  ", ""), { "x", "y" } },
    { "what looks like a boundary", lines("--b", "", "--c", "-- b", "--ba", "x--b--", " --b", "--b--"), { lines("--c", "-- b", "--ba", "x--b--", " --b") } },
    { "line breaks of a body", lines("--b", "", "", "x", "", "", "--b--"), { "\r\nx\r\n\r\n" } },
    { "line feeds and carriage returns alone", "--b\r\n\r\n\n--b\r\r\n-\n\r\r\n--b--", { "\n--b\r\r\n-\n\r" } },
    { "a boundary with others in it", lines("--b", "", "--b-", "x", "--b--"), { lines("--b-", "x") } },
    { "folded headers", lines("--b", "Content-Disposition: form-data;", "  name=\"a\"", "", "x", "--b--"), { "a: x" } },
    { "NUL and all bytes", lines("--b", "", "\0\1\255\254\r", "--b--"), { "\0\1\255\254\r" } },
    { "parts in parts", lines("--b", "Content-Type: multipart/mixed; boundary=c", "", "pre", "--c", "", "1", "--c", "", "2", "--c--", "post", "--b", "", "x", "--b--"),
      { { "1", "2" }, "x" } },
    { "parts in parts, the boundary of one beginning as the other's",
      lines("--b", "Content-Type: multipart/mixed; boundary=bb", "", "--bb", "", "1", "--bb--", "--b", "", "x", "--b--"), { { "1" }, "x" } },
  }
  for _, case in ipairs(good) do
    it("reads " .. case[1], function()
      for _, size in ipairs(sizes) do assert.same(case[3], parse(case[2], "b", size)) end
    end)
  end

  it("is iterated over by asyncio.aiter, too", function()
    local reader = multipart.MultipartReader("multipart/mixed; boundary=b", stream(lines("--b", "", "1", "--b", "", "2", "--b--")))
    local got = {}
    for part in asyncio.aiter(reader) do got[#got + 1] = await(part:text()) end
    assert.same({ "1", "2" }, got)
  end)

  it("reads a boundary of any characters", function()
    for _, b in ipairs { "----WebKitFormBoundary7MA4YWxkTrZu0gW", "a.b*c", "%", "(x)", "a b", ("x"):rep(70) } do
      for _, size in ipairs(sizes) do
        assert.same({ "1" }, parts_of(multipart.MultipartReader('multipart/form-data; boundary="' .. b .. '"', stream(lines("--" .. b, "", "1", "--" .. b .. "--"), size))))
      end
    end
  end)

  local bad = {
    { "nothing", "" }, { "no boundary", "hello" }, { "another boundary", lines("--c", "", "x", "--c--") }, { "a missing end", lines("--b", "", "x") },
    { "an end in a head", "--b\r\nA: 1\r\n" }, { "an end behind a boundary", "--b\r\n" }, { "half an end", lines("--b", "", "x", "--b-") }, { "a boundary without a line's end", lines("--b", "", "x", "--b") },
    { "a head that is none", lines("--b", "no colon", "", "x", "--b--") }, { "a name that is none", lines("--b", "A B: 1", "", "x", "--b--") }, { "a header without a name", lines("--b", ": 1", "", "x", "--b--") },
    { "NUL in a header", lines("--b", "A: \0", "", "x", "--b--") }, { "a long head", lines("--b", "A: " .. ("x"):rep(20000), "", "x", "--b--") },
    { "many headers", lines("--b", ("A: 1\r\n"):rep(129), "x", "--b--") },
  }
  for _, case in ipairs(bad) do
    it("refuses " .. case[1], function()
      for _, size in ipairs { 1, 7, 100000 } do helper.raises(multipart.MultipartError, parse, case[2], "b", size) end
    end)
  end

  it("refuses content types that are not multipart", function()
    for _, ctype in ipairs { "", "text/plain", "multipart/", "multipart/mixed", "multipart/mixed; boundary=", 'multipart/mixed; boundary=""',
      "multipart/mixed; boundary=" .. ("x"):rep(71), 'multipart/mixed; boundary="a\rb"', "multipart/mixed; boundary=\xC3\xA9" } do
      helper.raises(asyncio.ValueError, multipart.MultipartReader, ctype, stream(""))
    end
    helper.raises(asyncio.ValueError, multipart.MultipartReader, http_core.Headers {}, stream(""))
    helper.raises(asyncio.TypeError, multipart.MultipartReader, "multipart/mixed; boundary=b", stream(""), { limit = 1 })
    assert.equal("b", multipart.MultipartReader(http_core.Headers { ["content-type"] = "Multipart/Mixed; Boundary=b" }, stream("")).boundary)
  end)

  it("refuses parts in parts without end", function()
    local body = ""
    for i = 20, 1, -1 do
      body = lines("--b" .. i, "Content-Type: multipart/mixed; boundary=b" .. i + 1, "", body, "--b" .. i .. "--")
    end
    helper.raises("8 times", parse, body, "b1")
  end)

  it("passes over what is not read", function()
    local text = lines("--b", "Content-Disposition: form-data; name=a", "", ("x"):rep(100), "--b", "Content-Type: multipart/mixed; boundary=c", "", "--c", "", "1", "--c--",
      "--b", "Content-Disposition: form-data; name=z", "", "z", "--b--")
    for _, size in ipairs(sizes) do
      local reader = multipart.MultipartReader("multipart/mixed; boundary=b", stream(text, size))
      local a = await(reader:next())
      assert.equal("x", await(a:read_chunk(1)))
      local nested = await(reader:next())
      local inner = await(nested:next())
      local z = await(reader:next())
      assert.equal("z", z.name)
      helper.raises(asyncio.RuntimeError, await, a:read_chunk())
      helper.raises(asyncio.RuntimeError, await, nested:next())
      helper.raises(asyncio.RuntimeError, await, inner:read())
      assert.equal("z", await(z:read()))
      assert.is_nil(await(z:read_chunk()))
      assert.is_nil(await(reader:next()))
      assert.is_nil(await(reader:next()))
      assert.is_true(reader:at_eof())
    end
    local reader = multipart.MultipartReader("multipart/mixed; boundary=b", stream(text))
    await(reader:release())
    assert.is_true(reader:at_eof())
  end)

  it("holds a window of a large body", function()
    local block, n = ("0123456789abcde\n"):rep(4096), 0
    local source = { read = async(function()
      n = n + 1
      if n == 1 then return "--b\r\n\r\n" end
      if n <= 65 then return block end
      return n == 66 and "\r\n--b--" or nil
    end) }
    local reader = multipart.MultipartReader("multipart/mixed; boundary=b", source)
    local part, size = await(reader:next()), 0
    for piece in function() return await(part:read_chunk()) end do
      size = size + #piece
      assert.is_true(#reader._buffer <= 2 * #block)
    end
    assert.equal(64 * #block, size)
  end)
end)

describe("BodyPartReader", function()
  local function part_of(headers, body, size, opts)
    local reader = multipart.MultipartReader("multipart/form-data; boundary=b", stream(lines("--b", headers, "", body, "--b--"), size), opts)
    return await(reader:next())
  end

  it("knows its names", function()
    local cases = {
      { 'form-data; name="a"', "a", nil }, { "form-data; name=a; filename=b.txt", "a", "b.txt" }, { 'form-data; name="a"; filename=""', "a", "" },
      { 'form-data; name="a;b"; filename="c\\"d\\\\e"', "a;b", 'c"d\\e' }, { 'form-data; name="\xC3\xA9"; filename="\xE2\x82\xAC.txt"', "\xC3\xA9", "\xE2\x82\xAC.txt" },
      { 'form-data; name="a"; filename="C:\\dir\\file.txt"', "a", "C:\\dir\\file.txt" }, { "form-data; NAME=a; FileName=b", "a", "b" },
      { "form-data; name=a; filename=x; filename*=UTF-8''%e2%82%ac%20rates", "a", "\xE2\x82\xAC rates" }, { "form-data; name=a; filename*=iso-8859-1'en'%A3", "a", "\xC2\xA3" },
      { "form-data; name=a; filename=x; filename*=koi8-r''%C1", "a", "\xD0\xB0" }, { "form-data; name=a; filename=x; filename*=koi9''%C1", "a", "x" }, { "form-data; name=a; filename*=broken", "a", nil },
      { "form-data; name=a; filename*0=fo; filename*1=\"o.txt\"", "a", "foo.txt" }, { "form-data; name=a; filename*0*=UTF-8''%c3; filename*1*=%a9; filename*2=.txt", "a", "\xC3\xA9.txt" },
      { "form-data", nil, nil }, { "", nil, nil }, { 'form-data; name="a', "a", nil }, { 'form-data; =x; name = "a" ; ;', "a", nil }, { "form-data; name=a; name=b", "a", nil },
      { 'form-data; filename="x"; name="a"', "a", "x" }, { "attachment; filename=x.y", nil, "x.y" },
    }
    for _, case in ipairs(cases) do
      local part = part_of("Content-Disposition: " .. case[1], "x")
      assert.same({ case[1], case[2], case[3] }, { case[1], part.name, part.filename })
    end
    assert.is_nil(part_of("X: 1", "x").name)
  end)

  it("has headers and a type", function()
    local part = part_of(lines("content-type:  Text/HTML; charset=UTF-8 ", "X-A: 1", "x-a:2", "Empty:"), "x")
    assert.equal("text/html", part.content_type)
    assert.equal("utf-8", part:get_charset())
    assert.same({ "1", "2" }, part.headers:getall("X-A"))
    assert.equal("", part.headers["empty"])
    assert.equal("text/plain", part_of("A: 1", "x").content_type)
  end)

  it("reads in pieces and lines", function()
    for _, size in ipairs(sizes) do
      local part = part_of("A: 1", "one\r\ntwo\n\nfour", size)
      assert.equal("o", await(part:read_chunk(1)))
      assert.equal("ne\r\n", await(part:readline()))
      assert.equal("two\n", await(part:readline()))
      assert.is_false(part:at_eof())
      assert.equal("\n", await(part:readline()))
      assert.equal("four", await(part:readline()))
      assert.is_nil(await(part:readline()))
      assert.is_true(part:at_eof())
      assert.equal("", await(part:read()))
    end
    helper.raises(asyncio.ValueError, await, part_of("A: 1", ("x"):rep(100000), 1000):readline())
    local part = part_of("A: 1", "x")
    helper.raises(asyncio.ValueError, await, part:read_chunk(0))
    helper.raises(asyncio.ValueError, await, part:read_chunk("1"))
  end)

  it("undoes transfer encodings", function()
    for _, size in ipairs(sizes) do
      assert.equal("Time to relax!", await(part_of("Content-Transfer-Encoding: base64", "VGltZSB0by\r\nByZWxheCE=", size):read()))
      assert.equal("\xD0\x9F=\xD0\x92, soft \t\nend",
        await(part_of("Content-Transfer-Encoding: Quoted-Printable", "=D0=9F=3D=D0=92, so=\r\nft \t=0Aend", size):read()))
      assert.equal("a=b", await(part_of("Content-Transfer-Encoding: binary", "a=b", size):read()))
    end
    assert.equal("", await(part_of("Content-Transfer-Encoding: base64", ""):read()))
    assert.equal("a", await(part_of("Content-Transfer-Encoding: base64", "YQ"):read()))
    for _, body in ipairs { "Y", "Y===", "YQ=x", "YQ==YQ==", "Y\xC3Q=", "Y-_=" } do
      helper.raises(asyncio.ValueError, await, part_of("Content-Transfer-Encoding: base64", body):read())
    end
    helper.raises(asyncio.ValueError, await, part_of("Content-Transfer-Encoding: rot13", "x"):read())
  end)

  it("gives text, JSON and forms", function()
    assert.equal("\xC3\xA9", await(part_of("A: 1", "\xC3\xA9"):text()))
    assert.equal("\xC3\xA9", await(part_of("Content-Type: text/plain; charset=ISO-8859-1", "\xE9"):text()))
    assert.equal("\xC3\xA9", await(part_of("A: 1", "\xE9"):text("latin1")))
    assert.equal("\xD0\xB0", await(part_of("Content-Type: text/plain; charset=koi8-r", "\xC1"):text()))
    helper.raises(asyncio.ValueError, await, part_of("Content-Type: text/plain; charset=koi9", "x"):text())
    assert.same({ a = 1 }, await(part_of("Content-Type: application/json", '{"a":1}'):json()))
    helper.raises(require("json").JSONDecodeError, await, part_of("A: 1", "{"):json())
    assert.equal("x y", await(part_of("A: 1", "a=x+y"):form()).a)
  end)

  it("has a limit for what is read as a whole", function()
    local e = helper.raises(multipart.TooLarge, await, part_of("A: 1", ("x"):rep(101)):read(100))
    assert.equal(100, e.limit)
    assert.equal(100, #await(part_of("A: 1", ("x"):rep(100)):read(100)))
    helper.raises(multipart.TooLarge, await, part_of("A: 1", ("x"):rep(11), nil, { client_max_size = 10 }):read())
    helper.raises(multipart.TooLarge, await, part_of("A: 1", ("x"):rep(11), nil, { client_max_size = 10 }):text())
  end)
end)
