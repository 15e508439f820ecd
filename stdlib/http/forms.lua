--- Forms that were posted, urlencoded or multipart, as a MultiDict of strings and FileFields. Files go to temporary
--- files while they come in, so that a large one costs disk and not memory; nothing is left of them when the form is
--- closed or collected, or the program dies.

local core = require "asyncio.core"
local fs = require "fs"
local multidict = require "http.multidict"
local multipart = require "http.multipart"
local parameters = require "http.parameters"
local quoting = require "url.quoting"
local transfer = require "http.transfer"

local async, await, catch = core.async, core.await, core.catch

local M = { TooLarge = multipart.TooLarge }

-- client_max_size and max_fields, unless they are given.
local MAX_SIZE, MAX_FIELDS = 1048576, 1000
local CHUNK = 65536

-- ---- files ----

---@class http.FileField
---@field name string the field's
---@field filename string as the client sent it: a name to show, never a path to open
---@field file fs.File open for reading and writing, at its beginning; it has no name in any folder
---@field size integer bytes
---@field content_type string
---@field headers http.Headers
local FileField = {}
FileField.__index = FileField
FileField.__name = "FileField"
M.FileField = FileField

--- All of it.
---@return any awaitable of a string; OSError
FileField.read = async(function(self)
  await(self.file:seek("set", 0))
  return await(self.file:read())
end, "FileField.read")

--- Copies it to a file.
---@param path string of your choice; not made of `filename` unseen
---@return any awaitable; OSError
FileField.save = async(function(self, path)
  await(self.file:seek("set", 0))
  local out <close> = await(fs.open(path, "w"))
  while true do
    local data = await(self.file:read(CHUNK))
    if not data or data == "" then break end
    await(out:write(data))
  end
end, "FileField.save")

--- Lets go of the file. The second time nothing happens.
---@return any awaitable
function FileField:close() return self.file:close() end

function FileField:__close() await(self.file:close()) end

--- Who forgets it gets no warning: it is a copy without a name, and gone with its descriptor.
function FileField:__gc()
  if self.file then pcall(self.file._close, self.file) end
end

function FileField:__tostring()
  return ("FileField(%q, %d bytes)"):format(self.filename, self.size)
end

--- Closes the files of a form.
---@param form http.MultiDict
---@return any awaitable
M.close = async(function(form)
  for _, value in pairs(form) do
    if getmetatable(value) == FileField then await(value:close()) end
  end
end, "forms.close")

local function open_file(dir)
  local file = await(fs.NamedTemporaryFile { prefix = "upload-", dir = dir, delete = false })
  local ok, err = catch(await, fs.unlink(file.path))
  if ok then return file end
  await(file:close())
  error(err, 0)
end

-- ---- multipart ----

local function too_large(limit)
  error(M.TooLarge(("a form of more than %d bytes"):format(limit), { limit = limit }), 0)
end

--- What a form may still have. Counts what it is given.
local function counter(limit)
  local n = 0
  return function(piece)
    n = n + #piece
    if limit > 0 and n > limit then too_large(limit) end
  end
end

local function read_file(part, count, dir)
  local decode, size = transfer.decoder(part.headers["Content-Transfer-Encoding"]), 0
  local file = open_file(dir)
  local ok, err = catch(function()
    while true do
      local piece = await(part:read_chunk())
      if piece then count(piece) end
      local data = decode(piece)
      if data ~= "" then await(file:write(data)) end
      size = size + #data
      if not piece then break end
    end
    await(file:seek("set", 0))
  end)
  if not ok then
    await(file:close())
    error(err, 0)
  end
  return setmetatable({
    name = part.name, filename = part.filename, file = file, size = size, headers = part.headers,
    content_type = part.headers["Content-Type"] and part.content_type or "application/octet-stream",
  }, FileField)
end

local function to_utf8(text, charset)
  local decoded = parameters.decode(text, charset)
  if not decoded then error(core.ValueError(("unknown character set '%s'"):format(charset)), 0) end
  return decoded
end

local function read_field(part, count)
  local pieces, decode = {}, transfer.decoder(part.headers["Content-Transfer-Encoding"])
  for piece in function() return await(part:read_chunk()) end do
    count(piece)
    pieces[#pieces + 1] = decode(piece)
  end
  pieces[#pieces + 1] = decode()
  return to_utf8(table.concat(pieces), part:get_charset())
end

local function read_multipart(form, content_type, stream, opts)
  local count, fields = counter(opts.client_max_size or MAX_SIZE), 0
  local max_fields = opts.max_fields or MAX_FIELDS
  for part in multipart.MultipartReader(content_type, stream):parts() do
    fields = fields + 1
    if fields > max_fields then error(core.ValueError(("a form of more than %d fields"):format(max_fields)), 0) end
    if part.boundary then error(core.ValueError("multipart: a field of a form that is multipart itself"), 0) end
    if not part.name then error(core.ValueError("multipart: a field without a name"), 0) end
    -- heads count, too: fields without any value are not free
    count(part.name)
    if part.filename then
      form:add(part.name, read_file(part, count, opts.dir))
    else
      form:add(part.name, read_field(part, count))
    end
  end
end

-- ---- urlencoded ----

local function read_urlencoded(stream, opts, charset)
  local limit = opts.client_max_size or MAX_SIZE
  local count, pieces = counter(limit), {}
  while true do
    local piece = await(stream:read(CHUNK))
    if not piece then break end
    count(piece)
    pieces[#pieces + 1] = piece
  end
  local form = quoting.parse_qs(table.concat(pieces), opts.max_fields or MAX_FIELDS)
  if not charset or charset:lower() == "utf-8" then return form end
  local decoded = multidict.MultiDict()
  for name, value in pairs(form) do decoded:add(to_utf8(name, charset), to_utf8(value, charset)) end
  return decoded
end

-- ---- both ----

local read = async(function(content_type, stream, opts)
  local ctype, list = parameters.parse(content_type or "")
  if ctype == "application/x-www-form-urlencoded" then return read_urlencoded(stream, opts, list.charset) end
  if ctype ~= "multipart/form-data" then
    error(core.ValueError(("not a form: the content type is '%s'"):format(content_type or "")), 0)
  end
  local form = multidict.MultiDict()
  local ok, err = catch(read_multipart, form, content_type, stream, opts)
  if ok then return form end
  await(M.close(form))
  error(err, 0)
end, "forms.read")

--- Reads a form.
---@param content_type string the header's value: urlencoded or multipart/form-data
---@param stream any what has `read(n)`: a StreamReader
---@param opts? {client_max_size: integer?, max_fields: integer?, dir: string?} 1 MiB (0: none), 1000, where files go
---@return any awaitable of a MultiDict; raises TooLarge, ValueError (no form, or malformed), OSError
function M.read(content_type, stream, opts)
  core.options(opts, { "client_max_size", "max_fields", "dir" }, "forms.read")
  return read(content_type, stream, opts or {})
end

return M
