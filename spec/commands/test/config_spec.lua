--- .busted, and the options of moonloop test that are busted's own: helpers, paths, handlers of output.

local helper = require "spec.helper"

local files = {
  [".busted"] = [[
return {
  _all = { lpath = "./lib2/?.lua" },
  default = { ROOT = { "tests" }, pattern = "_test", tags = "fast,slow", helper = "tests/helper.lua", Xhelper = "a,b" },
  ci = { ROOT = "spec", output = "TAP", ["exclude-tags"] = { "slow" }, sort = true },
  custom = { ROOT = "spec", output = "tests/out.lua", Xoutput = "x,y", ["shuffle"] = true, ["shuffle-files"] = false },
  shared = { ROOT = "spec", lazy = true, ["auto-insulate"] = false, verbose = true },
  hours = { ROOT = "tests", pattern = "_test", e = "HELPED = true", timeout = "1h", ["real-time"] = false },
  tags = { tags = 3 }, times = { ["repeat"] = "x" }, lazy = { lazy = "yes" }, time = { timeout = "never" },
}
]],
  ["tests/helper.lua"] = 'print("helper", arg[1], arg[2]) HELPED = await require("asyncio").sleep(0, true)',
  ["tests/out.lua"] = [[
return function(options)
  local busted = require "busted"
  local handler = require "busted.outputHandlers.base"()
  busted.subscribe({ "test", "end" }, function(element, _, status)
    print("out", handler.getFullName(element), status, table.concat(options.arguments, "+"))
    return nil, true
  end)
  return handler
end
]],
  ["tests/a_test.lua"] = [[
describe("a #fast", function()
  it("x", function() assert(HELPED) assert.equal(42, await require("mymod").f()) end)
end)
it("b #slow", function() await require("asyncio").sleep(5000) end)
it("c", function() end)
]],
  ["lib2/mymod.lua"] = "local async function f() return 42 end\nreturn { f = f }",
  ["spec/a_spec.lua"] = [[
_G.KEPT = (_G.KEPT or 0) + 1
it("z", function() end)
it("#slow a", function() end)
describe("d", function() setup(function() print "setup" end) it("#slow e", function() end) end)
pending "todo"
]],
  ["spec/b_spec.lua"] = 'it("kept " .. tostring(_G.KEPT), function() end)',
  ["spec/deep/c_spec.lua"] = 'it("deep", function() end)',
}

local function run(args, changed)
  local dir = helper.tmpdir()
  assert(os.execute(("mkdir -p %s/spec/deep %s/tests %s/lib2"):format(dir, dir, dir)))
  for name, text in pairs(files) do
    local f <close> = assert(io.open(dir .. "/" .. name, "wb"))
    f:write(changed and changed[name] or text)
  end
  local words = { "test" }
  for word in args:gmatch("%S+") do words[#words + 1] = word end
  local status, out, err = helper.cli(words, { cwd = dir, env = { NO_COLOR = "1" } })
  return tostring(status), out, err
end

local function has(text, part) assert(text:find(part, 1, true), ("'%s' is not in:\n%s"):format(part, text)) end

local function lacks(text, part) assert(not text:find(part, 1, true), ("'%s' is in:\n%s"):format(part, text)) end

describe(".busted", function()
  it("has what holds where no task is named", function()
    local status, out, err = run ""
    has(out, "helper\ta\tb\n")
    has(out, "2 passed, 0 failed in ")
    assert.same({ "0", "" }, { status, err })
  end)

  it("has tasks, and what holds for all of them", function()
    local _, out = run "--run ci"
    lacks(out, "helper")
    assert(out:find("ok 1 %- # SKIP todo.*ok 2 %- z.*ok 3 %- kept nil.*ok 4 %- deep\n1%.%.4\n$"), out)
    lacks(out, "#slow")
    _, out = run "-r custom"
    has(out, "out\tkept nil\tsuccess\tx+y\n")
    _, out = run "-r shared --filter kept"
    has(out, "ok     kept 1 (")
  end)

  it("gives way to the command's options", function()
    local _, out = run "spec/b_spec.lua -r ci -o plain"
    has(out, "1 passed, 0 failed in ")
    _, out = run "--tags slow -v"
    has(out, "ok     b #slow (")
    has(out, "1 passed, 0 failed in ")
    _, out = run "-r hours"
    has(out, "TimeoutError: the test was not over after 3600 s of virtual time")
    _, out = run "-r hours --timeout 2h"
    has(out, "3 passed, 0 failed in ")
  end)

  it("may be another file", function()
    local _, out = run("-f tests/out.lua", { ["tests/out.lua"] = 'return { default = { ROOT = "spec/deep" } }' })
    has(out, "1 passed, 0 failed in ")
  end)

  it("is told to be wrong", function()
    for args, why in pairs {
      ["-r nobody"] = "--run: .busted has no task 'nobody'",
      ["-f nowhere"] = "--config-file: 'nowhere' is not there",
      ["-r tags"] = "tags of .busted: a text was expected, got a number",
      ["-r times"] = "repeat of .busted: a positive number was expected, got 'x'",
      ["-r lazy"] = "lazy of .busted: true or false was expected, got a string",
      ["-r time"] = "timeout of .busted: a positive time was expected, got 'never'",
    } do
      local status, _, err = run(args)
      assert.equal("2", status)
      has(err, "moonloop test: " .. why .. "\n")
    end
    for text, why in pairs {
      ["return {"] = ".busted:1: unexpected symbol near <eof>",
      ["return 5"] = ".busted: a table was expected, got a number",
      ["error('why')"] = ".busted: .busted:1: why",
    } do
      local status, _, err = run("", { [".busted"] = text })
      assert.equal("2", status)
      has(err, why)
    end
  end)
end)

describe("moonloop test", function()
  local none = { [".busted"] = "return {}" }

  it("has busted's other options", function()
    for args, counts in pairs {
      ["--no-recursive"] = "4 passed, 0 failed, 1 skipped in",
      ["--suppress-pending"] = "5 passed, 0 failed in",
      ["--tags slow,fast"] = "2 passed, 0 failed in",
      ["-C spec ."] = "5 passed, 0 failed, 1 skipped in",
      ["-C spec --helper ../tests/helper.lua deep"] = "1 passed, 0 failed in",
      ["-m lib2/?.lua -e assert(require'mymod') spec/deep"] = "1 passed, 0 failed in",
      ["--cpath x/?.so -e assert(package.cpath:find('^x/')) spec/deep"] = "1 passed, 0 failed in",
      ["spec/deep -- spec/b_spec.lua"] = "2 passed, 0 failed in",
    } do
      local _, out, err = run(args, none)
      has(out .. err, counts)
    end
    local _, out = run("-v --sort spec/a_spec.lua", none)
    assert(out:find("#slow a.*d #slow e.*todo.*z"), out)
    _, out = run("--lazy --filter z", none)
    lacks(out, "setup")
    _, out = run("-v --no-auto-insulate", none)
    has(out, "ok     kept 1 (")
    _, out = run("--shuffle 7", none)
    has(out, "shuffled by the seed 7\n")
  end)

  it("says what is wrong with them", function()
    for args, why in pairs {
      ["-o nobody"] = "there is no output handler 'nobody'",
      ["-o nobody.lua"] = "cannot open nobody.lua",
      ["-C nowhere"] = "--directory: 'nowhere' is no folder",
      ["--helper nobody"] = "the helper 'nobody' has failed: module 'nobody' not found",
      ["-e x="] = "--execute: (-e):1: unexpected symbol",
      ["-t a -t b --exclude-tags b"] = "--tags and --exclude-tags: both have 'b'",
    } do
      local status, _, err = run(args, none)
      assert.equal("2", status)
      has(err, "moonloop test: " .. why)
    end
  end)

  it("has every form say that there are no files", function()
    for _, form in ipairs { "plain", "tap", "junit", "json", "gtest" } do
      local status, out, err = run("nowhere -o " .. form, none)
      assert.equal("1", status)
      has(out, "Cannot find file or directory: nowhere")
      lacks(err, "moonloop:")
      lacks(err, "Lua warning")
    end
  end)
end)
