local helper = require "spec.helper"
local options = require "commands.options"

local kinds = {
  flag = "flag", other = "flag", name = "string", ["a-list"] = "list", more = "list", count = "integer",
  ratio = "number", wait = "duration", max = "size",
}
local short = { f = "flag", o = "other", n = "name", H = "a-list", m = "more", c = "count", w = "wait" }

local function read(...) return options.read("test", { ... }, kinds, "the help\n", short) end

--- What the command says when it is called with these arguments: through a program, as it goes to standard error.
local function complaint(...)
  local words = {}
  for i, a in ipairs { ... } do words[i] = ("%q"):format(a) end
  local status, _, err = helper.cli { "-e", ([[
    require("commands.options").read("test", { %s },
      { flag = "flag", name = "string", count = "integer", wait = "duration", max = "size" }, "", { f = "flag", c = "count" })
  ]]):format(table.concat(words, ", ")) }
  assert.equal(2, status)
  local text, try = err:match("^moonloop test: (.-)\n(.*)$")
  assert.equal("Try 'moonloop test --help'.\n", try)
  return text
end

describe("commands.options", function()
  it("reads long options in both ways, words in between, and what stands behind --", function()
    local given, words, rest = read("--name", "x", "word", "--name=y=z", "--flag", "-", "--a-list=1", "--", "--flag", "w")
    assert.equal("y=z", given.name)
    assert.equal(true, given.flag)
    assert.same({ "1" }, given.a_list)
    assert.same({ "word", "-" }, words)
    assert.same({ "--flag", "w" }, rest)
  end)

  it("reads letters: by themselves, in a row, with values behind and attached", function()
    local given, words = read("-fo", "-n", "-1", "w", "-H", "a", "-Hb", "-fc12")
    assert.same({ true, true, "-1", 12 }, { given.flag, given.other, given.name, given.count })
    assert.same({ "a", "b" }, given.a_list)
    assert.same({ "w" }, words)
    assert.equal("", read("-n", "").name)
    assert.equal("=x", read("-n=x").name)
  end)

  it("keeps the order of lists among each other", function()
    local given = read("-m1", "-H2", "--more", "3")
    assert.same({ { "more", "1" }, { "a_list", "2" }, { "more", "3" } }, { given[1], given[2], given[3] })
  end)

  it("reads numbers, times and sizes", function()
    for text, want in pairs { ["10"] = 10, ["1.5"] = 1.5, ["10s"] = 10, ["500ms"] = 0.5, ["2m"] = 120, ["1h"] = 3600 } do
      assert.equal(want, read("--wait", text).wait)
    end
    for text, want in pairs { ["10"] = 10, ["2K"] = 2048, ["3M"] = 3 << 20, ["1G"] = 1 << 30, ["99999999999"] = 99999999999 } do
      assert.equal(want, read("--max", text).max)
    end
    assert.equal(0.25, read("--ratio=.25").ratio)
    assert.equal("integer", math.type(read("-c", "5").count))
  end)

  it("prints the help and ends", function()
    for _, option in ipairs { "--help", "-h", "-fh" } do
      local status, out = helper.cli { "-e", ([[
        require("commands.options").read("test", { %q, "--unknown" }, { flag = "flag" }, "the help\n", { f = "flag" })
      ]]):format(option) }
      assert.same({ 0, "the help\n" }, { status, out })
    end
  end)

  it("lets a letter stand for something else than help", function()
    local given = options.read("test", { "-h", "x" }, { host = "string" }, "", { h = "host" })
    assert.equal("x", given.host)
  end)

  it("says what is wrong", function()
    assert.equal("unknown option '--nope'", complaint("--nope=1"))
    assert.equal("unknown option '-x'", complaint("-x"))
    assert.equal("unknown option '-x'", complaint("-fx"))
    assert.equal("--flag takes no value", complaint("--flag=1"))
    assert.equal("--name: a value is missing", complaint("--name"))
    assert.equal("-c: a value is missing", complaint("-c"))
    assert.equal("-c: a number was expected, got '1.5'", complaint("-c1.5"))
    for _, text in ipairs { "x", "-1", "nan", "inf", "1e999" } do
      assert.equal(("--count: a number was expected, got '%s'"):format(text), complaint("--count", text))
    end
    for _, text in ipairs { "", "10d", "-1s", "s", "1..2" } do
      assert.equal(("--wait: seconds, or a time such as 500ms, 10s, 2m, 1h was expected, got '%s'"):format(text),
        complaint("--wait", text))
    end
    for _, text in ipairs { "1.5M", "-1", "10k", "9999999999999G" } do
      assert.equal(("--max: bytes, or a size such as 64K, 10M, 1G was expected, got '%s'"):format(text), complaint("--max", text))
    end
  end)

  it("reads header fields, and refuses what is none", function()
    assert.same({ "X-A", "b: c" }, { options.header("test", "X-A:  b: c") })
    assert.same({ "X-A", "" }, { options.header("test", "X-A;") })
    assert.same({ "X-A", "" }, { options.header("test", "X-A:") })
    for _, text in ipairs { "nonsense", "a b: c", "A: b\r\nEvil: c", ": x", "" } do
      local status, _, err = helper.cli { "-e", ("require('commands.options').header('test', %q)"):format(text) }
      assert.equal(2, status)
      assert.truthy(err:find("moonloop test: --header: 'NAME: VALUE' was expected, got '" .. text, 1, true), err)
    end
  end)
end)
