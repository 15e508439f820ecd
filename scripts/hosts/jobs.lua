-- Jobs for a pool of threads: those of files given as arguments, or of whoever connects.
--   build/hosts/jobs scripts/hosts/jobs.lua FILE...     a table: crc32, bytes, bytes compressed
--   build/hosts/jobs scripts/hosts/jobs.lua             a server of lines on 127.0.0.1, port JOBS_PORT or any
-- Lines are "ID crc32 TEXT", "ID deflate TEXT", "ID nap SECONDS", "ID stats"; answers are "ID RESULT", each when its
-- job is done. Who hangs up has his jobs dropped.

local asyncio = require "asyncio"

local kinds = {}

function kinds.crc32(text) return ("%08x"):format(await jobs.crc32(text)) end

function kinds.deflate(text) return ("%d -> %d bytes"):format(#text, #await jobs.deflate(text, 9)) end

function kinds.nap(seconds)
  await jobs.nap(tonumber(seconds))
  return "awake"
end

function kinds.stats() return ("%d done, %d dropped, %d waiting, %d threads"):format(jobs.stats()) end

---------------------------------------------------------------------------------------------------
-- A table of files

local async function measure(path)
  local text = await require("fs").read_file(path)
  local crc, deflated = table.unpack(await asyncio.gather(jobs.crc32(text), jobs.deflate(text)))
  return ("%08x %8d %8d %s"):format(crc, #text, #deflated, path)
end

local async function files(paths)
  local all = {}
  for i, path in ipairs(paths) do all[i] = measure(path) end
  for _, line in ipairs(await asyncio.gather(all)) do print(line) end
end

---------------------------------------------------------------------------------------------------
-- A server

local function do_job(writer, line)
  local id, kind, rest = line:match "^(%S+) (%w+) ?(.*)$"
  if not kinds[kind] then
    writer:write((id or "?") .. " what is that?\n")
    return
  end
  local ok, answer = pcall(kinds[kind], rest)
  writer:write(("%s %s\n"):format(id, ok and answer or "failed: " .. tostring(answer)))
end

local function converse(reader, writer)
  local _ <close> = writer
  local mine = {}
  local _ <close> = setmetatable({}, { __close = function()
    for task in pairs(mine) do task:cancel() end
  end })
  for line in reader:lines() do
    local task = asyncio.create_task(async(do_job)(writer, line))
    mine[task] = true
    task:add_done_callback(function() mine[task] = nil end)
  end
end

local function serve(reader, writer)
  local ok, err = pcall(converse, reader, writer)
  if not ok and not asyncio.isinstance(err, asyncio.OSError) then error(err, 0) end -- who just leaves is no error
end

local async function server()
  local listener <close> = await asyncio.start_server(serve, "127.0.0.1", tonumber(os.getenv "JOBS_PORT") or 0)
  print("port " .. listener.sockets[1].port)
  io.stdout:flush()
  local _ <close> = setmetatable({}, { __close = function()
    listener:close_clients()
    print(kinds.stats())
  end })
  await asyncio.Event():wait() -- until we are interrupted
end

asyncio.run(#arg > 0 and files(arg) or server())
