-- A semaphore lets two of three requests be under way at the same time: 2 seconds.
--   moonloop scripts/web_random.lua &
--   moonloop scripts/semaphore.lua [URL]

local asyncio = require "asyncio"
local http = require "http"

local loop = asyncio.get_event_loop()
local start = loop:time()
local now = function() return ("%.2f"):format(loop:time() - start) end

local semp = asyncio.Semaphore(2)

local run = async(function(sess, url, id)
  local _ <close> = await(semp:guard())
  local resp <close> = await(sess:get(url))
  local ret = await(resp:json())
  print(("%s worker[%d] response %.3f"):format(now(), id, ret.msg))
  local data = ret.msg
  return data
end)

local main = async(function(workers, url)
  do
    local sess <close> = http.ClientSession()
    local futures = {}
    for i = 0, workers - 1 do
      table.insert(futures, asyncio.ensure_future(run(sess, url, i)))
    end
    await(asyncio.wait(futures))
  end

  -- let the others that can finish now do so
  await(asyncio.sleep(0))
end)

loop:run_until_complete(main(3, arg[1] or "http://127.0.0.1:8000/random"))
print("took: " .. now())
