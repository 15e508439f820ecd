-- A lock keeps others from a shared state while it is being changed.
--   moonloop scripts/lock_shared_state.lua

local asyncio = require "asyncio"

local lock = asyncio.Lock()
local balance = 0

local async function deposit(amount)
  async with lock do
    -- access shared state
    local before = balance
    await asyncio.sleep(1)
    balance = before + amount
  end
end

local async function main()
  await asyncio.gather(deposit(10), deposit(20), deposit(30))
  print("balance: " .. balance)
end

asyncio.run(main())
