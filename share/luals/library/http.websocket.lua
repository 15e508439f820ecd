---@meta http.websocket

-- Module http.websocket. Written by tools/definitions.lua.

---@class http.websocket.Options
---@field server? boolean
---@field max_msg_size? integer
---@field timeout? number
---@field receive_timeout? number
---@field autoping? boolean
---@field autoclose? boolean
---@field heartbeat? number
---@field deflate? table

---@class http.websocket.Connection
---@field feed fun(self: http.websocket.Connection, bytes: string)
---@field output fun(self: http.websocket.Connection): string
---@field receive fun(self: http.websocket.Connection, timeout?: number): http.WSMessage
---@field send_str fun(self: http.websocket.Connection, data: string, opts?: table)

---@class http.websocket.methods
---@field close function
---@field exception function
---@field get_extra_info function
---@field messages function
---@field ping function
---@field pong function
---@field receive function
---@field receive_bytes function
---@field receive_json function
---@field receive_str function
---@field send_bytes function
---@field send_frame function
---@field send_json function
---@field send_str function

---@class http.websocket
---@field WSCloseCode http.WSCloseCode OK, GOING_AWAY, PROTOCOL_ERROR, UNSUPPORTED_DATA, NO_STATUS_RCVD, ABNORMAL_CLOSURE, INVALID_TEXT, POLICY_VIOLATION, MESSAGE_TOO_BIG, MANDATORY_EXTENSION, INTERNAL_ERROR, SERVICE_RESTART, TRY_AGAIN_LATER, BAD_GATEWAY. Also `web.WSCloseCode`.
---@field WSMessage http.WSMessage What messages have.
---@field WSMsgType http.WSMsgType CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG, CLOSING, CLOSED, ERROR. Also `web.WSMsgType`.
---@field WebSocketError http.WebSocketError An error with `code`.
---@field methods http.websocket.methods The methods above, for objects that have such a connection in `_conn`.
local websocket = {}

--- Speaks over a connection whose handshake is done (its reader gets nothing any more): what both sides are made of.
--- `opts`: `server`, `max_msg_size`, `timeout`, `receive_timeout`, `autoping`, `autoclose`, `heartbeat`, `deflate`.
--- Without a writer nothing is connected: `conn:feed(bytes)` is what comes, `conn:output()` what was sent.
---@param writer? asyncio.StreamWriter
---@param opts? http.websocket.Options
---@return http.websocket.Connection
function websocket.connect(writer, opts) end

--- A key for Sec-WebSocket-Key.
---@return string
function websocket.new_key() end

--- What answers that key.
---@param key string
---@return string
function websocket.accept_key(key) end

--- Is it a handshake?
---@param header fun(name: string): string?
---@param protocols? string[]
---@return any
function websocket.check_request(header, protocols) end

--- What Sec-WebSocket-Extensions says.
---@param header string
---@return table
function websocket.parse_extensions(header) end

--- What a server takes of an offer of permessage-deflate.
---@param header? string
---@return any
function websocket.choose_deflate(header) end

--- What a client offers.
---@param bits? integer
---@return string
function websocket.offer_deflate(bits) end

--- What a server has taken of an offer.
---@param header? string
---@return any
function websocket.accept_deflate(header) end

--- The option, or a TypeError that says what was expected: for objects that take options as these do.
---@param fname string
---@param opts table|nil
---@param name string
---@param kind string
---@return any
function websocket.check_option(fname, opts, name, kind) end

return websocket
