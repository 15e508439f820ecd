---@meta pickle

-- Module pickle. Written by tools/definitions.lua.

---@class pickle
local pickle = {}

--- Gives a string. TypeError: something cannot be copied.
---@param value any
---@return string
function pickle.dumps(value) end

--- The value. The bytes may come from anywhere: what is not right is a ValueError. The first bytes name the version
--- of the format.
---@param bytes string
---@return any
function pickle.loads(bytes) end

return pickle
