--- as_completed: several awaitables in the order in which they finish.

local core = require "asyncio.core"
local misuse = require "asyncio.misuse"

local await, catch = core.await, core.catch
local isawaitable = core.isawaitable
local TypeError, TimeoutError = core.TypeError, core.TimeoutError

local M = {}

local options = { "timeout" }

--- Gives an iterator over tasks as they finish: `for task in asyncio.as_completed(aws) do local r = await(task)`.
--- It gives the tasks and futures themselves, coroutines as the tasks that were made of them, at once. After a
--- break the iterator can be called again for the rest. Raises TimeoutError from the iteration when the time is up.
---@param awaitables table an array; an awaitable that is there twice counts once
---@param opts? { timeout?: number } seconds, from the call of as_completed
---@return fun(): any
function M.as_completed(awaitables, opts)
  if type(awaitables) ~= "table" or isawaitable(awaitables) then
    misuse.raise(TypeError, "as_completed() expects an array of awaitables, not " .. misuse.describe(awaitables))
  end
  local timeout
  if opts ~= nil then
    core.options(opts, options, "as_completed")
    timeout = opts.timeout
    if timeout ~= nil and type(timeout) ~= "number" then
      local kind = misuse.describe(timeout)
      misuse.raise(TypeError, "as_completed() expects timeout to be a number of seconds, not " .. kind)
    end
  end

  local loop = core.get_event_loop()
  local finished = core.Queue() -- of futures; false once the time is up
  local todo, left, timer = {}, 0, nil -- todo: future -> true while it runs
  local total = 0

  local function on_completion(future)
    if not todo[future] then return end
    todo[future] = nil
    left = left - 1
    finished:put_nowait(future)
    if left == 0 and timer then timer:cancel() end
  end

  local function on_timeout()
    for future in next, todo do
      future:remove_done_callback(on_completion)
      finished:put_nowait(false)
    end
    todo = {}
  end

  local seen, place = {}, { loop = loop }
  for i = 1, #awaitables do
    local awaitable = awaitables[i]
    if not seen[awaitable] then
      seen[awaitable] = true
      local future = core.ensure_future(awaitable, place)
      todo[future] = true
      total = total + 1
      future:add_done_callback(on_completion)
    end
  end
  left = total
  if total > 0 and timeout then timer = loop:call_later(timeout, on_timeout) end

  local ungiven = total
  return function()
    if ungiven == 0 then return nil end
    ungiven = ungiven - 1
    local ok, future = catch(await, finished:get())
    if not ok then
      ungiven = ungiven + 1
      error(future, 0)
    end
    if not future then error(TimeoutError()) end
    return future
  end
end

return M
