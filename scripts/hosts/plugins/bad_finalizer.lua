-- Its garbage never lets go, and it says that all is well.
setmetatable({}, { __gc = function() while true do end end })
collectgarbage()
return "fine"
