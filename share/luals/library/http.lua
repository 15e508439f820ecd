---@meta http

-- Module http. Written by tools/definitions.lua.

---@alias http.HeadersLike http.Headers|http.MultiDict|table<string, any>|table[]
---@alias http.Auth http.BasicAuth|http.DigestAuth|fun(request: any): any
---@alias http.Middleware fun(request: any, handler: function): http.ClientResponse

---@class http.ClientError: asyncio.Exception
---@overload fun(message?: any, fields?: table): http.ClientError
local ClientError = {}

---@class http.ClientConnectionError: http.ClientError
---@overload fun(message?: any, fields?: table): http.ClientConnectionError
local ClientConnectionError = {}

---@class http.ClientOSError: http.ClientConnectionError, asyncio.OSError
---@overload fun(message?: any, fields?: table): http.ClientOSError
local ClientOSError = {}

---@class http.ClientConnectionResetError: http.ClientOSError
---@overload fun(message?: any, fields?: table): http.ClientConnectionResetError
local ClientConnectionResetError = {}

---@class http.ClientConnectorError: http.ClientOSError
---@overload fun(message?: any, fields?: table): http.ClientConnectorError
local ClientConnectorError = {}

---@class http.ClientSSLError: http.ClientConnectorError
---@overload fun(message?: any, fields?: table): http.ClientSSLError
local ClientSSLError = {}

---@class http.ClientConnectorCertificateError: http.ClientSSLError, asyncio.ValueError
---@overload fun(message?: any, fields?: table): http.ClientConnectorCertificateError
local ClientConnectorCertificateError = {}

---@class http.ClientConnectorDNSError: http.ClientConnectorError
---@overload fun(message?: any, fields?: table): http.ClientConnectorDNSError
local ClientConnectorDNSError = {}

---@class http.ClientConnectorSSLError: http.ClientSSLError
---@overload fun(message?: any, fields?: table): http.ClientConnectorSSLError
local ClientConnectorSSLError = {}

---@class http.ClientResponseError: http.ClientError
---@overload fun(message?: any, fields?: table): http.ClientResponseError
local ClientResponseError = {}

---@class http.ClientHttpProxyError: http.ClientResponseError
---@overload fun(message?: any, fields?: table): http.ClientHttpProxyError
local ClientHttpProxyError = {}

---@class http.ClientPayloadError: http.ClientError
---@overload fun(message?: any, fields?: table): http.ClientPayloadError
local ClientPayloadError = {}

---@class http.ClientProxyConnectionError: http.ClientConnectorError
---@overload fun(message?: any, fields?: table): http.ClientProxyConnectionError
local ClientProxyConnectionError = {}

---@class http.ServerConnectionError: http.ClientConnectionError
---@overload fun(message?: any, fields?: table): http.ServerConnectionError
local ServerConnectionError = {}

---@class http.ServerTimeoutError: http.ServerConnectionError, asyncio.TimeoutError
---@overload fun(message?: any, fields?: table): http.ServerTimeoutError
local ServerTimeoutError = {}

---@class http.ConnectionTimeoutError: http.ServerTimeoutError
---@overload fun(message?: any, fields?: table): http.ConnectionTimeoutError
local ConnectionTimeoutError = {}

---@class http.ContentTypeError: http.ClientResponseError
---@overload fun(message?: any, fields?: table): http.ContentTypeError
local ContentTypeError = {}

---@class http.InvalidURL: http.ClientError, asyncio.ValueError
---@overload fun(message?: any, fields?: table): http.InvalidURL
local InvalidURL = {}

---@class http.InvalidUrlClientError: http.InvalidURL
---@overload fun(message?: any, fields?: table): http.InvalidUrlClientError
local InvalidUrlClientError = {}

---@class http.RedirectClientError: http.ClientError
---@overload fun(message?: any, fields?: table): http.RedirectClientError
local RedirectClientError = {}

---@class http.InvalidUrlRedirectClientError: http.InvalidUrlClientError, http.RedirectClientError
---@overload fun(message?: any, fields?: table): http.InvalidUrlRedirectClientError
local InvalidUrlRedirectClientError = {}

---@class http.NonHttpUrlClientError: http.InvalidURL
---@overload fun(message?: any, fields?: table): http.NonHttpUrlClientError
local NonHttpUrlClientError = {}

---@class http.NonHttpUrlRedirectClientError: http.NonHttpUrlClientError, http.RedirectClientError
---@overload fun(message?: any, fields?: table): http.NonHttpUrlRedirectClientError
local NonHttpUrlRedirectClientError = {}

---@class http.ServerDisconnectedError: http.ServerConnectionError
---@overload fun(message?: any, fields?: table): http.ServerDisconnectedError
local ServerDisconnectedError = {}

---@class http.ServerFingerprintMismatch: http.ServerConnectionError
---@overload fun(message?: any, fields?: table): http.ServerFingerprintMismatch
local ServerFingerprintMismatch = {}

---@class http.SocketTimeoutError: http.ServerTimeoutError
---@overload fun(message?: any, fields?: table): http.SocketTimeoutError
local SocketTimeoutError = {}

---@class http.TooManyRedirects: http.ClientResponseError
---@overload fun(message?: any, fields?: table): http.TooManyRedirects
local TooManyRedirects = {}

---@class http.UnixClientConnectorError: http.ClientConnectorError
---@overload fun(message?: any, fields?: table): http.UnixClientConnectorError
local UnixClientConnectorError = {}

---@class http.WSServerHandshakeError: http.ClientResponseError
---@overload fun(message?: any, fields?: table): http.WSServerHandshakeError
local WSServerHandshakeError = {}

---@class http.WebSocketError: asyncio.Exception
---@overload fun(message?: any, fields?: table): http.WebSocketError
local WebSocketError = {}

--- A session; belongs to the loop that first uses it. One that is collected without having been closed is warned of.
---@class http.ClientSession
---@field closed boolean
---@field connector any
---@field cookie_jar any
---@field headers http.Headers what all requests send; may be altered
---@field skip_auto_headers string[]
---@field auth any
---@field timeout http.ClientTimeout
---@field base_url url.URL?
---@field json_serialize fun(value: any): string
---@field connector_owner boolean
---@field raise_for_status boolean|function
---@field auto_decompress boolean
---@field trust_env boolean
---@field requote_redirect_url boolean
---@field trace_configs http.TraceConfig[]
---@field version string
---@field loop any the loop that it runs on
---@overload fun(opts?: http.SessionOptions): http.ClientSession
local ClientSession = {}

--- Awaitables of a ClientResponse, when its head has come. `url`: a string or a URL.
---@async
---@param url string|url.URL
---@param opts? http.RequestOptions
---@return http.ClientResponse
function ClientSession:get(url, opts) end

--- Awaitables of a ClientResponse, when its head has come. `url`: a string or a URL.
---@async
---@param url string|url.URL
---@param opts? http.RequestOptions
---@return http.ClientResponse
function ClientSession:post(url, opts) end

--- Awaitables of a ClientResponse, when its head has come. `url`: a string or a URL.
---@async
---@param url string|url.URL
---@param opts? http.RequestOptions
---@return http.ClientResponse
function ClientSession:put(url, opts) end

--- Awaitables of a ClientResponse, when its head has come. `url`: a string or a URL.
---@async
---@param url string|url.URL
---@param opts? http.RequestOptions
---@return http.ClientResponse
function ClientSession:patch(url, opts) end

--- Awaitables of a ClientResponse, when its head has come. `url`: a string or a URL.
---@async
---@param url string|url.URL
---@param opts? http.RequestOptions
---@return http.ClientResponse
function ClientSession:delete(url, opts) end

--- Awaitables of a ClientResponse, when its head has come. `url`: a string or a URL.
---@async
---@param url string|url.URL
---@param opts? http.RequestOptions
---@return http.ClientResponse
function ClientSession:head(url, opts) end

--- Awaitables of a ClientResponse, when its head has come. `url`: a string or a URL.
---@async
---@param url string|url.URL
---@param opts? http.RequestOptions
---@return http.ClientResponse
function ClientSession:options(url, opts) end

--- Awaitables of a ClientResponse, when its head has come. `url`: a string or a URL.
---@async
---@param method string
---@param url string|url.URL
---@param opts? http.RequestOptions
---@return http.ClientResponse
function ClientSession:request(method, url, opts) end

--- A WebSocket: awaits to an `http.ClientWebSocketResponse`; `http.ClientWSTimeout{ws_receive, ws_close}` is its
--- `timeout`. Reference.
---@async
---@param url string|url.URL
---@param opts? http.WebSocketOptions
---@return http.ClientWebSocketResponse
function ClientSession:ws_connect(url, opts) end

--- Awaitable; ends its connections.
---@async
function ClientSession:close() end

--- Gives the connector up, and returns it.
---@return http.BaseConnector
function ClientSession:detach() end

--- Derives a class.
---@param name string
---@return table
function ClientSession:extend(name) end

---@class http.SessionOptions
---@field base_url? string|url.URL what URLs are relative to; a path of it ends with `/`
---@field headers? http.HeadersLike sent with each request, unless that has its own of the name
---@field skip_auto_headers? string[] of `Accept`, `Accept-Encoding`, `User-Agent`, `Content-Type`: which are not sent by themselves; default: `{}`
---@field timeout? http.ClientTimeout|http.TimeoutOptions|number|false ClientTimeout, its options, seconds in total, or false; default: `{total = 300, sock_connect = 30}`
---@field auth? http.BasicAuth|http.DigestAuth BasicAuth or DigestAuth; with a `base_url` for its origin alone
---@field cookies? table cookies to begin with; where they are kept
---@field cookie_jar? http.AbstractCookieJar cookies to begin with; where they are kept
---@field raise_for_status? boolean|fun(response: http.ClientResponse) true: statuses of 400 and above raise ClientResponseError; or a function of the response; default: false
---@field auto_decompress? boolean gzip, deflate and br are undone; default: true
---@field json_serialize? fun(value: any): string default: `json.encode`
---@field fallback_charset_resolver? fun(response: http.ClientResponse, body: string): string a function of response and body that gives the character set of text for which the server names none; default: UTF-8
---@field max_redirects? integer 0: any number; default: 10
---@field max_body_size? integer bytes of a body, as it comes and as it is decoded; 0: any number; default: 0
---@field connector? http.BaseConnector who makes and keeps connections; is it closed with the session?
---@field connector_owner? boolean who makes and keeps connections; is it closed with the session?
---@field limit? integer of the connector, when none is given
---@field limit_per_host? integer of the connector, when none is given
---@field http2? boolean|"prior" of the connector, when none is given
---@field ssl? boolean|ssl.SSLContext|http.Fingerprint those of requests that say nothing
---@field proxy? string|url.URL|false those of requests that say nothing
---@field proxy_auth? http.BasicAuth those of requests that say nothing
---@field trust_env? boolean proxies (and `~/.netrc`) of the environment; default: false
---@field trace_configs? http.TraceConfig[] TraceConfigs; default: `{}`
---@field middlewares? http.Middleware[] see below; default: `{}`
---@field read_bufsize? integer bytes of a body that are taken before somebody reads them; default: 65536
---@field max_line_size? integer of a response's head
---@field max_field_size? integer of a response's head
---@field max_headers? integer of a response's head
---@field requote_redirect_url? boolean false: path and query of a redirect are asked for with their escapes as they came; default: true

---@class http.RequestOptions
---@field params? string|table|http.MultiDict added to the URL's query: a table, MultiDict, list of pairs, string
---@field headers? http.HeadersLike a table, a list of `{name, value}`, `http.Headers`
---@field json? any a value, sent as JSON
---@field data? any a string, a table (a form), FormData, MultipartWriter, a file of fs, a stream, an iterator
---@field cookies? table of this request alone
---@field auth? http.BasicAuth|http.DigestAuth cannot be combined with a header Authorization; default: the session's
---@field timeout? http.ClientTimeout|http.TimeoutOptions|number|false default: the session's
---@field allow_redirects? boolean default: true; false for `session:head`
---@field max_redirects? integer default: the session's
---@field raise_for_status? boolean|fun(response: http.ClientResponse) default: the session's
---@field auto_decompress? boolean default: the session's
---@field max_body_size? integer default: the session's
---@field skip_auto_headers? string[] default: the session's
---@field ssl? boolean|ssl.SSLContext|http.Fingerprint true, false (nothing is verified), an SSLContext, a Fingerprint; default: true
---@field server_hostname? string whose certificate is expected; default: the URL's host
---@field proxy? string|url.URL|false `http://`, `https://`, `socks5://`, `socks5h://`...; false: none
---@field proxy_auth? http.BasicAuth `http://`, `https://`, `socks5://`, `socks5h://`...; false: none
---@field proxy_headers? http.HeadersLike `http://`, `https://`, `socks5://`, `socks5h://`...; false: none
---@field compress? boolean|"gzip"|"deflate"|"br" `"gzip"`, `"deflate"`, `"br"`, true (deflate): of the body that is sent
---@field chunked? boolean sends the body in chunks; default: false
---@field expect100? boolean sends the body when the server has said so, or has said nothing for a second; default: false
---@field middlewares? http.Middleware[] in place of those; default: the session's
---@field trace_request_ctx? any for traces
---@field read_until_eof? boolean false: a body without a length is not read to the end of the connection, but taken to be empty; default: true
---@field read_bufsize? integer requests with their own use connections of their own; default: the session's
---@field max_line_size? integer requests with their own use connections of their own; default: the session's
---@field max_field_size? integer requests with their own use connections of their own; default: the session's
---@field max_headers? integer requests with their own use connections of their own; default: the session's

---@class http.OnceOptions: http.RequestOptions
---@field connector? http.BaseConnector
---@field cookie_jar? http.AbstractCookieJar
---@field trust_env? boolean
---@field trace_configs? http.TraceConfig[]
---@field json_serialize? fun(value: any): string
---@field http2? boolean|"prior"

---@class http.WebSocketOptions
---@field params? string|table|http.MultiDict
---@field headers? http.HeadersLike
---@field auth? http.BasicAuth|http.DigestAuth
---@field proxy? string|url.URL|false
---@field proxy_auth? http.BasicAuth
---@field proxy_headers? http.HeadersLike
---@field ssl? boolean|ssl.SSLContext|http.Fingerprint
---@field server_hostname? string
---@field protocols? string[] subprotocols to be offered, best first; `ws.protocol` is the one chosen
---@field timeout? http.ClientWSTimeout|number `ws_receive`: seconds for each receive; `ws_close`: seconds that `close` waits for the server's answer. A number is `ws_close`; default: `http.ClientWSTimeout{ws_close = 10}`
---@field receive_timeout? number the same as `ws_receive`
---@field autoclose? boolean as for `web.WebSocketResponse`
---@field autoping? boolean as for `web.WebSocketResponse`
---@field heartbeat? number as for `web.WebSocketResponse`
---@field max_msg_size? integer as for `web.WebSocketResponse`
---@field compress? boolean|integer offers permessage-deflate: true, or the bits of our window, 9 to 15; default: false
---@field origin? string the header Origin
---@field method? string default: "GET"

---@class http.TimeoutOptions
---@field total? number|false all of it, from the call to the body's end
---@field connect? number|false until there is a connection, with waiting for one of the pool
---@field sock_connect? number|false for connecting
---@field sock_read? number|false without a byte of the response

--- Seconds; nil, false and 0 are no limit. `total`: all of it, from the call to the body's end. `connect`: until
--- there is a connection, with waiting for one of the pool. `sock_connect`: for connecting. `sock_read`: without a
--- byte of the response.
---@class http.ClientTimeout
---@field total number?
---@field connect number?
---@field sock_connect number?
---@field sock_read number?
---@overload fun(opts?: http.TimeoutOptions): http.ClientTimeout
local ClientTimeout = {}

---@class http.ClientWSTimeout
---@field ws_receive number?
---@field ws_close number?
---@overload fun(opts?: { ws_receive?: number, ws_close?: number }): http.ClientWSTimeout
local ClientWSTimeout = {}

---@class http.ClientResponse
---@field status integer
---@field method string
---@field reason string
---@field version string "1.1", "1.0", "2.0"
---@field ok boolean status below 400
---@field url url.URL whose answer it is, without its fragment
---@field real_url url.URL
---@field host string
---@field headers http.Headers case-insensitive, multi-valued
---@field raw_headers table[] { name, value } as they came
---@field trailers http.Headers? what came behind a body in chunks
---@field cookies table<string, http.SetCookie> that it sets, by name
---@field history http.ClientResponse[] the redirects that led here
---@field content http.client.Content the body as a stream, decoded
---@field content_type string "application/octet-stream" when the server says none
---@field content_length integer? as it was sent
---@field charset string?
---@field content_disposition { type: string, parameters: table<string, string>, filename: string? }?
---@field links http.MultiDict of the Link headers: rel -> MultiDict with `url`
---@field request_info http.RequestInfo
---@field closed boolean
---@field connection any the connection while the response has one
---@field session http.ClientSession
local ClientResponse = {}

--- Awaitable of the body, decoded.
---@async
---@return string
function ClientResponse:read() end

--- As UTF-8; `errors`: `"strict"`, `"replace"`, `"ignore"`; else bytes that are none stay. `resp:get_encoding()`.
--- Character sets: UTF-8, UTF-16, ISO-8859-1 to -16, windows-1250 to -1258, KOI8-R and -U, IBM866, Macintosh,
--- TIS-620. A server's that is not known here is passed over; ValueError for an `encoding` that is not.
---@async
---@param encoding? string
---@param errors? "strict"|"replace"|"ignore"
---@return string
function ClientResponse:text(encoding, errors) end

--- The character set of the body.
---@return string
function ClientResponse:get_encoding() end

--- `opts`: `loads`, `encoding`, `content_type` (`"application/json"`, and what is like it; false: any). nil for an
--- empty body.
---@async
---@param opts? { loads?: (fun(text: string): any), encoding?: string, content_type?: string|false }
---@return any
function ClientResponse:json(opts) end

--- ClientResponseError for 400 and above. The body can still be read.
function ClientResponse:raise_for_status() end

--- After 101, which a request with a header Upgrade may be answered by: reader and writer of what the connection is
--- from there on; they are yours to close.
---@return asyncio.StreamReader
---@return asyncio.StreamWriter
function ClientResponse:upgrade() end

--- Lets go of what is left, as `<close>` does: little is read past, so that the connection is kept.
function ClientResponse:release() end

--- Closes the connection.
function ClientResponse:close() end

--- Awaitable; releases when the request has been sent.
---@async
function ClientResponse:wait_for_close() end

--- Derives a class.
---@param name string
---@return table
function ClientResponse:extend(name) end

---@class http.client.Content
local Content = {}

--- Awaits to at most `n` bytes, or all that is left.
---@async
---@param n? integer
---@return string
function Content:read(n) end

--- What there is, at least one byte; "" at the end.
---@async
---@return string
function Content:readany() end

--- Just `n` bytes; IncompleteReadError.
---@async
---@param n integer
---@return string
function Content:readexactly(n) end

--- Up to and with the separator.
---@async
---@param sep? string
---@return string
function Content:readuntil(sep) end

--- A line with its break.
---@async
---@return string
function Content:readline() end

--- Iterates over the lines.
---@return fun(): string?
function Content:lines() end

--- Iterates over pieces of at most `n` bytes.
---@param n integer
---@return fun(): string?
function Content:iter_chunked(n) end

--- Iterates over pieces as they come.
---@return fun(): string?
function Content:iter_any() end

--- Iterates over pieces, and whether one ends a chunk of HTTP.
---@return fun(): string?, boolean
function Content:iter_chunks() end

--- Is everything read?
---@return boolean
function Content:at_eof() end

---@class http.RequestInfo
---@field method string
---@field url url.URL without its fragment
---@field real_url url.URL
---@field headers http.Headers as they were sent
local RequestInfo = {}

---@class http.ClientWebSocketResponse
---@field closed boolean nothing can be sent any more
---@field close_code integer?
---@field protocol string? the subprotocol that was chosen
---@field compress integer|false
---@field client_notakeover boolean
---@field response http.ClientResponse the answer to the handshake
local ClientWebSocketResponse = {}

--- `opts`: `code` (1000), `message`. Awaits to true when the peer has answered or the time is over, to false if it
--- was closed before.
---@async
---@param opts? { code?: integer, message?: string }
---@return boolean
function ClientWebSocketResponse:close(opts) end

--- The error that ended the connection: `http.websocket`'s WebSocketError (`code`), or TimeoutError of the heartbeat,
--- or of a close that nobody answered; nil.
---@return any
function ClientWebSocketResponse:exception() end

--- As a StreamWriter's; the default when it is closed.
---@param name string
---@param default? any
---@return any
function ClientWebSocketResponse:get_extra_info(name, default) end

--- Iterates over the messages until the connection is closed: `for msg in ws:messages() do`. `asyncio.aiter(ws)` is
--- the same.
---@return fun(): http.WSMessage?
function ClientWebSocketResponse:messages() end

--- With up to 125 bytes.
---@async
---@param data? string
function ClientWebSocketResponse:ping(data) end

--- With up to 125 bytes.
---@async
---@param data? string
function ClientWebSocketResponse:pong(data) end

--- Awaits to the next message. At the end it is one of type CLOSE (`data`: the code, `extra`: the reason) or ERROR
--- (`data`: the error), then CLOSED; CLOSING if another task closes meanwhile. TimeoutError; RuntimeError if a task
--- receives already, or on and on after the end. `timeout` in seconds, or `{timeout = }`.
---@async
---@param timeout? number|{ timeout?: number }
---@return http.WSMessage
function ClientWebSocketResponse:receive(timeout) end

--- The data of a message that must be of that kind; TypeError for others and at the end, the WebSocketError itself
--- after a fault of the peer. `opts`: `timeout`, `loads`.
---@async
---@param timeout? number|{ timeout?: number }
---@return string
function ClientWebSocketResponse:receive_str(timeout) end

--- The data of a message that must be of that kind; TypeError for others and at the end, the WebSocketError itself
--- after a fault of the peer. `opts`: `timeout`, `loads`.
---@async
---@param timeout? number|{ timeout?: number }
---@return string
function ClientWebSocketResponse:receive_bytes(timeout) end

--- The data of a message that must be of that kind; TypeError for others and at the end, the WebSocketError itself
--- after a fault of the peer. `opts`: `timeout`, `loads`.
---@async
---@param opts? { timeout?: number, loads?: fun(text: string): any }
---@return any
function ClientWebSocketResponse:receive_json(opts) end

--- `opts`: `compress` (false: not this message; true: though it is short), and of send_json `dumps`. Wait while the
--- peer is slow to read; OSError (`code` "ECONNRESET") once the connection is closed; ValueError for a text that is
--- not UTF-8.
---@async
---@param data string
---@param opts? { compress?: boolean }
function ClientWebSocketResponse:send_str(data, opts) end

--- `opts`: `compress` (false: not this message; true: though it is short), and of send_json `dumps`. Wait while the
--- peer is slow to read; OSError (`code` "ECONNRESET") once the connection is closed; ValueError for a text that is
--- not UTF-8.
---@async
---@param data string
---@param opts? { compress?: boolean }
function ClientWebSocketResponse:send_bytes(data, opts) end

--- `opts`: `compress` (false: not this message; true: though it is short), and of send_json `dumps`. Wait while the
--- peer is slow to read; OSError (`code` "ECONNRESET") once the connection is closed; ValueError for a text that is
--- not UTF-8.
---@async
---@param value any
---@param opts? { compress?: boolean, dumps?: fun(value: any): string }
function ClientWebSocketResponse:send_json(value, opts) end

--- A message of `WSMsgType.TEXT`, `BINARY`, `PING` or `PONG`.
---@async
---@param data string
---@param type integer
---@param opts? { compress?: boolean }
function ClientWebSocketResponse:send_frame(data, type, opts) end

--- Derives a class.
---@param name string
---@return table
function ClientWebSocketResponse:extend(name) end

---@class http.WSMessage
---@field type integer of WSMsgType
---@field data any
---@field extra any
local WSMessage = {}

--- The data, decoded.
---@param loads? fun(text: string): any
---@return any
function WSMessage:json(loads) end

---@class http.ConnectorOptions
---@field limit? integer connections in use at a time; 0: any number. Who comes then waits, first come first served (`connect` and `total` of the time-out go on); default: 100
---@field limit_per_host? integer the same for one scheme, host, port and proxy; default: 0
---@field keepalive_timeout? number|false seconds that a connection may be idle; false: until the server closes it; default: 15
---@field force_close? boolean each request has a connection of its own; default: false
---@field http2? boolean|"prior" HTTP/2 is offered over TLS; false: not; "prior": spoken in the clear too, without asking; default: true
---@field enable_cleanup_closed? boolean aiohttp's; there is nothing to clean up here

---@class http.TCPConnectorOptions: http.ConnectorOptions
---@field ssl? boolean|ssl.SSLContext|http.Fingerprint what requests get that say nothing (or true): see below; default: true
---@field resolver? table who looks names up: a table with `resolve(self, host, port, family)`, whose awaitable gives an array of `{host = IP address, port =, family =}` (or of addresses), and `close`; default: ThreadedResolver
---@field use_dns_cache? boolean names are asked for once in so many seconds; false: an answer is good for ever. Several who ask at once wait for one answer
---@field ttl_dns_cache? number|false names are asked for once in so many seconds; false: an answer is good for ever. Several who ask at once wait for one answer
---@field family? "unspec"|"inet"|"inet6" "inet", "inet6": addresses of that kind alone; default: "unspec"
---@field happy_eyeballs_delay? number|false seconds before the next address is tried beside the first (RFC 8305); false: one after the other; default: 0.25
---@field interleave? integer how many addresses of the first family come before one of the other; 0: as the resolver has them; default: 1
---@field local_addr? string|table an address, or `{address, port}`, to connect from

---@class http.BaseConnector
---@field limit integer
---@field limit_per_host integer
---@field force_close boolean
---@field keepalive_timeout number|false
---@field http2 boolean|"prior"
---@field closed boolean
local BaseConnector = {}

--- Closes all connections, those in use too; who waits for one gets ClientConnectionError. Gives an awaitable that
--- may be left alone. `local c <close> = ...` does it.
---@async
function BaseConnector:close() end

--- Makes connections and keeps them; a session without one makes its own. One connector may serve several sessions
--- (`connector_owner = false`).
---@class http.TCPConnector: http.BaseConnector
---@field family string
---@field use_dns_cache boolean
---@overload fun(opts?: http.TCPConnectorOptions): http.TCPConnector
local TCPConnector = {}

--- Forgets one name, or all.
---@param host? string
---@param port? integer
function TCPConnector:clear_dns_cache(host, port) end

--- All connections go to a unix socket, whatever the URL's host. Its options are those of the first part of the
--- table. Both are `http.BaseConnector`s.
---@class http.UnixConnector: http.BaseConnector
---@field path string
---@overload fun(path: string, opts?: http.ConnectorOptions): http.UnixConnector
local UnixConnector = {}

--- The system's resolver, on a thread, or the loop's (`loop:set_resolver`); `http.DefaultResolver` is the same.
---@class http.ThreadedResolver
---@overload fun(): http.ThreadedResolver
local ThreadedResolver = {}

--- The addresses of a name.
---@async
---@param host string
---@param port? integer
---@param family? string
---@return table[]
function ThreadedResolver:resolve(host, port, family) end

--- Nothing is open.
function ThreadedResolver:close() end

--- 32 bytes, or hexadecimal digits with or without colons, as `openssl x509 -noout -fingerprint -sha256` prints them.
---@class http.Fingerprint
---@overload fun(digest: string): http.Fingerprint
local Fingerprint = {}

--- The digest in hexadecimal digits.
---@return string
function Fingerprint:hex() end

--- Is it that of the certificate?
---@param der string
---@return boolean
function Fingerprint:matches(der) end

--- `auth:encode()` is the header's value. `encoding`: "utf-8" (the bytes as they are) or "latin1".
--- `http.BasicAuth.decode(header)`, `http.BasicAuth.from_url(url)` read one; ValueError, nil. User and password of a
--- URL (`http://user:password@host/`) are a BasicAuth, too.
---@class http.BasicAuth
---@field login string
---@field password string
---@field encoding string
---@overload fun(user: string, password?: string, encoding?: "utf-8"|"latin1"): http.BasicAuth
local BasicAuth = {}

--- The header's value.
---@return string
function BasicAuth:encode() end

--- Of a header's value. ValueError.
---@param header string
---@return http.BasicAuth
function BasicAuth.decode(header) end

--- Of the user and password of a URL.
---@param url string|url.URL
---@return http.BasicAuth?
function BasicAuth.from_url(url) end

--- Answers challenges (RFC 7616): MD5, SHA-256, SHA-512-256, SHA-512, SHA (1), each with -sess; qop auth and
--- auth-int, or none; hashed users. `http.DigestAuthMiddleware` is the same, and may be one of `middlewares`. One
--- object may serve many requests and sessions.
---@class http.DigestAuth
---@overload fun(user: string, password: string): http.DigestAuth
local DigestAuth = {}

--- Jars of your own: `local Mine = http.AbstractCookieJar:extend("Mine")` with `Mine:filter_cookies(url)` (gives a
--- table by name) and `Mine:update_cookies(cookies, url)`; `Mine:init(...)` gets what `Mine(...)` is called with.
---@class http.AbstractCookieJar
local AbstractCookieJar = {}

--- The cookies of a request to that URL, values by name; without one those for every host.
---@param url? string|url.URL
---@return table<string, string>
function AbstractCookieJar:filter_cookies(url) end

--- Takes cookies in: a table by name, a MultiDict, a list of `{name, value}`. A value may be a table: `value`,
--- `domain`, `path`, `expires`, `max_age`, `secure`, `httponly`, `samesite`. With `url` as if that had set them;
--- without, for the domain that they name, or for every host.
---@param cookies any
---@param url? string|url.URL
function AbstractCookieJar:update_cookies(cookies, url) end

--- What the session calls: the header, with a request's own cookies in place of those of the same names; the values
--- of Set-Cookie.
---@param url url.URL
---@param cookies? any
---@return string?
function AbstractCookieJar:cookie_header(url, cookies) end

--- What the session calls: the header, with a request's own cookies in place of those of the same names; the values
--- of Set-Cookie.
---@param url url.URL
---@param values string[]
function AbstractCookieJar:update_from(url, values) end

--- Derives a class.
---@param name string
---@return table
function AbstractCookieJar:extend(name) end

---@class http.CookieJarOptions
---@field unsafe boolean? cookies of hosts that are IP addresses, too
---@field quote_cookie boolean? true: values that are no tokens are quoted
---@field treat_as_secure_origin (string|url.URL|(string|url.URL)[])? "http://localhost:8080": as good as https

--- Keeps a session's cookies by the rules of RFC 6265bis: host and domain, path, expiry, Secure (also: an insecure
--- page neither sets nor replaces such a cookie), the prefixes `__Host-` and `__Secure-`. A cookie for a public
--- suffix ("co.uk", "github.io") is refused. It keeps 180 of one domain and 10,000 in all; the oldest go.
---@class http.CookieJar: http.AbstractCookieJar
---@overload fun(opts?: http.CookieJarOptions): http.CookieJar
local CookieJar = {}

--- Drops all, those for which the function gives true, those of a domain and below it.
---@param predicate? fun(cookie: http.Cookie): boolean
function CookieJar:clear(predicate) end

--- Drops all, those for which the function gives true, those of a domain and below it.
---@param domain string
function CookieJar:clear_domain(domain) end

--- Awaitables: a file that only its owner may read, with the cookies that end with the session, too. Loading replaces
--- what there was; a file that is none (ValueError) changes nothing.
---@async
---@param path string
function CookieJar:save(path) end

--- Awaitables: a file that only its owner may read, with the cookies that end with the session, too. Loading replaces
--- what there was; a file that is none (ValueError) changes nothing.
---@async
---@param path string
function CookieJar:load(path) end

--- Keeps nothing.
---@class http.DummyCookieJar: http.AbstractCookieJar
---@overload fun(): http.DummyCookieJar
local DummyCookieJar = {}

---@class http.SetCookie
---@field name string
---@field value string without quotes
---@field coded_value string as it was sent, and is to be sent back
---@field domain string? in small letters, without a dot in front
---@field path string?
---@field expires integer? seconds since 1970
---@field max_age integer?
---@field secure boolean?
---@field httponly boolean?
---@field samesite string? "Lax", "Strict" or "None"
---@field partitioned boolean?

---@class http.Cookie: http.SetCookie
---@field domain string "" for one that goes everywhere
---@field path string
---@field host_only boolean

--- A form: urlencoded, or multipart/form-data as soon as a field has a file, a type or a file name. `fields`: a
--- table, a MultiDict, a list of pairs; values are strings, numbers, booleans, files, streams, iterators. `opts`:
--- `quote_fields` (true: quotes and line breaks in names as browsers write them, `%22`; false: backslashes),
--- `charset` (what the text, which is UTF-8, is written in), `boundary`, `default_to_multipart` (true: multipart
--- whatever the fields are).
---@class http.FormData
---@field is_multipart boolean
---@overload fun(fields?: any, opts?: { quote_fields?: boolean, charset?: string, boundary?: string, default_to_multipart?: boolean }): http.FormData
local FormData = {}

--- Gives the form. `opts`: `content_type` (text is written in its charset), `filename`, `content_transfer_encoding`.
---@param name string
---@param value any
---@param opts? { content_type?: string, filename?: string, content_transfer_encoding?: string }
---@return http.FormData
function FormData:add_field(name, value, opts) end

--- Gives the form. `opts`: `content_type` (text is written in its charset), `filename`, `content_transfer_encoding`.
---@param fields any
---@return http.FormData
function FormData:add_fields(fields) end

--- What is sent.
---@return http.Payload
function FormData:payload() end

---@class http.Payload
---@field content_type string

---@class http.Part
---@field headers http.Headers
---@field payload http.Payload
local Part = {}

--- `opts`: `name`, `filename`, `quote_fields`.
---@param kind string
---@param opts? { name?: string, filename?: string, quote_fields?: boolean }
function Part:set_content_disposition(kind, opts) end

--- Parts one behind the other; `subtype` is "mixed". `opts`: `boundary`.
---@class http.MultipartWriter: http.Payload
---@field boundary string
---@field subtype string
---@overload fun(subtype?: string, opts?: { boundary?: string }): http.MultipartWriter
local MultipartWriter = {}

--- Adds a part, and gives it: a string, file, stream, iterator, another writer. Content-Encoding (gzip, deflate, br)
--- and Content-Transfer-Encoding (base64, quoted-printable) of `headers` are applied.
---@param value any
---@param headers? http.HeadersLike
---@return http.Part
function MultipartWriter:append(value, headers) end

--- Adds a value as JSON.
---@param value any
---@param headers? http.HeadersLike
---@return http.Part
function MultipartWriter:append_json(value, headers) end

--- Adds an urlencoded form.
---@param fields any
---@param headers? http.HeadersLike
---@return http.Part
function MultipartWriter:append_form(fields, headers) end

--- Iterates over the parts.
---@return fun(): http.Part?
function MultipartWriter:parts() end

--- All of it as a string.
---@async
---@return string
function MultipartWriter:as_bytes() end

--- Reads the parts of a response that is multipart, as they come; each is an `http.BodyPartReader`, or a reader of
--- its own: see forms.
---@class http.MultipartReader
---@field boundary string
---@field subtype string
---@field headers http.Headers
---@overload fun(headers: any, stream: any, opts?: { client_max_size?: integer }): http.MultipartReader
local MultipartReader = {}

--- Awaits to the next part, or a MultipartReader for one that is multipart itself, or nil. What is unread of the last
--- one is passed over.
---@async
---@return http.BodyPartReader|http.MultipartReader|nil
function MultipartReader:next() end

--- For `for part in reader:parts() do`; `async for part in reader do` is the same. `reader:release()`,
--- `reader:at_eof()`.
---@return fun(): http.BodyPartReader|http.MultipartReader|nil
function MultipartReader:parts() end

--- Passes over all that is left.
---@async
function MultipartReader:release() end

--- Was the last part given?
---@return boolean
function MultipartReader:at_eof() end

---@class http.BodyPartReader
---@field headers http.Headers
---@field name string?
---@field filename string?
---@field content_type string
local BodyPartReader = {}

--- The whole part, decoded; `limit`: at most so many bytes.
---@async
---@param limit? integer
---@return string
function BodyPartReader:read(limit) end

--- The next piece; nil at the end.
---@async
---@param size? integer
---@return string?
function BodyPartReader:read_chunk(size) end

--- A line with its break; nil at the end.
---@async
---@return string?
function BodyPartReader:readline() end

--- The whole part as text.
---@async
---@param encoding? string
---@return string
function BodyPartReader:text(encoding) end

--- The whole part as JSON.
---@async
---@return any
function BodyPartReader:json() end

--- The whole part as an urlencoded form.
---@async
---@return http.MultiDict
function BodyPartReader:form() end

--- Passes over what is left.
---@async
function BodyPartReader:release() end

--- Is everything read?
---@return boolean
function BodyPartReader:at_eof() end

--- The character set that Content-Type names.
---@param default? string
---@return string?
function BodyPartReader:get_charset(default) end

--- Has a signal for each step; `trace.on_request_start:append(f)`. Handlers are called with the session, the
--- request's context and a table: functions or coroutine functions. `opts`: `trace_config_ctx_factory`, a function of
--- `{trace_request_ctx}` that makes contexts.
---@class http.TraceConfig
---@field on_request_start http.web.Signal
---@field on_request_headers_sent http.web.Signal
---@field on_request_chunk_sent http.web.Signal
---@field on_response_chunk_received http.web.Signal
---@field on_request_redirect http.web.Signal
---@field on_request_end http.web.Signal
---@field on_request_exception http.web.Signal
---@field on_connection_queued_start http.web.Signal
---@field on_connection_queued_end http.web.Signal
---@field on_connection_create_start http.web.Signal
---@field on_connection_create_end http.web.Signal
---@field on_connection_reuseconn http.web.Signal
---@field on_dns_resolvehost_start http.web.Signal
---@field on_dns_resolvehost_end http.web.Signal
---@field on_dns_cache_hit http.web.Signal
---@field on_dns_cache_miss http.web.Signal
---@overload fun(opts?: { trace_config_ctx_factory?: fun(opts: table): any }): http.TraceConfig
local TraceConfig = {}

--- Nothing can be added any more.
function TraceConfig:freeze() end

--- Makes a request's context.
---@param trace_request_ctx? any
---@return any
function TraceConfig:trace_config_ctx(trace_request_ctx) end

--- Derives a class.
---@param name string
---@return table
function TraceConfig:extend(name) end

---@class http.MultiDict
---@field [string] any
---@overload fun(source?: any): http.MultiDict
local MultiDict = {}

--- The first value, an array of all, a boolean.
---@param name string
---@param default? any
---@return any
function MultiDict:get(name, default) end

--- The first value, an array of all, a boolean.
---@param name string
---@return any[]
function MultiDict:getall(name) end

--- The first value, an array of all, a boolean.
---@param name string
---@return boolean
function MultiDict:contains(name) end

--- Adds one, adds all, adds all in place of those of the same names.
---@param name string
---@param value any
function MultiDict:add(name, value) end

--- Adds one, adds all, adds all in place of those of the same names.
---@param source any
function MultiDict:extend(source) end

--- Adds one, adds all, adds all in place of those of the same names.
---@param source any
function MultiDict:update(source) end

--- Removes a name and gives its first value; removes all; another one of the same pairs.
---@param name string
---@param default? any
---@return any
function MultiDict:pop(name, default) end

--- Removes a name and gives its first value; removes all; another one of the same pairs.
function MultiDict:clear() end

--- Removes a name and gives its first value; removes all; another one of the same pairs.
---@return http.MultiDict
function MultiDict:copy() end

---@class http.Headers
---@field [string] string
---@overload fun(t?: any): http.Headers
local Headers = {}

--- The first value, whatever the name's case; names of methods only by `get`. `h:getall(name)`, `h:contains(name)`,
--- `#h`, `pairs(h)` in order, `==`.
---@param name string
---@param default? any
---@return any
function Headers:get(name, default) end

--- An array of all values.
---@param name string
---@return string[]
function Headers:getall(name) end

--- Is it there?
---@param name string
---@return boolean
function Headers:contains(name) end

--- Adds one.
---@param name string
---@param value string|number
function Headers:add(name, value) end

--- Adds all.
---@param t any
function Headers:extend(t) end

--- Another one of the same pairs.
---@return http.Headers
function Headers:copy() end

--- {name, value, name, value...}
---@return string[]
function Headers:array() end

---@class http.WSCloseCode
---@field ABNORMAL_CLOSURE integer
---@field BAD_GATEWAY integer
---@field GOING_AWAY integer
---@field INTERNAL_ERROR integer
---@field INVALID_TEXT integer
---@field MANDATORY_EXTENSION integer
---@field MESSAGE_TOO_BIG integer
---@field NO_STATUS_RCVD integer
---@field OK integer
---@field POLICY_VIOLATION integer
---@field PROTOCOL_ERROR integer
---@field SERVICE_RESTART integer
---@field TRY_AGAIN_LATER integer
---@field UNSUPPORTED_DATA integer

---@class http.WSMsgType
---@field BINARY integer
---@field CLOSE integer
---@field CLOSED integer
---@field CLOSING integer
---@field CONTINUATION integer
---@field ERROR integer
---@field PING integer
---@field PONG integer
---@field TEXT integer

---@class http
---@field DefaultResolver http.ThreadedResolver
---@field DigestAuthMiddleware http.DigestAuth
---@field WSCloseCode http.WSCloseCode
---@field WSMsgType http.WSMsgType
local http = {}
http.AbstractCookieJar = AbstractCookieJar
http.BaseConnector = BaseConnector
http.BasicAuth = BasicAuth
http.BodyPartReader = BodyPartReader
http.ClientConnectionError = ClientConnectionError
http.ClientConnectionResetError = ClientConnectionResetError
http.ClientConnectorCertificateError = ClientConnectorCertificateError
http.ClientConnectorDNSError = ClientConnectorDNSError
http.ClientConnectorError = ClientConnectorError
http.ClientConnectorSSLError = ClientConnectorSSLError
http.ClientError = ClientError
http.ClientHttpProxyError = ClientHttpProxyError
http.ClientOSError = ClientOSError
http.ClientPayloadError = ClientPayloadError
http.ClientProxyConnectionError = ClientProxyConnectionError
http.ClientResponse = ClientResponse
http.ClientResponseError = ClientResponseError
http.ClientSSLError = ClientSSLError
http.ClientSession = ClientSession
http.ClientTimeout = ClientTimeout
http.ClientWSTimeout = ClientWSTimeout
http.ClientWebSocketResponse = ClientWebSocketResponse
http.ConnectionTimeoutError = ConnectionTimeoutError
http.ContentTypeError = ContentTypeError
http.CookieJar = CookieJar
http.DigestAuth = DigestAuth
http.DummyCookieJar = DummyCookieJar
http.Fingerprint = Fingerprint
http.FormData = FormData
http.Headers = Headers
http.InvalidURL = InvalidURL
http.InvalidUrlClientError = InvalidUrlClientError
http.InvalidUrlRedirectClientError = InvalidUrlRedirectClientError
http.MultiDict = MultiDict
http.MultipartReader = MultipartReader
http.MultipartWriter = MultipartWriter
http.NonHttpUrlClientError = NonHttpUrlClientError
http.NonHttpUrlRedirectClientError = NonHttpUrlRedirectClientError
http.RedirectClientError = RedirectClientError
http.RequestInfo = RequestInfo
http.ServerConnectionError = ServerConnectionError
http.ServerDisconnectedError = ServerDisconnectedError
http.ServerFingerprintMismatch = ServerFingerprintMismatch
http.ServerTimeoutError = ServerTimeoutError
http.SocketTimeoutError = SocketTimeoutError
http.TCPConnector = TCPConnector
http.ThreadedResolver = ThreadedResolver
http.TooManyRedirects = TooManyRedirects
http.TraceConfig = TraceConfig
http.UnixClientConnectorError = UnixClientConnectorError
http.UnixConnector = UnixConnector
http.WSMessage = WSMessage
http.WSServerHandshakeError = WSServerHandshakeError
http.WebSocketError = WebSocketError

--- The same with a session of its own, that ends with the response; takes `connector`, `cookie_jar`, `trust_env`,
--- `trace_configs`, `json_serialize`, `read_bufsize`, `max_line_size`, `max_field_size`, `max_headers` and `http2`,
--- too.
---@async
---@param method string
---@param url string|url.URL
---@param opts? http.OnceOptions
---@return http.ClientResponse
function http.request(method, url, opts) end

return http
