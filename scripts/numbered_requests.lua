-- Twelve numbered requests at once, with gather; each by itself, without a session (http.request).
--   moonloop scripts/web_random.lua &
--   moonloop scripts/numbered_requests.lua [URL]

local asyncio = require "asyncio"
local http = require "http"

local NUMBERS = {}
for a = 0, 11 do table.insert(NUMBERS, a) end
local URL = (arg[1] or "http://127.0.0.1:8000/get") .. "?a=%d"

local async function fetch_async(a)
  async with http.request("GET", URL:format(a)) as r do
    local data = await r:json() -- waits for I/O: the others go on meanwhile
    return data.args.a
  end
end

local event_loop = asyncio.get_event_loop()
local start = event_loop:time()
local tasks = {}
for i, num in ipairs(NUMBERS) do tasks[i] = fetch_async(num) end
local results = event_loop:run_until_complete(asyncio.gather(tasks))

for i, num in ipairs(NUMBERS) do
  print(("fetch(%d) = %s"):format(num, results[i]))
end
print(("Use asyncio+http cost: %.3f"):format(event_loop:time() - start))
