---@meta asyncio

-- Module asyncio. Written by tools/definitions.lua.

---@alias asyncio.Callback fun(...: any): any
---@alias asyncio.Address string|{ [1]: string, [2]: integer, host: string?, port: integer? }
---@alias asyncio.Signal integer|string
---@alias asyncio.Stdio integer|string|file*|table

---@class asyncio.BaseExceptionGroup: asyncio.BaseException
---@overload fun(message?: any, fields?: table): asyncio.BaseExceptionGroup
local BaseExceptionGroup = {}

---@class asyncio.Exception: asyncio.BaseException
---@overload fun(message?: any, fields?: table): asyncio.Exception
local Exception = {}

---@class asyncio.RuntimeError: asyncio.Exception
---@overload fun(message?: any, fields?: table): asyncio.RuntimeError
local RuntimeError = {}

---@class asyncio.BrokenBarrierError: asyncio.RuntimeError
---@overload fun(message?: any, fields?: table): asyncio.BrokenBarrierError
local BrokenBarrierError = {}

---@class asyncio.CancelledError: asyncio.BaseException
---@overload fun(message?: any, fields?: table): asyncio.CancelledError
local CancelledError = {}

---@class asyncio.EOFError: asyncio.Exception
---@overload fun(message?: any, fields?: table): asyncio.EOFError
local EOFError = {}

---@class asyncio.ExceptionGroup: asyncio.Exception
---@overload fun(message?: any, fields?: table): asyncio.ExceptionGroup
local ExceptionGroup = {}

---@class asyncio.IncompleteReadError: asyncio.EOFError
---@overload fun(message?: any, fields?: table): asyncio.IncompleteReadError
local IncompleteReadError = {}

---@class asyncio.InvalidStateError: asyncio.Exception
---@overload fun(message?: any, fields?: table): asyncio.InvalidStateError
local InvalidStateError = {}

---@class asyncio.KeyboardInterrupt: asyncio.BaseException
---@overload fun(message?: any, fields?: table): asyncio.KeyboardInterrupt
local KeyboardInterrupt = {}

---@class asyncio.LimitError: asyncio.Exception
---@overload fun(message?: any, fields?: table): asyncio.LimitError
local LimitError = {}

---@class asyncio.LimitOverrunError: asyncio.Exception
---@overload fun(message?: any, fields?: table): asyncio.LimitOverrunError
local LimitOverrunError = {}

---@class asyncio.OSError: asyncio.Exception
---@overload fun(message?: any, fields?: table): asyncio.OSError
local OSError = {}

---@class asyncio.PermissionError: asyncio.OSError
---@overload fun(message?: any, fields?: table): asyncio.PermissionError
local PermissionError = {}

---@class asyncio.QueueEmpty: asyncio.Exception
---@overload fun(message?: any, fields?: table): asyncio.QueueEmpty
local QueueEmpty = {}

---@class asyncio.QueueFull: asyncio.Exception
---@overload fun(message?: any, fields?: table): asyncio.QueueFull
local QueueFull = {}

---@class asyncio.QueueShutDown: asyncio.Exception
---@overload fun(message?: any, fields?: table): asyncio.QueueShutDown
local QueueShutDown = {}

---@class asyncio.SendfileNotAvailableError: asyncio.RuntimeError
---@overload fun(message?: any, fields?: table): asyncio.SendfileNotAvailableError
local SendfileNotAvailableError = {}

---@class asyncio.StopAsyncIteration: asyncio.Exception
---@overload fun(message?: any, fields?: table): asyncio.StopAsyncIteration
local StopAsyncIteration = {}

---@class asyncio.SystemExit: asyncio.BaseException
---@overload fun(message?: any, fields?: table): asyncio.SystemExit
local SystemExit = {}

---@class asyncio.Terminated: asyncio.BaseException
---@overload fun(message?: any, fields?: table): asyncio.Terminated
local Terminated = {}

---@class asyncio.TimeSliceError: asyncio.Terminated
---@overload fun(message?: any, fields?: table): asyncio.TimeSliceError
local TimeSliceError = {}

---@class asyncio.TimeoutError: asyncio.OSError
---@overload fun(message?: any, fields?: table): asyncio.TimeoutError
local TimeoutError = {}

---@class asyncio.TypeError: asyncio.Exception
---@overload fun(message?: any, fields?: table): asyncio.TypeError
local TypeError = {}

---@class asyncio.ValueError: asyncio.Exception
---@overload fun(message?: any, fields?: table): asyncio.ValueError
local ValueError = {}

---@class asyncio.context
local context = {}

--- The task's value of that key.
---@param key any
---@param default? any
---@return any
function context.get(key, default) end

--- Sets the value of a key; gives the one that was there.
---@param key any
---@param value any
---@return any
function context.set(key, value) end

--- Calls `f` in a copy: what it sets is gone afterwards.
---@async
---@param f function
---@param ... any
---@return any
---@return any ...
function context.run(f, ...) end

--- A function that calls `f` in that context (in a copy of the current one now, if none is given), for callbacks:
--- `loop:call_soon(asyncio.context.bind(f, context), ...)`.
---@generic F: function
---@param f F
---@param context? table
---@return F
function context.bind(f, context) end

--- A table, for `create_task(c, {context = ...})`. Tasks that are given the same one share it: what one sets the
--- others see, and it stands in the table afterwards.
---@return table
function context.copy() end

--- The module, with these names.
---@class asyncio.subprocess
---@field PIPE integer
---@field STDOUT integer
---@field DEVNULL integer
---@field Process table the methods of processes
---@field Terminal table the methods of terminals
---@field Duplex table the methods of streams that are read and written
local subprocess = {}

--- Starts a program with arguments (strings, numbers), without a shell; awaits to a Process. A name without "/" is
--- looked for in PATH (of `env`, if that has one). OSError with `code`, `path` and `syscall` ("spawn"; "chdir" when
--- it is `cwd` that is wrong).
---@async
---@param program string
---@param ... string|number|asyncio.SubprocessOptions
---@return asyncio.Process
function subprocess.create_subprocess_exec(program, ...) end

--- The same with `/bin/sh -c command`. What comes from outside must be quoted in a command.
---@async
---@param command string
---@param opts? asyncio.SubprocessOptions
---@return asyncio.Process
function subprocess.create_subprocess_shell(command, opts) end

---@class asyncio.RunOptions
---@field debug? boolean debug mode: slow callbacks are logged, tasks remember where they were made
---@field loop_factory? fun(): asyncio.Loop
---@field clock? "real"|"virtual"
---@field shuffle? integer a seed: what is ready runs in another order

---@class asyncio.LoopOptions
---@field clock? "real"|"virtual"
---@field debug? boolean
---@field shuffle? integer

---@class asyncio.TaskOptions
---@field name? string
---@field eager_start? boolean runs to its first suspension at once
---@field context? table
---@field loop? asyncio.Loop

---@class asyncio.WaitOptions
---@field timeout? number seconds; no TimeoutError is raised
---@field return_when? "ALL_COMPLETED"|"FIRST_COMPLETED"|"FIRST_EXCEPTION"

---@class asyncio.ScopeOptions
---@field shield? boolean outer scopes do not reach in

---@class asyncio.GraphOptions
---@field depth? integer
---@field limit? integer
---@field file? any of print_call_graph: where it is written

---@class asyncio.CallGraph
---@field future asyncio.Future
---@field call_stack table[]
---@field awaited_by asyncio.CallGraph[]
---@field cycle? boolean

---@class asyncio.ConnectionOptions
---@field limit? integer 64 KiB: of the reader
---@field family? "inet"|"inet6"|"unspec"
---@field proto? any
---@field flags? string|string[]
---@field local_addr? asyncio.Address
---@field happy_eyeballs_delay? number|false 0.25: seconds before the next address is tried beside the first
---@field interleave? integer
---@field all_errors? boolean raise an ExceptionGroup
---@field sock? any a connected socket that is taken over
---@field ssl? boolean|ssl.SSLContext
---@field server_hostname? string
---@field session? ssl.SSLSession
---@field ssl_handshake_timeout? number
---@field ssl_shutdown_timeout? number

---@class asyncio.ServerOptions
---@field limit? integer
---@field family? "inet"|"inet6"|"unspec"
---@field flags? string|string[]
---@field backlog? integer
---@field reuse_address? boolean
---@field reuse_port? boolean
---@field keep_alive? boolean
---@field start_serving? boolean
---@field sock? any a bound socket that is taken over
---@field ssl? ssl.SSLContext
---@field ssl_handshake_timeout? number
---@field ssl_shutdown_timeout? number
---@field server_hostname? string
---@field session? ssl.SSLSession
---@field http? http.core.Settings HTTP: the callback gets a connection of http.core

---@class asyncio.UnixServerOptions: asyncio.ServerOptions
---@field cleanup_socket? boolean the path is removed at the end

---@class asyncio.TLSOptions
---@field server_side? boolean
---@field server_hostname? string
---@field session? ssl.SSLSession
---@field ssl_handshake_timeout? number
---@field ssl_shutdown_timeout? number

---@class asyncio.DatagramOptions
---@field local_addr? asyncio.Address
---@field remote_addr? asyncio.Address
---@field family? "inet"|"inet6"
---@field reuse_port? boolean
---@field reuse_addr? boolean several members of a group
---@field allow_broadcast? boolean
---@field proto? any
---@field flags? string|string[]
---@field sock? any a datagram socket's descriptor, or an object with `detach`
---@field queue? integer 1024: datagrams that wait to be received
---@field queue_bytes? integer 4 MiB
---@field drop? "oldest"|"newest" what goes when the queue is full

---@class asyncio.SubprocessOptions
---@field stdin? asyncio.Stdio PIPE, DEVNULL, a descriptor, an open file, an object with `fileno()`, or a string that is written
---@field stdout? asyncio.Stdio
---@field stderr? asyncio.Stdio STDOUT, too
---@field limit? integer 65536: of the readers
---@field env? table<string, string> replaces the environment
---@field add_env? table<string, string|false> adds to it
---@field cwd? string
---@field executable? string the program that is run under that name
---@field pipes? table<integer, any> more descriptors: "r" we read, "w" we write, "rw" both
---@field pass_fds? integer[]
---@field close_fds? boolean
---@field pty? boolean|integer[] true or `{rows, cols}`: it runs in a terminal of its own
---@field start_new_session? boolean
---@field process_group? integer
---@field user? string|integer
---@field group? string|integer
---@field extra_groups? (string|integer)[]
---@field umask? integer
---@field kill_on_close? boolean|"group"

---@class asyncio.ProgressOptions
---@field desc? string what stands in front
---@field total? number of an iterator
---@field unit? string
---@field unit_scale? boolean 1.23k, 4.5M
---@field unit_divisor? integer
---@field bytes? boolean bytes, by 1024
---@field initial? number what was done before
---@field leave? boolean is the line left behind at the end?
---@field file? any
---@field ncols? integer
---@field mininterval? number seconds between drawings, 0.1
---@field smoothing? number 0 to 1
---@field rate? boolean false: it is not shown
---@field ascii? boolean
---@field colour? string
---@field disable? boolean
---@field postfix? string|table

--- One loop for several runs; the same options; has `<close>`.
---@class asyncio.Runner
---@overload fun(opts?: asyncio.RunOptions): asyncio.Runner
local Runner = {}

--- As `asyncio.run`, in the runner's loop. `opts`: `context`. The first Ctrl-C cancels `main`; it becomes
--- KeyboardInterrupt if nothing takes the cancel back; the second one is raised at once.
---@param main any
---@param opts? { context?: table }
---@return any
---@return any ...
function Runner:run(main, opts) end

--- The loop, made when it is first needed.
---@return asyncio.Loop
function Runner:get_loop() end

--- Cancels what is left and closes the loop. The second time nothing happens.
function Runner:close() end

---@class asyncio.Loop
---@field slow_callback_duration number debug mode: callbacks that take longer are logged (0.1)
local Loop = {}

--- Runs until it is done; gives its values or raises its error. RuntimeError if the loop is stopped before, or if
--- nothing is left that could wake what is awaited: the tasks that wait are named.
---@param aw any
---@return any
---@return any ...
function Loop:run_until_complete(aw) end

--- Runs until `stop`, or until nothing is left to do.
function Loop:run_forever() end

--- Ends the run after the current round.
function Loop:stop() end

--- Frees the loop. Tasks that are pending are destroyed and reported.
function Loop:close() end

--- Gives a boolean.
---@return boolean
function Loop:is_running() end

--- Gives a boolean.
---@return boolean
function Loop:is_closed() end

--- The loop's clock, monotonic.
---@return number
function Loop:time() end

--- Frames a second where no host says when one begins: 60. `math.huge`: one after the other.
---@param hz number
function Loop:set_frame_rate(hz) end

--- Frames a second where no host says when one begins: 60. `math.huge`: one after the other.
---@return number
function Loop:get_frame_rate() end

--- How fast the loop's time goes: 1 as its clock, 0.5 half as fast, 0 not at all: timers wait, frames come with a
--- `dt` of 0.
---@param scale number
function Loop:set_time_scale(scale) end

--- How fast the loop's time goes: 1 as its clock, 0.5 half as fast, 0 not at all: timers wait, frames come with a
--- `dt` of 0.
---@return number
function Loop:get_time_scale() end

--- Calls `f(...)` in the next round. Gives a Handle. Errors go to the exception handler.
---@param f asyncio.Callback
---@param ... any
---@return asyncio.Handle
function Loop:call_soon(f, ...) end

--- The same, and wakes the loop.
---@param f asyncio.Callback
---@param ... any
---@return asyncio.Handle
function Loop:call_soon_threadsafe(f, ...) end

--- Gives a TimerHandle. Timers of one moment fire in the order they were made.
---@param delay number
---@param f asyncio.Callback
---@param ... any
---@return asyncio.TimerHandle
function Loop:call_later(delay, f, ...) end

--- Gives a TimerHandle. Timers of one moment fire in the order they were made.
---@param when number
---@param f asyncio.Callback
---@param ... any
---@return asyncio.TimerHandle
function Loop:call_at(when, f, ...) end

--- Gives a Future.
---@return asyncio.Future
function Loop:create_future() end

--- As `asyncio.create_task`.
---@param coroutine? any
---@param opts? asyncio.TaskOptions
---@return asyncio.Task
function Loop:create_task(coroutine, opts) end

--- `f(loop, context)` hears of errors that nothing handles; nil: the default handler, which logs. `context.message`,
--- `.exception`, and as it applies `.task`, `.future`, `.handle`, `.traceback`, and in debug mode
--- `.source_traceback`: where the task was made.
---@param f? fun(loop: asyncio.Loop, context: asyncio.ExceptionContext)
function Loop:set_exception_handler(f) end

--- The handler; calling it; the default.
---@return function?
function Loop:get_exception_handler() end

--- The handler; calling it; the default.
---@param context asyncio.ExceptionContext
function Loop:call_exception_handler(context) end

--- The handler; calling it; the default.
---@param context asyncio.ExceptionContext
function Loop:default_exception_handler(context) end

--- `f(loop, coroutine, opts)` makes the tasks; nil: the loop does.
---@param f? fun(loop: asyncio.Loop, coroutine: any, opts?: asyncio.TaskOptions): asyncio.Task
function Loop:set_task_factory(f) end

--- `f(loop, coroutine, opts)` makes the tasks; nil: the loop does.
---@return function?
function Loop:get_task_factory() end

--- Debug mode: callbacks slower than the field `slow_callback_duration` (0.1) are logged, tasks remember where they
--- were made.
---@param on boolean
function Loop:set_debug(on) end

--- Debug mode: callbacks slower than the field `slow_callback_duration` (0.1) are logged, tasks remember where they
--- were made.
---@return boolean
function Loop:get_debug() end

--- Awaits to an array of `{family, type, proto, canonname, address}` (fields of these names too; `address` is `{ip,
--- port}`). `opts`: `family` ("inet", "inet6"), `type` ("stream", "dgram", "raw"), `proto` ("tcp", "udp"), `flags`
--- ("passive", "canonname", "numerichost", "numericserv", "addrconfig", "v4mapped", "all", or an array of them).
--- OSError with `code` and `host`. A name in UTF-8 is looked up in its ASCII form (IDNA).
---@async
---@param host? string
---@param port? integer|string
---@param opts? asyncio.AddressOptions
---@return asyncio.AddressInfo[]
function Loop:getaddrinfo(host, port, opts) end

--- Awaits to host and service of `{ip, port}`. `flags`: "numerichost", "numericserv", "namereqd", "nofqdn", "dgram",
--- or an array of them.
---@async
---@param address asyncio.Address
---@param flags? string|string[]
---@return string
---@return string
function Loop:getnameinfo(address, flags) end

--- `f(host, port, opts)` gives the addresses of host names on this loop, in place of the system: an array of IP
--- addresses, `{ip, port}` or entries as of `getaddrinfo`, or an awaitable of it. nil: the system again. IP addresses
--- are not asked for.
---@param f? fun(host: string, port: any, opts: table): any
function Loop:set_resolver(f) end

--- Calls `f(...)` on the loop whenever the signal comes; see signals. A second one for the same signal replaces the
--- first.
---@param signal asyncio.Signal
---@param f asyncio.Callback
---@param ... any
function Loop:add_signal_handler(signal, f, ...) end

--- Gives whether there was one.
---@param signal asyncio.Signal
---@return boolean
function Loop:remove_signal_handler(signal) end

--- Start a program for a protocol; await to transport and protocol. Options as `asyncio.create_subprocess_exec`
--- without `limit`.
---@async
---@param factory fun(): table
---@param program string
---@param ... string|number|asyncio.SubprocessOptions
---@return asyncio.SubprocessTransport
---@return table
function Loop:subprocess_exec(factory, program, ...) end

--- Start a program for a protocol; await to transport and protocol. Options as `asyncio.create_subprocess_exec`
--- without `limit`.
---@async
---@param factory fun(): table
---@param command string
---@param opts? asyncio.SubprocessOptions
---@return asyncio.SubprocessTransport
---@return table
function Loop:subprocess_shell(factory, command, opts) end

--- Connect; await to transport and protocol. `factory()` gives a table with any of the methods
--- `connection_made(transport)`, `data_received(bytes)`, `eof_received()`, `pause_writing()`, `resume_writing()`,
--- `connection_lost(err)`. Options as `asyncio.open_connection` without `limit`.
---@async
---@param factory fun(): table
---@param host? string
---@param port? integer|string
---@param opts? asyncio.ConnectionOptions
---@return asyncio.Transport
---@return table
function Loop:create_connection(factory, host, port, opts) end

--- Connect; await to transport and protocol. `factory()` gives a table with any of the methods
--- `connection_made(transport)`, `data_received(bytes)`, `eof_received()`, `pause_writing()`, `resume_writing()`,
--- `connection_lost(err)`. Options as `asyncio.open_connection` without `limit`.
---@async
---@param factory fun(): table
---@param path? string
---@param opts? asyncio.ConnectionOptions
---@return asyncio.Transport
---@return table
function Loop:create_unix_connection(factory, path, opts) end

--- Goes on with a socket that was accepted elsewhere; it is taken over. Awaits to transport and protocol. `opts`:
--- `ssl` (an SSLContext: the server's side), `ssl_handshake_timeout`, `ssl_shutdown_timeout`.
---@async
---@param factory fun(): table
---@param sock socket.Socket
---@param opts? asyncio.ConnectionOptions
---@return asyncio.Transport
---@return table
function Loop:connect_accepted_socket(factory, sock, opts) end

--- Listen; await to a Server.
---@async
---@param factory fun(): table
---@param host? string|string[]
---@param port? integer|string
---@param opts? asyncio.ServerOptions
---@return asyncio.Server
function Loop:create_server(factory, host, port, opts) end

--- Listen; await to a Server.
---@async
---@param factory fun(): table
---@param path? string
---@param opts? asyncio.UnixServerOptions
---@return asyncio.Server
function Loop:create_unix_server(factory, path, opts) end

--- Goes on with TLS; awaits to the transport. `opts`: `server_side`, `server_hostname`, `session`,
--- `ssl_handshake_timeout`, `ssl_shutdown_timeout`.
---@async
---@param transport asyncio.Transport
---@param protocol table
---@param sslcontext ssl.SSLContext
---@param opts? asyncio.TLSOptions
---@return asyncio.Transport
function Loop:start_tls(transport, protocol, sslcontext, opts) end

--- A UDP socket for a protocol; awaits to a DatagramTransport and the protocol. `factory()` gives a table with any of
--- the methods `connection_made(transport)`, `datagram_received(data, addr)`, `error_received(err)`,
--- `pause_writing()`, `resume_writing()`, `connection_lost(err)`. `opts`: those of `asyncio.open_datagram` but the
--- queue's.
---@async
---@param factory fun(): table
---@param opts? asyncio.DatagramOptions
---@return asyncio.DatagramTransport
---@return table
function Loop:create_datagram_endpoint(factory, opts) end

--- Sends a regular file through a Transport or StreamWriter, after what was written before: by the kernel, on a
--- thread; with TLS by reading and writing, unless `opts.fallback` is false: SendfileNotAvailableError. Meanwhile
--- writing is a RuntimeError. `file` is a path, a descriptor, a Lua file or an object with a method `fileno`. Awaits
--- to the number of bytes.
---@async
---@param transport asyncio.Transport|asyncio.StreamWriter
---@param file any
---@param offset? integer
---@param count? integer
---@param opts? { fallback?: boolean }
---@return integer
function Loop:sendfile(transport, file, offset, count, opts) end

--- Calls `f(...)` as long as a descriptor (a number, a socket, a Lua file or an object with a method `fileno`) can be
--- read, be written; replace what was there before. OSError: "EPERM" for regular files.
---@param fd any
---@param f asyncio.Callback
---@param ... any
function Loop:add_reader(fd, f, ...) end

--- Calls `f(...)` as long as a descriptor (a number, a socket, a Lua file or an object with a method `fileno`) can be
--- read, be written; replace what was there before. OSError: "EPERM" for regular files.
---@param fd any
---@param f asyncio.Callback
---@param ... any
function Loop:add_writer(fd, f, ...) end

--- Was there one?
---@param fd any
---@return boolean
function Loop:remove_reader(fd) end

--- Was there one?
---@param fd any
---@return boolean
function Loop:remove_writer(fd) end

--- The socket's own `recv`.
---@async
---@param sock socket.Socket
---@param n integer
---@return string?
function Loop:sock_recv(sock, n) end

--- The socket's own `recv_into`.
---@async
---@param sock socket.Socket
---@param buffer socket.Buffer
---@return integer
function Loop:sock_recv_into(sock, buffer) end

--- The socket's own `recvfrom`.
---@async
---@param sock socket.Socket
---@param n integer
---@return string
---@return asyncio.Address
function Loop:sock_recvfrom(sock, n) end

--- The socket's own `recvfrom_into`.
---@async
---@param sock socket.Socket
---@param buffer socket.Buffer
---@return integer
---@return asyncio.Address
function Loop:sock_recvfrom_into(sock, buffer) end

--- The socket's own `sendall`.
---@async
---@param sock socket.Socket
---@param data string|socket.Buffer
function Loop:sock_sendall(sock, data) end

--- The socket's own `sendto`.
---@async
---@param sock socket.Socket
---@param data string|socket.Buffer
---@param address asyncio.Address
---@return integer
function Loop:sock_sendto(sock, data, address) end

--- The socket's own `sendfile`.
---@async
---@param sock socket.Socket
---@param file any
---@param offset? integer
---@param count? integer
---@return integer
function Loop:sock_sendfile(sock, file, offset, count) end

--- The socket's own `connect`.
---@async
---@param sock socket.Socket
---@param address asyncio.Address
function Loop:sock_connect(sock, address) end

--- The socket's own `accept`.
---@async
---@param sock socket.Socket
---@return socket.Socket
---@return asyncio.Address
function Loop:sock_accept(sock) end

--- A pipe, socket or terminal: a descriptor (taken over), a file of `io`, an object with `fileno()`; await to
--- transport and protocol. ValueError for files, OSError (EPERM) for /dev/null and the like.
---@async
---@param factory fun(): table
---@param pipe asyncio.Stdio
---@return asyncio.Transport
---@return table
function Loop:connect_read_pipe(factory, pipe) end

--- A pipe, socket or terminal: a descriptor (taken over), a file of `io`, an object with `fileno()`; await to
--- transport and protocol. ValueError for files, OSError (EPERM) for /dev/null and the like.
---@async
---@param factory fun(): table
---@param pipe asyncio.Stdio
---@return asyncio.Transport
---@return table
function Loop:connect_write_pipe(factory, pipe) end

--- Calls `f(...)` in a worker of the executor (nil: the loop's own, of threads) and gives a future, at once. See
--- Executors.
---@param executor concurrent.futures.Executor|nil
---@param f function
---@param ... any
---@return asyncio.Future|any
function Loop:run_in_executor(executor, f, ...) end

--- The ThreadPoolExecutor that nil stands for; the loop shuts it down.
---@param executor concurrent.futures.ThreadPoolExecutor
function Loop:set_default_executor(executor) end

--- Awaits until its threads have ended, for at most `timeout` seconds; no more calls are taken. `asyncio.run` does
--- this at its end, with 300 seconds.
---@async
---@param timeout? number
function Loop:shutdown_default_executor(timeout) end

---@class asyncio.ExceptionContext
---@field message string
---@field exception? any
---@field task? asyncio.Task
---@field future? asyncio.Future
---@field handle? asyncio.Handle
---@field traceback? string
---@field source_traceback? any in debug mode: where the task was made

---@class asyncio.AddressOptions
---@field family? "inet"|"inet6"
---@field type? "stream"|"dgram"|"raw"
---@field proto? "tcp"|"udp"
---@field flags? string|string[] "passive", "canonname", "numerichost", "numericserv", "addrconfig", "v4mapped", "all"

---@class asyncio.AddressInfo
---@field family string
---@field type string
---@field proto string
---@field canonname? string
---@field address asyncio.Address

---@class asyncio.Handle
local Handle = {}

--- The function is not called; a timer is freed at once.
function Handle:cancel() end

--- Gives a boolean.
---@return boolean
function Handle:cancelled() end

---@class asyncio.TimerHandle: asyncio.Handle
local TimerHandle = {}

--- Of a TimerHandle: the loop's time when it is due.
---@return number
function TimerHandle:when() end

--- As `loop:create_future()`. `opts`: `loop`.
---@class asyncio.Future
---@overload fun(opts?: { loop?: asyncio.Loop }): asyncio.Future
local Future = {}

--- The values, or raises the error; InvalidStateError if it is not done.
---@return any
---@return any ...
function Future:result() end

--- The error or nil; raises CancelledError if it was cancelled, InvalidStateError if it is not done.
---@return any
function Future:exception() end

--- Gives a boolean.
---@return boolean
function Future:done() end

--- Gives a boolean.
---@return boolean
function Future:cancelled() end

--- True if it was not done. The CancelledError has `msg` as its message.
---@param msg? any
---@return boolean
function Future:cancel(msg) end

--- InvalidStateError if it is done, RuntimeError for tasks.
---@param value? any
function Future:set_result(value) end

--- InvalidStateError if it is done, RuntimeError for tasks.
---@param err any
function Future:set_exception(err) end

--- `f(future)` is called through the loop, at once in that sense if it is done. A function that is added twice is
--- called twice.
---@param f fun(future: asyncio.Future)
function Future:add_done_callback(f) end

--- Gives how often it was there.
---@param f function
---@return integer
function Future:remove_done_callback(f) end

--- Its loop.
---@return asyncio.Loop
function Future:get_loop() end

--- What task factories build on: a task, made by the loop itself.
---@class asyncio.Task: asyncio.Future
---@overload fun(coroutine: any, opts?: asyncio.TaskOptions): asyncio.Task
local Task = {}

--- "Task-N" unless it is set.
---@return string
function Task:get_name() end

--- "Task-N" unless it is set.
---@param name string
function Task:set_name(name) end

--- What it runs.
---@return any
function Task:get_coro() end

--- Its context table, for `create_task(c, {context = ...})`: the same one each time.
---@return table
function Task:get_context() end

--- An array of `{source, line, name}`, innermost first. `opts`: `limit`.
---@param opts? { limit?: integer }
---@return { source: string, line: integer, name: string? }[]
function Task:get_stack(opts) end

--- Writes it to the log. `opts`: `limit`, `file`.
---@param opts? { limit?: integer, file?: any }
function Task:print_stack(opts) end

--- How often it was cancelled, less uncancelled.
---@return integer
function Task:cancelling() end

--- Takes one cancel back; gives what is left. At 0 a cancel that was not delivered yet is withdrawn.
---@return integer
function Task:uncancel() end

--- Their class.
---@class asyncio.Timeout
local Timeout = {}

--- The deadline or nil.
---@return number?
function Timeout:when() end

--- Moves it (loop time); RuntimeError once it has expired or was left.
---@param when? number
function Timeout:reschedule(when) end

--- Gives a boolean.
---@return boolean
function Timeout:expired() end

--- `local g <close> = asyncio.TaskGroup()`, or by `asyncio.with`: waits for its tasks at the end. The first error
--- cancels the rest; all errors are raised as one ExceptionGroup.
---@class asyncio.TaskGroup
---@overload fun(): asyncio.TaskGroup
local TaskGroup = {}

--- As `asyncio.create_task`; RuntimeError when the group has failed or ended.
---@param coroutine? any
---@param opts? asyncio.TaskOptions
---@return asyncio.Task
function TaskGroup:create_task(coroutine, opts) end

--- A part of the task that can be cancelled: every await in it that suspends raises until it is left. `opts`:
--- `deadline` (loop time), `shield` (outer scopes do not reach in). With `asyncio.with` it swallows its own
--- CancelledError. Fields: `deadline`, `shield` (both may be set), `cancel_called`, `cancelled_caught`; method
--- `cancel(reason)`.
---@class asyncio.CancelScope
---@field deadline number? loop time; may be set
---@field shield boolean outer scopes do not reach in; may be set
---@field cancel_called boolean
---@field cancelled_caught boolean
---@overload fun(opts?: { deadline?: number, shield?: boolean }): asyncio.CancelScope
local CancelScope = {}

--- Cancels what is in the scope: every await in it that suspends raises.
---@param reason? any
function CancelScope:cancel(reason) end

---@class asyncio.Lock
---@overload fun(): asyncio.Lock
local Lock = {}

--- Awaits to true once it is taken.
---@async
---@return boolean
function Lock:acquire() end

--- RuntimeError if it is not taken.
function Lock:release() end

--- Gives a boolean.
---@return boolean
function Lock:locked() end

--- `local _ <close> = await(lock:guard())`: takes it and releases it at the end. `asyncio.with(lock, f)` does the
--- same.
---@async
---@return any
function Lock:guard() end

---@class asyncio.Event
---@overload fun(): asyncio.Event
local Event = {}

--- Set wakes all who wait.
function Event:set() end

--- Set wakes all who wait.
function Event:clear() end

--- Set wakes all who wait.
---@return boolean
function Event:is_set() end

--- Awaits to true once it is set.
---@async
---@return boolean
function Event:wait() end

---@class asyncio.Condition
---@field lock asyncio.Lock
---@overload fun(lock?: asyncio.Lock): asyncio.Condition
local Condition = {}

--- The lock's.
---@async
---@return boolean
function Condition:acquire() end

--- The lock's.
function Condition:release() end

--- The lock's.
---@return boolean
function Condition:locked() end

--- The lock's.
---@async
---@return any
function Condition:guard() end

--- Lets go of the lock, waits for a notify, takes the lock again; awaits to true. RuntimeError without the lock.
---@async
---@return boolean
function Condition:wait() end

--- Waits until `predicate()` is true; awaits to its value.
---@async
---@generic T
---@param predicate fun(): T
---@return T
function Condition:wait_for(predicate) end

--- Wakes `n` (1) waiters, or all. RuntimeError without the lock.
---@param n? integer
function Condition:notify(n) end

--- Wakes `n` (1) waiters, or all. RuntimeError without the lock.
function Condition:notify_all() end

---@class asyncio.Semaphore
---@overload fun(value?: integer): asyncio.Semaphore
local Semaphore = {}

--- Awaits to true once a permit is there.
---@async
---@return boolean
function Semaphore:acquire() end

--- Gives one back; a BoundedSemaphore raises ValueError above its first value.
function Semaphore:release() end

--- Would `acquire` wait?
---@return boolean
function Semaphore:locked() end

--- As a lock's.
---@async
---@return any
function Semaphore:guard() end

---@class asyncio.BoundedSemaphore: asyncio.Semaphore
---@overload fun(value?: integer): asyncio.BoundedSemaphore
local BoundedSemaphore = {}

---@class asyncio.Barrier
---@field parties integer
---@field n_waiting integer
---@field broken boolean
---@overload fun(parties: integer): asyncio.Barrier
local Barrier = {}

--- Waits until `parties` tasks do; awaits to a number from 0, different for each. BrokenBarrierError if it is aborted
--- or reset.
---@async
---@return integer
function Barrier:wait() end

--- Awaitable: empty and whole again; who waits gets BrokenBarrierError.
---@async
function Barrier:reset() end

--- Awaitable: broken until `reset`.
---@async
function Barrier:abort() end

---@class asyncio.Queue
---@field maxsize integer
---@overload fun(maxsize?: integer|{ maxsize?: integer }): asyncio.Queue
local Queue = {}

--- Waits for room, for an item. QueueShutDown after `shutdown`.
---@async
---@param item any
function Queue:put(item) end

--- Waits for room, for an item. QueueShutDown after `shutdown`.
---@async
---@return any
function Queue:get() end

--- QueueFull, QueueEmpty instead of waiting.
---@param item any
function Queue:put_nowait(item) end

--- QueueFull, QueueEmpty instead of waiting.
---@return any
function Queue:get_nowait() end

--- For `for item in queue:items() do`: ends when the queue was shut down and is empty.
---@return fun(): any
function Queue:items() end

--- How many; is it empty; is it full.
---@return integer
function Queue:qsize() end

--- How many; is it empty; is it full.
---@return boolean
function Queue:empty() end

--- How many; is it empty; is it full.
---@return boolean
function Queue:full() end

--- One item that was got is dealt with; ValueError if called too often.
function Queue:task_done() end

--- Waits until every item is dealt with.
---@async
function Queue:join() end

--- No more puts; gets end when it is empty. `immediate` (or `{immediate = true}`): it is emptied.
---@param immediate? boolean|{ immediate?: boolean }
function Queue:shutdown(immediate) end

---@class asyncio.PriorityQueue: asyncio.Queue
---@overload fun(maxsize?: integer|{ maxsize?: integer }): asyncio.PriorityQueue
local PriorityQueue = {}

---@class asyncio.LifoQueue: asyncio.Queue
---@overload fun(maxsize?: integer|{ maxsize?: integer }): asyncio.LifoQueue
local LifoQueue = {}

--- A reader that is fed by hand. `opts`: `limit`.
---@class asyncio.StreamReader
---@overload fun(opts?: { limit?: integer }): asyncio.StreamReader
local StreamReader = {}

--- Awaits to at most `n` bytes, as soon as there are any, or nil at the end; without `n` to all until the end, maybe
--- "".
---@async
---@param n? integer
---@return string?
function StreamReader:read(n) end

--- Awaits to a line with its break; the last one may have none; nil at the end. ValueError when it is longer than the
--- limit.
---@async
---@return string?
function StreamReader:readline() end

--- IncompleteReadError (`partial`, `expected`) when the stream ends before.
---@async
---@param n integer
---@return string
function StreamReader:readexactly(n) end

--- Up to and with the separator ("\n"; an array: the first that comes). LimitOverrunError (`consumed`) leaves the
--- bytes where they are; IncompleteReadError at the end.
---@async
---@param separator? string|string[]
---@return string
function StreamReader:readuntil(separator) end

--- For `for line in reader:lines() do`: without line breaks.
---@return fun(): string?
function StreamReader:lines() end

--- Of a body of HTTP: what has come.
---@async
---@return string?
function StreamReader:readany() end

--- Of a body of HTTP: as it comes.
---@return fun(): string?
function StreamReader:iter_any() end

--- Of a body of HTTP: in pieces of n bytes at most.
---@param n integer
---@return fun(): string?
function StreamReader:iter_chunked(n) end

--- Of a body of HTTP: as it comes.
---@return fun(): string?, boolean?
function StreamReader:iter_chunks() end

--- Is everything read?
---@return boolean
function StreamReader:at_eof() end

--- What the connection does, by hand.
---@param bytes string
function StreamReader:feed_data(bytes) end

--- What the connection does, by hand.
function StreamReader:feed_eof() end

--- The error that reads raise.
---@return any
function StreamReader:exception() end

--- The error that reads raise.
---@param err any
function StreamReader:set_exception(err) end

--- A writer for a transport of the loop's methods.
---@class asyncio.StreamWriter
---@overload fun(transport: any, protocol: table, reader?: asyncio.StreamReader): asyncio.StreamWriter
local StreamWriter = {}

--- Never wait: tried at once, or, if other tasks are ready to run, when these have run; the rest is queued.
---@param bytes string
function StreamWriter:write(bytes) end

--- Never wait: tried at once, or, if other tasks are ready to run, when these have run; the rest is queued.
---@param array string[]
function StreamWriter:writelines(array) end

--- Waits while more than the high-water mark (64 KiB) is queued. Raises the error of a connection that is lost.
---@async
function StreamWriter:drain() end

--- No more will be written; reading goes on.
function StreamWriter:write_eof() end

--- No more will be written; reading goes on.
---@return boolean
function StreamWriter:can_write_eof() end

--- What is queued is still sent.
function StreamWriter:close() end

--- Waits until the connection is closed; raises its error.
---@async
function StreamWriter:wait_closed() end

--- Gives a boolean.
---@return boolean
function StreamWriter:is_closing() end

--- Goes on with TLS, as a server on a server's side. `opts`: `server_hostname`, `session`, `ssl_handshake_timeout`,
--- `ssl_shutdown_timeout`. What the peer has sent before and nobody has read is taken as the beginning of its
--- handshake.
---@async
---@param sslcontext ssl.SSLContext
---@param opts? asyncio.TLSOptions
function StreamWriter:start_tls(sslcontext, opts) end

--- As `loop:sendfile(writer, ...)`.
---@async
---@param file any
---@param offset? integer
---@param count? integer
---@param opts? { fallback?: boolean }
---@return integer
function StreamWriter:sendfile(file, offset, count, opts) end

--- "peername", "sockname" (tables `{host, port}`; unix: the path), "socket"; with TLS "ssl_object", "sslcontext",
--- "peercert", "cipher" (`{name, protocol, bits}`), "alpn", "compression" (nil).
---@param name string
---@param default? any
---@return any
function StreamWriter:get_extra_info(name, default) end

---@class asyncio.StandardStream
local StandardStream = {}

--- Never waits: what cannot be written at once is queued.
---@param bytes string
function StandardStream:write(bytes) end

--- Writes an array of strings.
---@param array string[]
function StandardStream:writelines(array) end

--- Waits until there is room for more.
---@async
function StandardStream:drain() end

--- No more will be written; the reader sees the end.
function StandardStream:write_eof() end

--- Can `write_eof` be called?
---@return boolean
function StandardStream:can_write_eof() end

--- Lets go of the stream; the descriptor stays open for `print`.
function StandardStream:close() end

--- Waits until all is written.
---@async
function StandardStream:wait_closed() end

--- Was it closed?
---@return boolean
function StandardStream:is_closing() end

--- "pipe": the file of `io`.
---@param name string
---@param default? any
---@return any
function StandardStream:get_extra_info(name, default) end

--- The descriptor.
---@return integer
function StandardStream:fileno() end

--- The protocol between a transport and a reader.
---@class asyncio.StreamReaderProtocol
---@overload fun(reader: asyncio.StreamReader, cb?: (fun(reader: asyncio.StreamReader, writer: asyncio.StreamWriter))): asyncio.StreamReaderProtocol
local StreamReaderProtocol = {}

---@class asyncio.Transport
local Transport = {}

--- Never waits: tried at once, the rest is queued.
---@param bytes string
function Transport:write(bytes) end

--- Writes an array of strings.
---@param array string[]
function Transport:writelines(array) end

--- No more will be written; reading goes on.
function Transport:write_eof() end

--- Can `write_eof` be called?
---@return boolean
function Transport:can_write_eof() end

--- Closes; what is queued is still sent.
function Transport:close() end

--- Was it closed?
---@return boolean
function Transport:is_closing() end

--- What a StreamWriter gives of that name.
---@param name string
---@param default? any
---@return any
function Transport:get_extra_info(name, default) end

--- Closes at once; what is queued is lost.
function Transport:abort() end

--- Reads nothing until `resume_reading`.
function Transport:pause_reading() end

--- Reads again.
function Transport:resume_reading() end

--- Does it read?
---@return boolean
function Transport:is_reading() end

--- `high`, `low`: when `pause_writing` and `resume_writing` are called.
---@param opts? { high?: integer, low?: integer }
function Transport:set_write_buffer_limits(opts) end

--- Low and high; bytes queued.
---@return integer
---@return integer
function Transport:get_write_buffer_limits() end

--- Low and high; bytes queued.
---@return integer
function Transport:get_write_buffer_size() end

--- Who is told from now on.
---@param protocol table
function Transport:set_protocol(protocol) end

--- Who is told.
---@return table
function Transport:get_protocol() end

--- The class of servers.
---@class asyncio.Server
---@field sockets asyncio.ServerSocket[]
local Server = {}

--- Listens no more; connections go on.
function Server:close() end

--- Waits until it is closed and its connections are done.
---@async
function Server:wait_closed() end

--- Ends the connections: gently, at once.
function Server:close_clients() end

--- Ends the connections: gently, at once.
function Server:abort_clients() end

--- Does it listen?
---@return boolean
function Server:is_serving() end

--- Its loop.
---@return asyncio.Loop
function Server:get_loop() end

--- Awaitable; for servers made with `start_serving = false`.
---@async
function Server:start_serving() end

--- Serves until it is cancelled or closed; then closes, and raises CancelledError.
---@async
function Server:serve_forever() end

---@class asyncio.ServerSocket
---@field host? string
---@field port? integer
---@field family? string
---@field path? string of a unix socket
---@field address? string
---@field getsockname fun(self: asyncio.ServerSocket): any

---@class asyncio.DatagramEndpoint
local DatagramEndpoint = {}

--- Sends at once, or queues; without `addr` to `remote_addr`. Gives true, or false when it was dropped because too
--- much is queued. OSError: "EMSGSIZE" and the like.
---@param data string
---@param addr? asyncio.Address
---@return boolean
function DatagramEndpoint:send(data, addr) end

--- Awaits to a datagram and its sender's address; to nil when the endpoint is closed. OSError when a datagram could
--- not be delivered (connected sockets); the endpoint goes on.
---@async
---@return string?
---@return asyncio.Address
function DatagramEndpoint:recv() end

--- A datagram and its sender's address, or nothing.
---@return string?
---@return asyncio.Address
function DatagramEndpoint:recv_nowait() end

--- Iterates over them until the endpoint is closed.
---@return fun(): string?, asyncio.Address
function DatagramEndpoint:datagrams() end

--- Waits until there is room to send.
---@async
function DatagramEndpoint:drain() end

--- How many datagrams wait to be received.
---@return integer
function DatagramEndpoint:qsize() end

--- How many received ones, and ones to be sent, were dropped.
---@return integer
function DatagramEndpoint:dropped() end

--- What is queued is still sent.
function DatagramEndpoint:close() end

--- What is queued is still sent.
---@async
function DatagramEndpoint:wait_closed() end

--- What is queued is still sent.
---@return boolean
function DatagramEndpoint:is_closing() end

--- What is queued is lost.
function DatagramEndpoint:abort() end

--- "sockname", "peername".
---@param name string
---@param default? any
---@return any
function DatagramEndpoint:get_extra_info(name, default) end

--- The descriptor, or -1.
---@return integer
function DatagramEndpoint:fileno() end

--- As a Transport's.
---@return integer
---@return integer
function DatagramEndpoint:get_write_buffer_limits() end

--- As a Transport's.
---@param opts? { high?: integer, low?: integer }
function DatagramEndpoint:set_write_buffer_limits(opts) end

--- As a Transport's.
---@return integer
function DatagramEndpoint:get_write_buffer_size() end

--- How many routers a datagram may pass.
---@param n integer
function DatagramEndpoint:set_ttl(n) end

--- May it send to broadcast addresses?
---@param on boolean
function DatagramEndpoint:set_broadcast(on) end

--- Multicast. `opts`: `interface` (a name or an address), `source`.
---@param group string
---@param opts? { interface?: string, source?: string }
function DatagramEndpoint:join_group(group, opts) end

--- Multicast. `opts`: `interface` (a name or an address), `source`.
---@param group string
---@param opts? { interface?: string, source?: string }
function DatagramEndpoint:leave_group(group, opts) end

--- How many routers a datagram to a group may pass.
---@param n integer
function DatagramEndpoint:set_multicast_ttl(n) end

--- Does this host get what it sends to groups?
---@param on boolean
function DatagramEndpoint:set_multicast_loopback(on) end

--- Where datagrams to groups go out: a name or an address.
---@param interface string
function DatagramEndpoint:set_multicast_interface(interface) end

---@class asyncio.DatagramTransport
local DatagramTransport = {}

--- Sends at once, or queues, then `pause_writing` is called above the high-water mark. Errors go to `error_received`.
---@param data string
---@param addr? asyncio.Address
function DatagramTransport:sendto(data, addr) end

--- Who is told.
---@return table
function DatagramTransport:get_protocol() end

--- Who is told from now on.
---@param protocol table
function DatagramTransport:set_protocol(protocol) end

--- Closes; what is queued is still sent.
function DatagramTransport:close() end

--- Closes at once; what is queued is lost.
function DatagramTransport:abort() end

--- Was it closed?
---@return boolean
function DatagramTransport:is_closing() end

--- "sockname", "peername".
---@param name string
---@param default? any
---@return any
function DatagramTransport:get_extra_info(name, default) end

--- The descriptor, or -1.
---@return integer
function DatagramTransport:fileno() end

--- Low and high.
---@return integer
---@return integer
function DatagramTransport:get_write_buffer_limits() end

--- When `pause_writing` and `resume_writing` are called.
---@param opts? { high?: integer, low?: integer }
function DatagramTransport:set_write_buffer_limits(opts) end

--- How many bytes are queued.
---@return integer
function DatagramTransport:get_write_buffer_size() end

--- How many routers a datagram may pass.
---@param n integer
function DatagramTransport:set_ttl(n) end

--- May it send to broadcast addresses?
---@param on boolean
function DatagramTransport:set_broadcast(on) end

--- Joins a multicast group.
---@param group string
---@param opts? { interface?: string, source?: string }
function DatagramTransport:join_group(group, opts) end

--- Leaves a multicast group.
---@param group string
---@param opts? { interface?: string, source?: string }
function DatagramTransport:leave_group(group, opts) end

--- How many routers a datagram to a group may pass.
---@param n integer
function DatagramTransport:set_multicast_ttl(n) end

--- Does this host get what it sends to groups?
---@param on boolean
function DatagramTransport:set_multicast_loopback(on) end

--- Where datagrams to groups go out: a name or an address.
---@param interface string
function DatagramTransport:set_multicast_interface(interface) end

---@class asyncio.Process
---@field pid integer
---@field returncode integer? nil while it runs, -N when signal N has ended it
---@field stdin asyncio.StreamWriter? with PIPE
---@field stdout asyncio.StreamReader? with PIPE
---@field stderr asyncio.StreamReader? with PIPE
---@field pipes table<integer, any>
---@field pty asyncio.Terminal?
---@field args string[]
local Process = {}

--- Writes `input` to stdin and closes it, reads stdout and stderr to their ends, awaits the program's end. Awaits to
--- both (nil without `PIPE`); with `pty` to what was shown. A program that does not read its input is no error.
---@async
---@param input? string
---@return string?
---@return string?
function Process:communicate(input) end

--- Awaits to the return code. May be cancelled and awaited again, also by several tasks. The end of the program and
--- the end of its output are two things: output can still be read afterwards, and a program whose output nobody reads
--- may never end.
---@async
---@return integer
function Process:wait() end

--- By number or name; SIGTERM; SIGKILL. OSError (ESRCH) after the end.
---@param signal asyncio.Signal
function Process:send_signal(signal) end

--- By number or name; SIGTERM; SIGKILL. OSError (ESRCH) after the end.
function Process:terminate() end

--- By number or name; SIGTERM; SIGKILL. OSError (ESRCH) after the end.
function Process:kill() end

--- Closes the pipes and kills the program if it runs (see `kill_on_close`). As `<close>` it also waits until it has
--- ended.
function Process:close() end

---@class asyncio.Duplex
---@field reader asyncio.StreamReader
---@field writer asyncio.StreamWriter
local Duplex = {}

--- As a StreamReader's.
---@async
---@param n? integer
---@return string?
function Duplex:read(n) end

--- As a StreamReader's.
---@async
---@return string?
function Duplex:readline() end

--- As a StreamReader's.
---@async
---@param n integer
---@return string
function Duplex:readexactly(n) end

--- As a StreamReader's.
---@async
---@param separator? string|string[]
---@return string
function Duplex:readuntil(separator) end

--- As a StreamReader's.
---@return fun(): string?
function Duplex:lines() end

--- Is everything read?
---@return boolean
function Duplex:at_eof() end

--- Never waits: tried at once, the rest is queued.
---@param bytes string
function Duplex:write(bytes) end

--- Writes an array of strings.
---@param array string[]
function Duplex:writelines(array) end

--- Waits until there is room for more.
---@async
function Duplex:drain() end

--- No more will be written; reading goes on.
function Duplex:write_eof() end

--- Can `write_eof` be called?
---@return boolean
function Duplex:can_write_eof() end

--- Closes; what is queued is still sent.
function Duplex:close() end

--- Waits until it is closed.
---@async
function Duplex:wait_closed() end

--- Was it closed?
---@return boolean
function Duplex:is_closing() end

--- As a StreamWriter's.
---@param name string
---@param default? any
---@return any
function Duplex:get_extra_info(name, default) end

---@class asyncio.Terminal: asyncio.Duplex
local Terminal = {}

--- Tells the programs in it (SIGWINCH).
---@param rows integer
---@param cols integer
function Terminal:resize(rows, cols) end

--- Gives rows and columns.
---@return integer
---@return integer
function Terminal:size() end

---@class asyncio.SubprocessTransport
local SubprocessTransport = {}

--- As the fields of a Process.
---@return integer
function SubprocessTransport:get_pid() end

--- As the fields of a Process.
---@return integer?
function SubprocessTransport:get_returncode() end

--- The Transport of 0, 1, 2, one of `pipes` or "pty"; nil if it is no pipe.
---@param fd integer|string
---@return asyncio.Transport?
function SubprocessTransport:get_pipe_transport(fd) end

--- As of a Process.
---@param signal asyncio.Signal
function SubprocessTransport:send_signal(signal) end

--- As of a Process.
function SubprocessTransport:terminate() end

--- As of a Process.
function SubprocessTransport:kill() end

--- As of a Process.
function SubprocessTransport:close() end

--- As of a Transport.
---@return boolean
function SubprocessTransport:is_closing() end

--- As of a Transport.
---@param name string
---@param default? any
---@return any
function SubprocessTransport:get_extra_info(name, default) end

--- Who is told from now on.
---@return table
function SubprocessTransport:get_protocol() end

--- Who is told from now on.
---@param protocol table
function SubprocessTransport:set_protocol(protocol) end

---@class asyncio.SignalWatch
local SignalWatch = {}

--- Awaits to the next signal.
---@async
---@return asyncio.Signal?
function SignalWatch:next() end

--- Watches no more.
function SignalWatch:close() end

---@class asyncio.Progress
---@field n number how many are done
---@field total number?
---@field desc string?
---@field disable boolean nothing is shown
local Progress = {}

--- N (1) more are done.
---@param n? number
function Progress:update(n) end

--- What is iterated over, with all that the iterator comes with: `for k, v in asyncio.progress(n, { desc = "keys"
--- }):over(pairs(t)) do`.
---@param what any
---@param ... any
---@return fun(...: any): any
function Progress:over(what, ...) end

--- What stands in front and behind; a table is shown as "name=value, ...". Control characters become "?".
---@param desc? string
function Progress:set_description(desc) end

--- What stands in front and behind; a table is shown as "name=value, ...". Control characters become "?".
---@param postfix? string|table
function Progress:set_postfix(postfix) end

--- From the beginning, with another total if one is given.
---@param total? number
function Progress:reset(total) end

--- Prints above the bars, as `print` does.
---@param ... any
function Progress:write(...) end

--- Draws now.
function Progress:refresh() end

--- The line as it is shown in so many columns; `tostring(bar)` that of 80.
---@param columns? integer
---@return string
function Progress:line(columns) end

--- Seconds, how many a second (of late), seconds; nil for what nobody can know yet.
---@return number
function Progress:elapsed() end

--- Seconds, how many a second (of late), seconds; nil for what nobody can know yet.
---@return number?
function Progress:rate() end

--- Seconds, how many a second (of late), seconds; nil for what nobody can know yet.
---@return number?
function Progress:remaining() end

--- Ends it; the second time nothing happens.
function Progress:close() end

--- Over all: `asyncio.Exception`, `asyncio.CancelledError`, `asyncio.KeyboardInterrupt`, `asyncio.SystemExit` (`code`
--- or message: the exit status), `asyncio.BaseExceptionGroup`.
---@class asyncio.BaseException
---@field message string
---@field name string
---@field traceback string?
---@field cause any
local BaseException = {}

--- Makes a class that is derived from this one, and from the others that are given.
---@param name string
---@param ... table
---@return table
function BaseException:extend(name, ...) end

---@class asyncio
---@field stdin asyncio.StreamReader
---@field stdout asyncio.StandardStream
---@field stderr asyncio.StandardStream
---@field context asyncio.context
---@field subprocess asyncio.subprocess
---@field ALL_COMPLETED string For `return_when`.
---@field DEVNULL integer A pipe to this program; the same as stdout (for stderr); /dev/null.
---@field FIRST_COMPLETED string For `return_when`.
---@field FIRST_EXCEPTION string For `return_when`.
---@field PIPE integer A pipe to this program; the same as stdout (for stderr); /dev/null.
---@field STDOUT integer A pipe to this program; the same as stdout (for stderr); /dev/null.
local asyncio = {}
asyncio.Barrier = Barrier
asyncio.BaseException = BaseException
asyncio.BaseExceptionGroup = BaseExceptionGroup
asyncio.BoundedSemaphore = BoundedSemaphore
asyncio.BrokenBarrierError = BrokenBarrierError
asyncio.CancelScope = CancelScope
asyncio.CancelledError = CancelledError
asyncio.Condition = Condition
asyncio.EOFError = EOFError
asyncio.Event = Event
asyncio.Exception = Exception
asyncio.ExceptionGroup = ExceptionGroup
asyncio.Future = Future
asyncio.IncompleteReadError = IncompleteReadError
asyncio.InvalidStateError = InvalidStateError
asyncio.KeyboardInterrupt = KeyboardInterrupt
asyncio.LifoQueue = LifoQueue
asyncio.LimitError = LimitError
asyncio.LimitOverrunError = LimitOverrunError
asyncio.Lock = Lock
asyncio.OSError = OSError
asyncio.PermissionError = PermissionError
asyncio.PriorityQueue = PriorityQueue
asyncio.Queue = Queue
asyncio.QueueEmpty = QueueEmpty
asyncio.QueueFull = QueueFull
asyncio.QueueShutDown = QueueShutDown
asyncio.Runner = Runner
asyncio.RuntimeError = RuntimeError
asyncio.Semaphore = Semaphore
asyncio.SendfileNotAvailableError = SendfileNotAvailableError
asyncio.Server = Server
asyncio.StopAsyncIteration = StopAsyncIteration
asyncio.StreamReader = StreamReader
asyncio.StreamReaderProtocol = StreamReaderProtocol
asyncio.StreamWriter = StreamWriter
asyncio.SystemExit = SystemExit
asyncio.Task = Task
asyncio.TaskGroup = TaskGroup
asyncio.Terminated = Terminated
asyncio.TimeSliceError = TimeSliceError
asyncio.Timeout = Timeout
asyncio.TimeoutError = TimeoutError
asyncio.TypeError = TypeError
asyncio.ValueError = ValueError

--- Makes a coroutine function of `f`; calling it gives a coroutine and starts nothing. `name` (optional) is what
--- reports call it. Also the global `async`.
---@generic F: function
---@param f F
---@param name? string
---@return F
function asyncio.async(f, name) end

--- Waits in the running task and gives the awaitable's values, or raises its error. Outside of tasks it runs the loop
--- until the awaitable is done. A coroutine can be awaited once (RuntimeError). Where Lua cannot suspend (a
--- comparator of `table.sort`, a callback of `string.gsub`, `__gc`) RuntimeError says so. Also the global `await`.
---@async
---@generic T
---@param aw T
---@return T
---@return any ...
---@overload fun(aw: asyncio.Future): any, any, any
function asyncio.await(aw) end

--- `pcall` that catches the running task's own cancellation too.
---@param f function
---@param ... any
---@return boolean
---@return any
---@return any ...
function asyncio.catch(f, ...) end

--- Calls `f` and gives what it gives; an await inside is a RuntimeError.
---@param f function
---@param ... any
---@return any
---@return any ...
function asyncio.critical(f, ...) end

--- Calls `f(value)` and leaves the manager on every way out; gives what `f` gives. The manager has
--- `__aenter`/`__aexit` (a true result of `__aexit(self, err)` swallows the error) or `__close`.
---@async
---@param manager any
---@param f fun(value: any): any
---@return any
---@return any ...
function asyncio.with(manager, f) end

--- For `for x in asyncio.aiter(object) do`: calls `__aiter`, then `__anext` until nil or StopAsyncIteration; an
--- iterator's `aclose` is called when the loop is left.
---@param object any
---@return fun(): any
function asyncio.aiter(object) end

--- Awaits to the next value; at the end to `default`, or raises StopAsyncIteration.
---@async
---@param iterator any
---@param default? any
---@return any
function asyncio.anext(iterator, default) end

--- Closes `thing` by its `aclose` on the way out: `local c <close> = asyncio.aclosing(thing)`.
---@param thing table
---@return any
function asyncio.aclosing(thing) end

--- Gives a boolean.
---@param v any
---@return boolean
function asyncio.iscoroutine(v) end

--- Gives a boolean.
---@param v any
---@return boolean
function asyncio.iscoroutinefunction(v) end

--- Gives a boolean.
---@param v any
---@return boolean
function asyncio.isfuture(v) end

--- Gives a boolean.
---@param v any
---@return boolean
function asyncio.isawaitable(v) end

--- Runs `main` in a new loop, cancels the tasks that are left, closes the loop; gives main's values or raises its
--- error. `opts`: `debug`, `loop_factory`, `clock` ("real", "virtual"), `shuffle` (a seed). Inside a running loop it
--- is a RuntimeError, but in a script that a host has loaded, at the REPL's prompt and in tests of `moonloop test` it
--- awaits `main`.
---@param main any
---@param opts? asyncio.RunOptions
---@return any
---@return any ...
function asyncio.run(main, opts) end

--- The loop that runs; RuntimeError if none does.
---@return asyncio.Loop
function asyncio.get_running_loop() end

--- The running loop, else the current one, made if there is none.
---@return asyncio.Loop
function asyncio.get_event_loop() end

--- `opts`: `clock`, `debug`, `shuffle`.
---@param opts? asyncio.LoopOptions
---@return asyncio.Loop
function asyncio.new_event_loop(opts) end

--- Makes it (or, with nil, none) the current one.
---@param loop? asyncio.Loop
function asyncio.set_event_loop(loop) end

--- Runs it concurrently; gives a Task. `opts`: `name`, `eager_start` (runs to its first suspension at once),
--- `context`, `loop`. Cancelled before its first step it never runs.
---@param coroutine? any
---@param opts? asyncio.TaskOptions
---@return asyncio.Task
function asyncio.create_task(coroutine, opts) end

--- A future as it is; else a task that awaits it. `opts`: `loop`.
---@param aw? any
---@param opts? { loop?: asyncio.Loop }
---@return asyncio.Future
function asyncio.ensure_future(aw, opts) end

--- The running task, or nil.
---@param loop? asyncio.Loop
---@return asyncio.Task?
function asyncio.current_task(loop) end

--- An array of the tasks that are not done.
---@param loop? asyncio.Loop
---@return asyncio.Task[]
function asyncio.all_tasks(loop) end

--- For `loop:set_task_factory`: all tasks start eagerly.
---@param loop asyncio.Loop
---@param coroutine any
---@param opts? asyncio.TaskOptions
---@return asyncio.Task
function asyncio.eager_task_factory(loop, coroutine, opts) end

--- Gives such a factory whose tasks are made by `make(coroutine, opts)`, as `asyncio.Task` is one.
---@param make fun(coroutine: any, opts?: asyncio.TaskOptions): asyncio.Task
---@return function
function asyncio.create_eager_task_factory(make) end

--- Awaits to `result` after `delay`; 0 or less gives every other ready task one turn.
---@async
---@generic T
---@param delay number
---@param result? T
---@return T
function asyncio.sleep(delay, result) end

--- Awaits to the seconds since the last frame (`dt`) and the frame's number. All who wait are resumed in the next
--- frame of the host that steps the engine, in the order they began to wait; where no host does, there are 60 frames
--- a second (`loop:set_frame_rate`).
---@async
---@return number
---@return integer
function asyncio.next_frame() end

--- Takes awaitables, or one array of them, and `{return_exceptions}`. Gives a future that awaits to an array of the
--- first values, in the order of the arguments, with `n`. The first error is raised at once, the others run on; with
--- `return_exceptions` errors stand among the results. Cancelling it cancels all.
---@param ... any
---@return asyncio.Future|any[]
function asyncio.gather(...) end

--- Awaits to two arrays, done and pending. `opts`: `timeout`, `return_when`. Cancels nothing, raises no TimeoutError.
---@async
---@param aws any[]
---@param opts? asyncio.WaitOptions
---@return asyncio.Task[]
---@return asyncio.Task[]
function asyncio.wait(aws, opts) end

--- Awaits to what `aw` gives; when the time is up it is cancelled, waited for, and TimeoutError raised. nil: no
--- limit; 0 or less: a coroutine does not start.
---@async
---@generic T
---@param aw T
---@param timeout? number
---@return T
---@overload fun(aw: asyncio.Future, timeout?: number): any
function asyncio.wait_for(aw, timeout) end

--- Gives a future whose cancelling leaves `aw` running.
---@param aw? any
---@return asyncio.Future|any
function asyncio.shield(aw) end

--- Gives an iterator over tasks as they finish. `opts`: `timeout`, after which the iteration raises TimeoutError.
---@param aws any[]
---@param opts? { timeout?: number }
---@return fun(): asyncio.Task?
function asyncio.as_completed(aws, opts) end

--- Runs it as a task of that loop; gives a future.
---@param coroutine any
---@param loop asyncio.Loop
---@return asyncio.Future
function asyncio.run_coroutine_threadsafe(coroutine, loop) end

--- Gives the future itself.
---@generic T: asyncio.Future
---@param future T
---@return T
function asyncio.wrap_future(future) end

--- Limits what follows: `local t <close> = asyncio.timeout(2)`. When the time is up the task is cancelled, and
--- TimeoutError is raised in place of that CancelledError. nil: no limit until `reschedule`.
---@param delay? number
---@return asyncio.Timeout
function asyncio.timeout(delay) end

--- The same with a time of the loop's clock.
---@param when? number
---@return asyncio.Timeout
function asyncio.timeout_at(when) end

--- A scope with that deadline. `opts`: `shield`.
---@param delay number
---@param opts? asyncio.ScopeOptions
---@return asyncio.CancelScope
function asyncio.move_on_after(delay, opts) end

--- A scope with that deadline. `opts`: `shield`.
---@param when number
---@param opts? asyncio.ScopeOptions
---@return asyncio.CancelScope
function asyncio.move_on_at(when, opts) end

--- The same, and TimeoutError is raised as the scope is left.
---@param delay number
---@param opts? asyncio.ScopeOptions
---@return asyncio.CancelScope
function asyncio.fail_after(delay, opts) end

--- The same, and TimeoutError is raised as the scope is left.
---@param when number
---@param opts? asyncio.ScopeOptions
---@return asyncio.CancelScope
function asyncio.fail_at(when, opts) end

--- Awaits to reader and writer. `opts`: `limit` (64 KiB), `family`, `proto`, `flags`, `local_addr` (`{host, port}`),
--- `happy_eyeballs_delay` (0.25; false: one address after the other), `interleave` (1; 0: in the resolver's order),
--- `all_errors` (raise an ExceptionGroup), `sock` (a connected socket that is taken over, in place of host and port).
--- OSError with `code`, `host`, `port` and, when several addresses were tried, `errors`. With TLS: `ssl` (true or an
--- SSLContext), `server_hostname` (`host` by default), `session`, `ssl_handshake_timeout` (60 s),
--- `ssl_shutdown_timeout` (30 s); see ssl.
---@async
---@param host? string
---@param port? integer|string
---@param opts? asyncio.ConnectionOptions
---@return asyncio.StreamReader
---@return asyncio.StreamWriter
function asyncio.open_connection(host, port, opts) end

--- The same for a unix socket. `opts`: `limit`, `sock`. Here as in all that connects or listens, `host`, `port` and
--- `path` may stand in `opts` too: `asyncio.open_connection{host = h, port = p}`, `asyncio.start_unix_server(cb,
--- {sock = s})`.
---@async
---@param path? string
---@param opts? asyncio.ConnectionOptions
---@return asyncio.StreamReader
---@return asyncio.StreamWriter
function asyncio.open_unix_connection(path, opts) end

--- Awaits to a Server; `cb(reader, writer)` runs as a task for each connection. `host`: a name, an address, an array
--- of them, or nil for all interfaces; `port` 0: any free one (see `server.sockets`). `opts`: `limit`, `family`,
--- `flags`, `backlog` (100), `reuse_address`, `reuse_port`, `keep_alive`, `start_serving`, `sock` (a bound socket
--- that is taken over, in place of host and port).
---@async
---@param cb fun(reader: asyncio.StreamReader, writer: asyncio.StreamWriter)
---@param host? string|string[]
---@param port? integer|string
---@param opts? asyncio.ServerOptions
---@return asyncio.Server
function asyncio.start_server(cb, host, port, opts) end

--- The same. `opts`: `limit`, `backlog`, `start_serving`, `cleanup_socket` (true), `sock`.
---@async
---@param cb fun(reader: asyncio.StreamReader, writer: asyncio.StreamWriter)
---@param path? string
---@param opts? asyncio.UnixServerOptions
---@return asyncio.Server
function asyncio.start_unix_server(cb, path, opts) end

--- Awaits to a DatagramEndpoint: a UDP socket. `opts`: `local_addr`, `remote_addr` (`{host, port}`), or `family`
--- alone ("inet", "inet6": bound to any port); `reuse_port`, `reuse_addr` (several members of a group),
--- `allow_broadcast` (then it is not connected to `remote_addr`), `proto`, `flags`, or `sock` (a datagram socket's
--- descriptor, which is taken over, or an object with `detach`); `queue` (1024) and `queue_bytes` (4 MiB) bound what
--- waits to be received, `drop` ("oldest", "newest") says what goes when it is full. OSError with `code`, `host` and
--- `port`.
---@async
---@param opts? asyncio.DatagramOptions
---@return asyncio.DatagramEndpoint
function asyncio.open_datagram(opts) end

--- Another pipe, socket or terminal (a descriptor, which is taken over, a file of `io`, an object with `fileno()`):
--- awaits to a StreamReader and its transport. `opts`: `limit`.
---@async
---@param pipe asyncio.Stdio
---@param opts? { limit?: integer }
---@return asyncio.StreamReader
---@return asyncio.Transport
function asyncio.connect_read_pipe(pipe, opts) end

--- Awaits to a StreamWriter.
---@async
---@param pipe asyncio.Stdio
---@return asyncio.StreamWriter
function asyncio.connect_write_pipe(pipe) end

--- Starts a program with arguments (strings, numbers), without a shell; awaits to a Process. A name without "/" is
--- looked for in PATH (of `env`, if that has one). OSError with `code`, `path` and `syscall` ("spawn"; "chdir" when
--- it is `cwd` that is wrong).
---@async
---@param program string
---@param ... string|number|asyncio.SubprocessOptions
---@return asyncio.Process
function asyncio.create_subprocess_exec(program, ...) end

--- The same with `/bin/sh -c command`. What comes from outside must be quoted in a command.
---@async
---@param command string
---@param opts? asyncio.SubprocessOptions
---@return asyncio.Process
function asyncio.create_subprocess_shell(command, opts) end

--- A coroutine that calls `f(...)` in a thread of the loop's default executor, with a copy of the context (of what in
--- it can be copied), and awaits to what it gives.
---@async
---@param f function
---@param ... any
---@return any
---@return any ...
function asyncio.to_thread(f, ...) end

--- Waits for one of the signals; awaits to it as it was given. They are watched while it is awaited.
---@async
---@generic T: asyncio.Signal
---@param ... T
---@return T
function asyncio.signal(...) end

--- For `for sig in asyncio.signals{"SIGHUP", "SIGUSR1"} do`: the signals as they come, each once until it is taken.
--- They are watched from the call until the loop is left. `local watch <close> = select(2, asyncio.signals(list))`
--- has `next()`, which awaits to the next one, and `close()`.
---@param list asyncio.Signal[]
---@return (fun(): asyncio.Signal?)
---@return asyncio.SignalWatch
function asyncio.signals(list) end

--- A bar on a terminal for long work. `what` is an array or an iterator: the bar is iterated over in its place and
--- gives the same values (of an array the elements), `for url in asyncio.progress(urls) do`; or a number, how much
--- there is to do: `bar:update(n)` counts, and `for i in asyncio.progress(100) do` gives 1 to 100; or nil, nobody
--- knows. `asyncio.progress(pairs(t))` takes all that an iterator comes with. A bar has `<close>`; a loop over it
--- closes it on any way out. On what is no terminal (or a dumb one) nothing is shown, and all figures are there. They
--- go by the loop's clock.
---@param what? any
---@param opts? asyncio.ProgressOptions
---@return asyncio.Progress
function asyncio.progress(what, opts) end

--- Is `e` of the class, or of one of an array of classes, or of one derived from it?
---@param e any
---@param class any
---@return boolean
function asyncio.isinstance(e, class) end

--- Gives `{future, call_stack, awaited_by, cycle}`; of the running task unless given. `opts`: `depth`, `limit`.
---@param future? asyncio.Future
---@param opts? asyncio.GraphOptions
---@return asyncio.CallGraph
function asyncio.capture_call_graph(future, opts) end

--- As text.
---@param future? asyncio.Future
---@param opts? asyncio.GraphOptions
---@return string
function asyncio.format_call_graph(future, opts) end

--- Writes it to `opts.file`, or standard output.
---@param future? asyncio.Future
---@param opts? asyncio.GraphOptions
function asyncio.print_call_graph(future, opts) end

return asyncio
