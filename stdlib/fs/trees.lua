--- Folders: listing, walking, making, copying and removing them.

local core = require "asyncio.core"
local fs = require "fs.core"
local misuse = require "asyncio.misuse"
local path = require "fs.path"

local async, await = core.async, core.await

local M = {}

-- ---- listing ----

---@class Scan an iterator over a folder: names and types come in batches
local Scan = {}
Scan.__index = Scan
Scan.__name = "scandir"

function Scan:__call()
  while true do
    local i = self.i
    local name = self.batch[i]
    if name then
      self.i = i + 2
      return name, self.batch[i + 1]
    end
    if self.done then return nil end
    self.dir, self.batch = await(fs.scandir(self.path, self.dir))
    self.done, self.i = self.dir == nil, 1
  end
end

--- Gives up what has not been read.
function Scan:close()
  if self.dir then self.dir:close() end
  self.dir, self.done, self.batch = nil, true, {}
end

Scan.__close = Scan.close

local function scan(name)
  return setmetatable({ path = name, i = 1, batch = {}, done = false }, Scan)
end

--- Iterates over a folder: `for name, type in fs.scandir(path) do`, in no order. Awaits by itself; a large folder is
--- read in parts.
---@param name string
---@return fun(): string?, string? iterator gives a name and "file", "directory", "link", ...; raises OSError
function M.scandir(name)
  path.check(name, "fs.scandir")
  local it = scan(name)
  return it, nil, nil, it
end

local listdir = async(function(name)
  local names, n = {}, 0
  local it <close> = scan(name)
  for entry in it do
    n = n + 1
    names[n] = entry
  end
  table.sort(names)
  return names
end, "fs.listdir")

--- The names in a folder, sorted.
---@param name? string default "."
---@return any awaitable of an array; raises OSError
function M.listdir(name)
  if name == nil then name = "." end
  path.check(name, "fs.listdir")
  return listdir(name)
end

-- ---- walking ----

local walk_options = { "topdown", "followlinks", "onerror" }

-- Folders and other names in a folder; nil and the error if it cannot be read.
local function listed(folder)
  local dirs, files, links = {}, {}, {}
  local ok, err = pcall(function()
    local it <close> = scan(folder)
    for name, kind in it do
      local into = files
      if kind == "directory" then
        into = dirs
      elseif kind == "link" and await(fs.is_dir(path.join(folder, name))) then
        into = dirs
        links[name] = true
      end
      into[#into + 1] = name
    end
  end)
  if not ok then return nil, err end
  table.sort(dirs)
  table.sort(files)
  return dirs, files, links
end

---@class Walk
local Walk = {}
Walk.__index = Walk
Walk.__name = "walk"

-- Lists a folder, or tells why not and gives nothing.
local function list(self, folder)
  local dirs, files, links = listed(folder)
  if dirs then return { folder, dirs, files, links = links } end
  if not core.isinstance(files, core.OSError) then error(files, 0) end
  if self.onerror then self.onerror(files) end
end

-- Puts the folder's subfolders on the stack, the first on top.
local function descend(self, entry)
  local folder, dirs = entry[1], entry[2]
  for i = #dirs, 1, -1 do
    if self.followlinks or not entry.links[dirs[i]] then
      self.stack[#self.stack + 1] = path.join(folder, dirs[i])
    end
  end
end

function Walk:__call()
  local stack = self.stack
  local last = self.last
  if last then -- what the caller has left in dirs is entered
    self.last = nil
    descend(self, last)
  end
  while #stack > 0 do
    local top = table.remove(stack)
    if type(top) == "table" then return table.unpack(top, 1, 3) end
    local entry = list(self, top)
    if entry and self.topdown then
      self.last = entry
      return table.unpack(entry, 1, 3)
    elseif entry then
      stack[#stack + 1] = entry
      descend(self, entry)
    end
  end
end

--- Walks a tree, as os.walk: `for folder, dirs, files in fs.walk(path) do`. Awaits by itself. Names are sorted; what is
--- removed from `dirs` on the way down is not entered.
---@param name string
---@param opts? table {topdown = true, followlinks = false, onerror = function(err)}: folders that cannot be read are
--- left out
---@return fun(): string?, string[]?, string[]?
function M.walk(name, opts)
  path.check(name, "fs.walk")
  core.options(opts, walk_options, "fs.walk")
  opts = opts or {}
  return setmetatable({
    stack = { name }, topdown = opts.topdown ~= false, followlinks = opts.followlinks, onerror = opts.onerror,
  }, Walk)
end

-- ---- patterns ----

-- The shell's pattern of one name as one of Lua's.
local function to_pattern(glob)
  local out, i = { "^" }, 1
  while i <= #glob do
    local c = glob:sub(i, i)
    local close = c == "[" and glob:find("]", i + (glob:find("^[!^]", i + 1) and 3 or 2), true)
    if c == "*" then
      out[#out + 1] = ".*"
    elseif c == "?" then
      out[#out + 1] = "."
    elseif close then
      local set = glob:sub(i + 1, close - 1)
      local no = set:find("^[!^]")
      out[#out + 1] = "[" .. (no and "^" or "") .. (no and set:sub(2) or set):gsub("[%%%]%[]", "%%%0") .. "]"
      i = close
    else
      out[#out + 1] = c:gsub("%W", "%%%0")
    end
    i = i + 1
  end
  return table.concat(out) .. "$"
end

local expand

local function expand_name(base, part, rest, out)
  local pattern, folder = to_pattern(part), base == "" and "." or base
  local ok, names = pcall(await, M.listdir(folder))
  if not ok then return end
  for _, name in ipairs(names) do
    if name:find(pattern) and (name:byte() ~= 46 or part:byte() == 46) then
      expand(path.join(base, name), rest, out)
    end
  end
end

local function expand_tree(base, rest, out)
  for folder, dirs in M.walk(base == "" and "." or base) do
    for i = #dirs, 1, -1 do
      if dirs[i]:byte() == 46 then table.remove(dirs, i) end
    end
    if base == "" then folder = folder == "." and "" or folder:sub(3) end
    if rest == "" then
      out[#out + 1] = folder ~= "" and folder or nil
    else
      expand(folder, rest, out)
    end
  end
end

expand = function(base, pattern, out)
  if pattern == "" then
    if await(fs.exists(base)) then out[#out + 1] = base end
    return
  end
  local part, rest = pattern:match("^([^/]+)/*(.*)$")
  if part == "**" then
    expand_tree(base, rest, out)
  elseif part:find("[*?[]") then
    expand_name(base, part, rest, out)
  else
    expand(path.join(base, part), rest, out)
  end
end

local glob = async(function(pattern)
  local out, seen, unique = {}, {}, {}
  local root, rest = pattern:match("^(/*)(.*)$")
  expand(root ~= "" and "/" or "", rest, out)
  table.sort(out)
  for _, name in ipairs(out) do
    if not seen[name] then unique[#unique + 1] = name end
    seen[name] = true
  end
  return unique
end, "fs.glob")

--- The paths that a pattern of the shell stands for, sorted: `*`, `?`, `[a-z]`, `[!a-z]`, and `**` for any folders.
--- Names that begin with a dot must be asked for.
---@param pattern string
---@return any awaitable of an array
function M.glob(pattern)
  path.check(pattern, "fs.glob")
  return glob(pattern)
end

-- ---- making, copying, removing ----

local mkdir_options = { "parents", "exist_ok", "mode" }

local mkdir_existing = async(function(name, mode)
  local ok, err = pcall(await, fs.mkdir(name, mode))
  if ok or err.code == "EEXIST" and await(fs.is_dir(name)) then return end
  error(err, 0)
end, "fs.mkdir")

--- Makes a folder. With `parents` those above it too; with `exist_ok` it may be there already.
---@param name string
---@param opts? table {parents = false, exist_ok = false, mode = 0777}
---@return any awaitable; raises OSError
function M.mkdir(name, opts)
  core.options(opts, mkdir_options, "fs.mkdir")
  path.check(name, "fs.mkdir")
  opts = opts or {}
  local mode = opts.mode or tonumber("777", 8)
  if math.type(mode) ~= "integer" then
    misuse.raise(core.TypeError, "fs.mkdir: mode must be an integer, got " .. misuse.describe(mode))
  end
  if opts.parents then return fs.makedirs(name, mode, opts.exist_ok) end
  if opts.exist_ok then return mkdir_existing(name, mode) end
  return fs.mkdir(name, mode)
end

local rmtree_options = { "ignore_errors" }

--- Removes a folder and all that is in it. Links are removed, not followed.
---@param name string
---@param opts? table {ignore_errors = false}: what cannot be removed is left
---@return any awaitable; raises OSError
function M.rmtree(name, opts)
  core.options(opts, rmtree_options, "fs.rmtree")
  return fs.rmtree(name, opts and opts.ignore_errors)
end

local copytree_options = { "dirs_exist_ok" }

local copytree = async(function(src, dst, exist_ok)
  for folder, dirs, names in M.walk(src, { onerror = function(err) error(err, 0) end }) do
    local to = folder == src and dst or path.join(dst, folder:sub(#src + (src:sub(-1) == "/" and 1 or 2)))
    await(M.mkdir(to, { parents = folder == src, exist_ok = exist_ok, mode = await(fs.stat(folder)).mode | 448 }))
    for _, some in ipairs { dirs, names } do
      for _, name in ipairs(some) do
        local from = path.join(folder, name)
        local kind = await(fs.lstat(from)).type
        if kind == "link" then
          await(fs.symlink(await(fs.readlink(from)), path.join(to, name)))
        elseif kind == "file" then
          await(fs.copyfile(from, path.join(to, name)))
        end
      end
    end
  end
end, "fs.copytree")

--- Copies a folder and all that is in it. Links stay links; sockets, devices and the like are left out.
---@param src string
---@param dst string must not be there, unless
---@param opts? table {dirs_exist_ok = false}
---@return any awaitable; raises OSError
function M.copytree(src, dst, opts)
  core.options(opts, copytree_options, "fs.copytree")
  path.check(src, "fs.copytree")
  path.check(dst, "fs.copytree")
  return copytree(src, dst, opts and opts.dirs_exist_ok)
end

return M
