--- Cookies that responses set: what set_cookie takes.

local core = require "asyncio.core"

local M = {}

local known = {
  "expires", "domain", "max_age", "path", "secure", "httponly", "samesite", "version", "partitioned",
}


--- The value of a Set-Cookie header. ValueError for names and values that no cookie can have.
---@param name string
---@param value string
---@param opts? table {expires, domain, max_age, path = "/", secure, httponly, samesite, version, partitioned}
---@return string
function M.line(name, value, opts)
  local serialize = require("http.cookies").serialize
  if opts == nil then return serialize(name, value) .. "; Path=/" end
  core.options(opts, known, "set_cookie")
  local all = { path = "/" }
  for key, given in next, opts do all[key] = given end
  return serialize(name, value, all)
end


return M
