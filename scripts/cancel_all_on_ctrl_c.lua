-- Ctrl-C cancels all tasks, those that tasks have made too, at one stroke: gather takes them all. Their requests end
-- with them.
--   moonloop scripts/web_random.lua 8000 10 &
--   moonloop scripts/cancel_all_on_ctrl_c.lua [URL]

local asyncio = require "asyncio"
local http = require "http"

local url = arg[1] or "http://127.0.0.1:8000/"

local async function get(id)
  local _ <close> = setmetatable({}, {
    __close = function() print("cleaned up " .. id) end,
  })
  async with http.ClientSession() as session do
    print("waiting for " .. id .. ", press Ctrl-C")
    async with session:get(url) as response do
      print(response)
    end
  end
end

local async function request()
  local tasks = {}
  for id = 1, 3 do tasks[id] = asyncio.ensure_future(get(id)) end
  await asyncio.wait(tasks)
end

local task = asyncio.ensure_future(request())
local loop = asyncio.get_event_loop()

local ok, e = pcall(loop.run_until_complete, loop, task)
if not ok then
  if not asyncio.isinstance(e, asyncio.KeyboardInterrupt) then error(e, 0) end
  local all = asyncio.gather(asyncio.all_tasks(loop))
  all:cancel()
  pcall(loop.run_until_complete, loop, all) -- until they have ended: sessions are closed on the way out
  print("all tasks cancelled")
end
loop:close()
