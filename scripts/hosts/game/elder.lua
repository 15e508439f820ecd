--- The old man: talks to who runs into him.
local dialogue = require "dialogue"
local world = require "world"

local M = { GLYPH = "E", COLOUR = "yellow" }

M.first = {
  "Ah, a light at last. Bats have come down the chimney, and something worse through the wall.",
  "Three gems are lost in here. The door wants all of them. Your arrows fly where you went last.",
}

function M.meet(elder)
  if not elder.met then
    elder.met = true
    dialogue.say("Old man", table.unpack(M.first))
  elseif world.gems < world.needed then
    dialogue.say("Old man", ("%d to go."):format(world.needed - world.gems))
  else
    dialogue.say("Old man", "The door is in the east. Farewell!")
  end
end

return M
