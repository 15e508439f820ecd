-- Three requests at once; gather gives their results. The sleep stands for a request.
--   moonloop scripts/requests_with_gather.lua

local asyncio = require "asyncio"

local get = async(function(_url)
  await(asyncio.sleep(1))
  return { msg = "ok" }
end)

local run = async(function(url, id)
  local resp = await(get(url))
  print("response", resp.msg)
  return id
end)

local main = async(function(workers, url)
  local futures = {}
  for i = 0, workers - 1 do
    table.insert(futures, asyncio.ensure_future(run(url, i)))
  end

  -- an array does as well as a list of arguments
  local rets = await(asyncio.gather(futures))
  print(table.concat(rets, ", "))
end)

local loop = asyncio.get_event_loop()
local start = loop:time()
loop:run_until_complete(main(3, "http://127.0.0.1:8000/"))
print(("took: %.3f"):format(loop:time() - start))
