-- Ctrl-C cancels the tasks one by one.
--   moonloop scripts/cancel_each_on_ctrl_c.lua

local asyncio = require "asyncio"

local get = async(function(url)
  local _ <close> = setmetatable({}, {
    __close = function() print("cleaned up " .. url) end,
  })
  print("waiting for " .. url .. ", press Ctrl-C")
  await(asyncio.sleep(3600)) -- stands for a request
end)

local tasks = {}
for url = 1, 3 do tasks[url] = asyncio.ensure_future(get(url)) end
local loop = asyncio.get_event_loop()

local ok, e = pcall(loop.run_until_complete, loop, asyncio.wait(tasks))
if not ok then
  if not asyncio.isinstance(e, asyncio.KeyboardInterrupt) then error(e, 0) end
  for _, task in ipairs(asyncio.all_tasks(loop)) do
    print(task:cancel())
  end
  loop:stop()
  loop:run_forever() -- one round, in which the tasks end
end
loop:close()
