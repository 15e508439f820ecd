-- queue.lua N SIZE: the limit of the row queue, for a plain lua5.4: a ring between two coroutines
-- that a list of ready ones resumes. No futures, no cancellation, one waiter on each side.

local n, size = tonumber(arg[1]) or 1000000, tonumber(arg[2]) or 100

local running, yield, resume = coroutine.running, coroutine.yield, coroutine.resume

local ready, first, last = {}, 1, 0

local function wake(co)
  last = last + 1
  ready[last] = co
end

local ring, head, count = {}, 0, 0
local getter, putter

local function put(item)
  while count == size do
    putter = running()
    yield()
  end
  ring[(head + count) % size] = item
  count = count + 1
  if getter then
    wake(getter)
    getter = nil
  end
end

local function get()
  while count == 0 do
    getter = running()
    yield()
  end
  local item = ring[head]
  head = (head + 1) % size
  count = count - 1
  if putter then
    wake(putter)
    putter = nil
  end
  return item
end

local sum = 0
local started = os.clock()

wake(coroutine.create(function()
  for i = 0, n - 1 do put(i) end
end))
wake(coroutine.create(function()
  for _ = 1, n do sum = sum + get() end
end))
while first <= last do
  local co = ready[first]
  ready[first] = nil
  first = first + 1
  assert(resume(co))
end

print(("ns %.9g"):format((os.clock() - started) * 1e9 / n))
assert(sum == n * (n - 1) // 2)
