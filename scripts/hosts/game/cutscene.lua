--- What happens before and after the game, by itself. A key skips it.
local asyncio = require "asyncio"
local world = require "world"

local M = {}

local COLUMNS = 80

--- Writes it to the middle of the picture, letter by letter; then leaves it there for some seconds.
local function tell(text, seconds)
  for n = 1, #text do
    game.caption(text:sub(1, n))
    await asyncio.sleep(0.03)
  end
  await asyncio.sleep(seconds)
end

--- Runs the scene until it ends or a key is pressed.
local function skippable(scene)
  local tasks = { asyncio.create_task(async(scene)()), asyncio.create_task(game.key()) }
  await asyncio.wait(tasks, { return_when = asyncio.FIRST_COMPLETED })
  for _, task in ipairs(tasks) do task:cancel() end
  await asyncio.wait(tasks)
  game.caption()
end

--- The light goes over the room, from left to right.
function M.opening(rows)
  world.load(rows)
  game.title "Lantern"
  skippable(function()
    for column = 0, COLUMNS do
      game.light(column)
      await asyncio.next_frame()
    end
    tell("You have found your lantern again.", 1)
    tell("You are not alone in here.", 1)
  end)
  game.light(COLUMNS)
end

---@param outcome string
function M.ending(outcome)
  skippable(function()
    if outcome == "won" then tell("The door opens. It is morning.", 1) end
    for column = COLUMNS, 0, -1 do
      game.light(column)
      await asyncio.next_frame()
    end
    tell(outcome == "won" and "The end." or "The lantern goes out.", 2)
  end)
end

return M
