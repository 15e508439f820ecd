--- Lock, Semaphore, BoundedSemaphore: those of the core, with guards.

local core = require "asyncio.core"
local extend = require("asyncio.guards").extend

local M = {}

for _, name in ipairs { "Lock", "Semaphore", "BoundedSemaphore" } do
  M[name] = core[name]
  extend(core[name].methods)
end

return M
