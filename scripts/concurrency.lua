-- Two ways that take 4 seconds, and six that take 3.
--   moonloop scripts/concurrency.lua

local asyncio = require "asyncio"

local async function a()
  print("Suspending a")
  await asyncio.sleep(3)
  print("Resuming a")
end

local async function b()
  print("Suspending b")
  await asyncio.sleep(1)
  print("Resuming b")
end

-- The first wrong way
local async function e1()
  await a()
  await b()
end

-- The second wrong way: awaiting a task at once makes nothing concurrent
local async function e2()
  await asyncio.create_task(a())
  await asyncio.create_task(b())
end

local async function c1()
  await asyncio.gather(a(), b())
end

local async function c2()
  await asyncio.wait({ a(), b() })
end

local async function c3()
  -- create_task makes a task of a coroutine
  local task1 = asyncio.create_task(a())
  local task2 = asyncio.create_task(b())
  await task1
  await task2
end

local async function c4()
  local task1 = asyncio.create_task(a())
  await b()
  await task1
end

local async function c5()
  local task = asyncio.ensure_future(b())
  await a()
  -- while a waits, the task runs
  await task
end

local async function c6()
  local loop = asyncio.get_event_loop()
  local task = loop:create_task(b())
  await a()
  await task
end

local async function perf(func)
  local loop = asyncio.get_running_loop()
  local start = loop:time()
  await func()
  return loop:time() - start
end

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
