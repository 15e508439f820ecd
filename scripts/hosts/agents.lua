-- How a trader trades: a coroutine for each. The market and the oracle are the host's, in C++.
--   build/hosts/agents scripts/hosts/agents.lua
-- What the host throws is an error here: market.order of more than one can pay, a market that has no such trader.

local asyncio = require "asyncio"

--- What the oracle says, or what the price itself suggests when it does not answer.
local function advice()
  local price = market.price()
  local ok, word = pcall(await, oracle.ask(price))
  if ok then return word end
  return price > 100 and "sell" or "buy"
end

--- Trades for a month, each at its own pace. The last of them is a gambler.
async function trader(name, number)
  local refused = 0
  for _ = 1, 30 do
    await asyncio.sleep(72000 + 61 * number)
    local word = advice()
    local ok = pcall(market.order, name, word == "buy" and 1 or -1)
    if not ok then refused = refused + 1 end
  end
  if number == 5 then market.order(name, 1000) end
  local cash, stock = market.account(name)
  return ("%.2f and %d pieces, %d orders refused"):format(cash, stock, refused)
end
