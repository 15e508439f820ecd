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

-- What f gives, or nil: who reads the file says what is wrong with it.
local function try(f, path)
  local ok, result = pcall(function() return await(f(path)) end)
  if ok then return result end
  if not core.isinstance(result, core.OSError) then error(result, 0) end
end

-- Is it a folder, or a Lua file or a link to one? What is no file could keep us waiting, and links to folders lead
-- in circles.
local function wanted(name, path)
  if name:sub(1, 1) == "." then return false end
  local stat = try(fs.lstat, path)
  if not stat or stat.type == "directory" then return stat end
  if not name:find("%.lua$") then return false end
  if stat.type == "link" then stat = try(fs.stat, path) end
  return not stat or stat.type == "file"
end

--- All paths in order: files as they are, folders for the Lua files in them and below.
---@param paths string[]
---@return string[]
function M.all(paths)
  local list = {}
  local function add(path)
    local stat = path ~= "-" and try(fs.stat, path)
    local names = stat and stat.type == "directory" and try(fs.listdir, path)
    if not names then
      list[#list + 1] = path
      return
    end
    table.sort(names)
    for _, name in ipairs(names) do
      local below = fs.path.join(path, name)
      if wanted(name, below) then add(below) end
    end
  end
  for _, path in ipairs(paths) do add(path) end
  return list
end

return M
