-- A key viewer: shows what the terminal sends for each key. q ends it.
--   moonloop scripts/keys.lua

local asyncio = require "asyncio"
local tty = require "tty"

if not tty.isatty() then
  io.stderr:write("keys.lua: standard input is no terminal\n")
  os.exit(1)
end

local columns, rows = tty.size()
print(("%d x %d; press keys, q to end"):format(columns, rows))

local async function resizes()
  for c, r in tty.resizes() do print(("now %d x %d"):format(c, r)) end
end

local async function main()
  local watcher = asyncio.create_task(resizes())
  for key, bytes in tty.keys() do
    print(("%-16s %s"):format(key, (bytes:gsub(".", function(c) return ("%02x "):format(c:byte()) end))))
    if key == "q" then break end
  end
  watcher:cancel()
end

asyncio.run(main())
