-- Ctrl-C cancels all tasks, those that tasks have made too, at one stroke: gather takes them all.
--   moonloop scripts/cancel_all_on_ctrl_c.lua

local asyncio = require "asyncio"

local get = async(function(url)
  local _ <close> = setmetatable({}, {
    __close = function() print("cleaned up " .. url) end,
  })
  print("waiting for " .. url .. ", press Ctrl-C")
  await(asyncio.sleep(3600)) -- stands for a request
end)

local request = async(function()
  local tasks = {}
  for url = 1, 3 do tasks[url] = asyncio.ensure_future(get(url)) end
  await(asyncio.wait(tasks))
end)

local task = asyncio.ensure_future(request())
local loop = asyncio.get_event_loop()

local ok, e = pcall(loop.run_until_complete, loop, task)
if not ok then
  if not asyncio.isinstance(e, asyncio.KeyboardInterrupt) then error(e, 0) end
  asyncio.gather(asyncio.all_tasks(loop)):cancel()
  loop:stop()
  loop:run_forever() -- one round, in which the tasks end
  print("all tasks cancelled")
end
loop:close()
