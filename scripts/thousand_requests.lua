-- A thousand requests at once: each prints its response and the time. One session for all of them: 100 connections.
--   moonloop scripts/web_random.lua &
--   moonloop scripts/thousand_requests.lua [URL [N]]

local asyncio = require "asyncio"
local http = require "http"
local time = require "time"

local async function get(session, url)
  async with session:get(url) as response do
    print(response)
    print(("%.6f"):format(time.time()))
    return response.status
  end
end

local async function main(url, n)
  async with http.ClientSession() as session do
    local async function request()
      return await get(session, url)
    end
    local tasks = {}
    for i = 1, n do tasks[i] = asyncio.ensure_future(request()) end
    local done = await asyncio.wait(tasks)
    local ok = 0
    for _, task in ipairs(done) do
      if task:result() == 200 then ok = ok + 1 end
    end
    return ok
  end
end

local loop = asyncio.get_event_loop()
local start = loop:time()
local ok = loop:run_until_complete(main(arg[1] or "http://127.0.0.1:8000/", tonumber(arg[2]) or 1000))
print(("%d requests took %.3f s"):format(ok, loop:time() - start))
