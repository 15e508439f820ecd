--- The player: goes and shoots as the keys say.
local shot = require "shot"
local world = require "world"

local M = { GLYPH = "@", COLOUR = "white" }

local ways = { up = { 0, -1 }, down = { 0, 1 }, left = { -1, 0 }, right = { 1, 0 } }

local function take(gem)
  gem:die()
  world.gems = world.gems + 1
  world.show_state()
end

--- One step; what stands in the way is met instead.
function M.go(player, dx, dy)
  local x, y = player.x + dx, player.y + dy
  local wall, thing = world.wall(x, y), world.at(x, y)
  player.way = { dx, dy }
  if wall == "door" then
    if world.gems >= world.needed then return world.finish "won" end
    return print "The door is locked."
  elseif wall then
    return
  elseif thing and require(thing.kind).meet then
    return require(thing.kind).meet(thing)
  elseif thing and thing.kind == "gem" then
    take(thing)
  end
  player:go(x, y)
end

function M.act(player, key)
  if ways[key] then
    M.go(player, table.unpack(ways[key]))
  elseif key == "space" then
    local dx, dy = table.unpack(player.way or ways.right)
    world.start(shot.fly, player.x, player.y, dx, dy)
  end
end

function M.live(player)
  while player.alive do M.act(player, await game.key()) end
end

return M
