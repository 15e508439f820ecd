--- Templates of scripts/web_mvc.lua. {{ expression }} is its value, escaped; {{! expression }} as it is; {% code %} is
--- Lua. `layout("FILE", {title = ...})` puts the page into another one, which has it as `content`. Expressions see the
--- values that the controller gave, and escape, ipairs, pairs, string, table, tostring.

local fs = require "fs"
local web = require "http.web"

local M = {}

local visible = {
  ipairs = ipairs, pairs = pairs, string = string, table = table, tostring = tostring, escape = web.escape,
}

-- The text of a template as a chunk of Lua.
local function translate(text)
  local parts, i = { "local _out, layout = ...;" }, 1
  while true do
    local first, last, kind, code = text:find("{([{%%])(.-)[}%%]}", i)
    local plain = text:sub(i, (first or 0) - 1)
    if plain ~= "" then parts[#parts + 1] = ("_out(%q);"):format(plain) end
    if not first then break end
    if kind == "%" then
      parts[#parts + 1] = code .. " "
    elseif code:sub(1, 1) == "!" then
      parts[#parts + 1] = ("_out(tostring(%s));"):format(code:sub(2))
    else
      parts[#parts + 1] = ("_out(escape(tostring(%s)));"):format(code)
    end
    i = last + 1
  end
  return table.concat(parts)
end

---@class Views
local Views = {}
Views.__index = Views

--- The templates of a folder. They are read when they are first asked for.
---@param path string
---@return Views
function M.folder(path) return setmetatable({ path = path, sources = {} }, Views) end

--- The text that a template gives with these values.
---@param name string
---@param values table
---@return string
function Views:render(name, values)
  local source = self.sources[name]
  if not source then
    source = translate(await fs.read_file(self.path .. "/" .. name))
    self.sources[name] = source
  end
  local env = setmetatable({}, { __index = function(_, key)
    local value = values[key]
    if value == nil then value = visible[key] end
    return value
  end })
  local out, outer = {}, nil
  local chunk = assert(load(source, "@" .. name, "t", env))
  chunk(function(text) out[#out + 1] = text end, function(file, more) outer = { file, more or {} } end)
  local text = table.concat(out)
  if not outer then return text end
  outer[2].content = text
  return self:render(outer[1], outer[2])
end

--- A response of it.
---@param name string
---@param values table
---@param status? integer
function Views:response(name, values, status)
  return web.Response { text = self:render(name, values), content_type = "text/html", status = status }
end

return M
