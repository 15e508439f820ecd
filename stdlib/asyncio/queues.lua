--- Queue, PriorityQueue, LifoQueue: those of the core, with an iterator.

local core = require "asyncio.core"

local await, isinstance, QueueShutDown = core.await, core.isinstance, core.QueueShutDown

local function finish(ok, item)
  if ok then return item end
  if isinstance(item, QueueShutDown) then return nil end
  error(item, 0)
end

local function next_item(queue)
  if not queue:empty() then return queue:get_nowait() end
  return finish(pcall(await, queue:get()))
end

--- Iterates over the items as they come: `for item in queue:items() do`. Ends when the queue was shut down and is
--- empty.
local function items(queue)
  return next_item, queue
end

local M = {}

for _, name in ipairs { "Queue", "PriorityQueue", "LifoQueue" } do
  M[name] = core[name]
  core[name].methods.items = items
end

return M
