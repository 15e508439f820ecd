--- Runs with a seed are alike, in every process: what a program does that hangs on the order of tables, on addresses,
--- random numbers, the collector and the loop's order.

local helper = require "spec.helper"

local function trace(...)
  local status, out, err = helper.cli({ "--virtual-time", ... })
  assert.same({ 0, "" }, { status, err })
  return out
end

local program = "spec/engine/replay_program.lua"

describe("a seed", function()
  it("makes runs alike, line by line", function()
    local first = trace("--seed", "5", program)
    assert(#first > 50000, "the program does something")
    for _ = 1, 2 do assert.equal(first, trace("--seed=5", program)) end
  end)

  it("goes with a seed of shuffling", function()
    local shuffled = trace("--seed", "5", "--shuffle", "9", program)
    assert.equal(shuffled, trace("--shuffle", "9", "--seed", "5", program))
    assert.not_equal(shuffled, trace("--seed", "5", program))
  end)

  it("decides: another one is another run", function()
    assert.not_equal(trace("--seed", "5", program), trace("--seed", "6", program))
    assert.not_equal(trace("--seed", "5", program), trace("--seed", "4294967301", program)) -- 5 + 2^32
  end)

  it("decides the order of strings and of objects, and the random numbers", function()
    local code = [[
      local t, o, s = {}, {}, {}
      for i = 1, 100 do t["k" .. i], o[{}], o[print] = i, i, 0 end
      for k, v in pairs(t) do s[#s + 1] = v end
      for k, v in pairs(o) do s[#s + 1] = v end
      for i = 1, 10 do s[#s + 1] = math.random(1000000) end
      print(table.concat(s, " "))]]
    code = code:gsub(", o%[print%]", ""):gsub("i, i, 0", "i, i")
    local first = trace("--seed", "1", "-e", code)
    assert.equal(first, trace("--seed", "1", "-e", code))
    local others = {}
    for seed = 2, 5 do others[trace("--seed", tostring(seed), "-e", code)] = true end
    others[first] = true
    local n = 0
    for _ in pairs(others) do n = n + 1 end
    assert.equal(5, n)
  end)

  it("is a positive integer", function()
    for _, seed in ipairs { "x", "-1", "0", "1.5", "99999999999999999999999", "" } do
      local status, _, err = helper.cli({ "--seed", seed, "-e", "" })
      assert.equal(2, status, seed)
      assert(err:find("--seed: the seed must be a positive integer, got '" .. seed .. "'", 1, true), err)
    end
    local status, _, err = helper.cli({ "--seed" })
    assert.equal(2, status)
    assert(err:find("--seed needs a SEED", 1, true), err)
  end)

  it("leaves memory to be given back, and large values to be made", function()
    local out = trace("--seed", "3", "-e", [[
      for i = 1, 5 do
        local s = ("x"):rep(8 << 20)
        local t = table.move({}, 1, 0, 1, {})
        for k = 1, 200000 do t[k] = k end
        s, t = nil, nil
        collectgarbage()
      end
      print(collectgarbage "count" < 10000)]])
    assert.equal("true\n", out)
  end)
end)
