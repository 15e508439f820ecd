-- A semaphore lets two of three requests be under way at the same time: 2 seconds.
--   moonloop scripts/web_random.lua &
--   moonloop scripts/semaphore.lua [URL]

local asyncio = require "asyncio"
local http = require "http"

local loop = asyncio.get_event_loop()
local start = loop:time()
local now = function() return ("%.2f"):format(loop:time() - start) end

local semp = asyncio.Semaphore(2)

local async function run(sess, url, id)
  async with semp do
    async with sess:get(url) as resp do
      local ret = await resp:json()
      print(("%s worker[%d] response %.3f"):format(now(), id, ret.msg))
      local data = ret.msg
      return data
    end
  end
end

local async function main(workers, url)
  async with http.ClientSession() as sess do
    local futures = {}
    for i = 0, workers - 1 do
      table.insert(futures, asyncio.ensure_future(run(sess, url, i)))
    end
    await asyncio.wait(futures)
  end

  -- let the others that can finish now do so
  await asyncio.sleep(0)
end

loop:run_until_complete(main(3, arg[1] or "http://127.0.0.1:8000/random"))
print("took: " .. now())
