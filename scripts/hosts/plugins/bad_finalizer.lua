-- Its garbage never lets go. An engine stops it there and goes on, or its process is stopped.
setmetatable({}, { __gc = function() while true do end end })
collectgarbage()
error "the garbage is gone"
