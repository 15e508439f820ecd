-- What asyncio.run does on Ctrl-C by itself: it cancels main, clean-up runs and may wait, the status is 130.
--   moonloop scripts/ctrl_c.lua

local asyncio = require "asyncio"

local async function worker(name)
  local _ <close> = setmetatable({}, {
    __close = function()
      await asyncio.sleep(0.1) -- saying goodbye takes a while
      print(name .. " cleaned up")
    end,
  })
  await asyncio.sleep(3600)
end

local async function main()
  local group <close> = asyncio.TaskGroup()
  group:create_task(worker("first"))
  group:create_task(worker("second"))
  print("waiting, press Ctrl-C")
end

asyncio.run(main())
