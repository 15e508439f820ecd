--- engine/loader.c: require and where modules come from.

local helper = require "spec.helper"

describe("require", function()
  it("finds a module after many places where it is not", function()
    local status, out, err = helper.cli({ "-e", [[
      package.path = ("/nowhere/?.lua;"):rep(200)
      table.insert(package.searchers, function(name) return function(n, data) return { n, data } end, name .. "!" end)
      local found, data = require("some.module")
      print(found[1], found[2], data)
      local ok, message = pcall(require, "asyncio")
      print(ok)]] })
    assert.same({ 0, "some.module\tsome.module!\tsome.module!\ntrue\n", "" }, { status, out, err })
  end)

  it("says where it has looked", function()
    local ok, message = pcall(require, "no.such.module")
    assert.is_false(ok)
    assert.truthy(message:find("^module 'no.such.module' not found:\n\tno field package.preload%['no.such.module'%]\n\t"))
  end)

  it("says what Lua says", function()
    local path, cpath = package.path, package.cpath
    local _ <close> = setmetatable({}, { __close = function() package.path, package.cpath = path, cpath end })
    package.path, package.cpath = "?.lua;?/?", "?.so;?/init"
    assert.same({ false, "module 'XXX' not found:\n\tno field package.preload['XXX']\n\tno file 'XXX.lua'"
      .. "\n\tno file 'XXX/XXX'\n\tno file 'XXX.so'\n\tno file 'XXX/init'" }, { pcall(require, "XXX") })
  end)
end)
