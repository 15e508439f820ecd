-- Process runs a coroutine in a process of its own, Worker gives its result, Pool runs many of them.
--   moonloop scripts/web_random.lua &
--   moonloop scripts/processes.lua [URL]

local asyncio = require "asyncio"
local http = require "http"
local multiprocessing = require "multiprocessing"

local Process, Worker, Pool = multiprocessing.Process, multiprocessing.Worker, multiprocessing.Pool

local async function put(url, params)
  local response <close> = await http.request("PUT", url, { params = params })
  print("PUT", response.status, params.name)
end

local async function get(url)
  local response <close> = await http.request("GET", url)
  return await response:text()
end

local async function main(url)
  await Process { target = put, args = { url .. "/put", { name = "value" } } }

  print(await Worker { target = get, args = { url .. "/" } })

  local urls = {}
  for i = 1, 5 do urls[i] = ("%s/get?i=%d"):format(url, i) end
  local pool <close> = Pool(2)
  for i, text in ipairs(await pool:map(get, urls)) do print(i, text) end
end

asyncio.run(main(arg[1] or "http://127.0.0.1:8000"))
