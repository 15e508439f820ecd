--- shield: lets something go on when the one who waits for it is cancelled.

local core = require "asyncio.core"
local misuse = require "asyncio.misuse"
local standins = require "asyncio.standins"

local ensure_future = core.ensure_future

local M = {}

--- Protects an awaitable from being cancelled: what is returned can be cancelled and leaves the inner one running.
--- When the inner one is cancelled by other means, the outer one is too. An error of an inner one that nobody
--- waits for any more is reported.
---@param awaitable any a coroutine is made a task
---@return any future
function M.shield(awaitable)
  if type(awaitable) ~= "function" and not core.isawaitable(awaitable) then
    misuse.raise(core.TypeError, "shield: a coroutine, a future or an awaitable was expected, got "
      .. misuse.describe(awaitable))
  end
  local inner = ensure_future(awaitable)
  if inner:done() then return inner end
  local outer = inner:get_loop():create_future()
  standins[outer] = inner

  local function on_inner_done()
    if outer:done() then return end
    if inner:cancelled() then
      outer:cancel()
      return
    end
    local err = inner:exception()
    if err ~= nil then
      outer:set_exception(err)
    else
      outer:set_result(inner:result())
    end
  end

  inner:add_done_callback(on_inner_done)
  outer:add_done_callback(function()
    if not inner:done() then inner:remove_done_callback(on_inner_done) end
  end)
  return outer
end

return M
