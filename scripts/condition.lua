-- A condition wakes as many of the waiting tasks as one likes: here two at a time. The sleep stands for a request.
--   moonloop scripts/condition.lua

local asyncio = require "asyncio"

local loop = asyncio.get_event_loop()
local start = loop:time()
local now = function() return ("%.2f"):format(loop:time() - start) end

local cond = asyncio.Condition()

local waiter = async(function(id)
  local _ <close> = await(cond:guard())
  await(cond:wait())
  print(("%s waiter[%d] has waited"):format(now(), id))
end)

local answers = { [0] = 0.588, 0.339, 0.265 }

local get = async(function(_url, id)
  await(asyncio.sleep(1 + id / 100)) -- no two answers come at the same moment
  return { msg = answers[id] }
end)

local run = async(function(url, id)
  local ret = await(get(url, id))
  print("response", ret.msg)
  local data = ret.msg
  local _ <close> = await(cond:guard())
  -- cond:notify()
  -- cond:notify_all()
  cond:notify(2)
  return data
end)

local main = async(function(workers, url)
  for i = 0, workers - 1 do
    asyncio.ensure_future(waiter(i))
  end

  local futures = {}
  for i = 0, workers - 1 do
    table.insert(futures, asyncio.ensure_future(run(url, i)))
  end
  await(asyncio.wait(futures))

  -- let the others that can finish now do so
  await(asyncio.sleep(0))
end)

loop:run_until_complete(main(3, "http://127.0.0.1:8000/random"))
print("took: " .. now())
