-- A filter: copies the lines of standard input that match a pattern to standard output, numbered, while the rest of
-- the program goes on: on standard error a clock says how it is getting on.
--   moonloop scripts/filter.lua PATTERN < FILE

local asyncio = require "asyncio"

local pattern = arg[1] or "."
local seen, written = 0, 0

local async function progress()
  while true do
    await asyncio.sleep(1)
    asyncio.stderr:write(("%d lines, %d of them match\n"):format(seen, written))
  end
end

local async function main()
  local clock = asyncio.create_task(progress())
  for line in asyncio.stdin:lines() do
    seen = seen + 1
    if line:find(pattern) then
      written = written + 1
      asyncio.stdout:write(("%d: %s\n"):format(seen, line))
      await asyncio.stdout:drain() -- no more is read than the reader of our output takes
    end
  end
  clock:cancel()
end

asyncio.run(main())
