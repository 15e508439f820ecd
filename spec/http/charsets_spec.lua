local charsets = require "http.charsets"
local peer = require "spec.http.client.peer"
local web = require "http.web"

local decode = charsets.decode

describe("Character sets", function()
  it("of one byte are read", function()
    assert.equal("\u{201C}na\u{EF}ve\u{201D} \u{20AC}5", decode("\x93na\xEFve\x94 \x805", "windows-1252"))
    assert.equal("\u{43F}\u{440}\u{438}\u{432}\u{435}\u{442}", decode("\xEF\xF0\xE8\xE2\xE5\xF2", "Windows-1251"))
    assert.equal("\u{43F}\u{440}\u{438}\u{432}\u{435}\u{442}", decode("\xD0\xD2\xC9\xD7\xC5\xD4", "KOI8-R"))
    assert.equal("\u{141}\u{F3}d\u{17A}", decode("\xA3\xF3d\xBC", "iso_8859-2"))
    assert.equal("10 \u{20AC}", decode("10 \xA4", "latin9"))
    assert.equal("\u{39A}\u{3B1}", decode("\xCA\xE1", "iso8859-7"))
    assert.equal("plain", decode("plain", "cp1250"))
  end)

  it("have U+FFFD for bytes that are no character", function()
    assert.equal("a\u{FFFD}b", decode("a\x81b", "windows-1252"))
  end)

  it("of two bytes are read, by their mark or their name", function()
    assert.equal("a\u{1F600}", decode("\xFF\xFEa\0\x3D\xD8\x00\xDE", "UTF-16"))
    assert.equal("a\u{1F600}", decode("\xFE\xFF\0a\xD8\x3D\xDE\x00", "utf-16"))
    assert.equal("a", decode("a\0", "utf-16"))
    assert.equal("\u{E9}", decode("\0\xE9", "utf-16be"))
    assert.equal("a\u{FFFD}b\u{FFFD}", decode("a\0\x00\xD8b\0x", "utf-16le"))
  end)

  it("of one byte can be written, too", function()
    local encode = require("http.charsets").encode
    local all = {}
    for byte = 128, 255 do all[#all + 1] = string.char(byte) end
    for _, name in ipairs { "windows-1252", "koi8_r", "iso8859-15", "cp866" } do
      local known = table.concat(all):gsub(".", function(byte) return decode(byte, name) == "\u{FFFD}" and "" or byte end)
      assert.equal(known, encode(decode(known, name), name))
    end
    assert.equal("plain", encode("plain", "koi8-r"))
    assert.same({ nil, "€" }, { encode("a € b ≠", "iso-8859-2") })
    assert.is_nil(encode("x", "klingon"))
  end)

  it("that are not known are nil", function()
    for _, name in ipairs { "klingon", "", "utf-7", "iso-8859-12" } do assert.is_nil(decode("x", name)) end
  end)

  it("are what a response's text is read by", function()
    local function page(type, body)
      return function() return web.Response { body = body, headers = { ["Content-Type"] = type } } end
    end
    peer.serve({
      web.get("/ru", page("text/html; charset=windows-1251", "\xE4\xE0")),
      web.get("/odd", page("text/html; charset=klingon", "d\u{E9}")),
      web.get("/none", page("text/html", "\xE4\xE0")),
    }, nil, function(session, url)
      local function text(path, ...)
        local resp <close> = await(session:get(url(path)))
        return await(resp:text(...)), resp:get_encoding()
      end
      local got, encoding = text "/ru"
      assert.equal("\u{434}\u{430}", got)
      assert.equal("windows-1251", encoding)
      assert.equal("d\u{E9}", text "/odd")
      assert.equal("\u{434}\u{430}", text("/none", "cp1251"))
    end)
  end)
end)
