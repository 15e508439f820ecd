--- .busted: what a project has written down of how its tests are run. A Lua file that gives a table of tasks, each a
--- table of busted's options: `_all` holds for all of them, `default` where no task is named.

local options = require "commands.options"

local M = {}

local function misuse(...) return options.misuse("test", ...) end

local function is_file(path)
  local f = io.open(path)
  if f then f:close() end
  return f ~= nil
end

-- Texts: of a table, or of one text, which commas divide where there is a separator.
local function texts(name, value, divided)
  local list = {}
  for _, item in ipairs(type(value) == "table" and value or { value }) do
    if type(item) ~= "string" then misuse("%s of .busted: a text was expected, got a %s", name, type(item)) end
    for part in item:gmatch(divided and "[^,]+" or "[^\0]+") do list[#list + 1] = part end
  end
  return list
end

local function one_of(kind, what)
  return function(name, value)
    if type(value) ~= kind then misuse("%s of .busted: %s was expected, got a %s", name, what, type(value)) end
    return value
  end
end

local text, flag = one_of("string", "a text"), one_of("boolean", "true or false")
local function list(name, value) return texts(name, value) end
local function divided(name, value) return texts(name, value, true) end

local function number(name, value)
  local n = math.tointeger(tonumber(value))
  if not n or n < 1 then misuse("%s of .busted: a positive number was expected, got '%s'", name, tostring(value)) end
  return n
end

local function seconds(name, value)
  local n = options.value("duration", tostring(value))
  if not n or n == 0 then misuse("%s of .busted: a positive time was expected, got '%s'", name, tostring(value)) end
  return n
end

-- By busted's names, and by those of options that busted does not have. What is not here (sounds, other interpreters)
-- is passed over.
local known = {
  ROOT = list, pattern = list, ["exclude-pattern"] = list, tags = divided, ["exclude-tags"] = divided, filter = list,
  ["filter-out"] = list, output = text, verbose = flag, list = flag, helper = text, Xhelper = divided,
  Xoutput = divided, lpath = text, cpath = text, e = list, lang = text, lazy = flag, ["auto-insulate"] = flag,
  recursive = flag, ["keep-going"] = flag, ["repeat"] = number, seed = number, shuffle = flag, sort = flag,
  ["shuffle-files"] = flag, ["shuffle-tests"] = flag, ["sort-files"] = flag, ["sort-tests"] = flag,
  ["suppress-pending"] = flag, loaders = divided, coverage = flag, ["coverage-config-file"] = text,
  ["defer-print"] = flag,
  timeout = seconds, ["real-time"] = flag, ["no-leaks"] = flag, ["no-loop"] = flag, ["fail-fast"] = flag,
}

-- The table of tasks that the file gives.
local function tasks(path)
  local chunk, why = loadfile(path)
  if not chunk then misuse("%s", why) end
  local ok, value = pcall(chunk)
  if not ok then misuse("%s: %s", path, tostring(value)) end
  if type(value) ~= "table" then misuse("%s: a table was expected, got a %s", path, type(value)) end
  return value
end

--- The options of the task in the file, by name (dashes are "_"); {} without a file.
---@param path string? that of another file than .busted, which must be there
---@param task string? default
---@return table<string, any>
function M.read(path, task)
  local found = {}
  if path and not is_file(path) then misuse("--config-file: '%s' is not there", path) end
  if not path and not is_file(".busted") then
    if task then misuse("--run: there is no .busted that has a task '%s'", task) end
    return found
  end
  local all = tasks(path or ".busted")
  if task and type(all[task]) ~= "table" then misuse("--run: %s has no task '%s'", path or ".busted", task) end
  local function take(given)
    if type(given) ~= "table" then return end
    for name, check in next, known do
      local key = name:gsub("-", "_")
      if given[name] ~= nil and found[key] == nil then found[key] = check(name, given[name]) end
    end
    for _, name in ipairs { "shuffle", "sort" } do -- of both, unless one of them is named
      for _, what in ipairs { "_files", "_tests" } do
        if found[name .. what] == nil then found[name .. what] = given[name] end
      end
    end
  end
  take(all[task or "default"])
  take(all._all)
  return found
end

return M
