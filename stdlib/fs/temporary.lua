--- Temporary files and folders: made under names that nobody guesses, removed when they are left.

local core = require "asyncio.core"
local files = require "fs.files"
local fs = require "fs.core"
local path = require "fs.path"

local async, await, catch = core.async, core.await, core.catch

local M = {}

local options = { "dir", "prefix", "suffix" }
local file_options = { "dir", "prefix", "suffix", "delete" }

--- Where temporary files go: TMPDIR, or /tmp.
---@return string
function M.gettempdir()
  local ok, dir = pcall(os.getenv, "TMPDIR") -- a sandbox may refuse
  return ok and dir and dir ~= "" and dir or "/tmp"
end

local function names(opts)
  local dir, prefix, suffix = opts.dir or M.gettempdir(), opts.prefix or "tmp", opts.suffix or ""
  return function(random) return path.join(dir, prefix .. random .. suffix) end
end

local function check(opts, known, fname)
  core.options(opts, known, fname)
  opts = opts or {}
  for _, key in ipairs { "dir", "prefix", "suffix" } do
    if opts[key] ~= nil then path.check(opts[key], fname .. " " .. key) end
  end
  return opts
end

local mkstemp = async(function(opts)
  local file = files.open_new(names(opts), "x+", tonumber("600", 8))
  return file, file.path
end, "fs.mkstemp")

--- Makes and opens a file that only its owner may read and write.
---@param opts? table {dir, prefix = "tmp", suffix = ""}
---@return any awaitable of a File and its path; raises OSError
function M.mkstemp(opts)
  return mkstemp(check(opts, options, "fs.mkstemp"))
end

--- Makes a folder that only its owner may enter.
---@param opts? table {dir, prefix = "tmp"}
---@return any awaitable of its path; raises OSError
function M.mkdtemp(opts)
  opts = check(opts, { "dir", "prefix" }, "fs.mkdtemp")
  return fs.mkdtemp(path.join(opts.dir or M.gettempdir(), (opts.prefix or "tmp") .. "XXXXXX"))
end

---@class TemporaryDirectory
---@field path string
local TemporaryDirectory = {}
TemporaryDirectory.__index = TemporaryDirectory
TemporaryDirectory.__name = "TemporaryDirectory"

--- Removes it and what is in it. The second time nothing happens.
---@return any awaitable; raises OSError
TemporaryDirectory.cleanup = async(function(self)
  if self.closed then return end
  self.closed = true
  local ok, err = catch(await, fs.rmtree(self.path, false))
  if not ok and err.code ~= "ENOENT" then error(err, 0) end
end, "TemporaryDirectory.cleanup")

TemporaryDirectory.close = TemporaryDirectory.cleanup

function TemporaryDirectory:__close()
  await(self:cleanup())
end

function TemporaryDirectory:__tostring()
  return self.path
end

function TemporaryDirectory:__gc()
  if not self.closed and self.path then
    warn("ResourceWarning: unclosed <TemporaryDirectory '" .. self.path .. "'>: call close()")
  end
end

local make = async(function(opts)
  return setmetatable({ path = await(M.mkdtemp(opts)), closed = false }, TemporaryDirectory)
end, "fs.TemporaryDirectory")

--- A folder that is removed with all that is in it: `local dir <close> = await(fs.TemporaryDirectory())`.
---@param opts? table {dir, prefix = "tmp"}
---@return any awaitable of a TemporaryDirectory
function M.TemporaryDirectory(opts)
  return make(check(opts, { "dir", "prefix" }, "fs.TemporaryDirectory"))
end

local named = async(function(opts)
  local file = await(mkstemp(opts))
  if opts.delete ~= false then files.remove_on_close(file) end
  return file
end, "fs.NamedTemporaryFile")

--- A file that is removed when it is closed (unless delete = false).
---@param opts? table {dir, prefix = "tmp", suffix = "", delete = true}
---@return any awaitable of a File
function M.NamedTemporaryFile(opts)
  opts = check(opts, file_options, "fs.NamedTemporaryFile")
  return named(opts)
end

return M
