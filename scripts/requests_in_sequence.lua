-- Three requests one after the other, each waiting for the one before: 3 seconds.
-- The sleep stands for a server that takes a second to answer.
--   moonloop scripts/requests_in_sequence.lua

local asyncio = require "asyncio"

local get = async(function(_url)
  await(asyncio.sleep(1))
  return { msg = "ok" }
end)

local main = async(function(workers, url)
  for _ = 1, workers do
    local resp = await(get(url))
    print("response", resp.msg)
  end
end)

local loop = asyncio.get_event_loop()
local start = loop:time()
loop:run_until_complete(main(3, "http://127.0.0.1:8000/"))
print(("took: %.3f"):format(loop:time() - start))
