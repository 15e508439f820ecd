--- Where the sockets of inspected programs lie: PID.sock, in a folder that only its user can open. Nobody else can
--- have put anything there, so that who finds a socket there may trust it.

local core = require "asyncio.core"
local fs = require "fs"
local inspector = require "asyncio.inspector.core"

local await = core.await

local M = {}

--- The folders that come into question, best first.
---@param uid? integer of whom; the process's own user unless given
---@return string[]
function M.candidates(uid)
  local own = inspector.whoami()
  local list, runtime = {}, os.getenv "XDG_RUNTIME_DIR"
  if uid and uid ~= own then
    list[1] = ("/run/user/%d/moonloop"):format(uid)
  elseif runtime and runtime:sub(1, 1) == "/" and #runtime < 64 then
    list[1] = runtime .. "/moonloop"
  end
  list[#list + 1] = ("/tmp/moonloop-%d"):format(uid or own)
  return list
end

--- Is it a folder of that user's that nobody else can open? If not: nil and why.
---@return boolean? fit
---@return string? why
function M.check(path, uid)
  local ok, st = pcall(await, fs.lstat(path))
  if not ok then return nil, st.message or tostring(st) end
  if not st.is_dir then return nil, path .. " is no folder" end
  if st.uid ~= (uid or inspector.whoami()) then return nil, path .. " belongs to somebody else" end
  if st.mode & tonumber("077", 8) ~= 0 then return nil, path .. " can be opened by others" end
  return true
end

--- Makes the folder, if need be. Raises OSError if there is none to be had.
---@return string path
function M.prepare()
  local reasons = {}
  for _, path in ipairs(M.candidates()) do
    pcall(await, fs.mkdir(path, { mode = tonumber("700", 8) })) -- it may be there; what counts is what is there now
    local fit, why = M.check(path)
    if fit then return path end
    reasons[#reasons + 1] = why
  end
  error(core.OSError("no folder for the inspector's socket: " .. table.concat(reasons, "; ")), 0)
end

--- The processes that have a socket there: {pid, path}, by number.
---@return { pid: integer, path: string }[]
function M.list()
  local found, seen = {}, {}
  for _, folder in ipairs(M.candidates()) do
    if M.check(folder) then
      for _, name in ipairs(await(fs.listdir(folder))) do
        local pid = math.tointeger(tonumber(name:match "^(%d+)%.sock$"))
        if pid and not seen[pid] then
          seen[pid] = true
          found[#found + 1] = { pid = pid, path = folder .. "/" .. name }
        end
      end
    end
  end
  table.sort(found, function(a, b) return a.pid < b.pid end)
  return found
end

--- The socket of a process, or nil and why there is none.
---@param pid integer
---@return string? path
---@return string? why
function M.find(pid)
  local ok, st = pcall(await, fs.stat(("/proc/%d"):format(pid)))
  if not ok then return nil, ("there is no process %d"):format(pid) end
  for _, folder in ipairs(M.candidates(st.uid)) do
    local path = ("%s/%d.sock"):format(folder, pid)
    if await(fs.exists(path)) then
      local fit, why = M.check(folder, st.uid)
      if not fit then return nil, why end
      return path
    end
  end
  return nil, ("process %d was not started with --inspect (or MOONLOOP_INSPECT=1)"):format(pid)
end

--- The command line of a process, fit to be shown.
---@return string
function M.command_line(pid)
  local f <close> = io.open(("/proc/%d/cmdline"):format(pid), "rb")
  local line = f and f:read(4096) or ""
  return require("tty.text").printable((line:gsub("%z+$", ""):gsub("%z", " ")))
end

--- Removes sockets that nobody listens on any more.
function M.sweep()
  local asyncio = require "asyncio"
  for _, entry in ipairs(M.list()) do
    local ok, reader, writer = pcall(await, asyncio.open_unix_connection(entry.path))
    if ok then
      local _ = reader
      writer:close()
    elseif reader.code == "ECONNREFUSED" then
      pcall(await, fs.unlink(entry.path))
    end
  end
end

return M
