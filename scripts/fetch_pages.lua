-- Five pages through one session, all at once.
--   moonloop scripts/web_random.lua &
--   moonloop scripts/fetch_pages.lua [URL]

local asyncio = require "asyncio"
local http = require "http"

local fetch_url = async(function(session, url)
  local response <close> = await(session:get(url))
  return await(response:text())
end)

local main = async(function(url)
  local session <close> = http.ClientSession()
  local tasks = {}
  for _ = 1, 5 do
    table.insert(tasks, fetch_url(session, url))
  end
  local results = await(asyncio.gather(tasks))
  print(("Fetched %d pages"):format(#results))
end)

asyncio.run(main(arg[1] or "http://127.0.0.1:8000/"))
