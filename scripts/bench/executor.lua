-- executor.lua N BATCH: N trivial calls by run_in_executor, BATCH of them under way at a time.

local asyncio = require "asyncio"
local bench = dofile((arg[0]:match(".*/") or "") .. "bench.lua")

local n, batch = bench.arg(1, 20000), bench.arg(2, 1)

local function same(x) return x end

local main = async(function()
  local loop = asyncio.get_running_loop()
  await(loop:run_in_executor(nil, same, 0)) -- starts a thread
  local started = bench.now()
  if batch == 1 then
    for i = 1, n do assert(await(loop:run_in_executor(nil, same, i)) == i) end
  else
    for _ = 1, n // batch do
      local calls = {}
      for i = 1, batch do calls[i] = loop:run_in_executor(nil, same, i) end
      assert(await(asyncio.gather(calls))[batch] == batch)
    end
  end
  bench.each(started, n // batch * batch)
end)

asyncio.run(main())
