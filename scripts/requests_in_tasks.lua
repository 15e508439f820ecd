-- Three requests at once, a task for each; main sleeps until they are surely done. The sleep in get is the request.
--   moonloop scripts/requests_in_tasks.lua

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
  for _ = 1, workers do
    asyncio.ensure_future(run(url))
  end
  await(asyncio.sleep(1.1)) -- not elegant: better wait for the tasks
end)

local loop = asyncio.get_event_loop()
local start = loop:time()
loop:run_until_complete(main(3, "http://127.0.0.1:8000/"))
print(("took: %.3f"):format(loop:time() - start))
