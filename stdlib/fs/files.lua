--- Opening files, what File has beside what fs.core gives it, and files as a whole.

local core = require "asyncio.core"
local fs = require "fs.core"
local misuse = require "asyncio.misuse"
local path = require "fs.path"

local async, await, catch = core.async, core.await, core.catch
local raise, describe = misuse.raise, misuse.describe
local O = fs.flags

local M = { File = fs.File }

-- ---- opening ----

local modes = {
  ["r"] = O.O_RDONLY,
  ["r+"] = O.O_RDWR,
  ["w"] = O.O_WRONLY | O.O_CREAT | O.O_TRUNC,
  ["w+"] = O.O_RDWR | O.O_CREAT | O.O_TRUNC,
  ["a"] = O.O_WRONLY | O.O_CREAT | O.O_APPEND,
  ["a+"] = O.O_RDWR | O.O_CREAT | O.O_APPEND,
  ["x"] = O.O_WRONLY | O.O_CREAT | O.O_EXCL,
  ["x+"] = O.O_RDWR | O.O_CREAT | O.O_EXCL,
}

local function flags_of(mode)
  if mode == nil then return "r", O.O_RDONLY end
  if math.type(mode) == "integer" then return tostring(mode), mode end
  if type(mode) ~= "string" then
    raise(core.TypeError, "fs.open: a mode such as 'r' (or flags) was expected, got " .. describe(mode), 3)
  end
  local flags = modes[mode:gsub("b", "", 1)]
  if not flags then
    raise(core.ValueError, ("fs.open: the mode must be r, w, a or x, and + after it, got '%s'"):format(mode), 3)
  end
  return mode, flags
end

--- Opens a file.
---@param name string
---@param mode? string|integer "r" (the default), "r+", "w", "w+", "a", "a+", "x", "x+" (a "b" is ignored); or fs.O_*
---@param perm? integer permissions of a file that is made, 0666 less the umask
---@return any awaitable of a File; raises OSError
function M.open(name, mode, perm)
  local text, flags = flags_of(mode)
  return fs.open(name, text, flags, perm or tonumber("666", 8))
end

-- ---- File ----

local File, metatable = fs.File, fs.File_metatable
local native_close = File.close
-- File -> path: removed when the file is closed
local removed = setmetatable({}, { __mode = "k" })

local close_removing = async(function(self, name)
  await(native_close(self))
  if not removed[self] then return end
  removed[self] = nil
  await(fs.unlink(name))
end, "File.close")

--- Closes the file, after what is under way. The second time nothing happens.
---@return any awaitable; raises OSError
function File:close()
  local name = removed[self]
  return name and close_removing(self, name) or native_close(self)
end

--- The file is removed when it is closed.
function M.remove_on_close(file)
  removed[file] = file.path
end

function metatable.__close(self)
  local closing = self:close()
  local ok, err = catch(await, closing)
  if ok then return end
  if core.isinstance(err, core.RuntimeError) then -- no await can be here
    closing:close()
    self:_close()
    return
  end
  error(err, 0)
end

--- Iterates over the lines that follow, without their line breaks. Awaits by itself.
---@return fun(): string?
function File:lines()
  return function()
    return await(self:read("l"))
  end
end

function File:__aiter()
  return self
end

function File:__anext()
  return self:read("l")
end

local lock_options = { "shared", "nowait" }

--- Locks the whole file against others that lock it (flock). Waits for them, or with `nowait` gives false.
---@param opts? table {shared = false, nowait = false}
---@return any awaitable of a boolean
function File:lock(opts)
  core.options(opts, lock_options, "File.lock")
  return self:_lock(opts and opts.shared and 1 or 2, opts and opts.nowait)
end

--- Takes the lock back.
function File:unlock()
  return self:_lock(0)
end

-- ---- whole files ----

local NUMERALS = "0123456789abcdefghijklmnopqrstuvwxyz"

--- Six characters that nobody guesses.
function M.random_name()
  local c = {}
  for i = 1, 6 do
    local k = math.random(#NUMERALS)
    c[i] = NUMERALS:sub(k, k)
  end
  return table.concat(c)
end

--- Opens a file that was not there, named by make(random).
---@param make fun(random: string): string
---@return userdata file
function M.open_new(make, mode, perm)
  for attempt = 1, 100 do
    local ok, file = pcall(await, M.open(make(M.random_name()), mode, perm))
    if ok then return file end
    if attempt == 100 or not core.isinstance(file, core.OSError) or file.code ~= "EEXIST" then error(file, 0) end
  end
end

-- What is left of a temporary file on the way out: it is closed and removed.
local Leftover = {}

function Leftover:__close()
  if self.file then catch(await, self.file:close()) end
  if self.path then catch(await, fs.unlink(self.path)) end
end

-- Through links, so that a link stays one.
local function final(name)
  local ok, real = pcall(await, fs.realpath(name))
  if ok then return real end
  if real.code ~= "ENOENT" then error(real, 0) end
  ok, real = pcall(await, fs.readlink(name))
  if not ok then return name end
  return path.isabs(real) and real or path.join(path.dirname(name), real)
end

local write_atomic = async(function(name, data, perm, sync)
  local target = final(name)
  local folder, base = path.split(target)
  if perm == nil then
    local ok, st = pcall(await, fs.stat(target))
    perm = ok and st.mode or nil
  end
  local temp <close> = setmetatable({}, Leftover)
  local ok, file = pcall(M.open_new, function(random)
    return path.join(folder, ("." .. base):sub(1, 200) .. "." .. random)
  end, "x", perm or tonumber("666", 8))
  if not ok then
    if core.isinstance(file, core.OSError) then -- it is the target that cannot be written
      local what = tostring(file):gsub("^OSError: ", ""):gsub(": open .*", "")
      error(core.OSError(("%s: write_file '%s'"):format(what, name),
        { code = file.code, errno = file.errno, syscall = "write_file", path = name }), 0)
    end
    error(file, 0)
  end
  temp.file, temp.path = file, file.path
  await(file:write(data))
  if perm then await(file:chmod(perm)) end
  if sync then await(file:fsync()) end
  temp.file = nil
  await(file:close())
  await((sync and fs.rename_synced or fs.rename)(temp.path, target))
  temp.path = nil
end, "fs.write_file")

local write_plain = async(function(name, data, mode, perm, sync)
  local file <close> = await(M.open(name, mode, perm))
  await(file:write(data))
  if sync then await(file:fsync()) end
end, "fs.write_file")

local write_options = { "atomic", "append", "exclusive", "mode", "fsync" }

--- Writes a file: it is replaced, or appended to, or (`exclusive`) must not be there. With `atomic` there is at any
--- time the old or the new content under its name, whatever happens: it is written beside it, synced, renamed, and its
--- folder is synced.
---@param name string
---@param data string|number
---@param opts? table {atomic, append, exclusive, mode = permissions, fsync}
---@return any awaitable; raises OSError
function M.write_file(name, data, opts)
  core.options(opts, write_options, "fs.write_file")
  opts = opts or {}
  path.check(name, "fs.write_file")
  if type(data) ~= "string" and type(data) ~= "number" then
    raise(core.TypeError, "fs.write_file: a string was expected, got " .. describe(data))
  end
  if opts.mode ~= nil and math.type(opts.mode) ~= "integer" then
    raise(core.TypeError, "fs.write_file: mode must be an integer, got " .. describe(opts.mode))
  end
  if (opts.atomic and 1 or 0) + (opts.append and 1 or 0) + (opts.exclusive and 1 or 0) > 1 then
    raise(core.ValueError, "fs.write_file: only one of atomic, append and exclusive can be given")
  end
  if opts.atomic then return write_atomic(name, data, opts.mode, opts.fsync ~= false) end
  return write_plain(name, data, opts.append and "a" or opts.exclusive and "x" or "w", opts.mode, opts.fsync)
end

local copy_options = { "excl", "reflink" }

--- Copies a file's content and permissions.
---@param src string
---@param dst string
---@param opts? table {excl: dst must not be there; reflink: true (share the blocks if it can be) or "force"}
---@return any awaitable; raises OSError
function M.copyfile(src, dst, opts)
  core.options(opts, copy_options, "fs.copyfile")
  local reflink = opts and opts.reflink
  if reflink == true then reflink = "try" end
  if reflink and reflink ~= "try" and reflink ~= "force" then
    raise(core.ValueError, "fs.copyfile: reflink must be true, \"try\" or \"force\", got " .. tostring(reflink))
  end
  return fs.copyfile(src, dst, opts and opts.excl, reflink or nil)
end

local utime_options = { "follow_symlinks" }

--- Sets when a file was read and changed, in seconds since 1970.
---@param name string
---@param atime number
---@param mtime number
---@param opts? table {follow_symlinks = true}
---@return any awaitable; raises OSError
function M.utime(name, atime, mtime, opts)
  core.options(opts, utime_options, "fs.utime")
  return fs.utime(name, atime, mtime, opts and opts.follow_symlinks == false)
end

return M
