---@meta _

-- The globals of moonloop. Written by tools/definitions.lua.

--- Makes a coroutine function: calling it gives a coroutine and starts nothing. `async function f() end` is the same.
---@generic F: function
---@param f F
---@param name? string
---@return F
function async(f, name) end

--- Waits in the running task and gives the awaitable's values, or raises its error. `await f()` is the same.
---@async
---@generic T
---@param aw T
---@return T
---@return any ...
---@overload fun(aw: asyncio.Future): any, any, any
function await(aw) end
