local helper = require "spec.helper"
local asyncio = require "asyncio"

local function run(f) return helper.run(async(f)) end

local function settle(rounds)
  for _ = 1, rounds or 5 do await(asyncio.sleep(0)) end
end

describe("a handle", function()
  it("that is cancelled is not called", function()
    run(function()
      local loop, n = asyncio.get_running_loop(), 0
      local h = loop:call_soon(function() n = n + 1 end)
      assert.is_false(h:cancelled())
      h:cancel()
      assert.is_true(h:cancelled())
      h:cancel()
      settle(2)
      assert.equal(0, n)
    end)
  end)

  it("can be cancelled by a callback of the same round", function()
    run(function()
      local loop, log = asyncio.get_running_loop(), {}
      local second
      loop:call_soon(function()
        log[#log + 1] = 1
        second:cancel()
      end)
      second = loop:call_soon(function() log[#log + 1] = 2 end)
      loop:call_soon(function() log[#log + 1] = 3 end)
      settle(2)
      assert.same({ 1, 3 }, log)
    end)
  end)

  it("can be cancelled after it ran, and by itself", function()
    run(function()
      local loop, n = asyncio.get_running_loop(), 0
      local h
      h = loop:call_soon(function()
        n = n + 1
        h:cancel()
      end)
      settle(2)
      h:cancel()
      assert.equal(1, n)
    end)
  end)

  it("is kept alive by the loop, and its arguments let go after it ran", function()
    run(function()
      local loop, n = asyncio.get_running_loop(), 0
      local weak = setmetatable({}, { __mode = "k" })
      do
        local arg = {}
        weak[arg] = true
        loop:call_soon(function(x) n = weak[x] and 1 or 0 end, arg)
      end
      collectgarbage()
      settle(2)
      assert.equal(1, n)
      collectgarbage()
      collectgarbage()
      assert.is_nil(next(weak))
    end)
  end)

  it("that is cancelled lets what it holds go", function()
    run(function()
      local loop = asyncio.get_running_loop()
      local weak = setmetatable({}, { __mode = "k" })
      do
        local arg = {}
        weak[arg] = true
        local h = loop:call_later(1000, function() end, arg)
        h:cancel()
      end
      collectgarbage()
      collectgarbage()
      assert.is_nil(next(weak))
    end)
  end)

  it("shows what it calls", function()
    run(function()
      local loop = asyncio.get_running_loop()
      local h = loop:call_soon(function() end)
      assert.is_truthy(tostring(h):find("^<Handle spec/engine/handle_spec.lua:%d+>$"), tostring(h))
      h:cancel()
      assert.is_truthy(tostring(h):find("^<Handle cancelled "), tostring(h))
      local t = loop:call_later(1, function() end)
      local when = ("when=%s "):format(t:when())
      assert.is_truthy(tostring(t):find("^<TimerHandle " .. when .. "spec/"), tostring(t))
      t:cancel()
      assert.is_truthy(tostring(t):find("^<TimerHandle cancelled " .. when), tostring(t))
      assert.is_string(tostring(loop:call_soon(print)))
      settle(1)
    end)
  end)
end)

describe("a timer handle", function()
  it("knows when it is due", function()
    run(function()
      local loop = asyncio.get_running_loop()
      await(asyncio.sleep(2))
      local h, g = loop:call_later(3, print), loop:call_at(7.5, print)
      assert.equal(5.0, h:when())
      assert.equal(7.5, g:when())
      h:cancel()
      g:cancel()
      assert.equal(5.0, h:when())
    end)
  end)

  it("a plain handle does not", function()
    run(function()
      local h = asyncio.get_running_loop():call_soon(function() end)
      assert.is_nil(h.when)
      settle(1)
    end)
  end)

  it("that is cancelled frees its timer and does not hold the loop", function()
    local loop <close> = asyncio.new_event_loop { clock = "virtual" }
    local n = 0
    local h = loop:call_later(100, function() n = n + 1 end)
    loop:call_later(1, h.cancel, h)
    loop:run_forever()
    assert.equal(0, n)
    assert.equal(1.0, loop:time())
  end)

  it("can be cancelled by another of the same moment", function()
    run(function()
      local loop, log = asyncio.get_running_loop(), {}
      local second
      loop:call_later(1, function()
        log[#log + 1] = 1
        second:cancel()
      end)
      second = loop:call_later(1, function() log[#log + 1] = 2 end)
      await(asyncio.sleep(2))
      assert.same({ 1 }, log)
    end)
  end)

  it("one in two cancelled, in any order, leaves the others in theirs", function()
    run(function()
      local loop, log, handles = asyncio.get_running_loop(), {}, {}
      local seed = 3
      for i = 1, 2000 do
        seed = (seed * 16807) % 2147483647
        local delay = seed % 50
        handles[i] = loop:call_later(delay, function() log[#log + 1] = delay * 10000 + i end)
      end
      for i = 1, 2000, 2 do handles[(i * 7) % 2000 + 1]:cancel() end
      await(asyncio.sleep(60))
      local expected = 0
      for i = 1, 2000 do if not handles[i]:cancelled() then expected = expected + 1 end end
      assert.equal(expected, #log)
      for i = 2, #log do assert(log[i - 1] < log[i]) end
    end)
  end)
end)
