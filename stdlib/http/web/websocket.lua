--- WebSocketResponse: a request that becomes a WebSocket. `prepare` answers it with 101; then messages go both ways
--- until one side closes. What both sides of a WebSocket have in common is in http.websocket.

local StreamResponse = require "http.web.stream"
local core = require "asyncio.core"
local errors = require "http.web.errors"
local websocket = require "http.websocket"

local async, await = core.async, core.await

local M = { WSMsgType = websocket.WSMsgType, WSCloseCode = websocket.WSCloseCode }

local ABNORMAL <const> = 1006 -- the close code when the peer has said none

--- What can_prepare says.
---@class http.web.WebSocketReady
---@field ok boolean
---@field protocol string? the subprotocol that would be spoken
local WebSocketReady = {}
WebSocketReady.__index = WebSocketReady
WebSocketReady.__name = "WebSocketReady"
M.WebSocketReady = WebSocketReady

function WebSocketReady:__tostring()
  return ("<WebSocketReady %s%s>"):format(self.ok and "ok" or "no", self.protocol and " " .. self.protocol or "")
end

---@class http.web.WebSocketResponse: http.web.StreamResponse
---@field closed boolean nothing can be sent any more
---@field close_code integer? why: one of WSCloseCode, or the script's own
---@field ws_protocol string? the subprotocol that was agreed on
---@field compress boolean are messages compressed?
local WebSocketResponse = StreamResponse:extend("WebSocketResponse")
M.WebSocketResponse = WebSocketResponse

for name, method in next, websocket.methods do WebSocketResponse[name] = method end

local get = WebSocketResponse.__get
function get.closed(self) return self._conn and self._conn:closed() or false end
function get.close_code(self) return self._conn and self._conn:close_code() or nil end
function get.ws_protocol(self) return rawget(self, "_protocol") end
function get.compress(self) return rawget(self, "_deflate") ~= nil end

-- ---- making one ----

local options = {
  "timeout", "receive_timeout", "autoclose", "autoping", "heartbeat", "protocols", "compress", "max_msg_size",
  "headers",
}

local function check(opts, name, kind) return websocket.check_option("WebSocketResponse", opts, name, kind) end

--- `WebSocketResponse{...}`. Options: `timeout` of closing (10 seconds), `receive_timeout` of each receive (none),
--- `autoclose` (a close frame is answered by itself), `autoping` (pings are), `heartbeat` (a ping after so many seconds
--- of silence; no answer within half of that ends the connection), `protocols` (subprotocols, best first), `compress`
--- (true), `max_msg_size` (4 MiB; 0: no limit), `headers`.
function WebSocketResponse.new(cls, opts)
  core.options(opts, options, "WebSocketResponse")
  opts = opts or {}
  local self = StreamResponse.new(cls, { status = 101, headers = opts.headers })
  local settings = {
    server = true,
    timeout = check(opts, "timeout", "seconds"),
    receive_timeout = check(opts, "receive_timeout", "seconds"),
    autoclose = check(opts, "autoclose", "boolean"),
    autoping = check(opts, "autoping", "boolean"),
    heartbeat = check(opts, "heartbeat", "seconds"),
    max_msg_size = check(opts, "max_msg_size", "size"),
  }
  rawset(self, "_settings", settings)
  rawset(self, "_protocols", check(opts, "protocols", "names"))
  rawset(self, "_compress", check(opts, "compress", "boolean") ~= false)
  rawset(self, "_conn", false)
  return self
end

-- ---- the handshake ----

local function header_of(request)
  local headers = request.headers
  return function(name)
    local values = headers:getall(name)
    return values[1] and table.concat(values, ", ") or nil
  end
end

-- What is wrong with the request, as the error that answers it; or the key and the subprotocol.
local function examine(self, request)
  local header = header_of(request)
  local key, protocol = websocket.check_request(header, rawget(self, "_protocols"))
  if key and request.method == "GET" and request.version ~= "1.0" then return nil, key, protocol end
  local version = header("sec-websocket-version")
  if not key and version and version ~= "13" and header("upgrade") then
    return errors.HTTPUpgradeRequired {
      text = protocol, headers = { ["Sec-WebSocket-Version"] = "13", Upgrade = "websocket", Connection = "Upgrade" },
    }
  end
  return errors.HTTPBadRequest { text = key and "A WebSocket is opened by GET of HTTP/1.1" or protocol }
end

--- Would prepare succeed? A response that fits the request may then be another one.
---@param request http.web.Request
---@return http.web.WebSocketReady
function WebSocketResponse:can_prepare(request)
  if self._conn then error(core.RuntimeError("Already started"), 2) end
  local wrong, _, protocol = examine(self, request)
  return setmetatable({ ok = wrong == nil, protocol = wrong == nil and protocol or nil }, WebSocketReady)
end

local function answer_headers(self, key, protocol, extensions)
  local list = { "Upgrade", "websocket", "Connection", "Upgrade", "Sec-WebSocket-Accept", websocket.accept_key(key) }
  local function add(name, value)
    list[#list + 1] = name
    list[#list + 1] = value
  end
  if protocol then add("Sec-WebSocket-Protocol", protocol) end
  if extensions then add("Sec-WebSocket-Extensions", extensions) end
  local own = self._headers
  if own then
    for name, value in pairs(own) do add(name, value) end
  end
  local cookies = self._cookies or {}
  for i = 1, #cookies, 3 do add("Set-Cookie", cookies[i + 1]) end
  return list
end

-- With handler_cancellation: a client that goes without saying goodbye takes the handler along.
local function on_end(self)
  local task = self._request._handler
  if task and self._conn:close_code() == ABNORMAL then task:cancel() end
end

WebSocketResponse._prepare = async(function(self, request)
  if self._conn then
    if self._x == request._x then return self end
    error(core.RuntimeError("this WebSocket was prepared for another request"), 0)
  end
  local wrong, key, protocol = examine(self, request)
  if wrong then error(wrong, 0) end
  if request.app and request.app._has_prepare then StreamResponse._signal_prepare(self, request) end
  local settings, extensions = rawget(self, "_settings"), nil
  if self._compress then
    settings.deflate, extensions = websocket.choose_deflate(header_of(request)("sec-websocket-extensions"))
  end
  local x = request._x
  local _, writer = x:upgrade(answer_headers(self, key, protocol, extensions))
  self.status, self._x, self._request, self._eof = 101, x, request, false
  rawset(self, "_protocol", protocol)
  rawset(self, "_deflate", settings.deflate)
  rawset(self, "_conn", websocket.connect(writer, settings))
  rawset(self, "_settings", nil)
  rawset(request, "_websocket", self)
  if request._handler then self._conn:on_end(on_end, self) end
  return self
end, "WebSocketResponse.prepare")

-- ---- the end ----

--- There is no body to write to.
function WebSocketResponse.write()
  error(core.RuntimeError("write: a WebSocket sends messages: send_str, send_bytes"), 2)
end

--- Closes it, as the server does when the handler has returned.
---@return any awaitable
WebSocketResponse.write_eof = async(function(self)
  if self._eof then return end
  if not self._conn then error(core.RuntimeError("Call .prepare() first"), 0) end
  self._eof = true
  await(self._conn:close())
end, "WebSocketResponse.write_eof")

--- For the server: its handler is done.
function WebSocketResponse._send(self, request)
  if not self._conn then await(self:prepare(request)) end
  if not self._eof then await(self:write_eof()) end
end

--- For the server: its handler has failed. Nothing is waited for.
function WebSocketResponse:_fail(code)
  self._eof = true
  if self._conn then self._conn:fail(code or M.WSCloseCode.INTERNAL_ERROR, "") end
end

--- `local ws <close> = ...`: closes it; with 1011 after an error, 1001 if the task is cancelled.
function WebSocketResponse:__close(err)
  if not self._conn or self._conn:closed() then return end
  if err == nil then
    await(self._conn:close())
  else
    self:_fail(core.isinstance(err, core.CancelledError) and M.WSCloseCode.GOING_AWAY or nil)
  end
end

function WebSocketResponse:__tostring()
  return ("<WebSocketResponse %s>"):format(not self._conn and "not prepared" or self.closed and "closed" or "open")
end

return M
