--- What all share: the map, the things on it, the tasks that move them.
local asyncio = require "asyncio"

---@class world
---@field outcome asyncio.Future the future that ends the game: "won" or "lost"
local M = { things = {}, tasks = {}, gems = 0, hearts = 3, needed = 3 }

local walls = {} -- rows of booleans

local TILES = { ["#"] = { "#", "grey" }, ["."] = { ".", "blue" }, ["+"] = { "+", "yellow" } }

--- Draws the rows. Returns what is no tile: {glyph=, x=, y=} each.
---@param rows string[]
function M.load(rows)
  local marks = {}
  for y, row in ipairs(rows) do
    walls[y - 1] = {}
    for x = 0, #row - 1 do
      local glyph = row:sub(x + 1, x + 1)
      if not TILES[glyph] then
        marks[#marks + 1] = { glyph = glyph, x = x, y = y - 1 }
        glyph = "."
      end
      game.tile(x, y - 1, table.unpack(TILES[glyph]))
      walls[y - 1][x] = glyph == "#" or glyph == "+" and "door"
    end
  end
  return marks
end

--- nil: free; "door"; or true: a wall.
function M.wall(x, y)
  local row = walls[y // 1]
  return not row or row[x // 1] ~= false and (row[x // 1] or true) or nil
end

---------------------------------------------------------------------------------------------------
-- Things

local Thing = {}
Thing.__index = Thing

function Thing:go(x, y)
  self.x, self.y = x, y
  game.move(self.sprite, x, y)
end

function Thing:look(glyph, colour) game.look(self.sprite, glyph, colour) end

--- It is no more: its task ends where it looks at `alive` next.
function Thing:die()
  if not self.alive then return end
  self.alive = false
  game.remove(self.sprite)
  M.things[self] = nil
end

function M.place(kind, x, y, glyph, colour)
  local thing = setmetatable({ kind = kind, x = x, y = y, alive = true }, Thing)
  thing.sprite = game.sprite(x, y, glyph, colour)
  M.things[thing] = true
  if kind == "player" then M.player = thing end
  return thing
end

--- The thing of that kind (of any, if it is nil) in the cell, or nil.
function M.at(x, y, kind)
  for thing in pairs(M.things) do
    if thing.x // 1 == x // 1 and thing.y // 1 == y // 1 and (not kind or thing.kind == kind) then return thing end
  end
end

---------------------------------------------------------------------------------------------------
-- Tasks

--- f(...) as a task. What goes wrong in it is shown and ends it, not the game.
function M.start(f, ...)
  local task = asyncio.create_task((async function(...)
    local ok, err = pcall(f, ...)
    if not ok then print(tostring(err)) end
  end)(...))
  M.tasks[task] = true
  task:add_done_callback(function() M.tasks[task] = nil end)
end

function M.stop()
  for task in pairs(M.tasks) do task:cancel() end
end

---------------------------------------------------------------------------------------------------
-- The state of the game

function M.show_state()
  game.title(("Lantern   hearts %d   gems %d of %d"):format(M.hearts, M.gems, M.needed))
end

function M.finish(outcome)
  if not M.outcome:done() then M.outcome:set_result(outcome) end
end

--- A bite. For a moment everything is slow, and nothing else bites.
function M.hurt()
  if M.safe or M.hearts == 0 then return end
  M.safe = true
  M.hearts = M.hearts - 1
  M.show_state()
  if M.hearts == 0 then return M.finish "lost" end
  M.start(function()
    M.player:look("@", "red")
    game.speed(0.25)
    await asyncio.sleep(0.2)
    game.speed(1)
    await asyncio.sleep(1)
    M.player:look("@", "white")
    M.safe = false
  end)
end

return M
