--- asyncio: the facade. It names the parts; each is loaded when its first name is used.

local coroutinefunction = require("asyncio.core").coroutinefunction

--- Part by part, the names that it gives. Those of the core are plain fields of `asyncio.core`.
local parts = {
  {
    "core",
    [[ async await catch critical isinstance iscoroutine iscoroutinefunction isfuture isawaitable
    sleep next_frame gather create_task ensure_future current_task all_tasks eager_task_factory Future Task
    get_running_loop get_event_loop new_event_loop set_event_loop
    Event
    BaseException Exception CancelledError TimeoutError PermissionError InvalidStateError RuntimeError ValueError
    TypeError OSError EOFError IncompleteReadError LimitOverrunError QueueEmpty QueueFull QueueShutDown
    BrokenBarrierError ExceptionGroup BaseExceptionGroup KeyboardInterrupt SystemExit Terminated
    TimeSliceError LimitError
    SendfileNotAvailableError StopAsyncIteration ]],
  },
  { "runners", " run Runner " },
  { "wait", " wait ALL_COMPLETED FIRST_COMPLETED FIRST_EXCEPTION " },
  { "wait_for", " wait_for " },
  { "shield", " shield " },
  { "eager", " create_eager_task_factory " },
  { "as_completed", " as_completed " },
  { "threads", " run_coroutine_threadsafe wrap_future " },
  { "executors", " to_thread " },
  { "timeouts", " timeout timeout_at Timeout " },
  { "taskgroups", " TaskGroup " },
  { "scopes", " CancelScope move_on_after move_on_at fail_after fail_at " },
  { "locks", " Lock Semaphore BoundedSemaphore " },
  { "condition", " Condition " },
  { "barrier", " Barrier " },
  { "queues", " Queue PriorityQueue LifoQueue " },
  { "aio", " with aiter anext aclosing " },
  { "graph", " capture_call_graph format_call_graph print_call_graph " },
  { "subprocess", " create_subprocess_exec create_subprocess_shell PIPE STDOUT DEVNULL " },
  { "signals", " signal signals " },
  {
    "streams",
    [[ open_connection start_server open_unix_connection start_unix_server
    StreamReader StreamWriter StreamReaderProtocol Server ]],
  },
  { "datagrams", " open_datagram " },
  { "stdio", " stdin stdout stderr " },
  { "pipes", " connect_read_pipe connect_write_pipe " },
  { "progress", " progress " },
}

--- Names that stand for a whole part.
local modules = { context = "asyncio.context", subprocess = "asyncio.subprocess" }

--- Functions that give coroutines and nothing else: coroutine functions, as asyncio.iscoroutinefunction sees it.
local coroutine_functions = [[ sleep next_frame wait wait_for open_connection start_server open_unix_connection
  start_unix_server open_datagram to_thread ]]

local M = {}

local function find(name)
  local module = modules[name]
  if module then return require(module) end
  if type(name) ~= "string" or not name:find("^[%a_]+$") then return nil end
  local pattern = "%s" .. name .. "%s"
  for i = 1, #parts do
    local part = parts[i]
    if part[2]:find(pattern) then return require("asyncio." .. part[1])[name] end
  end
end

local function lookup(t, name)
  local value = find(name)
  if value and coroutine_functions:find("%s" .. name .. "%s") then coroutinefunction(value) end
  rawset(t, name, value)
  return value
end

--- Goes over every name, so that a REPL can complete them.
local function names(t)
  for i = 1, #parts do
    for name in parts[i][2]:gmatch("%S+") do lookup(t, name) end
  end
  for name in next, modules do lookup(t, name) end
  return next, t
end

--- Methods of loops that come with a part when one of them is first used.
local loop_parts = {
  streams = [[ getaddrinfo getnameinfo set_resolver create_connection create_server create_unix_connection
    create_unix_server connect_read_pipe connect_write_pipe start_tls ]],
  datagrams = " create_datagram_endpoint ",
  subprocess_protocols = " subprocess_exec subprocess_shell ",
  signals = " add_signal_handler remove_signal_handler ",
  executors = " run_in_executor set_default_executor shutdown_default_executor ",
  sockets = [[ add_reader remove_reader add_writer remove_writer sendfile sock_recv sock_recv_into sock_recvfrom
    sock_recvfrom_into sock_sendall sock_sendto sock_connect sock_accept sock_sendfile ]],
}

setmetatable(require("asyncio.core").Loop.methods, {
  __index = function(methods, name)
    if type(name) ~= "string" or not name:find("^[%a_]+$") then return nil end
    for part, list in next, loop_parts do
      if list:find("%s" .. name .. "%s") then
        require("asyncio." .. part)
        return rawget(methods, name)
      end
    end
  end,
})

return setmetatable(M, { __index = lookup, __pairs = names, __name = "asyncio" })
