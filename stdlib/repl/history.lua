--- What was typed in earlier sessions: a file with an entry on each line, kept short, for its user alone.

local core = require "asyncio.core"
local fs = require "fs"

local await = core.await

local M = {}

--- Entries that the file keeps; it is shortened when it has twice as many.
M.LIMIT = 1000

local function env(name)
  local ok, value = pcall(os.getenv, name) -- a sandbox may refuse
  return ok and value ~= "" and value or nil
end

--- Where it is: MOONLOOP_HISTORY ("" for nowhere), below XDG_STATE_HOME, or ~/.moonloop_history.
---@return string?
function M.path()
  local ok, own = pcall(os.getenv, "MOONLOOP_HISTORY")
  if ok and own then return own ~= "" and own or nil end
  local state, home = env("XDG_STATE_HOME"), env("HOME")
  if state then return state .. "/moonloop/history" end
  return home and home .. "/.moonloop_history"
end

local function encode(entry) return (entry:gsub("\\", "\\\\"):gsub("\n", "\\n")) end

local function decode(line)
  return (line:gsub("\\(.)", function(c) return c == "n" and "\n" or c end))
end

---@class repl.History
---@field path string?
---@field entries string[]
local History = {}
History.__index = History
History.__name = "repl.History"

--- Awaits to the history: what the file has, as far as it may be read.
---@param path? string
---@return repl.History
M.open = core.async(function(path)
  local self = setmetatable({ path = path, entries = {} }, History)
  local ok, content = false, nil
  if path then ok, content = core.catch(await, fs.read_file(path)) end
  if not ok then return self end
  local lines = 0
  for line in content:gmatch "[^\n]+" do
    lines = lines + 1
    self.entries[lines] = decode(line)
  end
  if lines > M.LIMIT then self.entries = table.move(self.entries, lines - M.LIMIT + 1, lines, 1, {}) end
  if lines > 2 * M.LIMIT then
    local kept = {}
    for i, entry in ipairs(self.entries) do kept[i] = encode(entry) .. "\n" end
    core.catch(await, fs.write_file(path, table.concat(kept), { atomic = true, mode = 384 }))
  end
  return self
end, "repl.history.open")

--- Remembers what was entered. Nothing that begins with a space, and not twice the same in a row.
--- Gives whether it is new.
---@param entry string
---@return boolean
function History:add(entry)
  if entry:find "^%s" or entry == "" or entry == self.entries[#self.entries] then return false end
  self.entries[#self.entries + 1] = entry
  if not self.path then return true end
  local function append()
    local file = await(fs.open(self.path, "a", 384)) -- 0600
    local _ <close> = file
    await(file:write(encode(entry), "\n"))
  end
  local ok = core.catch(append)
  if not ok and not self.tried then -- its folder may not be there
    self.tried = true
    core.catch(await, fs.mkdir(fs.path.dirname(self.path), { parents = true, exist_ok = true, mode = 448 }))
    ok = core.catch(append)
  end
  if not ok then self.path = nil end -- not allowed, no room: for this session alone
  return true
end

return M
