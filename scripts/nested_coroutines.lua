-- Coroutines that await coroutines, and three ways to the results of many requests.
--   moonloop scripts/web_random.lua &
--   moonloop scripts/nested_coroutines.lua [URL]

local asyncio = require "asyncio"
local http = require "http"

local url = arg[1] or "http://127.0.0.1:8000/get"

local async function get(id)
  async with http.ClientSession() as session do
    async with session:get(url, { params = { a = id } }) as response do
      local answer = await response:json()
      return "response " .. answer.args.a
    end
  end
end

local async function request()
  local result = await get(1)
  print("nested: " .. result)
end

local make_tasks = function()
  local tasks = {}
  for id = 1, 3 do tasks[id] = asyncio.ensure_future(get(id)) end
  return tasks
end

-- One: wait gives futures, not results.
local async function request_wait()
  local dones, _pendings = await asyncio.wait(make_tasks())
  for _, task in ipairs(dones) do
    print("Task ret: ", task:result())
  end
end

-- Two: gather gives the results, in the order of the tasks.
local async function request_gather()
  local results = await asyncio.gather(make_tasks())
  print("Task ret: ", table.concat(results, ", "))
end

-- Three: as_completed gives the futures one by one, as they finish.
local async function request_as_completed()
  for task in asyncio.as_completed(make_tasks()) do
    local result = await task
    print(("Task ret: %s"):format(result))
  end
end

local loop = asyncio.get_event_loop()
loop:run_until_complete(request())
loop:run_until_complete(request_wait())
loop:run_until_complete(request_gather())
loop:run_until_complete(request_as_completed())
