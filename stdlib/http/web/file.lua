--- FileResponse: a file of the disk, with all that HTTP knows about such: conditions (304, 412), ranges (206, 416),
--- siblings that are compressed already (`x.js.br`, `x.js.gz`), and the kernel's sendfile for what is larger.

local StreamResponse = require "http.web.stream"
local class = require "http.web.class"
local compression = require "http.web.compression"
local core = require "asyncio.core"
local dates = require "http.dates"
local encodings = require "http.encodings"
local fs = require "fs.core"
local mime = require "mime"
local misuse = require "asyncio.misuse"
local path = require "fs.path"
local phrases = require("http.status").phrases
local ranges = require "http.ranges"
require "http.sendfile"

local async, await = core.async, core.await

--- Up to here a file is read by the thread that opens it, and leaves with its head in one write.
local SMALL = 64 * 1024
--- What is read at a time where a file goes through the engine's memory.
local CHUNK = 256 * 1024

local siblings = { "br", "gzip" }
local codings = { [1] = "br", [2] = "gzip" }

---@class http.web.FileResponse : http.web.StreamResponse
---@field path string
local FileResponse = class.define("FileResponse", StreamResponse)
FileResponse.__open = true

local option_names = { "status", "reason", "headers", "chunk_size" }

--- A response with a file's content. What cannot be opened is 404 or 403.
---@param file string its path
---@param opts? table {status = 200, reason, headers, chunk_size = 256 KiB}
function FileResponse.new(cls, file, opts)
  path.check(file, "FileResponse")
  core.options(opts, option_names, "FileResponse")
  local chunk = opts and opts.chunk_size
  if chunk ~= nil and (math.type(chunk) ~= "integer" or chunk < 1) then
    misuse.blame(core.ValueError, "FileResponse: chunk_size: a number of bytes was expected, got " .. tostring(chunk))
  end
  local self = StreamResponse.new(cls, opts and { status = opts.status, reason = opts.reason, headers = opts.headers })
  rawset(self, "path", file)
  rawset(self, "_chunk", chunk or CHUNK)
  return self
end

--- For http.web.static: a file below a folder.
function FileResponse._below(root, name, follow, chunk)
  local self = StreamResponse.new(FileResponse)
  rawset(self, "path", name == "" and root or root .. "/" .. name)
  rawset(self, "_root", root)
  rawset(self, "_name", name)
  rawset(self, "_follow", follow)
  rawset(self, "_chunk", chunk or CHUNK)
  return self
end

-- ---- opening ----

-- Errors that say something about the file, as answers.
local answers = {
  ENOENT = 404, ENOTDIR = 404, EXDEV = 404, ELOOP = 404, ENAMETOOLONG = 404, EINVAL = 404, EISDIR = 403,
  EACCES = 403, EPERM = 403, EMFILE = 503, ENFILE = 503,
}

--- The status for an error of the file system; nil: it is the server's trouble.
function FileResponse._status_of(err)
  return core.isinstance(err, core.OSError) and answers[err.code] or nil
end

-- The codings of siblings that the client takes, the best first, for fs.open_below.
local function wanted(x)
  local accept = x:header("Accept-Encoding")
  if not accept then return "" end
  local first = encodings.choose(accept, siblings)
  if not first then return "" end
  local other = first == "br" and "gzip" or "br"
  local second = encodings.choose(accept, { other }) and other:sub(1, 1) or ""
  return first:sub(1, 1) .. second
end

-- What is there: what fs.open_below gives. `small`: how much may be read at once.
local function open(self, x, small)
  local root, name = self._root, self._name
  local follow = self._follow
  if not root then
    root, name = path.split(self.path)
    if root == "" then root = "." end
    follow = true
  end
  return await(fs.open_below(root, name, follow, wanted(x), small))
end

-- ---- headers ----

local function microseconds(mtime) return math.floor(mtime * 1e6) end

--- The strong entity tag of a file.
function FileResponse._etag(size, mtime, coding)
  return ('"%x-%x%s"'):format(microseconds(mtime), size, coding == 0 and "" or "-" .. codings[coding])
end

-- Its type, and its coding: by the sibling's name, or its own ("x.svgz").
local function type_of(name, coding)
  local kind, own = mime.guess_type(name)
  if coding == 0 and own == "gzip" and kind == "image/svg+xml" then return kind, "gzip" end
  return mime.content_type(name), codings[coding]
end

-- What does not change as long as a file does not, for some files: by path and coding.
local known, known_count = {}, 0

local function knowledge(path_, found)
  local key = found.coding == 0 and path_ or path_ .. "\0" .. found.coding
  local entry = known[key]
  if entry and entry.mtime == found.mtime and entry.size == found.size then return entry end
  local kind, encoding = type_of(path_, found.coding)
  if not entry then
    if known_count >= 512 then known, known_count = {}, 0 end
    known_count = known_count + 1
  end
  entry = {
    mtime = found.mtime, size = found.size, kind = kind, encoding = encoding,
    etag = FileResponse._etag(found.size, found.mtime, found.coding), modified = dates.format(math.floor(found.mtime)),
  }
  known[key] = entry
  return entry
end

-- Sets what the script has not set by itself. Headers as an object where somebody looks at them, else an array.
local function put(self, list, name, value)
  if list then
    list[#list + 1] = name
    list[#list + 1] = value
  elseif not self.headers[name] then
    self.headers[name] = value
  end
end

-- ---- sending ----

local function send_part(self, x, file, offset, count)
  if count == 0 then return end
  if x.sendfile then
    local sent = await(x:sendfile(file, offset, count))
    if sent == count then return end
  else
    local stop = offset + count
    while offset < stop do
      local data = await(file:pread(math.min(self._chunk, stop - offset), offset))
      if not data then break end
      offset = offset + #data
      local drain = x:write(data)
      if drain then await(drain) end
    end
    if offset == stop then return end
  end
  x:abort() -- what was promised cannot be kept
  error(core.OSError(("%s got shorter while it was sent"):format(self.path), { code = "EIO" }), 0)
end

local Closer = {}
function Closer:__close()
  if self.file then self.file:_close() end
end

-- The parts of several ranges (RFC 9110, 14.6): what stands before each, what at the end, how long it is together.
local function parts_of(list, size, kind)
  local boundary = ("%08x%08x"):format(math.random(0, 0xffffffff), math.random(0, 0xffffffff))
  local heads, length = {}, 0
  for i, r in ipairs(list) do
    heads[i] = ("%s--%s\r\nContent-Type: %s\r\nContent-Range: bytes %d-%d/%d\r\n\r\n"):format(
      i > 1 and "\r\n" or "", boundary, kind, r[1], r[2], size)
    length = length + #heads[i] + r[2] - r[1] + 1
  end
  local tail = "\r\n--" .. boundary .. "--\r\n"
  return heads, tail, length + #tail, "multipart/byteranges; boundary=" .. boundary
end

-- A head alone, or with a short body.
local function brief(self, x, status, list, body)
  rawset(self, "status", status)
  rawset(self, "body_length", body and #body or 0)
  local drain = x:respond(status, nil, list or StreamResponse._head(self), body or "")
  if drain then await(drain) end
end

local function finish(x)
  local drain = x:finish()
  if drain then await(drain) end
end

-- Ranges of the file; the head says which.
local function send_ranges(self, x, found, list, ask)
  local size, file, content = found.size, found.file, found.content
  local heads, tail, length
  if #ask == 1 then
    put(self, list, "Content-Type", found.kind)
    put(self, list, "Content-Range", ("bytes %d-%d/%d"):format(ask[1][1], ask[1][2], size))
    length = ask[1][2] - ask[1][1] + 1
  else
    local kind
    heads, tail, length, kind = parts_of(ask, size, found.kind)
    if list then put(self, list, "Content-Type", kind) else self.headers["Content-Type"] = kind end
  end
  rawset(self, "status", 206)
  rawset(self, "body_length", length)
  x:start(206, nil, list or StreamResponse._head(self), length)
  for i, r in ipairs(ask) do
    if heads then x:write(heads[i]) end
    if content then
      x:write(content:sub(r[1] + 1, r[2] + 1))
    else
      send_part(self, x, file, r[1], r[2] - r[1] + 1)
    end
  end
  if tail then x:write(tail) end
  finish(x)
end

-- Through an encoder, for enable_compression.
local function send_encoded(self, x, found, encoder)
  x:start(self.status, self._reason, StreamResponse._head(self), nil)
  local offset, file = 0, found.file
  while true do
    local data = found.content
    if not data then
      data = await(file:pread(math.min(self._chunk, 65536), offset))
    elseif offset > 0 then
      data = nil
    end
    if not data or data == "" then break end
    offset = offset + #data
    local out = encoder:compress(data)
    local drain = #out > 0 and x:write(out)
    if drain then await(drain) end
  end
  local drain = x:write(encoder:finish())
  if drain then await(drain) end
  finish(x)
end

local function send_whole(self, x, found, list, is_head)
  local size, status = found.size, self.status
  put(self, list, "Content-Type", found.kind)
  rawset(self, "body_length", size)
  if found.content or size == 0 then
    local drain = x:respond(status, self._reason, list or StreamResponse._head(self), found.content or "")
    if drain then await(drain) end
    return
  end
  local cork = not is_head and x._cork -- the head leaves with the file
  if cork then cork(x, true) end
  local ok, err = pcall(x.start, x, status, self._reason, list or StreamResponse._head(self), size)
  if not ok then
    if cork then cork(x, false) end
    error(err, 0)
  end
  if not is_head then send_part(self, x, found.file, 0, size) end
  finish(x)
  if cork then cork(x, false) end
end

-- The headers that say what it is.
local function describe(self, list, found, etag, modified)
  if found.encoding then put(self, list, "Content-Encoding", found.encoding) end
  put(self, list, "ETag", etag)
  put(self, list, "Last-Modified", modified)
  put(self, list, "Accept-Ranges", "bytes")
  if found.mask == 0 then return end
  if list then put(self, list, "Vary", "Accept-Encoding") else compression.vary(self.headers) end
end

-- Would an encoder be of use to this client? Its name.
local function encoding_wanted(self, request, found)
  if not self._compression or found.encoding then return nil end
  self.headers["Content-Type"] = self.headers["Content-Type"] or found.kind
  return compression.negotiate(self, request)
end

-- A header of the request; of several with one name all, as one list.
local function header_of(request, x, name)
  local value = x:header(name)
  if not value then return nil end
  local all = request.headers:getall(name)
  return #all > 1 and table.concat(all, ", ") or value
end

local function answer(self, request, x, found)
  local method, size, mtime = x:method(), found.size, math.floor(found.mtime)
  local prepares = request.app and request.app._has_prepare
  local own = self._headers or self._cookies or self._type or prepares or self._compression
  local list = not own and {} or nil
  local etag, modified = found.etag, found.modified
  if not list then etag, modified = self.headers["ETag"] or etag, self.headers["Last-Modified"] or modified end
  local plain = self.status == 200
  local function get(name) return header_of(request, x, name) end
  local status = plain and ranges.condition(get, method, etag, mtime) or nil
  local ask
  if plain and not status and method == "GET" then
    local header = get("Range")
    if header and ranges.if_range(get("If-Range"), etag, modified) then ask = ranges.parse(header, size) end
  end
  local encoding = status == nil and ask == nil and encoding_wanted(self, request, found) or nil
  describe(self, list, found, etag, modified)
  if encoding then compression.mark(self.headers, encoding) end
  if ask == false then
    put(self, list, "Content-Range", ("bytes */%d"):format(size))
    status = 416
  end
  if self._type and status then self._type = false end
  if prepares then StreamResponse._signal_prepare(self, request) end
  if self._close then x:set_keep_alive(false) end
  rawset(self, "_eof", true)
  if status then
    brief(self, x, status, list)
  elseif ask then
    send_ranges(self, x, found, list, ask)
  elseif encoding then
    self.headers["Accept-Ranges"] = nil
    if method == "HEAD" then
      x:start(self.status, self._reason, StreamResponse._head(self), nil)
      finish(x)
    else
      local encoder <close> = encodings.encoder(encoding)
      send_encoded(self, x, found, encoder)
    end
  else
    send_whole(self, x, found, list, method == "HEAD")
  end
end

local function fail(self, x, status, prefix)
  self._type = "text/plain; charset=utf-8"
  brief(self, x, status, nil, ("%d: %s"):format(status, prefix))
end

--- For the server.
function FileResponse._send(self, request, x)
  x = x or request._x
  if self._x then
    if self._x == x then return end
    rawset(self, "status", self._asked)
  end
  rawset(self, "_asked", self.status)
  self._x, self._request = x, request
  local small = SMALL
  if x:method() == "HEAD" or x:header("If-None-Match") or x:header("If-Modified-Since") then small = 0 end
  local r = table.pack(pcall(open, self, x, small))
  if not r[1] then
    local status = FileResponse._status_of(r[2])
    if not status then error(r[2], 0) end
    return fail(self, x, status, phrases[status])
  end
  local found = { is_dir = r[2] == "directory", size = r[3], mtime = r[4], coding = r[5], mask = r[6] }
  if type(r[7]) == "string" then found.content = r[7] else found.file = r[7] end
  local _ <close> = setmetatable({ file = found.file }, Closer)
  if found.is_dir then
    if self._on_directory then return self._on_directory(self, request, x) end
    return fail(self, x, 403, "Forbidden")
  end
  local entry = knowledge(self.path, found)
  found.kind, found.encoding, found.etag, found.modified = entry.kind, entry.encoding, entry.etag, entry.modified
  local given = self._type or self._headers and self._headers["Content-Type"]
  if given then found.kind = given end
  answer(self, request, x, found)
end

--- Sends the file.
---@return any awaitable of the response
FileResponse._prepare = async(function(self, request)
  FileResponse._send(self, request, request._x)
  return self
end, "FileResponse.prepare")

function FileResponse:__tostring() return ("<FileResponse %d %s>"):format(self.status, self.path) end

return { FileResponse = FileResponse }
