--- Multipart bodies, written (RFC 2046, RFC 7578): parts of any kind, one behind the other, each with headers of its
--- own, multipart itself if need be. The length is known when that of each part is; files go out as files.

local core = require "asyncio.core"
local http_core = require "http.core"
local misuse = require "asyncio.misuse"
local payload = require "http.client.payload"

local async, await = core.async, core.await
local find, gsub = string.find, string.gsub

local M = {}

-- Small pieces are sent together, up to this.
local PIECE = 65536
-- RFC 9110, 5.6.2; RFC 2046, 5.1.1.
local TOKEN, BOUNDARY = "^[%w!#$%%&'*+%-.^_`|~]+$", "^[%w'()+_,./:=? -]*[%w'()+_,./:=?-]$"

-- ---- sinks ----

-- Holds small pieces back until there is more, so that a part's head and its body leave together.
local Buffer = {}
Buffer.__index = Buffer

local function flush(self)
  if self.n == 0 then return end
  local data = table.concat(self, "", 1, self.count)
  self.n, self.count = 0, 0
  payload.put(self.x, data)
end

function Buffer:hold(data)
  if self.n + #data > PIECE then flush(self) end
  self.count = self.count + 1
  self[self.count], self.n = data, self.n + #data
end

function Buffer:write(data)
  if self.n + #data > PIECE then
    flush(self)
    return self.x:write(data)
  end
  self:hold(data)
  flush(self)
end

Buffer.sendfile = async(function(self, file, offset, count)
  flush(self)
  return await(self.x:sendfile(file, offset, count))
end, "MultipartWriter.write")

-- ---- Content-Disposition ----

local escapes = { ['"'] = "%22", ["\r"] = "%0D", ["\n"] = "%0A" }

local function quoted(name, value, quote_fields)
  if type(value) ~= "string" then
    misuse.blame(core.TypeError, ("%s must be a string, got %s"):format(name, misuse.describe(value)))
  end
  if quote_fields then -- as browsers do
    value = gsub(value, '["\r\n]', escapes)
  else
    value = gsub(value, '[\\"]', "\\%0")
  end
  if find(value, "[%z\1-\8\10-\31\127]") then
    misuse.blame(core.ValueError, ("%s has control characters: %q"):format(name, value))
  end
  return '"' .. value .. '"'
end

--- The value of a Content-Disposition header. Quotes and line breaks in names become %22, %0D and %0A, as browsers send
--- them, or (quote_fields = false) get backslashes. Raises TypeError, ValueError.
---@param kind string "form-data", "attachment"...
---@param params {name: string?, filename: string?}
---@param quote_fields? boolean true
---@return string
function M.content_disposition(kind, params, quote_fields)
  if type(kind) ~= "string" or not find(kind, TOKEN) then
    misuse.blame(core.ValueError, ("bad content disposition type: %s"):format(tostring(kind)))
  end
  local text = kind
  for _, name in ipairs { "name", "filename" } do
    local value = params[name]
    if value ~= nil then text = ("%s; %s=%s"):format(text, name, quoted(name, value, quote_fields ~= false)) end
  end
  return text
end

-- ---- parts ----

---@class http.Part
---@field headers http.Headers
---@field payload http.Payload
local Part = {}
Part.__index = Part
Part.__name = "Part"

--- Sets the part's Content-Disposition.
---@param kind string "form-data", "attachment"...
---@param params? {name: string?, filename: string?, quote_fields: boolean?}
function Part:set_content_disposition(kind, params)
  core.options(params, { "name", "filename", "quote_fields" }, "set_content_disposition")
  params = params or {}
  self.headers["Content-Disposition"] = M.content_disposition(kind, params, params.quote_fields)
end

-- What a part's headers say of its coding: undone by the reader, done by us.
local function coded(part)
  local p = part.payload
  local coding = part.headers["Content-Encoding"]
  if coding and coding:lower() ~= "identity" then
    p = select(2, payload.compressed(true, p, coding:lower()))
  end
  local transfer = part.headers["Content-Transfer-Encoding"]
  if transfer then p = payload.transferred(p, transfer) end
  return p
end

local function head_of(part)
  local lines = {}
  for name, value in pairs(part.headers) do
    if not find(name, TOKEN) or find(value, "[%z\r\n]") then
      error(core.ValueError(("a part's header cannot be sent: %q: %q"):format(name, value)), 0)
    end
    lines[#lines + 1] = name .. ": " .. value .. "\r\n"
  end
  return table.concat(lines) .. "\r\n"
end

-- ---- the writer ----

---@class http.MultipartWriter : http.Payload
---@field boundary string
---@field subtype string "mixed", "form-data", "related"...
---@field content_type string with the boundary
local MultipartWriter = payload.class "MultipartWriter"

--- 22 characters that nobody guesses and no content has by chance.
local function new_boundary()
  return (gsub(require("http.ws").key() .. require("http.ws").key(), "[^%w]", "")):sub(1, 32)
end

--- Makes an empty one. Raises TypeError, ValueError.
---@param subtype? string "mixed"
---@param opts? {boundary: string?} a random one
---@return http.MultipartWriter
function M.MultipartWriter(subtype, opts)
  subtype = subtype or "mixed"
  if type(subtype) ~= "string" or not find(subtype, TOKEN) then
    misuse.blame(core.ValueError, ("MultipartWriter: a subtype such as 'mixed' was expected, got %s"):format(
      type(subtype) == "string" and ("%q"):format(subtype) or misuse.describe(subtype)))
  end
  core.options(opts, { "boundary" }, "MultipartWriter")
  local boundary = opts and opts.boundary or new_boundary()
  if type(boundary) ~= "string" or #boundary > 70 or not find(boundary, BOUNDARY) then
    misuse.blame(core.ValueError, ("MultipartWriter: not a boundary: %s"):format(
      type(boundary) == "string" and ("%q"):format(boundary) or misuse.describe(boundary)))
  end
  local shown = find(boundary, TOKEN) and boundary or '"' .. boundary .. '"'
  return setmetatable({
    boundary = boundary, subtype = subtype, content_type = ("multipart/%s; boundary=%s"):format(subtype, shown),
    replayable = true, _parts = {}, _what = "multipart/" .. subtype,
  }, MultipartWriter)
end

local function check_headers(headers)
  local copy = http_core.Headers {}
  if headers == nil then return copy end
  if type(headers) ~= "table" and type(headers) ~= "userdata" then
    misuse.blame(core.TypeError, "append: headers: a table was expected, got " .. misuse.describe(headers))
  end
  for name, value in pairs(http_core.Headers(headers)) do
    if not find(name, TOKEN) or find(value, "[%z\r\n]") then
      misuse.blame(core.ValueError, ("append: not a header: %q: %q"):format(name, value))
    end
    copy:add(name, value)
  end
  return copy
end

-- Is the writer that value, or among its parts?
local function holds(value, writer)
  if value == writer then return true end
  if getmetatable(value) ~= MultipartWriter then return false end
  for _, part in ipairs(value._parts) do
    if holds(part.payload, writer) then return true end
  end
  return false
end

--- Adds a part: of a string, a File, a stream, an iterator, another MultipartWriter. Raises TypeError, ValueError.
---@param value any
---@param headers? table|http.Headers its Content-Encoding and Content-Transfer-Encoding are applied
---@return http.Part
function MultipartWriter:append(value, headers)
  local all = check_headers(headers)
  if holds(value, self) then misuse.blame(core.ValueError, "append: a MultipartWriter cannot be a part of itself") end
  local p = payload.make(value)
  if not p then
    misuse.blame(core.TypeError, ("append: a string, a File of fs.open, a stream with read(n), an iterator of strings "
      .. "or a MultipartWriter was expected, got %s"):format(misuse.describe(value)))
  end
  local part = setmetatable({ payload = p, headers = all }, Part)
  if not all["Content-Type"] and p.content_type then all["Content-Type"] = p.content_type end
  if not all["Content-Disposition"] then
    if self.subtype == "form-data" then
      part:set_content_disposition("form-data", { name = "section-" .. #self._parts, filename = p.filename })
    elseif p.filename then
      part:set_content_disposition("attachment", { filename = p.filename })
    end
  end
  self._parts[#self._parts + 1] = part
  return part
end

--- Adds a part of JSON. Raises what json.encode does.
---@param value any
---@param headers? table|http.Headers
---@return http.Part
function MultipartWriter:append_json(value, headers)
  local all = check_headers(headers)
  if not all["Content-Type"] then all["Content-Type"] = "application/json" end
  return self:append(require("json").encode(value), all)
end

--- Adds a part that is an urlencoded form.
---@param fields table as url.urlencode takes it
---@param headers? table|http.Headers
---@return http.Part
function MultipartWriter:append_form(fields, headers)
  local all = check_headers(headers)
  if not all["Content-Type"] then all["Content-Type"] = "application/x-www-form-urlencoded" end
  return self:append(require("url").urlencode(fields), all)
end

function MultipartWriter:__len() return #self._parts end

--- The parts, in order.
---@return fun(): http.Part?
function MultipartWriter:parts()
  local i = 0
  return function()
    i = i + 1
    return self._parts[i]
  end
end

--- Gets all parts ready, and counts.
function MultipartWriter:prepare()
  local heads, bodies = {}, {}
  local size, replayable = #self.boundary + 6, true
  for i, part in ipairs(self._parts) do
    local p = coded(part)
    local n = p:prepare()
    heads[i], bodies[i] = head_of(part), p
    replayable = replayable and p.replayable
    size = size and n ~= true and size + #self.boundary + 6 + #heads[i] + n
  end
  self._heads, self._bodies = heads, bodies
  self.size, self.replayable = size or nil, replayable
  return size or true
end

function MultipartWriter:_write(x)
  local sink = getmetatable(x) == Buffer and x or setmetatable({ x = x, n = 0, count = 0 }, Buffer)
  local mark = "--" .. self.boundary
  for i, head in ipairs(self._heads) do
    sink:hold(mark .. "\r\n" .. head)
    local p = self._bodies[i]
    if p._data and #p._data < PIECE then
      sink:hold(p._data)
    else
      p:_write(sink)
    end
    sink:hold("\r\n")
  end
  sink:hold(mark .. "--\r\n")
  if sink ~= x then flush(sink) end
end

function MultipartWriter:close()
  for _, part in ipairs(self._parts) do part.payload:close() end
end

return M
