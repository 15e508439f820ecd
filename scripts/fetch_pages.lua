-- Five pages through one session, all at once.
--   moonloop scripts/web_random.lua &
--   moonloop scripts/fetch_pages.lua [URL]

local asyncio = require "asyncio"
local http = require "http"

local async function fetch_url(session, url)
  async with session:get(url) as response do
    return await response:text()
  end
end

local async function main(url)
  async with http.ClientSession() as session do
    local tasks = {}
    for _ = 1, 5 do
      table.insert(tasks, fetch_url(session, url))
    end
    local results = await asyncio.gather(tasks)
    print(("Fetched %d pages"):format(#results))
  end
end

asyncio.run(main(arg[1] or "http://127.0.0.1:8000/"))
