-- gather takes coroutines one by one, an array of them, and futures.
--   moonloop scripts/gather_coroutines_and_futures.lua

local asyncio = require "asyncio"

local async function do_some_work(x)
  print("Waiting " .. x)
  await asyncio.sleep(x)
  print("Done")
end

local loop = asyncio.get_event_loop()

loop:run_until_complete(asyncio.gather(do_some_work(1), do_some_work(3)))

local coros = { do_some_work(1), do_some_work(3) }
loop:run_until_complete(asyncio.gather(coros))

local futus = {
  asyncio.ensure_future(do_some_work(1)),
  asyncio.ensure_future(do_some_work(3)),
}
loop:run_until_complete(asyncio.gather(futus))
