--- The model of scripts/web_mvc.lua: notes, in memory. Methods that could have to wait await.

local asyncio = require "asyncio"

local M = {}

---@class Notes
local Notes = {}
Notes.__index = Notes

--- A new, empty collection.
function M.Notes() return setmetatable({ list = {}, lock = asyncio.Lock() }, Notes) end

--- Adds a note; gives its number.
function Notes:add(title, text)
  local id = #self.list + 1
  self.list[id] = { id = id, title = title, text = text }
  return id
end

--- All of them, the newest first.
async function Notes:all()
  local _ <close> = await self.lock:guard()
  local all = {}
  for i = #self.list, 1, -1 do all[#all + 1] = self.list[i] end
  return all
end

--- One of them, or nil.
async function Notes:get(id)
  local _ <close> = await self.lock:guard()
  return self.list[id]
end

function Notes:close() self.list = {} end

return M
