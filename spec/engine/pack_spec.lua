--- engine/pack.c, unpack.c and names.c, through module pickle (plain values) and through worker threads (code).

local asyncio = require "asyncio"
local futures = require "concurrent.futures"
local helper = require "spec.helper"
local pickle = require "pickle"

local function copy(v)
  return pickle.loads(pickle.dumps(v))
end

describe("packed values", function()
  it("are nil, booleans, integers, floats and strings as they were", function()
    for _, v in ipairs {
      true, false, 0, 1, -1, 63, 64, 127, 128, -128, 2 ^ 31 | 0, math.maxinteger, math.mininteger,
      1.0, -0.0, 1.5, 1e300, 1 / 0, -1 / 0, "", "x", ("y"):rep(63), ("z"):rep(64), ("\0\xff"):rep(5000),
    } do
      local back = copy(v)
      assert.equal(v, back)
      assert.equal(math.type(v), math.type(back))
    end
    assert.is_nil(copy(nil))
    assert(copy(0 / 0) ~= copy(0 / 0))
    assert.equal("-0.0", tostring(copy(-0.0)))
  end)

  it("are tables with cycles and shared parts", function()
    local t = { 1, 2, 3, nil, 5, name = "t", [2.5] = "float", [true] = "yes", [-1] = "minus", sub = { deep = {} } }
    t.self, t.sub.deep.up, t.again = t, t.sub, t.sub
    t[t] = t.sub
    local back = copy(t)
    assert.same({ 1, 2, 3, nil, 5 }, { table.unpack(back, 1, 5) })
    assert.same({ "t", "float", "yes", "minus" }, { back.name, back[2.5], back[true], back[-1] })
    assert.equal(back, back.self)
    assert.equal(back.sub, back.again)
    assert.equal(back.sub, back.sub.deep.up)
    assert.equal(back.sub, back[back])
  end)

  it("nest as deep as they like", function()
    local list, depth = {}, 200000
    local last = list
    for _ = 1, depth do
      last.next = {}
      last = last.next
    end
    local back, n = copy(list), 0
    while back.next do
      back, n = back.next, n + 1
    end
    assert.equal(depth, n)
  end)

  it("are errors of the engine's classes and of those made from them", function()
    local e = copy(asyncio.OSError("no such file", { code = "ENOENT", path = "/x" }))
    assert(asyncio.isinstance(e, asyncio.OSError))
    assert.same({ "OSError: no such file", "ENOENT", "/x" }, { tostring(e), e.code, e.path })
    local Mine = asyncio.ValueError:extend("Mine"):extend("MineToo")
    e = copy({ Mine("a"), Mine("b") })
    assert.equal(getmetatable(e[1]), getmetatable(e[2]))
    assert.equal("MineToo: a", tostring(e[1]))
    assert(asyncio.isinstance(e[1], asyncio.ValueError))
    assert.is_false(asyncio.isinstance(e[1], asyncio.OSError))
  end)

  it("say what cannot be copied, and where it is", function()
    local thread = coroutine.create(print)
    local function says(text, value)
      local err = helper.raises(asyncio.TypeError, pickle.dumps, value)
      assert.matches("%.lua:%d+: dumps: cannot copy ", err.message)
      assert.equal(text, err.message:match("cannot copy (.*)"))
    end
    says("the value (function)", print)
    says("field 'a.b[3]' (thread)", { a = { b = { 1, 2, thread } } })
    says("field 'x[\"a b\"][true]' (userdata)", { x = { ["a b"] = { [true] = io.stdout } } })
    says("field '[1]' (Lock)", { asyncio.Lock() })
    says("field 'list[2]': a key (function)", { list = { {}, { [print] = 1 } } })
    says("field 'o': metatable (only errors may have one)", { o = setmetatable({}, {}) })
    local list = {}
    local last = list
    for _ = 1, 1000 do
      last.n = {}
      last = last.n
    end
    last.bad = thread
    says("field '" .. ("n."):rep(9):sub(1, -2) .. "..." .. (".n"):rep(9) .. ".bad' (thread)", list)
  end)

  it("are refused when they are damaged, with a ValueError", function()
    local bytes = pickle.dumps { 1, { 2 }, x = "string of some length", e = asyncio.ValueError("v") }
    for i = 0, #bytes - 1 do helper.raises(asyncio.ValueError, pickle.loads, bytes:sub(1, i)) end
    helper.raises(asyncio.ValueError, pickle.loads, bytes .. "x")
    helper.raises(asyncio.ValueError, pickle.loads, "")
    local err = helper.raises(asyncio.ValueError, pickle.loads, bytes:sub(1, 4) .. "\99" .. bytes:sub(6))
    assert.matches("another version %(99, here it is 1%)", err.message)
    helper.raises(asyncio.TypeError, pickle.loads, nil)
    helper.raises("value expected", pickle.dumps)
  end)

  it("cannot carry code, nor make tables that were not paid for", function()
    local head = pickle.dumps(nil):sub(1, 5)
    for tag = 11, 21 do helper.raises(asyncio.ValueError, pickle.loads, head .. "\1" .. string.char(tag) .. ("\1"):rep(50)) end
    helper.raises(asyncio.ValueError, pickle.loads, head .. "\1\7\xff\xff\xff\xff\7") -- a table of 2^31 elements
    helper.raises(asyncio.ValueError, pickle.loads, head .. "\xff\xff\xff\xff\7")
    helper.raises(asyncio.ValueError, pickle.loads, head .. "\1\6\1") -- an object that is not there
  end)

  it("never crash, whatever is changed in them", function()
    local Mine = asyncio.OSError:extend("Mine")
    local value = { 1, 2.5, "three", { x = { y = {} } }, Mine("m", { code = "E" }), [{}] = -1, s = ("s"):rep(100) }
    value.self = value
    local bytes = pickle.dumps(value)
    local seed = 1
    local function random(n)
      seed = (seed * 1103515245 + 12345) & 0x7fffffff
      return (seed >> 8) % n + 1
    end
    for _ = 1, 3000 do
      local list = { bytes:byte(1, -1) }
      for _ = 1, random(3) do list[5 + random(#list - 5)] = random(256) - 1 end
      local ok, err = pcall(pickle.loads, string.char(table.unpack(list)))
      if not ok then assert(asyncio.isinstance(err, asyncio.ValueError), tostring(err)) end
    end
  end)
end)

describe("code in packed values", function()
  local pool
  local function call(f, ...)
    pool = pool or futures.ThreadPoolExecutor(1)
    return await(pool:submit(f, ...))
  end
  teardown(function()
    if pool then await(pool:shutdown()) end
  end)

  it("is functions with copies of their upvalues", function()
    local n, list = 1, { 10 }
    local function f(x)
      n = n + 1
      list[1] = list[1] + x
      return n, list[1]
    end
    assert.same({ 2, 15 }, { call(f, 5) })
    assert.same({ 2, 15 }, { call(f, 5) })
    assert.same({ 2, 15 }, { call(f, 5) })
    assert.same({ 1, 10 }, { n, list[1] })
    n = 7
    assert.same({ 8, 15 }, { call(f, 5) })
  end)

  it("is functions that call themselves and one another", function()
    local function fib(x) return x < 2 and x or fib(x - 1) + fib(x - 2) end
    for _ = 1, 3 do assert.equal(55, (call(fib, 10))) end
    local odd
    local function even(x) return x == 0 or odd(x - 1) end
    function odd(x) return x ~= 0 and even(x - 1) end
    for _ = 1, 3 do
      assert.is_true((call(even, 10)))
      assert.is_true((call(odd, 11)))
    end
  end)

  it("follows upvalues that change between calls", function()
    local helper_function = math.floor
    local function f(x) return helper_function(x) end
    assert.equal(2, (call(f, 2.5)))
    helper_function = math.ceil
    assert.equal(3, (call(f, 2.5)))
    helper_function = function(x) return x * 2 end
    assert.equal(5.0, (call(f, 2.5)))
    helper_function = nil
    helper.raises("helper_function", call, f, 2.5)
  end)

  it("shares variables between functions that share them", function()
    local n = 0
    local function add() n = n + 1 end
    local function get() return n end
    assert.equal(2, (call(function()
      add()
      add()
      return get()
    end)))
    assert.equal(0, n)
  end)

  it("takes functions of libraries and modules by name", function()
    local floor, json, up, aio = math.floor, require "pickle", string.upper, asyncio
    assert.same({ 2, "A", true, true }, { call(function()
      return floor(2.5), up("a"), json == require "pickle", aio == require "asyncio"
    end) })
    assert.equal(4.0, (call(math.sqrt, 16)))
    assert.equal(_VERSION, (call(function() return _G._VERSION end)))
  end)

  it("loads a module of the script's in the worker, by package.path", function()
    local dir = helper.tmpdir()
    local f <close> = assert(io.open(dir .. "/spec_shape.lua", "w"))
    f:write("local M = {}; M.__index = M; local n = 0\n",
      "function M.new(x) return setmetatable({ x = x }, M) end\n",
      "function M:area() n = n + 1; return self.x * self.x, n end; return M\n")
    f:close()
    local path = package.path
    package.path = dir .. "/?.lua;" .. path
    local shape = require "spec_shape"
    local own <close> = futures.ThreadPoolExecutor(1)
    package.path = path
    local square = await(own:submit(function(s, x) return shape.new(x), s:area(), shape end, shape.new(3), 4))
    assert.equal(shape, getmetatable(square))
    assert.equal(16, (square:area()))
    package.loaded.spec_shape = nil
  end)

  it("keeps the identity of classes and of error classes", function()
    local Point = { __index = {} }
    Point.__index = Point
    function Point.len2(p) return p.x * p.x end
    local back = call(function(p) return setmetatable({ x = p:len2() }, Point) end, setmetatable({ x = 3 }, Point))
    assert.equal(Point, getmetatable(back))
    assert.equal(9, back.x)
    local Mine = asyncio.ValueError:extend("Mine")
    function Mine:hint() return "hint: " .. self.message end
    for _ = 1, 2 do
      local err = helper.raises(Mine, call, function() error(Mine("no good", { code = 5 })) end)
      assert.same({ "no good", 5, "hint: no good" }, { err.message, err.code, err:hint() })
    end
  end)

  it("is coroutine functions too", function()
    local twice = async(function(x) return x * 2 end)
    assert.equal(8, (call(function() return asyncio.run(twice(4)) end)))
  end)

  it("names what cannot go by its upvalue", function()
    local conn, opts = io.stdout, { a = { b = io.stdout } }
    local function says(text, ...)
      local err = helper.raises(asyncio.TypeError, call, ...)
      assert.equal(text, err.message:match("cannot copy (.*)"))
    end
    says("upvalue 'conn' (userdata)", function() return conn end)
    says("upvalue 'opts': field 'a.b' (userdata)", function() return opts end)
    local function inner() return conn end
    says("upvalue 'inner': upvalue 'conn' (userdata)", function() return inner() end)
    says("argument 2: field 'x' (thread)", print, 1, { x = coroutine.create(print) })
    says("argument 1 (C function)", print, coroutine.wrap(print))
    says("the function (C function)", coroutine.wrap(print))
    says("result 1: field '[2]' (thread)", function() return { 1, coroutine.create(print) } end)
  end)
end)
