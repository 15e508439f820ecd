--- create_eager_task_factory: task factories whose tasks start at once.

local core = require "asyncio.core"
local misuse = require "asyncio.misuse"

local M = {}

--- Gives a task factory that makes tasks with `constructor(coroutine, opts)` and has them start at once:
--- `loop:set_task_factory(asyncio.create_eager_task_factory(constructor))`.
---@param constructor fun(coroutine: any, opts: table): any
---@return fun(loop: any, coroutine: any, opts?: table): any
function M.create_eager_task_factory(constructor)
  local mt = getmetatable(constructor)
  if type(constructor) ~= "function" and not (type(mt) == "table" and mt.__call) then
    misuse.raise(core.TypeError, "create_eager_task_factory() expects a function, not " .. misuse.describe(constructor))
  end
  return function(loop, coroutine, opts)
    local all = { loop = loop, eager_start = true }
    for key, value in next, opts or {} do all[key] = value end
    return constructor(coroutine, all)
  end
end

return M
