--- mime: the content type of a file by its name, and the other way round. As Python's mimetypes, with a table of the
--- types that the web has; more can be added, or read from a file such as /etc/mime.types.

local core = require "asyncio.core"
local misuse = require "asyncio.misuse"

local M = {}

--- Extension -> type. The first extension of a type in this list is the one that guess_extension gives.
local list = [[
text/html html htm shtml; text/css css; text/javascript js mjs cjs; text/plain txt text log conf ini def list in c h
lua py sh rst; text/csv csv; text/markdown md markdown; text/xml; text/calendar ics; text/vcard vcf; text/cache-
manifest appcache; text/tab-separated-values tsv; text/vtt vtt; text/x-component htc; text/yaml yaml yml;
application/json json map; application/ld+json jsonld; application/manifest+json webmanifest; application/geo+json
geojson; application/xml xml xsl xsd rng; application/xhtml+xml xhtml xht; application/rss+xml rss;
application/atom+xml atom; application/xslt+xml xslt; application/wasm wasm; application/pdf pdf; application/rtf rtf;
application/postscript ps eps ai; application/zip zip; application/gzip gz tgz; application/zstd zst;
application/x-bzip2 bz2; application/x-xz xz; application/x-7z-compressed 7z; application/vnd.rar rar;
application/x-tar tar; application/java-archive jar war ear; application/octet-stream bin exe dll deb dmg iso img msi
so o a obj lib pkl; application/epub+zip epub; application/vnd.ms-fontobject eot; application/vnd.ms-excel xls;
application/vnd.ms-powerpoint ppt; application/msword doc dot; application/vnd.openxmlformats-
officedocument.wordprocessingml.document docx; application/vnd.openxmlformats-officedocument.spreadsheetml.sheet xlsx;
application/vnd.openxmlformats-officedocument.presentationml.presentation pptx;
application/vnd.oasis.opendocument.text odt; application/vnd.oasis.opendocument.spreadsheet ods;
application/vnd.oasis.opendocument.presentation odp; application/vnd.oasis.opendocument.graphics odg;
application/vnd.android.package-archive apk; application/vnd.google-earth.kml+xml kml; application/vnd.google-
earth.kmz kmz; application/vnd.apple.mpegurl m3u8; application/dash+xml mpd; application/sql sql; application/toml
toml; application/x-httpd-php php; application/x-shockwave-flash swf; application/x-perl pl pm; application/x-latex
latex; application/x-tex tex; application/x-x509-ca-cert der pem crt; application/x-debian-package udeb;
application/x-sqlite3 sqlite sqlite3 db; application/x-ndjson ndjson; application/graphql graphql; font/woff woff;
font/woff2 woff2; font/ttf ttf; font/otf otf; font/collection ttc; image/png png; image/jpeg jpg jpeg jpe jfif;
image/gif gif; image/svg+xml svg svgz; image/webp webp; image/avif avif; image/heic heic; image/heif heif;
image/x-icon ico; image/bmp bmp; image/tiff tiff tif; image/apng apng; image/jxl jxl; image/vnd.wap.wbmp wbmp;
image/x-portable-pixmap ppm; image/x-portable-graymap pgm; image/x-portable-bitmap pbm; image/x-ms-bmp;
image/vnd.adobe.photoshop psd; image/x-xbitmap xbm; audio/mpeg mp3 mp2; audio/ogg ogg oga opus; audio/wav wav;
audio/aac aac; audio/mp4 m4a; audio/flac flac; audio/midi mid midi kar; audio/webm weba; audio/aiff aif aiff aifc;
audio/basic au snd; audio/x-mpegurl m3u; audio/3gpp; video/mp4 mp4 m4v mpg4; video/mpeg mpeg mpg mpe; video/webm webm;
video/ogg ogv; video/quicktime mov qt; video/mp2t ts; video/x-msvideo avi; video/x-matroska mkv; video/x-flv flv;
video/x-ms-wmv wmv; video/x-ms-asf asx asf; video/3gpp 3gpp 3gp; video/3gpp2 3g2; model/gltf+json gltf; model/gltf-
binary glb; model/stl stl; model/obj; message/rfc822 eml mht mhtml; multipart/form-data; chemical/x-pdb pdb;
]]

--- What stands around another file: "a.tar.gz" is application/x-tar, encoded with gzip.
local encodings = { gz = "gzip", Z = "compress", bz2 = "bzip2", xz = "xz", br = "br", zst = "zstd" }
local suffixes = { svgz = "svg.gz", tgz = "tar.gz", taz = "tar.gz", tz = "tar.gz", tbz2 = "tar.bz2", txz = "tar.xz" }

local types, extensions

local function load()
  types, extensions = {}, {}
  for entry in list:gmatch("[^;]+") do
    local kind, names = entry:match("^%s*(%S+)%s*(.-)%s*$")
    if kind then
      for ext in names:gmatch("%S+") do
        types[ext] = types[ext] or kind
        extensions[kind] = extensions[kind] or {}
        table.insert(extensions[kind], ext)
      end
    end
  end
end

local function check(value, fname, what)
  if type(value) ~= "string" then
    misuse.raise(core.TypeError, ("%s: %s must be a string, got %s"):format(fname, what, misuse.describe(value)), 3)
  end
  return value
end

--- The type of a file by its name or URL, and its encoding: "text/html"; "application/x-tar", "gzip". nil: unknown.
---@param name string a name, a path or a URL
---@return string? type, string? encoding
function M.guess_type(name)
  check(name, "guess_type", "the name")
  if not types then load() end
  if name:find("^%a[%w+.-]*://") then name = name:match("^[^?#]*") end
  local base = name:match("[^/]*$")
  local stem, ext = base:match("^(.+)%.([^.]*)$")
  if not ext then return nil end
  local longer = suffixes[ext:lower()]
  if longer then stem, ext = (stem .. "." .. longer):match("^(.+)%.([^.]*)$") end
  local encoding = encodings[ext] or encodings[ext:lower()]
  if encoding then
    local inner = stem:match("^.+%.([^.]*)$")
    return inner and types[inner:lower()], encoding
  end
  return types[ext:lower()]
end

--- What to send as Content-Type: with the charset for text, "application/octet-stream" for what is unknown, and what is
--- compressed by itself ("a.tar.gz") as application/gzip and the like.
---@param name string
---@param charset? string "utf-8"; for text
---@return string
function M.content_type(name, charset)
  check(name, "content_type", "the name")
  local kind, encoding = M.guess_type(name)
  if encoding and kind ~= "image/svg+xml" then
    return types[name:match("[^.]*$"):lower()] or "application/octet-stream"
  end
  if not kind then return "application/octet-stream" end
  if kind:find("^text/") then return kind .. "; charset=" .. (charset or "utf-8") end
  return kind
end

--- An extension for the type, with its dot: ".html"; nil: unknown. Parameters of the type are not looked at.
---@param kind string
---@return string?
function M.guess_extension(kind)
  local all = M.guess_all_extensions(check(kind, "guess_extension", "the type"))
  return all[1]
end

--- All extensions of the type.
---@param kind string
---@return string[]
function M.guess_all_extensions(kind)
  check(kind, "guess_all_extensions", "the type")
  if not types then load() end
  local all = {}
  for i, ext in ipairs(extensions[kind:match("^[^;%s]*"):lower()] or {}) do all[i] = "." .. ext end
  return all
end

--- From now on files with that extension have the type.
---@param kind string
---@param ext string with or without its dot
function M.add_type(kind, ext)
  check(kind, "add_type", "the type")
  ext = check(ext, "add_type", "the extension"):gsub("^%.", ""):lower()
  if not kind:find("^[%w!#$&^_.+-]+/[%w!#$&^_.+-]+$") then
    misuse.raise(core.ValueError, "add_type: a type such as 'text/plain' was expected, got '" .. kind .. "'")
  end
  if not types then load() end
  types[ext] = kind
  extensions[kind] = extensions[kind] or {}
  for _, known in ipairs(extensions[kind]) do
    if known == ext then return end
  end
  table.insert(extensions[kind], ext)
end

--- Adds what a text in the form of /etc/mime.types says: "type ext ext ..." a line, # comments.
---@param text string
function M.read_types(text)
  for line in check(text, "read_types", "the text"):gmatch("[^\r\n]+") do
    local kind, names = line:gsub("#.*", ""):match("^%s*(%S+)%s+(.-)%s*$")
    if kind and kind:find("^[%w!#$&^_.+-]+/[%w!#$&^_.+-]+$") then
      for ext in names:gmatch("%S+") do M.add_type(kind, ext) end
    end
  end
end

return M
