--- http.web: the facade of the server's side. It names the parts; each is loaded when its first name is used.

return require "asyncio.facade"({}, {
  ["http.web.application"] = " Application AppKey CleanupError ",
  ["http.web.routes"] = " RouteTableDef get head post put patch delete options route view static ",
  ["http.web.resources"] = " View ",
  ["http.web.response"] = " Response json_response ",
  ["http.web.stream"] = " StreamResponse ",
  ["http.web.request"] = " Request ",
  ["http.web.dispatcher"] = " UrlDispatcher ",
  ["http.web.middlewares"] = " middleware normalize_path_middleware error_pages ",
  ["http.web.pages"] = " escape ",
  ["http.web.runner"] = " AppRunner ServerRunner GracefulExit ",
  ["http.web.sites"] = " TCPSite UnixSite SockSite ",
  ["http.web.run"] = " run_app ",
  ["http.web.file"] = " FileResponse ",
  ["http.web.websocket"] = " WebSocketResponse WSMsgType WSCloseCode WebSocketReady ",
  ["http.web.compression"] = " ContentCoding ",
  ["http.web.sse"] = " EventSourceResponse ",
  ["http.forms"] = " FileField ",
  ["http.web.errors"] = [[ HTTPException HTTPError HTTPRedirection HTTPSuccessful HTTPClientError HTTPServerError
    HTTPMove HTTPOk HTTPCreated HTTPAccepted HTTPNonAuthoritativeInformation HTTPNoContent HTTPResetContent
    HTTPPartialContent HTTPMultipleChoices HTTPMovedPermanently HTTPFound HTTPSeeOther HTTPNotModified HTTPUseProxy
    HTTPTemporaryRedirect HTTPPermanentRedirect HTTPBadRequest HTTPUnauthorized HTTPPaymentRequired HTTPForbidden
    HTTPNotFound HTTPMethodNotAllowed HTTPNotAcceptable HTTPProxyAuthenticationRequired HTTPRequestTimeout
    HTTPConflict HTTPGone HTTPLengthRequired HTTPPreconditionFailed HTTPRequestEntityTooLarge HTTPRequestURITooLong
    HTTPUnsupportedMediaType HTTPRequestRangeNotSatisfiable HTTPExpectationFailed HTTPMisdirectedRequest
    HTTPUnprocessableEntity HTTPFailedDependency HTTPUpgradeRequired HTTPPreconditionRequired HTTPTooManyRequests
    HTTPRequestHeaderFieldsTooLarge HTTPUnavailableForLegalReasons HTTPInternalServerError HTTPNotImplemented
    HTTPBadGateway HTTPServiceUnavailable HTTPGatewayTimeout HTTPVersionNotSupported HTTPVariantAlsoNegotiates
    HTTPInsufficientStorage HTTPNotExtended HTTPNetworkAuthenticationRequired ]],
}, "http.web")
