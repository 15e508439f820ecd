local asyncio = require "asyncio"
local FormData = require("http.client.formdata").FormData
local forms = require "http.forms"
local fs = require "fs"
local helper = require "spec.helper"
local payload = require "http.client.payload"

local async, await = asyncio.async, asyncio.await

--- What the server side makes of it.
local function received(form)
  local body, ctype, p = payload.of(form)
  if p then body = await(p:as_bytes()) end
  local at = 1
  local stream = { read = async(function(_, n)
    local piece = body:sub(at, at + n - 1)
    at = at + n
    return piece ~= "" and piece or nil
  end) }
  return await(forms.read(ctype, stream)), ctype, body, p
end

describe("FormData", function()
  it("is multipart from the beginning if it is told so", function()
    local form = FormData({ a = 1 }, { default_to_multipart = true })
    assert.is_true(form.is_multipart)
    local fields, ctype = received(form)
    assert.matches("^multipart/form%-data; boundary=", ctype)
    assert.same({ "1" }, { fields.a })
    helper.raises("default_to_multipart: a boolean was expected, got a number", FormData, {}, { default_to_multipart = 1 })
    helper.raises("quote_fields: a boolean was expected", FormData, {}, { quote_fields = "no" })
  end)

  it("is urlencoded for strings, numbers and booleans alone", function()
    local form = FormData { b = "x y&z", a = 1, c = { true, "\u{20ac}" } }
    assert.is_false(form.is_multipart)
    local fields, ctype, body = received(form)
    assert.equal("a=1&b=x+y%26z&c=true&c=%E2%82%AC", body)
    assert.equal("application/x-www-form-urlencoded", ctype)
    assert.same({ "x y&z", 4 }, { fields.b, #form })
    form:add_fields({ { "d", "4" }, { "a", "5" } }):add_field("e", 1.5)
    assert.equal("a=1&b=x+y%26z&c=true&c=%E2%82%AC&d=4&a=5&e=1.5", (payload.of(form)))
    assert.equal("application/x-www-form-urlencoded; charset=latin1", select(2, payload.of(FormData(nil, { charset = "latin1" }))))
  end)

  it("is written in the character set that it is said to be in", function()
    local form = FormData({ ["имя"] = "текст" }, { charset = "koi8-r" })
    local fields, ctype, body = received(form)
    assert.equal("application/x-www-form-urlencoded; charset=koi8-r", ctype)
    assert.equal("%C9%CD%D1=%D4%C5%CB%D3%D4", body)
    assert.equal("текст", fields["имя"])
    form:add_field("file", "x", { filename = "x" })
    fields, ctype, body = received(form)
    assert.matches("^multipart/form%-data", ctype)
    assert.truthy(body:find("Content-Type: text/plain; charset=koi8-r\r\n\r\n\xD4\xC5\xCB\xD3\xD4\r\n", 1, true), body)
    local file <close> = fields.file
    assert.same({ "текст", 1 }, { fields["имя"], file.size })
    form = FormData():add_field("a", "текст", { content_type = "text/plain; charset=windows-1251" })
      :add_field("b", "naïve", { content_type = "text/plain; charset=latin1" })
      :add_field("c", "\xD4\xC5", { content_type = "text/plain; charset=koi8-r" }) -- bytes that are so already
      :add_field("d", "as it is €", { content_type = "text/plain; charset=klingon" })
    body = payload.of(form)
    for _, bytes in ipairs { "\xF2\xE5\xEA\xF1\xF2", "na\xEFve", "\xD4\xC5", "as it is €" } do
      assert.truthy(body:find("\r\n\r\n" .. bytes .. "\r\n", 1, true))
    end
    for charset, bad in pairs { latin1 = "€", ["koi8-r"] = "€", ascii = "é" } do
      helper.raises(("'%s' cannot be written in %s"):format(bad, charset), form.add_field, form, "x", "text " .. bad,
        { content_type = "text/plain; charset=" .. charset })
    end
  end)

  it("is multipart as soon as a field is a file, has a type or a name of one", function()
    for _, opts in ipairs { { content_type = "a/b" }, { filename = "x.txt" }, { content_transfer_encoding = "base64" } } do
      local form = FormData { plain = "1" }
      form:add_field("field", "value", opts)
      assert.is_true(form.is_multipart)
      local fields, ctype, _, p = received(form)
      assert.truthy(ctype:find("^multipart/form%-data; boundary=%w+$"))
      assert.is_nil(p) -- short strings: sent at once
      assert.equal("1", fields.plain)
      if opts.filename then
        local file <close> = fields.field
        assert.same({ "x.txt", "value", "text/plain" }, { file.filename, await(file:read()), file.content_type })
      else
        assert.equal("value", fields.field)
      end
    end
  end)

  it("streams files from the disk", function()
    local path = helper.tmpfile(("picture"):rep(30000))
    local file <close> = await(fs.open(path))
    local form = FormData { title = "t" }
    form:add_field("picture", file, { content_type = "image/png", filename = "my picture\u{fc}.png" })
    local fields, _, body, p = received(form)
    local got <close> = fields.picture
    assert.same({ "my picture\u{fc}.png", "image/png", 210000, "t" }, { got.filename, got.content_type, got.size, fields.title })
    assert.same({ #body, true }, { p:prepare(), p.replayable })
    assert.equal(path:match("[^/]*$"), (received { f = file }).f.filename)
  end)

  it("takes iterators", function()
    local n = 0
    local fields, _, _, p = received(FormData():add_field("x", function()
      n = n + 1
      return n < 3 and "ab" or nil
    end))
    assert.same({ "abab", false }, { fields.x, p.replayable })
  end)

  it("does not put a long form together at once", function()
    local form = FormData { a = ("x"):rep(600000), b = ("y"):rep(600000) }
    form:add_field("c", "", { content_type = "text/plain" })
    local body, _, p = payload.of(form)
    assert.is_true(body)
    local size, all = p:prepare(), await(p:as_bytes())
    assert.equal(size, #all)
    assert.truthy(all:find(("x"):rep(600000), 1, true) and all:find(("y"):rep(600000), 1, true))
  end)

  it("escapes names as browsers do", function()
    local form = FormData()
    form:add_field('a"b\r\nc\\', "1", { filename = 'f"\n\u{fc}' })
    local _, _, p = payload.of(form)
    local text = (payload.of(form))
    assert.is_nil(p)
    assert.truthy(text:find('name="a%22b%0D%0Ac\\"; filename="f%22%0A\u{fc}"', 1, true), text)
    form = FormData(nil, { quote_fields = false })
    form:add_field('a"b\\', "1", { filename = "x" })
    assert.truthy((payload.of(form)):find('name="a\\"b\\\\"; filename="x"', 1, true))
    form:add_field("a\r\nB: c", "1")
    helper.raises(asyncio.ValueError, payload.of, form)
  end)

  it("can be sent twice", function()
    local form = FormData { a = "1" }
    form:add_field("b", "2", { filename = "b" })
    assert.equal("1", received(form).a)
    assert.equal("1", received(form).a)
    assert.equal("FormData(2 fields)", tostring(form))
    assert.equal("multipart/form-data", form:payload().content_type:match("^[^;]*"))
    assert.equal("a=1", await(FormData { a = "1" }:payload():as_bytes()))
  end)

  it("refuses what is no field, naming it", function()
    local form = FormData()
    local e = helper.raises(asyncio.TypeError, form.add_field, form, "avatar", {})
    assert.truthy(e.message:find("'avatar'", 1, true))
    helper.raises(asyncio.TypeError, form.add_field, form, 1, "x")
    helper.raises(asyncio.TypeError, form.add_field, form, "x", nil)
    helper.raises(asyncio.TypeError, form.add_field, form, "x", "y", { content_typ = "a" })
    helper.raises(asyncio.TypeError, form.add_field, form, "x", "y", { filename = 1 })
    helper.raises(asyncio.ValueError, form.add_field, form, "x", "y", { content_type = "a/b\r\nX: y" })
    helper.raises(asyncio.ValueError, form.add_field, form, "x", "y", { content_transfer_encoding = "zip" })
    helper.raises(asyncio.TypeError, form.add_fields, form, "a=b")
    helper.raises(asyncio.TypeError, form.add_fields, form, { { "a" } })
    helper.raises(asyncio.TypeError, FormData, { a = {}, b = print, c = { {} } })
    helper.raises(asyncio.TypeError, FormData, nil, { quote = true })
    local open <close> = assert(io.open("/dev/null"))
    helper.raises(asyncio.TypeError, form.add_field, form, "x", open)
    assert.equal(0, #form)
  end)
end)
