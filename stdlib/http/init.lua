--- http: the facade of the client. It names the parts; each is loaded when its first name is used. The server's side is
--- http.web.

return require "asyncio.facade"({}, {
  ["http.client.session"] = " ClientSession ",
  ["http.client.once"] = " request ",
  ["http.client.request"] = " RequestInfo ",
  ["http.client.response"] = " ClientResponse ",
  ["http.client.timeout"] = " ClientTimeout ",
  ["http.client.tracing"] = " TraceConfig ",
  ["http.client.errors"] = [[ ClientError ClientResponseError ContentTypeError WSServerHandshakeError
    ClientHttpProxyError TooManyRedirects ClientConnectionError ClientOSError ClientConnectionResetError
    ClientConnectorError ClientConnectorDNSError ClientProxyConnectionError UnixClientConnectorError ClientSSLError
    ClientConnectorSSLError ClientConnectorCertificateError ServerConnectionError ServerDisconnectedError
    ServerTimeoutError ConnectionTimeoutError SocketTimeoutError ServerFingerprintMismatch ClientPayloadError
    InvalidURL InvalidUrlClientError NonHttpUrlClientError RedirectClientError InvalidUrlRedirectClientError
    NonHttpUrlRedirectClientError ]],
  ["http.client.connector"] = " BaseConnector TCPConnector UnixConnector ",
  ["http.client.resolver"] = " ThreadedResolver DefaultResolver ",
  ["http.client.tls"] = " Fingerprint ",
  ["http.client.auth"] = " BasicAuth ",
  ["http.client.digest"] = " DigestAuth DigestAuthMiddleware ",
  ["http.client.cookiejar"] = " AbstractCookieJar CookieJar DummyCookieJar ",
  ["http.client.formdata"] = " FormData ",
  ["http.client.multipart"] = " MultipartWriter ",
  ["http.multipart"] = " MultipartReader BodyPartReader ",
  ["http.client.websocket"] = " ClientWebSocketResponse ClientWSTimeout ",
  ["http.websocket"] = " WSMsgType WSCloseCode WSMessage WebSocketError ",
  ["http.multidict"] = " MultiDict ",
  ["http.core"] = " Headers ",
}, "http")
