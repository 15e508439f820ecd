-- frames.lua TASKS FRAMES: that many tasks await the next frame that many times each, as the entities of a game do.

local asyncio = require "asyncio"
local bench = dofile((arg[0]:match(".*/") or "") .. "bench.lua")

local tasks, frames = bench.arg(1, 10000), bench.arg(2, 200)

local entity = async(function()
  for _ = 1, frames do await(asyncio.next_frame()) end
end)

local main = async(function()
  asyncio.get_running_loop():set_frame_rate(math.huge) -- no pause between them: what is measured is CPU
  local entities = {}
  for i = 1, tasks do entities[i] = asyncio.create_task(entity()) end
  await(asyncio.next_frame())
  local started = bench.now()
  await(asyncio.gather(entities))
  bench.each(started, tasks * frames)
end)

asyncio.run(main())
