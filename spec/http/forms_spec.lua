local asyncio = require "asyncio"
local forms = require "http.forms"
local fs = require "fs"
local helper = require "spec.helper"

local async, await = asyncio.async, asyncio.await

local MULTIPART = "multipart/form-data; boundary=b"
local URLENCODED = "application/x-www-form-urlencoded"

local function stream(text, size)
  local reader = asyncio.StreamReader()
  for at = 1, #text, size or #text + 1 do reader:feed_data(text:sub(at, at + (size or #text) - 1)) end
  reader:feed_eof()
  return reader
end

local function part(headers, body) return "--b\r\n" .. headers .. "\r\n\r\n" .. body .. "\r\n" end
local function field(name, body) return part(('Content-Disposition: form-data; name="%s"'):format(name), body) end
local function file(name, filename, body, more)
  return part(('Content-Disposition: form-data; name="%s"; filename="%s"%s'):format(name, filename, more or ""), body)
end

local function read(ctype, text, opts, size) return await(forms.read(ctype, stream(text, size), opts)) end

local function multipart(opts, ...) return read(MULTIPART, table.concat { ... } .. "--b--\r\n", opts) end

local function fields(form)
  local list = {}
  for name, value in pairs(form) do list[#list + 1] = name .. "=" .. tostring(value) end
  return list
end

describe("forms.read", function()
  it("reads urlencoded forms", function()
    local form = read(URLENCODED, "a=1&b=x+y%26&a=2&c")
    assert.same({ "a=1", "b=x y&", "a=2", "c=" }, fields(form))
    assert.same({ "a=1" }, fields(read("Application/X-WWW-Form-Urlencoded; charset=utf-8", "a=1")))
    assert.same({}, fields(read(URLENCODED, "")))
  end)

  it("reads multipart forms in any pieces", function()
    local text = field("a", "1") .. file("f", "x.txt", "hello\r\n--bx\r\n", "\r\nContent-Type: text/plain") .. field("a", "") .. file("g", "", "") .. "--b--\r\n"
    for _, size in ipairs { 1, 3, 1000 } do
      local form = read(MULTIPART, text, nil, size)
      assert.same({ "a=1", 'f=FileField("x.txt", 13 bytes)', "a=", 'g=FileField("", 0 bytes)' }, fields(form))
      local f = form.f
      assert.same({ "f", "x.txt", "text/plain", 13 }, { f.name, f.filename, f.content_type, f.size })
      assert.equal("application/octet-stream", form.g.content_type)
      assert.equal('form-data; name="g"; filename=""', form.g.headers["content-disposition"])
      assert.equal("hello", await(f.file:read(5)))
      assert.equal("hello\r\n--bx\r\n", (await(f:read())))
      assert.equal("", await(form.g:read()))
      await(forms.close(form))
      await(forms.close(form))
      helper.raises(asyncio.Exception, await, f:read())
    end
    assert.same({}, fields(multipart()))
  end)

  it("spools files, and leaves none behind", function()
    local dir = helper.tmpdir()
    local big = ("0123456789abcdef"):rep(65536)
    local form = multipart({ dir = dir, client_max_size = 2 << 20 }, file("f", "big", big))
    local f <close> = form.f
    assert.equal(#big, f.size)
    assert.same({}, await(fs.listdir(dir)))
    local copy = dir .. "/copy"
    await(f:save(copy))
    assert.equal(big, await(fs.read_file(copy)))
    helper.raises(asyncio.ValueError, multipart, { dir = dir }, file("f", "x", "1"), part("no header", ""))
    assert.same({ "copy" }, await(fs.listdir(dir)))
    helper.raises(asyncio.OSError, multipart, { dir = dir .. "/none" }, file("f", "x", "1"))
  end)

  it("lets go of forgotten files without a word", function()
    local status, out, err = helper.cli({ "-e", [[
      local text = '--b\r\nContent-Disposition: form-data; name=f; filename=x\r\n\r\nhello\r\n--b--'
      local reader = require("asyncio").StreamReader()
      reader:feed_data(text)
      reader:feed_eof()
      local form = await(require("http.forms").read("multipart/form-data; boundary=b", reader))
      print(form.f.size)
      form = nil
      collectgarbage()
      collectgarbage()
    ]] })
    assert.same({ 0, "5\n", "" }, { status, out, err })
  end)

  it("undoes transfer encodings and character sets", function()
    local urlencoded = read("application/x-www-form-urlencoded; charset=windows-1251", "%E4=%E0&x=1&x=2")
    assert.same({ "\u{430}", { "1", "2" } }, { urlencoded["\u{434}"], urlencoded:getall "x" })
    helper.raises("unknown character set 'klingon'", read, "application/x-www-form-urlencoded; charset=klingon", "a=1")
    local form = multipart(nil,
      part('Content-Disposition: form-data; name="a"\r\nContent-Transfer-Encoding: base64', "aGVsbG8="),
      part('Content-Disposition: form-data; name="f"; filename="x"\r\nContent-Transfer-Encoding: base64', "aGVsbG8="),
      part('Content-Disposition: form-data; name="l"\r\nContent-Type: text/plain; charset=iso-8859-1', "\xE9"))
    assert.equal("hello", form.a)
    assert.equal("hello", await(form.f:read()))
    assert.equal(5, form.f.size)
    assert.equal("\xC3\xA9", form.l)
    await(forms.close(form))
  end)

  it("has limits", function()
    local T, V = forms.TooLarge, asyncio.ValueError
    local e = helper.raises(T, read, URLENCODED, ("x"):rep(1048577))
    assert.equal(1048576, e.limit)
    assert.equal(1, #read(URLENCODED, ("x"):rep(1048576)))
    assert.equal(1, #read(URLENCODED, ("x"):rep(1048577), { client_max_size = 0 }))
    helper.raises(T, read, URLENCODED, "a=12345", { client_max_size = 6 })
    helper.raises(V, read, URLENCODED, ("a&"):rep(1001))
    helper.raises(V, read, URLENCODED, "a&b&c", { max_fields = 2 })
    helper.raises(T, multipart, { client_max_size = 10 }, field("a", "1234567890"))
    helper.raises(T, multipart, { client_max_size = 10 }, field("a", "1234"), file("b", "x", "123456"))
    helper.raises(T, multipart, { client_max_size = 10 }, file("a", "x", ("x"):rep(100000)))
    helper.raises(V, multipart, { max_fields = 1 }, field("a", "1"), field("b", "2"))
  end)

  it("refuses what is no form", function()
    local V = asyncio.ValueError
    helper.raises(V, read, "text/plain", "x")
    helper.raises(V, read, "", "x")
    helper.raises(V, read, nil, "x")
    helper.raises(V, read, "multipart/mixed; boundary=b", "--b--")
    helper.raises(V, read, "multipart/form-data", "--b--")
    helper.raises(V, read, MULTIPART, "")
    helper.raises(V, read, MULTIPART, field("a", "1"))
    helper.raises(V, multipart, nil, part("A: 1", "x"))
    helper.raises(V, multipart, nil, part('Content-Disposition: form-data; name="a"\r\nContent-Type: multipart/mixed; boundary=c', "--c--"))
    helper.raises(V, multipart, nil, part('Content-Disposition: form-data; name="a"\r\nContent-Type: text/plain; charset=klingon', "x"))
    helper.raises(V, multipart, nil, part('Content-Disposition: form-data; name="a"\r\nContent-Transfer-Encoding: base64', "x!"))
    helper.raises(V, multipart, nil, part('Content-Disposition: form-data; name="a"; filename="b"\r\nContent-Transfer-Encoding: rot13', "x!"))
    helper.raises(asyncio.TypeError, forms.read, MULTIPART, stream(""), { max = 1 })
  end)

  it("closes its files when it is cancelled", function()
    local reader = asyncio.StreamReader()
    reader:feed_data(file("f", "x", ("y"):rep(1000)):sub(1, 500))
    local task = asyncio.create_task(forms.read(MULTIPART, reader))
    for _ = 1, 50 do await(asyncio.sleep(0.001)) end
    task:cancel()
    helper.raises(asyncio.CancelledError, await, task)
  end)

  it("passes on what the stream raises", function()
    local source = { read = async(function() error(asyncio.OSError("gone"), 0) end) }
    helper.raises("gone", await, forms.read(MULTIPART, source))
    helper.raises("gone", await, forms.read(URLENCODED, source))
  end)
end)
