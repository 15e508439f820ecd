--- Where a body goes: a file that is written while the next bytes come, or standard output.

local core = require "asyncio.core"
local fs = require "fs"

local await, catch = core.await, core.catch

local M = {}

local PART = 1 << 20 -- bytes that are written at a time
local MOST = 200 -- pieces of them

-- ---- files ----

---@class commands.fetch.File
---@field size integer bytes that are in the file, or on their way there
local File = {}
File.__index = File

--- Opens a file for writing from `offset` on; what is behind it is cut off. Awaits by itself.
---@param new boolean? it must not be there yet
---@return commands.fetch.File
function M.file(path, offset, new)
  local file = await(fs.open(path, fs.O_WRONLY | fs.O_CREAT | (new and fs.O_EXCL or 0)))
  local self = setmetatable({ file = file, path = path, size = offset, pieces = {}, pending = 0 }, File)
  local ok, err = catch(function()
    if not await(file:stat()).is_file then return end -- a pipe, /dev/null
    await(file:truncate(offset))
    await(file:seek("set", offset))
  end)
  if not ok then
    await(file:close())
    error(err, 0)
  end
  return self
end

local function flush(self)
  if self.writing then
    local writing = self.writing
    self.writing = nil
    await(writing)
  end
  if self.pending == 0 then return end
  local pieces = self.pieces
  self.pieces, self.pending = {}, 0
  self.writing = core.create_task(self.file:write(table.unpack(pieces)))
end

function File:write(data)
  self.pieces[#self.pieces + 1] = data
  self.pending = self.pending + #data
  self.size = self.size + #data
  if self.pending >= PART or #self.pieces >= MOST then flush(self) end
end

--- Everything is in the file, and that closed; what could not be written is raised.
function File:finish()
  flush(self)
  flush(self)
  await(self.file:close())
end

--- On the way out, for whatever reason: what has come is kept.
function File:__close()
  local file = self.file
  if file.closed then return end
  catch(function()
    flush(self)
    flush(self)
  end)
  await(file:close())
end

-- ---- standard output ----

local Stdout = {}
Stdout.__index = Stdout

--- @param checked boolean what is no text is not shown on a terminal
function M.stdout(checked)
  return setmetatable({ size = 0, checked = checked }, Stdout)
end

function Stdout:write(data)
  if self.checked and data:find("\0", 1, true) then
    error(core.ValueError("what comes is no text: it is not shown on a terminal (-o FILE; '-o -' shows it)"), 0)
  end
  local stdout = require("asyncio").stdout
  stdout:write(data)
  await(stdout:drain())
  self.size = self.size + #data
end

function Stdout:finish() end

Stdout.__close = Stdout.finish

return M
