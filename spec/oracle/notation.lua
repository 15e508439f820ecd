--- Programs as text: JSON, whose keys are sorted, so that equal programs have equal texts.

local json = require "json"

local M = {}

-- Programs have no empty objects: a table with nothing in it is an array.
local function marked(value)
  if type(value) ~= "table" then return value end
  local copy = {}
  for k, v in next, value do copy[k] = marked(v) end
  return next(copy) == nil and json.array() or copy
end

---@param value any
---@return string
function M.encode(value) return json.encode(marked(value), { sort_keys = true }) end

M.decode = json.decode

return M
