--- Where a body goes: a file that is written while the next bytes come, or standard output.

local core = require "asyncio.core"
local fs = require "fs"

local await, catch = core.await, core.catch

local M = {}

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
  local self = setmetatable({ file = file, path = path, size = offset }, File)
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

function File:write(data)
  local file, at = self.file, 0
  self.size = self.size + #data
  while at < #data do
    local n = file:_add(data, at)
    if n == 0 then await(file:_spill()) end
    at = at + n
  end
end

--- Takes at most n bytes of a response's content. Gives their number; nil at its end.
---@param content http.client.Content
---@param n integer
---@return integer?
function File:receive(content, n)
  local got = content:_into(self.file, n)
  while got == 0 do
    await(self.file:_spill())
    got = content:_into(self.file, n)
  end
  if type(got) == "string" then
    self:write(got)
    return #got
  end
  self.size = self.size + (got or 0)
  return got
end

-- What has come is on its way into the file; then that has been written.
local function flush(self)
  await(self.file:_spill())
  await(self.file:_spill())
end

--- Everything is in the file, and that closed; what could not be written is raised.
function File:finish()
  flush(self)
  await(self.file:close())
end

--- On the way out, for whatever reason: what has come is kept.
function File:__close()
  local file = self.file
  if file.closed then return end
  catch(flush, self)
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

function Stdout:receive(content, n)
  local data = await(content:read(n))
  if not data then return nil end
  self:write(data)
  return #data
end

function Stdout:finish() end

Stdout.__close = Stdout.finish

return M
