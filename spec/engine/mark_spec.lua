--- What of a line an error is about: one rule for the command, the REPL and `moonloop test`.

local core = require "asyncio.core"

local mark = core.error_mark

local index, call = "attempt to index a nil value ", "attempt to call a nil value "

describe("the mark under a line", function()
  for _, case in ipairs {
    { "is under the name", call .. "(global 'nothing')", "  nothing()", "  ^^^^^^^" },
    { "is under a whole name", call .. "(global 'go')", "gone, go = go_on, go()", "                  ^^" },
    { "is under the field", index .. "(field 'user')", "user = config.user.name", "              ^^^^" },
    { "is under the method", call .. "(method 'bcd')", "bcd = s:bcd()", "        ^^^" },
    { "is under what is called, where the name is there twice", call .. "(field 'go')", "t.go() t = t.go", "  ^^" },
    { "is under what is indexed, where the name is there twice", index .. "(local 'x')", "print(x, x.y)", "         ^" },
    { "is under the token", "unexpected symbol near '*'", "local a = * 2", "          ^" },
    { "is under a constant", "attempt to perform arithmetic on a nil value (constant 'half')", "return 1 + half", "           ^^^^" },
    { "stands behind the line's tabs", call .. "(global 'nothing')", "\treturn nothing()", "\t       ^^^^^^^" },
    { "counts characters", index .. "(field 'größe')", "grün(a.größe.x)", "       ^^^^^" },
  } do
    it(case[1], function() assert.equal(case[4], mark("a.lua:1: " .. case[2], case[3])) end)
  end

  for _, case in ipairs {
    { "the name is not in the line", call .. "(global 'nothing')", "nothings()" },
    { "the name is there twice, in the same way", call .. "(global 'f')", "f(f())" },
    { "the message names none", "attempt to index a nil value", "f().x = 1" },
    { "the name has no end", "near 'abc", "abc" },
    { "the name is empty", "near ''", "''" },
    { "the name is longer than any", "near '" .. ("a"):rep(128) .. "'", ("a"):rep(128) },
    { "the line is empty", "near 'a'", "" },
    { "the message is empty", "", "a" },
  } do
    it("is not there if " .. case[1], function() assert.equal(nil, (mark(case[2], case[3]))) end)
  end

  it("is found in long lines", function()
    local before = ("é"):rep(100000)
    assert.equal((" "):rep(100000) .. "^", mark("near 'x'", before .. "x"))
  end)

  it("needs texts", function()
    assert.error_matches(function() mark(nil, "") end, "string expected, got nil")
    assert.error_matches(function() mark("", {}) end, "string expected, got table")
  end)
end)
