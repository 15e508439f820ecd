-- Three requests one after the other, each waiting for the one before: 3 seconds, as each answer takes one.
--   moonloop scripts/web_random.lua &
--   moonloop scripts/requests_in_sequence.lua [URL]

local asyncio = require "asyncio"
local http = require "http"

local async function main(workers, url)
  async with http.ClientSession() as sess do
    for _ = 1, workers do
      async with sess:get(url) as resp do
        print("response", (await resp:json()).msg)
      end
    end
  end
end

local loop = asyncio.get_event_loop()
local start = loop:time()
loop:run_until_complete(main(3, arg[1] or "http://127.0.0.1:8000/"))
print(("took: %.3f"):format(loop:time() - start))
