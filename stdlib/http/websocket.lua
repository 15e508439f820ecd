--- http.websocket: what WebSocket's two sides share (RFC 6455, RFC 7692): message types, close codes, messages, the
--- handshake, and the methods of an open connection. Frames are the business of http.ws, in C.

local core = require "asyncio.core"
local misuse = require "asyncio.misuse"
local ws = require "http.ws"

local async, await = core.async, core.await

local M = {}

-- ---- names ----

--- What a message is: `msg.type == WSMsgType.TEXT`.
---@enum WSMsgType
M.WSMsgType = {
  CONTINUATION = 0x0, TEXT = 0x1, BINARY = 0x2, CLOSE = 0x8, PING = 0x9, PONG = 0xA,
  CLOSING = 0x100, CLOSED = 0x101, ERROR = 0x102,
}

--- Why a connection is closed (RFC 6455, section 7.4). NO_STATUS_RCVD and ABNORMAL_CLOSURE are seen, never sent.
---@enum WSCloseCode
M.WSCloseCode = {
  OK = 1000, GOING_AWAY = 1001, PROTOCOL_ERROR = 1002, UNSUPPORTED_DATA = 1003, NO_STATUS_RCVD = 1005,
  ABNORMAL_CLOSURE = 1006, INVALID_TEXT = 1007, POLICY_VIOLATION = 1008, MESSAGE_TOO_BIG = 1009,
  MANDATORY_EXTENSION = 1010, INTERNAL_ERROR = 1011, SERVICE_RESTART = 1012, TRY_AGAIN_LATER = 1013,
  BAD_GATEWAY = 1014,
}

local type_names = {}
for name, number in next, M.WSMsgType do type_names[number] = name end

--- A peer that broke a rule of the protocol; `code` is the close code that it was told.
M.WebSocketError = core.Exception:extend("WebSocketError")

---@class WSMessage
---@field type integer one of WSMsgType
---@field data string|integer|table? the text, the bytes; of CLOSE the code, of ERROR the error
---@field extra string? of CLOSE: the reason
local WSMessage = {}
WSMessage.__index = WSMessage
WSMessage.__name = "WSMessage"
M.WSMessage = WSMessage

--- The data, decoded from JSON. Raises json's ValueError.
---@param loads (fun(text: string): any)? another decoder
function WSMessage:json(loads)
  return (loads or require("json").decode)(self.data)
end

function WSMessage:__tostring()
  local data = self.data
  if type(data) == "string" then data = ("%q"):format(#data > 60 and data:sub(1, 60) .. "..." or data) end
  return ("WSMessage(type=%s, data=%s)"):format(type_names[self.type] or self.type, data)
end

local function failure(code, reason)
  if code == M.WSCloseCode.ABNORMAL_CLOSURE then return core.TimeoutError(reason) end
  return M.WebSocketError(reason, { code = code })
end

-- ---- the handshake ----

-- Takes no longer than the text is long, whatever blanks are in it.
local function trim(s)
  local first = s:find("[^ \t]")
  return first and s:match(".*[^ \t]", first) or ""
end

--- Is the word in a comma-separated header? Case does not matter.
local function has_token(header, word)
  for token in (header or ""):gmatch("[^,]+") do
    if trim(token):lower() == word then return true end
  end
  return false
end

--- Takes a Sec-WebSocket-Extensions header apart: an array of {name = , NAME = value or true, ...}, in order. What is
--- not in its form, or says a parameter twice, is left out.
---@param header string?
---@return table[]
function M.parse_extensions(header)
  local list = {}
  for offer in (header or ""):gmatch("[^,]+") do
    local extension, good
    for part in (offer .. ";"):gmatch("([^;]*);") do
      part = trim(part)
      local name, value = part:match('^([^%s=]+)%s*=%s*"?([^%s"]+)"?$')
      name = (name or part:match("^([^%s=]+)$") or ""):lower()
      if not extension then
        extension, good = { name = name, params = {} }, name ~= "" and not value
      else
        good = good and name ~= "" and extension.params[name] == nil
        extension.params[name] = value or true
      end
    end
    if good then list[#list + 1] = extension end
  end
  return list
end

local known = {
  server_no_context_takeover = true, client_no_context_takeover = true, server_max_window_bits = true,
  client_max_window_bits = true,
}

--- The window bits in a parameter, or nil if it has none that may be.
local function window(value)
  if type(value) ~= "string" or not value:find("^[1-9]%d?$") then return nil end
  local n = math.tointeger(value)
  return n >= 8 and n <= 15 and n or nil
end

--- Are the parameters of permessage-deflate well-formed?
local function well_formed(p, answer)
  for name in next, p do
    if not known[name] then return false end
  end
  if p.server_no_context_takeover ~= nil and p.server_no_context_takeover ~= true then return false end
  if p.client_no_context_takeover ~= nil and p.client_no_context_takeover ~= true then return false end
  if p.server_max_window_bits ~= nil and not window(p.server_max_window_bits) then return false end
  local bits = p.client_max_window_bits
  return bits == nil or window(bits) ~= nil or (bits == true and not answer)
end

--- The server's choice among a client's offers of permessage-deflate (RFC 7692, section 7.1).
---@param header string? the client's Sec-WebSocket-Extensions
---@return table? deflate for http.ws, or nil: none that can be had
---@return string? answer the server's Sec-WebSocket-Extensions
function M.choose_deflate(header)
  if not ws.deflate then return nil end
  for _, offer in ipairs(M.parse_extensions(header)) do
    local p = offer.params
    -- zlib writes no streams for a window of 8 bits
    if offer.name == "permessage-deflate" and well_formed(p) and p.server_max_window_bits ~= "8" then
      local deflate, answer = { in_bits = 15, out_bits = 15 }, { "permessage-deflate" }
      if p.server_no_context_takeover then
        deflate.out_reset, answer[#answer + 1] = true, "server_no_context_takeover"
      end
      if p.client_no_context_takeover then
        deflate.in_reset, answer[#answer + 1] = true, "client_no_context_takeover"
      end
      if p.server_max_window_bits then
        deflate.out_bits = window(p.server_max_window_bits)
        answer[#answer + 1] = "server_max_window_bits=" .. deflate.out_bits
      end
      if window(p.client_max_window_bits) then
        deflate.in_bits = window(p.client_max_window_bits)
        answer[#answer + 1] = "client_max_window_bits=" .. deflate.in_bits
      end
      return deflate, table.concat(answer, "; ")
    end
  end
end

--- What a client offers.
---@param bits integer? 9 to 15: how large its window is at most
function M.offer_deflate(bits)
  return "permessage-deflate; client_max_window_bits" .. (bits and bits < 15 and "=" .. bits or "")
end

--- What a server has made of a client's offer. Raises WebSocketError.
---@param header string? the server's Sec-WebSocket-Extensions
---@return table? deflate for http.ws, or nil: messages are not compressed
function M.accept_deflate(header)
  local list = M.parse_extensions(header)
  if #list == 0 and not (header or ""):find("%S") then return nil end
  local p = list[1] and list[1].params
  if #list ~= 1 or list[1].name ~= "permessage-deflate" or not well_formed(p, true) then
    error(M.WebSocketError("the server chose an extension that was not offered: " .. header, { code = 1010 }), 0)
  end
  local out = window(p.client_max_window_bits) or 15
  return {
    in_bits = window(p.server_max_window_bits) or 15, out_bits = out < 9 and 9 or out,
    in_reset = p.server_no_context_takeover, out_reset = p.client_no_context_takeover,
  }
end

--- Sec-WebSocket-Accept for a key.
---@type fun(key: string): string
M.accept_key = ws.accept
--- A new Sec-WebSocket-Key.
---@type fun(): string
M.new_key = ws.key

local function is_names(value)
  if type(value) ~= "table" then return false end
  for _, item in ipairs(value) do
    if type(item) ~= "string" or not item:find("^[%w!#$%%&'*+.^_`|~-]+$") then return false end
  end
  return true
end

local function is_seconds(value) return type(value) == "number" and value > 0 and value < 1e9 end
local function is_size(value) return math.type(value) == "integer" and value >= 0 end

-- What options may be: in words, the check, and what numbers must be besides.
local kinds = {
  boolean = { "a boolean", function(value) return type(value) == "boolean" end },
  string = { "a string", function(value) return type(value) == "string" end },
  seconds = { "a number of seconds", is_seconds, " above 0" },
  size = { "a number of bytes", is_size, " (0 or more)" },
  names = { "an array of names", is_names },
}

--- The option of that name, which must be of the kind ("boolean", "string", "seconds", "size", "names") if it is given.
---@param fname string what errors begin with
---@param opts table
---@param name string
---@param kind string
---@return any
function M.check_option(fname, opts, name, kind)
  local value, allowed = opts[name], kinds[kind]
  if value == nil or allowed[2](value) then return value end
  local off = type(value) == "number" and allowed[3] -- a number out of its range
  misuse.blame(off and core.ValueError or core.TypeError, ("%s: %s: %s%s was expected, got %s"):format(fname, name,
    allowed[1], off or "", off and tostring(value) or misuse.describe(value)))
end

--- Looks at a request to open a WebSocket.
---@param header fun(name: string): string? the request's headers, several of one name joined by commas
---@param protocols string[]? subprotocols that the server speaks, best first
---@return string? key nil: the request cannot be answered
---@return string? protocol the one chosen; or what is wrong with the request
function M.check_request(header, protocols)
  if not has_token(header("upgrade"), "websocket") then
    return nil, ('No WebSocket UPGRADE hdr: %s\n Can "Upgrade" only to "WebSocket".'):format(header("upgrade"))
  elseif not has_token(header("connection"), "upgrade") then
    return nil, ("No CONNECTION upgrade hdr: %s"):format(header("connection"))
  end
  local version = header("sec-websocket-version")
  if version ~= "13" then return nil, ("Unsupported version: %s"):format(version) end
  local key = header("sec-websocket-key")
  if not key or not key:find("^[%w+/]+==$") or #key ~= 24 then
    return nil, ("Handshake error: %q"):format(key or "")
  end
  for _, protocol in ipairs(protocols or {}) do
    for offered in (header("sec-websocket-protocol") or ""):gmatch("[^,]+") do
      if trim(offered) == protocol then return key, protocol end
    end
  end
  return key
end

--- A connection on the writer's stream, whose handshake is done; nil: without one (see `feed` and `output`). Options
--- are those of http.ws.
---@param writer StreamWriter?
---@param options table
function M.connect(writer, options)
  options.message, options.failure = WSMessage, failure
  return ws.new(writer, options)
end

-- ---- what both sides do ----

--- Methods of an object that has its connection in `_conn`.
---@class WebSocketMethods
local methods = {}
M.methods = methods

local function connection(self)
  local conn = self._conn
  if not conn then error(core.RuntimeError("Call .prepare() first"), 3) end
  return conn
end

--- Sends a text. Waits while the peer is slow to read. Raises OSError (ECONNRESET) when the connection is closed;
--- ValueError for a text that is not UTF-8.
---@param data string
---@param options {compress: boolean?}?
---@return any awaitable
function methods:send_str(data, options) return connection(self):send_str(data, options) end

--- Sends bytes. Otherwise as send_str.
---@param data string
---@param options {compress: boolean?}?
---@return any awaitable
function methods:send_bytes(data, options) return connection(self):send_bytes(data, options) end

--- Sends a value as JSON text.
---@param data any
---@param options {compress: boolean?, dumps: (fun(value: any): string)?}?
---@return any awaitable
function methods:send_json(data, options)
  local conn, dumps = connection(self), nil
  if options ~= nil then
    core.options(options, { "compress", "dumps" }, "send_json")
    dumps, options = options.dumps, { compress = options.compress }
  end
  return conn:send_str((dumps or require("json").encode)(data), options)
end

--- Sends a ping, with up to 125 bytes.
---@param message string?
---@return any awaitable
function methods:ping(message) return connection(self):ping(message) end

--- Sends a pong that nobody has asked for.
---@param message string?
---@return any awaitable
function methods:pong(message) return connection(self):pong(message) end

local by_type = {
  [M.WSMsgType.TEXT] = "send_str", [M.WSMsgType.BINARY] = "send_bytes", [M.WSMsgType.PING] = "ping",
  [M.WSMsgType.PONG] = "pong",
}

--- Sends a message of a type: TEXT, BINARY, PING or PONG of WSMsgType. Raises ValueError for others.
---@param data string
---@param kind integer
---@param options {compress: boolean?}?
---@return any awaitable
function methods:send_frame(data, kind, options)
  local conn, name = connection(self), by_type[kind]
  if not name then
    misuse.blame(core.ValueError, "send_frame: TEXT, BINARY, PING or PONG of WSMsgType was expected, got "
      .. tostring(kind))
  end
  if name == "ping" or name == "pong" then return conn[name](conn, data) end
  return conn[name](conn, data, options)
end

--- The next message. At the end it is one of type CLOSE, then CLOSED; ERROR when the peer broke the protocol. Raises
--- TimeoutError; RuntimeError if another task receives, or on and on after the end.
---@param timeout number|{timeout: number}|nil seconds
---@return any awaitable of a WSMessage
function methods:receive(timeout) return connection(self):receive(timeout) end

--- The next message, which must be a text. Otherwise as receive; raises TypeError for any other message.
---@param timeout number|{timeout: number}|nil seconds
---@return any awaitable of a string
function methods:receive_str(timeout) return connection(self):receive_str(timeout) end

--- The next message, which must be bytes.
---@param timeout number|{timeout: number}|nil seconds
---@return any awaitable of a string
function methods:receive_bytes(timeout) return connection(self):receive_bytes(timeout) end

--- The next message, which must be a text, decoded from JSON. Raises what receive_str and the decoder raise.
---@param options number|{timeout: number?, loads: (fun(text: string): any)?}|nil
---@return any awaitable
methods.receive_json = async(function(self, options)
  local loads
  if type(options) == "table" then
    core.options(options, { "timeout", "loads" }, "receive_json")
    options, loads = options.timeout, options.loads
  end
  local text = await(connection(self):receive_str(options))
  return (loads or require("json").decode)(text)
end)

--- Iterates over the messages until the connection is closed. Awaits by itself.
---@return fun(): WSMessage?
function methods:messages()
  local conn = connection(self)
  return conn.next, conn
end

--- Closes the connection: tells the peer, and waits for its answer for as long as `timeout` says. Gives false if it was
--- closed already.
---@param options {code: integer?, message: string?}?
---@return any awaitable of a boolean
function methods:close(options)
  local conn = connection(self)
  if options ~= nil then core.options(options, { "code", "message" }, "close") end
  return conn:close(options and options.code, options and options.message)
end

--- The error that ended the connection, or nil.
function methods:exception()
  return self._conn and self._conn:exception()
end

--- What is known of the connection: "peername", "sockname", "ssl_object" and so on; the default when it is closed.
---@param name string
---@param default any
function methods:get_extra_info(name, default)
  local writer = self._conn and self._conn:writer()
  if not writer or self._conn:closed() then return default end
  return writer:get_extra_info(name, default)
end

function methods:__aiter() return self end

methods.__anext = async(function(self)
  local conn = connection(self)
  return conn.next(conn)
end)

return M
