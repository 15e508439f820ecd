-- Process runs a coroutine in a process of its own, Worker gives its result, Pool runs many of them.
--   moonloop scripts/processes.lua

local asyncio = require "asyncio"
local multiprocessing = require "multiprocessing"

local Process, Worker, Pool = multiprocessing.Process, multiprocessing.Worker, multiprocessing.Pool

--- Sleeps stand for requests.
local put = async(function(url, params)
  await(asyncio.sleep(0.1))
  print("PUT", url, params.name)
end)

local get = async(function(url)
  await(asyncio.sleep(0.1))
  return "the page at " .. url
end)

local main = async(function()
  await(Process { target = put, args = { "https://example.org", { name = "value" } } })

  print(await(Worker { target = get, args = { "https://example.org" } }))

  local urls = {}
  for i = 1, 5 do urls[i] = "https://example.org/" .. i end
  local pool <close> = Pool(2)
  for i, text in ipairs(await(pool:map(get, urls))) do print(i, text) end
end)

asyncio.run(main())
