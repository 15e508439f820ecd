-- Goes on while it is unwound.
local function linger()
  local _ <close> = setmetatable({}, { __close = function() while true do end end })
  while true do end
end
while true do pcall(linger) end
