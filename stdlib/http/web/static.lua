--- add_static: the files below a folder. Nothing outside of it is ever opened: see fs.open_below.

local FileResponse = require("http.web.file").FileResponse
local core = require "asyncio.core"
local errors = require "http.web.errors"
local fs = require "fs.core"
local misuse = require "asyncio.misuse"
local path = require "fs.path"
local patterns = require "http.web.patterns"
local trees = require "fs.trees"
local url = require "url"

local async, await = core.async, core.await

local M = {}

local option_names = { "show_index", "follow_symlinks", "append_version", "index", "max_age", "compress", "chunk_size" }

---@class http.web.Static
---@field prefix string
---@field directory string absolute
---@field handler any a coroutine function of the request
local Static = {}
Static.__index = Static
Static.__name = "Static"

-- What is worth compressing: text, and what is text in truth.
local texts = {
  ["application/json"] = true, ["application/xml"] = true, ["application/manifest+json"] = true,
  ["application/ld+json"] = true, ["application/geo+json"] = true, ["application/wasm"] = true,
  ["image/svg+xml"] = true, ["application/xhtml+xml"] = true, ["application/rss+xml"] = true,
  ["application/atom+xml"] = true, ["image/bmp"] = true,
  ["font/ttf"] = true, ["font/otf"] = true, ["application/vnd.ms-fontobject"] = true, ["application/x-ndjson"] = true,
}

local function compressible(name)
  local kind, encoding = require("mime").guess_type(name)
  return kind ~= nil and encoding == nil and (kind:find("^text/") ~= nil or texts[kind] or false)
end

-- ---- folders ----

local entities = { ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;", ['"'] = "&quot;", ["'"] = "&#39;" }

local function escape(s) return (s:gsub("[&<>\"']", entities)) end

local page = [[
<!DOCTYPE html>
<html>
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>%s</title>
<style>
body { font: 16px/1.5 sans-serif; margin: 2em }
ul { list-style: none; padding: 0 }
a { text-decoration: none }
a:hover { text-decoration: underline }
</style>
</head>
<body>
<h1>%s</h1>
<ul>
%s</ul>
</body>
</html>
]]

-- The page that lists a folder.
local function index_page(self, name, shown)
  local folders, files = {}, {}
  for entry, kind in trees.scandir(self.directory .. "/" .. name) do
    if kind == "directory" then folders[#folders + 1] = entry .. "/" else files[#files + 1] = entry end
  end
  table.sort(folders)
  table.sort(files)
  local title, out = escape("Index of " .. shown), {}
  if name ~= "" then out[#out + 1] = '<li><a href="../">../</a></li>\n' end
  for _, list in ipairs { folders, files } do
    for _, entry in ipairs(list) do
      -- "./": a name with a colon would be a scheme
      out[#out + 1] = ('<li><a href="./%s">%s</a></li>\n'):format(escape(url.quote(entry, "/")), escape(entry))
    end
  end
  return page:format(title, title, table.concat(out))
end

-- To the same with a slash at the end, so that links of the page lead below it. One slash at the beginning: two would
-- name another host.
local function add_slash(request)
  local x = request._x
  local raw, query = x:path(), x:query()
  error(errors.HTTPMovedPermanently("/" .. raw:gsub("^/+", "") .. "/" .. (query and "?" .. query or "")), 0)
end

-- What lies under the name: its type, size and date; nil: nothing that could be opened.
local function look(self, name)
  local r = table.pack(pcall(await, fs.open_below(self.directory, name, self.follow_symlinks, nil, 1)))
  if not r[1] then return nil end
  if type(r[7]) == "userdata" then r[7]:_close() end
  return r[2], r[3], r[4]
end

-- What is answered for a folder: its index page, a list, 403.
local function on_directory(self, response, request, x)
  local name = response._name:gsub("/+$", "")
  if (self.index or self.show_index) and x:path():sub(-1) ~= "/" then return add_slash(request) end
  for _, index in ipairs(self.index or {}) do
    local file = self:_response(name == "" and index or name .. "/" .. index)
    if look(self, file._name) == "file" then
      file:_send(request, x)
      rawset(response, "status", file.status)
      rawset(response, "body_length", rawget(file, "body_length"))
      return
    end
  end
  if not self.show_index then error(errors.HTTPForbidden(), 0) end
  local ok, text = pcall(index_page, self, name, "/" .. (name == "" and "" or name .. "/"))
  if not ok then
    local status = FileResponse._status_of(text)
    if not status then error(text, 0) end
    local class = status == 404 and "HTTPNotFound" or status == 403 and "HTTPForbidden" or "HTTPServiceUnavailable"
    error(errors[class](), 0)
  end
  local web = require("http.web.response")
  local answer = web.Response { text = text, content_type = "text/html" }
  if self.compress then answer:enable_compression() end
  answer:_send(request, x)
  rawset(response, "body_length", #text)
end

-- ---- files ----

function Static:_response(name)
  local response = FileResponse._below(self.directory, name, self.follow_symlinks, self.chunk_size)
  if self.max_age then response.headers["Cache-Control"] = "public, max-age=" .. self.max_age end
  if self.compress and compressible(name) then response:enable_compression() end
  return response
end

-- A name that may be looked for below the folder. Whatever it is, the kernel has the last word.
local function check_name(name)
  if name:find("\0", 1, true) or name:find("^/") then return false end
  for part in name:gmatch("[^/]+") do
    if part == ".." or part == "." then return false end
  end
  return true
end

local function handle(self, request)
  local name = request.match_info.filename or ""
  if not check_name(name) then error(errors.HTTPNotFound(), 0) end
  local response = self:_response(name)
  rawset(response, "_on_directory", function(...) return on_directory(self, ...) end)
  return response
end

--- The URL of a file; with append_version it changes when the file does.
---@param params string|table the name, or {filename, append_version}
---@param prefix? string where the folder is, if that has changed since
---@return string
function Static:url_for(params, prefix)
  if type(params) == "string" then params = { filename = params } end
  local name = type(params) == "table" and params.filename
  if type(name) ~= "string" then
    misuse.blame(core.TypeError, "url_for: filename: a string was expected, got " .. misuse.describe(name))
  end
  name = name:gsub("^/+", "")
  local at = patterns.encode_literal(patterns.normalise(prefix or self.prefix))
  local out = at .. "/" .. url.quote(name, "/")
  local version = params.append_version
  if version == nil then version = self.append_version end
  if not version or not check_name(name) then return out end
  local kind, size, mtime = look(self, name)
  if kind ~= "file" then return out end
  return ("%s?v=%x-%x"):format(out, math.floor(mtime * 1e6), size)
end

local function list_of(index)
  if index == nil or index == false then return nil end
  if index == true then return { "index.html" } end
  local list = type(index) == "table" and index or { index }
  for _, name in ipairs(list) do
    if type(name) ~= "string" or name == "" or name:find("[/%z]") then
      misuse.blame(core.ValueError, "add_static: index: names of files were expected")
    end
  end
  return list
end

--- What add_static routes to. Options: `show_index` (folders are listed, else 403), `follow_symlinks` (links may lead
--- out of the folder), `append_version` (url_for adds ?v=...), `index` (true, or names of files that stand for their
--- folder), `max_age` (seconds, for Cache-Control), `compress` (text is compressed while it is sent), `chunk_size`.
--- Raises ValueError if there is no such folder.
---@param prefix string
---@param directory string
---@param options table
---@return http.web.Static
function M.resource(prefix, directory, options)
  path.check(directory, "add_static")
  core.options(options, option_names, "add_static")
  local age = options.max_age
  if age ~= nil and (math.type(age) ~= "integer" or age < 0) then
    misuse.blame(core.ValueError, "add_static: max_age: a number of seconds was expected, got " .. tostring(age))
  end
  local ok, real = pcall(await, fs.realpath(directory))
  if not ok and not core.isinstance(real, core.OSError) then error(real, 0) end
  if not ok or not await(fs.is_dir(real)) then
    misuse.blame(core.ValueError, ("add_static: there is no folder %q"):format(directory))
  end
  local self = setmetatable({
    prefix = prefix, directory = real, show_index = options.show_index or false,
    follow_symlinks = options.follow_symlinks or false, append_version = options.append_version or false,
    index = list_of(options.index), max_age = age, compress = options.compress or false,
    chunk_size = options.chunk_size,
  }, Static)
  self.handler = async(function(request) return handle(self, request) end, "static")
  return self
end

return M
