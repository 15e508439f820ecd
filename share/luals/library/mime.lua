---@meta mime

-- Module mime. Written by tools/definitions.lua.

---@class mime
local mime = {}

--- The type of a file, a path or a URL, and its encoding: "text/html"; "application/x-tar", "gzip" for "a.tgz". nil
--- if it is unknown.
---@param name string
---@return string?
---@return string?
function mime.guess_type(name) end

--- What to send as Content-Type: with a charset for text ("utf-8"), application/gzip for "a.tar.gz",
--- application/octet-stream for what is unknown.
---@param name string
---@param charset? string
---@return string
function mime.content_type(name, charset) end

--- An extension for a type, ".html"; nil.
---@param type string
---@return string?
function mime.guess_extension(type) end

--- An array of all.
---@param type string
---@return string[]
function mime.guess_all_extensions(type) end

--- Adds one.
---@param type string
---@param ext string
function mime.add_type(type, ext) end

--- Adds those of a text such as `/etc/mime.types`.
---@param text string
function mime.read_types(text) end

return mime
