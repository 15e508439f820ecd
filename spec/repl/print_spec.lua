local format = require("repl.print").format

describe("values are printed", function()
  it("as Lua reads them: strings quoted, with escapes", function()
    assert.equal('"a\\n\\"b\\"\\\\ \\x00\\27 é \\xff"', format('a\n"b"\\ \0\27 é \255'))
    assert.equal("nil", format(nil))
    assert.equal("1.5", format(1.5))
    assert.equal("true", format(true))
  end)

  it("without what would steer the terminal, in no name and no text of a metatable", function()
    local odd = setmetatable({}, { __tostring = function() return "a\27[31mb" end })
    assert.equal("a?[31mb", format(odd))
    assert.equal("odd?name {}", format(setmetatable({}, { __name = "odd\27name" })))
    assert.equal('"\\xe2\\x80\\xae\\xc2\\x9b"', format("\u{202E}\u{9B}"))
  end)

  it("tables on one line if they fit: array, then keys in order", function()
    assert.equal('{ 1, 2, nil, 4, [10] = 5, ["a b"] = 1, ["end"] = 3, x = 2, [true] = 0 }',
      format { 1, 2, nil, 4, [10] = 5, x = 2, ["a b"] = 1, ["end"] = 3, [true] = 0 })
    assert.equal("{}", format {})
  end)

  it("tables on several lines if they do not", function()
    assert.equal('{\n  "aaaaaaaaaa",\n  { 1, 2 },\n  key = "bbbbbbbbbb",\n}',
      format({ "aaaaaaaaaa", { 1, 2 }, key = "bbbbbbbbbb" }, { width = 30 }))
  end)

  it("with cycles, and as deep as is asked for", function()
    local t = { 1 }
    t.self = t
    assert.equal("{ 1, self = <cycle> }", format(t))
    assert.equal("{ { { {...} } } }", format({ { { { 1 } } } }, { depth = 3 }))
    local shared = { 5 }
    assert.equal("{ { 5 }, { 5 } }", format { shared, shared })
  end)

  it("with the number of what is left out", function()
    local t = {}
    for i = 1, 1000 do t[i] = i end
    assert.equal("{ 1, 2, 3, ... 997 more }", format(t, { items = 3 }))
    assert.equal('{ "' .. ("a"):rep(400) .. '"... (5000 bytes) }', format({ ("a"):rep(5000) }, { width = 1000 }))
  end)

  it("without running what the table's metatable has", function()
    local t = setmetatable({ a = 1 }, {
      __index = function() error "index" end,
      __pairs = function() error "pairs" end,
      __len = function() error "len" end,
    })
    assert.equal("{ a = 1 }", format(t))
  end)

  it("though __tostring fails or gives no string", function()
    assert.match("__tostring failed: .*no", format(setmetatable({}, { __tostring = function() error "no" end })))
    assert.match("__tostring failed", format(setmetatable({}, { __tostring = function() return {} end })))
  end)

  it("with the place of functions", function()
    assert.match("^function: 0x%x+ <.*print_spec.lua:%d+>$", format(function() end))
    assert.match("^function: ", format(print))
  end)

  it("in colours if asked for, with the same widths", function()
    assert.equal('{ \27[36m1\27[0m, \27[34ma\27[0m = \27[32m"x"\27[0m }', format({ 1, a = "x" }, { colours = true, width = 14 }))
  end)
end)
