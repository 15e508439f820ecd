--- An exchange without a connection: what http.testing.make_mocked_request is made of. It has the methods of the
--- exchanges of http.core; what is sent is kept in its fields `status`, `reason`, `sent_headers` (an array of names
--- and values), `body`, `informed`.

local core = require "asyncio.core"
local http_core = require "http.core"
local misuse = require "asyncio.misuse"

local async, await = core.async, core.await

---@class http.mock.Exchange
local Exchange = {}
Exchange.__index = Exchange
Exchange.__name = "MockExchange"

local M = {}

--- Makes one.
---@param method string
---@param target string
---@param opts? table {headers, body or payload (a StreamReader), version, scheme, peername, sockname,
--- transport_info, keep_alive}
---@return http.mock.Exchange
function M.exchange(method, target, opts)
  opts = opts or {}
  local path, query = target:gsub("^%a[%w+.-]*://[^/?#]*", ""):match("^([^?#]*)%??([^#]*)")
  local headers = http_core.Headers(opts.headers or {})
  if not headers["Host"] then headers["Host"] = "localhost" end
  local body, peer = opts.body, opts.peername
  if peer == nil then peer = { "127.0.0.1", 50000 } end
  if body and not headers["Content-Length"] and not headers["Transfer-Encoding"] then
    headers["Content-Length"] = tostring(#body)
  end
  return setmetatable({
    _method = method, _target = target, _path = path, _query = target:find("?", 1, true) and query or nil,
    _headers = headers, _body = body, _reader = opts.payload,
    _version = opts.version or "1.1", _scheme = opts.scheme or "http",
    _peer = peer or nil, _sock = opts.sockname or { "127.0.0.1", 8080 },
    _info = opts.transport_info or {}, _keep = opts.keep_alive ~= false,
    informed = {}, pieces = {},
  }, Exchange)
end

-- ---- what came ----

function Exchange:method() return self._method end
function Exchange:target() return self._target end
function Exchange:path() return self._path end
function Exchange:query() return self._query end
function Exchange:version() return self._version end
function Exchange:scheme() return self._scheme end
function Exchange:authority() return self._target:match("^%a[%w+.-]*://([^/?#]*)") or self._headers["Host"] end
function Exchange:peername() return self._peer end
function Exchange:sockname() return self._sock end
function Exchange:header(name) return self._headers[name] end
function Exchange:headers() return self._headers end
function Exchange:has_body() return self._body ~= nil or self._reader ~= nil end
function Exchange:multiplexed() return false end

function Exchange:transport_info(name)
  if name == "peername" then return self._peer end
  if name == "sockname" then return self._sock end
  return self._info[name]
end

function Exchange:content()
  local reader = self._reader
  if not reader then
    reader = require("asyncio").StreamReader()
    if self._body then reader:feed_data(self._body) end
    reader:feed_eof()
    self._reader = reader
  end
  return reader
end

Exchange.read = async(function(self, limit)
  local data = await(self:content():read())
  if limit and limit > 0 and #data > limit then
    error(http_core.PayloadTooLarge(("the body has more than %d bytes"):format(limit)), 0)
  end
  return data
end, "Exchange.read")

-- ---- what is sent ----

local function flat(headers)
  local list = {}
  if type(headers) == "userdata" or headers and getmetatable(headers) then
    for name, value in pairs(headers) do
      list[#list + 1] = name
      list[#list + 1] = value
    end
    return list
  end
  for i, item in ipairs(headers or {}) do
    if type(item) ~= "string" or item:find("[\r\n%z]") then
      misuse.raise(core.ValueError, ("headers: [%d]: text without line breaks was expected"):format(i), 4)
    end
    list[i] = item
  end
  return list
end

local function check_open(self)
  if self._started then error(core.RuntimeError("the response was begun already"), 0) end
end

function Exchange:respond(status, reason, headers, body)
  check_open(self)
  local list = flat(headers)
  self._started, self._finished = true, true
  self.status, self.reason, self.sent_headers = status, reason, list
  self.body = self._method == "HEAD" and "" or body or ""
  self._sent = #self.body
end

function Exchange:start(status, reason, headers, length)
  check_open(self)
  self.sent_headers = flat(headers)
  self._started, self.status, self.reason, self.length = true, status, reason, length
end

function Exchange:write(data)
  if not self._started or self._finished then error(core.RuntimeError("there is no response to write to"), 0) end
  self.pieces[#self.pieces + 1] = data
end

function Exchange:finish(trailers)
  self._finished, self.trailers = true, trailers
  self.body = self._method == "HEAD" and "" or table.concat(self.pieces)
end

Exchange.sendfile = async(function(self, file, offset, count)
  offset = offset or 0
  local data
  if io.type(file) then
    file:seek("set", offset)
    data = file:read(count or "a") or ""
  else
    data = await(file:pread(count or math.max(0, await(file:stat()).size - offset), offset)) or ""
  end
  self:write(data)
  return #data
end, "Exchange.sendfile")

function Exchange:inform(status, headers) self.informed[#self.informed + 1] = { status, flat(headers) } end

--- There is nothing to upgrade: gives no reader and no writer. A WebSocket without a connection is fed by hand.
function Exchange:upgrade(headers)
  check_open(self)
  self._started, self._finished, self.status, self.body = true, true, 101, ""
  self.sent_headers = flat(headers)
end

function Exchange:started() return self._started or false end
function Exchange:finished() return self._finished or false end
function Exchange:keep_alive() return self._keep end
function Exchange:set_keep_alive(keep) self._keep = keep end
function Exchange:lost() return self._lost or false end
function Exchange:on_lost(task) self._watcher = task end

function Exchange:sent()
  local n = self._sent or 0
  for _, piece in ipairs(self.pieces) do n = n + #piece end
  return n
end

function Exchange:abort()
  self._finished, self.aborted = true, true
end

--- For specs: the client goes away.
function Exchange:lose()
  self._lost = true
  if self._watcher then self._watcher:cancel() end
end

--- The first value of a header that was sent.
---@param name string
---@return string?
function Exchange:sent_header(name)
  local list = self.sent_headers or {}
  for i = 1, #list, 2 do
    if list[i]:lower() == name:lower() then return list[i + 1] end
  end
end

return M
