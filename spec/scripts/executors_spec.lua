local helper = require "spec.helper"
local prints = require("spec.scripts.script").prints

describe("scripts: threads and processes:", function()
  it("blocking_io.lua blocks threads, not the loop", function()
    prints("blocking_io", [[
default pool:\tBlocking IO done
own pool:\tBlocking IO done
to_thread:\tBlocking IO done
]])
  end)

  it("thread_and_process_pools.lua uses both at once", function()
    prints("thread_and_process_pools", [[
threading(0): done at TIME
threading(1): done at TIME
threading(2): done at TIME
process(0): done at TIME
process(1): done at TIME
process(2): done at TIME
took N s
]], { normalise = function(out) return (out:gsub("%d+:%d+:%d+", "TIME"):gsub("took [%d.]+", "took N")) end })
  end)

  it("fetch_in_threads.lua gives twelve results in order", function()
    local expected = {}
    for i = 0, 11 do expected[#expected + 1] = ("fetch(%d) = %d\n"):format(i, i) end
    prints("fetch_in_threads", table.concat(expected) .. "Use ThreadPoolExecutor cost: N\n",
      { normalise = function(out) return (out:gsub("cost: [%d.]+", "cost: N")) end })
  end)

  it("hello_in_processes.lua runs a hundred coroutines in ten processes", function()
    prints("hello_in_processes", "hellos 100, ends 100, 10 processes\n", {
      normalise = function(out)
        local seen, hellos = {}, 0
        for name, process in out:gmatch("hello (%d) from process (%d+)\n") do
          hellos = hellos + 1
          seen[process .. "/" .. name] = true
        end
        local pairs_seen = 0
        for _ in pairs(seen) do pairs_seen = pairs_seen + 1 end
        assert.equal(100, pairs_seen)
        return ("hellos %d, ends %d, %s"):format(hellos, select(2, out:gsub("end:%d\n", "")), out:match("%d+ processes\n$"))
      end,
    })
  end)

  it("wc.lua prints what wc prints", function()
    local dir = helper.tmpdir()
    local texts = {
      a = "one two\nthree\n", b = "", c = "no newline", d = ("word "):rep(50000) .. "\n", e = ("x"):rep(70000) .. " y\n\n",
    }
    local names = {}
    for name, text in pairs(texts) do
      local f <close> = assert(io.open(dir .. "/" .. name, "w"))
      f:write(text)
      names[#names + 1] = dir .. "/" .. name
    end
    table.sort(names)
    for _, list in ipairs { names, { names[1] } } do
      local _, expected = helper.sh("wc " .. table.concat(list, " "), { env = { LC_ALL = "C" } })
      local status, out, err = helper.cli("scripts/wc.lua " .. table.concat(list, " "))
      assert.equal(expected, out)
      assert.same({ 0, "" }, { status, err })
    end
    local status, out, err = helper.cli("scripts/wc.lua " .. names[1] .. " " .. dir .. "/missing")
    assert.equal(1, status)
    assert.matches("2 +3 +14 .-/a\n.*total", out)
    assert.matches("^wc: .*/missing: No such file or directory\n$", err)
    status, out, err = helper.cli("scripts/wc.lua " .. dir)
    assert.same({ 1, "", "wc: " .. dir .. ": Is a directory\n" }, { status, out, err })
    assert.equal(2, (helper.cli("scripts/wc.lua")))
  end)
end)
