--- What Tab completes: names and fields that exist, modules inside require "", files inside other strings.

local core = require "asyncio.core"

local await = core.await

local M = {}

local words = [[and break do else elseif end false for function goto if in local nil not or repeat return then true
  until while async await]]

-- ---- fields ----

--- May the function be called to find a name? The library's, and what is of C: others' may do anything.
local function is_harmless(f)
  local info = debug.getinfo(f, "S")
  return info.what == "C" or info.source:sub(1, 10) == "@moonloop/"
end

local function metafield(value, name)
  local mt = debug.getmetatable(value)
  return type(mt) == "table" and rawget(mt, name) or nil
end

--- value[key] without running what is not known.
---@param value any
---@param key string
function M.field(value, key)
  for _ = 1, 20 do
    if type(value) == "table" then
      local own = rawget(value, key)
      if own ~= nil then return own end
    end
    local index = metafield(value, "__index")
    if type(index) == "function" then
      if not is_harmless(index) then return nil end
      local ok, found = pcall(index, value, key)
      return ok and found or nil
    end
    if index == nil then return nil end
    value = index
  end
end

--- Calls add(name, value) for the fields that the value has.
local function each_field(value, add)
  for _ = 1, 20 do
    if type(value) == "table" then
      local walk = metafield(value, "__pairs")
      if type(walk) == "function" and is_harmless(walk) then
        pcall(function()
          for key, field in walk(value) do add(key, field) end
        end)
      end
      for key, field in next, value do add(key, field) end
    end
    value = metafield(value, "__index")
    if value == nil or type(value) == "function" then return end
  end
end

local function is_callable(value)
  return type(value) == "function" or metafield(value, "__call") ~= nil
end

--- The value of a chain of names, "a.b.c".
---@param chain string
---@param env table
function M.resolve(chain, env)
  local value = env
  for name in chain:gmatch "[%a_][%w_]*" do
    value = M.field(value, name)
    if value == nil then return nil end
  end
  return value
end

local function names(chain, separator, prefix, env)
  local found, list = {}, {}
  local function add(key, value)
    if type(key) ~= "string" or found[key] or key:sub(1, #prefix) ~= prefix then return end
    if not key:find "^[%a_][%w_]*$" then return end
    if key:sub(1, 1) == "_" and prefix == "" then return end
    if separator == ":" and not is_callable(value) then return end
    found[key] = true
    list[#list + 1] = key
  end
  if separator == "" then
    for word in words:gmatch "%a+" do add(word) end
    each_field(env, add)
  else
    local value = M.resolve(chain, env)
    if value ~= nil then each_field(value, add) end
  end
  table.sort(list)
  return list
end

-- ---- modules and files ----

local function modules(prefix)
  local found, list = {}, {}
  local function add(name)
    if type(name) ~= "string" or name:sub(1, #prefix) ~= prefix then return end
    -- one level at a time: "http." before "http.client.session"
    local upto = name:find(".", #prefix + 1, true)
    name = upto and name:sub(1, upto) or name
    if not found[name] then
      found[name] = true
      list[#list + 1] = name
    end
  end
  for name in next, package.loaded do
    if name ~= "_G" then add(name) end
  end
  for name in next, package.preload do add(name) end
  for _, name in ipairs(require("asyncio.embedded").modules()) do add(name) end
  local fs = require "fs"
  local folder = prefix:match "^(.*)%." or ""
  for template in package.path:gmatch "[^;]+" do
    local base, suffix = template:match "^([^?]*)%?([^?]*)$"
    if base then
      local dir = base .. folder:gsub("%.", "/")
      local ok, entries = core.catch(await, fs.listdir(dir ~= "" and dir or "."))
      for _, entry in ipairs(ok and entries or {}) do
        local head = folder ~= "" and folder .. "." or ""
        local name = suffix:sub(1, 1) == "." and entry:sub(-#suffix) == suffix and entry:sub(1, -#suffix - 1)
          or suffix:find "^/" and not entry:find(".", 1, true) and entry
        local is_folder = name and suffix:find "^/"
        if is_folder and not core.catch(await, fs.stat(dir .. "/" .. entry .. suffix)) then name = nil end
        if name and name ~= "init" then add(head .. name) end
      end
    end
  end
  table.sort(list)
  return list
end

local function files(prefix)
  local fs = require "fs"
  local folder, name = prefix:match "^(.*/)([^/]*)$"
  folder, name = folder or "", name or prefix
  local dir = folder
  if dir:sub(1, 2) == "~/" then dir = (os.getenv "HOME" or "~") .. dir:sub(2) end
  local list = {}
  core.catch(function() -- there may be no such folder
    for entry, kind in fs.scandir(dir ~= "" and dir or ".") do
      if entry:sub(1, #name) == name and (name ~= "" or entry:sub(1, 1) ~= ".") then
        if kind == "link" and await(fs.is_dir(dir .. entry)) then kind = "directory" end
        list[#list + 1] = folder .. entry .. (kind == "directory" and "/" or "")
      end
    end
  end)
  table.sort(list)
  return list
end

-- ---- where the cursor is ----

--- The string that is open at the end of the text, if one is: what stands before it, and its content so far.
local function open_string(text)
  local i, quote, from = 1, nil, nil
  while i <= #text do
    local c = text:sub(i, i)
    if quote then
      if c == "\\" then
        i = i + 1
      elseif c == quote then
        quote = nil
      end
    elseif c == '"' or c == "'" then
      quote, from = c, i
    elseif c == "-" and text:sub(i, i + 1) == "--" then
      return nil
    end
    i = i + 1
  end
  if quote then return text:sub(1, from - 1), text:sub(from + 1) end
end

--- What all of them begin with.
local function common(list)
  local first = list[1]
  local n = #first
  for _, other in ipairs(list) do
    while other:sub(1, n) ~= first:sub(1, n) do n = n - 1 end
  end
  while n > 0 and n < #first and not utf8.len(first:sub(1, n)) do n = n - 1 end
  return first:sub(1, n)
end

--- Candidates for the end of the text, and what of it they complete.
local function candidates(text, env)
  local command, rest = text:match "^%s*%.(%a+)%s+(.*)$"
  if command == "load" or command == "save" then return files(rest), rest end
  if text:match "^%s*%.%a*$" and not text:match "^%s*%.%.%." then
    local prefix, list = text:match "%.(%a*)$", {}
    for name in next, require("repl.commands").list do
      if name:sub(1, #prefix) == prefix then list[#list + 1] = name end
    end
    table.sort(list)
    return list, prefix
  end
  local before, content = open_string(command and rest or text)
  if before then
    if before:find "require%s*%(?%s*$" then return modules(content), content end
    return files(content), content
  end
  local chain = text:match "[%a_][%w_.:]*$" or ""
  local ahead = text:sub(1, #text - #chain)
  if ahead:find "[\"']%s*%)?:$" and not chain:find "[.:]" then return names("string", ":", chain, _G), chain end
  if ahead:find "[^.][.:]$" or ahead:find "[%)%]]$" then return {}, "" end -- of an expression: its value is not known
  local base, separator, prefix = chain:match "^(.*)([.:])([%w_]*)$"
  if not base then return names("", "", chain, env), chain end
  return names(base, separator, prefix, env), prefix
end

--- Completes the text before the cursor. Gives how many characters to remove before it, what to put there, and the
--- list of what is possible if that is to be shown.
---@param line string
---@param cursor integer bytes before it
---@param env table
---@return integer drop, string insert, string[]? list
function M.complete(line, cursor, env)
  local text = line:sub(1, cursor):match "[^\n]*$"
  if not text:find "%S" then return 0, "  " end
  local list, prefix = candidates(text, env)
  if #list == 0 then return 0, "" end
  local all = common(list)
  if #all > #prefix then return 0, all:sub(#prefix + 1) end
  if #list == 1 then return 0, "" end
  for i, name in ipairs(list) do list[i] = name:match "[^/]+/?$" or name end
  return 0, "", list
end

return M
