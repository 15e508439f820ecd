-- Several coroutines at once; their results in the order in which they were given.
--   moonloop scripts/gather.lua

local asyncio = require "asyncio"

local async function fetch_data(delay, id)
  print(("Fetching data %d..."):format(id))
  await asyncio.sleep(delay)
  print(("Data %d fetched"):format(id))
  return { id = id, delay = delay }
end

local async function main()
  local results = await asyncio.gather(
    fetch_data(2, 1),
    fetch_data(1, 2),
    fetch_data(3, 3)
  )
  for _, r in ipairs(results) do print(("id = %d, delay = %d"):format(r.id, r.delay)) end
end

asyncio.run(main())
