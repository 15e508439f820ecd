-- Events tell waiting tasks what has come, all of them at once. The sleep stands for a request.
--   moonloop scripts/event.lua

local asyncio = require "asyncio"

local loop = asyncio.get_event_loop()
local start = loop:time()
local now = function() return ("%.2f"):format(loop:time() - start) end

local big_event = asyncio.Event()
local small_event = asyncio.Event()

local big_waiter = async(function()
  await(small_event:wait())
  print(now() .. " big waiter got its event")
end)

local small_waiter = async(function()
  await(big_event:wait())
  print(now() .. " small waiter got its event")
end)

local answers = { [0] = 0.988, 0.333, 0.419 }

local get = async(function(_url, id)
  await(asyncio.sleep(1 + id / 100)) -- no two answers come at the same moment
  return { msg = answers[id] }
end)

local run = async(function(url, id)
  local ret = await(get(url, id))
  print("response", ret.msg)
  local data = ret.msg
  if data > 0.5 then
    big_event:set()
  else
    small_event:set()
  end
  return data
end)

local main = async(function(workers, url)
  asyncio.ensure_future(big_waiter())
  asyncio.ensure_future(big_waiter())
  asyncio.ensure_future(small_waiter())
  asyncio.ensure_future(small_waiter())

  local futures = {}
  for i = 0, workers - 1 do
    table.insert(futures, asyncio.ensure_future(run(url, i)))
  end
  await(asyncio.wait(futures))

  if not big_event:is_set() then
    big_event:set()
  end

  if not small_event:is_set() then
    small_event:set()
  end

  -- let the others that can finish now do so
  await(asyncio.sleep(0))
end)

loop:run_until_complete(main(3, "http://127.0.0.1:8000/random"))
print("took: " .. now())
