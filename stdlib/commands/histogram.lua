--- Latencies counted in buckets whose width grows with the value (HdrHistogram's scheme): every value from a
--- microsecond to an hour is kept to three digits, in bounded memory, and recording costs a few operations.
---
--- Values are seconds outside, whole microseconds inside. Below 2,048 each has a bucket; from there on every doubling
--- has 1,024.

local M = {}

local PRECISION = 11 -- bits of a value that are kept
local HALF = 1 << (PRECISION - 1)
local HIGHEST = 3600 * 1000000 -- microseconds

---@class commands.Histogram
---@field private counts table<integer, integer> by bucket
---@field private top integer the highest bucket in use
---@field count integer how many values
---@field private sum number of microseconds
---@field private squares number
---@field private low integer
---@field private high integer
local Histogram = {}
Histogram.__index = Histogram
Histogram.__name = "Histogram"

---@return commands.Histogram
function M.new()
  return setmetatable({ counts = {}, top = -1, count = 0, sum = 0, squares = 0, low = math.huge, high = 0 }, Histogram)
end

local log, floor = math.log, math.floor

local function bucket_of(us)
  if us < 2 * HALF then return us end
  local shift = floor(log(us, 2)) - PRECISION + 1
  if us >> shift >= 2 * HALF then shift = shift + 1 elseif us >> shift < HALF then shift = shift - 1 end
  return shift * HALF + (us >> shift)
end

--- The lowest value of a bucket, and how many values it stands for.
local function range_of(bucket)
  if bucket < 2 * HALF then return bucket, 1 end
  local shift = bucket // HALF - 1
  return (bucket - shift * HALF) << shift, 1 << shift
end

local function add(self, us, n)
  local bucket = bucket_of(us)
  local counts = self.counts
  counts[bucket] = (counts[bucket] or 0) + n
  if bucket > self.top then self.top = bucket end
  self.count = self.count + n
  self.sum = self.sum + us * n
  self.squares = self.squares + us * us * n
  if us < self.low then self.low = us end
  if us > self.high then self.high = us end
end

local function microseconds(seconds)
  if seconds < 0 then return 0 end
  if seconds >= 3600 then return HIGHEST end
  return floor(seconds * 1e6 + 0.5)
end

--- Counts a value of so many seconds.
---@param seconds number
function Histogram:record(seconds)
  add(self, microseconds(seconds), 1)
end

--- Counts n values.
function Histogram:record_many(seconds, n)
  if n > 0 then add(self, microseconds(seconds), n) end
end

--- Adds what another one has counted.
---@param other commands.Histogram
function Histogram:merge(other)
  for bucket, n in next, other.counts do
    self.counts[bucket] = (self.counts[bucket] or 0) + n
  end
  self.top = math.max(self.top, other.top)
  self.count, self.sum, self.squares = self.count + other.count, self.sum + other.sum, self.squares + other.squares
  self.low, self.high = math.min(self.low, other.low), math.max(self.high, other.high)
end

--- What stands for a bucket: its middle, but never beyond what was recorded.
local function value_of(self, bucket)
  local low, width = range_of(bucket)
  return math.max(self.low, math.min(self.high, low + (width - 1) // 2))
end

--- Another one with what a client missed that waits for each answer before it asks again (coordinated omission): a
--- value above the expected interval stands for the requests that would have been sent meanwhile, each of which would
--- have waited one interval less.
---@param interval number seconds between the requests of one client
---@return commands.Histogram
function Histogram:corrected(interval)
  local other = M.new()
  local step = microseconds(interval)
  for bucket = 0, self.top do
    local n = self.counts[bucket]
    if n then
      local us = value_of(self, bucket)
      add(other, us, n)
      local left = step > 0 and us // step - 1 or 0
      local stride = left // 1000 + 1 -- so many at once, where there are very many of them
      local first = 1
      while first <= left do
        local count = math.min(stride, left - first + 1)
        add(other, us - (first + (count - 1) // 2) * step, n * count)
        first = first + count
      end
    end
  end
  return other
end

--- The value that so many per cent of all are not above; nil if there is none.
---@param percent number 0 to 100
---@return number? seconds
function Histogram:percentile(percent)
  if self.count == 0 then return nil end
  local wanted = math.max(1, math.ceil(self.count * percent / 100 - 1e-9))
  local seen = 0
  for bucket = 0, self.top do
    seen = seen + (self.counts[bucket] or 0)
    if seen >= wanted then
      if seen == self.count then return self.high / 1e6 end
      local low, width = range_of(bucket)
      return math.min(self.high, low + width - 1) / 1e6
    end
  end
end

---@return number? seconds
function Histogram:mean() return self.count > 0 and self.sum / self.count / 1e6 or nil end

---@return number? seconds
function Histogram:min() return self.count > 0 and self.low / 1e6 or nil end

---@return number? seconds
function Histogram:max() return self.count > 0 and self.high / 1e6 or nil end

--- The standard deviation.
---@return number? seconds
function Histogram:stdev()
  if self.count == 0 then return nil end
  local mean = self.sum / self.count
  return math.sqrt(math.max(0, self.squares / self.count - mean * mean)) / 1e6
end

--- How many values lie in each of n parts of the span between the smallest value and that of `percent` (99.9): equal
--- parts, or growing by the same factor if the span is wide; fewer than n if the values are too near to each other.
--- What lies above is counted in the last one.
---@return { low: number, high: number, count: integer }[] seconds
function Histogram:bins(n, percent)
  if self.count == 0 then return {} end
  local low, high = self.low, math.max(self:percentile(percent or 99.9) * 1e6, self.low + 1)
  local first = math.max(low, 1)
  local wide = high / first > 20
  n = math.max(1, math.min(n, math.floor((high - low) / math.max(1, low / 1000)))) -- values have three digits
  local bins = {}
  local function edge(i)
    if wide then return first * (high / first) ^ (i / n) end
    return low + (high - low) * i / n
  end
  for i = 1, n do bins[i] = { low = (i == 1 and low or edge(i - 1)) / 1e6, high = edge(i) / 1e6, count = 0 } end
  bins[n].high = math.max(self.high, high) / 1e6
  local i = 1
  for bucket = 0, self.top do
    local count = self.counts[bucket]
    if count then
      local value = value_of(self, bucket)
      while i < n and value > edge(i) do i = i + 1 end
      bins[i].count = bins[i].count + count
    end
  end
  return bins
end

--- The points of the curve "so many per cent are not above": denser the nearer it gets to 100.
---@return { percent: number, seconds: number }[]
function Histogram:curve()
  local points = {}
  if self.count == 0 then return points end
  local left, tick = 100.0, 0
  while true do
    local percent = 100 - left
    points[#points + 1] = { percent = percent, seconds = self:percentile(percent) }
    if left * self.count < 50 then break end -- less than half a value is left
    tick = tick + 1
    left = 100 * 0.5 ^ (tick / 5)
  end
  points[#points + 1] = { percent = 100, seconds = self:max() }
  return points
end

--- As plain values, for another process; restore makes one of them.
function Histogram:plain()
  return { counts = self.counts, top = self.top, count = self.count, sum = self.sum, squares = self.squares,
    low = self.count > 0 and self.low or 0, high = self.high }
end

---@return commands.Histogram
function M.restore(plain)
  local self = setmetatable(plain, Histogram)
  if self.count == 0 then self.low = math.huge end
  return self
end

return M
