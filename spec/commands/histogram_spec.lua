local histogram = require "commands.histogram"

--- The value at the percentile of a sorted list, by its definition.
local function exact(list, percent)
  return list[math.max(1, math.ceil(#list * percent / 100 - 1e-9))]
end

local function near(expected, got, share)
  assert(math.abs(got - expected) <= expected * (share or 0.001) + 1e-6, ("%g, expected %g"):format(got, expected))
end

describe("commands.histogram", function()
  it("has nothing to say of nothing", function()
    local h = histogram.new()
    assert.same({ 0 }, { h.count, h:percentile(50), h:mean(), h:min(), h:max(), h:stdev() })
    assert.same({}, h:bins(10))
    assert.same({}, h:curve())
    assert.equal(0, h:corrected(1).count)
  end)

  it("keeps values to three digits from a microsecond to an hour", function()
    for _, value in ipairs { 0, 1e-6, 0.002047, 0.002048, 0.002049, 0.004095, 0.004096, 0.0123456, 0.999999, 1, 12.3456, 3599.9, 3600 } do
      local h = histogram.new()
      h:record(value)
      h:record(value * 2 + 1)
      near(value, h:percentile(50))
      near(value, h:min())
      near(math.min(value * 2 + 1, 3600), h:max())
    end
    local h = histogram.new()
    h:record(-1)
    h:record(1e9)
    assert.same({ 0, 3600 }, { h:min(), h:max() })
  end)

  it("gives the percentiles of sorted lists, of all shapes", function()
    local seed = 7
    local function random()
      seed = (seed * 1103515245 + 12345) % 2147483648
      return seed / 2147483648
    end
    for _, shape in ipairs {
      function() return random() end,
      function() return 0.001 * math.exp(8 * random()) end,
      function() return random() < 0.99 and 0.001 + random() / 1e4 or 5 + random() end,
    } do
      local h, list = histogram.new(), {}
      for i = 1, 5000 do
        list[i] = shape()
        h:record(list[i])
      end
      table.sort(list)
      for _, percent in ipairs { 0, 1, 25, 50, 75, 90, 99, 99.9, 99.98, 100 } do
        near(exact(list, percent), h:percentile(percent), 0.0011)
      end
      local sum, squares = 0, 0
      for _, v in ipairs(list) do sum = sum + v end
      for _, v in ipairs(list) do squares = squares + (v - sum / #list) ^ 2 end
      near(sum / #list, h:mean())
      near(math.sqrt(squares / #list), h:stdev())
      assert.equal(5000, h.count)
    end
  end)

  it("merges, also by way of plain values", function()
    local a, b, all = histogram.new(), histogram.new(), histogram.new()
    for i = 1, 1000 do
      (i % 3 == 0 and a or b):record(i / 1000)
      all:record(i / 1000)
    end
    a:merge(histogram.restore(b:plain()))
    a:merge(histogram.restore(histogram.new():plain()))
    for _, percent in ipairs { 0, 10, 50, 99, 100 } do assert.equal(all:percentile(percent), a:percentile(percent)) end
    assert.equal(all.count, a.count)
    assert.equal(all:min(), a:min())
    near(all:mean(), a:mean())
    local empty = histogram.restore(histogram.new():plain())
    empty:record(2)
    assert.equal(2, empty:min())
  end)

  it("puts in what was left out while the client waited", function()
    local h = histogram.new()
    for _ = 1, 99 do h:record(0.01) end
    h:record(1) -- ten milliseconds apart, 99 more would have been sent: they would have waited 0.99, 0.98, ... 0.01
    near(0.01, h:percentile(99))
    local c = h:corrected(0.01)
    assert.equal(199, c.count)
    near(1, c:max())
    near(0.505, c:percentile(75), 0.02)
    near(0.99, c:percentile(99.2), 0.02)
    local long = histogram.new()
    for i = 1, 1000 do long:record(20 + i / 100) end
    local d = long:corrected(0.0001) -- some 250,000 for each of them
    near(1000 * 25.5 / 0.0001, d.count, 0.02)
    near(12.7, d:percentile(50), 0.02)
    near(30, d:max())
    assert.equal(100, h:corrected(0).count)
    assert.equal(100, h:corrected(2).count)
  end)

  it("splits what differs by less than it keeps into fewer bins", function()
    local h = histogram.new()
    h:record(0.0137)
    assert.equal(1, #h:bins(12))
    for _ = 1, 9 do h:record(0.01374) end
    assert.same({ 2, 10 }, { #h:bins(12), h:bins(12)[1].count + h:bins(12)[2].count })
  end)

  it("splits into bins, of equal width or growing, that count everything", function()
    local narrow, wide = histogram.new(), histogram.new()
    for i = 1, 1000 do
      narrow:record(1 + i / 1000)
      wide:record(0.001 * 1.01 ^ i)
    end
    for _, h in ipairs { narrow, wide } do
      local bins, sum = h:bins(10), 0
      assert.equal(10, #bins)
      for i, bin in ipairs(bins) do
        sum = sum + bin.count
        assert(bin.low < bin.high)
        if i > 1 then near(bins[i - 1].high, bin.low) end
      end
      assert.equal(h.count, sum)
      near(h:min(), bins[1].low)
      near(h:max(), bins[10].high)
    end
    local bins = narrow:bins(10)
    near(0.1, bins[1].high - bins[1].low, 0.02)
    bins = wide:bins(10)
    assert(bins[5].high - bins[5].low > 2 * (bins[1].high - bins[1].low))
    local one = histogram.new()
    one:record_many(0.5, 3)
    one:record_many(0.5, 0)
    assert.equal(3, one:bins(4)[1].count)
  end)

  it("gives a curve that ends with the largest value", function()
    local h = histogram.new()
    for i = 1, 1000 do h:record(i / 1000) end
    local curve = h:curve()
    assert.same({ percent = 100, seconds = 1.0 }, curve[#curve])
    assert.equal(0, curve[1].percent)
    for i = 2, #curve do
      assert(curve[i].percent > curve[i - 1].percent and curve[i].seconds >= curve[i - 1].seconds)
    end
    assert(#curve > 40 and #curve < 100)
  end)
end)
