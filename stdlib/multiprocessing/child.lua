--- The program of a worker process: `moonloop -m multiprocessing.child`, with a channel to its parent as descriptor 3.
---
--- The first message says what it is to be; each of the others is a call with its number, and is answered with that
--- number. With mode "call" the calls come one by one, outside of any loop, so that a function may run one. With
--- "loop" they are tasks of one loop, and coroutine functions are awaited.

local core = require "asyncio.core"
local workers = require "asyncio.workers"

local CHANNEL = 3

--- An error as a message: kind, number, the error and where it was raised.
local function failure(kind, id, err, traceback)
  if err == nil then err = core.RuntimeError("the function raised nil") end
  local ok, bytes = pcall(workers.dumps, "error", "field", 2, err, traceback)
  if not ok then bytes = workers.dumps("error", "field", 2, core.RuntimeError(tostring(err)), traceback) end
  return kind .. string.pack("<I4", id) .. bytes
end

--- The traceback without the frames of this file.
local function traceback()
  local text = debug.traceback("", 3):gsub("^\n", ""):gsub("\n\t%[C%]: in function 'xpcall'.*$", "")
  return text
end

--- Calls f(...) and gives the answer as a message; after it the error, if there was one.
local function answer(id, f, ...)
  local where
  local values = table.pack(xpcall(f, function(err)
    where = core.traceback(err) or traceback()
    return err
  end, ...))
  if values[1] then
    local ok, bytes = pcall(workers.dumps, "result", "result", 0, table.unpack(values, 2, values.n))
    if ok then return "v" .. string.pack("<I4", id) .. bytes end
    values[2], where = bytes, nil
  end
  return failure("e", id, values[2], where), values[2]
end

local function call(f, ...) return f(...) end

--- The call in a message; its number comes first.
local function invoke(message) return call(workers.loads(message, 5)) end

local function id_of(message) return (string.unpack("<I4", message)) end

local function serve_calls()
  for message in workers.recv, CHANNEL do
    local reply = answer(id_of(message), invoke, message)
    io.stdout:flush()
    workers.send(CHANNEL, reply)
  end
end

--- What a call of a plain function or of a coroutine function gives.
local function settle(f, ...)
  if core.iscoroutinefunction(f) then return core.await(f(...)) end
  local values = table.pack(f(...))
  if values.n == 1 and core.isawaitable(values[1]) then return core.await(values[1]) end
  return table.unpack(values, 1, values.n)
end

local function serve_loop(opts)
  local net = require "asyncio.net"
  require "asyncio.streams"
  local reader, writer = net.streams(net.open_pipe(CHANNEL), 1 << 16)
  local tasks = {}
  local failed = false
  local function run(message)
    local reply, raised = answer(id_of(message), function() return settle(workers.loads(message, 5)) end)
    if raised ~= nil and opts.exception_handler then pcall(opts.exception_handler, raised) end
    if reply:sub(1, 1) == "e" and opts.process then
      failed = true
      local err, where = workers.loads(reply, 6)
      io.stderr:write(("%s: %s\n%s\n"):format(opts.process, tostring(err), where or ""))
    end
    io.stdout:flush()
    writer:write(string.pack("<s4", reply))
    core.await(writer:drain())
  end
  writer:write(string.pack("<s4", "r"))
  while true do
    local head = core.await(reader:read(4))
    if not head or head == "" then break end
    if #head < 4 then head = head .. core.await(reader:readexactly(4 - #head)) end
    local message = core.await(reader:readexactly((string.unpack("<I4", head))))
    local task = core.create_task(core.async(run)(message))
    tasks[task] = true
    task:add_done_callback(function() tasks[task] = nil end)
  end
  for task in next, tasks do core.await(task) end
  writer:close()
  return failed
end

--- Sets up what the first message says. False: the initializer failed, and the parent knows.
local function set_up()
  local message = workers.recv(CHANNEL)
  if not message then return nil end
  local opts
  local reply = answer(0, function()
    local path, cpath, given = workers.loads(message)
    package.path, package.cpath, opts = path, cpath, given
    arg = opts.arg -- luacheck: ignore
    if opts.initializer then opts.initializer(table.unpack(opts.initargs, 1, opts.initargs.n or #opts.initargs)) end
  end)
  if reply:sub(1, 1) == "v" then return opts end
  workers.send(CHANNEL, "i" .. reply:sub(2))
  for _ in workers.recv, CHANNEL do end -- ending with calls unread would be a reset to the parent
  return nil
end

workers.ignore_interrupts()
local opts = set_up()
if opts and opts.mode == "loop" then
  local run_opts = opts.loop_initializer and { loop_factory = opts.loop_initializer } or nil
  local failed = require("asyncio.runners").run(core.async(function() return serve_loop(opts) end), run_opts)
  if failed then os.exit(1, true) end
elseif opts then
  workers.send(CHANNEL, "r")
  serve_calls()
end
