--- FormData: a form as browsers post it. Strings alone make it urlencoded; a file, a stream, or a field with a type or
--- a file name of its own make it multipart/form-data.

local core = require "asyncio.core"
local misuse = require "asyncio.misuse"
local multidict = require "http.multidict"
local multipart = require "http.client.multipart"
local parameters = require "http.parameters"
local payload = require "http.client.payload"
local quoting = require "url.quoting"

local M = {}

-- Of strings alone, and not longer, it is put together at once.
local SHORT = 1048576

---@class http.FormData
---@field is_multipart boolean
local FormData = {}
FormData.__index = FormData
FormData.__name = "FormData"

local OPTIONS = { "content_type", "filename", "content_transfer_encoding" }

local function check_text(value, what)
  if value == nil or type(value) == "string" then return value end
  misuse.blame(core.TypeError, ("add_field: %s must be a string, got %s"):format(what, misuse.describe(value)))
end

--- Text in the character set that the field, or the form, is said to be in; as it is when that is not known here, or it
--- is no UTF-8. Raises ValueError for characters that the set has not.
local function encode(text, charset)
  if not charset then return text end
  local coded, missing = parameters.encode(text, charset)
  if missing then
    misuse.blame(core.ValueError, ("add_field: '%s' cannot be written in %s"):format(missing, charset))
  end
  return coded or text
end

local function charset_of(self, content_type)
  if not content_type then return self._charset end
  local _, list = parameters.parse(content_type)
  return list.charset
end

local function text_of(value)
  local kind = type(value)
  if kind == "string" then return value end
  if kind == "number" or kind == "boolean" then return tostring(value) end
end

-- Line breaks would end the header that a type or an encoding becomes.
local function check_line(value, what)
  check_text(value, what)
  if value and value:find("[%z\r\n]") then
    misuse.blame(core.ValueError, ("add_field: %s has a line break: %q"):format(what, value))
  end
  return value
end

--- Adds a field: of a string, number or boolean; a File of fs.open, a stream with read(n), an iterator of strings.
--- Raises TypeError, ValueError.
---@param name string
---@param value any
---@param opts? {content_type: string?, filename: string?, content_transfer_encoding: string?} each makes it multipart
---@return http.FormData # itself
function FormData:add_field(name, value, opts)
  if type(name) ~= "string" then
    misuse.blame(core.TypeError, "add_field: the name must be a string, got " .. misuse.describe(name))
  end
  core.options(opts, OPTIONS, "add_field")
  opts = opts or {}
  local field = {
    name = name, filename = check_text(opts.filename, "filename"),
    content_type = check_line(opts.content_type, "content_type"),
    encoding = check_line(opts.content_transfer_encoding, "content_transfer_encoding"),
  }
  if field.encoding then require("http.transfer").encoder(field.encoding) end
  local text = text_of(value)
  if text then
    field.text = encode(text, charset_of(self, field.content_type))
  else
    field.payload = payload.make(value, field.content_type)
    if not field.payload then
      misuse.blame(core.TypeError, ("add_field: '%s': a string, number, boolean, a File of fs.open, a stream with "
        .. "read(n) or an iterator of strings was expected, got %s"):format(name, misuse.describe(value)))
    end
    field.filename = field.filename or field.payload.filename
  end
  if field.payload or field.filename or field.content_type or field.encoding then self.is_multipart = true end
  self._fields[#self._fields + 1] = field
  return self
end

--- Adds fields: a MultiDict, a list of {name, value}, a table by name (in the order of its names; lists give a field
--- for each value). Raises TypeError.
---@param fields table
---@return http.FormData # itself
function FormData:add_fields(fields)
  multidict.each(fields, "FormData", function(name, value) self:add_field(name, value) end)
  return self
end

function FormData:__len() return #self._fields end

function FormData:__tostring() return ("FormData(%d fields)"):format(#self._fields) end

-- ---- what is sent ----

local function urlencoded(self)
  local parts = {}
  for i, field in ipairs(self._fields) do
    parts[i] = quoting.quote_plus(encode(field.name, self._charset)) .. "=" .. quoting.quote_plus(field.text)
  end
  local ctype = "application/x-www-form-urlencoded"
  if self._charset then ctype = ctype .. "; charset=" .. self._charset end
  return table.concat(parts, "&"), ctype
end

local function add_part(self, writer, field)
  local headers = {}
  if field.content_type then headers["Content-Type"] = field.content_type end
  if field.encoding then headers["Content-Transfer-Encoding"] = field.encoding end
  headers["Content-Disposition"] =
    multipart.content_disposition("form-data", { name = field.name, filename = field.filename }, self._quote_fields)
  local value = field.payload
  if not value then
    -- a field without a type is text: RFC 7578, 4.4
    value = payload.string(field.text, field.content_type or field.filename and payload.type_of(field.text) or nil)
    if not field.content_type and not field.filename then
      value.content_type = self._charset and "text/plain; charset=" .. self._charset or nil
    end
  end
  writer:append(value, headers)
end

-- What payload.of gives for it.
function FormData:_body(content_type)
  if not self.is_multipart then
    local text, ctype = urlencoded(self)
    return text, content_type or ctype
  end
  local writer = multipart.MultipartWriter("form-data", { boundary = self._boundary })
  local short, size = true, 0
  for _, field in ipairs(self._fields) do
    add_part(self, writer, field)
    short = short and field.text ~= nil
    size = size + #(field.text or "")
  end
  local ctype = content_type or writer.content_type
  if not short or size > SHORT then return true, ctype, writer end
  local pieces = {}
  writer:prepare()
  writer:_write { write = function(_, data) pieces[#pieces + 1] = data end }
  return table.concat(pieces), ctype
end

--- As a payload.
---@return http.Payload
function FormData:payload()
  local body, ctype, p = self:_body()
  return p or payload.string(body, ctype)
end

--- Makes a form. Raises TypeError for what cannot be a field.
---@param fields? table as add_fields takes it
---@param opts? {quote_fields: boolean?, charset: string?, boundary: string?, default_to_multipart: boolean?}
---@return http.FormData
function M.FormData(fields, opts)
  core.options(opts, { "quote_fields", "charset", "boundary", "default_to_multipart" }, "FormData")
  opts = opts or {}
  for _, name in ipairs { "quote_fields", "default_to_multipart" } do
    if opts[name] ~= nil and type(opts[name]) ~= "boolean" then
      misuse.blame(core.TypeError, ("FormData: %s: a boolean was expected, got %s"):format(name,
        misuse.describe(opts[name])))
    end
  end
  local self = setmetatable({
    is_multipart = opts.default_to_multipart or false, _fields = {}, _quote_fields = opts.quote_fields ~= false,
    _boundary = opts.boundary,
    _charset = opts.charset and check_line(opts.charset, "charset"):lower() ~= "utf-8" and opts.charset or nil,
  }, FormData)
  if fields ~= nil then self:add_fields(fields) end
  return self
end

return M
