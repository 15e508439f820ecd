-- Events tell waiting tasks what has come, all of them at once.
--   moonloop scripts/web_random.lua &
--   moonloop scripts/event.lua [URL]

local asyncio = require "asyncio"
local http = require "http"

local loop = asyncio.get_event_loop()
local start = loop:time()
local now = function() return ("%.2f"):format(loop:time() - start) end

local big_event = asyncio.Event()
local small_event = asyncio.Event()

local async function big_waiter()
  await small_event:wait()
  print(now() .. " big waiter got its event")
end

local async function small_waiter()
  await big_event:wait()
  print(now() .. " small waiter got its event")
end

local async function run(sess, url)
  async with sess:get(url) as resp do
    local ret = await resp:json()
    print("response", ret.msg)
    local data = ret.msg
    if data > 0.5 then
      big_event:set()
    else
      small_event:set()
    end
    return data
  end
end

local async function main(workers, url)
  asyncio.ensure_future(big_waiter())
  asyncio.ensure_future(big_waiter())
  asyncio.ensure_future(small_waiter())
  asyncio.ensure_future(small_waiter())

  async with http.ClientSession() as sess do
    local futures = {}
    for _ = 1, workers do
      table.insert(futures, asyncio.ensure_future(run(sess, url)))
    end
    await asyncio.wait(futures)
  end

  if not big_event:is_set() then
    big_event:set()
  end

  if not small_event:is_set() then
    small_event:set()
  end

  -- let the others that can finish now do so
  await asyncio.sleep(0)
end

loop:run_until_complete(main(3, arg[1] or "http://127.0.0.1:8000/random"))
print("took: " .. now())
