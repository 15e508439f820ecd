-- A task runs beside main as long as main does. The sleep stands for a request.
--   moonloop scripts/background_task.lua

local asyncio = require "asyncio"

local async function task_func()
  await asyncio.sleep(1)
  local resp = { text = "response" }
  print("2222222", ("%.1f"):format(asyncio.get_running_loop():time()), resp.text)
end

local async function main(loop)
  loop:create_task(task_func()) -- only what is in the loop gets its turn
  await asyncio.sleep(2) -- or else the loop is closed before the task is done
  print("11111111111", ("%.1f"):format(loop:time()))
end

local event_loop = asyncio.get_event_loop()
local _ <close> = setmetatable({}, {
  __close = function() event_loop:close() end, -- tasks that are not done by now never will be
})
event_loop:run_until_complete(main(event_loop))
