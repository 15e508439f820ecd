-- Three requests at once; wait tells which tasks are done and which are pending. The sleep stands for a request.
--   moonloop scripts/requests_with_wait.lua

local asyncio = require "asyncio"

local get = async(function(_url)
  await(asyncio.sleep(1))
  return { msg = "ok" }
end)

local run = async(function(url)
  local resp = await(get(url))
  print("response", resp.msg)
end)

local main = async(function(workers, url)
  local futures = {}
  for _ = 1, workers do
    table.insert(futures, asyncio.ensure_future(run(url)))
  end

  local done, pending = await(asyncio.wait(futures))
  for _, task in ipairs(done) do print(task) end
  print("pending", #pending)
end)

local loop = asyncio.get_event_loop()
local start = loop:time()
loop:run_until_complete(main(3, "http://127.0.0.1:8000/"))
print(("took: %.3f"):format(loop:time() - start))
