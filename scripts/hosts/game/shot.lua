--- A shot: flies straight on until it meets a wall or somebody.
local asyncio = require "asyncio"
local world = require "world"

local M = { SPEED = 40 } -- cells a second

function M.fly(x, y, dx, dy)
  local bolt <close> = setmetatable({ sprite = game.sprite(x, y, dx ~= 0 and "-" or "|", "yellow") }, {
    __close = function(self) game.remove(self.sprite) end,
  })
  local way, far = 0, 0
  while true do
    way = way + M.SPEED * await asyncio.next_frame()
    while far + 1 <= way do -- cell by cell, however long the frame was
      far, x, y = far + 1, x + dx, y + dy
      if world.wall(x, y) then return end
      local hit = world.at(x, y, "bat") or world.at(x, y, "ghost")
      if hit then return hit:die() end
      game.move(bolt.sprite, x, y)
    end
  end
end

return M
