--- What is written of a function: the annotations before it in its source, or its entry in the reference.

local complete = require "repl.complete"
local embedded = require "asyncio.embedded"

local M = {}

--- The Lua function behind a value: itself, that of a coroutine function, __call of a class.
local function lua_function(value)
  for _ = 1, 3 do
    if type(value) ~= "function" then
      local mt = debug.getmetatable(value)
      value = type(mt) == "table" and rawget(mt, "__call") or nil
      if type(value) ~= "function" then return nil end
    end
    if debug.getinfo(value, "S").what ~= "C" then return value end
    local ok, _, inner = pcall(debug.getupvalue, value, 1)
    if not ok then return nil end
    value = inner
  end
end

--- The block of "---" lines that ends before the line of a source, without the dashes.
local function block_before(source, line)
  local lines, block = {}, {}
  for s in (source .. "\n"):gmatch "([^\n]*)\n" do
    lines[#lines + 1] = s
    if #lines == line then break end
  end
  for i = #lines - 1, 1, -1 do
    local s = lines[i]:match "^%s*%-%-%-?%s?(.*)$"
    if not s then break end
    table.insert(block, 1, s)
  end
  if #block == 0 then return nil end
  return (lines[#lines] or ""):match "^%s*(.-)%s*$", table.concat(block, "\n")
end

--- The entry of the library's own source.
local function in_library(source, line)
  local docs = embedded.docs()
  local _, from = docs:find("\1" .. source .. "\n", 1, true)
  if not from then return nil end
  local to = docs:find("\1", from, true) or #docs + 1
  local section = docs:sub(from + 1, to - 1)
  local declaration, text = section:match(("\2%d ([^\n]*)\n([^\2]*)"):format(line))
  if declaration then return declaration, (text:gsub("\n$", "")) end
end

local function of_function(f)
  local info = debug.getinfo(f, "S")
  if info.source:sub(1, 10) == "@moonloop/" then return in_library(info.source, info.linedefined) end
  if info.source:sub(1, 1) ~= "@" then return nil end
  local fs = require "fs"
  local core = require "asyncio.core"
  local ok, source = core.catch(core.await, fs.read_file(info.source:sub(2)))
  if ok then return block_before(source, info.linedefined) end
end

--- The entry of the reference that begins with `name(`, or has it among several.
local function in_reference(name)
  local docs = embedded.docs()
  local from = 1
  while true do
    local first, last = docs:find("`" .. name, from, true)
    if not first then return nil end
    local follows = docs:sub(last + 1, last + 1)
    local begins = docs:sub(1, first):match ".*()\2"
    local line = docs:match("^[^\n]*", begins + 1)
    local head = line:find(" — ", 1, true) or #line
    if (follows == "(" or follows == "`" or follows == "{") and first - begins <= head then
      local entry = docs:match("^\2([^\1\2]*)", begins)
      return (entry:gsub("\n+$", ""))
    end
    from = last + 1
  end
end

--- Names under which the reference may have it: as it was typed, and by the type of what it is a method of.
local function names_of(chain, env)
  local list = { chain, (chain:gsub("%.([%w_]+)$", ":%1")) }
  local base, method = chain:match "^(.*)[.:]([%w_]+)$"
  local value = base and complete.resolve(base, env)
  local mt = value ~= nil and debug.getmetatable(value)
  local name = type(mt) == "table" and rawget(mt, "__name")
  if type(name) == "string" then
    name = name:match "[%w_]+$" or name
    list[#list + 1] = ("%s:%s"):format(name:lower(), method)
    list[#list + 1] = ("%s.%s"):format(name:lower(), method)
  end
  return list
end

local standard = {
  coroutine = true, debug = true, io = true, math = true, os = true, package = true, string = true, table = true,
  utf8 = true,
}

--- What is known of a name, as text; or nil. Awaits if it has to read a file.
---@param chain string such as asyncio.sleep, or session:get
---@param env table
---@return string?
function M.find(chain, env)
  local value = complete.resolve(chain, env)
  local f = value ~= nil and lua_function(value)
  if f then
    local declaration, text = of_function(f)
    if declaration then return declaration:gsub("^function [%w_.:]+", "function " .. chain) .. "\n" .. text end
  end
  for _, name in ipairs(names_of(chain, env)) do
    local entry = in_reference(name)
    if entry then return entry end
  end
  if not f then
    local library = chain:match "^(%a+)%.%a+$"
    local own = type(value) == "function" and (library and standard[library] or _G[chain] == value)
    return own and chain .. " is Lua's own: https://www.lua.org/manual/5.4/manual.html#pdf-" .. chain or nil
  end
  local info = debug.getinfo(f, "Su")
  local parameters = {}
  for i = 1, info.nparams do parameters[i] = debug.getlocal(f, i) end
  if info.isvararg then parameters[#parameters + 1] = "..." end
  return ("function(%s)  %s:%d"):format(table.concat(parameters, ", "), info.short_src, info.linedefined)
end

return M
