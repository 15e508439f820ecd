--- What enable_compression does to a response, and how requests' bodies are decoded.

local encodings = require "http.encodings"

local M = {}

--- In this order, where the client has no preference.
M.offered = { "br", "gzip", "deflate" }

--- What enable_compression can be forced to, by name.
---@enum http.web.ContentCoding
M.ContentCoding = { br = "br", gzip = "gzip", deflate = "deflate", identity = "identity" }

local known = { br = true, gzip = true, deflate = true, identity = true }

--- Is it a coding that enable_compression can be asked for?
---@param name any
---@return boolean
function M.known(name) return known[name] or false end

--- Says that the answer depends on Accept-Encoding.
local function vary(headers)
  local value = headers["Vary"]
  if not value then
    headers["Vary"] = "Accept-Encoding"
  elseif value ~= "*" and not (", " .. value:lower() .. ","):find("[, ]accept%-encoding[, ]") then
    headers["Vary"] = value .. ", Accept-Encoding"
  end
end

M.vary = vary

-- Has a body that may be encoded?
local function eligible(response, headers)
  local status = response.status
  if status < 200 or status == 204 or status == 206 or status == 304 then return false end
  if headers["Content-Encoding"] or headers["Content-Range"] then return false end
  local control = headers["Cache-Control"]
  return not (control and control:lower():find("no-transform", 1, true))
end

-- An encoded body is another one: a strong entity tag is not its.
--- Says that the body is encoded so.
function M.mark(headers, name)
  headers["Content-Encoding"] = name
  headers["Content-Length"] = nil
  local etag = headers["ETag"]
  if etag and etag:sub(1, 2) ~= "W/" then headers["ETag"] = "W/" .. etag end
end

--- The coding for the response, or nil; its headers say what it depends on.
---@return string?
function M.negotiate(response, request)
  local headers, force = response.headers, response._compression
  if not eligible(response, headers) then return nil end
  if type(force) == "string" then return force ~= "identity" and force or nil end
  vary(headers)
  return encodings.choose(request._x:header("Accept-Encoding"), M.offered)
end

---@class http.web.StreamEncoder
local StreamEncoder = {}
StreamEncoder.__index = StreamEncoder

-- What was written is on its way when write has been awaited: a stream's reader waits for it.
function StreamEncoder:compress(data)
  if data == "" then return "" end
  local head = self.encoder:compress(data)
  return head .. self.encoder:flush()
end

function StreamEncoder:finish() return self.encoder:finish() end

--- Called before a response is sent that enable_compression was called for. One whose body is known has it replaced;
--- of another one an object is given whose compress(data) and finish() make the bytes to send.
---@param response http.web.StreamResponse
---@param request http.web.Request
---@return http.web.StreamEncoder?
function M.start(response, request)
  local plain = rawget(response, "_plain")
  if plain then -- it was sent before, to somebody else
    response._body, response.headers["Content-Encoding"], response.headers["ETag"] = plain.body, nil, plain.etag
    rawset(response, "_plain", nil)
  end
  local name = M.negotiate(response, request)
  if not name then return nil end
  local body = response._body
  if body then
    if body == "" then return nil end
    local encoder <close> = encodings.encoder(name)
    local data = encoder:compress(body)
    data = data .. encoder:finish()
    if #data >= #body and response._compression == true then return nil end
    rawset(response, "_plain", { body = body, etag = response.headers["ETag"] })
    M.mark(response.headers, name)
    response._body = data
    return nil
  end
  M.mark(response.headers, name)
  if request.method == "HEAD" then return nil end
  return setmetatable({ encoder = encodings.encoder(name) }, StreamEncoder)
end

return M
