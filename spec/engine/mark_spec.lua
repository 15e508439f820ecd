--- Where an error comes from and what of its line it is about: one rule for the command, the REPL and `moonloop test`.

local helper = require "spec.helper"

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

describe("the place of an error", function()
  local stack = "stack traceback:\n\t[C]: in function 'error'\n\t(...tail calls...)\n\tb.lua:7: in function 'f'\n\tc.lua:8: in main chunk"
  for _, case in ipairs {
    { "is what the message says", "a.lua:12: wrong", stack, "a.lua", 12 },
    { "is what the message says behind its class", "ValueError: a.lua:12: wrong", stack, "a.lua", 12 },
    { "may have blanks and colons", "/a b/c:d.lua:3: wrong", "", "/a b/c:d.lua", 3 },
    { "is an input of the REPL's", "<input 4>:1: wrong", "", "<input 4>", 1 },
    { "is the first of the traceback that is one", "wrong", stack, "b.lua", 7 },
    { "is not in a message's second line", "wrong\na.lua:12: wrong", stack, "b.lua", 7 },
    { "is not known", "wrong", "stack traceback:\n\t[C]: in ?", nil, nil },
  } do
    it(case[1], function() assert.same({ case[4], case[5] }, { core.error_place(case[2], case[3]) }) end)
  end

  it("has its line, without blanks at the end", function()
    local path = helper.tmpfile("one\n  two\t \r\n\n\27[2Jthree\n" .. ("x"):rep(500) .. "\n" .. ("y"):rep(499))
    assert.equal("one", core.source_line(path, 1))
    assert.equal("  two", core.source_line(path, 2))
    for _, n in ipairs { 3, 4, 5, 7, 0, -1, math.maxinteger } do assert.equal(nil, (core.source_line(path, n))) end
    assert.equal(("y"):rep(499), core.source_line(path, 6))
  end)

  it("has none in what is no file", function()
    local fifo = helper.tmpdir() .. "/fifo"
    assert(os.execute("mkfifo " .. helper.quote(fifo)))
    for _, path in ipairs { fifo, "/dev/zero", "/", fifo .. "/not there" } do
      assert.equal(nil, (core.source_line(path, 1)))
    end
  end)

  it("has none in a file that a sandbox does not let scripts read", function()
    local dir = helper.tmpdir()
    for _, name in ipairs { "a", "b" } do
      local f <close> = assert(io.open(dir .. "/" .. name, "w"))
      f:write("line\n")
    end
    local code = ("local line = require('asyncio.core').source_line print(line('%s/a', 1), line('%s/b', 1))"):format(dir, dir)
    assert.same({ 0, "line\tnil\n", "" }, { helper.cli { "--allow-read=" .. dir .. "/a", "-e", code } })
  end)
end)
