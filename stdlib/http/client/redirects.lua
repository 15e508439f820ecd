--- Where a redirect leads (RFC 9110, 15.4; the Fetch standard's view of methods).

local errors = require "http.client.errors"

local M = {}

M.statuses = { [301] = true, [302] = true, [303] = true, [307] = true, [308] = true }

--- Does the next request become a GET without a body? 303 does so for all but HEAD, 301 and 302 for POST.
---@param status integer
---@param method string
---@return boolean
function M.to_get(status, method)
  return status == 303 and method ~= "HEAD" or (status == 301 or status == 302) and method == "POST"
end

--- Is it one scheme, host and port?
---@param a url.URL
---@param b url.URL
---@return boolean
function M.same_origin(a, b) return a.host == b.host and a.scheme == b.scheme and a.port == b.port end

--- May what identifies the user go along? To the same origin, and from http to https of one host.
---@param from url.URL
---@param to url.URL
---@return boolean
function M.trusts(from, to)
  if M.same_origin(from, to) then return true end
  if from.host ~= to.host or from.scheme ~= "http" or to.scheme ~= "https" then return false end
  return from:is_default_port() and to:is_default_port()
end

-- Servers send bytes that a URL may not have: these are escaped, as browsers do it.
local function mend(location)
  local first = location:find("[^ \t]")
  location = first and location:match("^.*[^ \t]", first) or ""
  return (location:gsub("[\0- \127-\255\"<>^`{|}]", function(c) return ("%%%02X"):format(c:byte()) end))
end

--- The URL that a Location means. Raises InvalidUrlRedirectClientError, NonHttpUrlRedirectClientError.
---@param asked http.client.Asked whose answer redirects
---@param from url.URL
---@param location string
---@return url.URL
function M.target(asked, from, location)
  local ok, to = pcall(from.join, from, mend(location))
  if not ok or to.scheme ~= "http" and to.scheme ~= "https" then
    local reason = ok and "a redirect to %q, which is not http or https" or "a redirect to %q, which is not a URL"
    local class = ok and errors.NonHttpUrlRedirectClientError or errors.InvalidUrlRedirectClientError
    local fields = { location = location, cause = not ok and to or nil }
    error(errors.make(class, asked, reason:format(location:sub(1, 200)), fields), 0)
  end
  if not to.host or to.host == "" then
    local reason = ("a redirect to %q, which has no host"):format(location:sub(1, 200))
    error(errors.make(errors.InvalidUrlRedirectClientError, asked, reason, { location = location }), 0)
  end
  if to.raw_fragment == "" and from.raw_fragment ~= "" then to = to:with_fragment(from.fragment) end
  return to
end

return M
