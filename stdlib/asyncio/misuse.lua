--- How misuse is told: errors whose message begins with the position of whoever called wrongly.

local getinfo = debug.getinfo

local M = {}

-- Is it the standard library's?
local function own(source) return source:sub(1, 10) == "@moonloop/" or source:sub(1, 8) == "@stdlib/" end

--- Where the first caller stands that is no part of the standard library: "app.lua:12"; nil if nobody is known.
---@return string?
function M.place()
  for level = 2, 50 do
    local info = getinfo(level, "Sl")
    if not info then return nil end
    if info.currentline > 0 and not own(info.source) then
      return ("%s:%d"):format(info.short_src, info.currentline)
    end
  end
end

--- Raises an error of `class`. `level` counts as that of `error`: 1 is the function that calls, 2 (the default) its
--- caller. Where that is the standard library's own code, the first caller outside of it is named.
---@param class table the error class
---@param message string what was expected and what came
---@param level? integer
function M.raise(class, message, level)
  local info = getinfo((level or 2) + 1, "Sl")
  if info and info.currentline > 0 then
    local place = own(info.source) and M.place() or ("%s:%d"):format(info.short_src, info.currentline)
    message = place .. ": " .. message
  end
  error(class(message), 0)
end

--- Raises an error of `class` that begins with that place.
---@param class table the error class
---@param message string
function M.blame(class, message)
  local place = M.place()
  error(class(place and place .. ": " .. message or message), 0)
end

--- Raises an error for a method whose object is none: `resp.text()` where `resp:text()` is meant.
---@param class table the error class
---@param method string
---@param kind string what the object should be: "a ClientResponse"
---@param got any
function M.no_object(class, method, kind, got)
  local text = "%s: %s was expected (called with '.' instead of ':'?), got %s"
  M.blame(class, text:format(method, kind, M.describe(got)))
end

--- What a value is, for messages: "nil", "a number", "a Task".
---@param value any
---@return string
function M.describe(value)
  if value == nil then return "nil" end
  local kind = type(value)
  if kind == "table" or kind == "userdata" then
    local mt = getmetatable(value)
    local name = type(mt) == "table" and mt.__name
    if type(name) == "string" then kind = name:match("[^.]+$") or name end
  end
  return (kind:find("^[AEIOUaeio]") and "an " or "a ") .. kind
end

return M
