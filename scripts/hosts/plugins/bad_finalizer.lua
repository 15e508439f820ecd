-- Its garbage never lets go.
setmetatable({}, { __gc = function() while true do end end })
collectgarbage()
for i = 1, 1e6 do local _ = { i } end
