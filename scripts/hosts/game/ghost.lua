--- A ghost: step by step towards the player, through walls.
local asyncio = require "asyncio"
local world = require "world"

local M = { GLYPH = "g", COLOUR = "cyan", PAUSE = 0.6 } -- seconds between steps

local function towards(from, to) return from < to and from + 1 or from > to and from - 1 or from end

function M.live(ghost)
  while ghost.alive do
    await asyncio.sleep(M.PAUSE)
    local player = world.player
    ghost:look(M.GLYPH, M.COLOUR)
    ghost:go(towards(ghost.x, player.x), towards(ghost.y, player.y))
    if ghost.x == player.x and ghost.y == player.y then world.hurt() end
  end
end

return M
