--- A box of text, letter by letter. Meanwhile the game's time stands still: timers wait, frames come.
local asyncio = require "asyncio"

local M = { LETTERS = 1 } -- in each frame

local function type_out(speaker, text)
  for n = 1, #text, M.LETTERS do
    game.say(speaker, text:sub(1, n))
    await asyncio.next_frame()
  end
  game.say(speaker, text .. " [key]")
end

--- One box after the other. A key shows the rest of a box, the next one takes it away.
---@param speaker string
---@param ... string
function M.say(speaker, ...)
  game.speed(0)
  local _ <close> = setmetatable({}, { __close = function()
    game.say()
    game.speed(1)
  end })
  for _, text in ipairs { ... } do
    local typing = asyncio.create_task(async(type_out)(speaker, text))
    await game.key()
    if typing:cancel() then
      game.say(speaker, text .. " [key]")
      await game.key()
    end
  end
end

return M
