local helper = require "spec.helper"
local asyncio = require "asyncio"
local time = require "time"

describe("time", function()
  it("has clocks", function()
    assert.is_true(math.abs(time.time() - os.time()) < 2)
    assert.is_true(math.abs(time.time_ns() / 1e9 - time.time()) < 1)
    assert.equal("integer", math.type(time.monotonic_ns()))
    for _, name in ipairs { "perf_counter", "monotonic", "process_time", "thread_time" } do
      local a = time[name]()
      assert.equal("float", math.type(a))
      assert.is_true(time[name]() >= a, name)
    end
  end)

  it("sleeps, blocking", function()
    local t = time.perf_counter()
    time.sleep(0.02)
    assert.is_true(time.perf_counter() - t >= 0.02)
    time.sleep(0)
    helper.raises(asyncio.ValueError, time.sleep, -1)
    helper.raises(asyncio.ValueError, time.sleep, 0 / 0)
    helper.raises(asyncio.ValueError, time.sleep, math.huge)
    helper.raises(asyncio.TypeError, time.sleep, "1")
    helper.raises(asyncio.TypeError, time.sleep)
  end)

  it("sleeps on when a signal comes", function()
    local status, out = helper.sh(helper.quote(helper.moonloop) .. [[ -e '
      local time = require "time"
      local t = time.monotonic()
      time.sleep(0.3)
      print(time.monotonic() - t >= 0.3)' & p=$!; sleep 0.1; kill -WINCH $p; kill -CONT $p; wait $p]])
    assert.equal(0, status)
    assert.equal("true\n", out)
  end)

  it("formats and takes times apart", function()
    assert.equal("1970-01-02 00:00:00", time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(86400)))
    assert.equal("", time.strftime(""))
    assert.equal(os.date("%Y %j"), time.strftime("%Y %j"))
    local t = time.gmtime(0)
    assert.equal(1970, t.tm_year)
    assert.equal(3, t.tm_wday)
    assert.equal(1, t[8])
    assert.equal("Thu Jan  1 00:00:00 1970", time.asctime(t))
    assert.equal(time.asctime(time.localtime(1e9)), time.ctime(1e9))
    assert.equal(1e9, time.mktime(time.localtime(1e9)))
    helper.raises(asyncio.TypeError, time.strftime, "%Y", "x")
    helper.raises(asyncio.TypeError, time.mktime, {})
    helper.raises(asyncio.ValueError, time.localtime, math.huge)
  end)

  it("knows what Python says", function()
    assert.equal(helper.python("import time; print(time.strftime('%a %d %b %Y %U', time.gmtime(1700000000)))"),
      time.strftime("%a %d %b %Y %U", time.gmtime(1700000000)) .. "\n")
  end)
end)
