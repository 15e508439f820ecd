--- Lists of an application: its signals, to which handlers are appended, and its middlewares. Once the application runs
--- they are frozen.

local class = require "http.web.class"
local core = require "asyncio.core"
local misuse = require "asyncio.misuse"

local async, await = core.async, core.await

local M = {}

---@class http.web.FrozenList
local FrozenList = class.define("FrozenList")
M.FrozenList = FrozenList

local function refuse(name)
  misuse.blame(core.RuntimeError, name .. " is frozen: append to it before the application runs")
end

-- The items are in the list itself, so that #, ipairs and table.insert work.
function FrozenList.new(cls, name, items)
  local list = setmetatable({}, cls)
  rawset(list, "_name", name)
  for i, item in ipairs(items or {}) do rawset(list, i, item) end
  return list
end

function FrozenList.__newindex(self, key, value)
  if self._frozen then refuse(self._name) end
  rawset(self, key, value)
end

--- Adds an item at the end.
---@param item any
function FrozenList:append(item)
  if self._frozen then refuse(self._name) end
  if item == nil then misuse.blame(core.TypeError, self._name .. ":append: a value was expected, got nil") end
  rawset(self, #self + 1, item)
  return item
end

--- No further items.
function FrozenList:freeze() rawset(self, "_frozen", true) end

---@class http.web.Signal : http.web.FrozenList
local Signal = class.define("Signal", FrozenList)
M.Signal = Signal
Signal.__newindex = FrozenList.__newindex

--- Adds a handler: a function or a coroutine function. Raises TypeError.
---@param handler function
---@return function
function Signal:append(handler)
  local mt = getmetatable(handler)
  local callable = type(handler) == "function" or core.iscoroutinefunction(handler) or type(mt) == "table" and mt.__call
  if not callable then
    misuse.blame(core.TypeError, ("%s:append: a function was expected, got %s"):format(self._name,
      misuse.describe(handler)))
  end
  return FrozenList.append(self, handler)
end

local send = async(function(self, ...)
  for i = 1, #self do
    local result = self[i](...)
    if core.isawaitable(result) then await(result) end
  end
end, "Signal.send")

--- Calls each of the handlers, one after the other, and awaits what they give.
---@return any awaitable
function Signal:send(...) return send(self, ...) end

return M
