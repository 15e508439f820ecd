--- mime: types by extension, and extensions by type.

local asyncio = require "asyncio"
local helper = require "spec.helper"
local mime = require "mime"

describe("mime.guess_type", function()
  it("goes by the extension, in any case", function()
    for name, kind in pairs {
      ["index.html"] = "text/html", ["a/b.d/x.CSS"] = "text/css", ["x.js"] = "text/javascript", ["x.mjs"] = "text/javascript",
      ["p.png"] = "image/png", ["p.jpeg"] = "image/jpeg", ["f.woff2"] = "font/woff2", ["m.wasm"] = "application/wasm",
      ["v.mp4"] = "video/mp4", ["d.json"] = "application/json", ["http://h/p.pdf?x=y.z#f.g"] = "application/pdf",
    } do
      assert.equal(kind, (mime.guess_type(name)), name)
    end
  end)

  it("gives the encoding of what is compressed", function()
    assert.same({ "application/x-tar", "gzip" }, { mime.guess_type("a.tar.gz") })
    assert.same({ "application/x-tar", "gzip" }, { mime.guess_type("a.tgz") })
    assert.same({ "image/svg+xml", "gzip" }, { mime.guess_type("a.svgz") })
    assert.same({ nil, "bzip2" }, { mime.guess_type("a.bz2") })
    assert.same({ "text/javascript", "br" }, { mime.guess_type("a.js.br") })
  end)

  it("knows nothing of names without an extension", function()
    for _, name in ipairs { "", "README", ".bashrc", "a.d/b", "x.", "x.unheard-of" } do
      assert.is_nil(mime.guess_type(name), name)
    end
    helper.raises(asyncio.TypeError, mime.guess_type)
  end)

  it("agrees with Python about common types", function()
    local names = { "a.html", "a.css", "a.txt", "a.csv", "a.xml", "a.json", "a.pdf", "a.zip", "a.tar", "a.gif", "a.png",
      "a.jpg", "a.svg", "a.ico", "a.mp3", "a.mp4", "a.webm", "a.mpeg", "a.wav", "a.bmp", "a.tiff", "a.webp", "a.doc", "a.wasm" }
    local out = helper.python("import mimetypes; m = mimetypes.MimeTypes()\nfor n in '" .. table.concat(names, " ")
      .. "'.split(): print(n, m.guess_type(n)[0])")
    local ours = { ["a.xml"] = true, ["a.ico"] = true, ["a.wav"] = true, ["a.webp"] = true } -- newer names, text or not
    for name, kind in out:gmatch("(%S+) (%S+)\n") do
      if not ours[name] and kind ~= "None" then assert.equal(kind, (mime.guess_type(name)), name) end
    end
  end)
end)

describe("mime.content_type", function()
  it("names the charset of text, and something for everything", function()
    assert.equal("text/html; charset=utf-8", mime.content_type("a.html"))
    assert.equal("text/plain; charset=latin-1", mime.content_type("a.txt", "latin-1"))
    assert.equal("image/png", mime.content_type("a.png"))
    assert.equal("application/octet-stream", mime.content_type("a"))
    assert.equal("application/gzip", mime.content_type("a.tar.gz"))
    assert.equal("image/svg+xml", mime.content_type("a.svgz"))
  end)
end)

describe("mime's other direction", function()
  it("gives extensions", function()
    assert.equal(".html", mime.guess_extension("text/html; charset=utf-8"))
    assert.equal(".jpg", mime.guess_extension("IMAGE/JPEG"))
    assert.is_nil(mime.guess_extension("no/such"))
    assert.same({ ".tiff", ".tif" }, mime.guess_all_extensions("image/tiff"))
  end)
end)

describe("mime's additions", function()
  it("are types by hand, or a file's", function()
    mime.add_type("text/x-moon", ".moon")
    mime.add_type("text/x-moon", "MOON")
    assert.equal("text/x-moon", (mime.guess_type("a.moon")))
    assert.same({ ".moon" }, mime.guess_all_extensions("text/x-moon"))
    mime.read_types("# a comment\ntext/x-one\t\tone uno # why\n\nbad line here\ntext/x-none\n")
    assert.equal("text/x-one", (mime.guess_type("a.uno")))
    helper.raises(asyncio.ValueError, mime.add_type, "text", "x")
    helper.raises(asyncio.ValueError, mime.add_type, "text/x\r\ny: z", "x")
    helper.raises(asyncio.TypeError, mime.add_type, "text/x")
  end)
end)
