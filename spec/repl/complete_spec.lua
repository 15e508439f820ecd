local asyncio = require "asyncio"
local complete = require("repl.complete").complete
local helper = require "spec.helper"

--- What Tab puts behind the text, and the list that it shows.
local function tab(text, env)
  local drop, insert, list
  asyncio.run(asyncio.async(function() drop, insert, list = complete(text, #text, env or _G) end)())
  assert.equal(0, drop)
  return insert, list
end

describe("Tab completes", function()
  it("globals and keywords", function()
    assert.equal("metatable", (tab "x = get"))
    assert.equal("ction", (tab "fun"))
    assert.equal("it", (tab "awa"))
    assert.equal("", (tab "nothing_like_it"))
  end)

  it("fields, as far as all of them agree; then it lists them", function()
    local env = { t = { apple = 1, apricot = 2, _hidden = 3, [1] = 4, ["a b"] = 5 } }
    assert.equal("p", (tab("t.a", env)))
    local insert, list = tab("t.ap", env)
    assert.same({ "", { "apple", "apricot" } }, { insert, list })
    assert.equal("hidden", (tab("t._", env)))
    assert.same({ "apple", "apricot" }, select(2, tab("t.ap", env)))
  end)

  it("methods: what can be called, through metatables, of userdata too", function()
    local base = { shout = function() end, size = 5 }
    local env = { o = setmetatable({}, { __index = setmetatable({}, { __index = base }) }), q = asyncio.Queue(), f = io.stdout }
    assert.equal("hout", (tab("o:s", env)))
    assert.same({ "shout", "size" }, select(2, tab("o.s", env)))
    assert.equal("owait", (tab("q:put_n", env)))
    assert.equal("k", (tab("f:see", env)))
    assert.equal("erse", (tab("('x'):rev", env)))
  end)

  it("names of modules that load their parts when they are used", function()
    assert.equal("oup", (tab("asyncio.TaskGr", { asyncio = asyncio })))
  end)

  it("without calling what a script has written", function()
    local called = false
    local index = load "local called = ... return function() called() end"(function() called = true end)
    local env = { t = setmetatable({}, { __index = index, __pairs = index }) }
    tab("t.x.y", env)
    tab("t.", env)
    assert.equal(false, called)
  end)

  it("modules inside require, one level at a time", function()
    assert.equal("cio", (tab 'require "asyn'))
    assert.same({ "http", "http." }, select(2, tab "local h = require('http"))
  end)

  it("files inside other strings, and for .load", function()
    local dir = helper.tmpdir()
    assert(os.execute(("touch %s/only.txt && mkdir %s/folder"):format(dir, dir)))
    assert.equal("nly.txt", (tab("io.open('" .. dir .. "/o")))
    assert.equal("older/", (tab(".load " .. dir .. "/f")))
    assert.equal("", (tab "io.open('/no/such/folder/x"))
  end)

  it("commands", function()
    assert.equal("sks", (tab ".ta"))
    assert.equal("o", (tab(".doc asynci", { asyncio = asyncio })))
  end)

  it("at the beginning of a line with spaces, as code that is pasted has them", function()
    assert.equal("  ", (tab ""))
    assert.equal("  ", (tab "x = {\n  "))
  end)
end)
