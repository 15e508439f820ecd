--- Sockets under random operations: many tasks on few sockets, cancelled, closed, shut down, handed over and collected
--- at any moment. Nothing may crash, and all tasks end once their sockets are closed.
---   build/moonloop spec/fuzz/sockets_fuzz.lua [SECONDS [SEED]]

local asyncio = require "asyncio"
local fuzz = require "spec.fuzz.fuzz"
local socket = require "socket"

local random = math.random

local sockets, tasks, buffers

local function any()
  if #sockets == 0 then sockets[1], sockets[2] = socket.socketpair() end
  return sockets[random(#sockets)]
end

local function data()
  if random(2) == 1 then return buffers[random(4)] end
  return ("x"):rep(random(4) == 1 and random(0, 300000) or random(0, 100))
end

local function start(op) tasks[#tasks + 1] = asyncio.create_task(op) end

local function nothing() end

local function on_readable()
  if random(10) == 1 then any():close() end
  if random(5) == 1 then error("as it may happen") end
end

local actions = {
  function()
    local a, b = socket.socketpair("unix", random(3) == 1 and "dgram" or "stream")
    a:set { sndbuf = 4096 }
    sockets[#sockets + 1], sockets[#sockets + 2] = a, b
  end,
  function() start(any():recv(random(0, 100000))) end,
  function() start(any():recv(random(0, 100), random(3) == 1 and socket.MSG_PEEK or 0)) end,
  function() start(any():recv_into(buffers[random(4)], random(100), random(10))) end,
  function() start(any():recvfrom(random(100))) end,
  function() start(any():recvfrom_many(random(1, 50), random(1, 3000))) end,
  function() start(any():send(data())) end,
  function() start(any():sendall(data())) end,
  function() start(any():sendmsg { data(), data() }) end,
  function() start(any():sendfile(arg[0], random(0, 1000), random(2) == 1 and random(0, 100000) or nil)) end,
  function() start(any():sendfile(any())) end,
  function() start(any():accept()) end,
  function() start(any():connect("/nonexistent" .. random(9))) end,
  function() start(any():send_fds("x", { any() })) end,
  function()
    start(async(function(s)
      local _, fds = await(s:recv_fds(10, 3))
      for _, fd in ipairs(fds) do socket.socket({ fileno = fd }):close() end
    end)(any()))
  end,
  function()
    start(async(function(s)
      local _, writer = await(asyncio.open_connection(nil, nil, { sock = s }))
      writer:write("x")
      writer:close()
    end)(any()))
  end,
  function() asyncio.get_running_loop():add_reader(any(), on_readable) end,
  function() asyncio.get_running_loop():add_writer(any():fileno(), nothing) end,
  function() asyncio.get_running_loop():remove_reader(any()) end,
  function() asyncio.get_running_loop():remove_writer(any():fileno()) end,
  function() any():close() end,
  function() any():shutdown(({ "rd", "wr", "rdwr" })[random(3)]) end,
  function() tasks[random(#tasks)]:cancel() end,
  function() tasks[random(#tasks)]:cancel() end,
  function() table.remove(sockets, random(#sockets)):close() end,
  function() sockets[#sockets + 1] = any():dup() end,
  function() buffers[random(4)]:clear() end,
  function() collectgarbage() end,
}

local round = async(function()
  asyncio.get_running_loop():set_exception_handler(function() end)
  sockets, tasks, buffers = {}, {}, {}
  for i = 1, 4 do
    buffers[i] = socket.buffer(random(5000))
    buffers[i]:set(("b"):rep(random(0, buffers[i]:capacity())))
  end
  for _ = 1, 1000 do
    pcall(actions[random(#actions)])
    if random(3) == 1 then await(asyncio.sleep(random(5) == 1 and 0.0003 or 0)) end
    if #tasks > 200 then table.remove(tasks, 1):cancel() end
    if #sockets > 20 then table.remove(sockets, 1):close() end
  end
  for _, s in ipairs(sockets) do s:close() end
  if #tasks > 0 then
    local _, pending = await(asyncio.wait(tasks, { timeout = 30 }))
    assert(#pending == 0, "tasks still wait for closed sockets")
  end
  for _, task in ipairs(tasks) do
    local ok, result = asyncio.catch(task.result, task)
    if ok and type(result) == "userdata" and result.close then result:close() end
  end
end)

local rounds = fuzz.rounds(function() asyncio.run(round()) end)
print(("sockets: %d rounds from seed %d"):format(rounds, fuzz.seed))
