--- Which futures a task really waits for when it is suspended on one that wait, shield or a TaskGroup made for it.
--- For call graphs alone.
---
---@type table<any, table> stand-in -> array or set of futures
return setmetatable({}, { __mode = "k" })
