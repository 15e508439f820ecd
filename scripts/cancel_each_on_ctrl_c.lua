-- Ctrl-C cancels the tasks one by one, and with them their requests.
--   moonloop scripts/web_random.lua 8000 10 &
--   moonloop scripts/cancel_each_on_ctrl_c.lua [URL]

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

local tasks = {}
for id = 1, 3 do tasks[id] = asyncio.ensure_future(get(id)) end
local loop = asyncio.get_event_loop()

local ok, e = pcall(loop.run_until_complete, loop, asyncio.wait(tasks))
if not ok then
  if not asyncio.isinstance(e, asyncio.KeyboardInterrupt) then error(e, 0) end
  for _, task in ipairs(asyncio.all_tasks(loop)) do
    print(task:cancel())
  end
  -- until they have ended: sessions are closed on the way out
  loop:run_until_complete(asyncio.gather(tasks, { return_exceptions = true }))
end
loop:close()
