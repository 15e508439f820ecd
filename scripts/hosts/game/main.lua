-- Lantern, a small game: find three gems in the dark and leave by the door. Talk to the old man first.
--   build/hosts/game       in a terminal
--   build/hosts/window     in a window
-- Each file beside this one is a module that is reloaded while the game runs, as soon as it changes. What lives is a
-- task: bats await frames, ghosts sleep between their steps, the player awaits keys.

package.path = game.folder() .. "/?.lua;" .. package.path

local asyncio = require "asyncio"
local cutscene = require "cutscene"
local room = require "room"
local world = require "world"

local kinds = { ["@"] = "player", b = "bat", g = "ghost", E = "elder", ["*"] = "gem" }

math.randomseed(7) -- every game begins alike

--- Makes a thing of each letter of the room, and starts those that live.
local function populate()
  for _, mark in ipairs(world.load(room.rows)) do
    local kind = require(kinds[mark.glyph])
    local thing = world.place(kinds[mark.glyph], mark.x, mark.y, kind.GLYPH, kind.COLOUR)
    if kind.live then world.start(kind.live, thing) end
  end
end

local async function main()
  world.outcome = asyncio.get_running_loop():create_future()
  cutscene.opening(room.rows)
  populate()
  world.show_state()
  local outcome = await world.outcome
  world.stop()
  cutscene.ending(outcome)
end

await main()
