-- Prints what is written to a log, as `tail -F` does: the last lines of it, then everything that comes. It goes
-- on when the log is rotated (renamed, and a new one begun), cut to nothing, removed and made again, or is not there
-- yet.
--
--   moonloop scripts/follow_log.lua FILE [LINES]

local fs = require "fs"

local path = arg[1]
local lines = tonumber(arg[2] or 10)
if not path or not lines then
  io.stderr:write("usage: follow_log.lua FILE [LINES]\n")
  os.exit(2)
end

local function say(...) io.stderr:write("follow_log: ", path, ": ", string.format(...), "\n") end

local file, ino -- the one that is read now

-- Everything that has come since.
local function copy()
  while file do
    local data = await file:read(65536)
    if not data then return end
    io.stdout:write(data)
    io.stdout:flush()
  end
end

-- Goes to where the last lines of the file begin.
local function skip_to_last(n)
  local size = await file:seek("end")
  local from = math.max(0, size - 65536)
  local text = await file:pread(size - from, from) or ""
  local at = #text
  for _ = 1, n do
    if at <= 0 then break end
    at = (text:sub(1, at - 1):match(".*()\n") or 0)
  end
  await file:seek("set", n > 0 and from + at or size)
end

local function open()
  local ok, result = pcall(await, fs.open(path))
  if not ok then
    if result.code ~= "ENOENT" then error(result, 0) end
    return false
  end
  file, ino = result, (await result:stat()).ino
  return true
end

-- The file under that name is another one, or has become shorter, or is gone.
local function look()
  local ok, now = pcall(await, fs.stat(path))
  if file and (not ok or now.ino ~= ino) then
    copy() -- what was written before it was renamed
    await file:close()
    file = nil
    say(ok and "has been replaced; following the new file" or "has become inaccessible")
    if ok then open() end
  elseif not file and ok and open() then
    say("has appeared; following the new file")
  elseif file and now.size < await file:tell() then
    say("file truncated")
    await file:seek("set")
  end
end

local folder, name = fs.path.split(path)
local watch <close> = fs.watch(folder == "" and "." or folder, { debounce = 0.02 })
if open() then
  skip_to_last(lines)
  copy()
else
  say("cannot be opened yet")
end

for event in watch do
  local old = event.old_path and fs.path.basename(event.old_path)
  if fs.path.basename(event.path) == name or old == name or event.type == "overflow" then
    look()
    copy()
  end
end
say("its folder is gone")
