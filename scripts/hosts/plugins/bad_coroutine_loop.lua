-- Hides its loop in coroutines.
local function nest(depth)
  if depth > 0 then return coroutine.wrap(nest)(depth - 1) end
  while true do end
end
while true do pcall(nest, 20) end
