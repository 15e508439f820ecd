--- A bat: flutters about from frame to frame and bites whom it touches.
local asyncio = require "asyncio"
local world = require "world"

local M = { GLYPH = "b", COLOUR = "magenta", SPEED = 9 } -- cells a second

function M.turn(bat)
  local angle = math.random() * 2 * math.pi
  bat.dx, bat.dy = math.cos(angle), math.sin(angle) / 2 -- cells are twice as high as wide
end

--- dt seconds of its life.
function M.step(bat, dt)
  local x, y = bat.x + bat.dx * M.SPEED * dt, bat.y + bat.dy * M.SPEED * dt
  bat:look(M.GLYPH, M.COLOUR)
  if world.wall(x, y) or math.random() < dt then return M.turn(bat) end
  bat:go(x, y)
  local player = world.player
  if player.x == x // 1 and player.y == y // 1 then world.hurt() end
end

function M.live(bat)
  M.turn(bat)
  while bat.alive do M.step(bat, await asyncio.next_frame()) end
end

return M
