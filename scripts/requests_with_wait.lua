-- Three requests at once; wait tells which tasks are done and which are pending.
--   moonloop scripts/web_random.lua &
--   moonloop scripts/requests_with_wait.lua [URL]

local asyncio = require "asyncio"
local http = require "http"

local async function run(sess, url)
  async with sess:get(url) as resp do
    print("response", (await resp:json()).msg)
  end
end

local async function main(workers, url)
  async with http.ClientSession() as sess do
    local futures = {}
    for _ = 1, workers do
      table.insert(futures, asyncio.ensure_future(run(sess, url)))
    end

    local done, pending = await asyncio.wait(futures)
    for _, task in ipairs(done) do print(task) end
    print("pending", #pending)
  end
end

local loop = asyncio.get_event_loop()
local start = loop:time()
loop:run_until_complete(main(3, arg[1] or "http://127.0.0.1:8000/"))
print(("took: %.3f"):format(loop:time() - start))
