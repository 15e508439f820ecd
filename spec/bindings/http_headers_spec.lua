local core = require "http.core"
local helper = require "spec.helper"
local raw = require "spec.bindings.http_raw"

local Headers = core.Headers

local function all(h)
  local t = {}
  for name, value in pairs(h) do t[#t + 1] = name .. "=" .. value end
  return table.concat(t, ";")
end

describe("Headers", function()
  it("find names whatever their case, and keep their spelling", function()
    local h = Headers { { "Content-Type", "text/plain" }, { "X-A", "1" }, { "x-a", "2" } }
    assert.equal("text/plain", h["content-type"])
    assert.equal("1", h["X-a"])
    assert.equal("1", h:get("x-A"))
    assert.is_nil(h["x-b"])
    assert.equal("none", h:get("x-b", "none"))
    assert.same({ "1", "2" }, h:getall("X-A"))
    assert.same({}, h:getall("X-B"))
    assert.is_true(h:contains("x-a"))
    assert.is_false(h:contains("x-b"))
    assert.equal(3, #h)
    assert.equal("Content-Type=text/plain;X-A=1;x-a=2", all(h))
    assert.equal("<Headers Content-Type: text/plain; X-A: 1; x-a: 2>", tostring(h))
    assert.same({ "Content-Type", "text/plain", "X-A", "1", "x-a", "2" }, h:array())
  end)

  it("are made of tables and of each other", function()
    assert.equal("", all(Headers()))
    assert.equal("A=b", all(Headers { A = "b" }))
    assert.equal("A=7", all(Headers { A = 7 }))
    local h = Headers { { "A", "b" } }
    local copy = h:copy()
    assert.is_true(h == copy)
    copy:add("C", "d")
    assert.equal("A=b", all(h))
    assert.is_false(h == copy)
    h:extend(copy)
    assert.equal("A=b;A=b;C=d", all(h))
    assert.is_true(Headers { A = "b" } == Headers { a = "b" })
    assert.is_false(Headers { A = "b" } == Headers { a = "B" })
  end)

  it("are altered by assignment", function()
    local h = Headers { { "A", "1" }, { "B", "2" }, { "a", "3" }, { "A", "4" } }
    h.a = "5"
    assert.equal("a=5;B=2", all(h))
    h.C = "6"
    assert.equal("a=5;B=2;C=6", all(h))
    h.b = nil
    assert.equal("a=5;C=6", all(h))
    h.none = nil
    assert.equal("a=5;C=6", all(h))
  end)

  it("refuse what cannot be sent", function()
    local h = Headers()
    helper.raises("no name of a header", h.add, h, "a b", "c")
    helper.raises("no name of a header", h.add, h, "", "c")
    helper.raises("line break or NUL", h.add, h, "a", "b\nc")
    helper.raises("must be a string, got table", h.add, h, "a", {})
    helper.raises("must be a string, got nil", h.add, h)
    helper.raises("no name of a header", Headers, { { "a:", "b" } })
    helper.raises("must be {name, value}, got string", Headers, { "a", "b" })
    helper.raises("must be a string", function() h[1] = "x" end)
    assert.is_nil(h[1])
    helper.raises("table expected", Headers, 1)
    helper.raises("Headers expected", h.get, {}, "a")
    assert.equal(0, #h)
  end)

  it("of a request are as they were sent", function()
    local text
    raw.serve(function(x)
      local h = x:headers()
      text = all(h)
      h["x-a"] = "changed"
      assert.equal("1", x:header("x-A"))
      assert.is_nil(x:header("x-c"))
      helper.raises("a name was expected", x.header, x, 1)
      return x:respond(200)
    end, function(peer)
      peer.talk("GET / HTTP/1.1\r\nhOsT: a\r\nX-A:1\r\nX-B: \t 2 \t\r\nX-A: 3\r\n\r\n")
      assert.equal("hOsT=a;X-A=1;X-B=2;X-A=3", text)
    end)
  end)
end)
