local helper = require "spec.helper"
local asyncio = require "asyncio"

local Group = asyncio.ExceptionGroup

--- A group as text: its message, and in brackets what is in it.
local function show(e)
  if e == nil then return "nil" end
  if type(e) ~= "table" or not e.exceptions then return type(e) == "table" and e.message or tostring(e) end
  local parts = {}
  for i, sub in ipairs(e.exceptions) do parts[i] = show(sub) end
  return ("%s:%s[%s]"):format(e.name == "ExceptionGroup" and "G" or e.name, e.message, table.concat(parts, " "))
end

local function tree()
  return Group("outer", {
    asyncio.ValueError("v1"),
    Group("inner", { asyncio.TypeError("t1"), asyncio.ValueError("v2"), Group("deep", { asyncio.OSError("o1") }) }),
    "a string",
  })
end

describe("an exception group", function()
  it("is split by a class, in the shape that it has", function()
    local match, rest = tree():split(asyncio.ValueError)
    assert.equal("G:outer[v1 G:inner[v2]]", show(match))
    assert.equal("G:outer[G:inner[t1 G:deep[o1]] a string]", show(rest))
  end)

  it("is split as CPython splits it", function()
    assert.equal(helper.python [[
def show(e):
    if e is None: return "nil"
    if not isinstance(e, BaseExceptionGroup): return str(e)
    return "G:%s[%s]" % (e.message, " ".join(map(show, e.exceptions)))
g = ExceptionGroup("outer", [ValueError("v1"),
    ExceptionGroup("inner", [TypeError("t1"), ValueError("v2"), ExceptionGroup("deep", [OSError("o1")])]),
    OSError("o2")])
for c in (ValueError, (TypeError, OSError), KeyError, ExceptionGroup, Exception, lambda e: str(e).endswith("1"),
          lambda e: getattr(e, "message", "") == "inner"):
    m, r = g.split(c)
    print(show(m), "|", show(r), "|", show(g.subgroup(c)))
]], (function()
      local g = Group("outer", {
        asyncio.ValueError("v1"),
        Group("inner", { asyncio.TypeError("t1"), asyncio.ValueError("v2"), Group("deep", { asyncio.OSError("o1") }) }),
        asyncio.OSError("o2"),
      })
      local lines = {}
      for _, c in ipairs {
        asyncio.ValueError, { asyncio.TypeError, asyncio.OSError }, asyncio.Exception:extend("KeyError"), Group,
        asyncio.Exception, function(e) return not e.exceptions and e.message:find("1$") ~= nil end,
        function(e) return e.message == "inner" end,
      } do
        local m, r = g:split(c)
        lines[#lines + 1] = ("%s | %s | %s\n"):format(show(m), show(r), show(g:subgroup(c)))
      end
      return table.concat(lines)
    end)())
  end)

  it("is given itself when all of it matches", function()
    local g = tree()
    local match, rest = g:split(Group)
    assert.equal(g, match)
    assert.is_nil(rest)
    assert.equal(g, g:subgroup(asyncio.Exception))
    assert.is_nil(g:subgroup(asyncio.InvalidStateError))
  end)

  it("calls a function with strings and tables too", function()
    local match = tree():subgroup(function(e) return type(e) == "string" end)
    assert.equal("G:outer[a string]", show(match))
    local callable = setmetatable({}, { __call = function(_, e) return e == "a string" end })
    assert.equal("G:outer[a string]", show(tree():subgroup(callable)))
  end)

  it("derives parts of its own class if that says how", function()
    local Mine = Group:extend("Mine")
    local g = Mine("m", { asyncio.ValueError("v"), asyncio.TypeError("t") })
    assert.equal("G:m[v]", show(g:subgroup(asyncio.ValueError)))
    function Mine:derive(errors) return Mine(self.message .. "'", errors) end
    local match, rest = g:split(asyncio.ValueError)
    assert.equal("Mine:m'[v]", show(match))
    assert.equal("Mine:m'[t]", show(rest))
    function Mine.derive() return 5 end
    helper.raises("derive must return an exception group, it returned number", g.split, g, asyncio.ValueError)
  end)

  it("derives a BaseExceptionGroup when one of the errors is no Exception", function()
    local g = asyncio.BaseExceptionGroup("b", { asyncio.KeyboardInterrupt(), asyncio.ValueError("v") })
    local match, rest = g:split(asyncio.ValueError)
    assert.equal("ExceptionGroup", match.name)
    assert.equal("BaseExceptionGroup", rest.name)
    assert.equal("ExceptionGroup", g:derive({ "x" }).name)
  end)

  it("keeps the traceback in its parts", function()
    helper.run(function()
      local _, g = pcall(await, asyncio.create_task(function() error(tree()) end))
      assert(g.traceback)
      local match, rest = g:split(asyncio.ValueError)
      assert.equal(g.traceback, match.traceback)
      assert.equal(g.traceback, rest.traceback)
      assert.equal("outer", g.message)
    end)
  end)

  it("passes on what the function raises, and says what it expects", function()
    local g = tree()
    helper.raises("oops", g.split, g, function() error("oops") end)
    for _, bad in ipairs { 5, "x", {}, true } do
      local e = helper.raises(asyncio.TypeError, function() g:split(bad) end)
      assert.matches("split: expected a function, an error class or an array of error classes", e.message, 1, true)
      assert.matches("errorgroup_spec.lua:%d+: ", e.message)
    end
    helper.raises(asyncio.TypeError, g.subgroup, g)
    helper.raises(asyncio.TypeError, g.split, asyncio.ValueError("x"), asyncio.ValueError)
    helper.raises(asyncio.TypeError, g.derive, g, {})
  end)
end)
