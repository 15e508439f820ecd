-- A producer and a consumer as generators: yield gives a value and takes one.
--   moonloop scripts/yield_and_send.lua

local consumer = function()
  local status = true
  while true do
    -- yield gives the status and takes n, what it is resumed with
    local n = coroutine.yield(status)
    print(("I got %d!"):format(n))
    if n == 3 then
      status = false
    end
  end
end

local producer = function(send)
  local n = 5
  while n > 0 do
    -- yield gives the consumer's status to the main program
    coroutine.yield(send(n))
    n = n - 1
  end
end

local c = coroutine.wrap(consumer)

-- Important: advance the generator to its first yield, which can take a value only then.
c()

local p = coroutine.wrap(producer)
for status in p, c do
  if status == false then
    print("3, 4 and 5 are all I want")
    break
  end
end
