-- Four common mistakes, and what the engine says to each.
--   moonloop scripts/common_mistakes.lua

local asyncio = require "asyncio"
local time = require "time"

local async function work()
  await asyncio.sleep(1)
end

-- 1. A forgotten await: the coroutine never runs. The warning comes when it is collected.
local async function forget_await()
  work()
  collectgarbage()
  print("work() did nothing")
end

-- 2. A blocking call in a coroutine: nobody else runs meanwhile.
local async function block()
  local ticks = 0
  local ticker = asyncio.create_task((async function()
    while true do
      await asyncio.sleep(0)
      ticks = ticks + 1
    end
  end)())
  time.sleep(0.05) -- rather: await asyncio.sleep(0.05)
  ticker:cancel()
  print("ticks while blocked: " .. ticks)
end

-- 3. Catching everything: a task that goes on after its cancellation can't be stopped.
local async function stubborn()
  asyncio.catch(await, asyncio.sleep(3600)) -- rather: pcall, which lets the own cancellation pass
  return "went on after cancel()"
end

local async function cancel_wrongly()
  local task = asyncio.create_task(stubborn())
  await asyncio.sleep(0)
  task:cancel()
  print(await task)
end

-- 4. A loop in a running loop.
local async function nest()
  local coro = work()
  local _, err = pcall(asyncio.run, coro) -- rather: await coro
  print(err)
end

asyncio.run(forget_await())
asyncio.run(block())
asyncio.run(cancel_wrongly())
asyncio.run(nest())
