-- A lock makes three tasks go one by one: 3 seconds. The sleep stands for a request.
--   moonloop scripts/lock.lua

local asyncio = require "asyncio"

local lock = asyncio.Lock()

local get = async(function(_url)
  await(asyncio.sleep(1))
  return { msg = "ok" }
end)

local run = async(function(url, id)
  local _ <close> = await(lock:guard())
  local resp = await(get(url))
  print("response", resp.msg)
  return id
end)

local main = async(function(workers, url)
  local futures = {}
  for i = 0, workers - 1 do
    table.insert(futures, asyncio.ensure_future(run(url, i)))
  end

  local rets = await(asyncio.gather(futures))
  print(table.concat(rets, ", "))
end)

local loop = asyncio.get_event_loop()
local start = loop:time()
loop:run_until_complete(main(3, "http://127.0.0.1:8000/"))
print(("took: %.3f"):format(loop:time() - start))
