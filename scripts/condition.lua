-- A condition wakes as many of the waiting tasks as one likes: here two for each answer.
--   moonloop scripts/web_random.lua &
--   moonloop scripts/condition.lua [URL]

local asyncio = require "asyncio"
local http = require "http"

local loop = asyncio.get_event_loop()
local start = loop:time()
local now = function() return ("%.2f"):format(loop:time() - start) end

local cond = asyncio.Condition()

local async function waiter(id)
  async with cond do
    await cond:wait()
    print(("%s waiter[%d] has waited"):format(now(), id))
  end
end

local async function run(sess, url)
  async with sess:get(url) as resp do
    local ret = await resp:json()
    print("response", ret.msg)
    local data = ret.msg
    async with cond do
      -- cond:notify()
      -- cond:notify_all()
      cond:notify(2)
      return data
    end
  end
end

local async function main(workers, url)
  for i = 0, workers - 1 do
    asyncio.ensure_future(waiter(i))
  end

  async with http.ClientSession() as sess do
    local futures = {}
    for _ = 1, workers do
      table.insert(futures, asyncio.ensure_future(run(sess, url)))
    end
    await asyncio.wait(futures)
  end

  -- let the others that can finish now do so
  await asyncio.sleep(0)
end

loop:run_until_complete(main(3, arg[1] or "http://127.0.0.1:8000/random"))
print("took: " .. now())
