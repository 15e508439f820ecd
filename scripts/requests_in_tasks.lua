-- Three requests at once, a task for each; main sleeps until they are surely done: the session ends with it.
--   moonloop scripts/web_random.lua &
--   moonloop scripts/requests_in_tasks.lua [URL]

local asyncio = require "asyncio"
local http = require "http"

local run = async(function(sess, url)
  local resp <close> = await(sess:get(url))
  print("response", await(resp:json()).msg)
end)

local main = async(function(workers, url)
  local sess <close> = http.ClientSession()
  for _ = 1, workers do
    asyncio.ensure_future(run(sess, url))
  end
  await(asyncio.sleep(1.1)) -- not elegant: better wait for the tasks
end)

local loop = asyncio.get_event_loop()
local start = loop:time()
loop:run_until_complete(main(3, arg[1] or "http://127.0.0.1:8000/"))
print(("took: %.3f"):format(loop:time() - start))
