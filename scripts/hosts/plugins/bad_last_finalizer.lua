-- The same when its engine is closed.
Last = setmetatable({}, { __gc = function() while true do end end })
return "fine"
