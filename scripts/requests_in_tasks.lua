-- Three requests at once, a task for each; main sleeps until they are surely done: the session ends with it.
--   moonloop scripts/web_random.lua &
--   moonloop scripts/requests_in_tasks.lua [URL]

local asyncio = require "asyncio"
local http = require "http"

local async function run(sess, url)
  async with sess:get(url) as resp do
    print("response", (await resp:json()).msg)
  end
end

local async function main(workers, url)
  async with http.ClientSession() as sess do
    for _ = 1, workers do
      asyncio.ensure_future(run(sess, url))
    end
    await asyncio.sleep(1.1) -- not elegant: better wait for the tasks
  end
end

local loop = asyncio.get_event_loop()
local start = loop:time()
loop:run_until_complete(main(3, arg[1] or "http://127.0.0.1:8000/"))
print(("took: %.3f"):format(loop:time() - start))
