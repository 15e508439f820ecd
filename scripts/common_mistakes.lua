-- Four common mistakes, and what the engine says to each.
--   moonloop scripts/common_mistakes.lua

local asyncio = require "asyncio"
local time = require "time"

local work = async(function()
  await(asyncio.sleep(1))
end)

-- 1. A forgotten await: the coroutine never runs. The warning comes when it is collected.
local forget_await = async(function()
  work()
  collectgarbage()
  print("work() did nothing")
end)

-- 2. A blocking call in a coroutine: nobody else runs meanwhile.
local block = async(function()
  local ticks = 0
  local ticker = asyncio.create_task(async(function()
    while true do
      await(asyncio.sleep(0))
      ticks = ticks + 1
    end
  end)())
  time.sleep(0.05) -- rather: await(asyncio.sleep(0.05))
  ticker:cancel()
  print("ticks while blocked: " .. ticks)
end)

-- 3. Catching everything: a task that goes on after its cancellation can't be stopped.
local stubborn = async(function()
  asyncio.catch(await, asyncio.sleep(3600)) -- rather: pcall, which lets the own cancellation pass
  return "went on after cancel()"
end)

local cancel_wrongly = async(function()
  local task = asyncio.create_task(stubborn())
  await(asyncio.sleep(0))
  task:cancel()
  print(await(task))
end)

-- 4. A loop in a running loop.
local nest = async(function()
  local coro = work()
  local _, err = pcall(asyncio.run, coro) -- rather: await(coro)
  print(err)
end)

asyncio.run(forget_await())
asyncio.run(block())
asyncio.run(cancel_wrongly())
asyncio.run(nest())
