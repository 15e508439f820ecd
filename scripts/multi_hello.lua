-- A hundred coroutines with names in one loop.
--   moonloop scripts/multi_hello.lua

local asyncio = require "asyncio"

local async function hello(name)
  print(("hello %s **********%s"):format(name, asyncio.current_task():get_name()))
  await asyncio.sleep(1)
  print(("end: %s"):format(name))
end

local loop = asyncio.get_event_loop()
local tasks = {}
local namelist = ("0123456789"):rep(10)
for i in namelist:gmatch(".") do
  table.insert(tasks, asyncio.ensure_future(hello(i)))
end
loop:run_until_complete(asyncio.wait(tasks))
