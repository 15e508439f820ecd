--- Files of cookies: JSON, one object a cookie, readable by their owner alone. Written beside the old one and renamed,
--- so that there is always a whole one; read back with every field checked.

local core = require "asyncio.core"
local fs = require "fs"
local json = require "json"

local async, await = core.async, core.await

local M = {}

local find = string.find

local FORMAT, VERSION = "moonloop cookies", 1

-- Bytes that are no UTF-8 cannot stand in JSON.
local function packed(text)
  if utf8.len(text) then return text end
  return { hex = (text:gsub(".", function(c) return ("%02x"):format(c:byte()) end)) }
end

local function unpacked(value)
  if type(value) ~= "table" then return value end
  local hex = value.hex
  if type(hex) ~= "string" or #hex % 2 ~= 0 or find(hex, "[^%x]") then return nil end
  return (hex:gsub("..", function(digits) return string.char(tonumber(digits, 16)) end))
end

local TEXTS = { "name", "value", "coded_value", "domain", "path" }
local FLAGS = { "secure", "httponly", "partitioned", "host_only" }

local save = async(function(path, list)
  local out = {}
  for i, cookie in ipairs(list) do
    local c = {}
    for _, name in ipairs(TEXTS) do c[name] = packed(cookie[name]) end
    for _, name in ipairs(FLAGS) do c[name] = cookie[name] end
    c.expires, c.samesite = cookie.expires, cookie.samesite
    out[i] = json.encode(c)
  end
  local text = ('{"format":"%s","version":%d,"cookies":[\n%s\n]}\n'):format(FORMAT, VERSION, table.concat(out, ",\n"))
  await(fs.write_file(path, text, { atomic = true, mode = tonumber("600", 8) }))
end, "CookieJar.save")

--- Writes cookies to a file.
---@param path string
---@param list http.Cookie[]
---@return any awaitable; raises OSError
function M.save(path, list)
  require("fs.path").check(path, "CookieJar.save")
  return save(path, list)
end

local function check_cookie(c)
  if type(c) ~= "table" then return nil end
  local cookie = { samesite = c.samesite, expires = c.expires }
  for _, name in ipairs(TEXTS) do
    local text = unpacked(c[name])
    -- neither a header nor another cookie may come of it; tabs are allowed, and paths may have semicolons
    if type(text) ~= "string" or name ~= "value" and find(text, "[%z\1-\8\10-\31\127]") then return nil end
    if (name == "name" or name == "coded_value") and find(text, ";", 1, true) then return nil end
    cookie[name] = text
  end
  for _, name in ipairs(FLAGS) do
    if c[name] ~= nil and type(c[name]) ~= "boolean" then return nil end
    cookie[name] = c[name]
  end
  cookie.host_only = cookie.host_only or false
  if cookie.name == "" or find(cookie.name, "=", 1, true) or cookie.path:sub(1, 1) ~= "/" then return nil end
  local expires = cookie.expires
  if expires ~= nil and (type(expires) ~= "number" or expires ~= expires) then return nil end
  if cookie.samesite ~= nil and type(cookie.samesite) ~= "string" then return nil end
  return cookie
end

local function bad(path, what)
  error(core.ValueError(("CookieJar.load: '%s' is no file of cookies: %s"):format(path, what)), 0)
end

local load = async(function(path, take)
  local text = await(fs.read_file(path))
  local ok, data = pcall(json.decode, text)
  if not ok then bad(path, tostring(data.message or data)) end
  if type(data) ~= "table" or data.format ~= FORMAT or type(data.cookies) ~= "table" then
    bad(path, "it is not of CookieJar.save")
  end
  if data.version ~= VERSION then bad(path, "its version is not known: " .. tostring(data.version)) end
  local list = {}
  for i, c in ipairs(data.cookies) do
    list[i] = check_cookie(c) or bad(path, ("cookie %d is none"):format(i))
  end
  take(list)
end, "CookieJar.load")

--- Reads them, checks all, and then hands them over.
---@param path string
---@param take fun(list: http.Cookie[])
---@return any awaitable; raises OSError, ValueError
function M.load(path, take)
  require("fs.path").check(path, "CookieJar.load")
  return load(path, take)
end

return M
