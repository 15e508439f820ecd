-- A resource whose opening and closing wait.
--   moonloop scripts/async_context_manager.lua

local asyncio = require "asyncio"

local AsyncResource = {}
AsyncResource.__index = AsyncResource

AsyncResource.__aenter = async(function(self)
  print("Opening resource")
  await(asyncio.sleep(1))
  return self
end)

AsyncResource.__aexit = async(function(_self, _err)
  print("Closing resource")
  await(asyncio.sleep(1))
end)

local main = async(function()
  asyncio.with(setmetatable({}, AsyncResource), function(_resource)
    print("Using resource")
  end)
end)

asyncio.run(main())

-- The same as a to-be-closed variable: __close may wait too.
local Resource = {}
Resource.__index = Resource

local open_resource = async(function()
  print("Opening resource")
  await(asyncio.sleep(1))
  return setmetatable({}, Resource)
end)

function Resource:__close()
  print("Closing resource")
  await(asyncio.sleep(1))
end

main = async(function()
  local _resource <close> = await(open_resource())
  print("Using resource")
end)

asyncio.run(main())
