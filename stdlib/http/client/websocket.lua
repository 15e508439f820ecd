--- WebSockets of the client: session:ws_connect. The handshake is a request as others are (headers, cookies, redirects,
--- proxies, TLS, the session's timeout); then messages go both ways until one side closes. What both sides of a
--- WebSocket have in common is in http.websocket.

local class = require "http.web.class"
local core = require "asyncio.core"
local errors = require "http.client.errors"
local misuse = require "asyncio.misuse"
local websocket = require "http.websocket"

local async, await, catch = core.async, core.await, core.catch
local blame, describe = misuse.blame, misuse.describe

local M = {}

-- ---- ClientWSTimeout ----

---@class http.ClientWSTimeout
---@field ws_receive number? seconds that each receive waits for; nil: no limit
---@field ws_close number? seconds that close waits for the server's answer
local ClientWSTimeout = {}
ClientWSTimeout.__name = "ClientWSTimeout"
ClientWSTimeout.__index = ClientWSTimeout

function ClientWSTimeout:__tostring()
  return ("ClientWSTimeout(ws_receive=%s, ws_close=%s)"):format(self.ws_receive, self.ws_close)
end

local CLOSE_TIMEOUT <const> = 10

local function seconds(value, what)
  if type(value) ~= "number" then
    blame(core.TypeError, ("%s: a number of seconds was expected, got %s"):format(what, describe(value)))
  elseif not (value >= 0 and value < 1e9) then
    blame(core.ValueError, ("%s: 0 or more seconds were expected, got %s"):format(what, value))
  end
  return value
end

local function make_timeout(opts, what)
  core.options(opts, { "ws_receive", "ws_close" }, what)
  opts = opts or {}
  local receive, close = opts.ws_receive or nil, opts.ws_close
  return setmetatable({
    ws_receive = receive and seconds(receive, what .. ": ws_receive"),
    ws_close = close == nil and CLOSE_TIMEOUT or seconds(close, what .. ": ws_close"),
  }, ClientWSTimeout)
end

M.ClientWSTimeout = setmetatable(ClientWSTimeout, {
  __name = "class ClientWSTimeout",
  --- Raises TypeError, ValueError.
  __call = function(_, opts) return make_timeout(opts, "ClientWSTimeout") end,
})

local function timeout_of(value)
  if type(value) == "table" then
    return getmetatable(value) == ClientWSTimeout and value or make_timeout(value, "ws_connect: timeout")
  end
  return make_timeout(value ~= nil and { ws_close = seconds(value, "ws_connect: timeout") } or nil, "timeout")
end

-- ---- the connection ----

---@class http.ClientWebSocketResponse: WebSocketMethods
---@field closed boolean nothing can be sent any more
---@field close_code integer? why: one of WSCloseCode, or the server's own
---@field protocol string? the subprotocol that was agreed on
---@field compress integer|false bits of the window that messages are compressed with; false: they are not
---@field client_notakeover boolean does each message begin with an empty window?
---@field response http.ClientResponse the answer to the handshake: its headers, cookies, history
local ClientWebSocketResponse = class.define("ClientWebSocketResponse")
M.ClientWebSocketResponse = ClientWebSocketResponse

for name, method in next, websocket.methods do ClientWebSocketResponse[name] = method end

local get = ClientWebSocketResponse.__get
function get.closed(self) return self._conn:closed() end
function get.close_code(self) return self._conn:close_code() end
function get.protocol(self) return rawget(self, "_protocol") end
function get.compress(self)
  local deflate = rawget(self, "_deflate")
  return deflate ~= nil and deflate.out_bits
end

function get.client_notakeover(self)
  local deflate = rawget(self, "_deflate")
  return deflate ~= nil and deflate.out_reset == true
end

function get.response(self) return self._response end

function ClientWebSocketResponse.new()
  blame(core.TypeError, "WebSockets are made by sessions: await(session:ws_connect(url))")
end

--- `local ws <close> = ...`: closes it and waits for the server's answer; after an error, or when the task is
--- cancelled, the server is told 1001 and nothing is waited for.
function ClientWebSocketResponse:__close(err)
  local conn = self._conn
  if conn:closed() then return end
  if err == nil then
    await(conn:close())
  else
    conn:fail(websocket.WSCloseCode.GOING_AWAY, "")
  end
end

function ClientWebSocketResponse:__tostring()
  local state = self.closed and "closed" or "open"
  return ("<ClientWebSocketResponse %s %s>"):format(errors.shown(self._response.url), state)
end

-- ---- arguments ----

--- Those that are the request's are handed on to it.
local of_request = { "params", "headers", "auth", "proxy", "proxy_auth", "proxy_headers", "ssl", "server_hostname" }
local OPTIONS = {
  "method", "protocols", "timeout", "receive_timeout", "autoclose", "autoping", "heartbeat", "origin", "compress",
  "max_msg_size", table.unpack(of_request),
}

local function check(opts, name, kind) return websocket.check_option("ws_connect", opts, name, kind) end

--- The bits of the window to be offered, or nil.
local function window(opts)
  local value = opts.compress
  if value == nil or value == false or value == 0 then return nil end
  if value == true then return 15 end
  if math.type(value) ~= "integer" then
    blame(core.TypeError, "ws_connect: compress: a boolean, or 9 to 15, was expected, got " .. describe(value))
  elseif value < 9 or value > 15 then
    blame(core.ValueError, ("ws_connect: compress: the window must have 9 to 15 bits, not %d"):format(value))
  end
  return value
end

local function settings_of(opts)
  local timeout = timeout_of(opts.timeout)
  return {
    server = false,
    timeout = timeout.ws_close,
    receive_timeout = check(opts, "receive_timeout", "seconds") or timeout.ws_receive,
    autoclose = check(opts, "autoclose", "boolean"),
    autoping = check(opts, "autoping", "boolean"),
    heartbeat = check(opts, "heartbeat", "seconds"),
    max_msg_size = check(opts, "max_msg_size", "size"),
  }
end

--- The options of the handshake's request.
local function handshake(opts, key, protocols, bits)
  local asked = { raise_for_status = false } -- a status is told by WSServerHandshakeError
  for _, name in ipairs(of_request) do asked[name] = opts[name] end
  local request = require "http.client.request"
  local headers = opts.headers ~= nil and request.make_headers(opts.headers, "headers"):copy() or request.headers_of {}
  local function default(name, value)
    if not headers:contains(name) then headers[name] = value end
  end
  default("Upgrade", "websocket")
  default("Connection", "Upgrade")
  default("Sec-WebSocket-Version", "13")
  headers["Sec-WebSocket-Key"] = key
  if protocols and #protocols > 0 then headers["Sec-WebSocket-Protocol"] = table.concat(protocols, ", ") end
  if opts.origin ~= nil then
    headers.Origin = check(opts, "origin", "string")
  end
  if bits then headers["Sec-WebSocket-Extensions"] = websocket.offer_deflate(bits) end
  asked.headers = headers
  return asked
end

-- ---- the handshake ----

local function refuse(resp, reason, cause)
  error(errors.make(errors.WSServerHandshakeError, resp, reason, {
    status = resp.status, headers = resp.headers, history = resp.history, request_info = resp.request_info,
    cause = cause,
  }), 0)
end

local function has_token(value, word)
  for token in (value or ""):gmatch("[^,]+") do
    if token:match("^%s*(.-)%s*$"):lower() == word then return true end
  end
  return false
end

--- The subprotocol that the server has chosen, if it was offered.
local function chosen(headers, protocols)
  for name in (headers:get("Sec-WebSocket-Protocol") or ""):gmatch("[^,%s]+") do
    for _, offered in ipairs(protocols or {}) do
      if name == offered then return name end
    end
  end
end

--- Is it the answer to our key? Gives the deflate parameters and the subprotocol.
local function examine(resp, key, protocols, bits)
  local headers = resp.headers
  if resp.status ~= 101 then
    refuse(resp, "Invalid response status")
  elseif not has_token(headers:get("Upgrade"), "websocket") then
    refuse(resp, "Invalid upgrade header")
  elseif not has_token(headers:get("Connection"), "upgrade") then
    refuse(resp, "Invalid connection header")
  elseif headers:get("Sec-WebSocket-Accept") ~= websocket.accept_key(key) then
    refuse(resp, "Invalid challenge response")
  end
  local extensions = headers:getall("Sec-WebSocket-Extensions")
  local list = #extensions > 0 and table.concat(extensions, ", ") or nil
  if list and not bits then refuse(resp, "the server chose an extension that was not offered: " .. list) end
  local ok, deflate = pcall(websocket.accept_deflate, list)
  if not ok then refuse(resp, deflate.message, deflate) end
  return deflate, chosen(headers, protocols)
end

--- The session closes those that are open when it is closed.
local function remember(session, ws)
  local all = rawget(session, "_websockets")
  if not all then
    all = setmetatable({}, { __mode = "k" })
    rawset(session, "_websockets", all)
  end
  all[ws] = true
end

local function open(resp, settings, deflate, protocol)
  local session = resp.session
  local x, _, give_back = resp:_detach()
  local ok, conn = catch(function()
    local _, writer = x:upgrade()
    settings.deflate = deflate
    return websocket.connect(writer, settings)
  end)
  if not ok then
    x:abort()
    give_back(false)
    error(errors.translate(conn, resp), 0)
  end
  conn:on_end(give_back, false)
  local ws = setmetatable({ _conn = conn, _response = resp, _protocol = protocol, _deflate = deflate },
    ClientWebSocketResponse)
  remember(session, ws)
  return ws
end

local shake_hands = async(function(asking, settings, key, protocols, bits)
  local resp = await(asking)
  local ok, deflate, protocol = catch(examine, resp, key, protocols, bits)
  if not ok then
    resp:close()
    error(deflate, 0)
  end
  return open(resp, settings, deflate, protocol)
end, "ClientSession.ws_connect")

--- What ClientSession:ws_connect does. Wrong arguments are told at the call.
---@param session http.ClientSession
---@param url string|url.URL ws, wss, http or https
---@param opts? table {method = "GET", protocols, timeout = ClientWSTimeout, receive_timeout, autoclose = true,
--- autoping = true, heartbeat, auth, origin, params, headers, proxy, proxy_auth, proxy_headers, ssl, server_hostname,
--- compress = false (true, or the window's bits: 9 to 15), max_msg_size = 4 MiB}
---@return any awaitable of an http.ClientWebSocketResponse; raises WSServerHandshakeError and what requests raise
function M.connect(session, url, opts)
  core.options(opts, OPTIONS, "ws_connect")
  opts = opts or {}
  local settings, bits = settings_of(opts), window(opts)
  local protocols = check(opts, "protocols", "names")
  local key = websocket.new_key()
  local method = require("http.client.request").check_method(opts.method or "GET")
  local asking = session:_request(method, url, handshake(opts, key, protocols, bits), { upgrade = true })
  return shake_hands(asking, settings, key, protocols, bits)
end

--- For the session that is closed: so are its WebSockets.
---@param session http.ClientSession
function M.drop(session)
  for ws in next, rawget(session, "_websockets") or {} do ws._conn:abort() end
end

return M
