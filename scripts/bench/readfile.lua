-- readfile.lua MEGABYTES PIECE: a file of that size is read in pieces. It is made before the clock
-- runs.

local asyncio = require "asyncio"
local fs = require "fs"
local bench = dofile((arg[0]:match(".*/") or "") .. "bench.lua")

local megabytes, piece = bench.arg(1, 1024), bench.arg(2, 65536)

local main = async(function()
  local file <close> = await(fs.NamedTemporaryFile { prefix = "bench-readfile-" })
  local zeros = ("\0"):rep(1 << 20)
  for _ = 1, megabytes do await(file:write(zeros)) end
  await(file:seek("set"))
  local total, started = 0, bench.now()
  while true do
    local data = await(file:read(piece))
    if not data then break end
    total = total + #data
  end
  local took = bench.now() - started
  assert(total == megabytes << 20)
  bench.figure("us", took * 1e6 / (total / piece))
end)

asyncio.run(main())
