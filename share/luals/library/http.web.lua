---@meta http.web

-- Module http.web. Written by tools/definitions.lua.

---@alias http.web.Handler fun(request: http.web.Request): any
---@alias http.web.Middleware fun(request: http.web.Request, handler: http.web.Handler): any

---@class http.web.CleanupError: asyncio.ExceptionGroup
---@overload fun(opts?: http.web.ResponseOptions): http.web.CleanupError
local CleanupError = {}

--- A SystemExit, with `signal`.
---@class http.web.GracefulExit: asyncio.SystemExit
---@overload fun(opts?: http.web.ResponseOptions): http.web.GracefulExit
local GracefulExit = {}

---@class http.web.HTTPException: asyncio.Exception
---@overload fun(opts?: http.web.ResponseOptions): http.web.HTTPException
local HTTPException = {}

---@class http.web.HTTPSuccessful: http.web.HTTPException
---@overload fun(opts?: http.web.ResponseOptions): http.web.HTTPSuccessful
local HTTPSuccessful = {}

---@class http.web.HTTPAccepted: http.web.HTTPSuccessful
---@overload fun(opts?: http.web.ResponseOptions): http.web.HTTPAccepted
local HTTPAccepted = {}

---@class http.web.HTTPError: http.web.HTTPException
---@overload fun(opts?: http.web.ResponseOptions): http.web.HTTPError
local HTTPError = {}

---@class http.web.HTTPServerError: http.web.HTTPError
---@overload fun(opts?: http.web.ResponseOptions): http.web.HTTPServerError
local HTTPServerError = {}

---@class http.web.HTTPBadGateway: http.web.HTTPServerError
---@overload fun(opts?: http.web.ResponseOptions): http.web.HTTPBadGateway
local HTTPBadGateway = {}

---@class http.web.HTTPClientError: http.web.HTTPError
---@overload fun(opts?: http.web.ResponseOptions): http.web.HTTPClientError
local HTTPClientError = {}

---@class http.web.HTTPBadRequest: http.web.HTTPClientError
---@overload fun(opts?: http.web.ResponseOptions): http.web.HTTPBadRequest
local HTTPBadRequest = {}

---@class http.web.HTTPConflict: http.web.HTTPClientError
---@overload fun(opts?: http.web.ResponseOptions): http.web.HTTPConflict
local HTTPConflict = {}

---@class http.web.HTTPCreated: http.web.HTTPSuccessful
---@overload fun(opts?: http.web.ResponseOptions): http.web.HTTPCreated
local HTTPCreated = {}

---@class http.web.HTTPExpectationFailed: http.web.HTTPClientError
---@overload fun(opts?: http.web.ResponseOptions): http.web.HTTPExpectationFailed
local HTTPExpectationFailed = {}

---@class http.web.HTTPFailedDependency: http.web.HTTPClientError
---@overload fun(opts?: http.web.ResponseOptions): http.web.HTTPFailedDependency
local HTTPFailedDependency = {}

---@class http.web.HTTPForbidden: http.web.HTTPClientError
---@overload fun(opts?: http.web.ResponseOptions): http.web.HTTPForbidden
local HTTPForbidden = {}

---@class http.web.HTTPRedirection: http.web.HTTPException
---@overload fun(opts?: http.web.ResponseOptions): http.web.HTTPRedirection
local HTTPRedirection = {}

---@class http.web.HTTPMove: http.web.HTTPRedirection
---@overload fun(location: string|url.URL, opts?: http.web.ResponseOptions): http.web.HTTPMove
local HTTPMove = {}

---@class http.web.HTTPFound: http.web.HTTPMove
---@overload fun(location: string|url.URL, opts?: http.web.ResponseOptions): http.web.HTTPFound
local HTTPFound = {}

---@class http.web.HTTPGatewayTimeout: http.web.HTTPServerError
---@overload fun(opts?: http.web.ResponseOptions): http.web.HTTPGatewayTimeout
local HTTPGatewayTimeout = {}

---@class http.web.HTTPGone: http.web.HTTPClientError
---@overload fun(opts?: http.web.ResponseOptions): http.web.HTTPGone
local HTTPGone = {}

---@class http.web.HTTPInsufficientStorage: http.web.HTTPServerError
---@overload fun(opts?: http.web.ResponseOptions): http.web.HTTPInsufficientStorage
local HTTPInsufficientStorage = {}

---@class http.web.HTTPInternalServerError: http.web.HTTPServerError
---@overload fun(opts?: http.web.ResponseOptions): http.web.HTTPInternalServerError
local HTTPInternalServerError = {}

---@class http.web.HTTPLengthRequired: http.web.HTTPClientError
---@overload fun(opts?: http.web.ResponseOptions): http.web.HTTPLengthRequired
local HTTPLengthRequired = {}

---@class http.web.HTTPMethodNotAllowed: http.web.HTTPClientError
---@overload fun(method: string, allowed: string[], opts?: http.web.ResponseOptions): http.web.HTTPMethodNotAllowed
local HTTPMethodNotAllowed = {}

---@class http.web.HTTPMisdirectedRequest: http.web.HTTPClientError
---@overload fun(opts?: http.web.ResponseOptions): http.web.HTTPMisdirectedRequest
local HTTPMisdirectedRequest = {}

---@class http.web.HTTPMovedPermanently: http.web.HTTPMove
---@overload fun(location: string|url.URL, opts?: http.web.ResponseOptions): http.web.HTTPMovedPermanently
local HTTPMovedPermanently = {}

---@class http.web.HTTPMultipleChoices: http.web.HTTPMove
---@overload fun(location: string|url.URL, opts?: http.web.ResponseOptions): http.web.HTTPMultipleChoices
local HTTPMultipleChoices = {}

---@class http.web.HTTPNetworkAuthenticationRequired: http.web.HTTPServerError
---@overload fun(opts?: http.web.ResponseOptions): http.web.HTTPNetworkAuthenticationRequired
local HTTPNetworkAuthenticationRequired = {}

---@class http.web.HTTPNoContent: http.web.HTTPSuccessful
---@overload fun(opts?: http.web.ResponseOptions): http.web.HTTPNoContent
local HTTPNoContent = {}

---@class http.web.HTTPNonAuthoritativeInformation: http.web.HTTPSuccessful
---@overload fun(opts?: http.web.ResponseOptions): http.web.HTTPNonAuthoritativeInformation
local HTTPNonAuthoritativeInformation = {}

---@class http.web.HTTPNotAcceptable: http.web.HTTPClientError
---@overload fun(opts?: http.web.ResponseOptions): http.web.HTTPNotAcceptable
local HTTPNotAcceptable = {}

---@class http.web.HTTPNotExtended: http.web.HTTPServerError
---@overload fun(opts?: http.web.ResponseOptions): http.web.HTTPNotExtended
local HTTPNotExtended = {}

---@class http.web.HTTPNotFound: http.web.HTTPClientError
---@overload fun(opts?: http.web.ResponseOptions): http.web.HTTPNotFound
local HTTPNotFound = {}

---@class http.web.HTTPNotImplemented: http.web.HTTPServerError
---@overload fun(opts?: http.web.ResponseOptions): http.web.HTTPNotImplemented
local HTTPNotImplemented = {}

---@class http.web.HTTPNotModified: http.web.HTTPRedirection
---@overload fun(opts?: http.web.ResponseOptions): http.web.HTTPNotModified
local HTTPNotModified = {}

---@class http.web.HTTPOk: http.web.HTTPSuccessful
---@overload fun(opts?: http.web.ResponseOptions): http.web.HTTPOk
local HTTPOk = {}

---@class http.web.HTTPPartialContent: http.web.HTTPSuccessful
---@overload fun(opts?: http.web.ResponseOptions): http.web.HTTPPartialContent
local HTTPPartialContent = {}

---@class http.web.HTTPPaymentRequired: http.web.HTTPClientError
---@overload fun(opts?: http.web.ResponseOptions): http.web.HTTPPaymentRequired
local HTTPPaymentRequired = {}

---@class http.web.HTTPPermanentRedirect: http.web.HTTPMove
---@overload fun(location: string|url.URL, opts?: http.web.ResponseOptions): http.web.HTTPPermanentRedirect
local HTTPPermanentRedirect = {}

---@class http.web.HTTPPreconditionFailed: http.web.HTTPClientError
---@overload fun(opts?: http.web.ResponseOptions): http.web.HTTPPreconditionFailed
local HTTPPreconditionFailed = {}

---@class http.web.HTTPPreconditionRequired: http.web.HTTPClientError
---@overload fun(opts?: http.web.ResponseOptions): http.web.HTTPPreconditionRequired
local HTTPPreconditionRequired = {}

---@class http.web.HTTPProxyAuthenticationRequired: http.web.HTTPClientError
---@overload fun(opts?: http.web.ResponseOptions): http.web.HTTPProxyAuthenticationRequired
local HTTPProxyAuthenticationRequired = {}

---@class http.web.HTTPRequestEntityTooLarge: http.web.HTTPClientError
---@overload fun(max_size: integer, actual_size: integer, opts?: http.web.ResponseOptions): http.web.HTTPRequestEntityTooLarge
local HTTPRequestEntityTooLarge = {}

---@class http.web.HTTPRequestHeaderFieldsTooLarge: http.web.HTTPClientError
---@overload fun(opts?: http.web.ResponseOptions): http.web.HTTPRequestHeaderFieldsTooLarge
local HTTPRequestHeaderFieldsTooLarge = {}

---@class http.web.HTTPRequestRangeNotSatisfiable: http.web.HTTPClientError
---@overload fun(opts?: http.web.ResponseOptions): http.web.HTTPRequestRangeNotSatisfiable
local HTTPRequestRangeNotSatisfiable = {}

---@class http.web.HTTPRequestTimeout: http.web.HTTPClientError
---@overload fun(opts?: http.web.ResponseOptions): http.web.HTTPRequestTimeout
local HTTPRequestTimeout = {}

---@class http.web.HTTPRequestURITooLong: http.web.HTTPClientError
---@overload fun(opts?: http.web.ResponseOptions): http.web.HTTPRequestURITooLong
local HTTPRequestURITooLong = {}

---@class http.web.HTTPResetContent: http.web.HTTPSuccessful
---@overload fun(opts?: http.web.ResponseOptions): http.web.HTTPResetContent
local HTTPResetContent = {}

---@class http.web.HTTPSeeOther: http.web.HTTPMove
---@overload fun(location: string|url.URL, opts?: http.web.ResponseOptions): http.web.HTTPSeeOther
local HTTPSeeOther = {}

---@class http.web.HTTPServiceUnavailable: http.web.HTTPServerError
---@overload fun(opts?: http.web.ResponseOptions): http.web.HTTPServiceUnavailable
local HTTPServiceUnavailable = {}

---@class http.web.HTTPTemporaryRedirect: http.web.HTTPMove
---@overload fun(location: string|url.URL, opts?: http.web.ResponseOptions): http.web.HTTPTemporaryRedirect
local HTTPTemporaryRedirect = {}

---@class http.web.HTTPTooManyRequests: http.web.HTTPClientError
---@overload fun(opts?: http.web.ResponseOptions): http.web.HTTPTooManyRequests
local HTTPTooManyRequests = {}

---@class http.web.HTTPUnauthorized: http.web.HTTPClientError
---@overload fun(opts?: http.web.ResponseOptions): http.web.HTTPUnauthorized
local HTTPUnauthorized = {}

---@class http.web.HTTPUnavailableForLegalReasons: http.web.HTTPClientError
---@overload fun(link?: string|url.URL, opts?: http.web.ResponseOptions): http.web.HTTPUnavailableForLegalReasons
local HTTPUnavailableForLegalReasons = {}

---@class http.web.HTTPUnprocessableEntity: http.web.HTTPClientError
---@overload fun(opts?: http.web.ResponseOptions): http.web.HTTPUnprocessableEntity
local HTTPUnprocessableEntity = {}

---@class http.web.HTTPUnsupportedMediaType: http.web.HTTPClientError
---@overload fun(opts?: http.web.ResponseOptions): http.web.HTTPUnsupportedMediaType
local HTTPUnsupportedMediaType = {}

---@class http.web.HTTPUpgradeRequired: http.web.HTTPClientError
---@overload fun(opts?: http.web.ResponseOptions): http.web.HTTPUpgradeRequired
local HTTPUpgradeRequired = {}

---@class http.web.HTTPUseProxy: http.web.HTTPMove
---@overload fun(location: string|url.URL, opts?: http.web.ResponseOptions): http.web.HTTPUseProxy
local HTTPUseProxy = {}

---@class http.web.HTTPVariantAlsoNegotiates: http.web.HTTPServerError
---@overload fun(opts?: http.web.ResponseOptions): http.web.HTTPVariantAlsoNegotiates
local HTTPVariantAlsoNegotiates = {}

---@class http.web.HTTPVersionNotSupported: http.web.HTTPServerError
---@overload fun(opts?: http.web.ResponseOptions): http.web.HTTPVersionNotSupported
local HTTPVersionNotSupported = {}

---@class http.web.RouteOptions
---@field name? string of the resource
---@field allow_head? boolean HEAD, too (true)
---@field expect_handler? function called first for requests that wait for 100 Continue

---@class http.web.RouteDef
---@field method string
---@field path string

---@class http.web.StaticOptions
---@field show_index? boolean folders are listed; else 403; default: false
---@field index? boolean|string[] true, or names: files that stand for their folder ("index.html"); default: false
---@field follow_symlinks? boolean links may lead out of the folder (in a sandbox never); default: false
---@field append_version? boolean `resource:url_for{filename = ...}` adds `?v=...`, which changes when the file does; default: false
---@field max_age? integer seconds, for Cache-Control
---@field compress? boolean text is compressed on its way; default: false
---@field chunk_size? integer
---@field name? string of the resource, for `url_for`

---@class http.web.RunnerOptions
---@field shutdown_timeout? number 60: seconds for the handlers that still run
---@field handle_signals? boolean SIGINT and SIGTERM end the loop's run with GracefulExit
---@field access_log? any false; true: standard error; a function of the line, a file
---@field access_log_format? string
---@field handler_cancellation? boolean a handler is cancelled when its client goes
---@field debug? boolean
---@field header_timeout? number|false seconds that a request's head may take
---@field body_timeout? number|false seconds between pieces of a request's body
---@field keepalive_timeout? number|false seconds that a connection may be idle
---@field send_timeout? number|false seconds that a client may take nothing
---@field lingering_time? number|false seconds that what a client still sends is read
---@field max_line? integer bytes of a line of a request's head
---@field max_head? integer bytes of a request's head
---@field max_headers? integer
---@field max_discard? integer bytes of a body that nobody reads that are passed over
---@field on_bad? function what answers a request that is none
---@field server? string|false the header Server

---@class http.web.RunAppOptions: http.web.RunnerOptions
---@field host? string|string[] a name, an address, or an array of them; default: "0.0.0.0"
---@field port? integer 0: a free one; default: 8080, with TLS 8443
---@field path? string|string[] a unix socket, or an array of paths; then no TCP unless `host` or `port` is given
---@field sock? any a bound socket (module `socket`), or an array
---@field ssl_context? ssl.SSLContext a server's SSLContext: https
---@field backlog? integer of the listening sockets
---@field reuse_address? boolean of the listening sockets
---@field reuse_port? boolean of the listening sockets
---@field workers? integer so many processes; default: 1
---@field reload? boolean|table true, or `{dirs = {...}, include = {"*.html"}}`: start anew when a file changes; default: false
---@field print? function|false told where it runs; false: nobody; default: `print`

---@class http.web.ResponseOptions
---@field text? string
---@field body? any
---@field status? integer
---@field reason? string
---@field headers? http.HeadersLike
---@field content_type? string
---@field charset? string
---@field dumps? fun(value: any): string of json_response

---@class http.web.SiteOptions
---@field ssl_context? ssl.SSLContext
---@field backlog? integer
---@field reuse_address? boolean of a TCPSite
---@field reuse_port? boolean of a TCPSite

---@class http.web.FrozenList
---@field frozen boolean
local FrozenList = {}

--- Adds one; RuntimeError when the application is frozen.
---@param value any
function FrozenList:append(value) end

--- Nothing can be added any more.
function FrozenList:freeze() end

---@class http.web.Signal: http.web.FrozenList
local Signal = {}

--- Calls the handlers, one after the other.
---@async
---@param ... any
function Signal:send(...) end

--- `opts`: `middlewares` (an array, the first is the outermost), `client_max_size` (bytes of a request's body, 1 MiB;
--- 0: as many as come), `debug` (pages of errors show tracebacks). Fields: `router`, `middlewares`,
--- `client_max_size`, `debug`, `frozen`, `on_startup`, `on_shutdown`, `on_cleanup` (handlers get the application),
--- `on_response_prepare` (handlers get request and response before the response is sent), `cleanup_ctx`. Whatever
--- else a script puts into it is its state: `app.db = db`, `app[web.AppKey "db"] = db`.
---@class http.web.Application
---@field frozen boolean
---@field pre_frozen boolean
---@field router http.web.UrlDispatcher
---@field middlewares http.web.FrozenList the first is the outermost
---@field on_startup http.web.Signal handlers get the application
---@field on_shutdown http.web.Signal
---@field on_cleanup http.web.Signal
---@field on_response_prepare http.web.Signal handlers get request and response
---@field cleanup_ctx http.web.FrozenList functions of the application that yield once, between startup and cleanup
---@field client_max_size integer bytes of a request's body; 0: as many as come
---@field debug boolean? pages of errors show tracebacks
---@field [any] any
---@overload fun(opts?: { middlewares?: http.web.Middleware[], client_max_size?: integer, debug?: boolean }): http.web.Application
local Application = {}

--- Takes an array of what `web.get` and the like give, or a RouteTableDef.
---@param routes http.web.RouteDef[]|http.web.RouteTableDef
---@return http.web.Route[]
function Application:add_routes(routes) end

--- Puts another application's routes below a prefix; they must be complete. Its middlewares run inside this one's,
--- its signals after them. `request.app` is `sub` there, and in a middleware the application that has it.
---@param prefix string
---@param sub http.web.Application
function Application:add_subapp(prefix, sub) end

--- Puts another application there for one host (`"api.example.com"`, `"*.example.com"`); asked after the routes that
--- are here for every host.
---@param host string
---@param sub http.web.Application
function Application:add_domain(host, sub) end

--- Nothing can be added any more; done by itself at startup.
function Application:freeze() end

--- What runners call: awaitables that freeze the application, enter `cleanup_ctx` and send the signals. `cleanup`
--- leaves `cleanup_ctx` before it sends `on_cleanup`, goes through all, whatever fails, and raises the error of one,
--- a `web.CleanupError` (an ExceptionGroup) of several.
---@async
function Application:startup() end

--- What runners call: awaitables that freeze the application, enter `cleanup_ctx` and send the signals. `cleanup`
--- leaves `cleanup_ctx` before it sends `on_cleanup`, goes through all, whatever fails, and raises the error of one,
--- a `web.CleanupError` (an ExceptionGroup) of several.
---@async
function Application:shutdown() end

--- What runners call: awaitables that freeze the application, enter `cleanup_ctx` and send the signals. `cleanup`
--- leaves `cleanup_ctx` before it sends `on_cleanup`, goes through all, whatever fails, and raises the error of one,
--- a `web.CleanupError` (an ExceptionGroup) of several.
---@async
function Application:cleanup() end

--- Derives a class.
---@param name string
---@return table
function Application:extend(name) end

--- A key for state that no other key is equal to.
---@class http.web.AppKey
---@overload fun(name?: string): http.web.AppKey
local AppKey = {}

--- Derives a class.
---@param name string
---@return table
function AppKey:extend(name) end

--- Routes where their handlers stand: `routes:get(path, opts)(handler)`, and so on; `routes:view(path)(View)`,
--- `routes:static(prefix, directory)`. It is an array of routes.
---@class http.web.RouteTableDef
---@overload fun(): http.web.RouteTableDef
local RouteTableDef = {}

--- `routes:get(path)(handler)`.
---@param path string
---@param opts? http.web.RouteOptions
---@return fun(handler: http.web.Handler): http.web.Handler
function RouteTableDef:get(path, opts) end

--- `routes:head(path)(handler)`.
---@param path string
---@param opts? { name?: string, expect_handler?: function }
---@return fun(handler: http.web.Handler): http.web.Handler
function RouteTableDef:head(path, opts) end

--- `routes:post(path)(handler)`.
---@param path string
---@param opts? { name?: string, expect_handler?: function }
---@return fun(handler: http.web.Handler): http.web.Handler
function RouteTableDef:post(path, opts) end

--- `routes:put(path)(handler)`.
---@param path string
---@param opts? { name?: string, expect_handler?: function }
---@return fun(handler: http.web.Handler): http.web.Handler
function RouteTableDef:put(path, opts) end

--- `routes:patch(path)(handler)`.
---@param path string
---@param opts? { name?: string, expect_handler?: function }
---@return fun(handler: http.web.Handler): http.web.Handler
function RouteTableDef:patch(path, opts) end

--- `routes:delete(path)(handler)`.
---@param path string
---@param opts? { name?: string, expect_handler?: function }
---@return fun(handler: http.web.Handler): http.web.Handler
function RouteTableDef:delete(path, opts) end

--- `routes:options(path)(handler)`.
---@param path string
---@param opts? { name?: string, expect_handler?: function }
---@return fun(handler: http.web.Handler): http.web.Handler
function RouteTableDef:options(path, opts) end

--- `routes:route(method, path)(handler)`.
---@param method string
---@param path string
---@param opts? { name?: string, expect_handler?: function }
---@return fun(handler: http.web.Handler): http.web.Handler
function RouteTableDef:route(method, path, opts) end

--- `routes:view(path)(View)`.
---@param path string
---@param opts? { name?: string, expect_handler?: function }
---@return fun(View: table): table
function RouteTableDef:view(path, opts) end

--- The files below a folder.
---@param prefix string
---@param directory string
---@param opts? http.web.StaticOptions
function RouteTableDef:static(prefix, directory, opts) end

--- Derives a class.
---@param name string
---@return table
function RouteTableDef:extend(name) end

--- `local Users = web.View:extend("Users")`, then `function Users:get() ... self.request ... end`, `post` and so on;
--- other methods are answered 405.
---@class http.web.View
---@field request http.web.Request
local View = {}

--- Derives a class: its methods `get`, `post`, ... answer.
---@param name string
---@return http.web.View
function View:extend(name) end

---@class http.web.Resource
local Resource = {}

--- Adds a route.
---@param method string
---@param handler http.web.Handler
---@return http.web.Route
function Resource:add_route(method, handler) end

--- The path with its parameters in their places, encoded.
---@param params? table<string, any>
---@return url.URL
function Resource:url_for(params) end

---@class http.web.Route
---@field method string
---@field handler http.web.Handler
---@field resource http.web.Resource
local Route = {}

--- The path with its parameters in their places, encoded.
---@param params? table<string, any>
---@return url.URL
function Route:url_for(params) end

---@class http.web.UrlDispatcher
local UrlDispatcher = {}

--- Gives the route.
---@param path string
---@param handler http.web.Handler
---@param opts? http.web.RouteOptions
---@return http.web.Route
function UrlDispatcher:add_get(path, handler, opts) end

--- Gives the route.
---@param path string
---@param handler http.web.Handler
---@param opts? { name?: string, expect_handler?: function }
---@return http.web.Route
function UrlDispatcher:add_head(path, handler, opts) end

--- Gives the route.
---@param path string
---@param handler http.web.Handler
---@param opts? { name?: string, expect_handler?: function }
---@return http.web.Route
function UrlDispatcher:add_post(path, handler, opts) end

--- Gives the route.
---@param path string
---@param handler http.web.Handler
---@param opts? { name?: string, expect_handler?: function }
---@return http.web.Route
function UrlDispatcher:add_put(path, handler, opts) end

--- Gives the route.
---@param path string
---@param handler http.web.Handler
---@param opts? { name?: string, expect_handler?: function }
---@return http.web.Route
function UrlDispatcher:add_patch(path, handler, opts) end

--- Gives the route.
---@param path string
---@param handler http.web.Handler
---@param opts? { name?: string, expect_handler?: function }
---@return http.web.Route
function UrlDispatcher:add_delete(path, handler, opts) end

--- Gives the route.
---@param path string
---@param handler http.web.Handler
---@param opts? { name?: string, expect_handler?: function }
---@return http.web.Route
function UrlDispatcher:add_options(path, handler, opts) end

--- Gives the route.
---@param path string
---@param View http.web.View
---@param opts? { name?: string, expect_handler?: function }
---@return http.web.Route
function UrlDispatcher:add_view(path, View, opts) end

--- Gives the route.
---@param method string
---@param path string
---@param handler http.web.Handler
---@param opts? { name?: string, expect_handler?: function }
---@return http.web.Route
function UrlDispatcher:add_route(method, path, handler, opts) end

--- The files below a folder.
---@param prefix string
---@param directory string
---@param opts? http.web.StaticOptions
---@return http.web.Resource
function UrlDispatcher:add_static(prefix, directory, opts) end

--- Adds them all.
---@param routes http.web.RouteDef[]|http.web.RouteTableDef
---@return http.web.Route[]
function UrlDispatcher:add_routes(routes) end

--- Gives the path's resource; `resource:add_route(method, handler)`.
---@param path string
---@param opts? { name?: string }
---@return http.web.Resource
function UrlDispatcher:add_resource(path, opts) end

--- What there is; `router:freeze()`.
---@return http.web.Resource[]
function UrlDispatcher:resources() end

--- What there is; `router:freeze()`.
---@return http.web.Route[]
function UrlDispatcher:routes() end

--- What there is; `router:freeze()`.
---@return table<string, http.web.Resource>
function UrlDispatcher:named_resources() end

--- Awaits to the `match_info` that the request would have; its `http_exception` is set where there is no route.
---@async
---@param request http.web.Request
---@return table
function UrlDispatcher:resolve(request) end

--- Nothing can be added any more.
function UrlDispatcher:freeze() end

--- Derives a class.
---@param name string
---@return table
function UrlDispatcher:extend(name) end

---@class http.web.Request
---@field raw_query_string string
---@field client_max_size integer
---@field if_modified_since integer?
---@field if_unmodified_since integer?
---@field if_range any
---@field if_match { value: string, is_weak: boolean }[]?
---@field if_none_match { value: string, is_weak: boolean }[]?
---@field forwarded table[]
---@field transport any
---@field task asyncio.Task
---@field loop asyncio.Loop
---@field method string
---@field version string "1.0", "1.1", "2"
---@field path string decoded, without the query
---@field path_qs string as it was sent
---@field raw_path string the same
---@field query any MultiDict of the query string
---@field query_string string decoded
---@field rel_url any URL of path and query
---@field url any URL with scheme and host
---@field scheme string "http" or "https"
---@field secure boolean
---@field host string as the client named it
---@field remote string? the peer's address
---@field headers any Headers: case-insensitive, multi-valued
---@field cookies table<string, string>
---@field match_info table<string, string> what the path's parameters are; also `route`, `handler`, `get(name, default)`
---@field app table the application whose route it is
---@field config_dict table the application's state, else that of those above it
---@field content any StreamReader of the body
---@field content_type string
---@field charset string?
---@field content_length integer?
---@field body_exists boolean
---@field can_read_body boolean
---@field keep_alive boolean
---@field raw_headers table[] pairs of name and value, as they came
---@field http_range { start: integer?, stop: integer? } of the Range header; ValueError if that is malformed
---@field [any] any
local Request = {}

--- Awaits to the whole body, once read it is kept. 413 (HTTPRequestEntityTooLarge) if it is more than
--- `client_max_size`.
---@async
---@return string
function Request:read() end

--- The same as UTF-8; 415 for a charset that is not known.
---@async
---@return string
function Request:text() end

--- The same decoded; 400 says where it is no JSON, `err.cause` is json's error. `opts`: `loads`.
---@async
---@param opts? { loads?: fun(text: string): any }
---@return any
function Request:json(opts) end

--- A form, urlencoded or multipart: a MultiDict of strings and FileFields, whose files are on disk. 400, 413.
---@async
---@return http.MultiDict
function Request:post() end

--- Awaits to a reader of the parts, one after the other.
---@async
---@return http.MultipartReader
function Request:multipart() end

--- Lets the rest of the body go.
---@async
function Request:release() end

--- Of the connection: `"peername"`, `"ssl_object"`, ...
---@param name string
---@param default? any
---@return any
function Request:get_extra_info(name, default) end

--- A copy with something replaced (RuntimeError once the body has been read): `method`, `rel_url`, `headers`,
--- `scheme`, `host`, `remote`, `client_max_size`.
---@param opts? { method?: string, rel_url?: string|url.URL, headers?: http.HeadersLike, scheme?: string, host?: string, remote?: string, client_max_size?: integer }
---@return http.web.Request
function Request:clone(opts) end

--- Derives a class.
---@param name string
---@return table
function Request:extend(name) end

--- One that is written piece by piece. `opts`: `status`, `reason`, `headers`, `content_type`, `charset`.
--- `web.StreamResponse:extend("Name")` derives a class.
---@class http.web.StreamResponse
---@field body_length integer
---@field compression any
---@field status integer
---@field reason string
---@field headers any the response's Headers
---@field content_type string without parameters
---@field charset string?
---@field content_length integer?
---@field chunked boolean
---@field last_modified integer? seconds since 1970; a string is taken as it is
---@field etag { value: string, is_weak: boolean }? a string is taken as the value of a strong one
---@field cookies table<string, string> what set_cookie has set
---@field prepared boolean
---@field keep_alive boolean?
---@field [any] any
---@overload fun(opts?: http.web.ResponseOptions): http.web.StreamResponse
local StreamResponse = {}

--- Sets the status.
---@param status integer
---@param reason? string
function StreamResponse:set_status(status, reason) end

--- `opts`: `expires`, `domain`, `max_age`, `path` ("/"), `secure`, `httponly`, `samesite`, `partitioned`.
---@param name string
---@param value string
---@param opts? http.web.CookieOptions
function StreamResponse:set_cookie(name, value, opts) end

--- Tells the client to forget it.
---@param name string
---@param opts? { domain?: string, path?: string }
function StreamResponse:del_cookie(name, opts) end

--- The connection is closed after it.
function StreamResponse:force_close() end

--- With what the client takes, or with `force`: "gzip", "deflate", "br", "identity" (`web.ContentCoding.gzip` and so
--- on). `response:enable_chunked_encoding()`.
---@param force? "gzip"|"deflate"|"br"|"identity"
function StreamResponse:enable_compression(force) end

--- The body is sent in chunks.
function StreamResponse:enable_chunked_encoding() end

--- Awaitable; sends status and headers.
---@async
---@param request http.web.Request
---@return any
function StreamResponse:prepare(request) end

--- Awaitable; sends a piece, and waits while the client is slow.
---@async
---@param data string
function StreamResponse:write(data) end

--- Awaitable; ends the body. The handler then returns the response.
---@async
---@param data? string
function StreamResponse:write_eof(data) end

--- Derives a class.
---@param name string
---@return table
function StreamResponse:extend(name) end

---@class http.web.CookieOptions
---@field expires? integer|string
---@field domain? string
---@field max_age? integer
---@field path? string
---@field secure? boolean
---@field httponly? boolean
---@field samesite? "Lax"|"Strict"|"None"
---@field partitioned? boolean

--- `opts`: `text` or `body`, `status` (200), `reason`, `headers`, `content_type`, `charset`. A text is `text/plain;
--- charset=utf-8` by default, a body `application/octet-stream`. A body may also be what gives strings: an iterator,
--- a Lua coroutine, a stream with `read(n)`, a part of a multipart body, a File of `fs.open` (which is closed when it
--- was sent). It is sent in chunks, unless its length is known.
---@class http.web.Response: http.web.StreamResponse
---@field text string?
---@field body any
---@overload fun(opts?: http.web.ResponseOptions): http.web.Response
local Response = {}

--- A response with a file's content. `opts`: `status`, `reason`, `headers`, `chunk_size`. Answers conditions (304,
--- 412), Range with one range or several (206, 416) and If-Range as RFC 9110 has them, HEAD; sends ETag,
--- Last-Modified, Content-Type by the name. If `x.br` or `x.gz` lies beside `x`, is not older, and the client takes
--- it, it is sent instead. Files of more than 64 KiB leave by sendfile. What is not there is 404, what may not be
--- read 403.
---@class http.web.FileResponse: http.web.StreamResponse
---@overload fun(path: string, opts?: { status?: integer, reason?: string, headers?: http.HeadersLike, chunk_size?: integer }): http.web.FileResponse
local FileResponse = {}

---@class http.web.WebSocketReady
---@field ok boolean
---@field protocol string?
local WebSocketReady = {}

---@class http.web.WebSocketOptions
---@field timeout? number seconds that `close` waits for the peer's answer, and a peer that broke a rule has to read why; default: 10
---@field receive_timeout? number seconds for each receive
---@field autoping? boolean pings are answered by themselves, at once, whatever the handler does; pongs are not shown; default: true
---@field autoclose? boolean the peer's close frame is answered by itself when it is received, or after `timeout` seconds; default: true
---@field heartbeat? number a ping after so many seconds of silence; no answer within half of that ends the connection with code 1006
---@field protocols? string[] subprotocols, best first
---@field compress? boolean permessage-deflate, if the client offers it; default: true
---@field max_msg_size? integer bytes of a message, compressed or not; 0: no limit. More: the peer is told 1009; default: 4 MiB
---@field headers? http.HeadersLike of the answer

---@class http.web.WebSocketResponse: http.web.StreamResponse
---@field closed boolean nothing can be sent any more
---@field close_code integer?
---@field ws_protocol string?
---@field compress any
---@overload fun(opts?: http.web.WebSocketOptions): http.web.WebSocketResponse
local WebSocketResponse = {}

--- Answers with 101; awaits to `ws`. Raises `web.HTTPBadRequest` (or HTTPUpgradeRequired for another version of the
--- protocol) for a request that asks for no WebSocket.
---@async
---@param request http.web.Request
---@return http.web.WebSocketResponse
function WebSocketResponse:prepare(request) end

--- Would it succeed? An object with `ok` and `protocol`.
---@param request http.web.Request
---@return http.web.WebSocketReady
function WebSocketResponse:can_prepare(request) end

--- Iterates over the messages until the connection is closed: `for msg in ws:messages() do`. `asyncio.aiter(ws)` is
--- the same.
---@return fun(): http.WSMessage?
function WebSocketResponse:messages() end

--- Awaits to the next message. At the end it is one of type CLOSE (`data`: the code, `extra`: the reason) or ERROR
--- (`data`: the error), then CLOSED; CLOSING if another task closes meanwhile. TimeoutError; RuntimeError if a task
--- receives already, or on and on after the end. `timeout` in seconds, or `{timeout = }`.
---@async
---@param timeout? number|{ timeout?: number }
---@return http.WSMessage
function WebSocketResponse:receive(timeout) end

--- The data of a message that must be of that kind; TypeError for others and at the end, the WebSocketError itself
--- after a fault of the peer. `opts`: `timeout`, `loads`.
---@async
---@param timeout? number|{ timeout?: number }
---@return string
function WebSocketResponse:receive_str(timeout) end

--- The data of a message that must be of that kind; TypeError for others and at the end, the WebSocketError itself
--- after a fault of the peer. `opts`: `timeout`, `loads`.
---@async
---@param timeout? number|{ timeout?: number }
---@return string
function WebSocketResponse:receive_bytes(timeout) end

--- The data of a message that must be of that kind; TypeError for others and at the end, the WebSocketError itself
--- after a fault of the peer. `opts`: `timeout`, `loads`.
---@async
---@param opts? { timeout?: number, loads?: fun(text: string): any }
---@return any
function WebSocketResponse:receive_json(opts) end

--- `opts`: `compress` (false: not this message; true: though it is short), and of send_json `dumps`. Wait while the
--- peer is slow to read; OSError (`code` "ECONNRESET") once the connection is closed; ValueError for a text that is
--- not UTF-8.
---@async
---@param data string
---@param opts? { compress?: boolean }
function WebSocketResponse:send_str(data, opts) end

--- `opts`: `compress` (false: not this message; true: though it is short), and of send_json `dumps`. Wait while the
--- peer is slow to read; OSError (`code` "ECONNRESET") once the connection is closed; ValueError for a text that is
--- not UTF-8.
---@async
---@param data string
---@param opts? { compress?: boolean }
function WebSocketResponse:send_bytes(data, opts) end

--- `opts`: `compress` (false: not this message; true: though it is short), and of send_json `dumps`. Wait while the
--- peer is slow to read; OSError (`code` "ECONNRESET") once the connection is closed; ValueError for a text that is
--- not UTF-8.
---@async
---@param value any
---@param opts? { compress?: boolean, dumps?: fun(value: any): string }
function WebSocketResponse:send_json(value, opts) end

--- A message of `WSMsgType.TEXT`, `BINARY`, `PING` or `PONG`.
---@async
---@param data string
---@param type integer
---@param opts? { compress?: boolean }
function WebSocketResponse:send_frame(data, type, opts) end

--- With up to 125 bytes.
---@async
---@param data? string
function WebSocketResponse:ping(data) end

--- With up to 125 bytes.
---@async
---@param data? string
function WebSocketResponse:pong(data) end

--- `opts`: `code` (1000), `message`. Awaits to true when the peer has answered or the time is over, to false if it
--- was closed before.
---@async
---@param opts? { code?: integer, message?: string }
---@return boolean
function WebSocketResponse:close(opts) end

--- The error that ended the connection: `http.websocket`'s WebSocketError (`code`), or TimeoutError of the heartbeat,
--- or of a close that nobody answered; nil.
---@return any
function WebSocketResponse:exception() end

--- As a StreamWriter's; the default when it is closed.
---@param name string
---@param default? any
---@return any
function WebSocketResponse:get_extra_info(name, default) end

--- `opts`: `status`, `reason`, `headers`, `ping_interval` (15): seconds between comments that keep the connection
--- alive; 0: none.
---@class http.web.EventSourceResponse: http.web.StreamResponse
---@field last_event_id string?
---@field ping_interval number
---@overload fun(opts?: { status?: integer, reason?: string, headers?: http.HeadersLike, ping_interval?: number }): http.web.EventSourceResponse
local EventSourceResponse = {}

--- Sends the head; awaits to `events`.
---@async
---@param request http.web.Request
---@return http.web.EventSourceResponse
function EventSourceResponse:prepare(request) end

--- Sends an event; several lines are several `data:` fields; without `data` only what `opts` has. `opts`: `event`,
--- `id`, `retry` (milliseconds until the browser comes back). Waits while the client is slow; OSError (ECONNRESET)
--- when it has gone; ValueError for a name or id with a line break.
---@async
---@param data? string
---@param opts? { event?: string, id?: string, retry?: integer }
function EventSourceResponse:send(data, opts) end

--- The same with a value as JSON.
---@async
---@param value any
---@param opts? { event?: string, id?: string, retry?: integer, dumps?: fun(value: any): string }
function EventSourceResponse:send_json(value, opts) end

--- Is there somebody to send to?
---@return boolean
function EventSourceResponse:is_connected() end

--- Waits until the client has gone (noticed within a second) or `events:stop_streaming()` was called.
---@async
function EventSourceResponse:wait() end

--- Ends what `events:wait()` waits for.
function EventSourceResponse:stop_streaming() end

---@class http.web.FileField
---@field name string
---@field filename string as the client sent it: never a path to open
---@field size integer
---@field content_type string
---@field headers http.Headers
---@field file fs.File
local FileField = {}

--- The whole content.
---@async
---@return string
function FileField:read() end

--- Writes the content to a file.
---@async
---@param path string
function FileField:save(path) end

--- Closes the file.
---@async
function FileField:close() end

--- The same for a function of the request without an application.
---@class http.web.ServerRunner
---@field sites http.web.Site[] in the order they were started
---@field addresses any[] where they listen
---@field server any the settings of the connections, once it is set up
---@overload fun(handler: any, opts?: http.web.RunnerOptions): http.web.ServerRunner
local ServerRunner = {}

--- Starts the application.
---@async
function ServerRunner:setup() end

--- Ends all, as `run_app` does; has `<close>`.
---@async
function ServerRunner:cleanup() end

--- Only `on_shutdown`. Fields: `sites`, `addresses`, `app`, `server`.
---@async
function ServerRunner:shutdown() end

--- Derives a class.
---@param name string
---@return table
function ServerRunner:extend(name) end

--- `opts`: `shutdown_timeout` (60), `handle_signals` (SIGINT and SIGTERM end the loop's run with GracefulExit),
--- `access_log` (false; true: standard error; a function of the line, a file), `access_log_format`,
--- `handler_cancellation` (a handler is cancelled when its client goes away, that of a WebSocket when it goes without
--- closing it), `debug` (pages of errors show tracebacks), and settings of connections: `keepalive_timeout` (75),
--- `header_timeout`, `body_timeout`, `send_timeout`, `lingering_time`, `max_line`, `max_head`, `max_headers`,
--- `max_discard`, `server`, `on_bad`. Requests that cannot be served (malformed, too large, too slow) are told to
--- `on_bad(status, why, peer)`; by default a line goes to standard error.
---@class http.web.AppRunner: http.web.ServerRunner
---@field app http.web.Application
---@overload fun(app: http.web.Application, opts?: http.web.RunnerOptions): http.web.AppRunner
local AppRunner = {}

---@class http.web.Site
---@field name string its URL
local Site = {}

--- Derives a class.
---@param name string
---@return table
function Site:extend(name) end

--- Listens.
---@async
function Site:start() end

--- Listens no more; connections go on. Field `name`: its URL.
---@async
function Site:stop() end

--- `opts`: `ssl_context`, `backlog`, `reuse_address`, `reuse_port`.
---@class http.web.TCPSite: http.web.Site
---@overload fun(runner: http.web.ServerRunner, host?: string, port?: integer, opts?: http.web.SiteOptions): http.web.TCPSite
local TCPSite = {}

--- `opts`: `ssl_context`, `backlog`.
---@class http.web.UnixSite: http.web.Site
---@overload fun(runner: http.web.ServerRunner, path: string, opts?: http.web.SiteOptions): http.web.UnixSite
local UnixSite = {}

--- `opts`: `ssl_context`, `backlog`.
---@class http.web.SockSite: http.web.Site
---@overload fun(runner: http.web.ServerRunner, sock: socket.Socket, opts?: http.web.SiteOptions): http.web.SockSite
local SockSite = {}

---@class http.core.Settings

---@class http.web.ContentCoding
---@field br string
---@field deflate string
---@field gzip string
---@field identity string

---@class http.web
---@field ContentCoding http.web.ContentCoding
---@field WSCloseCode http.WSCloseCode
---@field WSMsgType http.WSMsgType
local web = {}
web.AppKey = AppKey
web.AppRunner = AppRunner
web.Application = Application
web.CleanupError = CleanupError
web.EventSourceResponse = EventSourceResponse
web.FileField = FileField
web.FileResponse = FileResponse
web.GracefulExit = GracefulExit
web.HTTPAccepted = HTTPAccepted
web.HTTPBadGateway = HTTPBadGateway
web.HTTPBadRequest = HTTPBadRequest
web.HTTPClientError = HTTPClientError
web.HTTPConflict = HTTPConflict
web.HTTPCreated = HTTPCreated
web.HTTPError = HTTPError
web.HTTPException = HTTPException
web.HTTPExpectationFailed = HTTPExpectationFailed
web.HTTPFailedDependency = HTTPFailedDependency
web.HTTPForbidden = HTTPForbidden
web.HTTPFound = HTTPFound
web.HTTPGatewayTimeout = HTTPGatewayTimeout
web.HTTPGone = HTTPGone
web.HTTPInsufficientStorage = HTTPInsufficientStorage
web.HTTPInternalServerError = HTTPInternalServerError
web.HTTPLengthRequired = HTTPLengthRequired
web.HTTPMethodNotAllowed = HTTPMethodNotAllowed
web.HTTPMisdirectedRequest = HTTPMisdirectedRequest
web.HTTPMove = HTTPMove
web.HTTPMovedPermanently = HTTPMovedPermanently
web.HTTPMultipleChoices = HTTPMultipleChoices
web.HTTPNetworkAuthenticationRequired = HTTPNetworkAuthenticationRequired
web.HTTPNoContent = HTTPNoContent
web.HTTPNonAuthoritativeInformation = HTTPNonAuthoritativeInformation
web.HTTPNotAcceptable = HTTPNotAcceptable
web.HTTPNotExtended = HTTPNotExtended
web.HTTPNotFound = HTTPNotFound
web.HTTPNotImplemented = HTTPNotImplemented
web.HTTPNotModified = HTTPNotModified
web.HTTPOk = HTTPOk
web.HTTPPartialContent = HTTPPartialContent
web.HTTPPaymentRequired = HTTPPaymentRequired
web.HTTPPermanentRedirect = HTTPPermanentRedirect
web.HTTPPreconditionFailed = HTTPPreconditionFailed
web.HTTPPreconditionRequired = HTTPPreconditionRequired
web.HTTPProxyAuthenticationRequired = HTTPProxyAuthenticationRequired
web.HTTPRedirection = HTTPRedirection
web.HTTPRequestEntityTooLarge = HTTPRequestEntityTooLarge
web.HTTPRequestHeaderFieldsTooLarge = HTTPRequestHeaderFieldsTooLarge
web.HTTPRequestRangeNotSatisfiable = HTTPRequestRangeNotSatisfiable
web.HTTPRequestTimeout = HTTPRequestTimeout
web.HTTPRequestURITooLong = HTTPRequestURITooLong
web.HTTPResetContent = HTTPResetContent
web.HTTPSeeOther = HTTPSeeOther
web.HTTPServerError = HTTPServerError
web.HTTPServiceUnavailable = HTTPServiceUnavailable
web.HTTPSuccessful = HTTPSuccessful
web.HTTPTemporaryRedirect = HTTPTemporaryRedirect
web.HTTPTooManyRequests = HTTPTooManyRequests
web.HTTPUnauthorized = HTTPUnauthorized
web.HTTPUnavailableForLegalReasons = HTTPUnavailableForLegalReasons
web.HTTPUnprocessableEntity = HTTPUnprocessableEntity
web.HTTPUnsupportedMediaType = HTTPUnsupportedMediaType
web.HTTPUpgradeRequired = HTTPUpgradeRequired
web.HTTPUseProxy = HTTPUseProxy
web.HTTPVariantAlsoNegotiates = HTTPVariantAlsoNegotiates
web.HTTPVersionNotSupported = HTTPVersionNotSupported
web.Request = Request
web.Response = Response
web.RouteTableDef = RouteTableDef
web.ServerRunner = ServerRunner
web.SockSite = SockSite
web.StreamResponse = StreamResponse
web.TCPSite = TCPSite
web.UnixSite = UnixSite
web.UrlDispatcher = UrlDispatcher
web.View = View
web.WebSocketReady = WebSocketReady
web.WebSocketResponse = WebSocketResponse

--- A route, for `add_routes`; adds HEAD, too. `opts`: `name`, `allow_head`, `expect_handler`: a function of the
--- request, called first for requests that wait for `100 Continue`; a response that it gives, or an HTTP error, is
--- the answer. Without one the client is told to go on as soon as its body is read.
---@param path string
---@param handler http.web.Handler
---@param opts? http.web.RouteOptions
---@return http.web.RouteDef
function web.get(path, handler, opts) end

--- `(path, handler, opts)`; `opts`: `name`, `expect_handler`.
---@param path string
---@param handler http.web.Handler
---@param opts? { name?: string, expect_handler?: function }
---@return http.web.RouteDef
function web.head(path, handler, opts) end

--- `(path, handler, opts)`; `opts`: `name`, `expect_handler`.
---@param path string
---@param handler http.web.Handler
---@param opts? { name?: string, expect_handler?: function }
---@return http.web.RouteDef
function web.post(path, handler, opts) end

--- `(path, handler, opts)`; `opts`: `name`, `expect_handler`.
---@param path string
---@param handler http.web.Handler
---@param opts? { name?: string, expect_handler?: function }
---@return http.web.RouteDef
function web.put(path, handler, opts) end

--- `(path, handler, opts)`; `opts`: `name`, `expect_handler`.
---@param path string
---@param handler http.web.Handler
---@param opts? { name?: string, expect_handler?: function }
---@return http.web.RouteDef
function web.patch(path, handler, opts) end

--- `(path, handler, opts)`; `opts`: `name`, `expect_handler`.
---@param path string
---@param handler http.web.Handler
---@param opts? { name?: string, expect_handler?: function }
---@return http.web.RouteDef
function web.delete(path, handler, opts) end

--- `(path, handler, opts)`; `opts`: `name`, `expect_handler`.
---@param path string
---@param handler http.web.Handler
---@param opts? { name?: string, expect_handler?: function }
---@return http.web.RouteDef
function web.options(path, handler, opts) end

--- Any method; `"*"` is all.
---@param method string
---@param path string
---@param handler http.web.Handler
---@param opts? { name?: string, expect_handler?: function }
---@return http.web.RouteDef
function web.route(method, path, handler, opts) end

--- A class-based view, for all methods that it has.
---@param path string
---@param View http.web.View
---@param opts? { name?: string, expect_handler?: function }
---@return http.web.RouteDef
function web.view(path, View, opts) end

--- The files below a directory.
---@param prefix string
---@param directory string
---@param opts? http.web.StaticOptions
---@return http.web.RouteDef
function web.static(prefix, directory, opts) end

--- A value as JSON. `opts`: those of Response, and `dumps`.
---@param data any
---@param opts? http.web.ResponseOptions
---@return http.web.Response
function web.json_response(data, opts) end

--- Runs an application (or what a function or coroutine gives) until SIGINT or SIGTERM comes. Then it ends
--- gracefully: it stops listening, closes idle connections, runs `on_shutdown`, gives requests under way
--- `shutdown_timeout`, cancels the rest, runs `on_cleanup`. A second signal waits no longer.
---@param app any
---@param opts? http.web.RunAppOptions
function web.run_app(app, opts) end

--- Says that it is one; gives `f`.
---@generic F: function
---@param f F
---@return F
function web.middleware(f) end

--- Redirects to a path that exists: `append_slash` (true), `remove_slash`, `merge_slashes` (true), `redirect_class`
--- (HTTPPermanentRedirect).
---@param opts? { append_slash?: boolean, remove_slash?: boolean, merge_slashes?: boolean, redirect_class?: table }
---@return http.web.Middleware
function web.normalize_path_middleware(opts) end

--- Pages by status: `{[404] = function(request, err) return response end}`. What is no HTTP error counts as a 500,
--- and is reported.
---@param pages table<integer, fun(request: http.web.Request, err: any): any>
---@return http.web.Middleware
function web.error_pages(pages) end

--- Text for HTML.
---@param text string
---@return string
function web.escape(text) end

return web
