-- Two ways that take 4 seconds, and six that take 3.
--   moonloop scripts/concurrency.lua

local asyncio = require "asyncio"

local a = async(function()
  print("Suspending a")
  await(asyncio.sleep(3))
  print("Resuming a")
end)

local b = async(function()
  print("Suspending b")
  await(asyncio.sleep(1))
  print("Resuming b")
end)

-- The first wrong way
local e1 = async(function()
  await(a())
  await(b())
end)

-- The second wrong way: awaiting a task at once makes nothing concurrent
local e2 = async(function()
  await(asyncio.create_task(a()))
  await(asyncio.create_task(b()))
end)

local c1 = async(function()
  await(asyncio.gather(a(), b()))
end)

local c2 = async(function()
  await(asyncio.wait({ a(), b() }))
end)

local c3 = async(function()
  -- create_task makes a task of a coroutine
  local task1 = asyncio.create_task(a())
  local task2 = asyncio.create_task(b())
  await(task1)
  await(task2)
end)

local c4 = async(function()
  local task1 = asyncio.create_task(a())
  await(b())
  await(task1)
end)

local c5 = async(function()
  local task = asyncio.ensure_future(b())
  await(a())
  -- while a waits, the task runs
  await(task)
end)

local c6 = async(function()
  local loop = asyncio.get_event_loop()
  local task = loop:create_task(b())
  await(a())
  await(task)
end)

local perf = async(function(func)
  local loop = asyncio.get_running_loop()
  local start = loop:time()
  await(func())
  return loop:time() - start
end)

local show_perf = function(name, func)
  print(("*"):rep(20))
  local cost = asyncio.run(perf(func))
  print(("%s Cost: %.3f"):format(name, cost))
end

show_perf("e1", e1)
show_perf("e2", e2)
show_perf("c1", c1)
show_perf("c2", c2)
show_perf("c3", c3)
show_perf("c4", c4)
show_perf("c5", c5)
show_perf("c6", c6)
