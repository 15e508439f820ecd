--- Which futures a task really waits for when it is suspended on one that wait, shield or a TaskGroup made for it.
--- For call graphs alone.
---
---@type table<any, any> stand-in -> a future, or an array or set of futures
return setmetatable({}, { __mode = "k" })
