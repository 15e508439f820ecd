-- Coroutines that await coroutines, and three ways to their results. The sleep stands for a request.
--   moonloop scripts/nested_coroutines.lua

local asyncio = require "asyncio"

local get = async(function(url)
  await(asyncio.sleep(4 - url)) -- the later ones answer first
  return "response " .. url
end)

local request = async(function()
  local result = await(get(1))
  print("nested: " .. result)
end)

local make_tasks = function()
  local tasks = {}
  for url = 1, 3 do tasks[url] = asyncio.ensure_future(get(url)) end
  return tasks
end

-- One: wait gives futures, not results.
local request_wait = async(function()
  local dones, _pendings = await(asyncio.wait(make_tasks()))
  for _, task in ipairs(dones) do
    print("Task ret: ", task:result())
  end
end)

-- Two: gather gives the results.
local request_gather = async(function()
  local results = await(asyncio.gather(make_tasks()))
  print("Task ret: ", table.concat(results, ", "))
end)

-- Three: as_completed gives the futures one by one, as they finish.
local request_as_completed = async(function()
  for task in asyncio.as_completed(make_tasks()) do
    local result = await(task)
    print(("Task ret: %s"):format(result))
  end
end)

local loop = asyncio.get_event_loop()
loop:run_until_complete(request())
loop:run_until_complete(request_wait())
loop:run_until_complete(request_gather())
loop:run_until_complete(request_as_completed())
