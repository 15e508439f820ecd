--- Downloads that are gone on with: how far the file is, and whether the server still has the same one.
---
--- While a file is incomplete, FILE.fetch beside it says of which state of the resource its bytes are (ETag or
--- Last-Modified), so that the rest is asked for on that condition (RFC 9110, If-Range): a file that has changed
--- meanwhile is downloaded from the beginning instead of being glued together.

local core = require "asyncio.core"
local fs = require "fs"

local await = core.await

local M = {}

-- Bodies up to here are not worth it, bytes.
local SMALL = 64 * 1024

local function note_path(path) return path .. ".fetch" end

--- What a condition on it can be made of: a strong ETag, else Last-Modified; nil if there is neither.
local function validator(headers)
  local etag = headers:get("ETag")
  if etag and etag:find('^"') then return etag end
  local modified = headers:get("Last-Modified")
  if modified and not etag then return modified end
end

--- How many bytes there are, and the validator of their state (nil: nobody knows).
---@return integer size, string? validator
function M.found(path)
  local ok, stat = pcall(await, fs.stat(path))
  if not ok or not stat.is_file then return 0, nil end
  local text
  ok, text = pcall(await, fs.read_file(note_path(path)))
  local decoded, note = pcall(require("json").decode, ok and text or "null")
  if decoded and type(note) == "table" and type(note.validator) == "string" and not note.validator:find("%c") then
    return stat.size, note.validator
  end
  return stat.size, nil
end

--- The headers that ask for what is missing.
---@return table<string, string>
function M.headers(size, condition)
  return { Range = ("bytes=%d-"):format(size), ["If-Range"] = condition, ["Accept-Encoding"] = "identity" }
end

--- Remembers of which state the file's bytes are, if the server can send the rest of it later.
function M.note(path, response)
  local headers = response.headers
  local condition, length = validator(headers), response.content_length
  local unfit = headers:get("Content-Encoding") or headers:get("Accept-Ranges") == "none"
  if not condition or unfit or length and length <= SMALL then return M.forget(path) end
  local text = require("json").encode { validator = condition, url = require("http.client.errors").shown(response.url) }
  pcall(await, fs.write_file(note_path(path), text, { atomic = true, fsync = false }))
end

--- The file is complete, or begun anew.
function M.forget(path)
  pcall(await, fs.unlink(note_path(path)))
end

--- Content-Range: first byte and length of the whole; nil for what is none, false for a length that is unknown.
---@return integer? first, integer|false? total
function M.range(response)
  local value = response.headers:get("Content-Range") or ""
  local first, last, total = value:match("^bytes (%d+)%-(%d+)/([%d*]+)$")
  if not first then
    total = value:match("^bytes %*/(%d+)$")
    return nil, math.tointeger(tonumber(total))
  end
  first, last = math.tointeger(tonumber(first)), math.tointeger(tonumber(last))
  local n = total ~= "*" and math.tointeger(tonumber(total)) or false
  if not first or not last or first > last or n and last >= n then return nil, nil end
  return first, n
end

return M
