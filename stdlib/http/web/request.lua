--- Request: what a client asks, over an exchange. A request has that (X), its ROUTE and the PARAMS of its path when it
--- is made (http.web.layout); everything else is computed when it is asked for. What a script puts into it
--- (`request.user = user`, `request["db"] = db`) stays.

local class = require "http.web.class"
local core = require "asyncio.core"
local errors = require "http.web.errors"
local http_core = require "http.core"
local misuse = require "asyncio.misuse"
require "http.readers"

local X <const>, ROUTE <const>, PARAMS <const> = 1, 2, 3

local async, await = core.async, core.await

---@class http.web.Request
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
---@field forwarded table[] elements of Forwarded headers
---@field if_modified_since integer? seconds since 1970
---@field if_unmodified_since integer?
---@field if_range integer?
---@field raw_headers table[] pairs of name and value, as they came
---@field http_range { start: integer?, stop: integer? } of the Range header; ValueError if that is malformed
---@field if_match table[]? { value, is_weak }
---@field if_none_match table[]?
local Request = class.define("Request")

local get = Request.__get

--- For the server.
---@param x any the exchange
---@param route table
---@param params table|false
function Request._make(x, route, params)
  return setmetatable({ x, route, params }, Request)
end

function Request.new()
  misuse.blame(core.TypeError, "requests are made by the server; in tests by http.testing.make_mocked_request")
end

for i, name in ipairs(require("http.web.layout").request) do
  get[name] = function(self) return self[i] end
end

-- In a middleware: the application that has it.
function get.app(self) return rawget(self, "_app") or self[ROUTE].app end

-- ---- the request line ----

function get.method(self) return self[X]:method() end

function get.version(self) return self[X]:version() end

-- RFC 9112, 3.2.2: what a target in absolute form says of itself.
function get.scheme(self)
  local target = self.raw_path
  if target:byte() == 47 then return self[X]:scheme() end
  local scheme = target:match("^([%a][%w+.-]*)://")
  return scheme and scheme:lower() or self[X]:scheme()
end

function get.secure(self) return self.scheme == "https" end

function get.raw_path(self) return rawget(self, "_target") or self[X]:target() end

get.path_qs = get.raw_path

-- Path and query as they were sent.
local function raw_parts(self)
  local target = rawget(self, "_target")
  if not target then return self[X]:path(), self[X]:query() end
  local path, query = target:match("^([^?]*)%??(.*)$")
  return path, query
end

function get._raw_path_only(self) return (raw_parts(self)) end

function get.path(self)
  local path = raw_parts(self)
  if path:find("%", 1, true) then path = require("url").unquote(path) end
  rawset(self, "path", path)
  return path
end

function get.raw_query_string(self)
  local _, query = raw_parts(self)
  return query or ""
end

function get.query_string(self)
  local query = self.raw_query_string
  return query:find("[%%+]") and require("url").unquote((query:gsub("%+", " "))) or query
end

function get.query(self)
  local query = require("url").parse_qs(self.raw_query_string)
  rawset(self, "query", query)
  return query
end

-- A URL of what the client sent; 400 if it is none.
local function parse_url(text)
  local ok, url = pcall(require("url").URL, text)
  if not ok then error(errors.HTTPBadRequest { text = "400: not a URL: " .. text:sub(1, 100) }, 0) end
  return url
end

function get.rel_url(self)
  local target = self.raw_path
  local is_path = target:sub(1, 1) == "/" -- "//x" is one, too: x is not a host here
  local url = parse_url(is_path and "http://-" .. target or target)
  if is_path or target:find("^%a[%w+.-]*://") then url = url:relative() end
  rawset(self, "rel_url", url)
  return url
end

function get.host(self)
  local host = self[X]:authority()
  if host and host ~= "" then return host end
  local address = self[X]:sockname()
  if type(address) ~= "table" or not address[1] then return "localhost" end
  local name = address[1]:find(":", 1, true) and "[" .. address[1] .. "]" or address[1]
  return address[2] and ("%s:%d"):format(name, address[2]) or name
end

function get.url(self)
  local target = self.raw_path
  if not target:find("^/") then target = target:match("^%a[%w+.-]*://[^/?#]*([^#]*)") or "/" end
  local url = parse_url(self.scheme .. "://" .. self.host .. target)
  rawset(self, "url", url)
  return url
end

function get.remote(self)
  local address = self[X]:peername()
  return type(address) == "table" and address[1] or address or nil
end

function get.keep_alive(self) return self[X]:keep_alive() end

function get.task() return core.current_task() end

function get.loop() return core.get_running_loop() end

-- ---- headers ----

get.headers = require("http.web.core").headers

function get.raw_headers(self)
  local list = {}
  for name, value in pairs(self.headers) do list[#list + 1] = { name, value } end
  return list
end

function get.cookies(self)
  local lines = self.headers:getall("Cookie")
  local cookies = #lines > 0 and require("http.cookies").parse(table.concat(lines, "; ")) or {}
  rawset(self, "cookies", cookies)
  return cookies
end

function get.content_type(self)
  local value = self.headers["Content-Type"]
  return value and value:match("^%s*([^;%s]*)"):lower() or "application/octet-stream"
end

function get.charset(self)
  local value = self.headers["Content-Type"]
  local charset = value and value:match(";%s*[cC][hH][aA][rR][sS][eE][tT]=\"?([^;\"%s]+)")
  return charset and charset:lower()
end

function get.content_length(self)
  local value = self.headers["Content-Length"]
  return value and math.tointeger(tonumber(value)) or nil
end

local function date_of(name)
  return function(self) return require("http.dates").parse(self.headers[name]) end
end

get.if_modified_since = date_of("If-Modified-Since")
get.if_unmodified_since = date_of("If-Unmodified-Since")
get.if_range = date_of("If-Range")

-- RFC 9110, 8.8.3. A list of entity tags; nil if there is no header.
local function etags_of(name)
  return function(self)
    local lines = self.headers:getall(name)
    if #lines == 0 then return nil end
    local value, list = table.concat(lines, ","), {}
    if value:match("^%s*%*%s*$") then return { { value = "*", is_weak = false } } end
    local i = 1
    while true do -- what is no tag ends the list
      local weak, tag, after = value:match('^[%s,]*(W?/?)"([!#-~\128-\255]*)"%s*()', i)
      if not tag or weak == "/" or weak == "W" or not value:find("^[,]", after) and after <= #value then return list end
      list[#list + 1] = { value = tag, is_weak = weak == "W/" }
      i = after
    end
  end
end

-- RFC 9110, 14.1.2: as `start` and `stop`, the byte behind the last one; the last n bytes are `start = -n`.
function get.http_range(self)
  local value = self.headers["Range"]
  if not value then return {} end
  local first, last = value:match("^bytes=(%d*)%-(%d*)$")
  local start, stop = math.tointeger(tonumber(first)), math.tointeger(tonumber(last))
  if start == nil and stop ~= nil then
    start, stop = -stop, nil
  elseif stop ~= nil then
    stop = stop + 1
  end
  if start == nil or stop ~= nil and start >= stop then
    misuse.raise(core.ValueError, ("the range %q is malformed"):format(value:sub(1, 60)), 3)
  end
  return { start = start, stop = stop }
end

get.if_match = etags_of("If-Match")
get.if_none_match = etags_of("If-None-Match")

-- A pair at i: its name, its value, where it ends; nil: there is none. A value is quoted, a word, or an address:port.
local function forwarded_pair(line, i)
  local name, at = line:match("^([%w!#$%%&'*+.^_`|~-]+)=()", i)
  if not name then return nil end
  local value, stop = line:match("^([%w!#$%%&'*+.^_`|~-]+)()", at)
  if value then
    local port, after = line:match("^(:%d+)()", stop)
    return name:lower(), value .. (port or ""), after or stop
  elseif line:byte(at) ~= 34 then
    return nil
  end
  stop = at + 1
  while true do -- to the quote that no backslash stands before
    stop = line:find('["\\]', stop)
    if not stop then return nil end
    if line:byte(stop) == 34 then break end
    stop = stop + 2
  end
  return name:lower(), (line:sub(at + 1, stop - 1):gsub("\\(.)", "%1")), stop + 1
end

-- The elements of a Forwarded header (RFC 7239, 4): names in lower case, values unquoted. What is malformed is passed
-- over up to the next comma: what a proxy has appended to it must be seen.
local function forwarded_elements(line, list)
  local element, i, complete = {}, 1, false
  list[#list + 1] = element
  while i <= #line do
    local c = line:sub(i, i)
    local name, value, stop = forwarded_pair(line, i)
    if name and not complete then
      element[name], i, complete = value, stop, true
    elseif c == "," then
      element, complete, i = {}, false, i + 1
      list[#list + 1] = element
    elseif c == ";" then
      complete, i = false, i + 1
    elseif c == " " or c == "\t" then
      i = i + 1
    else
      i = line:find(",", i, true) or #line + 1
    end
  end
end

function get.forwarded(self)
  local list = {}
  for _, line in ipairs(self.headers:getall("Forwarded")) do forwarded_elements(line, list) end
  return list
end

-- ---- the route and the application ----

function get.match_info(self)
  local params = self[PARAMS]
  if not params then
    params = setmetatable({}, self[ROUTE].match_meta)
    self[PARAMS] = params
  end
  return params
end

function get._apps(self) return self[ROUTE].apps end

function get.config_dict(self)
  local apps = self._apps
  return setmetatable({}, {
    __index = function(_, key)
      for i = #apps, 1, -1 do
        local value = rawget(apps[i], key)
        if value ~= nil then return value end
      end
    end,
  })
end

function get.client_max_size(self)
  local app = self[ROUTE].app
  return app and app.client_max_size or 0
end

--- What is known of the connection: "peername", "sockname", "ssl_object", ...
---@param name string
---@param default any
function Request:get_extra_info(name, default)
  local value = self[X]:transport_info(name)
  if value == nil then return default end
  return value
end

function get.transport(self)
  return { get_extra_info = function(_, name, default) return self:get_extra_info(name, default) end }
end

-- ---- the body ----

function get.body_exists(self) return self[X]:has_body() and true or false end

get.can_read_body = get.body_exists

-- Content codings of the body, or nil.
local function coding_of(self)
  local value = self[X]:header("Content-Encoding")
  if not value then return nil end
  local all = table.concat(self.headers:getall("Content-Encoding"), ", "):lower()
  return all:find("^[%s,]*$") == nil and all ~= "identity" and all or nil
end

-- The body as it is to be read: decoded, if the client has encoded it. HTTPUnsupportedMediaType (415) for a coding that
-- nobody knows.
local function content_of(self)
  local coding = coding_of(self)
  if not coding then return self[X]:content() end
  local content = rawget(self, "_content")
  if content then return content end
  local encodings = require "http.encodings"
  local ok, reader = pcall(encodings.reader, self[X]:content(), coding)
  if not ok then
    if not core.isinstance(reader, encodings.UnknownEncoding) then error(reader, 0) end
    local err = errors.HTTPUnsupportedMediaType { text = "415: " .. reader.message }
    err.headers["Accept-Encoding"] = "gzip, deflate, br"
    error(err, 0)
  end
  rawset(self, "_content", reader)
  return reader
end

get.content = content_of

local function too_large(self, limit)
  return errors.HTTPRequestEntityTooLarge(limit, self.content_length)
end

-- What the decoder of a body has raised, as an answer.
local function undecoded(err, limit)
  local encodings = require "http.encodings"
  if core.isinstance(err, encodings.TooLong) then return errors.HTTPRequestEntityTooLarge(limit) end
  if not core.isinstance(err, encodings.DecodingError) then return err end
  local bad = errors.HTTPBadRequest { text = "400: " .. err.message }
  bad.cause = err
  return bad
end

-- The whole body, once.
local function read(self)
  local body = rawget(self, "_body")
  if body then return body end
  local limit = self.client_max_size
  local coded = coding_of(self) ~= nil
  local reading = coded and content_of(self):read_limited(limit) or self[X]:read(limit)
  local ok, data = pcall(await, reading)
  if not ok then
    if coded then data = undecoded(data, limit) end
    if core.isinstance(data, http_core.PayloadTooLarge) then data = too_large(self, limit) end
    error(data, 0)
  end
  rawset(self, "_body", data)
  return data
end

--- The whole body. Awaits to a string; HTTPRequestEntityTooLarge (413) if it is more than the application's
--- client_max_size, OSError or IncompleteReadError if the client goes away.
---@return any awaitable
Request.read = async(read, "Request.read")

-- Text of the client's as UTF-8.
local function decode(self, text)
  local charset = self.charset
  if not charset or charset == "utf-8" then return text end
  local decoded = require("http.parameters").decode(text, charset)
  if not decoded then
    error(errors.HTTPUnsupportedMediaType { text = ("415: the charset %q is not known"):format(charset) }, 0)
  end
  return decoded
end

local function text_of(self) return decode(self, read(self)) end

--- The whole body as text, in UTF-8. HTTPUnsupportedMediaType (415) for a charset that is not known.
---@return any awaitable
Request.text = async(text_of, "Request.text")

--- The whole body, decoded as JSON. HTTPBadRequest (400) says where it is malformed; its `cause` is json's error.
---@param opts? { loads: fun(text: string): any }
---@return any awaitable
Request.json = async(function(self, opts)
  core.options(opts, { "loads" }, "json")
  local ok, value = pcall(opts and opts.loads or require("json").decode, text_of(self))
  if ok then return value end
  local text = type(value) == "table" and value.message or tostring(value)
  local err = errors.HTTPBadRequest { text = "400: the body is not JSON: " .. tostring(text) }
  err.cause = value
  error(err, 0)
end, "Request.json")

local form_types = { [""] = true, ["application/x-www-form-urlencoded"] = true, ["multipart/form-data"] = true }
local form_methods = { POST = true, PUT = true, PATCH = true, TRACE = true, DELETE = true, QUERY = true }

local MAX_FIELDS <const> = 1000

-- Has there been a form that may have files? Then the server looks after each request.
Request._uploads = { seen = false }

--- For the server: files of a form that was read are closed when its request is over.
function Request._close_form(self)
  local form = rawget(self, "_post")
  if form then await(require("http.forms").close(form)) end
end

-- What reading a form raises, as what the client is answered.
local function form_error(self, err, limit)
  local forms = package.loaded["http.forms"]
  if forms and core.isinstance(err, forms.TooLarge) then return too_large(self, limit) end
  if not core.isinstance(err, core.ValueError) then return err end
  local answer = errors.HTTPBadRequest { text = "400: " .. tostring(err.message) }
  answer.cause = err
  return answer
end

-- The body as a stream, also if it has been read.
local function stream_of(self)
  local body = rawget(self, "_body")
  if not body then return content_of(self) end
  local reader = require("asyncio").StreamReader()
  reader:feed_data(body)
  reader:feed_eof()
  return reader
end

local function read_form(self, kind)
  if kind and self.content_type == "multipart/form-data" then
    local options = { client_max_size = self.client_max_size, max_fields = MAX_FIELDS }
    Request._uploads.seen = true
    return await(require("http.forms").read(kind, stream_of(self), options))
  end
  local form = require("url").parse_qs(read(self), MAX_FIELDS)
  if not self.charset or self.charset == "utf-8" then return form end
  local decoded = require("http.multidict").MultiDict()
  for name, value in pairs(form) do decoded:add(decode(self, name), decode(self, value)) end
  return decoded
end

--- The fields of a form that was posted (urlencoded or multipart): a MultiDict of strings and FileFields, the files
--- of which are in temporary files. Other bodies give an empty one. HTTPRequestEntityTooLarge (413), HTTPBadRequest
--- (400).
---@return any awaitable
Request.post = async(function(self)
  local form = rawget(self, "_post")
  if form then return form end
  local kind = self.headers["Content-Type"]
  if not form_methods[self.method] or not form_types[kind and self.content_type or ""] or not self.body_exists then
    form = require("http.multidict").MultiDict()
  else
    local ok, value = pcall(read_form, self, kind)
    if not ok then error(form_error(self, value, self.client_max_size), 0) end
    form = value
  end
  rawset(self, "_post", form)
  return form
end, "Request.post")

--- A reader of the parts of a multipart body, one after the other.
---@return any awaitable of a MultipartReader; ValueError if the body is not multipart
Request.multipart = async(function(self)
  return require("http.multipart").MultipartReader(self.headers, content_of(self))
end, "Request.multipart")

--- Lets the rest of the body go.
---@return any awaitable
Request.release = async(function(self)
  local content = self.body_exists and self.content
  while content and await(content:read(65536)) do end
end, "Request.release")

-- ---- copies ----

local clonable = { "method", "rel_url", "headers", "scheme", "host", "remote", "client_max_size" }

--- A request with something replaced, on the same exchange. RuntimeError once its content has been read.
---@param opts table {method, rel_url, headers, scheme, host, remote, client_max_size}
function Request:clone(opts)
  core.options(opts, clonable, "clone")
  if rawget(self, "_body") then
    misuse.blame(core.RuntimeError, "clone: the request's content has been read")
  end
  local _ = self.match_info -- both have the same
  local copy = setmetatable({}, Request)
  for key, value in next, self do rawset(copy, key, value) end
  for _, key in ipairs(clonable) do
    if opts and opts[key] ~= nil then rawset(copy, key, opts[key]) end
  end
  if opts and opts.rel_url ~= nil then
    copy._target = tostring(opts.rel_url)
    rawset(copy, "rel_url", nil)
    for _, key in ipairs { "path", "query", "url" } do rawset(copy, key, nil) end
  end
  if opts and (opts.host ~= nil or opts.scheme ~= nil) then rawset(copy, "url", nil) end
  if opts and opts.headers ~= nil then
    rawset(copy, "headers", http_core.Headers(opts.headers))
    rawset(copy, "cookies", nil)
  end
  return copy
end

function Request:__tostring() return ("<Request %s %s >"):format(self.method, self.raw_path) end

return Request
