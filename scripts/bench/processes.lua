-- processes.lua N ROUNDS [pipe]: N processes of `true` at once, awaited together; or of `echo`, whose output is read.

local asyncio = require "asyncio"
local bench = dofile((arg[0]:match(".*/") or "") .. "bench.lua")

local n, rounds, piped = bench.arg(1, 200), bench.arg(2, 5), arg[3] == "pipe"

local quiet = async(function()
  return await(await(asyncio.create_subprocess_exec("/bin/true")):wait())
end)

local loud = async(function()
  local process = await(asyncio.create_subprocess_exec("/bin/echo", "x", { stdout = asyncio.PIPE }))
  assert(await(process:communicate()) == "x\n")
  return process.returncode
end)

asyncio.run(async(function()
  local started = bench.now()
  for _ = 1, rounds do
    local processes = {}
    for i = 1, n do processes[i] = piped and loud() or quiet() end
    local codes = await(asyncio.gather(processes))
    for i = 1, n do assert(codes[i] == 0) end
  end
  bench.figure("us", (bench.now() - started) * 1e6 / (n * rounds))
end)())
