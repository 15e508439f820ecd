local helper = require "spec.helper"
local asyncio = require "asyncio"

describe("asyncio", function()
  it("loads a part when its first name is used", function()
    local status, out = helper.cli { "-e", [[
      local asyncio = require "asyncio"
      local before = package.loaded["asyncio.taskgroups"]
      local group = asyncio.TaskGroup
      print(before == nil, package.loaded["asyncio.taskgroups"].TaskGroup == group, rawequal(group, asyncio.TaskGroup))
    ]] }
    assert.equal(0, status)
    assert.equal("true\ttrue\ttrue\n", out)
  end)

  it("loads no more than the runner for a script that runs and sleeps", function()
    local _, out = helper.cli { "-e", [[
      local asyncio = require "asyncio"
      asyncio.run(async(function() await(asyncio.gather(asyncio.sleep(0), asyncio.sleep(0))) end)())
      local names = {}
      for name in pairs(package.loaded) do
        if name:find("^asyncio%.") then names[#names + 1] = name end
      end
      table.sort(names)
      print(table.concat(names, " "))
    ]] }
    assert.equal("asyncio.core asyncio.misuse asyncio.runners\n", out)
  end)

  it("has a value for each name that it lists", function()
    local n = 0
    for name, value in pairs(asyncio) do
      assert.is_string(name)
      assert.is_not_nil(value)
      n = n + 1
    end
    assert.is_true(n > 80)
  end)

  it("has nil for what it does not know", function()
    assert.is_nil(asyncio.no_such_name)
    assert.is_nil(asyncio["%w+"])
    assert.is_nil(asyncio[1])
  end)
end)
