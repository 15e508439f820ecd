--- What `moonloop fetch` sends: --data and its kin, --form, --json, --upload-file, in curl's notation.

local core = require "asyncio.core"
local options = require "commands.options"

local await = core.await

local M = {}

M.kinds = {
  data = "list", ["data-raw"] = "list", ["data-binary"] = "list", ["data-urlencode"] = "list", json = "list",
  form = "list", ["form-string"] = "list", ["upload-file"] = "string", get = "flag",
}

M.short = { d = "data", F = "form", T = "upload-file", G = "get" }

M.help = [[
  -d, --data DATA         a form's data, 'a=1&b=2' (POST); again: joined by '&'; @FILE: a file's text, @-: standard
                          input's, without line breaks
      --data-binary DATA  the same with line breaks; --data-raw: no @; --data-urlencode 'NAME=VALUE', NAME@FILE
  -G, --get               the data goes into the URL
      --json DATA         JSON (POST), @FILE as well
  -F, --form 'NAME=VALUE' a field of a form (POST), multipart/form-data; NAME=@FILE uploads a file, NAME=<FILE is its
                          text; ';type=TYPE' and ';filename=NAME' may follow. --form-string: no @ and <
  -T, --upload-file FILE  the file is the body (PUT); -: standard input
]]

local function misuse(...) options.misuse("fetch", ...) end

--- Files that were opened for a request; they are closed when it is over.
local Files = {}
Files.__index = Files

function Files:__close()
  for _, file in ipairs(self) do await(file:close()) end
end

--- A file of the command line, opened.
local function open(files, path)
  local ok, file = pcall(await, require("fs").open(path))
  if not ok then misuse("cannot read '%s': %s", path, file.message or tostring(file)) end
  files[#files + 1] = file
  return file
end

--- A file's text; standard input is read once, whoever asks for it.
local function whole(given, path)
  if path == "-" then
    given.stdin_text = given.stdin_text or await(require("asyncio").stdin:read())
    return given.stdin_text
  end
  local files <close> = setmetatable({}, Files)
  return await(open(files, path):read("a"))
end

local function with_file(given, text)
  local path = text:match("^@(.+)$")
  return path and whole(given, path) or text
end

-- ---- --data ----

local quote = function(text) return require("url.quoting").quote_plus(text) end

local make = {
  data = function(given, text)
    if text:sub(1, 1) == "@" then return (with_file(given, text):gsub("[\r\n]", "")) end
    return text
  end,
  data_raw = function(_, text) return text end,
  data_binary = with_file,
  data_urlencode = function(given, text)
    local name, sign, value = text:match("^([^=@]*)([=@])(.*)$")
    if not name then return quote(text) end
    if sign == "@" then value = whole(given, value) end
    return (name ~= "" and name .. "=" or "") .. quote(value)
  end,
}

local function data_of(given)
  local parts
  for _, entry in ipairs(given) do
    local f = make[entry[1]]
    if f then
      parts = parts or {}
      parts[#parts + 1] = f(given, entry[2])
    end
  end
  return parts and table.concat(parts, "&")
end

-- ---- --form ----

--- The value's own part and the attributes behind it: "x;type=text/plain;filename=y".
local function split(text)
  local attributes = {}
  local value = text
  while true do
    local front, name, quoted = value:match('^(.*);%s*(%l+)="([^"]*)"%s*$')
    local plain
    if not front then front, name, plain = value:match("^(.*);%s*(%l+)=([^;\"]*)$") end
    if not front or (name ~= "type" and name ~= "filename") then return value, attributes end
    attributes[name] = quoted or plain
    value = front
  end
end

local function add_field(given, files, form, text, plain)
  local name, value = text:match("^([^=]+)=(.*)$")
  if not name then misuse("--form: 'NAME=VALUE' was expected, got '%s'", text) end
  if plain then return form:add_field(name, value) end
  local sign = value:match("^[@<]")
  local attributes
  value, attributes = split(value)
  local opts = { content_type = attributes.type, filename = attributes.filename }
  if sign == "<" then
    form:add_field(name, whole(given, value:sub(2)), opts)
  elseif sign == "@" then
    local path = value:sub(2)
    opts.filename = opts.filename or path == "-" and "-" or path:match("[^/]*$")
    form:add_field(name, path == "-" and whole(given, path) or open(files, path), opts)
  else
    form:add_field(name, value, opts)
  end
end

local function form_of(given, files)
  local form
  for _, entry in ipairs(given) do
    if entry[1] == "form" or entry[1] == "form_string" then
      form = form or require("http").FormData()
      local ok, err = pcall(add_field, given, files, form, entry[2], entry[1] == "form_string")
      if not ok then
        if core.isinstance(err, core.SystemExit) then error(err, 0) end
        misuse("--form '%s': %s", entry[2], type(err) == "table" and err.message or tostring(err))
      end
    end
  end
  if form then form.is_multipart = true end
  return form
end

-- ---- all together ----

--- The URL with data as its query.
local function with_query(url, data)
  local front, fragment = url:match("^([^#]*)(.*)$")
  return front .. (front:find("?", 1, true) and "&" or "?") .. data .. fragment
end

--- The kinds of bodies that there are; one of them at most.
local function parts_of(given, files)
  local data, form, json = data_of(given), form_of(given, files), given.json
  local n = (data and 1 or 0) + (form and 1 or 0) + (json and 1 or 0) + (given.upload_file and 1 or 0)
  if n > 1 then misuse("one of --data, --form, --json and --upload-file was expected") end
  return data, form, json
end

local function upload(given, files, url)
  local path = given.upload_file
  if url:match("^%a+://[^/?#]*$") then url = url .. "/" end
  if url:sub(-1) == "/" and path ~= "-" then url = url .. require("url.quoting").quote(path:match("[^/]*$")) end
  return url, { data = path == "-" and require("asyncio").stdin or open(files, path) }
end

local function request_of(given, url, files)
  local data, form, json = parts_of(given, files)
  local method, usual, opts = given.request or given.head and "HEAD", "POST", {}
  if method and not method:find("^[%w!#$%%&'*+.^_`|~-]+$") then misuse("--request: '%s' is no method", method) end
  if given.get then
    if not data then misuse("--get is of no use without --data") end
    url, usual = with_query(url, data), "GET"
  elseif data then
    opts = { data = data, headers = { ["Content-Type"] = "application/x-www-form-urlencoded" } }
  elseif json then
    local parts = {}
    for i, text in ipairs(json) do parts[i] = with_file(given, text) end
    local headers = { ["Content-Type"] = "application/json", Accept = "application/json" }
    opts = { data = table.concat(parts), headers = headers }
  elseif form then
    opts = { data = form }
  elseif given.upload_file then
    usual = "PUT"
    url, opts = upload(given, files, url)
  else
    usual = "GET"
  end
  -- what is said by --header has precedence
  for _, header in ipairs(given.headers_of or {}) do
    for name in next, opts.headers or {} do
      if name:lower() == header[1]:lower() then opts.headers[name] = nil end
    end
  end
  return url, method or usual, opts
end

--- What a request to this URL sends. Awaits by itself; ends the command for what cannot be.
---@param given table the options
---@param url string
---@return string url, string method, table opts of session:request, table files to be closed when it has been sent
function M.of(given, url)
  local files = setmetatable({}, Files)
  local ok, to, method, opts = core.catch(request_of, given, url, files)
  if not ok then
    Files.__close(files)
    error(to, 0)
  end
  return to, method, opts, files
end

return M
