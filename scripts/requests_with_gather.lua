-- Three requests at once; gather gives their results.
--   moonloop scripts/web_random.lua &
--   moonloop scripts/requests_with_gather.lua [URL]

local asyncio = require "asyncio"
local http = require "http"

local async function run(sess, url, id)
  async with sess:get(url) as resp do
    print("response", (await resp:json()).msg)
    return id
  end
end

local async function main(workers, url)
  async with http.ClientSession() as sess do
    local futures = {}
    for i = 0, workers - 1 do
      table.insert(futures, asyncio.ensure_future(run(sess, url, i)))
    end

    -- an array does as well as a list of arguments
    local rets = await asyncio.gather(futures)
    print(table.concat(rets, ", "))
  end
end

local loop = asyncio.get_event_loop()
local start = loop:time()
loop:run_until_complete(main(3, arg[1] or "http://127.0.0.1:8000/"))
print(("took: %.3f"):format(loop:time() - start))
