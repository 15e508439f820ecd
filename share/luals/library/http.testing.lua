---@meta http.testing

-- Module http.testing. Written by tools/definitions.lua.

---@class http.testing.MockOptions
---@field headers? http.HeadersLike
---@field body? string
---@field payload? asyncio.StreamReader in place of `body`
---@field match_info? table<string, string>
---@field version? string
---@field app? http.web.Application
---@field scheme? string
---@field peername? any
---@field sockname? any
---@field transport_info? table
---@field keep_alive? boolean
---@field sslcontext? any it came by https
---@field client_max_size? integer

---@class http.mock.Exchange
---@field status integer?
---@field sent_headers any
---@field body string?
---@field sent_header fun(self: http.mock.Exchange, name: string): string?

---@class http.testing.ServerOptions
---@field host? string
---@field port? integer
---@field ssl? ssl.SSLContext
---@field settings? table
---@field access_log? any
---@field access_log_format? string
---@field handler_cancellation? boolean
---@field debug? boolean

--- A server of the application on a port of its own. `opts`: `host` ("127.0.0.1"), `port` (0), `ssl` (an SSLContext),
--- `settings` (of http.core), `access_log`, `access_log_format`, `handler_cancellation`, `debug`.
--- `await(server:start_server())` gives it, and `async with` starts it; `server.port`, `server:make_url(path)`,
--- `await(server:close())`; it has `<close>`.
---@class http.testing.TestServer
---@field port integer
---@field host string
---@overload fun(app: http.web.Application, opts?: http.testing.ServerOptions): http.testing.TestServer
local TestServer = {}

--- Starts it; awaits to it.
---@async
---@return http.testing.TestServer
function TestServer:start_server() end

--- The URL of a path.
---@param path string
---@return string
function TestServer:make_url(path) end

--- Ends it.
---@async
function TestServer:close() end

--- Derives a class.
---@param name string
---@return table
function TestServer:extend(name) end

--- A session that asks a TestServer (or the server of an Application): `client:get(path, opts)`, `options`, `head`,
--- `post`, `put`, `patch`, `delete`, `client:request(method, path, opts)`, `client:ws_connect(path, opts)`, with the
--- arguments of `http.ClientSession`, but paths for URLs. `opts`: ClientSession's; cookies of addresses are kept
--- (`CookieJar{unsafe = true}`). `await(client:start_server())` starts the server and gives the client, `async with`
--- does the same; `client:make_url(path)`, `client.server`, `client.app`, `client.session`, `client.host`,
--- `client.port`. `await(client:close())` closes what is open of responses and WebSockets, the session and the
--- server; it has `<close>`.
---@class http.testing.TestClient
---@field server http.testing.TestServer
---@field app http.web.Application
---@field session http.ClientSession
---@field host string
---@field port integer
---@overload fun(server: http.testing.TestServer|http.web.Application, opts?: http.SessionOptions): http.testing.TestClient
local TestClient = {}

--- Starts the server; awaits to the client.
---@async
---@return http.testing.TestClient
function TestClient:start_server() end

--- The URL of a path.
---@param path string
---@return string
function TestClient:make_url(path) end

--- A request GET to a path.
---@async
---@param path string
---@param opts? http.RequestOptions
---@return http.ClientResponse
function TestClient:get(path, opts) end

--- A request OPTIONS to a path.
---@async
---@param path string
---@param opts? http.RequestOptions
---@return http.ClientResponse
function TestClient:options(path, opts) end

--- A request HEAD to a path.
---@async
---@param path string
---@param opts? http.RequestOptions
---@return http.ClientResponse
function TestClient:head(path, opts) end

--- A request POST to a path.
---@async
---@param path string
---@param opts? http.RequestOptions
---@return http.ClientResponse
function TestClient:post(path, opts) end

--- A request PUT to a path.
---@async
---@param path string
---@param opts? http.RequestOptions
---@return http.ClientResponse
function TestClient:put(path, opts) end

--- A request PATCH to a path.
---@async
---@param path string
---@param opts? http.RequestOptions
---@return http.ClientResponse
function TestClient:patch(path, opts) end

--- A request DELETE to a path.
---@async
---@param path string
---@param opts? http.RequestOptions
---@return http.ClientResponse
function TestClient:delete(path, opts) end

--- A request to a path.
---@async
---@param method string
---@param path string
---@param opts? http.RequestOptions
---@return http.ClientResponse
function TestClient:request(method, path, opts) end

--- A WebSocket to a path.
---@async
---@param path string
---@param opts? http.WebSocketOptions
---@return http.ClientWebSocketResponse
function TestClient:ws_connect(path, opts) end

--- Closes responses, WebSockets, the session and the server.
---@async
function TestClient:close() end

--- Derives a class.
---@param name string
---@return table
function TestClient:extend(name) end

---@class http.testing
local testing = {}
testing.TestClient = TestClient
testing.TestServer = TestServer

--- A request that came over no connection, and as a second value the exchange, which keeps what is sent: `status`,
--- `sent_headers`, `body`, `sent_header(name)`. `opts`: `headers`, `body` or `payload` (a StreamReader),
--- `match_info`, `version`, `app`, `scheme`, `sslcontext` (any: it is https), `peername`, `sockname`,
--- `transport_info`, `keep_alive`, `client_max_size`.
---@param method string
---@param path string
---@param opts? http.testing.MockOptions
---@return http.web.Request
---@return http.mock.Exchange
function testing.make_mocked_request(method, path, opts) end

--- Answers an exchange of `http.mock` as the server does; awaits to it.
---@async
---@param app http.web.Application
---@param exchange http.mock.Exchange
---@param opts? table
---@return http.mock.Exchange
function testing.answer(app, exchange, opts) end

--- A TCP port on which nothing listens.
---@return integer
function testing.unused_port() end

return testing
