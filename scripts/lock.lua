-- A lock makes three requests go one by one: 3 seconds.
--   moonloop scripts/web_random.lua &
--   moonloop scripts/lock.lua [URL]

local asyncio = require "asyncio"
local http = require "http"

local lock = asyncio.Lock()

local run = async(function(sess, url, id)
  local _ <close> = await(lock:guard())
  local resp <close> = await(sess:get(url))
  print("response", await(resp:json()).msg)
  return id
end)

local main = async(function(workers, url)
  local sess <close> = http.ClientSession()
  local futures = {}
  for i = 0, workers - 1 do
    table.insert(futures, asyncio.ensure_future(run(sess, url, i)))
  end

  local rets = await(asyncio.gather(futures))
  print(table.concat(rets, ", "))
end)

local loop = asyncio.get_event_loop()
local start = loop:time()
loop:run_until_complete(main(3, arg[1] or "http://127.0.0.1:8000/"))
print(("took: %.3f"):format(loop:time() - start))
