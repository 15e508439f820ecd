-- A resource whose opening and closing wait.
--   moonloop scripts/async_context_manager.lua

local asyncio = require "asyncio"

local AsyncResource = {}
AsyncResource.__index = AsyncResource

async function AsyncResource:__aenter()
  print("Opening resource")
  await asyncio.sleep(1)
  return self
end

async function AsyncResource.__aexit(_self, _err)
  print("Closing resource")
  await asyncio.sleep(1)
end

local async function main()
  async with setmetatable({}, AsyncResource) as _resource do
    print("Using resource")
  end
end

asyncio.run(main())

-- The same as a to-be-closed variable: __close may wait too.
local Resource = {}
Resource.__index = Resource

local async function open_resource()
  print("Opening resource")
  await asyncio.sleep(1)
  return setmetatable({}, Resource)
end

function Resource:__close()
  print("Closing resource")
  await asyncio.sleep(1)
end

async function main()
  local _resource <close> = await open_resource()
  print("Using resource")
end

asyncio.run(main())
