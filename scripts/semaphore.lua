-- A semaphore lets two of three tasks work at the same time: 2 seconds. The sleep stands for a request.
--   moonloop scripts/semaphore.lua

local asyncio = require "asyncio"

local loop = asyncio.get_event_loop()
local start = loop:time()
local now = function() return ("%.2f"):format(loop:time() - start) end

local semp = asyncio.Semaphore(2)

local answers = { [0] = 0.213, 0.759, 0.828 }

local get = async(function(_url, id)
  await(asyncio.sleep(1))
  return { msg = answers[id] }
end)

local run = async(function(url, id)
  local _ <close> = await(semp:guard())
  local ret = await(get(url, id))
  print(("%s worker[%d] response %.3f"):format(now(), id, ret.msg))
  local data = ret.msg
  return data
end)

local main = async(function(workers, url)
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
