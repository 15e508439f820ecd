-- A hundred coroutines in ten processes: each runs a loop with ten of them.
--   moonloop scripts/hello_in_processes.lua

local asyncio = require "asyncio"
local multiprocessing = require "multiprocessing"

local async function hello(name, process)
  print(("hello %s from process %d"):format(name, process))
  await asyncio.sleep(0.1)
  print(("end:%s"):format(name))
end

local async function process_start(process, names)
  local tasks = {}
  for i, name in ipairs(names) do tasks[i] = asyncio.create_task(hello(name, process)) end
  await asyncio.wait(tasks)
end

--- Ten names go to each process.
local async function task_start(names)
  local processes = {}
  for i = 1, #names, 10 do
    local process = multiprocessing.Process {
      target = process_start,
      args = { #processes + 1, table.move(names, i, math.min(i + 9, #names), 1, {}) },
    }
    process:start()
    processes[#processes + 1] = process
  end
  for _, process in ipairs(processes) do await process:join() end
  print(#processes .. " processes")
end

local names = {}
for digit in ("0123456789"):rep(10):gmatch("%d") do names[#names + 1] = digit end
asyncio.run(task_start(names))
