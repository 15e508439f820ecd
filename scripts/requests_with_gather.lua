-- Three requests at once; gather gives their results.
--   moonloop scripts/web_random.lua &
--   moonloop scripts/requests_with_gather.lua [URL]

local asyncio = require "asyncio"
local http = require "http"

local run = async(function(sess, url, id)
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

  -- an array does as well as a list of arguments
  local rets = await(asyncio.gather(futures))
  print(table.concat(rets, ", "))
end)

local loop = asyncio.get_event_loop()
local start = loop:time()
loop:run_until_complete(main(3, arg[1] or "http://127.0.0.1:8000/"))
print(("took: %.3f"):format(loop:time() - start))
