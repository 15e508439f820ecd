--- The engine against traces that CPython 3.13 left: spec/oracle/corpus, recorded with hunt.lua. And the tool itself.

package.path = "spec/oracle/?.lua;" .. package.path

local notation = require "notation"
local interpret = require "interpret"
local generate = require "generate"
local shrink = require "shrink"
local show = require "show"

local function lines_of(path)
  local list = {}
  for line in assert(io.open(path)):lines() do list[#list + 1] = line end
  return list
end

local function corpora()
  local list = {}
  local p <close> = assert(io.popen("ls spec/oracle/corpus/*.jsonl"))
  for path in p:lines() do list[#list + 1] = path end
  return list
end

describe("the events of a program are CPython's:", function()
  local function agree(path, through)
    for _, line in ipairs(lines_of(path)) do
      local program = notation.decode(line)
      local theirs, ours = table.concat(program.trace, "\n"), table.concat(interpret.trace(program, through), "\n")
      if theirs ~= ours then error("program " .. program.id .. "\n" .. show(program, theirs, ours), 0) end
    end
  end
  for _, path in ipairs(corpora()) do
    local name = path:match("([^/]+)%.jsonl$")
    it(name, function() agree(path, "plain") end)
    it(name .. ", awaiting in Lua's coroutines, metamethods, iterators", function() agree(path, "all") end)
  end
end)

describe("the oracle", function()
  it("reads back the JSON that it writes", function()
    local value = { a = { 1, -2, 0.5, "x\"\\", true, false, {} }, b = { c = "" } }
    assert.same(value, notation.decode(notation.encode(value)))
    assert.equal("\n\u{e9}", notation.decode('"\\n\\u00e9"'))
  end)

  it("refuses what is no JSON", function()
    for _, text in ipairs { "", "[1,", "{1}", '"x', "[1 2]" } do
      assert.is_false(pcall(notation.decode, text))
    end
  end)

  it("makes the same program of the same seed", function()
    assert.equal(notation.encode(generate.program(7)), notation.encode(generate.program(7)))
    assert.not_equal(notation.encode(generate.program(7)), notation.encode(generate.program(8)))
  end)

  it("runs what it makes, and gives the same trace again", function()
    for seed = 1, 30 do
      local program = generate.program(seed)
      assert.same(interpret.trace(program, "plain"), interpret.trace(program, "plain"))
    end
  end)

  it("shows every program it makes", function()
    for seed = 1, 300 do
      local program = generate.program(seed)
      assert.is_string(show(program, "1 a", "1 b"))
    end
  end)

  it("shrinks a program to what matters", function()
    local program = {
      id = 1,
      functions = {
        { { "log", 3 }, { "pcall", { { "await", { "sleep", 2, "a" } }, { "raise", "MyError", "m1" } }, {} } },
        { { "log", 1 } },
      },
    }
    local small = shrink(program, function(candidates)
      local bad = {}
      for i, candidate in ipairs(candidates) do
        if notation.encode(candidate):find("raise", 1, true) then bad[#bad + 1] = i end
      end
      return bad
    end)
    assert.equal('[[["raise","MyError",""]],[]]', notation.encode(small.functions))
  end)
end)
