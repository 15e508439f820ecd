---@meta asyncio.testing

-- Module asyncio.testing. Written by tools/definitions.lua.

---@class asyncio.testing.Options
---@field clock? "virtual"|"real"
---@field timeout? number seconds
---@field debug? boolean
---@field shuffle? integer a seed for the order of tasks
---@field leaks? boolean false: nothing is looked for
---@field loop? boolean false: tests make loops themselves

---@class asyncio.testing.MockOptions
---@field returns? any a value
---@field raises? any an error
---@field calls? function makes the result
---@field delay? number seconds

---@class asyncio.testing.Mock
---@field calls table[] the arguments of each call, as `table.pack` has them
---@field awaited integer how many of them have come to their end
---@overload fun(...: any): any
local Mock = {}

---@class asyncio.testing.NetworkOptions
---@field latency? number seconds from one end to the other
---@field bandwidth? number bytes a second, each way

--- A network for the running loop, in place of the real one, until it is closed (`local net <close> = testing.Network
--- { latency = 0.05 }`): `asyncio.open_connection`, `loop:create_connection` and `http.ClientSession` reach its hosts
--- through sockets within the process. `latency`: seconds from one end to the other; `bandwidth`: bytes a second each
--- way; both are fields that may be set later. Names that it does not have are unknown (`EAI_NONAME`), addresses
--- refuse (`ECONNREFUSED`) but for the loopback's, which are the real ones. Datagrams and unix sockets are not part
--- of it.
---@class asyncio.testing.Network
---@field latency number seconds from one end to the other
---@field bandwidth number bytes a second, each way
local Network = {}

--- Awaitable of a Server: `handler(reader, writer)` serves the connections to that host and port. `opts`: those of
--- `start_unix_server` (`ssl`, `http`, ...).
---@async
---@param name string
---@param port integer
---@param handler function
---@param opts? table
---@return any
function Network:listen(name, port, handler, opts) end

--- Awaitable of the AppRunner: that host and port are an Application's. `opts`: `ssl`, and those of `AppRunner`.
---@async
---@param name string
---@param port integer
---@param app http.web.Application
---@param opts? table
---@return http.web.AppRunner
function Network:serve(name, port, app, opts) end

--- The host's connections end in the middle.
---@param name string
function Network:cut(name) end

--- The host's connections end, and new ones are refused.
---@param name string
function Network:down(name) end

--- The host is back.
---@param name string
function Network:up(name) end

--- Awaitable: connections and servers are closed.
---@async
function Network:close() end

---@class asyncio.testing
local testing = {}

--- What holds for the tests of the block, or file, that calls it: `clock` ("virtual", "real"), `timeout` (seconds),
--- `debug`, `shuffle` (a seed for the order of tasks), `leaks` (false: nothing is looked for), `loop` (false: tests
--- make loops themselves). RuntimeError if busted is not running. In a busted that `moonloop test` has not started,
--- tests are tasks from the call on.
---@param opts asyncio.testing.Options
function testing.options(opts) end

--- A test with options of its own.
---@param name string
---@param opts asyncio.testing.Options
---@param f function
function testing.it(name, opts, f) end

--- `asyncio.run` in virtual time. `opts`: `clock`, `debug`, `shuffle`.
---@param main any
---@param opts? { clock?: "virtual"|"real", debug?: boolean, shuffle?: integer }
---@return any
---@return any ...
function testing.run(main, opts) end

--- Calls `f(...)`, or awaits what stands in place of `f`: it must raise an error of the class, or one whose text
--- contains `class` if that is a string. Gives the error.
---@param class any
---@param f any
---@param ... any
---@return any
function testing.raises(class, f, ...) end

--- Awaitable: time passes.
---@async
---@param seconds number
function testing.advance(seconds) end

--- Awaitable: everything goes on until all of it waits for time to pass, or for something to come.
---@async
function testing.settle() end

--- A stand-in for a coroutine function: `returns` (a value), `raises` (an error), `calls` (a function that makes the
--- result), `delay` (seconds). `mock.calls` has the arguments of each call as `table.pack` has them, `mock.awaited`
--- counts those that came to their end.
---@param opts? asyncio.testing.MockOptions
---@return asyncio.testing.Mock
function testing.mock(opts) end

--- A network for the running loop, in place of the real one, until it is closed (`local net <close> = testing.Network
--- { latency = 0.05 }`): `asyncio.open_connection`, `loop:create_connection` and `http.ClientSession` reach its hosts
--- through sockets within the process. `latency`: seconds from one end to the other; `bandwidth`: bytes a second each
--- way; both are fields that may be set later. Names that it does not have are unknown (`EAI_NONAME`), addresses
--- refuse (`ECONNREFUSED`) but for the loopback's, which are the real ones. Datagrams and unix sockets are not part
--- of it.
---@param opts? asyncio.testing.NetworkOptions
---@return asyncio.testing.Network
function testing.Network(opts) end

return testing
