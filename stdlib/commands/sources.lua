--- Lua files for the subcommands that read them.

local core = require "asyncio.core"
local fs = require "fs"

local M = {}

--- The text of a file ("-": standard input), and its first line apart if it is "#...".
---@param path string
---@return string? source or nil and why
---@return string first "" or the line, without its end
function M.read(path)
  local text
  if path == "-" then
    text = io.stdin:read("a")
  else
    local ok, result = pcall(function() return await(fs.read_file(path)) end)
    if not ok then return nil, tostring(result) end
    text = result
  end
  if text:sub(1, 3) == "\xEF\xBB\xBF" then text = text:sub(4) end
  if text:sub(1, 1) ~= "#" then return text, "" end
  local first = text:match("^[^\n]*")
  return text:sub(#first + 1), first
end

--- All paths in order: files as they are, folders for the Lua files in them and below.
---@param paths string[]
---@return string[]
function M.all(paths)
  local list = {}
  local function add(path)
    local stat = path ~= "-" and await(fs.stat(path))
    if not stat or stat.type ~= "directory" then
      list[#list + 1] = path
      return
    end
    local names = await(fs.listdir(path))
    table.sort(names)
    for _, name in ipairs(names) do
      local below = fs.path.join(path, name)
      local ok, kind = pcall(function() return await(fs.lstat(below)).type end)
      if name:sub(1, 1) ~= "." and ok and (kind == "directory" or name:find("%.lua$")) then add(below) end
    end
  end
  for _, path in ipairs(paths) do
    local ok, err = pcall(add, path)
    if not ok then
      if not core.isinstance(err, core.OSError) then error(err, 0) end
      list[#list + 1] = path -- who reads it says what is wrong
    end
  end
  return list
end

return M
