local asyncio = require "asyncio"
local helper = require "spec.helper"
local multidict = require "http.multidict"

local MultiDict = multidict.MultiDict

local function list(d)
  local l = {}
  for name, value in pairs(d) do l[#l + 1] = name .. "=" .. tostring(value) end
  return table.concat(l, "&")
end

describe("MultiDict", function()
  it("keeps names and values in order", function()
    local d = MultiDict { { "b", "1" }, { "a", "2" }, { "b", "3" } }
    assert.equal("b=1&a=2&b=3", list(d))
    assert.equal(3, #d)
    assert.equal("1", d.b)
    assert.equal("1", d:get("b"))
    assert.same({ "1", "3" }, d:getall("b"))
    assert.is_nil(d.c)
    assert.equal("none", d:get("c", "none"))
    assert.same({}, d:getall("c"))
    assert.is_nil(d.B)
  end)

  it("adds, replaces and removes", function()
    local d = MultiDict()
    assert.equal(0, #d)
    d:add("a", "1")
    d:add("b", "2")
    d:add("a", "3")
    d.a = "4"
    assert.equal("a=4&b=2", list(d))
    d.c = "5"
    d.b = nil
    d.nothing = nil
    assert.equal("a=4&c=5", list(d))
    assert.equal("4", d:pop("a"))
    assert.is_nil(d:pop("a"))
    assert.equal("d", d:pop("a", "d"))
    assert.is_true(d:contains("c"))
    assert.is_false(d:contains("a"))
    d:clear()
    assert.equal("", list(d))
  end)

  it("is made of tables and of others", function()
    local d = MultiDict { z = "1", a = { "2", "3" }, n = 4 }
    assert.equal("a=2&a=3&n=4&z=1", list(d))
    local e = d:copy()
    e:add("y", "5")
    assert.equal("a=2&a=3&n=4&z=1", list(d))
    d:update { a = "6", b = "7" }
    assert.equal("n=4&z=1&a=6&b=7", list(d))
    d:extend(e)
    assert.equal("n=4&z=1&a=6&b=7&a=2&a=3&n=4&z=1&y=5", list(d))
    d:extend(d)
    assert.equal(18, #d)
  end)

  it("finds names among many as it does among few", function()
    local d = MultiDict()
    for i = 1, 1000 do d:add("n" .. i % 500, i) end
    assert.equal(3, d.n3)
    assert.same({ 3, 503 }, d:getall("n3"))
    d:add("new", "x")
    assert.equal("x", d.new)
    d.n3 = "y"
    assert.same({ "y" }, d:getall("n3"))
    d.n4 = nil
    assert.is_nil(d.n4)
    assert.equal(5, d.n5)
    assert.equal(998, #d)
  end)

  it("has values under the names of methods, too", function()
    local d = MultiDict { { "get", "1" }, { "add", "2" } }
    assert.equal("1", d:get("get"))
    assert.equal("2", d:get("add"))
    d.get = "3"
    assert.equal("3", d:get("get"))
  end)

  it("compares and shows itself", function()
    assert.equal(MultiDict { a = "1" }, MultiDict { { "a", "1" } })
    assert.not_equal(MultiDict { a = "1" }, MultiDict { a = "2" })
    assert.not_equal(MultiDict { a = "1" }, MultiDict())
    assert.equal('MultiDict(a="1", b=2)', tostring(MultiDict { a = "1", b = 2 }))
    assert.is_true(multidict.is(MultiDict()))
    assert.is_false(multidict.is({}))
  end)

  it("refuses what is no name or no value", function()
    local d = MultiDict()
    helper.raises(asyncio.TypeError, d.add, d, 1, "x")
    helper.raises(asyncio.TypeError, d.add, d, "x", nil)
    helper.raises(asyncio.TypeError, function() d[1] = "x" end)
    helper.raises(asyncio.TypeError, MultiDict, "x")
    helper.raises(asyncio.TypeError, MultiDict, { { "x" } })
    helper.raises(asyncio.TypeError, MultiDict, { [false] = 1 })
    assert.is_nil(d[1])
  end)
end)
