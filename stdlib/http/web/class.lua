--- Classes of http.web: methods stand in the class, fields that are computed when they are asked for in its `__get`,
--- what runs when a field is set in its `__set`; all three are inherited. Other fields are the objects' own: so a
--- request or an application keeps whatever a script puts there.

local core = require "asyncio.core"
local misuse = require "asyncio.misuse"
local web_core = require "http.web.core"

local M = {}

local function inherited(base, part) return setmetatable({}, base and { __index = base[part] }) end

--- Makes a class. `Class(...)` gives what `Class.new(Class, ...)` returns; `Class:extend(name)` derives one.
---@param name string
---@param base? table
---@return table
function M.define(name, base)
  local get, set = inherited(base, "__get"), inherited(base, "__set")
  local cls = { __name = name, __get = get, __set = set, __base = base }

  cls.__index = web_core.index(cls, get)

  function cls.__newindex(self, key, value)
    local setter = set[key]
    if setter then return setter(self, value) end
    if get[key] or cls[key] ~= nil and not cls.__open then
      misuse.blame(core.TypeError, ("%s.%s cannot be set: it is of the %s's own"):format(name, key, name))
    end
    rawset(self, key, value)
  end

  function cls.extend(parent, sub)
    if type(sub) ~= "string" then
      misuse.blame(core.TypeError, name .. ":extend: a name was expected, got " .. misuse.describe(sub))
    end
    return M.define(sub, parent)
  end

  local function call(c, ...) return c.new(c, ...) end
  return setmetatable(cls, { __index = base, __name = "class " .. name, __call = call })
end

--- Is the value an object of the class, or of one derived from it?
---@param value any
---@param cls table
---@return boolean
function M.is(value, cls)
  local mt = type(value) == "table" and getmetatable(value)
  while mt do
    if mt == cls then return true end
    mt = rawget(mt, "__base")
  end
  return false
end

return M
