--- Writes share/luals/library, what lua-language-server knows of the library: LuaCATS definitions of every module.
---   build/moonloop tools/definitions.lua FOLDER
--- Types are written by hand, in tools/definitions/*.defs; what a function or option is for is said by the reference
--- pages (tools.definitions.reference); fields of classes that have `fields` by the annotations in stdlib; constants
--- and classes of errors are those that the modules have.
---
--- A .defs file has sections: `module NAME @ PAGE/PREFIX`, `class NAME [: BASE] [@ PAGE/OBJECT]`, `table NAME`,
--- `opts NAME [@ PAGE/HEADING]`, and in them lines
---   [async] [<T>] name(param?: type, ...): type, type -- what it does   a function, of a class a method
---   overload fun(...): type         another way to call the function before it
---   static name(...)   (params)     a function of the class itself; what makes an object
---   .name[?] type what it is        a field
---   fields | index K: V | call fun() | op name(type): type | alias NAME = type

local asyncio = require "asyncio"
local files = require "tools.files"
local luacats = require "tools.definitions.luacats"
local reference = require "tools.definitions.reference"

local out = assert(arg[1], "usage: tools/definitions.lua FOLDER")

local MODULES = {
  "globals", "asyncio", "asyncio.testing", "time", "tty", "signal", "socket", "ssl", "json", "zlib", "brotli",
  "mime", "task", "reload", "pickle", "url", "fs",
  "concurrent.futures", "multiprocessing", "http", "http.websocket", "http.web", "http.testing",
}

local function lines_of(path)
  local list = {}
  for line in io.lines(path) do list[#list + 1] = line end
  return list
end

-- ---- what is read ----

--- Fields of the classes in stdlib: class -> lines of ---@field.
local function annotated_fields()
  local classes = {}
  for _, path in ipairs(files.list("find stdlib -name '*.lua' | LC_ALL=C sort")) do
    local class
    for _, line in ipairs(lines_of(path)) do
      local name = line:match("^%-%-%-@class ([%w_.]+)")
      if name then
        class = classes[name] or {}
        classes[name] = class
      elseif class and line:find("^%-%-%-@field ") then
        class[#class + 1] = line
      elseif not line:find("^%-%-%-") then
        class = nil
      end
    end
  end
  return classes
end

local fields_of = annotated_fields()

local pages = {}

local function page(name)
  local path = name == "reference" and "docs/reference.md" or "docs/reference/" .. name .. ".md"
  pages[name] = pages[name] or reference.page(path)
  return pages[name], path
end

--- What the reference says of a name of a module, maybe on another page.
local function said_of(module, name)
  if not module.page then return nil end
  local key = module.object .. "." .. name
  for _, name_of_page in ipairs { module.page, "serving", "websocket", "client" } do
    local entry = page(name_of_page)[key]
    if entry and entry.text then return entry.text:find(":$") and "" or entry.text end
  end
end

--- "(a: T, b?: U): V -- text" -> params, returns, text
local function signature(rest, where)
  local close = rest:match("^%b()()")
  assert(close, where .. ": parentheses were expected")
  local params = {}
  for _, item in ipairs(luacats.split(rest:sub(2, close - 2), ",")) do
    local name, optional, kind = item:match("^([%w_.]+)(%??):%s*(.+)$")
    assert(name, where .. ": a parameter without a type: " .. item)
    params[#params + 1] = { name = name, optional = optional, type = kind }
  end
  local tail = rest:sub(close)
  local said = tail:match("^.- %-%- (.*)$") or tail:match("^%-%- (.*)$")
  local returns = tail:gsub("%s*%-%- .*$", ""):match("^:%s*(.-)%s*$")
  local list = not returns and {} or returns:find("^fun%(") and { returns } or luacats.split(returns, ",")
  return params, list, said
end

local function read_function(line, where)
  local f = { static = false, async = false }
  local rest = line
  for _, flag in ipairs { "static", "async" } do
    local after = rest:match("^" .. flag .. " (.*)$")
    if after and not after:find("^%(") then
      f[flag], rest = true, after
    end
  end
  f.generic, rest = (rest:match("^%b<>") or ""):sub(2, -2), rest:gsub("^%b<>%s*", "")
  f.name = rest:match("^[%w_]*")
  f.params, f.returns, f.said = signature(rest:sub(#f.name + 1), where)
  return f
end

local function read_field(line, where)
  local name, optional, rest = line:match("^%.([%w_]+)(%??) (.*)$")
  assert(name, where .. ": a field was expected")
  local _, last = luacats.type(rest)
  return { name = name .. optional, type = rest:sub(1, last), said = rest:sub(last + 2) }
end

local function header(line)
  local kind, rest = line:match("^(%l+) (.*)$")
  local section = { kind = kind, functions = {}, fields = {}, extra = {} }
  local doc = rest:match(" @ (.*)$")
  rest = rest:gsub(" @ .*$", "")
  section.name, section.base = rest:match("^([%w_.]+)%s*:?%s*(.*)$")
  if section.base == "" then section.base = nil end
  if doc then section.page, section.object = doc:match("^([%w]+)/(.*)$") end
  return section
end

local kinds = { module = true, class = true, table = true, opts = true }

--- A .defs file: aliases, and sections in their order.
local function read_defs(name)
  local defs = { aliases = {}, sections = {} }
  local path, section = "tools/definitions/" .. name .. ".defs", nil
  for number, line in ipairs(lines_of(path)) do
    local where = path .. ":" .. number
    if line == "global" or kinds[line:match("^(%l+) [%l%u]")] then
      section = header(line == "global" and "global _" or line)
      defs.sections[#defs.sections + 1] = section
    elseif line:find("^alias ") then
      defs.aliases[#defs.aliases + 1] = { line:match("^alias ([%w_.]+) = (.*)$") }
    elseif line == "fields" then
      section.annotated = true
    elseif line:find("^index ") then
      section.extra[#section.extra + 1] = ("---@field [%s] %s"):format(line:match("^index (.-): (.*)$"))
    elseif line:find("^call ") then
      section.extra[#section.extra + 1] = "---@overload " .. line:match("^call (.*)$")
    elseif line:find("^op ") then
      section.extra[#section.extra + 1] = "---@operator " .. line:match("^op (.*)$")
    elseif line:find("^overload ") then
      section.functions[#section.functions].overload = line:match("^overload (.*)$")
    elseif line:find("^%(") then
      section.make = read_function(line, where)
    elseif line:find("^%.") then
      section.fields[#section.fields + 1] = read_field(line, where)
    elseif line ~= "" and not line:find("^#") then
      section.functions[#section.functions + 1] = read_function(line, where)
    end
  end
  return defs
end

-- ---- what the modules have ----

local class_of = {} -- a value that modules have -> the class's name in the definitions
local is_error = {} -- such a value -> its bases, classes of errors

local function bases_of(value)
  local bases = {}
  if rawget(value, "__base") then bases[1] = rawget(value, "__base") end
  local also = rawget(value, "__also")
  if also and rawget(bases[1], "__also") ~= also then bases[#bases + 1] = also end
  return bases
end

local function derived(class, base)
  while type(class) == "table" and class ~= base do class = rawget(class, "__base") end
  return class == base
end

local function exports(name)
  if name == "globals" then return {} end
  local list = {}
  for key, value in pairs(require(name)) do
    if type(key) == "string" and key:sub(1, 1) ~= "_" then list[key] = value end
  end
  return list
end

local function sorted(t)
  local keys = {}
  for key in next, t do keys[#keys + 1] = key end
  table.sort(keys)
  return keys
end

-- ---- what is written ----

local function wrap(lines, text)
  if text == "" then return end
  local line = "---"
  for word in text:gmatch("%S+") do
    if #line + #word + 1 > 118 then
      lines[#lines + 1] = line
      line = "---"
    end
    line = line .. " " .. word
  end
  lines[#lines + 1] = line
end

local function fun_type(f, class)
  local params = {}
  for i, p in ipairs(f.params) do
    params[i] = ("%s%s: %s"):format(p.name, p.optional, p.type:find("^fun%(") and "(" .. p.type .. ")" or p.type)
  end
  return ("fun(%s): %s"):format(table.concat(params, ", "), class)
end

local function write_function(lines, f, owner, separator, said)
  lines[#lines + 1] = ""
  local text = f.said or said
  if text then wrap(lines, text) end
  if f.async then lines[#lines + 1] = "---@async" end
  if f.generic ~= "" then lines[#lines + 1] = "---@generic " .. f.generic end
  local names = {}
  for i, p in ipairs(f.params) do
    names[i] = p.name
    if p.name ~= "self" then lines[#lines + 1] = ("---@param %s%s %s"):format(p.name, p.optional, p.type) end
  end
  for _, r in ipairs(f.returns) do
    lines[#lines + 1] = "---@return " .. (r:find("^%.%.%.") and r:sub(4) .. " ..." or r)
  end
  if f.overload then lines[#lines + 1] = "---@overload " .. f.overload end
  if names[1] == "self" then
    table.remove(names, 1)
    separator = ":"
  end
  lines[#lines + 1] = ("function %s%s%s(%s) end"):format(owner, separator, f.name, table.concat(names, ", "))
end

local function field_line(field)
  return (("---@field %s %s %s"):format(field.name, field.type, field.said):gsub("%s+$", ""))
end

-- The fields of a section: those of .defs, then those of the annotations in stdlib.
local function write_fields(lines, section)
  local said, seen = {}, {}
  if section.kind == "opts" and section.page then
    local _, path = page(section.page)
    said = reference.options(path, section.object)
  end
  for _, field in ipairs(section.fields) do
    local name = field.name:gsub("%?", "")
    seen[name] = true
    if field.said == "" then field.said = said[name] or "" end
    lines[#lines + 1] = field_line(field)
  end
  for _, line in ipairs(section.annotated and fields_of[section.name] or {}) do
    if not seen[line:match("^%-%-%-@field ([%w_]+)")] then lines[#lines + 1] = line end
  end
  for _, line in ipairs(section.extra) do lines[#lines + 1] = line end
end

local function local_name(name) return name:match("[%w_]+$") end

local function write_class(lines, section, module)
  local object, own = section.page and page(section.page) or {}, local_name(section.name)
  lines[#lines + 1] = ""
  local made = said_of(module, own)
  if made then wrap(lines, made) end
  lines[#lines + 1] = "---@class " .. section.name .. (section.base and ": " .. section.base or "")
  write_fields(lines, section)
  if section.kind == "opts" then return end
  if section.make then lines[#lines + 1] = "---@overload " .. fun_type(section.make, section.name) end
  lines[#lines + 1] = ("local %s = {}"):format(own)
  for _, f in ipairs(section.functions) do
    local key = (section.object or "") .. (section.kind == "table" and "." or ":") .. f.name
    local entry = object[key] or object[section.name .. "." .. f.name]
    write_function(lines, f, own, (f.static or section.kind == "table") and "." or ":", entry and entry.text)
  end
end

local function type_of(name, value)
  local kind = math.type(value) or type(value)
  return class_of[value] or kind == "float" and "number" or kind == "table" and name or kind
end

-- A table of constants, as WSMsgType.
local function write_table(lines, name, value)
  lines[#lines + 1] = ""
  lines[#lines + 1] = "---@class " .. name
  for _, key in ipairs(sorted(value)) do
    if type(key) == "string" and key:sub(1, 1) ~= "_" then
      lines[#lines + 1] = ("---@field %s %s"):format(key, type_of(name, value[key]))
    end
  end
end

-- What HTTP errors take before their options.
local http_arguments = {
  HTTPMove = "location: string|url.URL, ",
  HTTPMethodNotAllowed = "method: string, allowed: string[], ",
  HTTPRequestEntityTooLarge = "max_size: integer, actual_size: integer, ",
  HTTPUnavailableForLegalReasons = "link?: string|url.URL, ",
}

local function write_error(lines, module, key, value)
  local name = module.name .. "." .. key
  local bases = {}
  for i, base in ipairs(is_error[value]) do bases[i] = class_of[base] end
  lines[#lines + 1] = ""
  local made = said_of(module, key)
  if made then wrap(lines, made) end
  lines[#lines + 1] = "---@class " .. name .. (bases[1] and ": " .. table.concat(bases, ", ") or "")
  local make = "fun(message?: any, fields?: table): "
  if module.name == "http.web" then
    local arguments = http_arguments[key] or derived(value, require("http.web").HTTPMove) and http_arguments.HTTPMove
    make = ("fun(%sopts?: http.web.ResponseOptions): "):format(arguments or "")
  end
  lines[#lines + 1] = "---@overload " .. make .. name
  lines[#lines + 1] = ("local %s = {}"):format(key)
end

local function write(name, lines)
  files.write(out .. "/" .. name .. ".lua", table.concat(lines, "\n") .. "\n")
end

-- The module's own table: what it is besides its functions.
local function write_module(lines, module, has, written)
  local own = local_name(module.name)
  local values, given = {}, {}
  for _, field in ipairs(module.fields) do given[field.name] = true end
  for _, f in ipairs(module.functions) do given[f.name] = true end
  for _, key in ipairs(sorted(has)) do
    if not given[key] then
      if written[key] then
        values[#values + 1] = key
      else
        local kind = type_of(module.name .. "." .. key, has[key])
        module.fields[#module.fields + 1] = { name = key, type = kind, said = said_of(module, key) or "" }
      end
    end
  end
  lines[#lines + 1] = ""
  lines[#lines + 1] = "---@class " .. module.name
  write_fields(lines, module)
  lines[#lines + 1] = ("local %s = {}"):format(own)
  for _, key in ipairs(values) do lines[#lines + 1] = ("%s.%s = %s"):format(own, key, key) end
  for _, f in ipairs(module.functions) do
    write_function(lines, f, own, ".", said_of(module, f.name))
  end
  lines[#lines + 1] = ""
  lines[#lines + 1] = "return " .. own
end

local function write_globals(defs)
  local lines = { "---@meta _", "", "-- The globals of moonloop. Written by tools/definitions.lua." }
  for _, f in ipairs(defs.sections[1].functions) do
    write_function(lines, f, "", "", nil)
    lines[#lines] = lines[#lines]:gsub("function%s+", "function ")
  end
  write("globals", lines)
end

-- Errors after what they are derived from.
local function error_order(has, name)
  local order, done = {}, {}
  local function visit(value)
    for _, base in ipairs(is_error[value]) do
      if is_error[base] then visit(base) end
    end
    if not done[value] and class_of[value]:match("^(.*)%.") == name then
      done[value] = true
      order[#order + 1] = value
    end
  end
  for _, key in ipairs(sorted(has)) do
    if is_error[has[key]] then visit(has[key]) end
  end
  return order
end

local function write_file(name, defs, has)
  if name == "globals" then return write_globals(defs) end
  local module = defs.sections[1]
  local lines = { "---@meta " .. name, "", "-- Module " .. name .. ". Written by tools/definitions.lua." }
  local written = {}
  if #defs.aliases > 0 then lines[#lines + 1] = "" end
  for _, alias in ipairs(defs.aliases) do lines[#lines + 1] = ("---@alias %s %s"):format(alias[1], alias[2]) end
  for _, value in ipairs(error_order(has, name)) do
    local key = local_name(class_of[value])
    if not defs.classes[class_of[value]] then
      write_error(lines, module, key, value)
      written[key] = true
    end
  end
  for i = 2, #defs.sections do
    local section, key = defs.sections[i], local_name(defs.sections[i].name)
    write_class(lines, section, module)
    if section.kind == "class" and has[key] ~= nil and class_of[has[key]] == section.name then written[key] = true end
  end
  for _, key in ipairs(sorted(has)) do
    local value = has[key]
    local own = type(value) == "table" and class_of[value] == name .. "." .. key
    if own and not is_error[value] and not defs.classes[class_of[value]] then
      write_table(lines, class_of[value], value)
    end
  end
  write_module(lines, module, has, written)
  write(name, lines)
end

local all, has = {}, {}
for _, name in ipairs(MODULES) do
  all[name], has[name] = read_defs(name), exports(name)
  all[name].classes = {}
  for _, section in ipairs(all[name].sections) do all[name].classes[section.name] = section end
end
for _, name in ipairs(MODULES) do
  for key, value in pairs(has[name]) do
    local full = name .. "." .. key
    if all[name].classes[full] then class_of[value] = class_of[value] or full end
  end
end
for _, name in ipairs(MODULES) do
  for _, key in ipairs(sorted(has[name])) do
    local value = has[name][key]
    if type(value) == "table" then
      if derived(value, asyncio.BaseException) then is_error[value] = bases_of(value) end
      class_of[value] = class_of[value] or name .. "." .. key
    end
  end
end
for _, name in ipairs(MODULES) do write_file(name, all[name], has[name]) end
